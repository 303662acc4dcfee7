"""The shapes of lists and mappings: all that is in one is read, also where a part of it is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from attrs import field, frozen

from organism.config import scalars
from organism.config.places import Path, dotted, shown
from organism.config.scalars import Wrong, is_null
from organism.config.shapes import BROKEN, Broken, Drawing, OrNull, Reading, Schema, Shape, one_of
from organism.config.tree import Items, Node, Scalar, Table, kind_of
from organism.config.yamltext import unfold
from organism.names import nearest

_FEW: Final = 20
"""Up to so many keys are told to who wrote one that is not among them."""


@frozen
class ListOf:
    """A list. ``filled``: it may not be empty; ``unique``: nothing may be there twice; ``single``: one item may stand alone; ``whole``:
    it is worth nothing without one of its items.
    """

    item: Shape
    filled: bool = False
    unique: bool = False
    single: bool = False
    whole: bool = False

    def read(self, node: Node, reading: Reading) -> tuple[Any, ...] | Broken:
        """A tuple of the items' values; those that are wrong are left out, or nothing is left where it must be ``whole``."""
        read = unfold(node, reading.mistakes)
        if isinstance(read, Scalar) and self.single and not is_null(read):
            value = self.item.read(read, reading)
            return BROKEN if value is BROKEN else (value,)
        if not isinstance(read, Items):
            return BROKEN if read is None else reading.wrong(read, _not(read, "a list", "[]"))
        if self.filled and not read.items:
            return reading.wrong(read, "is an empty list: name one item at least")
        values: list[Any] = []
        seen: set[Any] = set()  # what may stand once is a name or a class: looked for in a list, many take a minute
        for one in read.items:
            value = self.item.read(one, reading)
            if self.unique and value in seen:
                reading.wrong(one, "is in the list twice")
            elif value is not BROKEN:
                values.append(value)
                seen |= {value} if self.unique else set()
        return BROKEN if self.whole and len(values) < len(read.items) else tuple(values)

    def schema(self, drawing: Drawing) -> Schema:
        """A list, or one item where that may stand alone."""
        item = self.item.schema(drawing)
        least = {"minItems": 1} if self.filled else {}
        every = {"type": "array", "items": item, **least, **({"uniqueItems": True} if self.unique else {})}
        return {"anyOf": [item, every]} if self.single else every


@frozen
class MapOf:
    """A mapping from names to values of one shape. ``check`` gives the problem of a name that is not allowed; ``form`` is a pattern that
    each fits which is, for editors.
    """

    item: Shape
    check: Callable[[str], str | None]
    form: str = ""

    def read(self, node: Node, reading: Reading) -> dict[str, Any] | Broken:
        """The values by name, those that are wrong left out."""
        table = table_of(node, reading)
        if table is None:
            return BROKEN
        values: dict[str, Any] = {}
        for name, entry in table.entries.items():
            problem = self.check(name)
            if problem is not None:
                reading.mistakes.note(entry.key, (*table.path, name), problem)
            value = self.item.read(entry.node, reading)
            if value is not BROKEN:
                values[name] = value
        return values

    def schema(self, drawing: Drawing) -> Schema:
        """A mapping whose names fit the form."""
        names = {"propertyNames": {"pattern": self.form}} if self.form else {}
        return {"type": "object", **names, "additionalProperties": self.item.schema(drawing)}


@frozen
class Anything:
    """A mapping whose keys are not ours, such as ``options``; ``check`` looks at every key in it, at any depth."""

    check: Callable[[str], str | None] | None = None

    def read(self, node: Node, reading: Reading) -> dict[str, Any] | Broken:
        """A dict of dicts, lists and single values; whole numbers are int, others float."""
        table = table_of(node, reading)
        if table is None:
            return BROKEN
        read: dict[str, Any] = plain(table, reading, self.check, exact=False)
        return read

    def schema(self, _drawing: Drawing) -> Schema:
        """A mapping of anything."""
        return {"type": "object"}


@frozen
class Section:
    """A mapping of known keys that was read. ``values`` holds the keys that were said and are right."""

    values: Mapping[str, Any]
    table: Table
    reading: Reading
    wrong_keys: frozenset[str] = frozenset()
    """The keys that were said and are wrong, or were meant by a key that is none: nothing follows of what they lack."""

    def at(self, key: str) -> Node:
        """The node of a key; that of the section where the key was not said."""
        return self.table.get(key) or self.table

    def whole(self, key: str) -> bool:
        """Whether all that was said under a key is known: the key and, of a list, each item are right."""
        if key in self.wrong_keys:
            return False
        node = self.table.get(key)
        read = None if node is None else unfold(node, self.reading.mistakes)
        return not isinstance(read, Items) or len(read.items) == len(self.values.get(key, ()))

    def wrong(self, key: str, problem: str) -> Broken:
        """Notes a mistake at a key, or at the section where the key was not said."""
        return self.reading.wrong(self.at(key), problem)


