"""Whoever may call models, a handler's context or a thread without handlers: the arguments of ``complete`` and ``stream`` become a Call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, overload

from organism.models.completion import asked_for, value_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from typing import Unpack

    from organism.models.completion import Call, CallOptions, Completion
    from organism.models.contract import ToolSpec


class Expecting(Protocol):
    """A stream that can be told which payload class its text is to hold."""

    returns: type | None


P = TypeVar("P")
S = TypeVar("S", bound=Expecting)


class Caller(ABC, Generic[S]):
    """Makes model calls within a budget, as :class:`~organism.context.interface.Context` says; ``S`` is the class of streams. Subclasses say
    whose budget it is and what is recorded, by :meth:`_call` and :meth:`_open`.
    """

    @overload
    async def complete(
        self,
        messages: str | Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[type | ToolSpec] = (),
        returns: None = None,
        **how: Unpack[CallOptions],
    ) -> Completion[None]: ...
    @overload
    async def complete(
        self, messages: str | Sequence[Mapping[str, Any]], *, returns: type[P], **how: Unpack[CallOptions]
    ) -> Completion[P]: ...
    @overload
    async def complete(
        self,
        messages: str | Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[type | ToolSpec],
        returns: type[P],
        **how: Unpack[CallOptions],
    ) -> Completion[P | None]: ...

    async def complete(
        self,
        messages: str | Sequence[Mapping[str, Any]],
        *,
        model: str = "default",
        max_output_tokens: int | None = None,
        min_output_tokens: int | None = None,
        temperature: float | None = None,
        seed: int | None = None,
        tools: Sequence[type | ToolSpec] = (),
        returns: type | None = None,
        wait: bool = True,
        grace: bool = False,
        tags: Sequence[str] = (),
        extra: Mapping[str, Any] | None = None,
    ) -> Completion[Any]:
        """See :class:`~organism.context.interface.Context`."""
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
        return value_of(await self._call(call, grace=grace, wait=wait), returns)

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
        """See :class:`~organism.context.interface.Context`."""
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
    async def _call(self, call: Call, *, grace: bool, wait: bool) -> Completion:
        """Makes one call that is ready; :meth:`complete` makes it of its arguments."""

    @abstractmethod
    def _open(self, call: Call, *, grace: bool, wait: bool) -> AbstractAsyncContextManager[S]:
        """Opens a stream for a call that is ready."""


@asynccontextmanager
async def _expecting(opened: AbstractAsyncContextManager[S], returns: type) -> AsyncGenerator[S]:
    """A stream whose text is to hold a payload of this class."""
    async with opened as stream:
        stream.returns = returns
        yield stream
