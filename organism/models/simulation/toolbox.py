"""The tools on offer, told apart by what they want: names are never looked at, but for ``reply``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from attrs import field, frozen

from organism.models.contract import ToolSpec
from organism.models.simulation.fields import Field
from organism.models.simulation.schemas import Schema, Schemas, branches, hint, kinds, properties, required
from organism.models.simulation.words import name_words, terms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from organism.models.simulation.documents import Json
    from organism.models.simulation.situation import Situation

Want = Literal["start", "item", "all"]
"""``start``: can be asked at once; ``item``: wants something that was found; ``all``: wants everything that was found."""


_WANTED: Final = frozenset({"array", "integer", "string"})


@frozen
class Tool:
    """A tool, read. ``fields``: what its arguments carry, those of nested objects in their place, with their rules."""

    spec: ToolSpec
    fields: tuple[tuple[Field, Schema], ...]
    vocabulary: frozenset[str] = field(factory=frozenset[str])

    @classmethod
    def of(cls, spec: ToolSpec) -> Tool:
        """Reads a tool."""
        schemas = Schemas(spec.parameters)
        said = frozenset(terms(f"{' '.join(name_words(spec.name))} {spec.description}"))
        return cls(spec, tuple(_flat(schemas, schemas.root, 0)), said)

    @property
    def name(self) -> str:
        """Its name."""
        return self.spec.name

    @property
    def needs(self) -> list[tuple[Field, bool]]:
        """The required fields that want a text or a reference, each with whether only its very name will do: a number."""
        return [
            (found, not {"string", "array"} & set(kinds(rules)))
            for found, rules in self.fields
            if found.required and found.role in {"text", "reference"}
        ]

    def want(self, situation: Situation) -> Want:
        """What must be at hand before the tool is worth calling."""
        wants: Want = "start"
        for found, rules in self.fields:
            named = kinds(rules)
            plural = "array" in named
            known = found.key in situation.given or found.key in situation.trees
            if known or not found.required or not _WANTED & set(named) or "const" in rules or "enum" in rules:
                continue
            if plural and (found.role in {"text", "reference"} or _holds_objects(rules)):
                return "all"
            if not plural and found.role in {"text", "reference"}:
                wants = "item"
        return wants


def _holds_objects(rules: Schema) -> bool:
    items = rules.get("items")
    return isinstance(items, dict) and ("$ref" in items or bool(properties(items)) or bool(branches(items)[0]))


def _flat(schemas: Schemas, schema: Json, depth: int) -> Iterator[tuple[Field, Schema]]:
    rules = schemas.resolve(schema)
    _, options = branches(rules)
    if options and not properties(rules):
        inner = next((o for o in options if properties(schemas.resolve(o))), None)
        rules = schemas.resolve(inner) if inner is not None else rules
    must = required(rules)
    for name, own in properties(rules).items():
        rule = schemas.resolve(own)
        if properties(rule) and name in must and depth < 3:
            yield from _flat(schemas, rule, depth + 1)
        else:
            yield Field.of(name, hint(rule), required=name in must), rule
