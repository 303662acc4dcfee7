"""``on_failure:`` of a handler, and ``dead_letters:``: what comes of a message whose handler failed (R9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from organism.config.places import shown
from organism.config.sections import ListOf, Record, Section
from organism.config.shapes import Choice, Number, Whole, no_handler
from organism.payloads.primitives import DeadLetter
from organism.settings import OnFailure

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any

    from organism.config.drafts import Draft
    from organism.config.shapes import Found, Reading
    from organism.config.tree import Node

_CODES: Final = ("crashed", "timeout", "validation", "routing", "no_reply")
"""What another attempt may mend."""
_NEVER: Final = {
    "refused": "is what a handler answers: it is not tried again",
    "exhausted": "is a limit that was reached: trying again would meet it again",
    "cycle": "is how the handlers address each other: trying again would come to the same",
    "cancelled": "was somebody's wish: it is not tried again",
    "stopped": "was somebody's wish: it is not tried again",
}


class _Code(Choice):
    """A failure's code that may be tried again; of the others it is said why they are not."""

    def read(self, node: Node, reading: Reading) -> Any:
        """The code."""
        value = getattr(node, "value", None)
        if isinstance(value, str) and value in _NEVER:
            return reading.wrong(node, f"{shown(value)} {_NEVER[value]}; leave it out")
        return super().read(node, reading)


def with_backoff(section: Section) -> Section:
    """Checks the pair ``backoff``, which the shape of a list cannot."""
    pair = section.values.get("backoff")
    if pair is not None and len(pair) != 2:
        section.wrong("backoff", f"needs two numbers, the first and the longest wait in seconds, and has {len(pair)}")
    elif pair is not None and pair[0] > pair[1]:
        section.wrong("backoff", f"the first wait ({pair[0]:g}) is longer than the longest ({pair[1]:g})")
    return section


ON_FAILURE: Final = Record(
    {
        "do": Choice(("reply", "stop", "escalate")),
        "attempts": Whole(least=1),
        "within": Number(above=0),
        "backoff": ListOf(Number(), whole=True),
        "retry_on": ListOf(_Code(_CODES), unique=True),
    },
    make=lambda section: OnFailure(**with_backoff(section).values),
    tolerant=True,
)
"""What comes of a failure of one handler."""


def dead_letters_of(top: Section, handlers: Mapping[str, Draft], names: Collection[str] | None) -> str | None:
    """The handler that is told of dead letters; ``None`` for none, also after it was noted that it cannot be. ``names`` are those of
    all handlers, also of those that nothing is known of; ``None`` where they could not be read.
    """
    found: Found | None = top.values.get("dead_letters")
    name = None if found is None else found.value
    if found is None or not isinstance(name, str):
        return None
    handler = handlers.get(name)
    if handler is None:
        if names is not None and name not in names:
            top.reading.wrong(found.node, no_handler(name, names))
        return None
    if handler.accepts is not None and DeadLetter not in handler.accepts:
        takes = ", ".join(each.__name__ for each in handler.accepts)
        top.reading.wrong(
            found.node,
            f"{shown(name)} takes {takes}, and no DeadLetter: name a handler that takes organism.primitives:DeadLetter",
        )
    return name
