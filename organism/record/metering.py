"""What model calls cost, for billing and monitoring: one event for each attempt, and one for each call, as they become durable."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from decimal import Decimal
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, Literal

from attrs import frozen

from organism.names import counted
from organism.record import facts
from organism.settings import NOTHING
from organism.usage import Usage, usage_of

if TYPE_CHECKING:
    from organism.budget.claims import Charge
    from organism.record.facts import Fact

_log: Final = logging.getLogger("organism")

ROOM: Final = 10_000
"""Events that may wait for one listener."""
PATIENCE: Final = 10.0
"""Seconds that closing waits for a listener that has not heard all yet."""


@frozen(kw_only=True)
class Metered:
    """What one attempt cost (``what`` is ``attempt``), or one call with all its attempts (``call``): add up one kind, not both.

    ``attempt`` is, for an attempt, the number of its hold among those of its call, and for a call, how many attempts were made. ``message``
    is the number of the delivery in its thread, 0 for a thread without handlers, whose ``handler`` is empty; ``model`` is the alias.
    ``cost_usd`` is ``None`` if the price was not known. ``latency`` is in seconds: for an attempt since its hold, for a call that of
    its last attempt. ``outcome`` of a call is ``ok``, ``refused`` (by a limit), ``failed`` or ``cut`` (nobody waited for it any more).
    ``at`` is in seconds since 1970.
    """

    what: Literal["attempt", "call"]
    at: float
    thread: str
    handler: str
    message: int
    model: str
    backend: str | None
    attempt: int
    usage: Usage
    cost_usd: Decimal | None
    estimated: bool
    latency: float | None = None
    outcome: str | None = None
    tags: tuple[str, ...] = ()
    labels: Mapping[str, str] = NOTHING
    accounts: tuple[str, ...] = ()


def metered(fact: Fact) -> Metered | None:
    """What a fact says of the costs of an attempt or of a call; ``None`` for any other. A call that was lost in a crash has the events of
    its attempts alone; what is released without a charge had an attempt all the same.
    """
    match fact:
        case facts.CallSettled(charge=charge):
            latency, attempt = max(0.0, fact.at - fact.held_at), fact.attempt or 1
            return _of(
                fact, "attempt", fact.backend, attempt, _usage(charge), unpriced=charge.unpriced, latency=latency
            )
        case facts.CallCompleted(kept=kept) if kept is not None:
            return _of(
                fact, "call", kept.backend, kept.attempts, kept.usage,
                unpriced=kept.unpriced, latency=kept.latency, outcome=kept.outcome,
            )  # fmt: skip
        case facts.CallFailed():
            return _of(fact, "call", None, fact.attempts, fact.usage, unpriced=fact.unpriced, outcome=fact.outcome)
        case facts.CallRefused(
            alias=str(), call=None
        ):  # of one that had attempts, what they did cost is said behind it
            return _of(fact, "call", fact.backend, 0, Usage(), outcome="refused")
        case _:
            return None


def _of(
    fact: facts.CallSettled | facts.CallCompleted | facts.CallFailed | facts.CallRefused,
    what: Literal["attempt", "call"],
    backend: str | None,
    attempt: int,
    usage: Usage,
    *,
    unpriced: bool | None = None,
    latency: float | None = None,
    outcome: str | None = None,
) -> Metered:
    return Metered(
        what=what,
        at=fact.at,
        thread=fact.thread,
        handler=fact.handler,
        message=fact.seq,
        model=fact.alias or "",
        backend=backend,
        attempt=attempt,
        usage=usage,
        cost_usd=None if unpriced else usage.cost_usd,
        estimated=usage.estimated,
        latency=latency,
        outcome=outcome,
        tags=fact.tags,
        labels=fact.labels or NOTHING,
        accounts=fact.accounts,
    )


def _usage(charge: Charge) -> Usage:
    return usage_of(
        charge.amounts, charge.details, seconds=0.0, estimated=charge.estimated, unpriced=bool(charge.unpriced)
    )


class Meter:
    """Tells ``listener`` of every event in a thread of its own, in order: it may wait as long as it likes, and is in nobody's way. The thread
    is started with the first event: where nothing is ever heard, none is left behind.

    Up to ``room`` events wait for it. What does not fit in is lost to it, and how much is said in the log; nothing else hears of that.
    One that raises is called again with the next event.
    """

    def __init__(self, listener: Callable[[Metered], object], *, room: int = ROOM, patience: float = PATIENCE) -> None:
        self._listener = listener
        self._room = room
        self._patience = patience
        self._waiting: SimpleQueue[Metered | None] = SimpleQueue()
        self._lost = 0
        self._ended = False
        self._thread = threading.Thread(target=self._work, name="organism meter", daemon=True)

    def hear(self, fact: Fact) -> None:
        """Takes a fact; never waits, never raises. Call it from one thread only."""
        event = metered(fact)
        if event is None:
            return
        if self._waiting.qsize() < self._room:
            self._waiting.put(event)
            if self._thread.ident is None:
                self._thread.start()
            return
        self._lost += 1
        if self._lost == 1:
            _log.error(
                "a callback of `meter` is more than %s behind: it misses those that come now; the journal has all",
                counted(self._room, "event"),
            )

    def end(self) -> None:
        """No more events come; those that wait are still told."""
        self._ended = True
        self._waiting.put(None)

    @property
    def over(self) -> bool:
        """Whether no more events come, and all are told."""
        return self._ended and not self._thread.is_alive()

    def join(self) -> None:
        """Blocks until all is told, or until its patience ends."""
        if self._thread.ident is not None:
            self._thread.join(self._patience)
        if self._thread.is_alive():
            _log.error(
                "a callback of `meter` has not taken %s within %g s; it is not waited for any longer",
                counted(self._waiting.qsize(), "event"),
                self._patience,
            )
        elif self._lost:
            _log.error("a callback of `meter` has missed %s; the journal has all", counted(self._lost, "event"))

    def _work(self) -> None:
        while (event := self._waiting.get()) is not None:
            try:
                self._listener(event)
            except Exception:  # noqa: BLE001 - whatever it is, it is the listener's; it is logged
                _log.exception("a callback of `meter` raised an exception; it is called again with the next event")
