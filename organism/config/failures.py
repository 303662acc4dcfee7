"""``on_failure:`` of a handler: what comes of a message whose handler failed (R9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from organism.config.places import shown
from organism.config.scalars import Wrong
from organism.config.sections import ListOf, Record
from organism.config.shapes import BROKEN, Broken, Choice, Number, Whole
from organism.settings import OnFailure

if TYPE_CHECKING:
    from organism.config.shapes import Drawing, Reading, Schema
    from organism.config.tree import Node, Scalar

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

    def _value(self, scalar: Scalar, reading: Reading, /) -> Any:
        code = scalar.value
        return (
            Wrong(f"{shown(code)} {_NEVER[code]}; leave it out") if code in _NEVER else super()._value(scalar, reading)
        )


@frozen
class _Waits(ListOf):
    """The first and the longest wait between attempts."""

    def read(self, node: Node, reading: Reading) -> tuple[Any, ...] | Broken:
        pair = super().read(node, reading)
        if pair is BROKEN:
            return BROKEN
        if len(pair) != 2:
            said = f"needs two numbers, the first and the longest wait in seconds, and has {len(pair)}"
            return reading.wrong(node, said)
        if pair[0] > pair[1]:
            return reading.wrong(node, f"the first wait ({pair[0]:g}) is longer than the longest ({pair[1]:g})")
        return pair

    def schema(self, drawing: Drawing) -> Schema:
        return {**super().schema(drawing), "minItems": 2, "maxItems": 2}


_YEAR: Final = 366 * 86400
WAITS: Final = _Waits(Number(most=_YEAR), whole=True)
"""Seconds: the first and the longest wait. What is waited for must be an instant that a calendar has: it is written down."""


ON_FAILURE: Final = Record(
    {
        "do": Choice(("reply", "stop", "escalate")),
        "attempts": Whole(least=1),
        "within": Number(above=0),
        "backoff": WAITS,
        "retry_on": ListOf(_Code(_CODES), unique=True),
    },
    named=("on_failure",),
    make=lambda section: OnFailure(**section.values),
    tolerant=True,
)
"""What comes of a failure of one handler."""
