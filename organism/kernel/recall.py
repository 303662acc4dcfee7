"""What deliveries were answered by the world, kept so that one that is run again is answered the same (R21)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from organism import facts
from organism.kernel.steps import ref_of

if TYPE_CHECKING:
    from organism.frames import Message
    from organism.kernel.state import State

CLOCK: Final = "clock:"
"""How the keys of what a delivery read from the clock begin."""


def remember(message: Message | None, key: str, answer: Any) -> None:
    """Keeps what a delivery was answered, while facts are recorded: run again after a crash, it is answered the same (R21).

    ``answer`` is an Ask, the id of a spawned thread, or (text, Kept) of a completion.
    """
    if message is not None and key:
        message.known = {**(message.known or {}), key: answer}


def note_clock(state: State, message: Message | None) -> None:
    """Writes down what a delivery has read from the clock, with what it asks for now: nothing left it that depends on it."""
    if message is not None and message.clock_reads:
        times, message.clock_reads = tuple(message.clock_reads), None
        read_clock(state, message, times)


def read_clock(state: State, message: Message, times: tuple[float, ...]) -> None:
    """Keeps what a delivery has read from the clock, in its order."""
    for time in times:
        number = sum(key.startswith(CLOCK) for key in message.known or ()) + 1
        remember(message, f"{CLOCK}{number}", time)
    if state.steps is not None:
        state.steps.append(facts.ClockRead(message=ref_of(message), times=times))
