"""The JSON Schema (2020-12) of a payload's fields, short enough to be sent to a model with every call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from organism.payloads.definition import describe, within
from organism.payloads.json_writer import json_value
from organism.payloads.lexical import LEXIS
from organism.payloads.types import MADE, Choice, Field, FieldType, Many, Maybe, Nested, OneOf, Scalar, Table

if TYPE_CHECKING:
    from collections.abc import Iterable


def json_schema(cls: type) -> dict[str, Any]:
    """The schema of the object that :func:`~organism.payloads.decode_fields` takes; yours to change.

    It accepts what the class accepts, up to what JSON Schema cannot say: that a date exists in the calendar
    (``format: date-time`` names it), that an int has at most 4,300 digits and a float is finite. Raises PayloadTypeError
    for what is no payload.
    """
    inner = {one.__name__: _object(one, cls) for one in within(cls) if one is not cls}
    return {**_object(cls, cls), **({"$defs": inner} if inner else {})}


def json_schema_of_all(classes: Iterable[type]) -> dict[str, Any]:
    """The schema of documents that are any of these payloads, as ``{"Greeting": {"name": "Ada"}}``."""
    roots = list(classes)
    inner = dict.fromkeys(one for root in roots for one in within(root))
    defs = {one.__name__: _object(one, object) for one in inner}
    return {"anyOf": [_member(root, object) for root in roots], "$defs": defs}


def _object(cls: type, root: type) -> dict[str, Any]:
    described = describe(cls)
    schema: dict[str, Any] = {"title": described.name}
    if described.doc:
        schema["description"] = described.doc
    schema |= {"type": "object", "properties": {field.name: _field(field, root) for field in described.fields}}
    required = [field.name for field in described.fields if field.required]
    if required:
        schema["required"] = required
    return {**schema, "additionalProperties": False}


def _field(field: Field, root: type) -> dict[str, Any]:
    schema = _schema(field.type, root)
    if field.doc:
        schema["description"] = field.doc
    if field.default is not attrs.NOTHING and field.default is not MADE:
        schema["default"] = json_value(field.default, field.type)
    return schema


def _schema(type_: FieldType, root: type) -> dict[str, Any]:  # noqa: PLR0911 - a case for each type
    match type_:
        case Scalar():
            return _scalar(type_)
        case Choice():
            return _choice(type_)
        case Nested():
            return {"$ref": _reference(type_.cls, root)}
        case OneOf():
            return {"anyOf": [_member(cls, root) for cls in type_.classes]}
        case Many():
            return {"type": "array", "items": _schema(type_.item, root)}
        case Table():
            return {"type": "object", "additionalProperties": _schema(type_.value, root)}
        case Maybe():
            return _or_null(_schema(type_.inner, root))


def _reference(cls: type, root: type) -> str:
    return "#" if cls is root else f"#/$defs/{cls.__name__}"


def _member(cls: type, root: type) -> dict[str, Any]:
    name = cls.__name__
    return {
        "type": "object",
        "properties": {name: {"$ref": _reference(cls, root)}},
        "required": [name],
        "additionalProperties": False,
    }


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    if isinstance(schema.get("type"), str) and "enum" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def _choice(type_: Choice) -> dict[str, Any]:
    values = [text if type_.enum is not None else value for text, value in type_.options]
    return {"type": "string", "enum": values} if all(isinstance(value, str) for value in values) else {"enum": values}


def _scalar(type_: Scalar) -> dict[str, Any]:  # noqa: PLR0911 - a case for each type
    match type_:
        case Scalar.TEXT:
            return {"type": "string"}
        case Scalar.INTEGER:
            return {"type": "integer"}
        case Scalar.FLOAT:
            return {"type": "number"}
        case Scalar.BOOLEAN:
            return {"type": "boolean"}
        case Scalar.DECIMAL:
            return {"type": ["string", "number"], "pattern": _anchored(type_)}
        case Scalar.DATETIME:
            return {"type": "string", "format": "date-time", "pattern": _anchored(type_)}
        case Scalar.BYTES:
            return {"type": "string", "contentEncoding": "base64", "pattern": _anchored(type_)}


def _anchored(type_: Scalar) -> str:
    return f"^({LEXIS[type_].pattern.pattern})$"
