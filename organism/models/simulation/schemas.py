"""JSON Schema as a shape to fill: references followed, ``allOf`` merged, how deep the smallest value is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from organism.models.simulation.documents import Json, plain

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    if isinstance(named, str):
        return [named]
    if isinstance(named, list):
        return [kind for kind in named if isinstance(kind, str)]
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
    found = schema.get("required")
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def hint(schema: Schema) -> str:
    """What a schema's description says; empty where it has none."""
    found = schema.get("description")
    return found if isinstance(found, str) else ""


def branches(schema: Schema) -> tuple[str, list[Json]]:
    """``anyOf`` or ``oneOf`` and its entries; nothing where a schema has neither."""
    for keyword in ("oneOf", "anyOf"):
        found = schema.get(keyword)
        if isinstance(found, list) and found:
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
        parts = schema.get("allOf")
        if isinstance(parts, list):
            own = max([own, *(self.height(part, depth + 1) for part in parts)])
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
