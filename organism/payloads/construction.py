"""The check that runs whenever a payload is constructed, generated for each class.

It is generated source, as attrs' own methods are, because it runs for every message of the organism: a field that
already has its normal form costs one look at its type, and no call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from organism.errors import InvalidPayloadError
from organism.payloads.faults import Misfit
from organism.payloads.normal import Normaliser, normaliser
from organism.payloads.types import Choice, Field, FieldType, Maybe, Nested, PayloadType, Scalar

Check = Callable[[Any], None]
"""Brings the fields of a new object into their normal form; raises InvalidPayloadError."""

_CHEAP_BOUND: Final = 2**62

# What holds of a value that may not be normal, and has to be looked at closely.
_DOUBTS: Final[dict[Scalar, str]] = {
    Scalar.TEXT: "type(v) is not str or not v.isascii()",
    Scalar.INTEGER: f"type(v) is not int or not -{_CHEAP_BOUND} < v < {_CHEAP_BOUND}",
    Scalar.FLOAT: "type(v) is not float or v - v != 0.0",  # an infinity less itself is NaN, and so is NaN
    Scalar.BOOLEAN: "v is not True and v is not False",
    Scalar.BYTES: "type(v) is not bytes",
}


def check_of(described: PayloadType) -> Check:
    """The check of a payload class. It looks at the fields in their order and stops at the first that does not fit."""
    names: dict[str, Any] = {"fix": _fixer(described.name)}
    lines = ["def check(self):"]
    for number, field in enumerate(described.fields):
        names[f"n{number}"] = normaliser(field.type)
        lines += [f"    v = self.{field.attribute}", *_look(field, number, names)]
    source = "\n".join([*lines, "    return None"])
    code = compile(source, f"<check of {described.cls.__module__}.{described.cls.__qualname__}>", "exec")
    exec(code, names)  # noqa: S102 - made of numbers and of attribute names, which are identifiers
    check: Check = names["check"]
    return check


def _look(field: Field, number: int, names: dict[str, Any]) -> list[str]:
    """The lines that look at one field."""
    fix = f"fix(self, {field.attribute!r}, v, n{number})"
    inner, maybe = (field.type.inner, True) if isinstance(field.type, Maybe) else (field.type, False)
    doubt = _doubt(inner, number, names)
    if doubt and maybe:
        doubt = f"v is not None and ({doubt})"
    elif maybe:
        doubt = "v is not None"
    return [f"    if {doubt}:", f"        {fix}"] if doubt else [f"    {fix}"]


def _doubt(type_: FieldType, number: int, names: dict[str, Any]) -> str:
    match type_:
        case Scalar():
            return _DOUBTS.get(type_, "")
        case Nested():
            names[f"c{number}"] = type_.cls
        case Choice(enum=enum) if enum is not None:
            names[f"c{number}"] = enum
        case _:
            return ""
    return f"type(v) is not c{number}"


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
    """A function that constructs the class from values that were read.

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
