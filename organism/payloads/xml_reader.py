"""XML to payloads, after the XSD has found it valid: nothing is looked at twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from xml.etree.ElementTree import Element

from organism.generated import Source
from organism.payloads.construction import builder
from organism.payloads.definition import PerClass, describe
from organism.payloads.escapes import hidden, revealed
from organism.payloads.frozendict import FrozenDict
from organism.payloads.lexical import LEXIS, SPACE, collapsed
from organism.payloads.types import (
    Choice,
    FieldType,
    Many,
    Maybe,
    Nested,
    OneOf,
    PayloadType,
    Scalar,
    Table,
    present,
    slot_names,
)
from organism.payloads.xml_tree import local
from organism.payloads.xsd import KEY

Reader = Callable[[Element], Any]
"""Gives the value of a valid element; raises InvalidPayloadError only for what a class's own validators refuse."""


@PerClass
def reader(cls: type) -> Reader:
    """The reader of an element that holds the fields of a payload, whatever the element is called."""
    described = describe(cls)
    source = Source(f"XML to {cls.__module__}.{cls.__qualname__}")
    elements = [source.variable() for _ in described.fields]
    build = source.constant(builder(cls))
    pairs = sorted(zip(described.fields, elements, strict=True), key=lambda pair: pair[0].keyword_only)
    values = [
        (f"{field.argument}=" if field.keyword_only else "") + _slot(field.written, element, source)
        for field, element in pairs
    ]
    # The schema lets each field stand once, and in order: either all of them are there, or some are left out.
    return source.function(
        "e",
        [
            f"if len(e) != {len(elements)}:",
            f"    return {source.constant(_sparse_reader(described))}(e)",
            f"[{', '.join(elements)}] = e",
            f"return {build}({', '.join(values)})",
        ],
    )


def _sparse_reader(described: PayloadType) -> Reader:
    """The reader of elements that leave some fields out."""
    build = builder(described.cls)
    places: dict[str, tuple[str, Reader]] = {}
    for field in described.fields:
        source = Source(f"XML to {described.name}.{field.attribute}")
        read_field = source.function("e", [f"return {_slot(field.written, 'e', source)}"])
        places |= dict.fromkeys(slot_names(field.name, field.written), (field.argument, read_field))
    absent = {field.argument: None for field in described.fields if field.absent_is_none}

    def read(element: Element) -> Any:
        values: dict[str, Any] = dict(absent)
        for child in element:
            argument, read_field = places[local(child.tag)]
            values[argument] = read_field(child)
        return build(**values)

    return read


# Each of these gives an expression for the value of the element that the expression ``e`` has.


def _slot(type_: FieldType, e: str, source: Source) -> str:
    content = _content(present(type_), e, source)
    return f"(None if {e}.tag.endswith('.none') else {content})" if isinstance(type_, Maybe) else content


def _content(type_: FieldType, e: str, source: Source) -> str:  # noqa: PLR0911 - a case for each type
    match type_:
        case Scalar.TEXT:
            return f"{source.constant(revealed)}({e}.text or '')"
        case Scalar.INTEGER | Scalar.FLOAT:
            return f"{type_.value}({e}.text)"  # which take off the white space by themselves
        case Scalar():
            return f"{source.constant(LEXIS[type_].read)}(({e}.text or '').strip({SPACE!r}))"
        case Choice():
            return f"{source.constant(_choice(type_))}({e}.text or '')"
        case Nested():
            return f"{source.constant(reader)}({source.constant(type_.cls)})({e})"
        case OneOf():
            return f"{source.constant(_one_of(type_))}({e})"
        case Many():
            item = source.variable()
            return f"tuple([{_slot(type_.item, item, source)} for {item} in {e}])"
        case Table():
            entry = source.variable()
            key = f"{source.constant(revealed)}({entry}.get({KEY!r}))"
            pairs = f"[({key}, {_slot(type_.value, entry, source)}) for {entry} in {e}]"
            return f"{source.constant(FrozenDict)}({pairs})"
        case Maybe():  # pragma: no cover - said in a field, and nowhere else
            raise AssertionError("None has an element of its own")


def _choice(type_: Choice) -> Callable[[str], Any]:
    values = {hidden(text): value for text, value in type_.options}
    return lambda text: values[text] if text in values else values[collapsed(text)]


def _one_of(type_: OneOf) -> Reader:
    classes = {cls.__name__: cls for cls in type_.classes}

    def read(element: Element) -> Any:
        (child,) = element
        return reader(classes[local(child.tag)])(child)

    return read
