"""Arguments of a tool, checked by the JSON Schema that its server gave.

A server is not of this organism. Nothing is fetched for its schema, and no pattern of it is tried: one may take for ever to fail. Both are
left to the server, which looks at the arguments again.
"""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from jsonschema import Draft202012Validator, SchemaError  # type: ignore[import-untyped]
from referencing import Registry
from referencing.exceptions import Unresolvable

from organism.errors import InvalidPayloadError
from organism.functions import FunctionCall
from organism.names import excerpt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_TOLD: Final = 3
"""Mistakes that are told of one call."""
_LONGEST: Final = 300
"""Characters of each."""
_TRIED: Final = frozenset({"pattern", "patternProperties"})


def reader(schema: Mapping[str, Any]) -> Callable[[Any], FunctionCall]:
    """What makes a call of a JSON value, as ``organism.payloads.parse_json`` gives it; it raises InvalidPayloadError, with a line for each
    of the first mistakes, for one that does not fit.
    """
    validator: Any = Draft202012Validator(_untried(schema), registry=_NO_MORE)

    def read(said: Any) -> FunctionCall:
        arguments = plain(said)
        if not isinstance(arguments, dict):
            raise InvalidPayloadError("the arguments must be an object, as in {}")
        try:
            wrong = "; ".join(map(_told, _first(validator, arguments)))
        except (Unresolvable, RecursionError, SchemaError, TypeError, ValueError, AttributeError):
            wrong = ""  # the schema itself is none that could be followed: its server decides
        if wrong:
            raise InvalidPayloadError(wrong)
        return FunctionCall(json.dumps(arguments, ensure_ascii=False))

    return read


_NO_MORE: Final = Registry[Any]()
"""Finds nothing: what a schema refers to stands in itself, or nowhere."""


def plain(value: Any) -> Any:
    """A JSON value with numbers as JSON has them. Raises InvalidPayloadError for one that is too large."""
    given: Any = value
    if isinstance(value, dict):
        return {name: plain(each) for name, each in given.items()}
    if isinstance(value, list):
        return [plain(each) for each in given]
    if isinstance(value, Decimal):
        number = float(value)
        if not math.isfinite(number):
            raise InvalidPayloadError(f"{excerpt(str(value), _LONGEST)} is too large a number")
        return number
    return value


def _untried(schema: Any) -> Any:
    """A schema without its patterns. Where names of fields are told by patterns, any may be there."""
    given: Any = schema
    if isinstance(schema, (list, tuple)):
        return [_untried(each) for each in given]
    if not hasattr(schema, "items"):
        return schema
    kept = {name: _untried(each) for name, each in given.items() if name not in _TRIED}
    if "patternProperties" in given:
        kept = {
            name: each for name, each in kept.items() if name not in {"additionalProperties", "unevaluatedProperties"}
        }
    return kept


def _first(validator: Any, arguments: Any) -> list[Any]:
    found: list[Any] = []
    for error in validator.iter_errors(arguments):
        found.append(error)
        if len(found) == _TOLD:
            break
    return found


def _told(error: Any) -> str:
    place = ".".join(str(step) for step in error.absolute_path)
    said = excerpt(str(error.message), _LONGEST)
    return f"{place}: {said}" if place else said
