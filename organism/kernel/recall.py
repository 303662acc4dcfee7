"""The answers that deliveries got from the world, kept so that a delivery that is run again after a crash gets the same (R21)."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from attrs import define, frozen

from organism.kernel.steps import ref_of
from organism.record import facts

if TYPE_CHECKING:
    from organism.budget.claims import Charge
    from organism.kernel.holds import Hold
    from organism.kernel.state import State
    from organism.record.images import Missed
    from organism.threads.frames import Message

CLOCK: Final = "clock"
"""The key of all instants that a delivery has read from the clock."""
_COUNTED: Final = "counted:"
"""How keys of calls begin that count already in ``model_calls``, though no answer came."""


@define
class Times:
    """The instants that a delivery has read from the clock, in order."""

    read: list[float]


@frozen
class Done:
    """Something that the organism did for a delivery and must not do twice: ``amount`` is what was granted (0 for a forecast), ``text``
    what is said of it.
    """

    amount: Decimal
    text: str = ""


def remember(message: Message | None, key: str, answer: Any) -> None:
    """Keeps an answer that a delivery got, under its ``key``; an empty key, as where nothing is recorded, keeps nothing.

    ``answer`` is an Ask, the id of a spawned thread, (text, Kept) of a completion, a :class:`Times`, a :class:`Done`, or a
    :class:`organism.record.images.CutShort`.
    """
    if message is not None and key:
        dealings = message.have_dealings()
        if dealings.known is None:
            dealings.known = {}
        dealings.known[key] = answer


def note_counted(hold: Hold, charge: Charge, missed: Missed | None) -> None:
    """An attempt has failed, and another one may follow: the call counts from now on, and does not again where its delivery is run again."""
    if missed is not None and hold.asked and charge.model_calls:
        remember(hold.message, f"{_COUNTED}{hold.asked}", Done(Decimal(charge.model_calls)))


def is_counted(message: Message | None, key: str) -> bool:
    """Whether the call under this key counts already, in an earlier run of its delivery."""
    return message is not None and f"{_COUNTED}{key}" in (message.known or ())


def answers_of(message: Message) -> set[str]:
    """The keys of the answers that a delivery got."""
    return {key for key in message.known or () if not key.startswith(_COUNTED)}


def note_clock(state: State, message: Message | None) -> None:
    """Records the instants that a delivery has read from the clock, as part of the change by which it asks for something or ends: before that,
    nothing that depends on them could leave it.
    """
    dealings = None if message is None else message.dealings
    if message is not None and dealings is not None and dealings.clock_reads:
        times, dealings.clock_reads = tuple(dealings.clock_reads), None
        read_clock(state, message, times)


def read_clock(state: State, message: Message, times: tuple[float, ...]) -> None:
    """Keeps instants that a delivery has read from the clock, live and when facts are folded."""
    before: Times | None = (message.known or {}).get(CLOCK)
    if before is None:
        remember(message, CLOCK, Times([*times]))
    else:
        before.read.extend(times)
    if state.steps is not None:
        state.steps.append(facts.ClockRead(message=ref_of(message), times=times))
