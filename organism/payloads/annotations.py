"""From annotations to field types, refusing with the way out what cannot be sent."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from fractions import Fraction
from pathlib import PurePath
from typing import Annotated, Any, Final, Literal, TypeVar, Union, cast, get_args, get_origin
from uuid import UUID

from organism.errors import PayloadTypeError
from organism.payloads.aliases import MAX_NESTING, without_a_name
from organism.payloads.definition import clash, is_payload
from organism.payloads.faults import Misfit, shown
from organism.payloads.normal import text as normal_text
from organism.payloads.types import Choice, FieldType, Many, Maybe, Nested, OneOf, Scalar, Table

_SCALARS: Final[dict[Any, Scalar]] = {
    str: Scalar.TEXT,
    int: Scalar.INTEGER,
    float: Scalar.FLOAT,
    bool: Scalar.BOOLEAN,
    Decimal: Scalar.DECIMAL,
    datetime: Scalar.DATETIME,
    bytes: Scalar.BYTES,
}

_SENDABLE: Final = (
    "fields may be str, int, float, bool, Decimal, datetime, bytes, an Enum, a Literal, a payload, a union of payloads, "
    "list[X], tuple[X, ...], dict[str, X], or any of these with | None"
)

_WAYS_OUT: Final[tuple[tuple[type, str], ...]] = (
    (date, "use datetime with an offset, or str"),
    (time, "use datetime with an offset, or str"),
    (timedelta, "use float seconds"),
    (UUID, "use str"),
    (PurePath, "use str"),
    (Fraction, "use Decimal, or two ints"),
    (complex, "use two floats"),
    (bytearray, "use bytes"),
    (AbstractSet, "use list[X]"),
    (Mapping, "use dict[str, X]"),
    (Sequence, "use list[X] or tuple[X, ...]"),
    (Iterable, "use list[X] or tuple[X, ...]"),
)


class _Refused(Exception):  # noqa: N818 - becomes a PayloadTypeError that knows class and field
    def __init__(self, annotation: object, way_out: str) -> None:
        self.annotation = annotation
        self.way_out = way_out
        super().__init__(way_out)


def read(annotation: object, *, where: str) -> tuple[FieldType, str]:
    """The field type of an evaluated annotation, and its documentation.

    ``where`` is ``Class.field``, for errors. Raises PayloadTypeError for what cannot be sent.
    """
    docs: list[str] = []
    try:
        type_ = _read(annotation, docs, 0)
    except _Refused as refused:
        raise PayloadTypeError(f"{where}: {_written(refused.annotation)} {refused.way_out}") from None
    return type_, " ".join(docs)


def _read(annotation: Any, docs: list[str], depth: int) -> FieldType:
    if depth > MAX_NESTING:
        raise _Refused(annotation, "nests too deep, or without end; let a payload hold itself instead")
    scalar = _SCALARS.get(annotation) if isinstance(annotation, type) else None
    if scalar is not None:
        return scalar
    stands_for = without_a_name(annotation)
    if stands_for is not annotation:
        return _read(stands_for, docs, depth + 1)
    origin = get_origin(annotation)
    reader = _FORMS.get(origin)
    if reader is None:
        raise _Refused(annotation, _way_out(origin))
    return reader(annotation, docs, depth)


def _read_plain(annotation: Any, _docs: list[str], _depth: int) -> FieldType:
    if isinstance(annotation, TypeVar):
        raise _Refused(annotation, "is a type variable; payloads are not generic, name the type itself")
    if annotation is None or annotation is types.NoneType:
        raise _Refused(None, "alone says nothing; leave the field out")
    if not isinstance(annotation, type):
        raise _Refused(annotation, f"cannot be sent; {_SENDABLE}")
    if is_payload(annotation):
        return Nested(annotation)
    if issubclass(annotation, Enum):
        return _read_enum(annotation)
    raise _Refused(cast("object", annotation), _way_out(annotation))


def _read_enum(annotation: type[Enum]) -> Choice:
    members: list[Enum] = list(annotation)
    if issubclass(annotation, Flag) or not members:
        raise _Refused(annotation, "is an Enum without members of its own, or a Flag; use list[...] of a plain Enum")
    by_value = all(isinstance(member.value, str) for member in members)
    return Choice(
        tuple((_option(annotation, member.value if by_value else member.name), member) for member in members),
        annotation,
    )


def _read_literal(annotation: Any, _docs: list[str], _depth: int) -> FieldType:
    options: dict[str, Any] = {}
    values = get_args(annotation)
    for value in values:
        if value is None:
            continue
        if type(value) not in {str, int, bool}:
            raise _Refused(annotation, f"holds {shown(value)}; a Literal may hold str, int, bool and None")
        text = _option(annotation, str(value).lower() if isinstance(value, bool) else str(value))
        if text in options:
            raise _Refused(annotation, f"has two values that are both written {text!r}; use one of them")
        options[text] = value
    if not options:
        raise _Refused(annotation, "can only be None; leave the field out")
    choice = Choice(tuple(options.items()))
    return Maybe(choice) if None in values else choice


def _option(annotation: Any, value: str) -> str:
    try:
        return normal_text(value)
    except Misfit as misfit:
        raise _Refused(annotation, f"holds {shown(value)}, which {misfit.problem}") from None


def _read_annotated(annotation: Any, docs: list[str], depth: int) -> FieldType:
    base, *notes = get_args(annotation)
    for note in notes:
        if not isinstance(note, str):
            raise _Refused(
                annotation,
                f"is annotated with {shown(note)}, which nothing would read; only a text is taken, as documentation. "
                "To check values, give the field a validator: attrs.field(validator=...)",
            )
        docs.append(note)
    return _read(base, docs, depth + 1)


def _read_union(annotation: Any, docs: list[str], depth: int) -> FieldType:
    members = [member for member in get_args(annotation) if member is not types.NoneType]
    inner: list[FieldType] = [_read(member, docs, depth + 1) for member in members]
    maybe = len(members) < len(get_args(annotation))
    if len(inner) == 1:
        return Maybe(inner[0]) if maybe and not isinstance(inner[0], Maybe) else inner[0]
    classes: list[type] = []
    for one in inner:
        if isinstance(one, Maybe):
            maybe, one = True, one.inner  # noqa: PLW2901 - what is inside of it counts
        if isinstance(one, Nested):
            classes.append(one.cls)
        elif isinstance(one, OneOf):
            classes += one.classes
        else:
            raise _Refused(
                annotation,
                "is a union of other things than payloads, which texts could not tell apart; make each a payload",
            )
    distinct = tuple(dict.fromkeys(classes))
    named = {cls.__name__: cls for cls in distinct}
    for cls in distinct:
        if named[cls.__name__] is not cls:
            raise _Refused(annotation, f"cannot be sent: {clash(cls, named[cls.__name__])}")
    return Maybe(OneOf(distinct)) if maybe else OneOf(distinct)


def _read_list(annotation: Any, docs: list[str], depth: int) -> FieldType:
    return Many(_read(get_args(annotation)[0], docs, depth + 1))


def _read_tuple(annotation: Any, docs: list[str], depth: int) -> FieldType:
    args = get_args(annotation)
    if len(args) != 2 or args[1] is not Ellipsis:
        raise _Refused(
            annotation, "has places of different meaning; make it a payload with named fields, or tuple[X, ...]"
        )
    return Many(_read(args[0], docs, depth + 1))


def _read_dict(annotation: Any, docs: list[str], depth: int) -> FieldType:
    key, value = get_args(annotation)
    if key is not str:
        raise _Refused(annotation, f"has keys of {_written(key)}; keys must be str")
    return Table(_read(value, docs, depth + 1))


_FORMS: Final[dict[Any, Callable[[Any, list[str], int], FieldType]]] = {
    None: _read_plain,
    Annotated: _read_annotated,
    Union: _read_union,
    types.UnionType: _read_union,
    Literal: _read_literal,
    list: _read_list,
    tuple: _read_tuple,
    dict: _read_dict,
}


def _way_out(cls: Any) -> str:
    if cls in {list, tuple, dict}:
        example = {list: "list[str]", tuple: "tuple[str, ...]", dict: "dict[str, int]"}[cls]
        return f"does not say what it holds; write for example {example}"
    if not isinstance(cls, type):
        return f"cannot be sent; {_SENDABLE}"
    if hasattr(cls, "__attrs_attrs__") or hasattr(cls, "__dataclass_fields__"):
        return "is not a payload; decorate the class with @payload"
    derived = next(
        (f"use {scalar.__name__}, values are converted" for scalar in _SCALARS if issubclass(cls, scalar)), None
    )
    other = next((way_out for kind, way_out in _WAYS_OUT if issubclass(cls, kind)), None)
    return f"cannot be sent; {derived or other or f'make it a payload, or use what can: {_SENDABLE}'}"


def _written(annotation: Any) -> str:
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return annotation.__name__
    return repr(annotation).replace("typing.", "")[:200]
