"""Payload classes in a few lines, for people and for models."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import attrs

from organism.payloads.definition import describe, within
from organism.payloads.json_writer import json_value
from organism.payloads.types import MADE, Choice, Field, FieldType, Many, Maybe, Nested, OneOf, Scalar, Table, spelled

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


def description(cls: type) -> str:
    """The class, its fields with their types and documentation, and then those of the payloads inside.

    ::

        Greeting: Someone to be greeted.
        - name (str): Who it is.
        - tags (list[str], may be left out)

    Raises PayloadTypeError for what is no payload.
    """
    return "\n\n".join(_payload(one) for one in within(cls))


def _payload(cls: type) -> str:
    described = describe(cls)
    head = f"{described.name}: {described.doc}" if described.doc else described.name
    return "\n".join([head, *map(_field, described.fields)])


def _field(field: Field) -> str:
    about = spelled(field.type)
    if field.default is MADE or field.default is None or field.absent_is_none:
        about += ", may be left out"
    elif field.default is not attrs.NOTHING:
        about += f", {json_value(field.default, field.type)!r} if left out"
    return f"- {field.name} ({about}): {field.doc}" if field.doc else f"- {field.name} ({about})"


def takes_lines(classes: Collection[type], known: Mapping[str, Any] = _NOTHING) -> Iterator[str]:
    """What somebody who is to write one of these classes reads: each of them, and what it may look like. ``known`` are JSON values of fields,
    by their names, to be shown in place of made-up ones.
    """
    for cls in classes:
        yield from (f"  {line}".rstrip() for line in description(cls).splitlines())
        yield f"  as in {example(cls, known)}"


def example(cls: type, known: Mapping[str, Any] = _NOTHING) -> str:
    """A JSON document of the class with all that it must have, or with its first field where it must have none, so that one sees where
    fields stand: ``{"Greeting": {"name": "..."}}``.
    """
    made_up = _example_fields(cls, ()) or {
        field.name: _example(_inner(field.type), (cls,)) for field in describe(cls).fields[:1]
    }
    fields = {name: known.get(name, value) for name, value in made_up.items()}
    return json.dumps({describe(cls).name: fields}, ensure_ascii=False)


def _example_fields(cls: type, above: tuple[type, ...]) -> dict[str, Any]:
    if cls in above:  # no value of such a class can be made
        return {}
    return {field.name: _example(field.type, (*above, cls)) for field in describe(cls).fields if field.required}


def _example(type_: FieldType, above: tuple[type, ...]) -> Any:  # noqa: PLR0911 - a case for each type
    match type_:
        case Scalar():
            return _EXAMPLES[type_]
        case Choice():
            return type_.options[0][0] if type_.enum else type_.options[0][1]
        case Nested():
            return _example_fields(type_.cls, above)
        case OneOf():
            return {describe(type_.classes[0]).name: _example_fields(type_.classes[0], above)}
        case Many():
            return [] if _comes_back(type_.item, above) else [_example(type_.item, above)]
        case Table():
            return {} if _comes_back(type_.value, above) else {"...": _example(type_.value, above)}
        case Maybe():
            return None


def _inner(type_: FieldType) -> FieldType:
    return type_.inner if isinstance(type_, Maybe) else type_


def _comes_back(type_: FieldType, above: tuple[type, ...]) -> bool:
    """Whether a value of it would hold a class that it stands in, and so on without end."""
    match type_:
        case Nested():
            return type_.cls in above
        case OneOf():
            return type_.classes[0] in above
        case Many() | Table() | Maybe() | Scalar() | Choice():
            return False


_EXAMPLES: Final = {
    Scalar.TEXT: "...",
    Scalar.INTEGER: 0,
    Scalar.FLOAT: 0.0,
    Scalar.BOOLEAN: True,
    Scalar.DECIMAL: "0",
    Scalar.DATETIME: "2026-01-31T12:00:00Z",
    Scalar.BYTES: "",
}
