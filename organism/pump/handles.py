"""What the embedding program holds of a thread: to wait for its end, to cancel it, to give it more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
from attrs import evolve, fields

from organism.config import budget as parse_budget
from organism.errors import ConfigurationError, NotRunningError
from organism.frames import Failure
from organism.results import result_of
from organism.settings import UNITS, BudgetSettings, Limits, laid_over

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from organism.facts import Ended
    from organism.frames import Thread
    from organism.pump.delivery import Waiting
    from organism.pump.pump import Pump
    from organism.results import ThreadResult


class _End:
    """The end of a thread: its result, once it has come."""

    def __init__(self) -> None:
        self.come = anyio.Event()
        self.result: ThreadResult | None = None


class ThreadHandle:
    """A thread that was opened. ``id`` is opaque; ``labels`` are what it was given."""

    def __init__(self, pump: Pump, thread: Thread, end: _End | None = None, waiting: Waiting | None = None) -> None:
        self._pump = pump
        self._thread = thread
        self._end = end or _End()
        self._waiting = waiting

    @property
    def id(self) -> str:
        """The thread's id."""
        return self._thread.id

    @property
    def labels(self) -> Mapping[str, str]:
        """The thread's labels."""
        return self._thread.labels

    @property
    def ended(self) -> bool:
        """Whether its result is there."""
        return self._end.result is not None

    async def result(self) -> ThreadResult:
        """Waits for the thread to end; how it ended is a value, whatever the outcome."""
        if self._waiting is None:
            await self._end.come.wait()
        else:
            await self._wait_within(self._waiting)
        if self._end.result is None:
            raise NotRunningError(f"thread {self.id} had not ended when its organism was closed")
        return self._end.result

    async def _wait_within(self, waiting: Waiting) -> None:
        calls = self._pump.kernel.calls
        async with waiting:
            calls.await_result(waiting.message, self._thread)
            self._pump.carry_out()
            try:
                await self._end.come.wait()
            finally:
                calls.await_no_more(waiting.message, self._thread)

    def held_by(self, waiting: Waiting) -> ThreadHandle:
        """The same, for a handler: while it waits for the result it keeps no place, and its timeout stands still."""
        return ThreadHandle(self._pump, self._thread, self._end, waiting)

    def cancel(self, reason: str = "cancelled") -> None:
        """Cancels the thread with all below it; what is out settles, then it ends ``cancelled``."""
        self._pump.kernel.stop(self._thread, Failure("cancelled", reason), self._pump.now())
        self._pump.carry_out()

    def add_budget(self, **units: float | str | Decimal) -> None:
        """Raises limits by these amounts: ``handle.add_budget(tokens=1000)``. A unit without a limit stays without."""
        if wrong := [unit for unit in units if unit not in UNITS]:
            raise ConfigurationError([f"{wrong[0]!r} is no unit that can be raised; there is {', '.join(UNITS)}"])
        more = parse_budget(units).limits
        now = self._thread.budget.limits
        raised = {
            field.name: have + extra
            for field in fields(Limits)
            if (extra := getattr(more, field.name)) is not None and (have := getattr(now, field.name)) is not None
        }
        self._set(evolve(self._thread.budget, limits=evolve(now, **raised)))

    def set_budget(self, **keys: Any) -> None:
        """Sets what is named, as in ``budget:``; ``tokens=None`` is no limit. Lowered below what is spent, nothing more is
        granted.
        """
        self._set(laid_over(self._thread.budget, parse_budget(keys), keys))

    def _set(self, budget: BudgetSettings) -> None:
        if self._thread.ended:
            raise NotRunningError(f"thread {self.id} has ended; its budget was released")
        self._pump.kernel.calls.set_limits(self._thread, budget, self._pump.now())
        self._pump.rewatch_time(self._thread)
        self._pump.carry_out()

    def end(self, record: Ended | None) -> None:
        """Sets the result, for the organism; ``None`` when it was closed before."""
        self._end.result = None if record is None else result_of(record)
        self._end.come.set()
