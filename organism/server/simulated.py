"""The simulated model as a provider: what is asked over HTTP, in either protocol, and what it says to that."""

from __future__ import annotations

import hmac
import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio
from attrs import define, field, frozen

from organism.models.contract import BackendError, Request
from organism.models.simulation.backend import SimulatedModel
from organism.models.simulation.options import Options
from organism.server import chat, messages
from organism.server.http import Answer, Streamed
from organism.server.limits import Bucket, Limits
from organism.server.refusals import Refusal, document_of
from organism.server.usage import Cached, PromptCache, counts

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from organism.models.contract import Response
    from organism.models.simulation.backend import SimulatedStream
    from organism.server.http import Asked

CHAT: Final = "/v1/chat/completions"
MESSAGES: Final = "/v1/messages"
MODELS: Final = "/v1/models"


@frozen(kw_only=True)
class _Call:
    """A request that is answered: its number, its body, and what was understood of it."""

    number: int
    body: Mapping[str, Any]
    request: Request


class _Protocol(Protocol):
    """One of the two protocols, for one request of a server."""

    def request(self, body: Mapping[str, Any]) -> Request: ...
    def whole(self, call: _Call, response: Response) -> Mapping[str, Any]: ...
    def stream(self, call: _Call, stream: SimulatedStream) -> AsyncGenerator[bytes]: ...
    def headers(self, number: int) -> Mapping[str, str]: ...
    def error(self, refusal: Refusal, number: int) -> Mapping[str, Any]: ...


@define(eq=False)
class SimulatedProvider:
    """Answers requests of both protocols with the simulated model; its server is :func:`organism.server.http.listening`.

    ``models`` are the names that it takes; ``key`` is asked of every caller where there is one. ``requests_per_minute`` and
    ``tokens_per_minute``: what comes beyond is refused with 429, and headers say what is left. ``wall`` is the time in
    seconds since 1970. ``answered`` counts the answers, streams included, that were given to their end; ``cancelled`` those
    whose callers hung up.
    """

    models: Sequence[str]
    options: Options
    wall: Callable[[], float]
    key: str | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    answered: int = field(default=0, init=False)
    cancelled: int = field(default=0, init=False)
    limits: Limits = field(init=False)
    _model: SimulatedModel = field(init=False)
    _cache: PromptCache = field(factory=PromptCache, init=False)
    _number: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._model = SimulatedModel(self.options)
        requests, tokens = self.requests_per_minute, self.tokens_per_minute
        self.limits = Limits(None if requests is None else Bucket(requests), None if tokens is None else Bucket(tokens))

    async def __call__(self, asked: Asked) -> Answer | Streamed:
        """Answers one request."""
        self._number += 1
        number = self._number
        spoken: _Protocol = _Messages(self) if _is_messages(asked) else _Chat(self)
        try:
            self._check_key(asked)
            if asked.path.startswith(MODELS) and asked.method in {"GET", "HEAD"}:
                return _document(self._models(asked), spoken.headers(number))
            _check_place(asked)
            return await self._said(asked, spoken, number)
        except Refusal as refusal:
            headers = {**spoken.headers(number), **refusal.headers}
            return _document(spoken.error(refusal, number), headers, status=refusal.status)

    async def _said(self, asked: Asked, spoken: _Protocol, number: int) -> Answer | Streamed:
        self._check_limits()
        body = document_of(asked.body)
        request = spoken.request(body)
        self._check_model(request.model)
        call = _Call(number=number, body=body, request=request)
        try:
            if body.get("stream") is not True:
                return await self._whole(call, spoken)
            # What refuses a stream does so before its first byte is sent.
            stream = await self._model.opened(request)
        except BackendError as error:
            raise _refusal(error) from None
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            raise
        self.limits.take(tokens=stream.given, now=anyio.current_time())
        return Streamed(pieces=partial(self._pieces, spoken, call, stream), headers=spoken.headers(number))

    async def _whole(self, call: _Call, spoken: _Protocol) -> Answer:
        response = await self._model.complete(call.request)
        self.limits.take(tokens=sum(counts(response)), now=anyio.current_time())
        self.answered += 1
        return _document(spoken.whole(call, response), spoken.headers(call.number))

    async def _pieces(self, spoken: _Protocol, call: _Call, stream: SimulatedStream) -> AsyncGenerator[bytes]:
        whole = False
        try:
            async with aclosing(spoken.stream(call, stream)) as pieces:
                async for piece in pieces:
                    yield piece
            whole = True
        finally:
            self.answered += whole
            self.cancelled += not whole
            if stream.response is not None:
                self.limits.take(tokens=counts(stream.response)[1], now=anyio.current_time())

    def cached(self, call: _Call) -> Cached:
        """What of a prompt is kept from earlier ones, or is kept from now on."""
        return self._cache.used(messages.parts_of(call.body, call.request), now=anyio.current_time())

    def _check_key(self, asked: Asked) -> None:
        if self.key is None:
            return
        bearer = asked.headers.get("authorization", "")
        given = asked.headers.get("x-api-key") or bearer.removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self.key.encode()):
            said = "the key that was given is wrong" if given else "no key was given"
            raise Refusal(
                401,
                f"{said}; it is expected as 'Authorization: Bearer KEY' or 'x-api-key: KEY'",
                code="invalid_api_key",
            )

    def _check_limits(self) -> None:
        now = anyio.current_time()
        lack = self.limits.lacking(now)
        if lack is not None:
            name, seconds = lack
            text = f"the limit of {name} per minute is reached; try again in {seconds:.2f} s"
            raise Refusal(429, text, code="rate_limit_exceeded", headers=_wait(seconds))
        self.limits.take(requests=1, now=now)

    def _check_model(self, model: str) -> None:
        if model not in self.models:
            text = f"there is no model '{model[:80]}'; there are: {', '.join(self.models)}"
            raise Refusal(404, text, code="model_not_found", param="model")

    def _models(self, asked: Asked) -> Mapping[str, Any]:
        """The models, in the words of both protocols; or one of them."""
        known = {
            name: {
                "id": name,
                "object": "model",
                "type": "model",
                "display_name": name,
                "owned_by": "organism",
                "created": 0,
            }
            for name in self.models
        }
        if asked.path == MODELS:
            names = list(known)
            return {
                "object": "list",
                "data": list(known.values()),
                "has_more": False,
                "first_id": names[0],
                "last_id": names[-1],
            }
        name = asked.path.removeprefix(f"{MODELS}/")
        self._check_model(name)
        return known[name]


