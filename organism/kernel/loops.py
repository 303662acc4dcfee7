"""Loops: the same payload over the same route again and again is warned of once, and then its thread is stopped."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from organism.budget.claims import Crossing
from organism.kernel.warnings import raise_crossing
from organism.threads.lineage import root_of
from organism.threads.outcomes import Failure

if TYPE_CHECKING:
    from organism.kernel.rings import Repeated
    from organism.kernel.state import State
    from organism.settings import Loops
    from organism.threads.frames import Message

UNIT: Final = "repeats"
"""What warnings of loops count. It is a unit of its own: rows of ``messages`` tell of a budget, and of nothing else."""


def note_loops(state: State, sender: Message) -> Failure | None:
    """Warns of what this delivery has sent too often; why its thread is to be stopped, where it was warned of that before.

    An agent is told in its next prompt: it is not stopped for what it sent before it could read that.
    """
    rings = state.rings
    if rings is None or not rings.repeated:
        return None
    repeated, rings.repeated = rings.repeated, []
    stops: Failure | None = None
    for each in repeated:
        seq = rings.of(root_of(sender.thread)).warned.get(each.digest)
        if seq is None:
            _warn(state, sender, each, rings.loops)
        elif not _waits_to_hear(sender, seq):
            stops = stops or _failure(each, rings.loops)
    return stops


def _warn(state: State, sender: Message, repeated: Repeated, loops: Loops) -> None:
    """Writes the one warning down that there is of this route: so its level is final."""
    root, message = root_of(sender.thread), repeated.message
    said = Crossing(
        unit=UNIT,
        level="final",
        threshold=Decimal(loops.repeats),
        used=repeated.times,
        held=0,
        limit=loops.repeats,
        remaining=0,
        scope="thread",
        thread=root.id,
    )
    about = f"{type(message.payload).__name__} to {message.to}"
    raise_crossing(state, sender.thread, sender, said, about=about, digest=repeated.digest)


def _waits_to_hear(sender: Message, seq: int) -> bool:
    """Whether the warning of this number waits for the next prompt of an agent."""
    queue = (sender.thread.pending or {}).get(sender.to, ())
    return any(each.seq == seq for each in queue)


def _failure(repeated: Repeated, loops: Loops) -> Failure:
    message = repeated.message
    text = (
        f"a loop: '{message.sender}' has sent the same {type(message.payload).__name__} to '{message.to}' "
        f"{repeated.times} times within {loops.within} messages, after a warning"
    )
    return Failure("stopped", text)
