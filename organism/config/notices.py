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
    from organism.config.shapes import Reading, Schema
    from organism.config.tree import Scalar
    from organism.config.wording import Template

_WORDINGS: Final = {
    key: Wording(nullable=True, names=tuple(field.name for field in describe(told).fields))
    for key, told in (("warning", BudgetWarning), ("exhausted", BudgetExhausted), ("grace", BudgetExhausted))
}
_FIGURES: Final = {"threshold", "used", "held", "limit", "remaining", "calls_left"}


@frozen
class _FiguresShape(Choice):
    """Which figures are told; ``true`` is no text, but a word of YAML."""

    def _schema(self) -> Schema:
        return {"enum": [True, *self.words]}

    def _value(self, scalar: Scalar, reading: Reading, /) -> Any:
        return "true" if scalars.anything(scalar) is True else super()._value(scalar, reading)


def _notices(section: Section) -> Notices:
    texts: dict[str, Template] = {key: said for key in _WORDINGS if (said := section.values.get(key)) is not None}
    values: dict[str, Any] = {**section.values, **{key: said.text for key, said in texts.items()}}
    notices = Notices(**values)
    for key, said in texts.items() if notices.figures == "none" else ():
        for name in sorted(_FIGURES):
            line = said.line_of(name)
            if line is not None:
                section.wrong(key, f"{line}: {shown(name)} is a figure, and 'notices.figures' is none: leave it out")
    return notices


NOTICES: Final[Any] = Record(
    {"deliver": Truth(), "figures": _FiguresShape(("true", "none", "placebo")), **_WORDINGS},
    named=("notices",),
    make=_notices,
    tolerant=True,
)
