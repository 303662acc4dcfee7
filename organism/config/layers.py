"""The layers above the file: ``set`` and the environment; and values that a Python program gives.

Every source is turned into the same tree, one laid over the other, strongest last.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, cast

from attrs import evolve, frozen

from organism.config.places import ENVIRONMENT, SET, Mistakes, Path, Place, dotted, shown
from organism.config.scalars import is_null
from organism.config.tree import MAX_DEPTH, MAX_GIVEN, Entry, Items, Node, Scalar, Table
from organism.config.yamltext import merged, unfold
from organism.names import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PREFIX: Final = "ORGANISM_"
_PATH: Final = re.compile(r"[^.\[\]]+(\.[^.\[\]]+|\[[0-9]+\])*")
_NO_PATH: Final = "is not a path of keys; write it as in 'budget.tokens' or 'handlers.writer.peers.0'"
_STEP: Final = re.compile(r"[^.\[\]]+")
_INDEX: Final = re.compile(r"[0-9]{1,6}")


@frozen
class Overlay:
    """One value over one path. ``fold``: the steps come from the environment, which has no lower case and no ``-``."""

    steps: tuple[str, ...]
    value: object
    place: Place
    fold: bool = False


def in_python(key: str) -> str:
    """How a program writes a key of ``set``."""
    return f"set={{{shown(key)}: ...}}"


def overlays_of_set(
    values: Mapping[str, object], mistakes: Mistakes, written: Callable[[str], str] = in_python
) -> Iterator[Overlay]:
    """``{"budget.tokens": 500, "handlers.writer.peers[0]": "shouter"}``; a text means what its key says it means. ``written`` is how its
    caller wrote a key.
    """
    for name, value in values.items():
        place = Place(written(name), SET)
        if not _PATH.fullmatch(name):
            mistakes.note(place, (), _NO_PATH)
            continue
        steps = tuple(_STEP.findall(name))
        yield Overlay(steps, value, evolve(place, says=_path(steps)))


def overlays_of_table(table: Table, mistakes: Mistakes) -> Iterator[Overlay]:
    """The same of a mapping in another file, whose values know their places there: ``{budget.tokens: 500, budget: {runway: 0}}``."""
    for name, entry in table.entries.items():
        if not _PATH.fullmatch(name):
            mistakes.note(entry.key, entry.node.path, _NO_PATH)
            continue
        steps = tuple(_STEP.findall(name))
        yield Overlay(steps, _based(entry.node, _path(steps)), evolve(entry.key, layer=SET))


def _based(node: Node, path: Path) -> Node:
    """A value of another file as one of the document, where it stands at ``path``."""
    place = evolve(node.place, layer=SET)
    match node:
        case Scalar():
            return evolve(node, place=place, path=path)
        case Items(items=items):
            return Items(tuple(_based(one, (*path, index)) for index, one in enumerate(items)), place, path)
        case Table(entries=entries):
            return Table(
                {
                    name: Entry(evolve(entry.key, layer=SET), _based(entry.node, (*path, name)))
                    for name, entry in entries.items()
                },
                place,
                path,
            )


def overlays_of_environ(environ: Mapping[str, str], mistakes: Mistakes) -> Iterator[Overlay]:
    """``ORGANISM_BUDGET__TOKENS=500``; the shorter names first, so that the one that says more exactly wins."""
    names = (name for name in environ if name.startswith(PREFIX))
    for name in sorted(names, key=lambda name: (name.count("__"), name)):
        steps = tuple(name.removeprefix(PREFIX).lower().split("__"))
        place = Place(name, ENVIRONMENT)
        if not all(steps):
            mistakes.note(place, (), f"is not the name of a key; write it as in {PREFIX}BUDGET__TOKENS")
            continue
        yield Overlay(steps, environ[name], place, fold=True)


def laid(tree: Table, overlays: Iterable[Overlay], mistakes: Mistakes) -> Table:
    """The tree with the overlays over it, the last one strongest."""
    for overlay in overlays:
        new = _Laying(overlay, mistakes).over(tree, (), overlay.steps)
        assert isinstance(new, Table)  # noqa: S101 - an overlay has a step at least, and the root is a mapping
        tree = new
    return tree


class _Laying:
    """One overlay on its way down the tree."""

    def __init__(self, overlay: Overlay, mistakes: Mistakes) -> None:
        self._overlay = overlay
        self._mistakes = mistakes

    def over(self, below: Node | None, path: Path, steps: Sequence[str]) -> Node | None:
        """``below`` with the overlay's value at the end of ``steps``; as it was, after a mistake was noted."""
        if not steps:
            return self._value(below, path)
        if isinstance(below, Scalar):
            below = None if is_null(below) else unfold(below, self._mistakes)
        place = self._overlay.place
        match below:
            case None if _INDEX.fullmatch(steps[0]):
                return self._over_item(Items((), place, path), steps) or below
            case None:
                return self._over_key(Table({}, place, path), steps) or below
            case Table():
                return self._over_key(below, steps) or below
            case Items():
                return self._over_item(below, steps) or below
            case Scalar():
                self._wrong(path, f"{shown(dotted(path))} holds no keys, so {shown(steps[0])} cannot be set in it")
                return below

    def _value(self, below: Node | None, path: Path) -> Node:
        value, place = self._overlay.value, self._overlay.place
        if isinstance(value, (Scalar, Items, Table)):
            return merged(below, value)
        if not isinstance(value, str):
            return merged(below, from_python(value, lambda _: place, self._mistakes, path))
        given = Scalar(value, "given", place, path)
        if not isinstance(below, Table):
            return merged(below, given)  # unless both are mappings, its key decides whether it is YAML or a text
        above = unfold(given, self._mistakes)
        return below if above is None else merged(below, above)

    def _over_key(self, below: Table, steps: Sequence[str]) -> Table | None:
        name = steps[0]
        if self._overlay.fold and name not in below.entries:
            name = next((one for one in below.entries if one.lower().replace("-", "_") == name), name)
        old = below.entries.get(name)
        node = self.over(old.node if old else None, (*below.path, name), steps[1:])
        if node is None:
            return None
        entry = Entry(old.key if old else self._overlay.place, node)
        return evolve(below, entries={**below.entries, name: entry})

    def _over_item(self, below: Items, steps: Sequence[str]) -> Items | None:
        items = below.items
        index = int(steps[0]) if _INDEX.fullmatch(steps[0]) else -1
        if not 0 <= index <= len(items):
            has = f"it has {counted(len(items), 'item')}, counted from 0" if items else "it has no items"
            self._wrong(below.path, f"{shown(steps[0])} is not an item of the list: {has}, and {len(items)} adds one")
            return None
        node = self.over(items[index] if index < len(items) else None, (*below.path, index), steps[1:])
        return None if node is None else evolve(below, items=(*items[:index], node, *items[index + 1 :]))

    def _wrong(self, path: Path, problem: str) -> None:
        place = self._overlay.place
        # A place that says the whole path has said the part of it that led here.
        self._mistakes.note(place, place.says if path == place.says[: len(path)] else path, problem)


