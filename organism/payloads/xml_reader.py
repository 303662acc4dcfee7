"""XML to payloads, after the XSD has found it valid: functions made once for each class, that look at nothing twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from organism.payloads.construction import builder
from organism.payloads.definition import PerClass, describe
from organism.payloads.escapes import hidden, shown
from organism.payloads.frozendict import FrozenDict
from organism.payloads.lexical import LEXIS, SPACE, collapsed
from organism.payloads.types import Choice, FieldType, Many, Maybe, Nested, OneOf, Scalar, Table, present, slot_names
from organism.payloads.xml_tree import Element, local
from organism.payloads.xsd import KEY

Reader = Callable[[Element], Any]
"""Gives the value of a valid element; raises InvalidPayloadError only for what a class's own validators refuse."""


@PerClass
def reader(cls: type) -> Reader:
    """The reader of an element that holds the fields of a payload, whatever the element is called."""
    fields = describe(cls).fields
    build = builder(cls)
    readers = [_content(present(field.type)) if field.absent_is_none else _slot(field.type) for field in fields]
    arguments = [field.argument for field in fields]
    places = {name: place for place, field in enumerate(fields) for name in slot_names(field.name, field.type)}
    absent = {field.argument: None for field in fields if field.absent_is_none}
    positional = not any(field.keyword_only for field in fields)

    def read(element: Element) -> Any:
        children = list(element)
        if positional and len(children) == len(readers):  # the XSD lets each field stand once, in order
            return build(*[read_one(child) for read_one, child in zip(readers, children, strict=True)])
        named: dict[str, Any] = dict(absent)
        for child in children:
            place = places[local(child.tag)]
            named[arguments[place]] = readers[place](child)
        return build(**named)

    return read


def _slot(type_: FieldType) -> Reader:
    content = _content(present(type_))
    if not isinstance(type_, Maybe):
        return content
    return lambda element: None if element.tag.endswith(".none") else content(element)


def _content(type_: FieldType) -> Reader:  # noqa: PLR0911 - a case for each type
    match type_:
        case Scalar.TEXT:
            return _text
        case Scalar():
            read = LEXIS[type_].read
            return lambda element: read((element.text or "").strip(SPACE))
        case Choice():
            return _choice(type_)
        case Nested():
            cls = type_.cls
            return lambda element: reader(cls)(element)  # noqa: PLW0108 - later: a class may hold itself
        case OneOf():
            return _one_of(type_)
        case Many():
            return _many(type_)
        case Table():
            return _table(type_)
        case Maybe():
            raise AssertionError("None has an element of its own")


def _text(element: Element) -> str:
    text = element.text
    return shown(text) if text else ""


def _choice(type_: Choice) -> Reader:
    values = {hidden(text): value for text, value in type_.options}

    def read(element: Element) -> Any:
        text = element.text or ""
        return values[text] if text in values else values[collapsed(text)]

    return read


def _one_of(type_: OneOf) -> Reader:
    classes = {cls.__name__: cls for cls in type_.classes}

    def read(element: Element) -> Any:
        (child,) = element
        return reader(classes[local(child.tag)])(child)

    return read


def _many(type_: Many) -> Reader:
    item = _slot(type_.item)
    return lambda element: tuple([item(child) for child in element])


def _table(type_: Table) -> Reader:
    entry = _slot(type_.value)
    return lambda element: FrozenDict([(shown(child.get(KEY) or ""), entry(child)) for child in element])
