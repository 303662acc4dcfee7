"""Prompts of agents: what their templates may name, how they are tried, and AGENTS.md beside the file."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve, frozen
from jinja2 import StrictUndefined, TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from organism.config.places import shown
from organism.config.shapes import BROKEN, one_of
from organism.config.wording import Wording, line_of
from organism.names import suggestion
from organism.settings import UNITS, Notices

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from organism.config.sections import Section
    from organism.config.shapes import Broken, Reading
    from organism.config.tree import Node
    from organism.settings import AgentSettings, HandlerSettings

PROMPT: Final = (
    "name", "description", "peers", "accepts", "replies", "budget", "notices", "now", "labels", "peers_as", "agents_md"
)  # fmt: skip
"""What the template of a prompt may name."""
FILE: Final = "AGENTS.md"
MOST: Final = 64 * 1024
"""Bytes of AGENTS.md that prompts have at most."""

_ENTRY: Final = ("name", "description")
"""What peers and payloads have in a prompt."""
_LISTS: Final = ("peers", "accepts", "replies")
_OF_THREADS: Final = {"labels", "now", "budget"}
"""Names whose values only a thread has: what is computed with them shows when it is rendered."""
_TRIAL: Final = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)


@frozen
class Template:
    """A prompt. ``line`` is what is written before the number of one of its lines: the file's path, where it has one."""

    text: str
    line: str


@frozen
class PromptShape:
    """A prompt, or ``null`` for the standard one; gives a :class:`Template`."""

    def read(self, node: Node, reading: Reading) -> Template | Broken | None:
        """The template, its syntax and its names checked."""
        shape = Wording(nullable=True, names=PROMPT)
        text = shape.read(node, reading)
        if text is None or text is BROKEN:
            return text
        return Template(text, shape.before_line(node, reading))


class _Labels(dict[str, str]):
    """Labels as a thread may have them: any there is asked for."""

    def __missing__(self, key: str) -> str:
        return f"label {key}"


def check_prompt(section: Section) -> str | None:
    """The prompt in an agent's section, after what is wrong with it was noted: figures that it may not have, attributes that there are
    not, and whatever else fails with sample values.
    """
    template: Template | None = section.values.get("prompt")
    if template is None:
        return None
    notices: Notices = section.values.get("notices") or Notices()
    problem = _kept_back(template, notices) or _wrong_attribute(template) or _failing(template, _samples(section))
    if problem is not None:
        section.wrong("prompt", problem)
    return template.text


def _kept_back(template: Template, notices: Notices) -> str | None:
    """Where a prompt names its limits, and its notices keep them from it."""
    if notices.deliver and notices.figures != "none":
        return None
    at = line_of("budget", template.text)
    why = "'notices.figures' is none" if notices.deliver else "'notices.deliver' is false"
    return None if at is None else f"{template.line}{at}: 'budget' has the limits, and {why}: leave it out"


def _wrong_attribute(template: Template) -> str | None:
    """The first attribute of a limit, peer or payload that there is not, also in a branch that the trial does not take."""
    tree = _TRIAL.parse(template.text)
    known: dict[str, Sequence[str]] = {"budget": UNITS}
    for loop in tree.find_all(nodes.For):
        if isinstance(loop.iter, nodes.Name) and loop.iter.name in _LISTS and isinstance(loop.target, nodes.Name):
            known[loop.target.name] = _ENTRY
    for name, attribute, line in _attributes(tree):
        if name in known and attribute not in known[name] and not hasattr({}, attribute):
            hint = suggestion(attribute, known[name])
            there = one_of([*known[name]])
            return f"{template.line}{line}: {shown(name)} has no {shown(attribute)}{hint}; there is {there}"
    return None


def _attributes(tree: nodes.Template) -> Iterator[tuple[str, str, int]]:
    """The attributes that are read of names: the name, the attribute and the line."""
    for read in tree.find_all(nodes.Getattr):
        if isinstance(read.node, nodes.Name):
            yield read.node.name, read.attr, read.lineno
    for item in tree.find_all(nodes.Getitem):
        if isinstance(item.node, nodes.Name) and isinstance(item.arg, nodes.Const) and isinstance(item.arg.value, str):
            yield item.node.name, item.arg.value, item.lineno


def _failing(template: Template, samples: Mapping[str, Any]) -> str | None:
    """What fails when the prompt is rendered with sample values."""
    try:
        _TRIAL.from_string(template.text).render(samples)
    except TemplateError as error:
        return f"{template.line}{_line_in(error)}: {error.message or type(error).__name__}"
    except RecursionError:
        return f"{template.line}1: it never ends"
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        if any(line_of(name, template.text) is not None for name in _OF_THREADS):
            return None
        return f"{template.line}{_line_in(error)}: {str(error) or type(error).__name__}"
    return None


def _samples(section: Section) -> dict[str, Any]:
    """Values such as a prompt may find; of payloads as many as there will be."""

    def entries(*names: str) -> list[dict[str, str]]:
        return [{"name": name, "description": "What it is."} for name in names]

    payloads: dict[str, tuple[type, ...]] = {key: section.values.get(key) or () for key in ("accepts", "replies")}
    notices: Notices = section.values.get("notices") or Notices()
    return {
        "name": "name",
        "description": "What it does.",
        "peers": entries("peer", "other"),
        "accepts": entries(*(cls.__name__ for cls in payloads["accepts"])),
        "replies": entries(*(cls.__name__ for cls in payloads["replies"])),
        "budget": dict.fromkeys(UNITS, 1000),
        "notices": notices.deliver,
        "now": "2026-01-31T12:00:00+00:00",
        "labels": _Labels(),
        "peers_as": section.values.get("peers_as", "tools"),
        "agents_md": "What holds for all.",
    }


def _line_in(error: BaseException) -> int:
    """The line of the template at which it failed."""
    line, trace = 1, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


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
        return handlers, (f"{FILE} cannot be read, and prompts go without it: {error.strerror}",)
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
    return agent.prompt is None or line_of("agents_md", agent.prompt) is not None


def _read(path: Path) -> tuple[str, int]:
    """What the file says, as far as it goes in, and its size in bytes."""
    with path.open("rb") as file:
        data = file.read(MOST + 1)
    size = max(path.stat().st_size, len(data))
    text = data[:MOST].decode("utf-8-sig", "ignore" if len(data) > MOST else "replace").strip()
    return (f"{text}\n[cut: {FILE} has {size} bytes]" if len(data) > MOST else text), size
