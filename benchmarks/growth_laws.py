"""How each thing is expected to grow, and why; whether the figures say so is counted from them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence


@frozen
class Law:
    """``grows``: what is on the axis; ``one``: what the time is of; ``why``: what it costs more, where it is not flat."""

    grows: str
    one: str
    time: str
    memory: str
    why: str


LAWS: Final[dict[str, Law]] = {
    "handlers": Law("handlers", "a hop", "flat", "linear", "A handler is looked up by its name; each keeps its settings."),
    "threads": Law(
        "threads that wait in `ask`", "a hop beside them", "flat", "linear",
        "Threads that wait stand in no queue. Each `ask` that waits keeps its delivery, and the thread asked keeps one message.",
    ),
    "messages": Law(
        "messages of a thread", "a message", "flat", "flat",
        "Nothing of a message that was handled stays in memory; with a journal it is on the disk.",
    ),
    "depth": Law(
        "calls, one in the other", "an ask", "flat", "linear",
        "On trio an `ask` that has to wait keeps the coroutine of its handler, and no task. The collector of cycles looks at more of them each time.",
    ),
    "payload": Law(
        "bytes of text in a message", "a hop with a journal", "linear", "linear",
        "The text is written, hashed and checked once a hop, and the same object goes from handler to handler in memory.",
    ),
    "xml": Law(
        "bytes of text in a message", "encode, decode and check", "linear", "linear",
        "Every character is looked at by the parser and by the check; below 1,000 bytes the document itself is what costs.",
    ),
    "history": Law(
        "turns before in a conversation", "an agent's turn", "linear", "linear",
        "A turn sends the whole history to the model, which is handed over message by message; what was said before is not read, copied or measured again. `compaction:` bounds it.",
    ),
    "journal": Law(
        "ended threads in a journal", "a hop with a journal", "flat", "flat",
        "Ended threads are not read when an organism opens; only those that are not over are folded.",
    ),
}  # fmt: skip


def slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """By which power of the size the values grow over the last step: 0 is flat, 1 is linear."""
    (before, last), (low, high) = sizes[-2:], values[-2:]
    return math.log(max(high, 1) / max(low, 1)) / math.log(last / before)


def said(power: float) -> str:
    """A power in words."""
    for most, name in ((0.2, "flat"), (0.85, "less than linear"), (1.15, "linear")):
        if power <= most:
            return name
    return "**more than linear**"
