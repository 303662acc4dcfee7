"""The shapes of single values, and what every shape is. The keys of organism.yaml are declared with shapes.

A shape reads a node and gives its value, or ``BROKEN`` after the mistake was noted; what else there is, is read on.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, Final, Protocol

from attrs import define, field, frozen

from organism.config import scalars
from organism.config.places import Mistakes, Path, shown
from organism.config.scalars import Wrong, is_null
from organism.config.tree import Node, Scalar, kind_of
from organism.names import ORGANISM, suggestion

if TYPE_CHECKING:
    from collections.abc import Collection
    from decimal import Decimal

    from organism.names import Guesses


class Broken(Enum):
    """What a shape gives when the value was wrong."""

    BROKEN = "broken"


BROKEN: Final = Broken.BROKEN


@define
class Reading:
    """What reading needs beside the node: the folder that paths are relative to, and where mistakes go."""

    mistakes: Mistakes
    folder: FilePath | None = None
    root: Shape | None = None
    """The shape of the whole, to tell where a misplaced key belongs."""
    deciders: list[Found] = field(factory=list["Found"])
    """The handlers that are named in ``grants_by``: they can be looked at once all handlers are known."""
    failed: set[str] = field(factory=set[str])
    """The modules that could not be imported, and why: told once, wherever they are named."""
    homes: dict[int, dict[str, list[Path]]] = field(init=False, factory=dict[int, dict[str, list[Path]]])
    """By the ``id`` of a shape, which lives as long as the program: the sections that know a key, by key."""

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
class Single:
    """A single value, read by ``_value``.

    ``nullable``: ``null`` is allowed, and means what the key says. ``hint`` is told where a number is too little.
    """

    nullable: bool = field(default=False, kw_only=True)
    hint: str = field(default="", kw_only=True)

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
        said = shown(scalar.value).strip("'")
        hint = f"; {self.hint}" if self.hint else ""
        if above is not None and value <= above:
            return Wrong(f"{said} is not above {above}{hint}")
        if least is None or value >= least:
            return value
        return Wrong(f"{said} is negative{hint}" if least == 0 else f"{said} is too little: {least} is the least{hint}")


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
    """A number from 0 on, above ``above``, and not above ``most``."""

    above: float | None = None
    most: float | None = None

    def _wanted(self) -> str:
        return "a number"

    def _value(self, scalar: Scalar) -> float | Wrong:
        value = scalars.number(scalar)
        if not isinstance(value, Wrong) and self.most is not None and value > self.most:
            said = shown(scalar.value).strip("'")
            never = ", and null means never" if self.nullable else ""
            return Wrong(f"{said} is too much: {self.most:g} is the most{never}")
        return value if isinstance(value, Wrong) else self._bounded(scalar, value, 0, self.above)


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
class Truth(Single):
    """True or false."""

    def _wanted(self) -> str:
        return "true or false"

    def _value(self, scalar: Scalar) -> bool | Wrong:
        value = scalars.anything(scalar)
        return value if isinstance(value, bool) else Wrong(f"{shown(scalar.value)} is not true or false")


@frozen
class Choice(Single):
    """One of some words."""

    words: tuple[str, ...]

    def _wanted(self) -> str:
        return one_of(self.words)

    def _value(self, scalar: Scalar) -> str | Wrong:
        # Looked at before the traps: `window: on` is no choice, quoted or not.
        value = scalar.value
        if not isinstance(value, str):
            return Wrong(f"{shown(value)} is not {one_of(self.words)}")
        return (
            value
            if value in self.words
            else Wrong(f"{shown(value)} is not {one_of(self.words)}{suggestion(value, self.words)}")
        )


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
        if not isinstance(node, Scalar):
            return self.shape.read(node, reading)
        if is_null(node):
            return None
        if scalars.anything(node) is False:  # is what many take for the opposite of a section
            return reading.wrong(node, f"{shown(node.value)} is not a value for it: write null for none")
        return self.shape.read(node, reading)


def no_handler(name: str, handlers: Collection[str], guesses: Guesses | None = None) -> str:
    """What is wrong with a name that is none of these handlers'."""
    if name == ORGANISM:
        return f"{shown(name)} is the organism itself, and no handler: name one of 'handlers'"
    hint = suggestion(name, handlers, guesses) or "; add it to 'handlers'"
    return f"{shown(name)} is not a handler{hint}"


def no_model(name: str, aliases: Collection[str], guesses: Guesses | None = None) -> str:
    """What is wrong with a name that is none of these aliases."""
    there = f"; use {one_of(sorted(aliases))}" if aliases else ""
    return f"{shown(name)} is not a model{suggestion(name, aliases, guesses) or there}"


def one_of(words: tuple[str, ...] | list[str]) -> str:
    """``'a', 'b' or 'c'``."""
    quoted = [shown(word) for word in words]
    return f"{', '.join(quoted[:-1])} or {quoted[-1]}" if len(quoted) > 1 else quoted[0]
