"""The tree of values that every source is read into: file, ``--set``, environment and keyword arguments alike.

A node knows its place and its path, so that whoever finds a mistake can say where it was made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from attrs import frozen

from organism.config.places import Path, Place, shown

Style = Literal["plain", "quoted", "given", "python"]
"""How a scalar was written. ``plain``: in YAML without quotes, so that its text may mean several things. ``quoted``: in YAML
and surely a text. ``given``: as ``--set`` or in the environment, where the key alone says what the text means.
``python``: it is a value already.
"""

MAX_DEPTH: Final = 50
"""How deep values may be nested."""
MAX_NODES: Final = 100_000
"""How many values a text may hold, those that an alias repeats included: a few lines of aliases could stand for any number."""
MAX_GIVEN: Final = 1_000_000
"""How many values a program may give: a list that holds itself twice would never end."""


@frozen
class Scalar:
    """One value: a text, for the style ``python`` anything."""

    value: Any
    style: Style
    place: Place
    path: Path


@frozen
class Items:
    """A list."""

    items: tuple[Node, ...]
    place: Place
    path: Path


@frozen
class Entry:
    """A key's place and its value."""

    key: Place
    node: Node


@frozen
class Table:
    """A mapping."""

    entries: Mapping[str, Entry]
    place: Place
    path: Path

    def get(self, name: str) -> Node | None:
        """The value of a key, where it is there."""
        entry = self.entries.get(name)
        return None if entry is None else entry.node


Node = Scalar | Items | Table


def kind_of(node: Node) -> str:
    """What a node is, for messages."""
    match node:
        case Table():
            return "a mapping"
        case Items():
            return "a list"
        case Scalar(value=value):
            return shown(value)
