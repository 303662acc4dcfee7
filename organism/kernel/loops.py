"""Loop detection: the same payload sent again and again from one handler to another is warned of once, then the thread is stopped.

What was sent is counted in :mod:`organism.kernel.rings`.
"""

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
"""The unit of warnings of loops: one of its own, since warnings in ``messages`` are about a budget."""


def note_loops(state: State, sender: Message) -> Failure | None:
    """Warns of what this delivery has sent too often. Returns the failure with which its thread is to be stopped, where that was warned of before.

    An agent reads the warning in its next prompt: it is not stopped for what it sends before that.
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
    """Raises the one warning that there is before the thread is stopped: so its level is final."""
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
    """Whether the warning of this number still waits for the sender's next prompt."""
    queue = (sender.thread.pending or {}).get(sender.to, ())
    return any(each.seq == seq for each in queue)


def _failure(repeated: Repeated, loops: Loops) -> Failure:
    message = repeated.message
    text = (
        f"a loop: '{message.sender}' has sent the same {type(message.payload).__name__} to '{message.to}' "
        f"{repeated.times} times within {loops.within} messages, after a warning"
    )
    return Failure("stopped", text)
