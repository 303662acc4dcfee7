"""Requests for more budget: what may be granted, the grant itself, and what handlers forecast of their own need (R10, R15).

A grant never exceeds what is free above: a thread's limit rises at most so far that the budgets above it could bear all that it may
spend then.
"""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve, frozen

from organism.budget.caps import NO_LIMIT, figure
from organism.budget.claims import COST, VECTOR
from organism.kernel.answers import depth_limit
from organism.kernel.limits import apply_limits
from organism.kernel.outcome import used
from organism.kernel.recall import Done, remember
from organism.kernel.times import running_time
from organism.names import ORGANISM, excerpt, suggestion, told
from organism.record import facts
from organism.settings import UNITS
from organism.threads.frames import Thread
from organism.threads.lineage import root_of
from organism.threads.outcomes import Outlay
from organism.usage import EXACT, PICO_PER_USD, Estimate, added, difference, written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from organism.budget.node import Node
    from organism.kernel.book import Book
    from organism.kernel.calls import Calls
    from organism.kernel.state import State
    from organism.kernel.times import Times
    from organism.payloads.primitives import BudgetEstimate, BudgetRequest
    from organism.settings import BudgetSettings
    from organism.threads.frames import Message

GRANTABLE: Final = tuple(unit for unit in UNITS if unit != "depth")
"""The units that can be asked for."""
MOST: Final = Decimal(10**12)
"""The largest amount that can be asked for. Limits may be far higher, so that a grant cannot take one beyond what counts as a limit."""
_SMALLEST: Final = {"cost_usd": Decimal(1) / PICO_PER_USD, "seconds": Decimal("0.001")}


@frozen
class Room:
    """What may be granted now: the limit of ``thread`` may rise by ``most`` (``None``: by any amount); the handler ``by`` decides.

    ``why`` says what prevents more.
    """

    thread: Thread
    by: str
    most: Decimal | None
    why: str = ""


class Grants:
    """Grants and forecasts of one organism."""

    def __init__(self, state: State, book: Book, calls: Calls, times: Times) -> None:
        self._state = state
        self._book = book
        self._calls = calls
        self._times = times

    def room(self, message: Message, asked: BudgetRequest, at: float) -> Room | str:
        """What could be granted to whoever sent the organism this message; where that is nothing, a text that says why."""
        wrong = request_problem(asked.unit, asked.amount)
        thread = None if wrong is not None else limited(message.thread, asked.unit)
        if thread is None:
            return wrong or f"this thread has no limit of {asked.unit} that could be raised"
        by = thread.node.policy.grants_by
        refused = _nobody_for(message, by)
        if refused is not None:
            return refused
        most, why = min(self._bounds(thread, asked.unit, at), key=lambda bound: bound[0], default=(None, ""))
        return why if most is not None and most <= 0 else Room(thread, by, most, why)

    def _bounds(self, thread: Thread, unit: str, at: float) -> Iterator[tuple[Decimal, str]]:
        """The bounds of how far a limit may rise, each with a text that says where it comes from."""
        up_to = thread.node.policy.grants_up_to
        if up_to is not None:
            outlay = root_of(thread).outlay or Outlay()
            granted = (outlay.granted or {}).get(unit, Decimal(0))
            left = max(Decimal(0), difference(up_to.get(unit, Decimal(0)), granted))
            yield left, f"{written(left)} more {unit} may be granted to this thread ('grants_up_to')"
        above = self._seconds_above(thread, at) if unit == "seconds" else _free_above(thread.node, VECTOR.index(unit))
        may = (
            _seconds_left(self._state, thread, at) if unit == "seconds" else _may_spend(thread.node, VECTOR.index(unit))
        )
        for scope, free in above:
            yield (
                difference(free, may),
                f"the {scope} above has room for {written(max(Decimal(0), free))} {unit} in all",
            )

    def _seconds_above(self, thread: Thread, at: float) -> Iterator[tuple[str, Decimal]]:
        """The seconds that are left above a thread, as (scope, seconds), where they are limited."""
        root, above = root_of(thread), thread.owner
        while above is not None:
            if above.thread.node.caps.seconds is not None:
                yield above.thread.node.scope, _seconds_left(self._state, above.thread, at)
            above = above.thread.owner
        conversation = root.conversation
        if conversation is not None and conversation.node.caps.seconds is not None:
            spent = conversation.seconds + running_time(self._state, root, at)
            yield conversation.node.scope, _decimal(conversation.node.caps.seconds - spent)
        left = self._times.left(at)
        if left is not None:
            yield ORGANISM, _decimal(left)

    def grant(
        self, message: Message, asked: BudgetRequest, amount: Decimal, *, reason: str, key: str, at: float
    ) -> Done | str:
        """Raises the limit by ``amount``, or by less where less was asked for or fits; returns what was granted, or a text that says why nothing
        was. ``key`` names the grant, so that a delivery that is run again after a crash is not granted it twice (R21).
        """
        self._book.begin(at)
        room = self.room(message, asked, at)
        if isinstance(room, str):
            self._book.give_up()
            return room
        given = min(each for each in (amount, asked.amount, room.most) if each is not None)
        given = given.quantize(_SMALLEST.get(asked.unit, Decimal(1)), rounding=ROUND_FLOOR, context=EXACT)
        given = Decimal(written(given))
        if given <= 0:
            self._book.give_up()
            return room.why if room.most is not None and room.most <= amount else "less than one was granted"
        budget = raised(room.thread.budget, asked.unit, given)
        if given < asked.amount:
            less = f"{written(given)} of the {written(asked.amount)} {asked.unit} that were asked for"
            why = room.why if room.most is not None and room.most <= amount else ""
            reason = "; ".join(each for each in (reason, less, why) if each)
        done = Done(given, reason)
        apply_grant(room.thread, asked.unit, given, budget, at)
        remember(message, key, done)
        self._book.write(
            facts.Granted,
            message.thread,
            seq=message.seq,
            node=room.thread.id,
            unit=asked.unit,
            asked=asked.amount,
            amount=given,
            by=room.by,
            reason=reason,
            budget=budget,
            key=key,
        )
        self._calls.freed(room.thread.node)
        return done

    def forecast(self, message: Message, said: BudgetEstimate, at: float, *, key: str) -> str | None:
        """Records what the sender of a message thinks its thread will still use; returns a text where that makes no sense, else ``None``."""
        wrong = unit_problem(said.unit)
        if wrong is None and not 0 <= said.low <= said.high:
            wrong = f"{said.low} to {said.high} is not a forecast: give the low end first, from 0 on"
        if wrong is not None:
            return wrong
        thread = message.thread
        self._book.begin(at)
        seconds = running_time(self._state, thread, at)
        estimate = Estimate(
            handler=message.sender, unit=said.unit, low=said.low, high=said.high, used=used(thread, said.unit, seconds)
        )
        note_estimate(thread, estimate)
        remember(message, key, Done(Decimal(0)))
        self._book.write(facts.Forecast, thread, seq=message.seq, estimate=estimate, key=key)
        return None

    def left(self, message: Message, at: float) -> dict[str, Decimal]:
        """What is left to whoever sent the organism this message, by unit: the least on the path of its thread. Units without a
        limit are not in it.
        """
        node = message.thread.node
        found: dict[str, Decimal] = {}
        for unit, name in enumerate(VECTOR):
            left = [each.free(unit) for each in node.path if each.caps.limit[unit] < NO_LIMIT]
            if left:
                found[name] = Decimal(figure(unit, max(0, min(left))))
        seconds = [left for _, left in self._seconds_above(message.thread, at)]
        if node.caps.seconds is not None:
            seconds.append(_seconds_left(self._state, message.thread, at))
        if seconds:
            found["seconds"] = max(Decimal(0), min(seconds))
        depth = depth_limit(node)
        if depth is not None:
            found["depth"] = Decimal(max(0, depth[1] - message.frame.depth + 1))  # the organism is one deeper
        return found


