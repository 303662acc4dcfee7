"""``compaction:`` and ``prune:`` of an agent: how its prompts stay within its model's window."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from organism.agentsettings import Compaction, Prune
from organism.config.sections import Record, Section
from organism.config.shapes import Exact, Found, Located, OrNull, Text, Whole, no_model
from organism.config.wording import Wording

if TYPE_CHECKING:
    from collections.abc import Collection

_SUMMARY: Final = ("name", "description", "messages", "tokens")
"""What the wording of a summary may name."""


def check_compaction(agent: Section, aliases: Collection[str] | None) -> None:
    """Notes where the summaries of an agent are to come from what is no model; ``None``: that cannot be told."""
    if aliases is None:
        return
    section: Section | None = agent.values.get("compaction")
    found = None if section is None else section.values.get("model")
    if section is not None and found is not None and found.value is not None and found.value not in aliases:
        section.wrong("model", no_model(found.value, aliases, section.reading.mistakes.guesses))


def compaction_of(section: Section | None) -> Compaction | None:
    """The settings of a section that was read; ``None`` where nothing is cut short."""
    if section is None:
        return None
    said = dict(section.values)
    model = said.pop("model", None)
    shares: dict[str, Any] = {key: float(said.pop(key)) for key in ("at", "hard_limit") if key in said}
    return Compaction(model=None if model is None else model.value, **shares, **said)


def _compaction(section: Section) -> Section:
    values = section.values
    for key in ("at", "hard_limit"):
        if key in values and values[key] > 1:
            section.wrong(key, f"{values[key]} is more than the whole window: give a share from 0 to 1")
    at, hard = values.get("at", Decimal("0.6")), values.get("hard_limit", Decimal("0.9"))
    if hard < at <= 1 and section.wrong_keys.isdisjoint({"at", "hard_limit"}):
        section.wrong("at" if "at" in values else "hard_limit", f"'at' ({at}) is above 'hard_limit' ({hard})")
    model: Found | None = values.get("model")
    if (
        values.get("prompt") is not None
        and "model" not in section.wrong_keys
        and (model is None or model.value is None)
    ):
        section.wrong("prompt", "is the prompt of the model that sums up, and 'model' is missing beside it")
    return section


COMPACTION: Final[Any] = OrNull(
    Record(
        {
            "at": Exact(above=0),
            "hard_limit": Exact(above=0),
            "keep_turns": Whole(least=1),
            "model": Located(Text("the name of a model", nullable=True)),
            "prompt": Wording(nullable=True, names=_SUMMARY),
        },
        make=_compaction,
        tolerant=True,
    )
)
"""How a history is cut short, as a section; :func:`compaction_of` makes the settings."""
PRUNE: Final[Any] = OrNull(
    Record(
        {"protect_turns": Whole(least=1), "min_tokens": Whole()},
        make=lambda section: Prune(**section.values),
    )
)
