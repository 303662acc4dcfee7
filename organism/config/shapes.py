"""The shapes that values may have. The keys of organism.yaml are declared with them; reading by them finds every mistake.

A shape reads a node and gives its value, or ``BROKEN`` after the mistake was noted; what else there is, is read on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from enum import Enum
from pathlib import Path as FilePath
from typing import Any, Final, Protocol

from attrs import define, field, frozen

from organism.config import scalars
from organism.config.places import Mistakes, Path, dotted, shown
from organism.config.scalars import Wrong, is_null
from organism.config.tree import Items, Node, Scalar, Table, kind_of
from organism.config.yamltext import unfold
from organism.names import suggestion


class Broken(Enum):
    """What a shape gives when the value was wrong."""

    BROKEN = "broken"


BROKEN: Final = Broken.BROKEN
_FEW: Final = 8
LATER: Final = "not available yet: leave it out"


@define
class Reading:
    """What reading needs beside the node: the folder that paths are relative to, and where mistakes go."""

    mistakes: Mistakes
    folder: FilePath | None = None
    root: Shape | None = None
    """The shape of the whole, to tell where a misplaced key belongs."""

    def wrong(self, node: Node, problem: str) -> Broken:
        """Notes a mistake at a node."""
        self.mistakes.note(node.place, node.path, problem)
        return BROKEN


class Shape(Protocol):
    """What a value may be."""

    def read(self, node: Node, reading: Reading) -> Any:
        """The value, or ``BROKEN`` after the mistake was noted. Never raises."""
        ...


@frozen
class Later:
    """A key that a later version brings."""

    def read(self, node: Node, reading: Reading) -> Broken:
        """Refuses it."""
        return reading.wrong(node, LATER)


@frozen
class Single:
    """A single value, read by ``_value``. ``nullable``: ``null`` is allowed, and means what the key says."""

    nullable: bool = field(default=False, kw_only=True)

    def read(self, node: Node, reading: Reading) -> Any:
        """The value; ``None`` for a ``null`` that is allowed."""
        if not isinstance(node, Scalar):
            return reading.wrong(node, f"must be {self._wanted()} and not {kind_of(node)}")
        if is_null(node):
            if self.nullable:
                return None
            return reading.wrong(node, f"has no value: give {self._wanted()}, or leave the key out")
        value = self._value(node)
        return reading.wrong(node, value.problem) if isinstance(value, Wrong) else value

    def _wanted(self) -> str:
        raise NotImplementedError

    def _value(self, scalar: Scalar) -> Any:
        raise NotImplementedError

    def _bounded(self, scalar: Scalar, value: Any, least: Any, above: Any = None) -> Any:
        said = scalar.value.strip() if isinstance(scalar.value, str) else shown(scalar.value)
        if above is not None and value <= above:
            return Wrong(f"{said} is not above {above}")
        if least is None or value >= least:
            return value
        if least == 0:
            hint = "; 0 allows nothing, null sets no limit" if self.nullable and above is None else ""
            return Wrong(f"{said} is negative{hint}")
        return Wrong(f"{said} is too little: {least} is the least")


@frozen
class Text(Single):
    """A text. ``check`` gives the problem of a text that is not allowed."""

    wanted: str = "a text"
    check: Callable[[str], str | None] | None = None

    def _wanted(self) -> str:
        return self.wanted

    def _value(self, scalar: Scalar) -> str | Wrong:
        value = scalars.text(scalar)
        if isinstance(value, Wrong):
            return value
        if not value.strip():
            return Wrong(f"is an empty text: give {self.wanted}, or leave the key out")
        problem = self.check(value) if self.check else None
        return Wrong(problem) if problem is not None else value


@frozen
class Whole(Single):
    """A whole number from ``least`` on."""

    least: int | None = 0

    def _wanted(self) -> str:
        return "a whole number"

    def _value(self, scalar: Scalar) -> int | Wrong:
        value = scalars.whole(scalar)
        return value if isinstance(value, Wrong) else self._bounded(scalar, value, self.least)


@frozen
class Number(Single):
    """A number from ``least`` on, and above ``above``."""

    least: float = 0
    above: float | None = None

    def _wanted(self) -> str:
        return "a number"

    def _value(self, scalar: Scalar) -> float | Wrong:
        value = scalars.number(scalar)
        return value if isinstance(value, Wrong) else self._bounded(scalar, value, self.least, self.above)


@frozen
class Exact(Single):
    """A decimal number, kept exactly; from 0 on, above ``above`` and below ``below``."""

    above: int | None = None
    below: int | None = None

    def _wanted(self) -> str:
        return "a decimal number"

    def _value(self, scalar: Scalar) -> Decimal | Wrong:
        value = scalars.exact(scalar)
        if isinstance(value, Wrong):
            return value
        if self.below is not None and value >= self.below:
            return Wrong(f"{shown(value)} is not below {self.below}")
        bounded: Decimal | Wrong = self._bounded(scalar, value, 0, self.above)
        return bounded


@frozen
class Choice(Single):
    """One of some words; ``later`` are words that a later version brings."""

    words: tuple[str, ...]
    later: tuple[str, ...] = ()

    def _wanted(self) -> str:
        return one_of(self.words)

    def _value(self, scalar: Scalar) -> str | Wrong:
        # Looked at before the traps: `window: on` is no choice, quoted or not.
        value = scalar.value
        if value in self.words:
            return str(value)
        if value in self.later:
            return Wrong(f"{shown(value)} is not available yet; use {one_of(self.words)}")
        near = suggestion(value, self.words) if isinstance(value, str) else ""
        return Wrong(f"{shown(value)} is not {one_of(self.words)}{near}")


@frozen
class Found:
    """A value with its node, for mistakes that show only when everything was read."""

    value: Any
    node: Node = field(eq=False)


@frozen
class Located:
    """A value of a shape, as :class:`Found`."""

    shape: Shape

    def read(self, node: Node, reading: Reading) -> Found | Broken:
        """The value and its node."""
        value = self.shape.read(node, reading)
        return BROKEN if value is BROKEN else Found(value, node)


@frozen
class OrNull:
    """A value of a shape, or ``null`` for none."""

    shape: Shape

    def read(self, node: Node, reading: Reading) -> Any:
        """The value, or ``None``."""
        return None if isinstance(node, Scalar) and is_null(node) else self.shape.read(node, reading)


@frozen
class ListOf:
    """A list. ``filled``: it may not be empty; ``unique``: nothing may be there twice; ``single``: one item may stand alone."""

    item: Shape
    filled: bool = False
    unique: bool = False
    single: bool = False

    def read(self, node: Node, reading: Reading) -> tuple[Any, ...] | Broken:
        """A tuple of the items' values, those that are wrong left out."""
        read = _unfolded(node, reading)
        if isinstance(read, Scalar) and self.single and not is_null(read):
            value = self.item.read(read, reading)
            return BROKEN if value is BROKEN else (value,)
        if not isinstance(read, Items):
            if read is not None:
                empty = isinstance(read, Scalar) and is_null(read)
                reading.wrong(read, "has no value: write [], or leave the key out" if empty else _not(read, "a list"))
            return BROKEN
        if self.filled and not read.items:
            return reading.wrong(read, "is an empty list: name one item at least")
        values: list[Any] = []
        for one in read.items:
            value = self.item.read(one, reading)
            if self.unique and value in values:
                reading.wrong(one, "is in the list twice")
            elif value is not BROKEN:
                values.append(value)
        return tuple(values)