@frozen
class _Chat:
    """Chat completions."""

    provider: SimulatedProvider

    def request(self, body: Mapping[str, Any]) -> Request:
        return chat.request_of(body)

    def whole(self, call: _Call, response: Response) -> Mapping[str, Any]:
        return chat.answer_of(response, number=call.number, model=call.request.model, now=self.provider.wall())

    async def stream(self, call: _Call, stream: SimulatedStream) -> AsyncGenerator[bytes]:
        chunks = chat.Chunks(
            number=call.number, model=call.request.model, now=self.provider.wall(), usage=chat.wants_usage(call.body)
        )
        yield _event(chunks.opening())
        async for piece in stream:
            if piece.kind == "text":
                yield _event(chunks.text(piece.text))
        if stream.response is not None:
            for chunk in chunks.ending(stream.response):
                yield _event(chunk)
        yield chat.DONE

    def headers(self, number: int) -> Mapping[str, str]:
        return {"x-request-id": messages.request_id(number), **self.provider.limits.of_chat(anyio.current_time())}

    def error(self, refusal: Refusal, number: int) -> Mapping[str, Any]:  # noqa: ARG002 - the shape of both
        return chat.error_of(refusal)


@frozen
class _Messages:
    """Messages."""

    provider: SimulatedProvider

    def request(self, body: Mapping[str, Any]) -> Request:
        return messages.request_of(body)

    def whole(self, call: _Call, response: Response) -> Mapping[str, Any]:
        cached = self.provider.cached(call)
        return messages.answer_of(response, cached, number=call.number, model=call.request.model)

    async def stream(self, call: _Call, stream: SimulatedStream) -> AsyncGenerator[bytes]:
        events = messages.Events(
            number=call.number, model=call.request.model, given=stream.given, cached=self.provider.cached(call)
        )
        for event in events.opening():
            yield _event(event)
        async for piece in stream:
            for event in events.text(piece.text) if piece.kind == "text" else ():
                yield _event(event)
        if stream.response is not None:
            for event in events.ending(stream.response):
                yield _event(event)

    def headers(self, number: int) -> Mapping[str, str]:
        now, wall = anyio.current_time(), self.provider.wall()
        return {"request-id": messages.request_id(number), **self.provider.limits.of_messages(now, wall)}

    def error(self, refusal: Refusal, number: int) -> Mapping[str, Any]:
        return messages.error_of(refusal, number=number)


def _is_messages(asked: Asked) -> bool:
    return asked.path.startswith(MESSAGES) or "anthropic-version" in asked.headers


def _check_place(asked: Asked) -> None:
    if asked.path not in {CHAT, MESSAGES}:
        known = f"POST {CHAT}, POST {MESSAGES}, GET {MODELS}"
        raise Refusal(404, f"there is no {asked.method} {asked.path[:200]}; there are: {known}")
    if asked.method != "POST":
        raise Refusal(405, f"{asked.path} takes POST, not {asked.method}", headers={"allow": "POST"})


def _refusal(error: BackendError) -> Refusal:
    """What the model refuses, in words that callers of either protocol know."""
    if error.kind == "context":
        return Refusal(400, f"prompt is too long: {error}", code="context_length_exceeded", param="messages")
    return Refusal(400, str(error))


def _wait(seconds: float) -> dict[str, str]:
    return {"retry-after": str(math.ceil(seconds)), "retry-after-ms": str(math.ceil(seconds * 1000))}


def _document(document: Mapping[str, Any], headers: Mapping[str, str], *, status: int = 200) -> Answer:
    return Answer(status=status, body=_json(document), headers=headers)


def _event(document: Mapping[str, Any]) -> bytes:
    """An event of a stream; it is named where the protocol names it."""
    name = f"event: {document['type']}\n" if "type" in document else ""
    return b"%sdata: %s\n\n" % (name.encode(), _json(document))


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