@frozen
class Record:
    """A mapping of known keys. ``refused`` are keys that are no keys here, each with the reason; ``meant`` are the keys that belong
    in their place. ``named`` is what the section is called, and behind that the others whose keys it has.
    """

    keys: Mapping[str, Shape]
    named: tuple[str, ...] = field(kw_only=True)
    required: tuple[str, ...] = ()
    either: tuple[str, ...] = ()
    """Keys of which exactly one must be there, which ``make`` has to look at."""
    way_out: str = ""
    """What to write where a required key is missing."""
    make: Callable[[Section], Any] = lambda section: section
    refused: Mapping[str, str] = field(factory=dict[str, str])
    meant: tuple[str, ...] = ()
    tolerant: bool = False
    """Whether ``make`` is called although a key is wrong, to look for more mistakes. What it makes then leaves nobody's hands."""
    again: bool = False
    """Whether what it holds stands elsewhere too, where somebody who misplaced a key is rather told of it."""

    def read(self, node: Node, reading: Reading) -> Any:
        """What ``make`` makes of the section."""
        table = table_of(node, reading)
        if table is None:
            return BROKEN
        values: dict[str, Any] = {}
        wrong: set[str] = set()
        for name, entry in table.entries.items():
            shape = self.keys.get(name)
            if shape is None:
                problem, meant = self._unknown(name, table.path, reading)
                # The node's own path: what stands in `defaults` is read again below each handler.
                reading.mistakes.note(entry.key, entry.node.path, problem)
                wrong |= {name, *meant}
                continue
            value = shape.read(entry.node, reading)
            if value is BROKEN:
                wrong.add(name)
            else:
                values[name] = value
        for name in self.required:
            if name not in table.entries:
                if name not in wrong:
                    reading.wrong(table, f"{shown(name)} is missing{self.way_out and f': {self.way_out}'}")
                wrong.add(name)
        if wrong and not self.tolerant:
            return BROKEN
        return self.make(Section(values, table, reading, frozenset(wrong)))

    def schema(self, drawing: Drawing) -> Schema:
        """A reference to the section, which is drawn up once."""
        name = self.named[0]
        if name not in drawing.sections:
            drawing.sections[name] = {}  # in its place: before those that stand in it
            means = {key: said for one in reversed(self.named) for key, said in drawing.meanings.get(one, {}).items()}
            drawing.sections[name] |= {
                "type": "object",
                "properties": {
                    key: {"description": means[key], **shape.schema(drawing)} for key, shape in self.keys.items()
                },
                **({"required": [*self.required]} if self.required else {}),
                **({"oneOf": [{"required": [key]} for key in self.either]} if self.either else {}),
                "additionalProperties": False,
            }
        return {"$ref": f"#/$defs/{name}"}

    def _unknown(self, name: str, path: Path, reading: Reading) -> tuple[str, tuple[str, ...]]:
        """What is wrong with a key that is none here, and the keys that may be meant by it."""
        if name in self.refused:
            return self.refused[name], self.meant
        here = self.keys.items() if self.again else ()
        below = [(*path, key, *home) for key, shape in here for home in _homes(name, shape, reading)]
        homes = [dotted(home) or "the top of the file" for home in (*below, *_homes(name, reading.root, reading))]
        if homes:
            return f"unknown key here; it belongs in {one_of(homes[:3])}", ()
        near = nearest(name, self.keys, reading.mistakes.guesses)
        if near is not None:
            return f"unknown key; did you mean {shown(near)}?", (near,)
        return f"unknown key; the keys are {one_of(list(self.keys))}" if len(self.keys) <= _FEW else "unknown key", ()


def _homes(name: str, shape: Shape | None, reading: Reading) -> Sequence[Path]:
    """The sections that know a key, the outermost first; each shape is looked through once for all keys."""
    found = reading.homes.get(id(shape))
    if found is None:
        found = reading.homes[id(shape)] = {}
        for key, path in _all_homes(shape):
            found.setdefault(key, []).append(path)
    return found.get(name, ())


def _all_homes(shape: Shape | None) -> Iterator[tuple[str, Path]]:
    """Each key that there is, with the section that knows it, the outermost first."""
    within: list[tuple[Path, Shape]] = [] if shape is None else [((), shape)]
    while within:
        path, shape = within.pop(0)
        match shape:
            case Record(keys=keys, again=again):
                yield from ((key, path) for key in keys)
                within.extend(((*path, key), below) for key, below in keys.items() if not again)
            case MapOf(item=item):
                within.append(((*path, "NAME"), item))
            case ListOf(item=item):
                within.append(((*path, 0), item))
            case OrNull(shape=inner):
                within.append((path, inner))
            case _:
                pass


def table_of(node: Node, reading: Reading) -> Table | None:
    """The node as a mapping, or ``None`` after the mistake was noted."""
    read = unfold(node, reading.mistakes)
    if isinstance(read, Table) or read is None:
        return read
    reading.wrong(read, _not(read, "a mapping of keys", "{}"))
    return None


def plain(node: Node, reading: Reading, check: Callable[[str], str | None] | None = None, *, exact: bool) -> Any:
    """A node as plain Python: dicts, lists and single values. ``exact``: decimals stay Decimal; otherwise they are float."""
    match node:
        case Table(entries=entries):
            for name, entry in entries.items():
                problem = check(name) if check else None
                if problem is not None:
                    reading.mistakes.note(entry.key, (*node.path, name), problem)
            return {name: plain(entry.node, reading, check, exact=exact) for name, entry in entries.items()}
        case Items(items=items):
            return [plain(one, reading, check, exact=exact) for one in items]
        case Scalar():
            read = unfold(node, reading.mistakes)
            if read is None:
                return BROKEN
            if not isinstance(read, Scalar):
                return plain(read, reading, check, exact=exact)
            value = scalars.anything(node) if exact else _inexact(node)
            return reading.wrong(node, value.problem) if isinstance(value, Wrong) else value


def _inexact(scalar: Scalar) -> Any:
    value = scalars.anything(scalar)
    return scalars.number(scalar) if isinstance(value, Decimal) and scalar.style != "python" else value


def _not(node: Node, wanted: str, empty: str) -> str:
    """What is wrong with a node that is not what is wanted; ``empty`` is how to write that with nothing in it."""
    if isinstance(node, Scalar) and is_null(node):
        return f"has no value: write {empty}, or leave the key out"
    return f"must be {wanted} and not {kind_of(node)}"
