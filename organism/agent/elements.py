"""What a model may write as XML: an element for each payload that a peer takes, and for each of its replies, shown by an example."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from organism.payloads import describe
from organism.payloads.escapes import attribute_text, element_text, hidden
from organism.payloads.json_writer import json_value
from organism.payloads.types import MADE, Choice, Field, FieldType, Many, Maybe, Nested, OneOf, Scalar, Table, none_of
from organism.payloads.xsd import ENTRY, ITEM, KEY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TO: Final = "to"
"""The attribute that names the peer."""
_STEP: Final = "  "
_LONGEST: Final = 100
"""Characters up to which an element stands in one line."""
_TYPES: Final = {
    Scalar.TEXT: "text",
    Scalar.INTEGER: "whole number",
    Scalar.FLOAT: "number",
    Scalar.BOOLEAN: "true | false",
    Scalar.DECIMAL: "decimal number",
    Scalar.DATETIME: "date and time with offset",
    Scalar.BYTES: "base64",
}
"""What stands in an example for a value of the type."""
_MANY: Final = {Many: "any number of items.", Table: "any number of entries."}


@frozen
class Element:
    """A payload that a model may write: for ``peer``, or (``None``) as its reply. ``about`` says who the peer is."""

    payload: type[Any]
    peer: str | None
    about: str = ""

    @property
    def name(self) -> str:
        """What the element is called."""
        return self.payload.__name__

    @property
    def tag(self) -> str:
        """Its start tag, with whom it is for."""
        return f"<{self.name}{_to(self.peer)}>"

    def shown(self) -> str:
        """The element as the model reads of it: who gets it, and an example with the types of its fields."""
        doc = describe(self.payload).doc
        head = f"Your reply: {doc}" if self.peer is None else f"To {self.peer}: {self.about} {doc}"
        return "\n".join([" ".join(head.split()), *_example(self.payload, self.peer)])


def _example(cls: type, peer: str | None) -> Iterator[str]:
    to = _to(peer)
    inside = list(_fields(cls, (cls,)))
    if not inside:
        yield f"<{cls.__name__}{to}/>"
        return
    yield f"<{cls.__name__}{to}>"
    yield from _indented(inside)
    yield f"</{cls.__name__}>"


def _to(peer: str | None) -> str:
    return "" if peer is None else f' {TO}="{attribute_text(peer)}"'


def _fields(cls: type, around: tuple[type, ...]) -> Iterator[str]:
    for field in describe(cls).fields:
        yield from _element(field.name, field.written, _note(field), around)


def _note(field: Field) -> str:
    """What is said of a field beside its type."""
    said = ""
    if not field.required:
        # Factories, and None, are said by saying nothing.
        default = None if field.default is MADE or field.absent_is_none else json_value(field.default, field.type)
        said = "optional." if default is None else f"optional, {default} if left out."
    return " ".join(f"{said} {field.doc}".split())


def _element(name: str, type_: FieldType, note: str, around: tuple[type, ...], key: str = "") -> Iterator[str]:
    """The lines of one element. ``around`` are the classes that it stands in: one that holds itself is shown once."""
    if isinstance(type_, Maybe):
        yield from _element(name, type_.inner, f"or <{none_of(name)}{key}/>. {note}".rstrip(), around, key)
        return
    inside = list(_content(type_, around))
    many = _MANY[type(type_)] if isinstance(type_, (Many, Table)) else ""
    said = _comment(f"{many} {note}".strip())
    if not inside:
        yield f"<{name}{key}/>{said}"
    elif len(inside) == 1 and len(inside[0]) + 2 * len(name) <= _LONGEST and "<!--" not in inside[0]:
        yield f"<{name}{key}>{inside[0]}</{name}>{said}"
    else:
        yield f"<{name}{key}>{said}"
        yield from _indented(inside)
        yield f"</{name}>"


def _content(type_: Scalar | Choice | Nested | OneOf | Many | Table, around: tuple[type, ...]) -> Iterator[str]:
    match type_:
        case Scalar():
            yield _TYPES[type_]
        case Choice():
            yield element_text(" | ".join(text for text, _ in type_.options))
        case Nested():
            yield from _nested(type_.cls, around)
        case OneOf():
            yield from _one_of(type_.classes, around)
        case Many():
            yield from _element(ITEM, type_.item, "", around)
        case Table():
            yield from _element(ENTRY, type_.value, "", around, f' {KEY}="text"')


def _nested(cls: type, around: tuple[type, ...]) -> Iterator[str]:
    if cls in around:
        yield f"<!-- as in {cls.__name__} -->"
    else:
        yield from _fields(cls, (*around, cls))


def _one_of(classes: Sequence[type], around: tuple[type, ...]) -> Iterator[str]:
    for number, cls in enumerate(classes):
        if number:
            yield "<!-- or -->"
        yield from _element(cls.__name__, Nested(cls), "", around)


def _comment(said: str) -> str:
    # A comment holds no two hyphens, and ends with none; and what no XML can hold is written here as it is in texts.
    return f" <!-- {hidden(said).replace('--', '- -').replace('--', '- -')} -->" if said else ""


def _indented(lines: Sequence[str]) -> Iterator[str]:
    return (f"{_STEP}{line}" for line in lines)
