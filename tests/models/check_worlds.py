"""The worlds in which backends are checked: servers of both protocols, scripts and recordings."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from organism.models.contract import BackendError
from organism.settings import BackendSettings
from organism.testing import Says, Scenario, ScriptedModel, Stand
from tests.models import anthropic_server as messages
from tests.models import hostile as chat
from tests.models.hostile import Peer, nobody, serving, whole
from tests.models.made import made
from tests.models.router_world import Say, Script

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from organism.models.contract import Backend, Request
    from tests.models.hostile import Way

KEY = "sk-" + "Ab1" * 12
RETURNED = '{"text": "a tool to eat with"}'
CALLED = '{"word": "fork"}'


async def _hang_after(peer: Peer, first: bytes) -> None:
    if first:
        await peer.send(first)
    await peer.hang()


def _last(body: Mapping[str, Any]) -> str:
    content: Any = body["messages"][-1]["content"]
    return content if isinstance(content, str) else str(content[-1].get("text", ""))


def _chat_reply(scenario: Scenario, body: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """A message and its finish reason."""
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": CALLED}}
    if scenario is Scenario.CALLS and body["messages"][-1]["role"] == "user":
        return {"content": None, "tool_calls": [call]}, "tool_calls"
    if scenario is Scenario.RETURNS:
        return {"content": RETURNED}, "stop"
    return {"content": f"This is about {_last(body)}"}, "length" if scenario is Scenario.LENGTH else "stop"


def chat_way(scenario: Scenario) -> Way:
    async def way(peer: Peer) -> None:
        body = await peer.request()
        status = {
            Scenario.RATE_LIMITED: (429, {"retry_after": 2}),
            Scenario.FAILING: (500, {}),
            Scenario.WRONG_KEY: (401, {}),
            Scenario.REJECTING: (400, {}),
            Scenario.TOO_LONG: (400, {}),
        }.get(scenario)
        code = "context_length_exceeded" if scenario is Scenario.TOO_LONG else "nothing"
        if status is not None:
            error = {"error": {"message": f"no, not with {KEY}", "code": code}}
            await peer.send(whole(error, status[0], **status[1]))
        elif scenario is Scenario.GARBLED:
            await peer.send(whole(b"{gibberish"))
        elif scenario in {Scenario.CUT, Scenario.HANGING}:
            first = chat.events(chat.word("one ")) if body.get("stream") else b""
            if scenario is Scenario.HANGING:
                await _hang_after(peer, first)
            else:
                await peer.send(first or chat.head(content_length=100))
                await peer.cut()
        else:
            reply, reason = _chat_reply(scenario, body)
            if not body.get("stream"):
                choice = {"message": {"role": "assistant", **reply}, "finish_reason": reason}
                await peer.send(whole(chat.answer(choices=[choice])))
                return
            deltas = [{"content": word} for word in (reply["content"] or "").partition(" ") if word]
            deltas += [{"tool_calls": [{"index": 0, **call}]} for call in reply.get("tool_calls", ())]
            chunks = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
            await peer.send(chat.events(*chunks, chat.word("", reason), chat.usage(), chat.DONE) + chat.END)

    return way


_TYPES = {
    Scenario.RATE_LIMITED: (429, "rate_limit_error", {"retry_after": 2}),
    Scenario.FAILING: (500, "api_error", {}),
    Scenario.WRONG_KEY: (401, "authentication_error", {}),
    Scenario.REJECTING: (400, "invalid_request_error", {}),
    Scenario.TOO_LONG: (413, "request_too_large", {}),
}


def messages_way(scenario: Scenario) -> Way:
    async def way(peer: Peer) -> None:
        body = await peer.request()
        if scenario in _TYPES:
            status, kind, headers = _TYPES[scenario]
            await peer.send(whole(messages.failure(kind, f"no, not with {KEY}"), status, **headers))
        elif scenario is Scenario.GARBLED:
            await peer.send(whole(b"{gibberish"))
        elif scenario in {Scenario.CUT, Scenario.HANGING}:
            begun = (messages.started(), *messages.words("one ")[:2])
            first = messages.events(*begun) if body.get("stream") else b""
            if scenario is Scenario.HANGING:
                await _hang_after(peer, first)
            else:
                await peer.send(first or chat.head(content_length=100))
                await peer.cut()
        else:
            await _messages_answer(peer, scenario, body)

    return way


async def _messages_answer(peer: Peer, scenario: Scenario, body: Mapping[str, Any]) -> None:
    results = any(block.get("type") == "tool_result" for block in body["messages"][-1]["content"])
    text, tool, reason = f"This is about {_last(body)}", "", "max_tokens" if scenario is Scenario.LENGTH else "end_turn"
    if scenario is Scenario.RETURNS or (scenario is Scenario.CALLS and not results):
        tool, reason = body["tools"][-1]["name"], "tool_use"
        text = RETURNED if scenario is Scenario.RETURNS else CALLED
    if body.get("stream"):
        block = messages.call(0, tool, text[:5], text[5:]) if tool else messages.words(text[:5], text[5:])
        await peer.send(messages.events(messages.started(), *block, messages.stopped(reason), messages.OVER) + chat.END)
        return
    content = {"type": "tool_use", "id": "toolu_0", "name": tool, "input": json.loads(text)} if tool else text
    await peer.send(whole(messages.answer(content, stop=reason)))


def over_http(provider: str, way: Any) -> Any:
    """The world of a provider that speaks to a server."""

    @asynccontextmanager
    async def world(scenario: Scenario) -> AsyncGenerator[Stand]:
        busy = 0

        async def counted(peer: Peer) -> None:
            nonlocal busy
            busy += 1
            try:
                await way(scenario)(peer)
            finally:
                busy -= 1
                server.stirred.set()

        async with serving(counted) as server:
            with nobody() as gone:
                url = gone.url if scenario is Scenario.UNREACHABLE else server.url
                settings = BackendSettings(provider=provider, model="m", base_url=url, api_key_env="K")
                backend = made(settings, {"K": KEY})

                async def deserted() -> None:
                    await server.until(lambda: not busy)  # connections may wait for the next call

                yield Stand(backend=backend, model="m", asked=lambda: server.asked, deserted=deserted, key=KEY)

    return world


def says(scenario: Scenario, request: Request) -> Says:
    """What a scripted model says."""
    last = request.messages[-1]
    if scenario is Scenario.CALLS and last["role"] == "user":
        return Says(calls=(("look", {"word": "fork"}),))
    if scenario is Scenario.RETURNS:
        return Says(text=RETURNED)
    reason = "length" if scenario is Scenario.LENGTH else None
    return Says(text=f"This is about {last['content']}", finish_reason=reason)


FAILS: Mapping[Scenario, BackendError] = {
    Scenario.RATE_LIMITED: BackendError("rate_limited", "429", retry_after=2),
    Scenario.FAILING: BackendError("server", "500"),
    Scenario.WRONG_KEY: BackendError("auth", "401"),
    Scenario.REJECTING: BackendError("rejected", "400"),
    Scenario.TOO_LONG: BackendError("context", "too long"),
    Scenario.UNREACHABLE: BackendError("connection", "nobody there"),
    Scenario.GARBLED: BackendError("broken", "gibberish"),
    Scenario.CUT: BackendError("cut", "cut"),
}


def scripted_backend(scenario: Scenario) -> tuple[ScriptedModel | Script, Backend]:
    """A backend that acts a scenario, and what has its requests."""
    if scenario is Scenario.HANGING:
        hanging = Script(Say("one two", seconds=3600))
        return hanging, hanging
    model = ScriptedModel(
        lambda request: Says(text="one two", error=FAILS[scenario]) if scenario in FAILS else says(scenario, request)
    )
    return model, model.backend(BackendSettings(provider="scripted", model="m"))


@asynccontextmanager
async def scripted(scenario: Scenario) -> AsyncGenerator[Stand]:
    model, backend = scripted_backend(scenario)
    yield Stand(backend=backend, asked=lambda: len(model.requests))
