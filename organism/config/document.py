"""The whole of organism.yaml: its keys, what refers to what in it, and the settings that come of it."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from attrs import evolve, fields

from organism.config.backends import MODEL, SIMULATED, alias_problem, check_backends, check_downgrades, models_of
from organism.config.budgets import ACCOUNTS, CEILING, CONVERSATION, ROOT_BUDGET
from organism.config.handlers import CODE_TIMEOUT, DEFAULTS, HANDLER, Known, handler_of, name_problem, under_defaults
from organism.config.hooks import HOOKS
from organism.config.ignored import forgotten, ignored, never_at_cap
from organism.config.journals import JournalUrl, check_session_log
from organism.config.layers import from_python
from organism.config.loops import LOOPS
from organism.config.mcp import MCP, check_servers, servers_of
from organism.config.named import check_names, hears_of_none, no_handler, no_model
from organism.config.paths import FolderPath, NewFilePath
from organism.config.places import FILE, Mistakes, Place, shown
from organism.config.prompts import with_agents_md
from organism.config.recordings import with_recordings
from organism.config.sections import ListOf, MapOf, Record, Section
from organism.config.shapes import Choice, Name, Number, OrNull, Reading, Text, Truth, Whole
from organism.config.start import START, message_of
from organism.config.tools import check_tools
from organism.config.tree import Entry, Items, Table
from organism.config.yamltext import table_in, unfold
from organism.errors import PayloadTypeError
from organism.functions import FunctionCall, FunctionResult
from organism.loader import is_installed
from organism.names import HANDLER_NAME, ORGANISM, ORGANISM_NAME, REPLY, is_organism_name, nearest, not_installed
from organism.payloads import Vocabulary
from organism.settings import ModelSettings, Settings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from organism.config.backends import Checks
    from organism.config.drafts import Draft

_DAY: Final = 86_400
"""Seconds. A watchdog waits in a thread, and no thread waits for as long as a number can say."""
_OPENTELEMETRY: Final = "opentelemetry"
_SIMULATED_NOTE: Final = "no models are configured: 'default' is simulated, and calls no provider"


def _name_problem(name: str) -> str | None:
    if is_organism_name(name):
        return None
    return f"{shown(name)} is not a valid organism name: small letters, digits and '-', a letter first"


TOP: Final = Record(
    {
        "organism": Text("a name", check=_name_problem, form=f"^{ORGANISM_NAME}$"),
        "runtime": Choice(("trio", "asyncio")),
        "defaults": DEFAULTS,
        "budget": ROOT_BUDGET,
        "conversation": CONVERSATION,
        "accounts": ACCOUNTS,
        "ceiling": CEILING,
        "models": MapOf(MODEL, alias_problem, form=f"^{HANDLER_NAME}$"),
        "handlers": MapOf(HANDLER, name_problem, form=f"^(?!({ORGANISM}|{REPLY})$){HANDLER_NAME}$"),
        "mcp": MCP,
        "hooks": HOOKS,
        "loops": OrNull(LOOPS),
        "dead_letters": Name(nullable=True, unable=hears_of_none),
        "scheduling": Choice(("breadth-first", "depth-first")),
        "max_handlers": Whole(least=1),
        "watchdog": Number(above=0, most=_DAY, nullable=True, hint="null means never"),
        "queue": Whole(least=1),
        "on_full": Choice(("wait", "refuse")),
        "thread_queue": Whole(least=1),
        "journal": JournalUrl(),
        "durability": Choice(("full", "normal")),
        "session_log": FolderPath(nullable=True),
        "telemetry": Truth(),
        "record": NewFilePath(nullable=True),
        "start": ListOf(START),
    },
    named=("top",),
    required=("organism",),
    refused={
        "name": "the name of the organism has the key 'organism'",
        "agents": "agents are handlers: write each below 'handlers', as in `handlers: {writer: {description: ..., agent: {...}}}`",
    },
    tolerant=True,
)
"""Every key there is at the top."""


def with_models(tree: Table, mistakes: Mistakes) -> Table:
    """The tree with the simulated model, where no model is named; below ``--set`` and the environment."""
    if "models" in tree.entries:
        return tree
    place = Place("the default model", layer=0, says=("models", "default", "backends", 0))
    models = from_python(SIMULATED, lambda _: place, mistakes, ("models",))
    return evolve(tree, entries={**tree.entries, "models": Entry(place, models)})


def settings_of(tree: Table, folder: Path | None, mistakes: Mistakes, checks: Checks | None) -> Settings:
    """The settings; raises ConfigurationError with every mistake there is."""
    reading = Reading(mistakes, folder, TOP)
    top: Section = TOP.read(_with_defaults(_without_slips(tree, mistakes), mistakes), reading)
    names = _names(top, "handlers")
    drafts = _drafts(top)
    check_names(reading, drafts, names, _names(top, "models"))
    start = tuple(filter(None, (message_of(section, drafts) for section in top.values.get("start", ()))))
    check_tools(drafts, _names(top, "mcp"))
    check_servers(top)
    check_session_log(top)
    _check_telemetry(top)
    check_downgrades(top.values.get("models", {}))
    if checks is not None:
        check_backends(top, checks, folder)
    mistakes.raise_any()
    whole = {name: draft.settings for name, draft in drafts.items() if draft.settings is not None}
    handlers, notes = with_agents_md(MappingProxyType(whole), folder)
    models = with_recordings(models_of(top.values.get("models", {})), top.values.get("record"), folder)
    built = {"organism", "defaults", "handlers", "mcp", "models", "start"}
    return Settings(
        name=top.values["organism"],
        handlers=handlers,
        models=models,
        mcp=servers_of(top, folder),
        start=start,
        folder=folder,
        notes=(
            *_notes(top, models),
            *never_at_cap(top.values.get("conversation")),
            *forgotten(top.values),
            *ignored(handlers, models),
            *notes,
        ),
        **{key: value for key, value in top.values.items() if key not in built},
    )


def _check_telemetry(top: Section) -> None:
    """Notes that what telemetry takes is not installed."""
    if top.values.get("telemetry") and not is_installed(_OPENTELEMETRY):
        top.wrong("telemetry", not_installed(_OPENTELEMETRY, "otel"))


def _without_slips(tree: Table, mistakes: Mistakes) -> Table:
    """The tree without handlers and models that only a misspelt name above the file has brought, after each was noted."""
    for section, begun, problem in (("handlers", _is_handler, no_handler), ("models", _is_model, no_model)):
        table = table_in(tree.get(section), mistakes)
        if table is None:
            continue
        known = [name for name, entry in table.entries.items() if entry.key.layer <= FILE]
        slips: set[str] = set()
        for name, entry in table.entries.items():
            if name not in known and nearest(name, known) and not begun(table_in(entry.node, mistakes), mistakes):
                slips.add(name)
                mistakes.note(entry.key, entry.key.says or (section, name), problem(name, known))
        kept = {name: entry for name, entry in table.entries.items() if name not in slips}
        over = evolve(tree.entries[section], node=evolve(table, entries=kept))
        tree = evolve(tree, entries={**tree.entries, section: over}) if slips else tree
    return tree


def _is_handler(table: Table | None, mistakes: Mistakes) -> bool:
    """Whether somebody has begun to say what a handler is, and not only how it is to be another one."""
    if table is None:
        return True
    agent = table_in(table.get("agent"), mistakes)
    said = set[str]() if agent is None else agent.entries.keys()
    return not {"code", "human"}.isdisjoint(table.entries) or not {"accepts", "replies"}.isdisjoint(said)


def _is_model(table: Table | None, mistakes: Mistakes) -> bool:
    """The same of the alias of a model."""
    if table is None:
        return True
    backends = table.get("backends")
    read = None if backends is None else unfold(backends, mistakes)
    tables = [table_in(one, mistakes) for one in read.items] if isinstance(read, Items) else []
    return any(one is not None and "provider" in one.entries for one in tables)


def _with_defaults(tree: Table, mistakes: Mistakes) -> Table:
    """The tree with ``defaults`` below every handler."""
    defaults, handlers = table_in(tree.get("defaults"), mistakes), table_in(tree.get("handlers"), mistakes)
    if defaults is None or handlers is None:
        return tree
    entries: dict[str, Entry] = {}
    for name, entry in handlers.entries.items():
        node = unfold(entry.node, mistakes)
        entries[name] = entry if node is None else evolve(entry, node=under_defaults(node, defaults))
    entry = evolve(tree.entries["handlers"], node=evolve(handlers, entries=entries))
    return evolve(tree, entries={**tree.entries, "handlers": entry})


def _drafts(top: Section) -> Mapping[str, Draft]:
    """All handlers as far as they could be read."""
    sections: Mapping[str, Section] = top.values.get("handlers", {})
    known = Known(_aliases(top), _code_timeout(top))
    drafts = {name: handler_of(name, section, known) for name, section in sections.items()}
    _one_class_a_name(drafts)
    return drafts


def _names(top: Section, key: str) -> Collection[str] | None:
    """The names in a mapping, ``None`` where they cannot be told."""
    if key in top.wrong_keys:
        return None
    if key not in top.table.entries:
        return ()
    table = table_in(top.table.get(key), top.reading.mistakes)
    return None if table is None else table.entries.keys()


def _code_timeout(top: Section) -> float | None:
    """Seconds that code may run which says nothing of it."""
    defaults: Section | None = top.values.get("defaults")
    timeout: float | None = CODE_TIMEOUT if defaults is None else defaults.values.get("timeout", CODE_TIMEOUT)
    return timeout


def _aliases(top: Section) -> Mapping[str, int | None] | None:
    names = _names(top, "models")
    if names is None:
        return None
    sections: Mapping[str, Section] = top.values.get("models", {})
    return {name: _wish(sections.get(name)) for name in names}


def _wish(section: Section | None) -> int | None:
    """What an alias wishes for where nobody says otherwise; ``None`` where it is broken."""
    if section is None or "max_output_tokens" in section.wrong_keys:
        return None
    wish: int = section.values.get("max_output_tokens", fields(ModelSettings).max_output_tokens.default)
    return wish


def _one_class_a_name(drafts: Mapping[str, Draft]) -> None:
    """Notes two payload classes of one name, which could not be told apart on the wire, and classes that are none."""
    first: dict[str, tuple[type, str]] = {}
    for name, draft in drafts.items():
        section = draft.section
        try:
            words = Vocabulary(_spoken(draft))
        except PayloadTypeError as error:
            section.reading.wrong(section.table, str(error))
            continue
        for cls in words:
            other, where = first.setdefault(cls.__name__, (cls, name))
            if other is not cls:
                problem = (
                    f"payload {shown(cls.__name__)} is {cls.__module__}.{cls.__qualname__} here, and"
                    f" {other.__module__}.{other.__qualname__} in handler {shown(where)}: rename one of them"
                )
                section.reading.wrong(section.table, problem)


def _spoken(draft: Draft) -> Iterator[type]:
    """What a handler takes, an agent or a person replies, and an agent's tools take and return."""
    yield from draft.accepts or ()
    said: Section | None = draft.agent or draft.section.values.get("human")
    if said is not None:
        yield from said.values.get("replies", ())
        if said.values.get("tools"):
            yield from (FunctionCall, FunctionResult)


def _notes(top: Section, models: Mapping[str, ModelSettings]) -> tuple[str, ...]:
    """What was assumed: the simulated model, where it was not named and nothing above changed it."""
    assumed = top.table.entries["models"].key.layer == 0
    simulated = assumed and models["default"].backends[0].built_in == "simulated"
    return (_SIMULATED_NOTE,) if simulated else ()
