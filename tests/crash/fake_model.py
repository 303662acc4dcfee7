"""A model behind HTTP that can be relied on: what it answers depends on what it was asked and on nothing else.

    python fake_model.py LOG

Speaks chat completions on a free port of 127.0.0.1 and prints its base URL. Every request is a line of LOG before anything
is answered, and another one when its answer was sent in full: ``{"event": "asked" | "answered", "n", "run", "key", "whole"}``.
``run`` is the key that came with the request as a bearer: whoever asks says so who it is. ``key`` is :func:`key_of` the messages;
it stands in every answer as well, so that an answer tells which question it belongs to. ``whole`` is :func:`digest` of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, Final

NOTICE: Final = "Budget notice:"
KEY: Final = re.compile(r"\bk([0-9a-f]{16})")
"""Where an answer names its question."""
ROUNDS: Final = 2
"""How often an agent asks its peers at most before it replies."""
_WORDS: Final = ("amber", "birch", "cedar", "dune", "ember", "fjord", "grove", "heath", "inlet", "knoll")

Message = Mapping[str, Any]


def told(messages: Sequence[Message]) -> list[Message]:
    """The messages that an answer depends on. What the system says may tell the time, and notices tell what crashes did cost."""
    return [
        each for each in messages if each["role"] != "system" and not str(each.get("content") or "").startswith(NOTICE)
    ]


def key_of(messages: Sequence[Message]) -> str:
    """What names a question: 16 hex digits of a hash over what it tells."""
    return digest(told(messages))


def digest(messages: Sequence[Message]) -> str:
    """16 hex digits of a hash over messages, every word of them."""
    plain = json.dumps(messages, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(plain.encode()).hexdigest()[:16]


def delay_of(key: str) -> float:
    """Seconds that the answer takes: 10 to 50 milliseconds."""
    return 0.01 + int(key[:4], 16) / 0xFFFF * 0.04


def answer_to(body: Mapping[str, Any]) -> dict[str, Any]:
    """The whole answer to a request: text where no tools are offered, calls of peers, and then the reply."""
    messages: Sequence[Message] = body["messages"]
    key = key_of(messages)
    text = f"{_words(key)} k{key}"
    calls = _calls(body, key, text)
    message: dict[str, Any] = {"role": "assistant", "content": None if calls else text}
    if calls:
        message["tool_calls"] = calls
    asked = len(json.dumps(told(messages)).encode()) // 4 + 1
    said = len(json.dumps(message).encode()) // 8 + 1
    return {
        "id": f"chatcmpl-{key}",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}],
        "usage": {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said},
    }


def _words(key: str) -> str:
    digits = [int(digit, 16) for digit in key]
    return " ".join(_WORDS[digit % len(_WORDS)] for digit in digits[: 2 + digits[0] % 6])


def _calls(body: Mapping[str, Any], key: str, text: str) -> list[dict[str, Any]]:
    """Every peer at once, the first of several twice; after one or two such rounds the reply."""
    tools = [tool["function"] for tool in body.get("tools", ())]
    replies = [tool for tool in tools if tool["name"].startswith("reply")]
    peers = [tool for tool in tools if tool not in replies]
    if not tools:
        return []
    since: list[Message] = []
    for message in told(body["messages"]):
        since = [] if message["role"] == "user" else [*since, message]
    rounds = sum(1 for message in since if message.get("tool_calls"))
    wanted = 1 + int(key_of(body["messages"][:2])[0], 16) % ROUNDS
    if not peers or rounds >= wanted or body.get("tool_choice", "auto") != "auto":
        return [_call(replies[0], f"k{key}", text)]
    # An only peer is asked once: of two that are asked at once, either may be served first, and this one may count.
    asked = [*peers, peers[0]] if len(peers) > 1 else peers
    return [_call(tool, f"k{key}-{n}", f"{text} {n}") for n, tool in enumerate(asked)]


def _call(tool: Mapping[str, Any], id_: str, text: str) -> dict[str, Any]:
    """A call with the text in every field that it must have; there are none but texts in this world."""
    fields = dict.fromkeys(tool["parameters"]["required"], text)
    return {"id": id_, "type": "function", "function": {"name": tool["name"], "arguments": json.dumps(fields)}}


class FakeModel:
    """The server; its log is the descriptor of a file opened for appending."""

    def __init__(self, log: int) -> None:
        self._log = log
        self._numbers = count(1)

    async def serve(self) -> None:
        """Serves until it is killed; prints its URL when it is there."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=256)
        print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)  # noqa: T201 - whom it serves reads it
        await server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._served(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # whoever asked was killed
        finally:
            writer.close()

    async def _served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; gives whether there was one."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        except asyncio.IncompleteReadError:
            return False
        headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        key, run = key_of(body["messages"]), headers["authorization"].removeprefix("bearer ")
        entry = {"n": next(self._numbers), "run": run, "key": key, "whole": digest(body["messages"])}
        self._write({"event": "asked", **entry})
        await asyncio.sleep(delay_of(key))
        answer = json.dumps(answer_to(body)).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(answer) + answer
        )
        await writer.drain()
        self._write({"event": "answered", **entry})
        return True

    def _write(self, entry: Mapping[str, Any]) -> None:
        os.write(self._log, json.dumps(entry).encode() + b"\n")


if __name__ == "__main__":
    asyncio.run(FakeModel(os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)).serve())
