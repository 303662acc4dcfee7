"""JSON to payloads, and what is wrong with it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any, Final, NoReturn, TypeVar, cast

from organism.errors import InvalidPayloadError
from organism.payloads.construction import builder
from organism.payloads.definition import PerClass, describe
from organism.payloads.faults import MISSING, Fault, Misfit, chosen, expected, invalid, shown, unknown_field
from organism.payloads.frozendict import FrozenDict
from organism.payloads.lexical import LEXIS, MAX_INT_DIGITS
from organism.payloads.normal import is_listing, is_mapping, normaliser
from organism.payloads.normal import text as normal_text
from organism.payloads.soundness import check_depth
from organism.payloads.types import Choice, Field, FieldType, Many, Maybe, Nested, OneOf, Scalar, Table, spelled

Faults = Iterator[Fault]

T = TypeVar("T")


# ---- texts ------------------------------------------------------------------------------------------------------------


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
        if "set_int_max_str_digits" in str(error):
            raise InvalidPayloadError(f"has a number of more than {MAX_INT_DIGITS} digits") from None
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


# ---- documents --------------------------------------------------------------------------------------------------------


def decode_fields(cls: type[T], fields: Mapping[str, Any]) -> T:
    """The payload of a JSON object with its fields, as ``{"name": "Ada"}``; the arguments of a model's tool call are such.

    Raises one InvalidPayloadError with everything that is wrong, each with its path, and PayloadTypeError where ``cls`` is
    no payload.
    """
    try:
        made = _fields(fields, cls)
        check_depth(made)  # whoever wrote it hears of it here, and not whoever sends it on
        return cast("T", made)
    except (Misfit, InvalidPayloadError, RecursionError) as refused:
        raise _error(refused, fields, cls) from None


def _error(refused: Exception, fields: Mapping[str, Any], cls: type) -> InvalidPayloadError:
    """Everything that is wrong with an object that could not be read; where nothing is, it was refused by the class itself."""
    try:
        error = invalid(_faults_of_fields(fields, cls, cls.__name__), cls.__name__)
    except RecursionError:
        error = None
    if error is not None:
        return error
    if isinstance(refused, InvalidPayloadError):
        return refused
    return InvalidPayloadError("is nested too deep to be read", where=cls.__name__)


def decode_document(document: object, classes: Mapping[str, type], expect: Collection[type] | None) -> Any:
    """The payload of ``{"Greeting": {"name": "Ada"}}``, for one of the classes by name; raises InvalidPayloadError."""
    nothing: Mapping[Any, Any] = {}
    given = document if is_mapping(document) else nothing
    if bare := _bare(given, classes, expect or ()):
        raise InvalidPayloadError(f'has the fields of {bare} without its name; write them as {{"{bare}": {{...}}}}')
    if len(given) != 1:
        raise InvalidPayloadError(expected('an object like {"Name": {...}}, with the name of one payload', document))
    ((name, fields),) = given.items()
    cls: Any = chosen(str(name), classes, expect)
    return decode_fields(cls, fields)


def _bare(given: Mapping[str, Any], classes: Mapping[str, type], expect: Collection[type]) -> str | None:
    """The name of the only class that a document has fields of, in place of its name."""
    if not given or any(name in classes for name in given):
        return None
    named = [cls.__name__ for cls in expect if given.keys() <= {field.name for field in describe(cls).fields}]
    return named[0] if len(named) == 1 else None


# ---- what is wrong ----------------------------------------------------------------------------------------------------


def _faults_of_fields(value: Any, cls: type, path: str) -> Faults:
    """The faults of the JSON object with the fields of a payload. Lazy: looks no further than is asked for."""
    if not is_mapping(value):
        yield Fault(path, expected(f"an object with the fields of {cls.__name__}", value))
        return
    fields = {field.name: field for field in describe(cls).fields}
    for name in value:
        if name not in fields:
            yield Fault(f"{path}.{str(name)[:64]}", unknown_field(str(name), fields))
    for name, field in fields.items():
        if name in value:
            yield from _faults(value[name], field.type, f"{path}.{name}")
        elif field.required:
            yield Fault(f"{path}.{name}", f"{MISSING} ({spelled(field.type)})")


def _faults(value: Any, type_: FieldType, path: str) -> Faults:
    match type_:
        case Scalar() | Choice():
            try:
                _simple_reader(type_)(value)
            except Misfit as misfit:
                yield Fault(path, misfit.problem)
        case Nested():
            yield from _faults_of_fields(value, type_.cls, path)
        case OneOf():
            yield from _faults_of_union(value, type_, path)
        case Many():
            yield from _faults_of_list(value, type_, path)
        case Table():
            yield from _faults_of_dict(value, type_, path)
        case Maybe():
            if value is not None:
                yield from _faults(value, type_.inner, path)


def _faults_of_union(value: Any, type_: OneOf, path: str) -> Faults:
    classes = {cls.__name__: cls for cls in type_.classes}
    nothing: Mapping[Any, Any] = {}
    given = value if is_mapping(value) else nothing
    name = next(iter(given), None)
    if len(given) != 1 or name not in classes:
        yield Fault(path, expected(" or ".join(f'{{"{one}": {{...}}}}' for one in classes), value))
    else:
        yield from _faults_of_fields(given[name], classes[name], f"{path}.{name}")


def _faults_of_list(value: Any, type_: Many, path: str) -> Faults:
    if not is_listing(value):
        yield Fault(path, expected("a list", value))
        return
    for index, item in enumerate(value):
        yield from _faults(item, type_.item, f"{path}[{index}]")


def _faults_of_dict(value: Any, type_: Table, path: str) -> Faults:
    if not is_mapping(value):
        yield Fault(path, expected("an object", value))
        return
    for key, item in value.items():
        try:
            normal_text(key)
        except Misfit as misfit:
            yield Fault(f"{path}[{shown(key)}]", f"the key is wrong: {misfit.problem}")
        yield from _faults(item, type_.value, f"{path}[{shown(key)}]")


# ---- what it says -----------------------------------------------------------------------------------------------------


Reader = Callable[[Any], Any]
"""Gives what a value of JSON says. Raises Misfit at the first fault, without a word: :func:`_faults` says what is wrong."""


def _fields(value: Any, cls: type) -> Any:
    """The payload of an object. Raises Misfit as any reader does, and InvalidPayloadError for what the class's validators refuse."""
    if not is_mapping(value):
        raise Misfit
    given: dict[str, Any] = {}
    found = 0
    for field, read in _readers(cls):
        if field.name in value:
            found += 1
            given[field.argument] = read(value[field.name])
        elif field.absent_is_none:
            given[field.argument] = None
        elif field.required:
            raise Misfit
    if found < len(value):
        raise Misfit
    return builder(cls)(**given)


