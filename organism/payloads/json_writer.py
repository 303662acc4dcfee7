"""Payloads to JSON values, as ``json.dumps`` takes them."""

from __future__ import annotations

from typing import Any

from organism.errors import InvalidPayloadError
from organism.payloads.definition import describe
from organism.payloads.lexical import bytes_text, decimal_text
from organism.payloads.types import Choice, FieldType, Many, Maybe, Nested, OneOf, Scalar, Table


def encode_json(value: object) -> dict[str, Any]:
    """The JSON document of a payload: ``{"Greeting": {"name": "Ada"}}``.

    Decimal, datetime and bytes (base64) are strings, a payload of a union is a document of its own, and what is None is
    left out where that says None. Raises PayloadTypeError for what is no payload, InvalidPayloadError for one that is
    nested too deep to be written.
    """
    return {type(value).__name__: encode_fields(value)}


def encode_fields(value: object) -> dict[str, Any]:
    """The JSON object of a payload's fields: ``{"name": "Ada"}``; raises as :func:`encode_json`."""
    try:
        return _fields(value)
    except RecursionError:
        raise InvalidPayloadError("is nested too deep to be written", where=type(value).__name__) from None


def json_value(value: Any, type_: FieldType) -> Any:  # noqa: PLR0911 - a case for each type
    """The JSON value of a field's value in its normal form."""
    match type_:
        case Scalar():
            return _scalar(value, type_)
        case Choice():
            return value if type_.enum is None else next(text for text, member in type_.options if member is value)
        case Nested():
            return _fields(value)
        case OneOf():
            return {type(value).__name__: _fields(value)}
        case Many():
            return [json_value(item, type_.item) for item in value]
        case Table():
            return {key: json_value(item, type_.value) for key, item in value.items()}
        case Maybe():
            return None if value is None else json_value(value, type_.inner)


def _fields(value: object) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for field in describe(type(value)).fields:
        inner = getattr(value, field.attribute)
        if inner is not None or not field.absent_is_none:
            document[field.name] = json_value(inner, field.type)
    return document


def _scalar(value: Any, type_: Scalar) -> Any:
    match type_:
        case Scalar.TEXT | Scalar.INTEGER | Scalar.FLOAT | Scalar.BOOLEAN:
            return value
        case Scalar.DECIMAL:
            return decimal_text(value)
        case Scalar.DATETIME:
            return value.isoformat()
        case Scalar.BYTES:
            return bytes_text(value)
