"""Messages about budgets, as payloads and in words, with the figures of the instant."""

from __future__ import annotations

from bisect import bisect_left
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from attrs import evolve

from organism.budget.caps import figure
from organism.budget.claims import VECTOR
from organism.budget.levels import URGENCY
from organism.kernel.failures import limited_by
from organism.payloads.primitives import BudgetExhausted, BudgetWarning
from organism.usage import written

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from organism.budget.node import Node
    from organism.threads.frames import Thread
    from organism.threads.outcomes import Failure, Warned

WORDS: Final[Mapping[str, str]] = {
    "tokens": "tokens", "input_tokens": "input tokens", "output_tokens": "output tokens", "cost_usd": "USD",
    "model_calls": "model calls", "messages": "messages", "seconds": "seconds", "depth": "calls within calls",
}  # fmt: skip


def highest(warned: Sequence[Warned]) -> Warned:
    """The most urgent of some warnings: the one that a message for all of them carries."""
    return max(warned, key=lambda each: URGENCY.index(each.level))


def warning_payload(warned: Sequence[Warned]) -> BudgetWarning:
    """One message for several warnings: the fields of the most urgent, the text of all."""
    top = highest(warned)
    text = " ".join(dict.fromkeys(sentence(each) for each in warned))
    return BudgetWarning(
        unit=top.unit,
        level=top.level,
        threshold=Decimal(top.threshold),
        used=_decimal(top.used),
        held=_decimal(top.held),
        limit=_decimal(top.limit),
        remaining=_decimal(top.remaining),
        calls_left=top.calls_left,
        scope=top.scope,
        text=text,
    )


def sentence(warned: Warned) -> str:
    """A warning in words."""
    if warned.about is not None:
        return (
            f"The same message ({warned.about}) was sent {_plain(warned.used)} times; "
            "send it once more, and this thread is stopped."
        )
    unit = WORDS[warned.unit]
    one = warned.remaining == 1 and unit.endswith("s")
    left = (
        f"{_plain(warned.remaining)} {unit[:-1] if one else unit} of the {warned.scope} {'is' if one else 'are'} left"
    )
    more = "call" if warned.calls_left == 1 else "calls"
    enough = "" if warned.calls_left is None else f", enough for about {warned.calls_left} more {more} like the last"
    return f"{_plain(warned.used)} of {_plain(warned.limit)} {unit} are used; {left}{enough}."


def live(threads: Mapping[str, Thread], hears: Thread, warned: Warned) -> Warned:
    """A warning with the figures of this instant, for a handler in the thread ``hears`` that is told only now."""
    node = _node_of(threads, hears, warned)
    if node is None:
        return warned
    used, held, limit, remaining = node.figures(VECTOR.index(warned.unit))
    # How many more calls fit depends on what the last one cost, which is known of the thread whose call it was.
    left = calls_left(hears) if _raised_in(hears, warned) else warned.calls_left
    return evolve(warned, used=used, held=held, limit=limit, remaining=remaining, calls_left=left)


def _raised_in(thread: Thread, warned: Warned) -> bool:
    """Whether a warning is one of the thread's own, which stand there in the order of their numbers."""
    raised = thread.warnings or ()
    place = bisect_left(raised, warned.seq, key=_number)
    return place < len(raised) and raised[place] == warned


def _number(warned: Warned) -> int:
    return warned.seq


def is_current(threads: Mapping[str, Thread], hears: Thread, warned: Warned) -> bool:
    """Whether a warning still holds. It does not where its level was armed again, since the limit was raised or a new window has begun, nor
    where there is no limit any more.
    """
    node = _node_of(threads, hears, warned)
    if node is None or warned.about is not None:
        return True
    unit = VECTOR.index(warned.unit)
    if node.remaining(unit) is None:
        return False
    return bool(node.runways >> unit & 1) if warned.level == "runway" else warned.threshold in node.fired[unit]


def _node_of(threads: Mapping[str, Thread], hears: Thread, warned: Warned) -> Node | None:
    """The node that a warning is about, where it is still on the path of the thread ``hears`` or that of a thread below it."""
    if warned.unit not in VECTOR:
        return None
    below = threads.get(warned.node)
    known = hears.node.path if below is None else (*hears.node.path, below.node)
    return next((each for each in known if each.thread == warned.node), None)


def exhausted_payload(node: Node, failure: Failure, *, grace: bool = True) -> BudgetExhausted:
    """What the handler of an exhausted thread is told. ``grace``: one last answer is possible."""
    unit = failure.unit or "tokens"
    node = limited_by(failure, node)
    used: Decimal = Decimal(0)
    limit: Decimal = Decimal(0)
    if unit in VECTOR:
        index = VECTOR.index(unit)
        used, limit = Decimal(figure(index, node.used[index])), Decimal(figure(index, node.caps.limit[index]))
    elif unit == "seconds" and node.caps.seconds is not None:
        used = limit = _decimal(node.caps.seconds)
    return BudgetExhausted(
        unit=unit, used=used, limit=limit, scope=failure.scope or node.scope, grace=grace, text=failure.text
    )


def calls_left(thread: Thread) -> int | None:
    """How many more calls like the last one the thread's path bears; ``None`` before the first."""
    like = None if thread.outlay is None else thread.outlay.calls_like
    if like is None:
        return None
    left = [
        max(0, node.free(unit)) // amount
        for node in thread.node.path
        for unit, amount in enumerate(like)
        if amount and node.remaining(unit) is not None
    ]
    return min(left, default=None)


def _decimal(value: float | Decimal) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(str(value))


def _plain(value: float | Decimal) -> str:
    return written(_decimal(value))
