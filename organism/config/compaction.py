"""``compaction:`` and ``prune:`` of an agent: how its prompts stay within its model's window."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from organism.agentsettings import Compaction, Prune
from organism.config.sections import Record, Section
from organism.config.shapes import Exact, Name, OrNull, Whole
from organism.config.wording import Wording

if TYPE_CHECKING:
    from organism.config.wording import Template

_SUMMARY: Final = ("name", "description", "messages", "tokens")
"""What the wording of a summary may name."""
_SHARE: Final = Exact(above=0, most=1, hint="it is a share of the model's window")


def _compaction(section: Section) -> Compaction:
    values = dict(section.values)
    at, hard = values.get("at", Decimal("0.6")), values.get("hard_limit", Decimal("0.9"))
    if hard < at and section.wrong_keys.isdisjoint({"at", "hard_limit"}):
        section.wrong("at" if "at" in values else "hard_limit", f"'at' ({at}) is above 'hard_limit' ({hard})")
    if values.get("prompt") is not None and "model" not in section.wrong_keys and values.get("model") is None:
        section.wrong("prompt", "is the prompt of the model that sums up, and 'model' is missing beside it")
    values |= {key: float(values[key]) for key in ("at", "hard_limit") if key in values}
    prompt: Template | None = values.pop("prompt", None)
    return Compaction(**values, prompt=None if prompt is None else prompt.text)


COMPACTION: Final[Any] = OrNull(
    Record(
        {
            "at": _SHARE,
            "hard_limit": _SHARE,
            "keep_turns": Whole(least=1),
            "model": Name(of="model", nullable=True),
            "prompt": Wording(nullable=True, names=_SUMMARY),
        },
        named=("compaction",),
        make=_compaction,
        tolerant=True,
    )
)
"""How a history is cut short."""
PRUNE: Final[Any] = OrNull(
    Record(
        {"protect_turns": Whole(least=1), "min_tokens": Whole()},
        named=("prune",),
        make=lambda section: Prune(**section.values),
    )
)
