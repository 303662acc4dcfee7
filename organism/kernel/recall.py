"""What deliveries were answered by the world, kept so that one that is run again is answered the same (R21)."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from organism.kernel.steps import ref_of
from organism.record import facts

if TYPE_CHECKING:
    from organism.kernel.state import State
    from organism.threads.frames import Message

CLOCK: Final = "clock"
"""The key of all that a delivery has read from the clock, in its order."""


@frozen
class Times:
    """What a delivery has read from the clock."""

    read: tuple[float, ...]


@frozen
class Done:
    """What the organism did for a delivery, and does once: ``amount`` is what was granted, 0 where nothing was to be, and
    ``text`` what is said of it.
    """

    amount: Decimal
    text: str = ""


def remember(message: Message | None, key: str, answer: Any) -> None:
    """Keeps what a delivery was answered, while facts are recorded: run again after a crash, it is answered the same (R21).

    ``answer`` is an Ask, the id of a spawned thread, (text, Kept) of a completion, a :class:`Times`, a :class:`Done`, or a
    :class:`organism.record.images.CutShort`.
    """
    if message is not None and key:
        dealings = message.have_dealings()
        if dealings.known is None:
            dealings.known = {}
        dealings.known[key] = answer


def note_clock(state: State, message: Message | None) -> None:
    """Writes down what a delivery has read from the clock, with what it asks for now or comes to: nothing left it that depends on it."""
    dealings = None if message is None else message.dealings
    if message is not None and dealings is not None and dealings.clock_reads:
        times, dealings.clock_reads = tuple(dealings.clock_reads), None
        read_clock(state, message, times)


def read_clock(state: State, message: Message, times: tuple[float, ...]) -> None:
    """Keeps what a delivery has read from the clock, in its order."""
    before: Times | None = (message.known or {}).get(CLOCK)
    remember(message, CLOCK, Times(times if before is None else (*before.read, *times)))
    if state.steps is not None:
        state.steps.append(facts.ClockRead(message=ref_of(message), times=times))
