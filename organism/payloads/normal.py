"""The normal form of values: exact types, immutable all the way down, and nothing that a wire could not carry."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Final, TypeGuard, cast

from organism.payloads.definition import is_payload
from organism.payloads.faults import Misfit, expected, shown
from organism.payloads.frozendict import FrozenDict
from organism.payloads.lexical import MAX_EXPONENT, MAX_INT_DIGITS
from organism.payloads.types import Choice, FieldType, Many, Maybe, Nested, OneOf, Scalar, Table, spelled

Normaliser = Callable[[Any], Any]
"""Gives the normal form of a value, which is the value itself where it has it; raises Misfit."""

INT_BOUND: Final = 10**MAX_INT_DIGITS
_WIDEST_OFFSET: Final = timedelta(hours=14)
_MINUTE: Final = timedelta(minutes=1)


def normaliser(type_: FieldType) -> Normaliser:  # noqa: PLR0911 - a case for each type
    """The function that checks values of the type and gives their normal form."""
    match type_:
        case Scalar():
            return _SCALARS[type_]
        case Choice():
            return _choice(type_)
        case Nested():
            return _exactly((type_.cls,))
        case OneOf():
            return _exactly(type_.classes)
        case Many():
            return _many(type_)
        case Table():
            return _table(type_)
        case Maybe():
            inner = normaliser(type_.inner)
            return lambda value: None if value is None else inner(value)


def is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    """Whether it may become a dict."""
    return isinstance(value, Mapping)


def is_listing(value: object) -> TypeGuard[list[Any] | tuple[Any, ...]]:
    """Whether it may become a tuple."""
    return isinstance(value, list | tuple)


def text(value: Any) -> str:
    """A str of characters; what derives from str becomes one."""
    if type(value) is not str:
        if not isinstance(value, str):
            raise Misfit(expected("str", value))
        value = str.__str__(value)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise Misfit(
                f"holds a lone surrogate (U+{ord(value[error.start]):04X}) at index {error.start}, which is not a character"
            ) from None
    return cast("str", value)


def _integer(value: Any) -> int:
    if type(value) is not int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise Misfit(expected("int", value))
        value = int.__int__(value)
    if not -INT_BOUND < value < INT_BOUND:
        raise Misfit(f"has more than {MAX_INT_DIGITS} digits")
    return cast("int", value)


def _float(value: Any) -> float:
    if isinstance(value, int) and not isinstance(value, bool):
        return _float_of_int(value)
    if not isinstance(value, float):
        raise Misfit(expected("float", value))
    if not math.isfinite(value):
        raise Misfit(f"{value} cannot be sent; a float must be finite (None says that there is none)")
    return value if type(value) is float else float.__float__(value)


def _float_of_int(value: int) -> float:
    try:
        converted = float(value)
    except OverflowError:
        converted = math.inf
    if converted != value:
        raise Misfit(
            f"the int {shown(value)} is not exactly a float; convert it with float(...), or make the field an int"
        )
    return converted


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Misfit(expected("bool", value))
    return value


def _decimal(value: Any) -> Decimal:
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(_integer(value))
    if not isinstance(value, Decimal):
        raise Misfit(expected("Decimal", value))
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int):
        raise Misfit(f"{value} cannot be sent; a Decimal must be finite (None says that there is none)")
    if not -MAX_EXPONENT <= exponent <= MAX_EXPONENT:
        raise Misfit(f"has the exponent {exponent}; it must be within {MAX_EXPONENT}")
    return value if type(value) is Decimal else Decimal(value)


def _datetime(value: Any) -> datetime:
    """Fixed offsets only: an XML date has no time zone rules. What xs:dateTime cannot write as an offset becomes UTC."""
    if type(value) is datetime and value.tzinfo is UTC and not value.fold:
        return value
    if not isinstance(value, datetime):
        raise Misfit(expected("datetime", value))
    offset = value.utcoffset()
    if offset is None:
        raise Misfit(f"{value.isoformat()} has no offset; make it aware, as with tzinfo=UTC")
    local = datetime(  # noqa: DTZ001 - what derives from datetime becomes one; its offset is put back below
        value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond
    )
    if abs(offset) <= _WIDEST_OFFSET and not offset % _MINUTE:
        return local.replace(tzinfo=timezone(offset))
    try:
        return (local - offset).replace(tzinfo=UTC)
    except OverflowError:
        raise Misfit(f"{value.isoformat()} is not within the years 1 to 9999 in UTC") from None


def _bytes(value: Any) -> bytes:
    if type(value) is bytes:
        return value
    if not isinstance(value, bytes):
        raise Misfit(expected("bytes", value))
    return bytes(memoryview(value))


_SCALARS: Final[dict[Scalar, Normaliser]] = {
    Scalar.TEXT: text,
    Scalar.INTEGER: _integer,
    Scalar.FLOAT: _float,
    Scalar.BOOLEAN: _boolean,
    Scalar.DECIMAL: _decimal,
    Scalar.DATETIME: _datetime,
    Scalar.BYTES: _bytes,
}


def _choice(type_: Choice) -> Normaliser:
    if type_.enum is not None:
        members = type_.enum

        def member(value: Any) -> Any:
            if type(value) is members:
                return value
            raise Misfit(expected(f"a member of {members.__name__}", value))

        return member
    # By type too: True == 1, but Literal[1] does not take True.
    values: dict[tuple[type, Any], Any] = {(type(value), value): value for _, value in type_.options}

    def literal(value: Any) -> Any:
        if isinstance(value, str) and type(value) is not str:
            value = str.__str__(value)
        if isinstance(value, str | int) and (type(value), value) in values:
            return values[type(value), value]
        raise Misfit(expected(spelled(type_), value))

    return literal


def _exactly(classes: tuple[type, ...]) -> Normaliser:
    names = " or ".join(cls.__name__ for cls in classes)

    def one(value: Any) -> Any:
        if type(value) in classes:
            return value
        if isinstance(value, classes) and is_payload(value):
            raise Misfit(
                f"expected exactly {names}, got {type(value).__name__}, which derives from it and holds more; "
                f"name it in the field's type: {names.replace(' or ', ' | ')} | {type(value).__name__}"
            )
        raise Misfit(expected(names, value))

    return one


def _many(type_: Many) -> Normaliser:
    item = normaliser(type_.item)

    def items(value: Any) -> tuple[Any, ...]:
        if not is_listing(value):
            raise Misfit(expected(spelled(type_), value))
        try:
            normal = [item(one) for one in value]
        except Misfit:
            raise _first_misfit(item, value) from None
        return value if type(value) is tuple and _same(normal, value) else tuple(normal)

    return items


def _first_misfit(item: Normaliser, values: Iterable[Any]) -> Misfit:
    """The misfit that is there, with its index: found again, so that what fits is not slowed by counting."""
    for index, one in enumerate(values):
        try:
            item(one)
        except Misfit as misfit:
            return Misfit(misfit.problem, f"[{index}]{misfit.path}")
    raise AssertionError("one of them did not fit")  # pragma: no cover - asked for where one did not


def _same(normal: Iterable[Any], given: Iterable[Any]) -> bool:
    return all(map(operator.is_, normal, given))


def _table(type_: Table) -> Normaliser:
    item = normaliser(type_.value)

    def entries(value: Any) -> FrozenDict:
        if not is_mapping(value):
            raise Misfit(expected(spelled(type_), value))
        normal: dict[str, Any] = {}
        same = type(value) is FrozenDict
        for key, one in value.items():
            try:
                name, kept = text(key), item(one)
            except Misfit as misfit:
                raise Misfit(misfit.problem, f"[{shown(key)}]{misfit.path}") from None
            same = same and name is key and kept is one
            normal[name] = kept
        return cast("FrozenDict", value) if same else FrozenDict(normal)

    return entries
