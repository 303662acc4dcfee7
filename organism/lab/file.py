"""A study in YAML: its keys, and all that is wrong with it, each mistake with its place."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final, get_args

from attrs import evolve, frozen

from organism import config
from organism.config.budgets import CEILING
from organism.config.paths import FilePath, FolderPath, located
from organism.config.places import Mistakes, shown
from organism.config.sections import MapOf, Record, Section, plain, table_of
from organism.config.shapes import BROKEN, Broken, Choice, Drawing, Reading, Schema, Text, Whole, one_of
from organism.config.start import Document
from organism.config.yamltext import read_file
from organism.errors import ConfigurationError
from organism.lab.inputs import inputs_of
from organism.lab.study import Arm, Order, Study
from organism.names import HANDLER_NAME, is_handler_name, suggestion, there_are
from organism.settings import NOTHING, SPENT_UNITS, Limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from organism.config.backends import Checks
    from organism.config.tree import Node, Table
    from organism.settings import Settings

_FILE: Final = "organism.yaml"
_BUDGET: Final = "budget"
_MOST: Final = 100_000
_AT_ONCE: Final = 100
"""Each thread that runs has half a dozen files open, and a process may often have a thousand."""
_OURS: Final = {
    "journal": "each arm has a journal of its own, below 'folder'",
    "runtime": "all arms run on one event loop: write it into the organism's file",
    "dead_letters": "nobody is told of them in a study",
}
"""What an arm cannot set, and why."""
_WARM_UP: Final = "warm-up"
_FIRST: Final = "at least 'study', 'to', 'inputs' and 'arms', as in 'study: my-study'"
_MISSING: Final = (
    "name the study's file. The least that is in one: {study: my-study, to: HANDLER, inputs: [What is a hive?], arms: {plain: {}, "
    "small: {budget.tokens: 500}}}"
)


@frozen
class _Sets:
    """What an arm sets: a mapping of keys of organism.yaml, dotted or nested."""

    def read(self, node: Node, reading: Reading) -> Table | Broken:
        table = table_of(node, reading)
        if table is None:
            return BROKEN
        for name, entry in table.entries.items():
            why = _OURS.get(_first(name))
            if why is not None:
                reading.mistakes.note(entry.key, entry.node.path, f"cannot differ between arms: {why}")
        return table

    def schema(self, _drawing: Drawing) -> Schema:
        return {"type": "object"}


def _first(key: str) -> str:
    return key.partition(".")[0].partition("[")[0]


def _name_problem(name: str) -> str | None:
    if is_handler_name(name):
        return None
    return f"{shown(name)} is not a valid name: small letters, digits, '-' and '_', a letter first, 64 at most"


def _arm_problem(name: str) -> str | None:
    return f"{shown(name)} is what the threads before all arms are called" if name == _WARM_UP else _name_problem(name)


_STUDY: Final = Record(
    {
        "study": Text("a name", check=_name_problem, form=f"^{HANDLER_NAME}$"),
        "organism": FilePath(),
        "to": Text("the name of a handler"),
        "inputs": Document(),
        "arms": MapOf(_Sets(), _arm_problem, form=f"^{HANDLER_NAME}$"),
        "repeats": Whole(least=1, most=_MOST),
        "seed": Whole(),
        "order": Choice(get_args(Order)),
        "warm_up": Whole(most=_MOST),
        "concurrency": Whole(least=1, most=_AT_ONCE),
        "ceiling": Record(
            {unit: CEILING.keys[unit] for unit in SPENT_UNITS},
            named=("ceiling",),
            make=lambda section: Limits(**section.values),
            refused={
                **dict.fromkeys(
                    ("seconds", "depth"), "is of one thread: write it into 'budget' of the organism's file"
                ),
                "window": "a study has no window: its ceiling counts all that it ever spends",
            },
        ),
        "folder": FolderPath(),
    },
    named=("study",),
    required=("study", "to", "inputs", "arms"),
    tolerant=True,
)
"""Every key of a study."""
KEYS: Final = tuple(_STUDY.keys)


def load(path: Path, *, environ: Mapping[str, str] = NOTHING, checks: Checks | None = None) -> Study:
    """The study that a file describes. Relative paths in it are relative to its folder; ``environ`` has what ``ORGANISM_`` variables set over
    the organism's file, under what the arms set. ``checks`` look at the backends beside.

    Raises ConfigurationError with every mistake of the study and of the organism in each of its arms.
    """
    mistakes = Mistakes()
    tree = read_file(path, mistakes, first=_FIRST, missing=_MISSING)
    if tree is None:
        mistakes.raise_any()
        raise AssertionError("a file could not be read, and no mistake was noted")
    reading = Reading(mistakes, path.parent, _STUDY)
    section: Section = _STUDY.read(tree, reading)
    loading = _Loading(section, path, environ, checks)
    study = loading.study()
    ours = _all_of(mistakes)
    wrong = ours + [each for each in loading.wrong if each not in ours]
    if wrong or study is None:
        raise ConfigurationError(wrong)
    return study


def _all_of(mistakes: Mistakes) -> list[str]:
    try:
        mistakes.raise_any()
    except ConfigurationError as error:
        return list(error.mistakes)
    return []


class _Loading:
    """A study on its way from what was read: the organism is read once for each arm."""

    def __init__(self, section: Section, path: Path, environ: Mapping[str, str], checks: Checks | None) -> None:
        self._section = section
        self._path = path
        self._environ = {name: value for name, value in environ.items() if name != "ORGANISM_JOURNAL"}
        self._checks = checks
        self._found: dict[str, list[str]] = {}
        """Mistakes of the organism, each with the arms that have it."""

    @property
    def wrong(self) -> list[str]:
        """Mistakes of the organism, each once; with the arms that make one of what is right in others."""
        every, lines = len(self._section.values.get("arms", {})), list[str]()
        for line, arms in self._found.items():
            shared = len(arms) == every or line.startswith(f"{self._path}:")
            lines.append(line if shared else f"{line} (in arm {', '.join(map(shown, arms))})")
        return lines

    def study(self) -> Study | None:
        """The study; what is wrong is noted, and what depends on it alone is looked at all the same."""
        section, values = self._section, self._section.values
        file = values.get("organism") or located(_FILE, self._path.parent)
        if "organism" in section.wrong_keys:
            return None
        arms = tuple(self._arms(file))
        if not values.get("arms") and section.whole("arms"):
            section.wrong("arms", "has no arms: name one at least, as in `plain: {}`")
        inputs = self._inputs(arms)
        said = {
            key: values[key]
            for key in ("repeats", "seed", "order", "warm_up", "concurrency", "ceiling")
            if key in values
        }
        if section.wrong_keys or self._found or not arms:
            return None
        name = values["study"]
        made = Study(
            name=name,
            to=values["to"],
            inputs=inputs,
            arms=arms,
            folder=values.get("folder") or located(f"{name}.study", self._path.parent),
            organism=file,
            digest=self._digest(file),
            **said,
        )
        made = evolve(made, warm_up=min(made.warm_up, len(inputs)))
        self._check_ceiling(made)
        self._check_recording(made)
        return made

    def _arms(self, file: Path) -> Iterator[Arm]:
        known: dict[str, tuple[str, Settings]] = {}
        tables: dict[str, Table] = self._section.values.get("arms", {})
        for name, table in tables.items():
            rest = evolve(table, entries={key: entry for key, entry in table.entries.items() if _first(key) != _BUDGET})
            settings, sets = self._settings(file, table, name), plain(table, self._section.reading, exact=False)
            same = json.dumps(plain(rest, self._section.reading, exact=False), sort_keys=True, default=str)
            before = self._settings(file, rest, name) if settings is not None and same not in known else None
            if before is not None:
                known[same] = (name, before)
            if settings is not None and same in known:
                first, base = known[same]
                yield Arm(name=name, sets=sets, settings=settings, before=base, warmed_as=first)

    def _settings(self, file: Path, table: Table, arm: str) -> Settings | None:
        try:
            return config.load(file, environ=self._environ, checks=self._checks, arm=table)
        except ConfigurationError as error:
            for each in error.mistakes:
                known = self._found.setdefault(each, [])
                known += [] if arm in known else [arm]
            return None

    def _inputs(self, arms: tuple[Arm, ...]) -> tuple[Any, ...]:
        """The inputs, which each arm must take."""
        section, to = self._section, self._section.values.get("to")
        node: Node | None = section.values.get("inputs")
        found: tuple[Any, ...] = ()
        for number, arm in enumerate(arms):
            handler = arm.settings.handlers.get(to or "")
            if to is None:
                break
            if handler is None:
                handlers = tuple(arm.settings.handlers)
                near = suggestion(to, handlers) or there_are(handlers)
                section.wrong(
                    "to", f"{shown(to)} is not a handler{'' if not number else f' in arm {shown(arm.name)}'}{near}"
                )
                break
            if not number and node is not None:
                found = inputs_of(node, to, handler.accepts, section.reading)
            others = {type(each).__name__ for each in found if type(each) not in handler.accepts}
            if others:
                section.wrong("inputs", f"in arm {shown(arm.name)}, {shown(to)} does not take {one_of(sorted(others))}")
        return found

    def _check_ceiling(self, study: Study) -> None:
        """Notes units of the ceiling in which the threads of an arm are not limited: nobody could say whether one more fits. And those that
        the organism has a ceiling of, and the study has none of: nothing would be left of what somebody relies on.
        """
        for unit in SPENT_UNITS:
            if getattr(study.ceiling, unit) is None or study.most(unit) is not None:
                continue
            names = [
                arm.name
                for arm in study.arms
                if study.most(unit, (each for each in study.cells if each.arm == arm.name)) is None
            ] or ["the warm-up"]
            out = f"set budget.{unit} in the organism's file or in the arms, and with budget.grants_by also budget.grants_up_to"
            self._section.wrong("ceiling", f"threads of {one_of(names)} may take any number of {unit}: {out}")
        for unit in SPENT_UNITS:
            limited = any(getattr(arm.settings.ceiling.limits, unit) is not None for arm in study.arms)
            if limited and getattr(study.ceiling, unit) is None:
                said = f"the 'ceiling' in {study.organism.name} limits {unit} for all threads, and counts for each by itself in a study"
                self._section.wrong("ceiling", f"{said}: set ceiling.{unit} here for all of them together")

    def _check_recording(self, study: Study) -> None:
        """Notes that threads would write to one recording side by side: which answer came first could not be told from it."""
        names = [arm.name for arm in study.arms if arm.settings.record is not None or arm.before.record is not None]
        if names and study.concurrency > 1:
            out = "leave 'concurrency' out while you record"
            self._section.wrong(
                "concurrency", f"{one_of(names)} has a 'record', which keeps calls in their order: {out}"
            )

    def _digest(self, file: Path) -> str:
        """What tells this organism from another one: its file, and what the environment sets over it."""
        over = sorted((name, value) for name, value in self._environ.items() if name.startswith(config.PREFIX))
        return hashlib.sha256(file.read_bytes() + repr(over).encode()).hexdigest()