@PerClass
def _readers(cls: type) -> tuple[tuple[Field, Reader], ...]:
    """What reads each field of a payload."""
    return tuple((field, _reader(field.type)) for field in describe(cls).fields)


def _reader(type_: FieldType) -> Reader:
    match type_:
        case Scalar() | Choice():
            return _simple_reader(type_)
        case Nested():
            return partial(_fields, cls=type_.cls)
        case OneOf():
            return partial(_read_union, type_=type_)
        case Many():
            return partial(_read_list, read=_reader(type_.item))
        case Table():
            return partial(_read_dict, read=_reader(type_.value))
        case Maybe():
            inner = _reader(type_.inner)
            return lambda value: None if value is None else inner(value)


def _read_union(value: Any, type_: OneOf) -> Any:
    if not is_mapping(value) or len(value) != 1:
        raise Misfit
    ((name, fields),) = value.items()
    for cls in type_.classes:
        if cls.__name__ == name:
            return _fields(fields, cls)
    raise Misfit


def _read_list(value: Any, read: Reader) -> Any:
    if not is_listing(value):
        raise Misfit
    return tuple([read(item) for item in value])


def _read_dict(value: Any, read: Reader) -> Any:
    if not is_mapping(value):
        raise Misfit
    return FrozenDict({normal_text(key): read(item) for key, item in value.items()})


def _simple_reader(type_: Scalar | Choice) -> Callable[[Any], Any]:
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
