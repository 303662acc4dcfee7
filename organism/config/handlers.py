"""The keys of ``handlers``: code and agents, their peers and what they take."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, cast

from attrs import evolve, fields, frozen

from organism.config.budgets import BUDGET
from organism.config.compaction import COMPACTION, PRUNE
from organism.config.drafts import Draft, classes_of
from organism.config.failures import ON_FAILURE
from organism.config.named import invalid_name, no_model
from organism.config.notices import NOTICES
from organism.config.places import shown
from organism.config.prompts import PROMPT, check_prompt
from organism.config.references import Reference
from organism.config.sections import Anything, ListOf, Record, Section
from organism.config.shapes import Choice, Name, Number, OrNull, Text, Whole
from organism.config.tools import TOOL_CALLS, TOOL_OUTPUT, TOOLS, with_tools
from organism.config.tree import Node, Table
from organism.config.yamltext import merged
from organism.errors import ConfigurationError
from organism.loader import accepts_of, awaitable, description_of
from organism.names import ORGANISM, REPLY, counted, is_handler_name
from organism.payloads import is_payload
from organism.payloads.primitives import ORGANISM_ONLY
from organism.settings import NOTHING, AgentSettings, HandlerSettings, HumanSettings, OnFailure

if TYPE_CHECKING:
    from organism.config.shapes import Shape

_KINDS: Final = ("code", "agent", "human")
"""Keys of which a handler has one."""
_ONCE: Final = OnFailure()
"""What comes of a failure where nothing is said of it."""
_LEAST_OUTPUT: Final = cast("int", fields(AgentSettings).min_output_tokens.default)
_USUAL: Final = cast("str", fields(AgentSettings).model.default)
CODE_TIMEOUT: Final = 30.0
"""Seconds that a code handler may run where nothing is said; agents have no timeout."""


@frozen
class _Code:
    """A handler in Python. ``accepts`` is empty where what it takes cannot be told, for the reason in ``problem``."""

    function: Callable[..., Any]
    accepts: tuple[type, ...]
    description: str
    problem: str = ""


@frozen
class _CodeShape(Reference):
    """``module:name``, or the function itself in Python."""

    wanted: str = "a reference to code, as in 'module:name'"

    def made(self, found: Any) -> Any:
        try:
            return _Code(awaitable(found), accepts_of(found), description_of(found))
        except ConfigurationError as error:
            if not inspect.isroutine(found):
                raise
            return _Code(found, (), description_of(found), str(error))


@frozen
class _PayloadShape(Reference):
    """``module:Class``, or the payload class itself in Python. ``sent``: it is one that a handler sends."""

    wanted: str = "a payload class, as in 'module:Class'"
    sent: bool = False

    def made(self, found: Any) -> Any:
        if isinstance(found, type) and is_payload(found):
            if self.sent and found in ORGANISM_ONLY:
                raise ConfigurationError([f"{shown(found.__name__)} is sent by the organism alone: name another one"])
            return found
        name = getattr(found, "__qualname__", None) or f"a value of type {type(found).__name__}"
        raise ConfigurationError([f"{shown(name)} is not a payload class: put @payload on it, or name another one"])


@frozen
class Known:
    """What holds for all handlers: the aliases, with the ``max_output_tokens`` of each (``None``: unknown); ``None`` for all of them where
    they could not be read.
    """

    aliases: Mapping[str, int | None] | None
    timeout: float | None = CODE_TIMEOUT
    """Seconds that code may run which says nothing of it."""


def handler_of(name: str, section: Section, known: Known) -> Draft:
    """One handler, as far as it could be read, after its mistakes were noted."""
    values = section.values
    agent = _agent_of(values["agent"], known) if "agent" in values else None
    code: _Code | None = values.get("code")
    person: Section | None = values.get("human")
    if code is not None and code.problem:
        section.wrong("code", code.problem)
    peers: tuple[str, ...] = section.values.get("peers", ())
    _one_kind(section)
    if "human" in section.table.entries:
        values = _of_person(section)
    if _is_own(section, "per") and "budget" not in section.table.entries and "budget" not in section.wrong_keys:
        section.wrong("per", "says how calls share a budget, and 'budget' is missing beside it")
    description = values.get("description") or (code.description if code else "")
    _check_described(section, description, code)
    said: Section | None = values.get("agent", person)
    accepts = (code.accepts or None if code else None) if said is None else classes_of(said, "accepts")
    function = code.function if code else None
    draft = Draft(name=name, section=section, accepts=accepts, code=function, settings=None)
    options = MappingProxyType(values["options"]) if values.get("options") else NOTHING
    if agent is not None:
        agent = with_tools(agent, section.values["agent"], name, peers=peers, options=options, timeout=known.timeout)
    if accepts is None or (person is not None and draft.replies is None):
        return draft
    settings = HandlerSettings(
        name=name,
        accepts=accepts,
        description=description,
        code=function,
        agent=agent,
        human=HumanSettings(replies=draft.replies or ()) if person else None,
        peers=() if person else peers,
        timeout=values.get("timeout", CODE_TIMEOUT if code else None),
        concurrency=values.get("concurrency"),
        budget=values.get("budget"),
        per=values.get("per", "call"),
        options=options,
        # What an agent does, it does through its context.
        effects=values.get("effects", "context" if agent else "world"),
        on_failure=values.get("on_failure") or _ONCE,
    )
    return evolve(draft, settings=settings)


def _check_described(section: Section, description: str, code: _Code | None) -> None:
    """Notes a handler that agents would know nothing of."""
    told = code or not {"agent", "human"}.isdisjoint(section.table.entries)
    said = "description" in section.table.entries or "description" in section.wrong_keys
    if not description and not said and told:
        hint = "; or give the function a docstring" if code else ""
        section.reading.wrong(section.table, f"'description' is missing: agents read it{hint}")


def _of_person(section: Section) -> Mapping[str, Any]:
    """What is said of a person; notes what is none of theirs. What ``defaults`` says is meant for those that run."""
    for key, problem in _NOT_OF_PEOPLE.items():
        if _is_own(section, key):
            section.wrong(key, problem)
    return {key: value for key, value in section.values.items() if key == "description" or _is_own(section, key)}


def _one_kind(section: Section) -> None:
    """Notes a handler that is neither code, agent nor a person, or several of them."""
    kinds = [key for key in _KINDS if key in section.table.entries]
    if not kinds and section.wrong_keys.isdisjoint(_KINDS):
        section.reading.wrong(section.table, "needs 'code: module:function', 'agent: {...}' or 'human: {...}'")
    elif len(kinds) > 1:
        section.wrong(kinds[1], f"is there beside {shown(kinds[0])}: a handler is one of them")


def _is_own(section: Section, key: str) -> bool:
    """Whether a handler says it itself, and not ``defaults`` for all."""
    node = section.table.get(key)
    return node is not None and node.path[:1] == ("handlers",)


def _agent_of(section: Section, known: Known) -> AgentSettings | None:
    said: dict[str, Any] = {"model": _USUAL, **section.values, "prompt": check_prompt(section)}
    wish = said.get("max_output_tokens")
    if known.aliases is not None:
        if "model" not in section.table.entries and _USUAL not in known.aliases:
            section.wrong("model", no_model(_USUAL, known.aliases, section.reading.mistakes.guesses))
        wish = known.aliases.get(said["model"]) if wish is None else wish
    least = said.get("min_output_tokens")
    if wish is not None and least is None:
        said["min_output_tokens"] = min(_LEAST_OUTPUT, wish)
    elif wish is not None and least is not None and least > wish:
        section.wrong("min_output_tokens", f"{least} is more than the {counted(wish, 'output token')} wished for")
    said.pop("tools", None)  # :func:`with_tools` makes them
    return AgentSettings(**said) if said.get("accepts") and said.get("replies") else None


def name_problem(name: str) -> str | None:
    """What is wrong with the name of a handler."""
    if name == ORGANISM:
        return f"{shown(name)} is the organism's own name for itself: choose another one"
    if name == REPLY:
        return f"{shown(name)} is the tool with which agents answer: choose another one"
    return None if is_handler_name(name) else invalid_name(name, "handler name")


def under_defaults(handler: Node, defaults: Table) -> Node:
    """A handler with what ``defaults`` says of all of them below what it says itself; of agents only where it is one."""
    if not isinstance(handler, Table):
        return handler
    said = {*_SHARED} if handler.get("agent") is None else {*_SHARED, "agent"}
    shared = {name: entry for name, entry in defaults.entries.items() if name in said}
    return merged(evolve(defaults, entries=shared), handler)


_PAYLOADS: Final[Mapping[str, Shape]] = {
    "accepts": ListOf(_PayloadShape(), filled=True, unique=True, single=True),
    "replies": ListOf(_PayloadShape(sent=True), filled=True, unique=True, single=True),
}
"""What an agent or a person takes, and what it answers with."""
_OF_AGENTS: Final[Mapping[str, Shape]] = {
    "model": Name(of="model"),
    "prompt": PROMPT,
    "peers_as": Choice(("tools", "xml")),
    "tools": TOOLS,
    "max_turns": Whole(least=1),
    "max_output_tokens": Whole(least=1, nullable=True),
    "min_output_tokens": Whole(least=1),
    "temperature": Number(nullable=True),
    "seed": Whole(least=None, nullable=True),
    "reasoning_effort": Text(nullable=True),
    "tool_calls": TOOL_CALLS,
    "tool_output": TOOL_OUTPUT,
    "compaction": COMPACTION,
    "prune": PRUNE,
    "notices": NOTICES,
}
"""What one agent may say, or ``defaults`` of all."""
_CLASS: Final = "give a payload class, as in 'module:Class'; 'organism:Text' takes any text"
_AGENT: Final = Record(
    {**_PAYLOADS, **_OF_AGENTS}, named=("agent",), required=tuple(_PAYLOADS), way_out=_CLASS, tolerant=True
)
_HUMAN: Final = Record(_PAYLOADS, named=("human", "agent"), required=tuple(_PAYLOADS), way_out=_CLASS, tolerant=True)
_NOT_OF_PEOPLE: Final = {
    "peers": "a person is asked and answers, and addresses nobody: leave it out",
    "concurrency": "a person is asked everything at once, and answers in any order: leave it out",
    "options": "nothing reads it: no code runs for a person",
    "effects": "nothing reads it: no code runs for a person",
    "on_failure": "a person is asked once: leave it out",
}
"""Keys of other handlers, and why a person has none of them."""
_SHARED: Final[Mapping[str, Shape]] = {
    "peers": ListOf(Name(organism=True), unique=True),
    "timeout": Number(above=0, nullable=True),
    "concurrency": Whole(least=1, nullable=True),
    "budget": OrNull(BUDGET),
    "per": Choice(("call", "thread")),
    "on_failure": ON_FAILURE,
    "options": Anything(),
    "effects": Choice(("world", "context")),
}
_ONE: Final = "is what one handler is: write it in 'handlers'"
HANDLER: Final = Record(
    {"code": _CodeShape(), "agent": _AGENT, "human": _HUMAN, "description": Text(), **_SHARED},
    named=("handlers",),
    either=_KINDS,
    tolerant=True,
)
"""One handler, as a section; :func:`handler_of` makes the settings."""
DEFAULTS: Final = Record(
    {
        **_SHARED,
        "agent": Record(_OF_AGENTS, named=("agents", "agent"), refused=dict.fromkeys(_PAYLOADS, _ONE), tolerant=True),
    },
    named=("defaults", "handlers"),
    refused=dict.fromkeys(("code", "human", "description"), _ONE),
    tolerant=True,
    again=True,
)
"""What all handlers have unless they say otherwise; under ``agent`` what all agents have."""
