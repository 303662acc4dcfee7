"""A server that speaks Messages, well or badly: bodies, events of streams, errors; raw sockets, so that it can break off."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from tests.models.hostile import END, Peer, Way, facing, head, says, whole

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from tests.models.hostile import Hostile

BACKEND: Final = "anthropic/m"
REPORTED: Final[Mapping[str, Any]] = {"input_tokens": 9, "output_tokens": 2}
"""What the server reports where nothing else is said."""


def answer(*content: Mapping[str, Any] | str, stop: str = "end_turn", **document: Any) -> dict[str, Any]:
    """A whole answer; a text is a block of text."""
    blocks = [{"type": "text", "text": each} if isinstance(each, str) else dict(each) for each in content or ("Hello",)]
    usual = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m-1", "stop_sequence": None}
    return usual | {"content": blocks, "stop_reason": stop, "usage": REPORTED} | document


def failure(kind: str, text: str = "no luck") -> dict[str, Any]:
    """The body of an error, and its event."""
    return {"type": "error", "error": {"type": kind, "message": text}, "request_id": "req_1"}


def started(**usage: Any) -> dict[str, Any]:
    """The first event: the input is known, and the output is what there is before anything was said."""
    said = usage or {"input_tokens": 9, "output_tokens": 1}
    return {"type": "message_start", "message": answer("x", usage=said) | {"content": [], "stop_reason": None}}


def block(index: int, start: Mapping[str, Any], *deltas: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A block: its start, its deltas, its stop."""
    return [
        {"type": "content_block_start", "index": index, "content_block": dict(start)},
        *({"type": "content_block_delta", "index": index, "delta": dict(delta)} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def words(*texts: str, index: int = 0) -> list[dict[str, Any]]:
    """A block of text in pieces."""
    return block(index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": text} for text in texts))


def call(index: int, name: str, *pieces: str) -> list[dict[str, Any]]:
    """A block that calls a tool, with its arguments in pieces."""
    start = {"type": "tool_use", "id": f"toolu_{index}", "name": name, "input": {}}
    return block(index, start, *({"type": "input_json_delta", "partial_json": piece} for piece in pieces))


def thought(index: int, text: str, signature: str) -> list[dict[str, Any]]:
    """A block of thinking."""
    start = {"type": "thinking", "thinking": "", "signature": ""}
    said = {"type": "thinking_delta", "thinking": text}
    return block(index, start, said, {"type": "signature_delta", "signature": signature})


def stopped(reason: str = "end_turn", **usage: Any) -> dict[str, Any]:
    """The event with the reason to stop, and the last word on usage."""
    said = {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}}
    return said | {"usage": usage or {"output_tokens": 2}}


OVER: Final = {"type": "message_stop"}
PING: Final = {"type": "ping"}
HELLO: Final = (started(), *words("Hel", "lo"), stopped(), OVER)
"""A stream in order."""


def more(*said: Mapping[str, Any]) -> bytes:
    """Further events."""
    lines = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in said]
    return b"".join(f"{len(line):x}\r\n".encode() + line + b"\r\n" for line in lines)


def events(*said: Mapping[str, Any]) -> bytes:
    """The head of a stream, and its first events; the body goes on until ``END``."""
    return head(content_type="text/event-stream; charset=utf-8", transfer_encoding="chunked") + more(*said)


def streams(*said: Mapping[str, Any], **how: Any) -> Way:
    """A stream to its end, or what ``how`` says of the end."""
    return says(events(*said), **how) if how else says(events(*said) + END)


async def echo(peer: Peer) -> None:
    """Answers in order: the text is the last thing that was said to it."""
    asked = await peer.request()
    text = str(asked["messages"][-1]["content"][-1]["text"])
    if asked.get("stream"):
        await peer.send(events(started(), *words(text), stopped(), OVER) + END)
    else:
        await peer.send(whole(answer(text)))


@frozen
class Asked:
    """A request as it came."""

    line: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]


def keeping(asked: list[Asked], way: Way) -> Way:
    """The same way, with a record of what was asked."""

    async def keeper(peer: Peer) -> None:
        while b"\r\n\r\n" not in peer.rest:
            peer.rest += await peer.stream.receive()
        first, *lines = peer.rest.partition(b"\r\n\r\n")[0].decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        read = peer.request

        async def request() -> dict[str, Any]:
            body = await read()
            asked.append(Asked(first, headers, body))
            return body

        await way(_Watched(peer, request))

    return keeper


class _Watched(Peer):
    """A peer whose requests are seen."""

    def __init__(self, peer: Peer, request: Any) -> None:
        super().__init__(peer.stream, peer.heard, peer.rest)
        self._peer = peer
        self._request = request

    async def request(self) -> dict[str, Any]:
        body: dict[str, Any] = await self._request()
        self.rest = self._peer.rest
        return body

    async def hang(self) -> None:
        await self._peer.hang()

    async def cut(self) -> None:
        await self._peer.cut()


@asynccontextmanager
async def before_messages(
    ways: Sequence[Way], *, backend: Mapping[str, Any] | None = None, **more_of_it: Any
) -> AsyncGenerator[tuple[Any, Hostile]]:
    """A running organism whose only backend is such a server. After its block no connection is left open."""
    made = {"provider": "anthropic"} | dict(backend or {})
    async with facing(ways, backend=made, **more_of_it) as found:
        yield found
