"""The keys of a budget, of the ceiling, and of conversations."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, get_args

from attrs import evolve, frozen

from organism.config.named import decides_nothing, invalid_name
from organism.config.places import shown
from organism.config.sections import ListOf, MapOf, Record, Section
from organism.config.shapes import BROKEN, Broken, Choice, Drawing, Exact, Name, Number, Reading, Schema, Whole
from organism.config.tree import Table
from organism.config.yamltext import unfold
from organism.names import HANDLER_NAME, names_nothing
from organism.settings import ROOT_LIMITS, UNITS, BudgetSettings, ConversationSettings, Grace, Limits, Quota, WindowKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from organism.config.shapes import Shape
    from organism.config.tree import Node

_KIND: Final = re.compile(HANDLER_NAME)
_LONGEST: Final = 200
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
_COUNTED: Final = ("tokens", "input_tokens", "output_tokens", "model_calls", "messages")
_LEVELS: Final = ListOf(Exact(above=0), unique=True)
_LEVELS_BY_UNIT: Final = Record(
    dict.fromkeys(WARNING_UNITS, _LEVELS),
    named=("levels", "budget"),
    make=lambda section: MappingProxyType({unit: tuple(sorted(levels)) for unit, levels in section.values.items()}),
    refused={"depth": "depth never warns: leave it out"},
)


@frozen
class _WarnAt:
    """Levels: a list for every unit that warns, or a mapping with a list for each unit that is named."""

    def read(self, node: Node, reading: Reading) -> Mapping[str, tuple[Decimal, ...]] | Broken:
        read = unfold(node, reading.mistakes)
        if isinstance(read, Table):
            by_unit: Mapping[str, tuple[Decimal, ...]] | Broken = _LEVELS_BY_UNIT.read(read, reading)
            return by_unit
        levels = BROKEN if read is None else _LEVELS.read(read, reading)
        if levels is BROKEN:
            return BROKEN
        ascending = tuple(sorted(levels))
        return MappingProxyType(dict.fromkeys(WARNING_UNITS, ascending))

    def schema(self, drawing: Drawing) -> Schema:
        return {"anyOf": [_LEVELS.schema(drawing), _LEVELS_BY_UNIT.schema(drawing)]}


_POLICY: Final[Mapping[str, Shape]] = {
    "warn_at": _WarnAt(),
    "runway": Exact(),
    "grace": Record(
        {"model_calls": Whole(), "share": Exact(below=1), "tokens": Whole()},
        named=("grace",),
        make=lambda section: Grace(**section.values),
    ),
    "accounting": Choice(("estimate", "strict")),
    "on_unpriced": Choice(("refuse", "ignore")),
    "notify": ListOf(Choice(("agent", "caller")), unique=True),
    "grants_by": Name(nullable=True, unable=decides_nothing),
    "grants_up_to": Record(
        {"seconds": Number(), "cost_usd": Exact(), **dict.fromkeys(_COUNTED, Whole())},
        named=("grants", "budget"),
        make=lambda section: MappingProxyType({unit: Decimal(str(most)) for unit, most in section.values.items()}),
        refused={"depth": "depth is never granted: leave it out"},
    ),
}


def _budget(unnamed: Limits, section: Section) -> BudgetSettings:
    """What is not named is as in ``unnamed``."""
    limits, policy = _split(section)
    return BudgetSettings(limits=evolve(unnamed, **limits), **policy)


def _quota(section: Section) -> Quota:
    limits, others = _split(section)
    return Quota(limits=Limits(**limits), **others)


def _ceiling(section: Section) -> Quota:
    quota = _quota(section)
    # A process that begins within a day can tell what the day has spent, but neither how long it ran nor how deep.
    for unit in ("seconds", "depth") if quota.window != "run" else ():
        if getattr(quota.limits, unit) is not None:
            said = f"is of one run, and the window is {shown(quota.window)}: leave it out, or say 'window: run'"
            section.wrong(unit, said)
    return quota


def account_problem(name: str) -> str | None:
    """What is wrong with the name of an account, or of a template for all of its kind."""
    kind, colon, one = name.partition(":")
    if _KIND.fullmatch(kind) is None:
        return invalid_name(kind, "kind of account")
    return name_problem(one) if colon else None


def name_problem(name: str) -> str | None:
    """What is wrong with what an account is called among those of its kind."""
    if names_nothing(name):
        return "an account is named KIND:NAME, and its name is empty"
    if len(name) > _LONGEST or not name.isprintable():
        return f"an account's name has {_LONGEST} printable characters at most"
    return None


def _conversation(section: Section) -> ConversationSettings:
    limits, policy = _split(section)
    own = {"on_cap": policy.pop("on_cap")} if "on_cap" in policy else {}
    return ConversationSettings(budget=BudgetSettings(limits=Limits(**limits), **policy), **own)


def _split(section: Section) -> tuple[dict[str, Any], dict[str, Any]]:
    """The limits, and the other keys."""
    limits = {name: value for name, value in section.values.items() if name in _LIMITS}
    others = {name: value for name, value in section.values.items() if name not in limits}
    if "grants_by" in others:
        others["grants_by"] = others["grants_by"] or ""  # that nobody decides is said, and goes over what is above
    if "on_unpriced" in section.wrong_keys:
        others["on_unpriced"] = "ignore"  # it may be what was meant
    return limits, others


ROOT_BUDGET: Final = Record(
    {**_LIMITS, **_POLICY}, named=("budget",), make=partial(_budget, ROOT_LIMITS), tolerant=True
)
"""``budget:`` of the file: messages and depth are limited where nothing is said of them."""
BUDGET: Final = Record({**_LIMITS, **_POLICY}, named=("budget",), make=partial(_budget, Limits()), tolerant=True)
"""Every other budget: only what is named is limited."""
CEILING: Final = Record(
    {**_LIMITS, "window": Choice(get_args(WindowKind))}, named=("ceiling", "budget"), make=_ceiling, tolerant=True
)
_OF_A_RUN: Final = "is of one thread, or of one run of the organism: accounts have no limit of it"
_ACCOUNT: Final = Record(
    {
        **{unit: shape for unit, shape in _LIMITS.items() if unit not in {"seconds", "depth"}},
        "window": Choice(get_args(WindowKind)),
    },
    named=("accounts", "budget"),
    make=_quota,
    refused={"seconds": _OF_A_RUN, "depth": _OF_A_RUN},
    tolerant=True,
)
ACCOUNTS: Final = MapOf(_ACCOUNT, account_problem, form=rf"^{HANDLER_NAME}(:.*\S.*)?$")
"""``accounts:``: quotas by name, or by kind for all of that kind."""
CONVERSATION: Final = Record(
    {
        **{unit: shape for unit, shape in _LIMITS.items() if unit != "depth"},
        **_POLICY,
        "on_cap": Choice(("end", "rotate")),
    },
    named=("conversation", "budget"),
    make=_conversation,
    refused={"depth": "depth is of one turn: write it in 'budget'"},
    tolerant=True,
)
"""``conversation:``: limits over all turns."""
