"""JSON values to payloads, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any, Final, TypeVar, cast

from organism.errors import InvalidPayloadError
from organism.payloads.construction import builder
from organism.payloads.definition import PerClass, describe
from organism.payloads.faults import MISSING, Fault, Misfit, chosen, expected, invalid, shown, unknown_field
from organism.payloads.frozendict import FrozenDict
from organism.payloads.json_values import simple_reader
from organism.payloads.normal import is_listing, is_mapping
from organism.payloads.normal import text as normal_text
from organism.payloads.soundness import check_depth
from organism.payloads.types import Choice, Field, FieldType, Many, Maybe, Nested, OneOf, Scalar, Table, spelled

Faults = Iterator[Fault]

T = TypeVar("T")


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
    if len(given) != 1:
        raise InvalidPayloadError(expected('an object like {"Name": {...}}, with the name of one payload', document))
    ((name, fields),) = given.items()
    cls: Any = chosen(str(name), classes, expect)
    return decode_fields(cls, fields)


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
                simple_reader(type_)(value)
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
        raise Misfit(_UNSAID)
    given: dict[str, Any] = {}
    found = 0
    for field, read in _readers(cls):
        if field.name in value:
            found += 1
            given[field.argument] = read(value[field.name])
        elif field.absent_is_none:
            given[field.argument] = None
        elif field.required:
            raise Misfit(_UNSAID)
    if found < len(value):
        raise Misfit(_UNSAID)
    return builder(cls)(**given)


@PerClass
def _readers(cls: type) -> tuple[tuple[Field, Reader], ...]:
    """What reads each field of a payload."""
    return tuple((field, _reader(field.type)) for field in describe(cls).fields)


def _reader(type_: FieldType) -> Reader:
    match type_:
        case Scalar() | Choice():
            return simple_reader(type_)
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
        raise Misfit(_UNSAID)
    ((name, fields),) = value.items()
    for cls in type_.classes:
        if cls.__name__ == name:
            return _fields(fields, cls)
    raise Misfit(_UNSAID)


def _read_list(value: Any, read: Reader) -> Any:
    if not is_listing(value):
        raise Misfit(_UNSAID)
    return tuple([read(item) for item in value])


def _read_dict(value: Any, read: Reader) -> Any:
    if not is_mapping(value):
        raise Misfit(_UNSAID)
    return FrozenDict({normal_text(key): read(item) for key, item in value.items()})


_UNSAID: Final = ""
"""Of the first fault: whoever looks for all of them says it."""
