"""Payloads to XML."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from organism.errors import InvalidPayloadError
from organism.generated import Source
from organism.payloads.definition import PerClass, describe
from organism.payloads.escapes import attribute_text, element_text
from organism.payloads.lexical import LEXIS
from organism.payloads.types import Choice, Field, FieldType, Many, Maybe, Nested, OneOf, Scalar, Table, none_of
from organism.payloads.xsd import ENTRY, ITEM, KEY

Writer = Callable[[Any], str]
"""Gives the XML of a value."""

_KEY: Final = f' {KEY}="'
_QUOTE: Final = '"'


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
    """The writer of whole documents."""
    described = describe(cls)
    opening = f'<{described.name} xmlns="{attribute_text(described.namespace)}">'
    source = Source(f"XML of {cls.__module__}.{cls.__qualname__}")
    return source.function("p", [f"return {opening!r} + {_fields(cls, source)} + {f'</{described.name}>'!r}"])


@PerClass
def _inside(cls: type) -> Writer:
    """The writer of what stands inside of a payload's element."""
    source = Source(f"XML in {cls.__module__}.{cls.__qualname__}")
    return source.function("p", [f"return {_fields(cls, source)}"])


def _one_of(value: object) -> str:
    """What stands inside of an element that holds one of several payloads."""
    cls = type(value)
    return f"<{cls.__name__}>{_inside(cls)(value)}</{cls.__name__}>"


# Each of these gives an expression for the XML of the value that the expression ``v`` has.


def _fields(cls: type, source: Source) -> str:
    parts = [_field(field, source) for field in describe(cls).fields]
    return f"''.join(({', '.join(parts)},))" if parts else "''"


def _field(field: Field, source: Source) -> str:
    v = f"p.{field.attribute}"
    element = _slot(field.name, field.written, v, source)
    return f"('' if {v} is None else {element})" if field.absent_is_none else element


def _slot(name: str, type_: FieldType, v: str, source: Source, attribute: str = "''") -> str:
    if not isinstance(type_, Maybe):
        return _element(name, type_, v, source, attribute)
    none = f"{f'<{none_of(name)}'!r} + {attribute} + '/>'"
    return f"({none} if {v} is None else {_element(name, type_.inner, v, source, attribute)})"


def _element(name: str, type_: FieldType, v: str, source: Source, attribute: str = "''") -> str:
    opening = f"{f'<{name}>'!r}" if attribute == "''" else f"{f'<{name}'!r} + {attribute} + '>'"
    return f"{opening} + {_content(type_, v, source)} + {f'</{name}>'!r}"


def _content(type_: FieldType, v: str, source: Source) -> str:  # noqa: PLR0911 - a case for each type
    match type_:
        case Scalar.TEXT:
            return f"{source.constant(element_text)}({v})"
        case Scalar():
            return f"{source.constant(LEXIS[type_].write)}({v})"
        case Choice():
            texts: dict[tuple[type, Any], str] = {(type(one), one): element_text(text) for text, one in type_.options}
            return f"{source.constant(texts)}[type({v}), {v}]"
        case Nested():
            return f"{source.constant(_inside)}({source.constant(type_.cls)})({v})"
        case OneOf():
            return f"{source.constant(_one_of)}({v})"
        case Many():
            item = source.variable()
            return f"''.join([{_slot(ITEM, type_.item, item, source)} for {item} in {v}])"
        case Table():
            key, value = source.variable(), source.variable()
            attribute = f"{_KEY!r} + {source.constant(attribute_text)}({key}) + {_QUOTE!r}"
            return f"''.join([{_slot(ENTRY, type_.value, value, source, attribute)} for {key}, {value} in {v}.items()])"
        case Maybe():  # pragma: no cover - said in a field, and nowhere else
            raise AssertionError("None has an element of its own")
