"""Whether a value fits a JSON Schema.

The part of the 2020-12 vocabulary that says what a value may be: types, enumerations, combinators, objects, arrays,
strings and numbers. ``if``/``then``, ``dependentSchemas``, ``contains`` and the ``unevaluated`` keywords are not read.
"""

from __future__ import annotations

import base64
import binascii
import math
import operator
import re
from typing import TYPE_CHECKING, Final, cast

from organism.models.simulation.schemas import kinds, properties, required, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from organism.models.simulation.documents import Json
    from organism.models.simulation.schemas import Schema, Schemas

_DEEPEST: Final = 60
_FORMATS: Final = {
    "date-time": re.compile(
        r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[Tt]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)"
    ),
    "date": re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"),
    "time": re.compile(r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)?"),
    "duration": re.compile(r"P(?=.)(\d+Y)?(\d+M)?(\d+W)?(\d+D)?(T(?=.)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?"),
    "email": re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+"),
    "uri": re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]+"),
    "uuid": re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
    "ipv4": re.compile(r"((25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(25[0-5]|2[0-4]\d|1?\d?\d)"),
    "hostname": re.compile(
        r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
    ),
}


def same(one: Json, other: Json) -> bool:
    """Whether two values are equal in JSON: 1 is 1.0, but no ``true``."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return one == other


def number_fits(rules: Schema, value: float) -> bool:
    """Whether a number keeps the limits of resolved rules."""
    if not -math.inf < value < math.inf:
        return False
    limits = [(limit, keeps) for keyword, keeps in _LIMITS.items() if _is_number(limit := rules.get(keyword))]
    return all(keeps(value, cast("float", limit)) for limit, keeps in limits)


def _is_number(value: Json) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_multiple(value: float, step: float) -> bool:
    if isinstance(value, int) and isinstance(step, int):
        return not step or value % step == 0
    try:
        return not step or (value / step).is_integer()
    except OverflowError:
        return False


_LIMITS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "minimum": operator.ge,
    "maximum": operator.le,
    "exclusiveMinimum": operator.gt,
    "exclusiveMaximum": operator.lt,
    "multipleOf": _is_multiple,
}


def _is_kind(value: Json, kind: str) -> bool:
    if value is None or isinstance(value, bool):
        return kind == ("null" if value is None else "boolean")
    if isinstance(value, int):
        return kind in {"integer", "number"}
    if isinstance(value, float):
        return kind == "number" or (kind == "integer" and value.is_integer())
    return kind == ("string" if isinstance(value, str) else "array" if isinstance(value, list) else "object")


def _is_base64(value: str) -> bool:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


class Checker:
    """Checks values against the schemas of one root."""

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas
        self._patterns: dict[str, re.Pattern[str] | None] = {}

    def valid(self, schema: Json, value: Json, depth: int = 0) -> bool:
        """Whether ``value`` fits ``schema``."""
        if not isinstance(schema, dict):
            return schema is not False
        if depth > _DEEPEST:
            return False
        named = schema.get("type")
        return (
            (named is None or any(_is_kind(value, kind) for kind in kinds(schema)))
            and ("const" not in schema or same(schema["const"], value))
            and self._listed(schema, value)
            and self._combined(schema, value, depth)
            and self._fits(schema, value, depth)
        )

    @staticmethod
    def _listed(rules: Schema, value: Json) -> bool:
        allowed = rules.get("enum")
        return not isinstance(allowed, list) or any(same(entry, value) for entry in allowed)

    def _combined(self, rules: Schema, value: Json, depth: int) -> bool:
        if "$ref" in rules and not self.valid(self._schemas.target(rules["$ref"]), value, depth + 1):
            return False
        parts = rules.get("allOf")
        if isinstance(parts, list) and not all(self.valid(part, value, depth + 1) for part in parts):
            return False
        for keyword in ("anyOf", "oneOf"):
            options = rules.get(keyword)
            if isinstance(options, list):
                fitting = sum(self.valid(option, value, depth + 1) for option in options)
                if not fitting or (keyword == "oneOf" and fitting > 1):
                    return False
        return "not" not in rules or not self.valid(rules["not"], value, depth + 1)

    def _fits(self, rules: Schema, value: Json, depth: int) -> bool:
        if isinstance(value, bool) or value is None:
            return True
        if isinstance(value, str):
            return self._text_fits(rules, value)
        if isinstance(value, (int, float)):
            return number_fits(rules, value)
        if isinstance(value, list):
            return self._list_fits(rules, value, depth)
        return self._object_fits(rules, value, depth)

    def pattern(self, text: str) -> re.Pattern[str] | None:
        """A pattern compiled, or nothing where Python cannot read it."""
        if text not in self._patterns:
            try:
                self._patterns[text] = re.compile(text)
            except re.error:
                self._patterns[text] = None
        return self._patterns[text]

    def _text_fits(self, rules: Schema, value: str) -> bool:
        if not whole(rules, "minLength", 0) <= len(value) <= whole(rules, "maxLength", len(value)):
            return False
        pattern = rules.get("pattern")
        if isinstance(pattern, str) and (found := self.pattern(pattern)) is not None and found.search(value) is None:
            return False
        if rules.get("contentEncoding") == "base64" and not _is_base64(value):
            return False
        named = rules.get("format")
        known = _FORMATS.get(named) if isinstance(named, str) else None
        return known is None or known.fullmatch(value) is not None

    def _list_fits(self, rules: Schema, value: list[Json], depth: int) -> bool:
        if not whole(rules, "minItems", 0) <= len(value) <= whole(rules, "maxItems", len(value)):
            return False
        if rules.get("uniqueItems") is True and any(same(a, b) for i, a in enumerate(value) for b in value[:i]):
            return False
        first = rules.get("prefixItems")
        fixed = first if isinstance(first, list) else []
        rest = rules.get("items", True)
        return all(
            self.valid(fixed[place] if place < len(fixed) else rest, entry, depth + 1)
            for place, entry in enumerate(value)
        )

    def _object_fits(self, rules: Schema, value: dict[str, Json], depth: int) -> bool:
        if any(name not in value for name in required(rules)):
            return False
        if not whole(rules, "minProperties", 0) <= len(value) <= whole(rules, "maxProperties", len(value)):
            return False
        names = rules.get("propertyNames", True)
        return all(
            self.valid(names, name, depth + 1)
            and all(self.valid(rule, entry, depth + 1) for rule in self.rules_for(rules, name))
            for name, entry in value.items()
        )

    def rules_for(self, rules: Schema, name: str) -> list[Json]:
        """The schemas that the value of a property must fit."""
        own = properties(rules)
        found = [own[name]] if name in own else []
        patterned = rules.get("patternProperties")
        for pattern, rule in (patterned if isinstance(patterned, dict) else {}).items():
            if (compiled := self.pattern(pattern)) is not None and compiled.search(name):
                found.append(rule)
        return found or [rules.get("additionalProperties", True)]
