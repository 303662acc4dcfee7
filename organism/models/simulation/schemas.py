"""JSON Schema: as a shape to fill (references followed, ``allOf`` merged, how deep the smallest value is), and whether a value fits.

What is read is the part of the 2020-12 vocabulary that says what a value may be: types, enumerations, combinators, objects, arrays,
strings and numbers. ``if``/``then``, ``dependentSchemas``, ``contains`` and the ``unevaluated`` keywords are not.
"""

from __future__ import annotations

import base64
import binascii
import math
import operator
import re
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from organism.models.simulation.documents import Json, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Schema: TypeAlias = "dict[str, Json]"

_DEEPEST: Final = 60
ENDLESS: Final = 10_000
"""The height of a schema whose values never end."""
_LOWEST: Final = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"})
_HIGHEST: Final = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"})
_TELLING: Final = {
    "object": ("properties", "required", "additionalProperties", "patternProperties", "minProperties"),
    "array": ("items", "prefixItems", "minItems", "uniqueItems"),
    "string": ("pattern", "format", "minLength", "maxLength", "contentEncoding"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}


def kinds(schema: Schema) -> list[str]:
    """The JSON types a resolved schema allows, in its own order; guessed from its keywords where it names none."""
    named = schema.get("type")
    if isinstance(named, (str, list)):
        return [kind for kind in ([named] if isinstance(named, str) else named) if isinstance(kind, str)]
    for kind, keywords in _TELLING.items():
        if any(keyword in schema for keyword in keywords):
            return [kind]
    return []


def properties(schema: Schema) -> dict[str, Json]:
    """The properties of a resolved schema, each still to be resolved."""
    found = schema.get("properties")
    return found if isinstance(found, dict) else {}


def required(schema: Schema) -> list[str]:
    """The names of the properties that must be there."""
    return [name for name in entries(schema, "required") if isinstance(name, str)]


def hint(schema: Schema) -> str:
    """What a schema's description says; empty where it has none."""
    found = schema.get("description")
    return found if isinstance(found, str) else ""


def entries(schema: Schema, keyword: str) -> list[Json]:
    """A keyword that is a list; empty where it is none."""
    found = schema.get(keyword)
    return found if isinstance(found, list) else []


def branches(schema: Schema) -> tuple[str, list[Json]]:
    """``anyOf`` or ``oneOf`` and its entries; nothing where a schema has neither."""
    for keyword in ("oneOf", "anyOf"):
        if found := entries(schema, keyword):
            return keyword, found
    return "", []


def whole(schema: Schema, keyword: str, otherwise: int) -> int:
    """A keyword that is a count."""
    found = schema.get(keyword)
    return int(found) if isinstance(found, (int, float)) and not isinstance(found, bool) else otherwise


class Schemas:
    """A root schema and all that it refers to."""

    def __init__(self, root: Mapping[str, object]) -> None:
        tree = plain(root)
        self.root: Schema = tree if isinstance(tree, dict) else {}
        self._heights: dict[str, int] = {}
        self._measure()

    def resolve(self, schema: Json) -> Schema:
        """A schema without ``$ref`` and ``allOf`` at its top; ``true`` is ``{}``, ``false`` forbids everything."""
        if isinstance(schema, bool) or not isinstance(schema, dict):
            return {"not": {}} if schema is False else {}
        for _ in range(_DEEPEST):
            if "$ref" in schema:
                outer = {key: value for key, value in schema.items() if key != "$ref"}
                schema = _merged(self.target(schema["$ref"]), outer)
            elif isinstance(parts := schema.get("allOf"), list):
                schema = {key: value for key, value in schema.items() if key != "allOf"}
                for part in parts:
                    schema = _merged(self.resolve(part), schema)
            else:
                return schema
        return {}

    def target(self, reference: Json) -> Schema:
        """What a local reference points to; ``{}`` where it points to nothing here."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            return {}
        found: Json = self.root
        for step in reference[1:].split("/")[1:]:
            found = _inside(found, step.replace("~1", "/").replace("~0", "~"))
        if found is False:
            return {"not": {}}
        return found if isinstance(found, dict) else {}

    # How deep the smallest value of a schema is: recursive definitions end by the branch that ends.

    def _measure(self) -> None:
        """Finds the heights of all references by going over them until nothing changes."""
        targets: set[str] = set()
        _collect_references(self.root, targets)
        ordered = sorted(targets)
        self._heights = dict.fromkeys(ordered, ENDLESS)
        for _ in ordered:
            before = dict(self._heights)
            for reference in ordered:
                self._heights[reference] = self.height(self.target(reference))
            if before == self._heights:
                return

    def height(self, schema: Json, depth: int = 0) -> int:
        """How many levels the smallest value of a schema has; 10,000 and more where it has no end."""
        if not isinstance(schema, dict) or depth > _DEEPEST or "const" in schema or "enum" in schema:
            return 0
        own = 0
        reference = schema.get("$ref")
        if isinstance(reference, str):
            own = self._heights.get(reference, 0)
        _, options = branches(schema)
        if options:
            own = max(own, min(self.height(option, depth + 1) for option in options))
        own = max([own, *(self.height(part, depth + 1) for part in entries(schema, "allOf"))])
        if "null" in kinds(schema):
            return own
        within = properties(schema)
        inner = [self.height(within.get(name), depth + 1) + 1 for name in required(schema)]
        if whole(schema, "minItems", 0) > 0:
            inner.append(self.height(schema.get("items"), depth + 1) + 1)
        return min(ENDLESS, max([own, *inner]))


def _inside(tree: Json, key: str) -> Json:
    """The part of a tree under a key or an index."""
    if isinstance(tree, list):
        return tree[int(key)] if key.isdecimal() and int(key) < len(tree) else None
    return tree.get(key) if isinstance(tree, dict) else None


def _collect_references(tree: Json, into: set[str]) -> None:
    if isinstance(tree, dict):
        if isinstance(reference := tree.get("$ref"), str):
            into.add(reference)
        for value in tree.values():
            _collect_references(value, into)
    elif isinstance(tree, list):
        for entry in tree:
            _collect_references(entry, into)


def _merged(inner: Schema, outer: Schema) -> Schema:
    """Two schemas that must both hold, as one to fill; where only one can be said, the nearer (``outer``) wins.

    A value is checked against each by itself, so that what is lost here is still asked there.
    """
    found: Schema = {**inner, **outer}
    if isinstance(a := inner.get("properties"), dict) and isinstance(b := outer.get("properties"), dict):
        found["properties"] = {**a, **{k: ({"allOf": [a[k], v]} if k in a else v) for k, v in b.items()}}
    if "required" in inner and "required" in outer:
        found["required"] = [*dict.fromkeys([*required(inner), *required(outer)])]
    for keyword in _LOWEST | _HIGHEST:
        a, b = inner.get(keyword), outer.get(keyword)
        if isinstance(a, (int, float)) and isinstance(b, (int, float)):
            found[keyword] = max(a, b) if keyword in _LOWEST else min(a, b)
    if isinstance(a := inner.get("enum"), list) and isinstance(b := outer.get("enum"), list):
        found["enum"] = [entry for entry in a if entry in b]
    return found


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
        named, listed = schema.get("type"), schema.get("enum")
        return (
            (named is None or any(_is_kind(value, kind) for kind in kinds(schema)))
            and ("const" not in schema or same(schema["const"], value))
            and (not isinstance(listed, list) or any(same(entry, value) for entry in listed))
            and self._combined(schema, value, depth)
            and self._fits(schema, value, depth)
        )

    def _combined(self, rules: Schema, value: Json, depth: int) -> bool:
        if "$ref" in rules and not self.valid(self._schemas.target(rules["$ref"]), value, depth + 1):
            return False
        if not all(self.valid(part, value, depth + 1) for part in entries(rules, "allOf")):
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
        fixed = entries(rules, "prefixItems")
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
