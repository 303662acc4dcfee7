"""YAML text into the tree of values, with the place of each, every structural mistake noted on the way.

Only the nodes of pyyaml are used: what a scalar means is decided where its key is known.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import yaml
from attrs import evolve, frozen
from yaml.reader import ReaderError

from organism.config.places import FILE, Mistakes, Path, Place, shown
from organism.config.scalars import unclear
from organism.config.tree import MAX_DEPTH, MAX_NODES, Entry, Items, Node, Scalar, Table, kind_of
from organism.config.yamlloader import Loader, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path as FilePath

MAX_BYTES: Final = 1024 * 1024
"""How long an organism.yaml may be."""

_MERGE: Final = "<<"
_IN_PYTHON: Final = "a program may declare more than a file: Organism(handlers={...})"
_BEGUN: Final = ("while scanning a simple key", "while scanning a quoted scalar")
"""What pyyaml was reading where a mistake is best told of the place at which that began, and not of where it could not go on."""
_PROBLEMS: Final = tuple((re.compile(pattern), said) for pattern, said in (
    (r"found character '\\t'", "a tab cannot stand here: indent with spaces"),
    (r"found character '(.)'", "a text cannot begin with {0}: quote it"),
    (r"could not find expected ':'", "{line} is no key with a value: write 'key: value', with a blank behind the ':', or indent what goes on"),
    (r"quoted scalar: found unexpected", "the quote that opens here is not closed"),
    (r"mapping values are", "a ':' is not expected here: quote a text that holds ': ' or ends in ':', and indent keys like their neighbours"),
    (r"sequence entries are", "a list cannot begin here: begin it on the next line, or write it as [...]"),
    (r"expected ',' or '(.)'", "expected ',' or '{0}', for the bracket that opens{at}: close it, and quote a text that holds one, ', ' or ': '"),
    (r"expected <block end>", "does not go on with what begins{at}: indent it alike, and quote a text as a whole"),
    (r"expected the node", "a value is expected here"),
    (r"mapping keys are", "a '?' cannot stand here: quote a text that begins with it"),
    (r"undefined alias '(.*)'", "no '&{0}' is above this '*{0}': quote a text that begins with '*'"),
    (r"duplicate anchor '(.*)'", "the anchor '&{0}' is there twice, first{at}: name one of them otherwise"),
    (r"scanning an (?:alias|anchor)", "'&name' names a value, and '*name' stands for it: quote a text that begins with '&' or '*'"),
    (r"(?:scanning|parsing) a tag|tag handle", "tags ('!...') are not read: quote a text that begins with '!'"),
    (r"block scalar: ", "a text begins on the line below its '|' or '>': quote one that begins with these"),
    (r"escape", "a '\\' begins an escape in double quotes: write '\\\\' for itself, or use single quotes"),
    (r"'<document start>'", "another document begins here: leave out what begins with '...' or '%' above"),
    (r"another document|single document", "a second document begins here; there can be one only"),
    (r"YAML doc|YAML dir|a directive", "is not read: leave out what begins with '%'"),
))  # fmt: skip
"""What is found in the ``context: problem`` of pyyaml, and what is said for it; ``{at}`` is where what it was reading began."""


def read_file(
    path: FilePath,
    mistakes: Mistakes,
    *,
    first: str = "at least the organism's name, as in 'organism: my-organism'",
    missing: str = "'organism init DIR' makes a project",
) -> Table | None:
    """The tree of a file. ``None`` where it cannot be read at all; ``mistakes`` say why. ``first`` says what stands first in such a file, and
    ``missing`` how one gets such a file.
    """
    name = str(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        mistakes.note(Place(name), (), f"there is no such file; {missing}")
        return None
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
        mistakes.note(Place(name), (), unreadable(path, error))
        return None
    text = _decoded(data, name, mistakes)
    node = None if text is None else read_text(text, Source(name), mistakes, ())
    if node is None or isinstance(node, Table):
        return node
    if isinstance(node, Scalar) and node.style == "plain" and not node.value:
        problem = f"is empty: write {first}"
    else:
        problem = f"must be a mapping of keys, {first.rpartition(', ')[2]}, and not {kind_of(node)}"
    mistakes.note(node.place, (), problem)
    return None


def _decoded(data: bytes, name: str, mistakes: Mistakes) -> str | None:
    if len(data) > MAX_BYTES:
        mistakes.note(Place(name), (), f"is longer than {MAX_BYTES} bytes; {_IN_PYTHON}")
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode("utf-8")
        place = Place(name, FILE, before.count("\n") + 1, len(before) - before.rfind("\n"))
        mistakes.note(place, (), f"byte 0x{error.object[error.start]:02x} is not UTF-8: save the file as UTF-8")
        return None


@frozen
class Source:
    """Where a text comes from. With a ``place`` all of it is there; else lines and columns count."""

    name: str
    place: Place | None = None

    def at(self, line: int, column: int) -> Place:
        """The place of a line and a column, counted from 0."""
        return self.place or Place(self.name, FILE, line + 1, column + 1)


def read_text(text: str, source: Source, mistakes: Mistakes, path: Path) -> Node | None:
    """The tree of a YAML text; its root has the path ``path``. ``None`` where the text is not YAML."""
    try:
        loader = Loader(text, most_deep=MAX_DEPTH)
    except ReaderError as error:
        before = text[: error.position]
        place = source.at(before.count("\n"), len(before) - before.rfind("\n") - 1)
        mistakes.note(place, path, f"character U+{ord(text[error.position]):04X} is not allowed in YAML")
        return None
    try:
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        place, problem = _said(error, text, source)
        mistakes.note(place, path, problem)
        return None
    except (ValueError, OverflowError):  # an escape beyond Unicode, a version with thousands of digits
        mark = loader.get_mark()
        mistakes.note(source.at(mark.line, mark.column), path, "is not YAML: an escape or a version is too large")
        return None
    for mark in loader.tagged:
        mistakes.note(source.at(mark.line, mark.column), path, "tags ('!...') are not read: leave it out")
    if root is None:
        return Scalar("", "plain", source.at(0, 0), path)
    try:
        return _Reader(source, mistakes).node(root, path)
    except _TooMuchError as error:
        mistakes.note(error.place, path, str(error))
        return None


def _said(error: yaml.MarkedYAMLError, text: str, source: Source) -> tuple[Place, str]:
    """Where a text is no YAML, and why, with the way out."""
    whole, began = f"{error.context}: {error.problem}", error.context_mark
    mark = began if began and whole.startswith(_BEGUN) else error.problem_mark or began
    at = f" at {began.line + 1}:{began.column + 1}" if began and source.place is None else ""
    place = source.at(mark.line, mark.column) if mark else source.at(0, 0)
    for pattern, said in _PROBLEMS:
        found = pattern.search(whole)
        if found is not None:
            line = shown(text.splitlines()[mark.line].strip()) if "{line}" in said and mark else ""
            return place, said.format(*found.groups(), at=at, line=line)
    return place, error.problem or str(error)


def unfold(node: Node, mistakes: Mistakes) -> Node | None:
    """The node; but a text of ``--set`` or the environment that is written as a list or a mapping is read as YAML.

    ``None`` where that is no YAML.
    """
    if not isinstance(node, Scalar) or node.style != "given" or not node.value.lstrip().startswith(("[", "{")):
        return node
    return read_text(node.value, Source("", node.place), mistakes, node.path)


def table_in(node: Node | None, mistakes: Mistakes) -> Table | None:
    """The node as a mapping, :func:`unfold`-ed where it has to be; ``None`` where it is none."""
    read = None if node is None else unfold(node, mistakes)
    return read if isinstance(read, Table) else None


def merged(below: Node | None, above: Node) -> Node:
    """``above`` over ``below``: mappings key by key, so that what is not named stays; anything else is replaced.

    It makes no difference whether a mapping is written as a text, by ``--set`` or in the environment.
    """
    low, high = _mapping(below), _mapping(above)
    if low is None or high is None:
        return above
    entries = dict(low.entries)
    for name, entry in high.entries.items():
        old = entries.get(name)
        entries[name] = entry if old is None else evolve(entry, node=merged(old.node, entry.node))
    return evolve(high, entries=entries)


def _mapping(node: Node | None) -> Table | None:
    """The node as a mapping. What is wrong with a text is said where it is read: it may be none, as a prompt in braces is."""
    mistakes = Mistakes()
    table = table_in(node, mistakes)
    return None if len(mistakes) else table


class _TooMuchError(Exception):
    """A bound on depth or number was met."""

    def __init__(self, place: Place, problem: str) -> None:
        self.place = place
        super().__init__(problem)


class _Reader:
    """Turns pyyaml's nodes into ours; an alias becomes a copy of what it stands for, within bounds."""

    def __init__(self, source: Source, mistakes: Mistakes) -> None:
        self._source = source
        self._mistakes = mistakes
        self._count = 0
        self._open: list[yaml.Node] = []
        """The nodes that are being read, outermost first: one that comes again stands for itself."""

    def node(self, node: yaml.Node, path: Path) -> Node:
        place = self._place(node)
        self._count += 1
        if self._count > MAX_NODES:
            raise _TooMuchError(
                place, f"holds more than {MAX_NODES} values, aliases as what they stand for; {_IN_PYTHON}"
            )
        if any(node is one for one in self._open):
            raise _TooMuchError(place, "an alias stands for something that holds it")
        # Aliases can nest deeper than the text does.
        if len(self._open) >= MAX_DEPTH:
            raise _TooMuchError(place, f"is nested more than {MAX_DEPTH} deep")
        if isinstance(node, yaml.ScalarNode):
            return Scalar(node.value, "quoted" if node.style else "plain", place, path)
        self._open.append(node)
        read: Node
        if isinstance(node, yaml.SequenceNode):
            read = Items(tuple(self.node(one, (*path, index)) for index, one in enumerate(node.value)), place, path)
        else:
            read = Table(self._entries(node, path), place, path)
        self._open.pop()
        return read

    def _entries(self, node: yaml.Node, path: Path) -> dict[str, Entry]:
        own: dict[str, Entry] = {}
        inherited: dict[str, Entry] = {}
        seen: dict[tuple[str, bool], Place] = {}
        for key, value in node.value:
            place = self._place(key)
            if not isinstance(key, yaml.ScalarNode):
                self._mistakes.note(place, path, "a key must be a text and not a list or a mapping")
                continue
            name: str = key.value
            merge = name == _MERGE and not key.style
            first = seen.get((name, merge))
            seen.setdefault((name, merge), place)
            if first is not None:
                at = f"; first at {first.line}:{first.column}" if first.line else ""
                self._mistakes.note(place, (*path, name), f"the key {shown(name)} is there twice{at}: keep one of them")
            elif merge:
                for entries in self._merged(value, path):
                    inherited = entries | inherited
            else:
                problem = None if key.style else unclear(name)
                if problem is not None:
                    self._mistakes.note(place, path, f"a key that {problem}" if not name else f"the key {problem}")
                own[name] = Entry(place, self.node(value, (*path, name)))
        return inherited | own

    def _merged(self, value: yaml.Node, path: Path) -> Iterator[dict[str, Entry]]:
        """The mappings behind ``<<: *name`` or ``<<: [*one, *other]``; earlier ones win."""
        for one in value.value if isinstance(value, yaml.SequenceNode) else [value]:
            if isinstance(one, yaml.MappingNode):
                read = self.node(one, path)
                if isinstance(read, Table):
                    yield dict(read.entries)
            else:
                self._mistakes.note(self._place(one), path, "'<<' takes a mapping, as in '<<: *name'")

    def _place(self, node: yaml.Node) -> Place:
        return self._source.at(node.start_mark.line, node.start_mark.column)
