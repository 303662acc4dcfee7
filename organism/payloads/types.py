"""The types that fields may have, as values: what XSD, codecs, JSON Schema and descriptions are all made from."""

from __future__ import annotations

from enum import Enum
from typing import Any, Final, TypeAlias

from attrs import NOTHING, frozen


class Scalar(Enum):
    """A type that is one text in XML; the value is how Python spells it."""

    TEXT = "str"
    INTEGER = "int"
    FLOAT = "float"
    BOOLEAN = "bool"
    DECIMAL = "Decimal"
    DATETIME = "datetime"
    BYTES = "bytes"


@frozen
class Choice:
    """One of a few values: a Literal, or an Enum where ``enum`` is set. ``options`` are (text on the wire, value)."""

    options: tuple[tuple[str, Any], ...]
    enum: type[Enum] | None = None


@frozen
class Nested:
    """A payload of exactly this class."""

    cls: type


@frozen
class OneOf:
    """A payload of exactly one of these classes; on the wire under its class's name."""

    classes: tuple[type, ...]


@frozen
class Many:
    """A tuple of items."""

    item: FieldType


@frozen
class Table:
    """An immutable dict from str to values."""

    value: FieldType


@frozen
class Maybe:
    """None, or a value of ``inner`` (which is no ``Maybe``)."""

    inner: FieldType


FieldType: TypeAlias = Scalar | Choice | Nested | OneOf | Many | Table | Maybe


class _Made(Enum):
    MADE = "a new value each time"


MADE: Final = _Made.MADE
"""Stands for a default that a factory makes."""


@frozen(kw_only=True)
class Field:
    """A field of a payload class.

    ``name`` is its name on the wire, ``attribute`` and ``argument`` are those of the object and of its constructor.
    ``default`` is a value, :data:`MADE` where a factory makes it, ``attrs.NOTHING`` where there is none.
    """

    name: str
    attribute: str
    argument: str
    type: FieldType
    default: Any
    doc: str = ""
    keyword_only: bool = False

    @property
    def required(self) -> bool:
        """Whether a document must name it: it has no default, and cannot be None."""
        return self.default is NOTHING and not isinstance(self.type, Maybe)

    @property
    def absent_is_none(self) -> bool:
        """Whether leaving it out of a document says None; otherwise that says its default, and None must be written."""
        return isinstance(self.type, Maybe) and (self.default is NOTHING or self.default is None)

    @property
    def written(self) -> FieldType:
        """The type of what its element says: where leaving it out says None, the element need not."""
        return present(self.type) if self.absent_is_none else self.type


@frozen(kw_only=True)
class PayloadType:
    """What a payload class is. ``doc`` is the docstring without indentation, empty where there is none."""

    cls: type
    name: str
    namespace: str
    doc: str
    fields: tuple[Field, ...]


def spelled(type_: FieldType) -> str:  # noqa: PLR0911 - a case for each type
    """The type as a person would write it: ``list[str]``, ``'low' | 'high'``, ``Cat | Dog | None``."""
    match type_:
        case Scalar():
            return str(type_.value)
        case Choice():
            return " | ".join(repr(text if type_.enum else value) for text, value in type_.options)
        case Nested():
            return type_.cls.__name__
        case OneOf():
            return " | ".join(cls.__name__ for cls in type_.classes)
        case Many():
            return f"list[{spelled(type_.item)}]"
        case Table():
            return f"dict[str, {spelled(type_.value)}]"
        case Maybe():
            return f"{spelled(type_.inner)} | None"


def slot_names(name: str, type_: FieldType) -> tuple[str, ...]:
    """The elements that may stand for a value of this type where one must: ``name``, and ``name.none`` for None.

    The dot keeps the second apart from every field, since no Python name has one.
    """
    return (name, none_of(name)) if isinstance(type_, Maybe) else (name,)


def none_of(name: str) -> str:
    """The empty element that says None where leaving ``name`` out would not."""
    return f"{name}.none"


def present(type_: FieldType) -> FieldType:
    """The type of what is not None."""
    return type_.inner if isinstance(type_, Maybe) else type_
