"""What a handler sees: its message's surroundings, its budget, its state, and the ways to ask the world for something.

Every module of handlers imports this, so it loads nothing of what makes it true. In a test of a handler alone, a class of one's own
may stand in for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar, overload

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Coroutine, Mapping, MutableMapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from decimal import Decimal
    from random import Random

    from organism.budget.view import BudgetView
    from organism.models.completion import Completion
    from organism.pump.handles import ThreadHandle
    from organism.pump.streaming import ContextStream

P = TypeVar("P")
T = TypeVar("T")


class Context(ABC):
    """What a handler sees of its delivery. Everything here acts for that one alone."""

    # Where it stands

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
        """The same for every attempt at this work: give it to services that must not do a thing twice.

        A handler above that is tried again (``on_failure``) sends other messages, with the same keys.
        """

    @property
    @abstractmethod
    def name(self) -> str:
        """The handler's own name."""

    @property
    @abstractmethod
    def sender(self) -> str:
        """The handler that sent the message; ``organism`` for primitives, empty from outside."""

    @property
    @abstractmethod
    def options(self) -> Mapping[str, Any]:
        """``options`` of the handler in organism.yaml: a copy, this delivery's own."""

    @property
    @abstractmethod
    def labels(self) -> Mapping[str, str]:
        """The labels that the thread was given."""

    @property
    @abstractmethod
    def budget(self) -> BudgetView:
        """The thread's budget, live: ``ctx.budget.tokens.used``, ``held``, ``limit``, ``remaining``, ``crossed``; ``seconds`` are
        those that it has run, ``depth`` is how deep this call stands.
        """

    @property
    @abstractmethod
    def state(self) -> MutableMapping[str, Any]:
        """This handler's memory in this thread (R7): JSON values and payloads. Reads are copies; writes count when the delivery ends,
        and raise NotRunningError afterwards.
        """

    @property
    @abstractmethod
    def random(self) -> Random:
        """A generator seeded from the message's id: a message that is handled again draws the same numbers."""

    @abstractmethod
    def now(self) -> datetime:
        """The time, in UTC. A delivery that is run again after a crash reads what it read before."""

    @property
    @abstractmethod
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger named after the handler; its records have the thread as ``thread_id``."""

    # Models

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

        After the last piece ``s.completion`` is the whole; leaving early closes the connection and charges what came. With
        ``returns`` the pieces are JSON, and ``s.completion`` raises InvalidPayloadError where they come to no such payload.

        A call inside the block that could only go once the stream has ended is refused at once; also in tasks that were started there, in
        a group of trio or anyio. Those of asyncio's own ``TaskGroup``, ``gather`` and ``create_task`` are not known to be inside.
        """

    # Handlers

    @overload
    async def ask(self, to: str, payload: Any, *, expect: type[P], timeout: float | None = None) -> P: ...
    @overload
    async def ask(self, to: str, payload: Any, *, expect: None = None, timeout: float | None = None) -> Any: ...

    @abstractmethod
    async def ask(self, to: str, payload: Any, *, expect: type[P] | None = None, timeout: float | None = None) -> Any:
        """Asks a peer and waits for its first reply, ``timeout`` seconds at most.

        Raises HandlerFailedError where the peer fails or may not be asked, BudgetExhaustedError where the budget cannot
        bear the message, UnexpectedReplyError where the reply is no ``expect``.
        """

    @abstractmethod
    async def ask_all(self, asks: Sequence[tuple[str, Any]], *, expect: type | None = None) -> list[Any]:
        """Asks several peers at once. The answers come in the order of the questions; failures are values among them."""

    @abstractmethod
    async def request_budget(self, unit: str, amount: float | str | Decimal, reason: str) -> bool:
        """Asks for more of a unit; the handler that ``grants_by`` names decides. Returns whether anything was granted; ``ctx.budget`` has
        the limit as it is then.

        It costs a message, and one more for the decision. Raises ConfigurationError for what is no unit or amount, and as
        :meth:`ask` where the budget cannot bear the question.
        """

    @abstractmethod
    async def spawn(self, to: str, payload: Any, *, budget: Mapping[str, Any] | None = None) -> ThreadHandle:
        """Opens a sub-thread that runs beside this handler, with a budget inside this thread's.

        Its replies come by ``await handle.result()``, not as messages. Raises like :meth:`ask`.
        """

    # Threads

    @abstractmethod
    async def in_thread(self, function: Callable[..., T], *args: Any) -> T:
        """Runs a plain function in a worker thread, where it may block without stopping the event loop; returns what it returns.
        Handlers that are a plain ``def`` are called like this.

        Where the delivery is cancelled or runs out of time, it ends at once; the function cannot be stopped, and its result is dropped.
        """

    @abstractmethod
    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """For plain functions, which run in a thread: awaits ``work`` in the delivery, and returns its result, as in
        ``answer = ctx.run(ctx.ask("shouter", greeting))``. Raises what ``work`` raises; and OrganismError in a coroutine, which is to
        use ``await``.
        """


__all__ = ["Context"]
