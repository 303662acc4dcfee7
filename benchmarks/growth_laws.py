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
        "Waiting threads are in no queue. Each waiting `ask` keeps its delivery and one message.",
    ),
    "messages": Law(
        "messages of a thread", "a message", "flat", "flat",
        "A message that was handled leaves nothing in memory; with a journal it is on disk.",
    ),
    "depth": Law(
        "nested calls", "an ask", "flat", "linear",
        "On trio a waiting `ask` keeps the coroutine of its handler, and no task. The garbage collector scans more of them each time.",
    ),
    "payload": Law(
        "bytes of text in a message", "a hop with a journal", "linear", "linear",
        "The text is written, hashed and checked once a hop; in memory the same object goes from handler to handler.",
    ),
    "xml": Law(
        "bytes of text in a message", "encode, decode and check", "linear", "linear",
        "The parser and the check read every character; below 1,000 bytes the document itself costs more.",
    ),
    "history": Law(
        "earlier turns in a conversation", "an agent's turn", "linear", "linear",
        "A turn sends the whole history to the model, message by message; earlier messages are not read, copied or measured again. `compaction:` limits it.",
    ),
    "journal": Law(
        "ended threads in a journal", "a hop with a journal", "flat", "flat",
        "Ended threads are not read when an organism opens; only unfinished ones are folded.",
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
