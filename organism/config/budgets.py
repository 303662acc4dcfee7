"""The keys of a budget, of the ceiling, and of conversations."""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, get_args

from attrs import evolve, frozen

from organism.config.places import shown
from organism.config.sections import Later, ListOf, Record, Section
from organism.config.shapes import BROKEN, Broken, Choice, Exact, Number, Reading, Whole
from organism.config.tree import Scalar, Table
from organism.config.yamltext import unfold
from organism.settings import (
    ROOT_LIMITS,
    UNITS,
    BudgetSettings,
    Ceiling,
    ConversationSettings,
    Grace,
    Limits,
    WindowKind,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from organism.config.shapes import Shape
    from organism.config.tree import Node

WARNING_UNITS: Final = tuple(unit for unit in UNITS if unit != "depth")

_LIMIT: Final = "0 allows nothing, null sets no limit"
_LIMITS: Final[Mapping[str, Shape]] = {
    "tokens": Whole(nullable=True, hint=_LIMIT),
    "input_tokens": Whole(nullable=True, hint=_LIMIT),
    "output_tokens": Whole(nullable=True, hint=_LIMIT),
    "cost_usd": Exact(nullable=True, hint=_LIMIT),
    "model_calls": Whole(nullable=True, hint=_LIMIT),
    "messages": Whole(nullable=True, hint=_LIMIT),
    "seconds": Number(nullable=True, hint=_LIMIT),
    "depth": Whole(nullable=True, hint=_LIMIT),
}
_LEVELS: Final = ListOf(Exact(above=0), unique=True)
_LEVELS_BY_UNIT: Final = Record(
    dict.fromkeys(WARNING_UNITS, _LEVELS),
    make=lambda section: MappingProxyType({unit: tuple(sorted(levels)) for unit, levels in section.values.items()}),
    refused={"depth": "depth never warns: leave it out"},
)


@frozen
class _WarnAt:
    """Levels: a list for every unit that warns, or a mapping with a list for each unit that is named."""

    def read(self, node: Node, reading: Reading) -> Mapping[str, tuple[Decimal, ...]] | Broken:
        read = unfold(node, reading.mistakes) if isinstance(node, Scalar) else node
        if isinstance(read, Table):
            by_unit: Mapping[str, tuple[Decimal, ...]] | Broken = _LEVELS_BY_UNIT.read(read, reading)
            return by_unit
        levels = BROKEN if read is None else _LEVELS.read(read, reading)
        if levels is BROKEN:
            return BROKEN
        ascending = tuple(sorted(levels))
        return MappingProxyType(dict.fromkeys(WARNING_UNITS, ascending))


_POLICY: Final[Mapping[str, Shape | Later]] = {
    "warn_at": _WarnAt(),
    "runway": Exact(),
    "grace": Record(
        {"model_calls": Whole(), "share": Exact(below=1), "tokens": Whole()},
        make=lambda section: Grace(**section.values),
    ),
    "accounting": Choice(("estimate", "strict")),
    "on_unpriced": Choice(("refuse", "ignore")),
    "notify": ListOf(Choice(("agent", "caller")), unique=True),
    "grants_by": Later(),
    "grants_up_to": Later(),
}


def _budget(unnamed: Limits, section: Section) -> BudgetSettings:
    """What is not named is as in ``unnamed``."""
    limits, policy = _split(section)
    return BudgetSettings(limits=evolve(unnamed, **limits), **policy)


def _ceiling(section: Section) -> Ceiling | Broken:
    limits, others = _split(section)
    window = others.get("window", "run")
    # A process that begins within a day can tell what the day has spent, but neither how long it ran nor how deep.
    of_a_run = [unit for unit in ("seconds", "depth") if window != "run" and limits.get(unit) is not None]
    for unit in of_a_run:
        section.wrong(unit, f"is of one run, and the window is {shown(window)}: leave it out, or say 'window: run'")
    return BROKEN if section.broken or of_a_run else Ceiling(limits=Limits(**limits), **others)


def _conversation(section: Section) -> ConversationSettings:
    limits, policy = _split(section)
    own = {"on_cap": policy.pop("on_cap")} if "on_cap" in policy else {}
    return ConversationSettings(budget=BudgetSettings(limits=Limits(**limits), **policy), **own)


def _split(section: Section) -> tuple[dict[str, Any], dict[str, Any]]:
    """The limits, and the other keys."""
    limits = {name: value for name, value in section.values.items() if name in _LIMITS}
    return limits, {name: value for name, value in section.values.items() if name not in limits}


ROOT_BUDGET: Final = Record({**_LIMITS, **_POLICY}, make=partial(_budget, ROOT_LIMITS))
"""``budget:`` of the file: messages and depth are limited where nothing is said of them."""
BUDGET: Final = Record({**_LIMITS, **_POLICY}, make=partial(_budget, Limits()))
"""Every other budget: only what is named is limited."""
CEILING: Final = Record({**_LIMITS, "window": Choice(get_args(WindowKind))}, make=_ceiling, tolerant=True)
CONVERSATION: Final = Record(
    {
        **{unit: shape for unit, shape in _LIMITS.items() if unit != "depth"},
        **_POLICY,
        "on_cap": Choice(("end", "rotate")),
    },
    make=_conversation,
    refused={"depth": "depth is of one turn: write it in 'budget'"},
)
"""``conversation:``: limits over all turns."""