def unit_problem(unit: str) -> str | None:
    """What is wrong with a unit that is asked for or forecast; ``None``: nothing."""
    if unit in GRANTABLE:
        return None
    return f"there is no unit {told(unit)}{suggestion(unit, GRANTABLE)}; there are: {', '.join(GRANTABLE)}"


def request_problem(unit: str, amount: Decimal) -> str | None:
    """What is wrong with a request; ``None``: nothing."""
    wrong = unit_problem(unit)
    if wrong is None and not (amount.is_finite() and amount > 0):
        wrong = f"{excerpt(str(amount), 80)} {unit} cannot be asked for: an amount must be above 0"
    if wrong is None and amount > MOST:
        wrong = f"{excerpt(str(amount), 80)} {unit} cannot be asked for: an amount must be 10^12 at most"
    return wrong


def _nobody_for(message: Message, by: str) -> str | None:
    """Why nobody can decide on this request; ``None``: ``by`` can."""
    if not by:
        return "nobody grants more here ('grants_by')"
    if by == message.sender:
        return f"'{by}' decides on requests itself, and cannot ask for its own decision"
    if message.dropped or message.thread.is_ending:
        return "the thread is at its end and hands in what it has"
    return None


def limited(thread: Thread | None, unit: str) -> Thread | None:
    """The nearest thread that has a limit of this unit: itself, or one that called it."""
    while thread is not None and getattr(thread.budget.limits, unit) is None:
        thread = None if thread.owner is None else thread.owner.thread
    return thread


def _may_spend(node: Node, unit: int) -> Decimal:
    """What a thread may still spend, the part kept back for grace included; negative where it is overdrawn."""
    return Decimal(figure(unit, node.free(unit, grace=True)))


def _free_above(node: Node, unit: int) -> Iterator[tuple[str, Decimal]]:
    for each in node.path[1:]:
        if each.caps.limit[unit] < NO_LIMIT:
            yield each.title, Decimal(figure(unit, each.free(unit)))


def _seconds_left(state: State, thread: Thread, at: float) -> Decimal:
    return _decimal((thread.node.caps.seconds or 0.0) - running_time(state, thread, at))


def raised(budget: BudgetSettings, unit: str, amount: Decimal) -> BudgetSettings:
    """A budget whose limit of one unit is higher by an amount."""
    have: Any = getattr(budget.limits, unit)
    higher: Any = added(have, amount) if unit == VECTOR[COST] else have + type(have)(amount)
    return evolve(budget, limits=evolve(budget.limits, **{unit: higher}))


def apply_grant(thread: Thread, unit: str, amount: Decimal, budget: BudgetSettings, at: float) -> None:
    """Gives a thread its higher limit, and counts the amount as granted to its root thread."""
    root = root_of(thread)
    outlay = root.have_outlay()
    outlay.granted = outlay.granted or {}
    outlay.granted[unit] = added(outlay.granted.get(unit, Decimal(0)), amount)
    apply_limits(thread, budget, at)


def note_estimate(thread: Thread, estimate: Estimate) -> None:
    """Keeps a forecast until its thread ends."""
    outlay = thread.have_outlay()
    if outlay.estimates is None:
        outlay.estimates = []
    outlay.estimates.append(estimate)


def _decimal(seconds: float) -> Decimal:
    return Decimal(str(round(seconds, 3)))
