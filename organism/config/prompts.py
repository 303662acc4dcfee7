"""Prompts of agents: what their templates may name, how they are tried, and AGENTS.md beside the file."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve

from organism.agentsettings import Notices
from organism.config.drafts import classes_of
from organism.config.wording import Template, Wording
from organism.errors import reason_of
from organism.settings import UNITS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from organism.config.sections import Section
    from organism.settings import AgentSettings, HandlerSettings

_NAMES: Final = (
    "name", "description", "peers", "accepts", "replies", "budget", "notices", "now", "labels", "peers_as", "agents_md"
)  # fmt: skip
"""What the template of a prompt may name."""
PROMPT: Final = Wording(nullable=True, names=_NAMES, prompt=True)
"""A prompt, or ``null`` for the standard one."""
FILE: Final = "AGENTS.md"
MOST: Final = 64 * 1024
"""Bytes of AGENTS.md that prompts have at most."""

_GUARD: Final = "'{% if budget is defined %}' and '{% endif %}'"
_OF_THREADS: Final = {"labels", "now", "budget"}
"""Names whose values only a thread has: what is computed with them shows when it is rendered."""


class _Labels(dict[str, str]):
    """Labels as a thread may have them: any there is asked for."""

    def __missing__(self, key: str) -> str:
        return f"label {key}"


def check_prompt(section: Section) -> str | None:
    """The prompt in an agent's section, after what is wrong with it was noted: figures that it may not have, and what fails with
    sample values.
    """
    template: Template | None = section.values.get("prompt")
    if template is None:
        return None
    problem = _kept_back(template, _notices_of(section)) or (_failing(template, section) if template.sound else None)
    if problem is not None:
        section.wrong("prompt", problem)
    return template.text


def _kept_back(template: Template, notices: Notices) -> str | None:
    """Where a prompt names its limits, and its notices keep them from it."""
    if notices.deliver and notices.figures != "none":
        return None
    at = template.line_of("budget")
    if at is None:
        return None
    why = "'notices.figures' is none" if notices.deliver else "'notices.deliver' is false"
    return f"{at}: 'budget' has the limits, and {why}: leave it out, or put it between {_GUARD}"


def _notices_of(section: Section) -> Notices:
    return section.values.get("notices") or Notices()


def _failing(template: Template, section: Section) -> str | None:
    """What fails when a prompt is rendered; nothing is said of one that names payloads which are not known."""
    unknown = [key for key in ("accepts", "replies") if classes_of(section, key) is None]
    if any(template.line_of(key) is not None for key in unknown):
        return None
    from organism.config.templates import failing

    return failing(template.text, template.line, _samples(section), _OF_THREADS)


def _samples(section: Section) -> dict[str, Any]:
    """Values such as a prompt may find; of payloads as many as there will be."""

    def entries(*names: str) -> list[dict[str, str]]:
        return [{"name": name, "description": "What it is."} for name in names]

    payloads: dict[str, tuple[type, ...]] = {key: section.values.get(key) or () for key in ("accepts", "replies")}
    return {
        "name": "name",
        "description": "What it does.",
        "peers": entries("peer", "other"),
        "accepts": entries(*(cls.__name__ for cls in payloads["accepts"])),
        "replies": entries(*(cls.__name__ for cls in payloads["replies"])),
        "budget": dict.fromkeys(UNITS, 1000),
        "notices": _notices_of(section).deliver,
        "now": "2026-01-31T12:00:00+00:00",
        "labels": _Labels(),
        "peers_as": section.values.get("peers_as", "tools"),
        "agents_md": "What holds for all.",
    }


# AGENTS.md


def with_agents_md(
    handlers: Mapping[str, HandlerSettings], folder: Path | None
) -> tuple[Mapping[str, HandlerSettings], tuple[str, ...]]:
    """The handlers, the agents among them with what AGENTS.md in the folder says; and what is to be said of that."""
    users = [name for name, each in handlers.items() if each.agent is not None and _names_it(each.agent)]
    if not users or folder is None:
        return handlers, ()
    try:
        text, size = _read(folder / FILE)
    except FileNotFoundError:
        return handlers, ()
    except OSError as error:
        return handlers, (f"{FILE} cannot be read, and prompts go without it: {reason_of(error)}",)
    if not text:
        return handlers, ()
    found = {
        name: evolve(each, agent=evolve(each.agent, agents_md=text))
        if name in users and each.agent is not None
        else each
        for name, each in handlers.items()
    }
    cut = f", cut from {size} bytes to {MOST}" if size > MOST else ""
    return MappingProxyType(found), (f"{FILE} stands in the prompts of {', '.join(users)}{cut}",)


def _names_it(agent: AgentSettings) -> bool:
    return agent.prompt is None or Template(agent.prompt, "", sound=True).line_of("agents_md") is not None


def _read(path: Path) -> tuple[str, int]:
    """What the file says, as far as it goes in, and its size in bytes."""
    with path.open("rb") as file:
        data = file.read(MOST + 1)
    size = max(path.stat().st_size, len(data))
    text = data[:MOST].decode("utf-8-sig", "ignore" if len(data) > MOST else "replace").strip()
    return (f"{text}\n[cut: {FILE} has {size} bytes]" if len(data) > MOST else text), size