@frozen
class MapOf:
    """A mapping from names to values of one shape. ``check`` gives the problem of a name that is not allowed."""

    item: Shape
    check: Callable[[str], str | None]

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


@frozen
class Section:
    """A mapping of known keys that was read. ``values`` holds the keys that were said and are right."""

    values: Mapping[str, Any]
    table: Table
    reading: Reading
    broken: bool

    def at(self, key: str) -> Node:
        """The node of a key; that of the section where the key was not said."""
        return self.table.get(key) or self.table

    def wrong(self, key: str, problem: str) -> Broken:
        """Notes a mistake at a key, or at the section where the key was not said."""
        return self.reading.wrong(self.at(key), problem)


@frozen
class Record:
    """A mapping of known keys. ``refused`` are keys that are no keys here, each with the reason."""

    keys: Mapping[str, Shape]
    required: tuple[str, ...] = ()
    make: Callable[[Section], Any] = lambda section: section
    refused: Mapping[str, str] = field(factory=dict[str, str])
    tolerant: bool = False
    """Whether ``make`` is called although a key is wrong, to look for more mistakes."""

    def read(self, node: Node, reading: Reading) -> Any:
        """What ``make`` makes of the section."""
        table = table_of(node, reading)
        if table is None:
            return BROKEN
        broken = False
        values: dict[str, Any] = {}
        for name, entry in table.entries.items():
            shape = self.keys.get(name)
            if shape is None or isinstance(shape, Later):
                problem = self._unknown(name, reading) if shape is None else LATER
                # The node's own path: what stands in `defaults` is read again below each handler.
                reading.mistakes.note(entry.key, entry.node.path, problem)
                broken = True
                continue
            value = shape.read(entry.node, reading)
            if value is BROKEN:
                broken = True
            else:
                values[name] = value
        for name in self.required:
            if name not in table.entries:
                reading.wrong(table, f"{shown(name)} is missing")
                broken = True
        return BROKEN if broken and not self.tolerant else self.make(Section(values, table, reading, broken))

    def _unknown(self, name: str, reading: Reading) -> str:
        if name in self.refused:
            return self.refused[name]
        homes = [dotted(home) or "the top of the file" for home in homes_of(name, reading.root)]
        if homes:
            return f"unknown key here; it belongs in {one_of(homes[:3])}"
        near = suggestion(name, self.keys)
        few = f"; there is {one_of(list(self.keys))}" if len(self.keys) <= _FEW else ""
        return f"unknown key{near or few}"


def homes_of(name: str, shape: Shape | None, path: Path = ()) -> Iterator[Path]:
    """The sections that know a key, the outermost first."""
    within: list[tuple[Path, Shape]] = [] if shape is None else [(path, shape)]
    while within:
        path, shape = within.pop(0)
        match shape:
            case Record(keys=keys):
                if name in keys:
                    yield path
                within.extend(((*path, key), below) for key, below in keys.items())
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
    read = _unfolded(node, reading)
    if isinstance(read, Table) or read is None:
        return read
    empty = isinstance(read, Scalar) and is_null(read)
    reading.wrong(read, "has no value: write {}, or leave the key out" if empty else _not(read, "a mapping of keys"))
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


def one_of(words: tuple[str, ...] | list[str]) -> str:
    """``'a', 'b' or 'c'``."""
    quoted = [shown(word) for word in words]
    return f"{', '.join(quoted[:-1])} or {quoted[-1]}" if len(quoted) > 1 else quoted[0]


def _inexact(scalar: Scalar) -> Any:
    value = scalars.anything(scalar)
    return scalars.number(scalar) if isinstance(value, Decimal) and scalar.style != "python" else value


def _unfolded(node: Node, reading: Reading) -> Node | None:
    return unfold(node, reading.mistakes) if isinstance(node, Scalar) else node


def _not(node: Node, wanted: str) -> str:
    return f"must be {wanted} and not {kind_of(node)}"
