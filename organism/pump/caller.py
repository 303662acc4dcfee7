"""Whoever may call models: what a program writes becomes a call that is ready, in one place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from organism.models.calls import asked_for, value_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from organism.models.completion import Call, Completion


class Expecting(Protocol):
    """A stream that knows what its text is to hold."""

    returns: type | None


S = TypeVar("S", bound=Expecting)


class Caller(ABC, Generic[S]):
    """Makes calls within a budget; ``S`` is what streams are read by. Whose budget it is, and what is written down, is said by
    :meth:`call_model` and :meth:`_open`.
    """

    async def complete(
        self,
        messages: str | Sequence[Mapping[str, Any]],
        *,
        model: str = "default",
        max_output_tokens: int | None = None,
        min_output_tokens: int | None = None,
        temperature: float | None = None,
        seed: int | None = None,
        tools: Sequence[Any] = (),
        returns: type | None = None,
        wait: bool = True,
        grace: bool = False,
        tags: Sequence[str] = (),
        extra: Mapping[str, Any] | None = None,
    ) -> Completion:
        """Calls a model, within the budget.

        ``messages`` is a question or chat-completions dicts; ``tools`` payload classes or tool specifications; ``returns`` a
        payload class that the answer is decoded into (``completion.value``). ``max_output_tokens`` is honoured or refused;
        without it the alias's wish may be clamped, down to ``min_output_tokens``. ``wait=False`` refuses at once what would
        have to wait. ``grace=True`` makes the one call on what is kept back, for the handler of the root frame. ``tags`` are short
        texts that its costs are counted under (``organism usage --by tag``), beside thread, handler, model and labels.

        Raises BudgetExhaustedError before any backend is touched, ModelError when every backend failed, and
        InvalidPayloadError when the answer is no ``returns``; one that calls tools instead has no ``value`` yet.
        """
        call = asked_for(
            messages,
            model=model,
            max_output_tokens=max_output_tokens,
            min_output_tokens=min_output_tokens,
            temperature=temperature,
            seed=seed,
            tools=tools,
            returns=returns,
            extra=extra,
            tags=tags,
        )
        return value_of(await self.call_model(call, grace=grace, wait=wait), returns)

    def stream(
        self,
        messages: str | Sequence[Mapping[str, Any]],
        *,
        model: str = "default",
        max_output_tokens: int | None = None,
        min_output_tokens: int | None = None,
        temperature: float | None = None,
        seed: int | None = None,
        returns: type | None = None,
        wait: bool = True,
        grace: bool = False,
        tags: Sequence[str] = (),
        extra: Mapping[str, Any] | None = None,
    ) -> AbstractAsyncContextManager[S]:
        """As :meth:`complete`, piece by piece: ``async with ctx.stream(...) as s: async for piece in s: ...``.

        After the last piece ``s.completion`` is the whole; leaving early closes the connection and charges what came. With
        ``returns`` the pieces are JSON, and ``s.completion`` raises InvalidPayloadError where they come to no such payload.
        """
        call = asked_for(
            messages,
            model=model,
            max_output_tokens=max_output_tokens,
            min_output_tokens=min_output_tokens,
            temperature=temperature,
            seed=seed,
            returns=returns,
            extra=extra,
            tags=tags,
        )
        opened = self._open(call, grace=grace, wait=wait)
        return opened if returns is None else _expecting(opened, returns)

    @abstractmethod
    async def call_model(self, call: Call, *, grace: bool = False, wait: bool = True) -> Completion:
        """Makes one call whose request is ready; what :meth:`complete` does after it has made one."""

    @abstractmethod
    def _open(self, call: Call, *, grace: bool, wait: bool) -> AbstractAsyncContextManager[S]:
        """Opens a stream for a call that is ready."""


@asynccontextmanager
async def _expecting(opened: AbstractAsyncContextManager[S], returns: type) -> AsyncGenerator[S]:
    """A stream whose text is to hold a payload."""
    async with opened as stream:
        stream.returns = returns
        yield stream
