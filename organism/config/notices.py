"""``notices:`` of an agent: what it is told of budgets, in which words, and which figures these may name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from organism.agentsettings import Notices
from organism.config import scalars
from organism.config.places import shown
from organism.config.sections import Record, Section
from organism.config.shapes import Choice, Truth
from organism.config.wording import Wording
from organism.payloads import describe
from organism.payloads.primitives import BudgetExhausted, BudgetWarning

if TYPE_CHECKING:
    from organism.config.scalars import Wrong
    from organism.config.tree import Scalar

_WARNING: Final = tuple(field.name for field in describe(BudgetWarning).fields)
_EXHAUSTED: Final = tuple(field.name for field in describe(BudgetExhausted).fields)
_FIGURES: Final = {"threshold", "used", "held", "limit", "remaining", "calls_left"}


@frozen
class _FiguresShape(Choice):
    """Which figures are told; ``true`` is no text, but a word of YAML."""

    words: tuple[str, ...] = ("true", "none", "placebo")

    def _value(self, scalar: Scalar) -> str | Wrong:
        return "true" if scalars.anything(scalar) is True else super()._value(scalar)


def _notices(section: Section) -> Notices:
    notices = Notices(**section.values)
    if notices.figures == "none":
        for key in ("warning", "exhausted", "grace"):
            _without_figures(section, key, getattr(notices, key), _FIGURES)
    return notices


def _without_figures(section: Section, key: str, text: str | None, figures: set[str]) -> None:
    if text is None:
        return
    from organism.config.templates import line_of

    for name in sorted(figures):
        line = line_of(name, text)
        if line is not None:
            said = f"line {line}: {shown(name)} is a figure, and 'notices.figures' is none: leave it out"
            section.wrong(key, said)


NOTICES: Final[Any] = Record(
    {
        "deliver": Truth(),
        "figures": _FiguresShape(),
        "warning": Wording(nullable=True, names=_WARNING),
        "exhausted": Wording(nullable=True, names=_EXHAUSTED),
        "grace": Wording(nullable=True, names=_EXHAUSTED),
    },
    make=_notices,
    tolerant=True,
)
