"""The shapes of single values, and what every shape is. The keys of organism.yaml are declared with shapes.

A shape reads a node and gives its value, or ``BROKEN`` after the mistake was noted; what else there is, is read on. It also says as a
JSON Schema what it may read: an editor then knows of a file what can be known of it alone, and takes whatever the shape takes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from enum import Enum
from functools import partial
from pathlib import Path as FilePath
from typing import Any, Final, Literal, Protocol, TypeAlias

from attrs import Factory, define, field, frozen

from organism.config import scalars
from organism.config.places import Mistakes, Path, shown
from organism.config.scalars import Wrong, is_null
from organism.config.tree import Node, Scalar, kind_of
from organism.names import HANDLER_NAME, suggestion


class Broken(Enum):
    """What a shape gives when the value was wrong."""

    BROKEN = "broken"


BROKEN: Final = Broken.BROKEN
Classes: TypeAlias = Collection[type] | None
"""The payload classes that a handler takes or replies; ``None`` where they are not known, or not all."""


@define
class Reading:
    """What reading needs beside the node: the folder that paths are relative to, and where mistakes go."""

    mistakes: Mistakes
    folder: FilePath | None = None
    root: Shape | None = None
    """The shape of the whole, to tell where a misplaced key belongs."""
    named: dict[tuple[Path, str], tuple[Name, Node]] = field(factory=dict[tuple[Path, str], tuple["Name", Node]])
    """The handlers and models that are named, by what they stand in and the name: they can be looked at once all are known."""
    failed: set[str] = field(factory=set[str])
    """The modules that could not be imported, and why: told once, wherever they are named."""
    homes: dict[int, dict[str, list[Path]]] = field(init=False, factory=dict[int, dict[str, list[Path]]])
    """By the ``id`` of a shape, which lives as long as the program: the sections that know a key, by key."""

    def wrong(self, node: Node, problem: str) -> Broken:
        """Notes a mistake at a node."""
        self.mistakes.note(node.place, node.path, problem)
        return BROKEN


Schema: TypeAlias = dict[str, Any]
"""A JSON Schema (2020-12)."""


@frozen
class Drawing:
    """What drawing up a schema needs: what the keys of each section mean, by its name, and where whole sections go."""

    meanings: Mapping[str, Mapping[str, str]]
    sections: dict[str, Schema] = field(factory=dict[str, Schema])


class Shape(Protocol):
    """What a value may be."""

    def read(self, node: Node, reading: Reading) -> Any:
        """The value, or ``BROKEN`` after the mistake was noted. Never raises."""
        ...

    def schema(self, drawing: Drawing, /) -> Schema:
        """What it may read, a value of an editor: all that :meth:`read` takes, and as little else as a schema can say."""
        ...


@frozen
class Single:
    """A single value, read by ``_value``.

    ``nullable``: ``null`` is allowed, and means what the key says. ``wanted`` is what it must be.
    """

    nullable: bool = field(default=False, kw_only=True)
    wanted: str = field(default="a value", kw_only=True)

    def read(self, node: Node, reading: Reading) -> Any:
        """The value; ``None`` for a ``null`` that is allowed."""
        if not isinstance(node, Scalar):
            return reading.wrong(node, f"must be {self.wanted} and not {kind_of(node)}")
        if is_null(node):
            return (
                None if self.nullable else reading.wrong(node, f"has no value: give {self.wanted}, {_or_leave(node)}")
            )
        value = self._value(node, reading)
        return reading.wrong(node, value.problem) if isinstance(value, Wrong) else value

    def schema(self, _drawing: Drawing) -> Schema:
        """What may stand there, and ``null`` where that is allowed."""
        return or_null(self._schema()) if self.nullable else self._schema()

    def _schema(self) -> Schema:
        """The same of a value that is there."""
        raise NotImplementedError

    def _value(self, scalar: Scalar, reading: Reading, /) -> Any:
        """The value, ``BROKEN`` where it was noted what is wrong with it, or else that."""
        raise NotImplementedError


def _or_leave(node: Node) -> str:
    """The way out for who has no value: an item of a list has no key."""
    return f"or leave {'it' if node.path and isinstance(node.path[-1], int) else 'the key'} out"


@frozen
class Text(Single):
    """A text. ``check`` gives the problem of a text that is not allowed; ``form`` is a pattern that each fits which is, for editors."""

    wanted: str = "a text"
    check: Callable[[str], str | None] | None = None
    form: str = field(default=r"\S", kw_only=True)

    def _schema(self) -> Schema:
        return {"type": "string", "pattern": self.form}

    def _value(self, scalar: Scalar, reading: Reading, /) -> Any:
        text = scalars.text(scalar)
        if isinstance(text, Wrong):
            return text
        if not text.strip():
            return Wrong(f"is an empty text: give {self.wanted}, {_or_leave(scalar)}")
        problem = self.check(text) if self.check else None
        return Wrong(problem) if problem is not None else self._said(text, scalar, reading)

    def _said(self, text: str, _scalar: Scalar, _reading: Reading, /) -> Any:
        """What is kept of a text that may stand here; as ``_value``."""
        return text


@frozen
class Name(Text):
    """The name of a handler, or of a model; :func:`~organism.config.named.check_names` looks at it. ``organism``: it may be the organism itself.

    ``unable`` gives the problem of a handler of this name that takes and replies these classes.
    """

    of: Literal["handler", "model"] = field(default="handler", kw_only=True)
    organism: bool = field(default=False, kw_only=True)
    unable: Callable[[str, Classes, Classes], str | None] | None = field(default=None, kw_only=True)
    wanted: str = field(init=False, default=Factory(lambda self: f"the name of a {self.of}", takes_self=True))
    form: str = field(default=f"^{HANDLER_NAME}$", kw_only=True)

    def _said(self, text: str, scalar: Scalar, reading: Reading, /) -> Any:
        reading.named.setdefault((scalar.path[:-1], text), (self, scalar))
        return text


@frozen
class Amount(Single):
    """A number as ``parse`` reads it: from ``least`` on, above ``above``, below ``below``, and not above ``most``. ``hint`` is told to who
    gave one that is out of bounds, or a word.
    """

    parse: Callable[[Scalar], Any]
    wanted: str = field(kw_only=True)
    least: int | None = 0
    above: int | None = None
    below: int | None = None
    most: int | None = None
    hint: str = ""

    def _schema(self) -> Schema:
        bounds = {
            "minimum": self.least if self.above is None else None,
            "exclusiveMinimum": self.above,
            "exclusiveMaximum": self.below,
            "maximum": self.most,
        }
        return _NUMBERS[self.parse] | {key: bound for key, bound in bounds.items() if bound is not None}

    def _value(self, scalar: Scalar, _: Reading, /) -> Any:
        value = self.parse(scalar)
        said = shown(scalar.value).strip("'")
        if isinstance(value, Wrong):
            problem = value.problem
            if not self.hint or any(each.isdigit() for each in said):
                return value
        elif self.below is not None and value >= self.below:
            problem = f"{said} is not below {self.below}"
        elif self.most is not None and value > self.most:
            problem = f"{said} is too much: {self.most} is the most"
        elif self.above is not None and value <= self.above:
            problem = f"{said} is not above {self.above}"
        elif self.least is None or value >= self.least:
            return value
        else:
            problem = f"{said} is negative" if self.least == 0 else f"{said} is too little: {self.least} is the least"
        return Wrong(f"{problem}; {self.hint}" if self.hint else problem)


_NUMBERS: Final[Mapping[Callable[[Scalar], Any], Schema]] = {
    scalars.whole: {"type": "integer"},
    scalars.number: {"type": "number"},
    # A text where a float would not hold it: bounds are of numbers alone, and the pattern of texts.
    scalars.exact: {
        "type": ["number", "string"],
        "pattern": f"^{scalars.DECIMAL}$",
        "maximum": int(scalars.LARGEST_EXACT),
    },
}
"""What each parser takes, but for its bounds."""
Whole: Final = partial(Amount, scalars.whole, wanted="a whole number")
Number: Final = partial(Amount, scalars.number, wanted="a number")
"""One that may have a fraction, as a float."""
Exact: Final = partial(Amount, scalars.exact, wanted="a decimal number")
"""One that is kept exactly."""


@frozen
class Truth(Single):
    """True or false."""

    wanted: str = "true or false"

    def _schema(self) -> Schema:
        return {"type": "boolean"}

    def _value(self, scalar: Scalar, _: Reading, /) -> Any:
        value = scalars.anything(scalar)
        return value if isinstance(value, bool) else Wrong(f"{shown(scalar.value)} is not true or false")


@frozen
class Choice(Single):
    """One of some words."""

    words: tuple[str, ...]
    wanted: str = field(init=False, default=Factory(lambda self: one_of(self.words), takes_self=True))

    def _schema(self) -> Schema:
        return {"enum": list[Any](self.words)}

    def _value(self, scalar: Scalar, _: Reading, /) -> Any:
        # Looked at before the traps: `window: on` is no choice, quoted or not.
        value = scalar.value
        if value in self.words:
            return value
        near = suggestion(value, self.words) if isinstance(value, str) else ""
        return Wrong(f"{shown(value)} is not {self.wanted}{near}")


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

    def schema(self, drawing: Drawing) -> Schema:
        """That of the value."""
        return self.shape.schema(drawing)


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

    def schema(self, drawing: Drawing) -> Schema:
        """That of the value, or ``null``."""
        return or_null(self.shape.schema(drawing))


def or_null(schema: Schema) -> Schema:
    """What a schema takes, or ``null``."""
    if "enum" in schema:
        return {**schema, "enum": [*schema["enum"], None]}
    kinds = schema.get("type")
    if kinds is None:
        return {"anyOf": [schema, {"type": "null"}]}
    return {**schema, "type": [*([kinds] if isinstance(kinds, str) else kinds), "null"]}


def one_of(words: tuple[str, ...] | list[str]) -> str:
    """``'a', 'b' or 'c'``."""
    quoted = [shown(word) for word in words]
    return f"{', '.join(quoted[:-1])} or {quoted[-1]}" if len(quoted) > 1 else quoted[0]
