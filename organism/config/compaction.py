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


def compaction_of(section: Section | None) -> Compaction | None:
    """The settings of a section that was read; ``None`` where nothing is cut short."""
    if section is None:
        return None
    said = dict(section.values)
    said |= {key: float(said[key]) for key in ("at", "hard_limit") if key in said}
    prompt: Template | None = said.pop("prompt", None)
    return Compaction(**said, prompt=None if prompt is None else prompt.text)


def _compaction(section: Section) -> Section:
    values = section.values
    for key in ("at", "hard_limit"):
        if key in values and values[key] > 1:
            section.wrong(key, f"{values[key]} is more than the whole window: give a share from 0 to 1")
    at, hard = values.get("at", Decimal("0.6")), values.get("hard_limit", Decimal("0.9"))
    if hard < at <= 1 and section.wrong_keys.isdisjoint({"at", "hard_limit"}):
        section.wrong("at" if "at" in values else "hard_limit", f"'at' ({at}) is above 'hard_limit' ({hard})")
    if values.get("prompt") is not None and "model" not in section.wrong_keys and values.get("model") is None:
        section.wrong("prompt", "is the prompt of the model that sums up, and 'model' is missing beside it")
    return section


COMPACTION: Final[Any] = OrNull(
    Record(
        {
            "at": Exact(above=0),
            "hard_limit": Exact(above=0),
            "keep_turns": Whole(least=1),
            "model": Name(of="model", nullable=True),
            "prompt": Wording(nullable=True, names=_SUMMARY),
        },
        named=("compaction",),
        make=_compaction,
        tolerant=True,
    )
)
"""How a history is cut short, as a section; :func:`compaction_of` makes the settings."""
PRUNE: Final[Any] = OrNull(
    Record(
        {"protect_turns": Whole(least=1), "min_tokens": Whole()},
        named=("prune",),
        make=lambda section: Prune(**section.values),
    )
)
