"""What a handler is given beside its message: where it runs, its budget, its state, and the ways to call models and other handlers.

Every module of handlers imports this, so it loads nothing of the implementation. A test of a handler alone may pass a class of its
own in its place.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, overload

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Coroutine, Iterable, Mapping, MutableMapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from decimal import Decimal
    from random import Random
    from typing import Unpack

    from typing_extensions import TypeForm

    from organism.budget.view import BudgetView
    from organism.errors import OrganismError
    from organism.models.completion import CallOptions, Completion
    from organism.models.contract import ToolSpec
    from organism.pump.handles import ThreadHandle
    from organism.pump.streaming import ContextStream

P = TypeVar("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Context(ABC):
    """What a handler gets beside its message. It belongs to one delivery of one message, and stops working when that is over.

    ``complete`` and ``stream`` call models; ``ask`` and ``ask_all`` call peers and wait; ``spawn`` starts work beside the handler;
    ``budget`` is what is left, and ``request_budget`` asks for more; ``state`` is a memory. Use ``now()`` and ``random`` in place of the
    clock and of random numbers of your own: a delivery that is run again after a crash then sees the same.
    """

    # Where it runs

    @property
    @abstractmethod
    def thread(self) -> str:
        """The id of the thread the message belongs to; opaque."""

    @property
    @abstractmethod
    def conversation(self) -> str | None:
        """The id of the lasting conversation, ``None`` outside of one."""

    @property
    @abstractmethod
    def message_id(self) -> str:
        """The id of the message; opaque."""

    @property
    @abstractmethod
    def idempotency_key(self) -> str:
        """A key that is the same for every attempt at this work: give it to services that must not act twice.

        When a handler above is tried again (``on_failure``), its messages are new, but their keys are the same.
        """

    @property
    @abstractmethod
    def name(self) -> str:
        """The handler's own name."""

    @property
    @abstractmethod
    def sender(self) -> str:
        """The handler that sent the message; ``organism`` for the organism's own, empty for one from outside."""

    @property
    @abstractmethod
    def options(self) -> Mapping[str, Any]:
        """A copy of the handler's ``options`` in organism.yaml."""

    @property
    @abstractmethod
    def labels(self) -> Mapping[str, str]:
        """The labels that the thread was given."""

    @property
    @abstractmethod
    def budget(self) -> BudgetView:
        """The thread's budget, live: each unit has ``used``, ``held``, ``limit``, ``remaining`` and ``crossed``, as in
        ``ctx.budget.tokens.used``. ``seconds`` counts the thread's running time, ``depth`` how many calls deep this one is.
        """

    @property
    @abstractmethod
    def state(self) -> MutableMapping[str, Any]:
        """This handler's memory in this thread or conversation: JSON values and payloads. Reads are copies; writes take effect when the
        delivery succeeds, and raise NotRunningError once it is over.
        """

    @property
    @abstractmethod
    def random(self) -> Random:
        """A generator seeded from the message's id: when the message is handled again, it draws the same numbers in the same order. Tasks
        that draw side by side may get each other's: draw before you start them, or give each a generator of its own.
        """

    @abstractmethod
    def now(self) -> datetime:
        """The time, in UTC. A delivery that is run again after a crash gets the times that it got before."""

    @property
    @abstractmethod
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger named after the handler; its records have the thread as ``thread_id``."""

    # Models

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

    @abstractmethod
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
        """Calls a model, within the budget.

        - ``messages``: one text, or dicts as in chat completions.
        - ``model``: an alias of ``models:``.
        - ``max_output_tokens``: honoured or refused. Without it the alias's ``max_output_tokens`` is asked for, and may be lowered to
          what the budget bears, but not below ``min_output_tokens`` (``None``: 64).
        - ``temperature``, ``seed``: as the provider takes them; ``None``: its default.
        - ``tools``: payload classes or tool specifications.
        - ``returns``: a payload class; the answer is decoded into it as ``completion.value``.
        - ``wait``: with ``False``, a call that would have to wait for budget is refused instead.
        - ``grace``: with ``True``, makes the one last call that is paid from what is kept back. Only for the handler of the thread's
          first message.
        - ``tags``: short texts under which the costs are counted too (``organism usage --by tag``).
        - ``extra``: further keys of the request, passed to the provider.

        Raises BudgetExhaustedError before any backend is touched, ModelError if every backend failed, InvalidPayloadError if the
        answer is not a ``returns``, TypeError or ValueError for arguments that make no request, and NotRunningError once the delivery is over.
        An answer that calls tools instead has no ``value`` yet (``None``).
        """

    @abstractmethod
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
    ) -> AbstractAsyncContextManager[ContextStream]:
        """As :meth:`complete`, piece by piece: ``async with ctx.stream(...) as s: async for piece in s: ...``.

        After the last piece ``s.completion`` is the whole answer. Leaving early closes the connection, and what came is charged. With
        ``returns`` the pieces are JSON, and ``s.completion`` raises InvalidPayloadError if they are not such a payload.

        A call inside the block is refused if it could only be made after the stream has ended. That holds for tasks started
        inside it by trio or anyio too, but not for those of asyncio's own ``TaskGroup``, ``gather`` and ``create_task``, which wait.
        """

    # Handlers

    @overload
    async def ask(self, to: str, payload: Any, *, expect: None = None, timeout: float | None = None) -> Any: ...
    @overload
    async def ask(self, to: str, payload: Any, *, expect: TypeForm[P], timeout: float | None = None) -> P: ...

    @abstractmethod
    async def ask(
        self, to: str, payload: Any, *, expect: TypeForm[P] | None = None, timeout: float | None = None
    ) -> Any:
        """Asks a peer and waits for its first reply, for at most ``timeout`` seconds. ``expect`` is a payload class, or a union of them.

        Raises HandlerFailedError if the peer fails or may not be asked, BudgetExhaustedError if the budget does not
        allow the message, and UnexpectedReplyError if the reply is not an ``expect``.
        """

    @overload
    async def ask_all(self, asks: Iterable[tuple[str, Any]], *, expect: None = None) -> list[Any]: ...
    @overload
    async def ask_all(self, asks: Iterable[tuple[str, Any]], *, expect: TypeForm[P]) -> list[P | OrganismError]: ...

    @abstractmethod
    async def ask_all(self, asks: Iterable[tuple[str, Any]], *, expect: TypeForm[P] | None = None) -> list[Any]:
        """Asks several peers concurrently; ``asks`` are (peer, payload). Returns the replies in the same order; for a reply that did not come,
        the error that :meth:`ask` would have raised. Itself it raises only TypeError and NotRunningError.
        """

    @abstractmethod
    async def request_budget(self, unit: str, amount: float | str | Decimal, reason: str) -> bool:
        """Asks for more of a unit; the handler that ``grants_by`` names decides. Returns whether anything was granted; ``ctx.budget`` then
        has the new limit.

        It costs one message, and one more for the decision. Raises ConfigurationError if ``unit`` or ``amount`` is not valid, and
        as :meth:`ask` if the budget does not allow the request.
        """

    @abstractmethod
    async def spawn(self, to: str, payload: Any, *, budget: Mapping[str, Any] | None = None) -> ThreadHandle:
        """Sends a peer a message in a sub-thread that runs beside this handler, with a budget inside this thread's; ``budget`` has keys of
        ``budget:``, as in ``{"tokens": 500}``.

        ``await handle.result()`` gives its replies; they do not come as messages. Raises like :meth:`ask`, and ConfigurationError if
        ``budget`` is wrong.
        """

    # Threads

    @abstractmethod
    async def in_thread(self, function: Callable[[Unpack[Ts]], T], *args: *Ts) -> T:
        """Runs a plain function in a worker thread, where it may block without stopping the event loop, and returns its result.
        Handlers that are a plain ``def`` are called in this way.

        If the delivery is cancelled or times out, it ends immediately; the function runs on, since it cannot be stopped, and its result
        is dropped.
        """

    @abstractmethod
    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """For plain functions that run in a worker thread: awaits ``work`` in the event loop, and returns its result, as in
        ``answer = ctx.run(ctx.ask("shouter", greeting))``. Raises what ``work`` raises, and OrganismError when called from a
        coroutine, which can use ``await``.
        """


__all__ = ["Context"]
