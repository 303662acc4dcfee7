"""``on_failure:`` of a handler: what comes of a message whose handler failed (R9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from organism.config.places import shown
from organism.config.scalars import Wrong
from organism.config.sections import ListOf, Record, Section
from organism.config.shapes import Choice, Number, Whole
from organism.settings import OnFailure

if TYPE_CHECKING:
    from organism.config.shapes import Drawing, Reading, Schema
    from organism.config.tree import Scalar

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
    """The first and the longest wait between attempts; :func:`with_backoff` looks at both."""

    def schema(self, drawing: Drawing) -> Schema:
        return {**super().schema(drawing), "minItems": 2, "maxItems": 2}


WAITS: Final = _Waits(Number(), whole=True)
"""Seconds: the first and the longest wait."""


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
        "backoff": WAITS,
        "retry_on": ListOf(_Code(_CODES), unique=True),
    },
    named=("on_failure",),
    make=lambda section: OnFailure(**with_backoff(section).values),
    tolerant=True,
)
"""What comes of a failure of one handler."""
