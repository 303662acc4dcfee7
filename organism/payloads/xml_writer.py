"""Payloads to XML: functions made once for each class, that put strings together."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from organism.errors import InvalidPayloadError
from organism.payloads.definition import PerClass, describe
from organism.payloads.escapes import attribute_text, element_text
from organism.payloads.lexical import LEXIS
from organism.payloads.types import (
    Choice,
    Field,
    FieldType,
    Many,
    Maybe,
    Nested,
    OneOf,
    Scalar,
    Table,
    none_of,
    present,
)
from organism.payloads.xsd import ENTRY, ITEM, KEY

Writer = Callable[[Any], str]
"""Gives the XML of a value."""


def encode_xml(value: object) -> bytes:
    """The XML document of a payload, in UTF-8: ``<Greeting xmlns="urn:organism:payloads"><name>Ada</name></Greeting>``.

    Raises PayloadTypeError for what is no payload, InvalidPayloadError for one that is nested too deep to be written.
    """
    try:
        return _document(type(value))(value).encode()
    except RecursionError:
        raise InvalidPayloadError("is nested too deep to be written", where=type(value).__name__) from None


@PerClass
def _document(cls: type) -> Writer:
    described = describe(cls)
    opening = f'<{described.name} xmlns="{attribute_text(described.namespace)}">'
    closing = f"</{described.name}>"
    fields = _fields(cls)
    return lambda value: f"{opening}{fields(value)}{closing}"


@PerClass
def _fields(cls: type) -> Writer:
    """What stands inside of the element of a payload."""
    fields = describe(cls).fields
    if not fields:
        return lambda _: ""
    writers = [_field(field) for field in fields]
    values = attrgetter(*(field.attribute for field in fields))
    if len(writers) == 1:
        only = writers[0]
        return lambda value: only(values(value))
    return lambda value: "".join([write(one) for write, one in zip(writers, values(value), strict=True)])


def _field(field: Field) -> Writer:
    if not field.absent_is_none:
        return _slot(field.name, field.type)
    write = _element(field.name, present(field.type))
    return lambda value: "" if value is None else write(value)


def _slot(name: str, type_: FieldType) -> Writer:
    if not isinstance(type_, Maybe):
        return _element(name, type_)
    write = _element(name, type_.inner)
    none = f"<{none_of(name)}/>"
    return lambda value: none if value is None else write(value)


def _element(name: str, type_: FieldType) -> Writer:
    opening, closing = f"<{name}>", f"</{name}>"
    content = _content(type_)
    return lambda value: f"{opening}{content(value)}{closing}"


def _content(type_: FieldType) -> Writer:  # noqa: PLR0911 - a case for each type
    match type_:
        case Scalar.TEXT:
            return element_text
        case Scalar():
            return LEXIS[type_].write
        case Choice():
            return _choice(type_)
        case Nested():
            cls = type_.cls
            return lambda value: _fields(cls)(value)  # noqa: PLW0108 - later: a class may hold itself
        case OneOf():
            return _one_of
        case Many():
            return _many(type_)
        case Table():
            return _table(type_)
        case Maybe():
            raise AssertionError("None has an element of its own")


def _choice(type_: Choice) -> Writer:
    texts: dict[tuple[type, Any], str] = {(type(value), value): element_text(text) for text, value in type_.options}
    return lambda value: texts[type(value), value]


def _one_of(value: Any) -> str:
    cls: type = type(value)
    return f"<{cls.__name__}>{_fields(cls)(value)}</{cls.__name__}>"


def _many(type_: Many) -> Writer:
    item = _slot(ITEM, type_.item)
    return lambda value: "".join(map(item, value))


def _table(type_: Table) -> Writer:
    content = _content(present(type_.value))

    def entries(value: dict[str, Any]) -> str:
        return "".join(
            f'<{none_of(ENTRY)} {KEY}="{attribute_text(key)}"/>'
            if one is None
            else f'<{ENTRY} {KEY}="{attribute_text(key)}">{content(one)}</{ENTRY}>'
            for key, one in value.items()
        )

    return entries