def from_python(value: object, place_of: Callable[[Path], Place], mistakes: Mistakes, path: Path) -> Node:
    """The tree of a Python value: mappings, lists and tuples; anything else is a single value, and a path is its text."""
    return _Python(place_of, mistakes).node(value, path)


class _Python:
    def __init__(self, place_of: Callable[[Path], Place], mistakes: Mistakes) -> None:
        self._place_of = place_of
        self._mistakes = mistakes
        self._count = 0

    def node(self, value: object, path: Path) -> Node:
        place = self._place_of(path)
        self._count += 1
        if isinstance(value, (Mapping, list, tuple)) and (len(path) >= MAX_DEPTH or self._count > MAX_GIVEN):
            self._mistakes.note(
                place, path[:MAX_DEPTH], f"holds more than {MAX_GIVEN} values, or deeper than {MAX_DEPTH}"
            )
            return Scalar(None, "python", place, path)
        if isinstance(value, Mapping):
            return Table(self._entries(cast("Mapping[object, object]", value), path), place, path)
        if isinstance(value, (list, tuple)):
            values = cast("Sequence[object]", value)
            return Items(tuple(self.node(one, (*path, index)) for index, one in enumerate(values)), place, path)
        given = os.fspath(cast("os.PathLike[str]", value)) if isinstance(value, os.PathLike) else value
        return Scalar(given, "python", place, path)

    def _entries(self, value: Mapping[object, object], path: Path) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        for key, one in value.items():
            if isinstance(key, str):
                entries[key] = Entry(self._place_of((*path, key)), self.node(one, (*path, key)))
            else:
                self._mistakes.note(self._place_of(path), path, f"the key {shown(key)} of {dotted(path)} is not a text")
        return entries


def _path(steps: tuple[str, ...]) -> Path:
    return tuple(int(step) if _INDEX.fullmatch(step) else step for step in steps)
