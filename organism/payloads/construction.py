"""Construction of payloads: the check that always runs, and how readers construct."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from organism.errors import InvalidPayloadError
from organism.generated import Source
from organism.payloads.faults import Misfit
from organism.payloads.frozendict import FrozenDict
from organism.payloads.normal import Normaliser, normaliser
from organism.payloads.types import Choice, Field, FieldType, Many, Maybe, Nested, OneOf, PayloadType, Scalar, Table

Check = Callable[[Any], None]
"""Brings the fields of a new object into their normal form; raises InvalidPayloadError."""

_CHEAP_BOUND: Final = 2**62

# What is true of a value that may not be in its normal form, and has to be looked at closely.
_DOUBTS: Final[dict[Scalar, str]] = {
    Scalar.TEXT: "type({v}) is not str or not {v}.isascii()",
    Scalar.INTEGER: f"type({{v}}) is not int or not -{_CHEAP_BOUND} < {{v}} < {_CHEAP_BOUND}",
    Scalar.FLOAT: "type({v}) is not float or {v} - {v} != 0.0",  # an infinity less itself is NaN, and so is NaN
    Scalar.BOOLEAN: "{v} is not True and {v} is not False",
    Scalar.DECIMAL: "True",
    Scalar.DATETIME: "True",
    Scalar.BYTES: "type({v}) is not bytes",
}


def check_of(described: PayloadType) -> Check:
    """The check of a payload class. It looks at the fields in their order and stops at the first that does not fit.

    A field that has its normal form already costs one look at its type, and no call.
    """
    source = Source(f"check of {described.cls.__module__}.{described.cls.__qualname__}")
    fix = source.constant(_fixer(described.name))
    lines = [line for field in described.fields for line in _look(field, fix, source)]
    return source.function("self", lines or ["pass"])


def _look(field: Field, fix: str, source: Source) -> list[str]:
    """The lines that look at one field."""
    doubt = _doubt(field.type, "v", source)
    normal = source.constant(normaliser(field.type))
    return [
        f"v = self.{field.attribute}",
        f"if {doubt}:",
        f"    {fix}(self, {field.attribute!r}, v, {normal})",
    ]


def _doubt(type_: FieldType, v: str, source: Source) -> str:  # noqa: PLR0911 - a case for each type
    match type_:
        case Scalar():
            return _DOUBTS[type_].format(v=v)
        case Choice(enum=None) | OneOf():
            return "True"
        case Choice():
            return f"type({v}) is not {source.constant(type_.enum)}"
        case Nested():
            return f"type({v}) is not {source.constant(type_.cls)}"
        case Many():
            doubt = _doubt(type_.item, f"{v}i", source)
            return doubt if doubt == "True" else f"type({v}) is not tuple or [1 for {v}i in {v} if {doubt}]"
        case Table():
            doubt = _doubt(type_.value, f"{v}i", source)
            frozen = source.constant(FrozenDict)
            return doubt if doubt == "True" else f"type({v}) is not {frozen} or [1 for {v}i in {v}.values() if {doubt}]"
        case Maybe():
            return f"{v} is not None and ({_doubt(type_.inner, v, source)})"


def _fixer(name: str) -> Callable[[object, str, Any, Normaliser], None]:
    def fix(self: object, attribute: str, value: Any, normal: Normaliser) -> None:
        try:
            fixed = normal(value)
        except Misfit as misfit:
            raise InvalidPayloadError(misfit.problem, where=f"{name}.{attribute}{misfit.path}") from None
        if fixed is not value:
            object.__setattr__(self, attribute, fixed)

    return fix


def builder(cls: type) -> Callable[..., Any]:
    """A function that constructs the class from what a document says.

    What the class's own validators raise (ValueError, TypeError) becomes InvalidPayloadError.
    """

    def build(*values: Any, **named: Any) -> Any:
        try:
            return cls(*values, **named)
        except InvalidPayloadError:
            raise
        except (ValueError, TypeError) as error:
            raise InvalidPayloadError(f"is refused by the class itself: {error}", where=cls.__name__) from error

    return build
