"""JSON texts, and what a single JSON value says in a field of a certain type."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, NoReturn

from organism.errors import InvalidPayloadError
from organism.payloads.faults import Misfit, expected, shown
from organism.payloads.lexical import LEXIS, MAX_INT_DIGITS
from organism.payloads.normal import normaliser
from organism.payloads.types import Choice, Scalar, spelled

if TYPE_CHECKING:
    from collections.abc import Callable


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text, strictly: no NaN or Infinity, no name twice in one object; raises InvalidPayloadError.

    Numbers with a point or an exponent become Decimal, so that none of their digits is lost on the way to a field.
    """
    try:
        if isinstance(text, str) and text[:1] != _MARK:
            return _DECODER.decode(text)
        return json.loads(text, parse_float=_decimal, parse_constant=_no_constant, object_pairs_hook=_object)
    except RecursionError:
        raise InvalidPayloadError("is nested too deep to be read") from None
    except ValueError as error:  # of json, of UTF-8, of int about too many digits
        raise InvalidPayloadError(f"is not JSON: {error}") from None


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # its exponent has more digits than a Decimal can have
        raise ValueError(f"{shown(text)} has an exponent that is too large") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"an object has the name {shown(twice)} twice")
    return made


_DECODER: Final = json.JSONDecoder(parse_float=_decimal, parse_constant=_no_constant, object_pairs_hook=_object)
"""As ``json.loads`` makes one anew for each text."""
_MARK: Final = "\ufeff"
"""A byte order mark, which ``json.loads`` tells of better."""


def simple_reader(type_: Scalar | Choice) -> Callable[[Any], Any]:
    """The function that gives the value of a text, a number or a truth value; it raises Misfit.

    A whole number may be written as 5.0, and a Decimal as a number or a text: so says the JSON Schema.
    """
    normal = normaliser(type_)
    match type_:
        case Choice():
            return lambda value: _choice(value, type_)
        case Scalar.TEXT | Scalar.BOOLEAN:
            return normal
        case Scalar.INTEGER:
            return lambda value: normal(value if type(value) is int else _whole(value))
        case Scalar.FLOAT:
            return lambda value: normal(_nearest_float(value))
        case Scalar.DECIMAL:
            return lambda value: normal(_decimal_of(value))
        case Scalar.DATETIME | Scalar.BYTES:
            return lambda value: normal(_from_text(value, type_))


def _decimal_of(value: Any) -> Any:
    if isinstance(value, float):
        return Decimal(repr(value))
    return _from_text(value, Scalar.DECIMAL) if isinstance(value, str) else value


def _choice(value: Any, type_: Choice) -> Any:
    if isinstance(value, float | Decimal):
        value = _whole(value)
    for text, option in type_.options:
        said = option if type_.enum is None else text
        if type(said) is type(value) and said == value:
            return option
    raise Misfit(expected(spelled(type_), value))


def _from_text(value: Any, type_: Scalar) -> Any:
    lexis = LEXIS[type_]
    if isinstance(value, str) and lexis.pattern.fullmatch(value):
        with suppress(ValueError):  # the 30th of February
            return lexis.read(value)
    raise Misfit(expected(lexis.form, value))


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    # The size first: the whole number that 1E+999999999 is would fill the memory.
    if isinstance(value, Decimal) and value.is_finite() and value.adjusted() < MAX_INT_DIGITS:
        whole = int(value)
        return whole if whole == value else value
    return value


def _nearest_float(value: Any) -> Any:
    """JSON does not tell 1 from 1.0; what is a float here is read as one."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return value
    try:
        return float(value)
    except OverflowError:
        raise Misfit(f"{shown(value)} is too large for a float") from None
