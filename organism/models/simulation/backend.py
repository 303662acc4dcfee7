"""The ``simulated`` provider: a model without a key or a network, deterministic, seeded and driven by rules.

It knows nothing of any handler. It reads what every model reads (messages, tools, schemas), asks the tools what the
question is about, quotes what came back and hands in arguments that are valid for whatever schema is asked. It counts
tokens about as a real tokenizer would and heeds budget notices as far as its ``obedience`` says, so that what an
organism does about its budgets can be seen, tested and repeated for nothing.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from organism.models.contract import BackendError, Piece, RawUsage
from organism.models.simulation.options import Options, check_extra
from organism.models.simulation.tokens import count_tokens, pieces, request_tokens
from organism.models.simulation.writing import answer
from organism.models.tokens.usage import measured

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from organism.models.contract import Request, Response, Stream


class SimulatedModel:
    """A backend that answers by rules. The same seed and request give the same answer, in every process."""

    def __init__(self, options: Options | None = None) -> None:
        self._options = Options() if options is None else options

    async def complete(self, request: Request) -> Response:
        """Answers after ``latency`` and ``token_latency`` for each output token.

        Raises BackendError: ``rejected`` where the request contradicts itself, ``context`` where it is too long.
        """
        options = self._checked(request)
        response = answer(request, options)
        await anyio.sleep(options.latency + options.token_latency * _tokens(response)[1])
        return response

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[Stream]:
        """Opens a stream after ``latency``; raises as :meth:`complete` does."""
        yield await self.opened(request)

    async def opened(self, request: Request) -> SimulatedStream:
        """A stream after ``latency``. There is no connection: it may be left where it is."""
        options = self._checked(request)
        response = answer(request, options)
        await anyio.sleep(options.latency)
        return SimulatedStream(response, options.token_latency)

    async def aclose(self) -> None:
        """Does nothing: there is no connection."""

    def _checked(self, request: Request) -> Options:
        """The options of this call; raises BackendError as a server would that was sent nonsense."""
        problems = check_extra(request.extra)
        if problems:
            raise BackendError("rejected", "; ".join(problems))
        options = self._options.overridden(request.extra)
        offered = [tool.name for tool in request.tools]
        if request.max_output_tokens < 1:
            raise BackendError("rejected", f"max_output_tokens must be at least 1, not {request.max_output_tokens}")
        if request.tool_choice not in {"auto", "required", "none", *offered}:
            known = ", ".join(offered) or "none"
            raise BackendError("rejected", f"tool_choice '{request.tool_choice}' names no tool (offered: {known})")
        if request.tool_choice == "required" and not offered:
            raise BackendError("rejected", "tool_choice 'required' without any tools; offer some or use 'auto'")
        tokens = request_tokens(request)
        if tokens >= options.context_window:
            raise BackendError(
                "context",
                f"the prompt has {tokens} tokens, the context window {options.context_window}; shorten the prompt",
            )
        return options


class SimulatedStream:
    """An answer that comes in pieces. Usage grows with them; ``response`` is there after the last one."""

    def __init__(self, response: Response, token_latency: float) -> None:
        self.response: Response | None = None
        self.given, self._output = _tokens(response)
        """Tokens of the prompt, and of the answer."""
        self.usage: RawUsage | None = RawUsage(input_tokens=self.given, output_tokens=0)
        self._whole = response
        self._left = list(reversed(_pieces(response)))
        self._said = 0
        self._token_latency = token_latency

    def __aiter__(self) -> AsyncIterator[Piece]:
        return self

    async def __anext__(self) -> Piece:
        if not self._left:
            if self.response is None:
                # The names of tools, and what frames a call, take their time too.
                await anyio.sleep(self._token_latency * (self._output - self._said))
                self.response, self.usage = self._whole, self._whole.usage
            raise StopAsyncIteration
        piece = self._left.pop()
        tokens = min(count_tokens(piece.text), max(0, self._output - self._said))
        await anyio.sleep(self._token_latency * tokens)
        self._said += tokens
        self.usage = RawUsage(input_tokens=self.given, output_tokens=self._said)
        return piece


def _pieces(response: Response) -> list[Piece]:
    """The text, then the arguments of the calls."""
    return [Piece(text=each) for each in pieces(response.text)] + [
        Piece(text=each, kind="other", tool=call.name, call=number)
        for number, call in enumerate(response.tool_calls)
        for each in pieces(call.arguments)
    ]


def _tokens(response: Response) -> tuple[int, int]:
    used = measured(response.usage)
    return (0, 0) if used is None else (used.input_tokens, used.output_tokens)
