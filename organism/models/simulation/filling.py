"""Values for a JSON Schema: filled from evidence wherever it speaks, plain elsewhere, and valid in every case."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from attrs import evolve, frozen

from organism.models.simulation.defaults import fitted, scalar
from organism.models.simulation.documents import Json
from organism.models.simulation.evidence import Evidence
from organism.models.simulation.fields import Field
from organism.models.simulation.schemas import (
    ENDLESS,
    Checker,
    Schemas,
    branches,
    entries,
    hint,
    kinds,
    properties,
    required,
    same,
    whole,
)
from organism.models.simulation.words import shortened, singular

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from organism.models.simulation.schemas import Schema
    from organism.models.simulation.style import Dice

_DEEP: Final = 6
"""Below this level only what must be there is written."""
_STEPS: Final = 2_000
"""After so many places only what must be there is written, so that no schema takes long."""
_LONG: Final = 2_000
"""A pattern is only tried on texts up to this length: a bad one may take exponential time."""
_MAPPED: Final = 5


@frozen
class Made:
    """A value and how many of its places were filled from evidence."""

    value: Json
    grounded: int = 0


@frozen
class _Place:
    """Where a value goes: the field, what it is filled from, and below how many others it stands."""

    field: Field
    evidence: Evidence
    depth: int = 0

    def inside(self, field: Field | None = None, evidence: Evidence | None = None) -> _Place:
        """A place within it."""
        return _Place(field or self.field, evidence or self.evidence, self.depth + 1)


class Filler:
    """Fills one schema. ``attempt`` above 0 makes other free choices, after earlier ones were not accepted."""

    def __init__(self, root: Mapping[str, object], evidence: Evidence, dice: Dice, attempt: int = 0) -> None:
        self._schemas = Schemas(root)
        self._checker = Checker(self._schemas)
        self._evidence = evidence
        self._dice = dice
        self._attempt = attempt
        self._steps = 0

    def fill(self, field: Field) -> Made:
        """A value for the root schema. It is valid where one can be found at all."""
        return self._make(self._schemas.root, _Place(field, self._evidence))

    def _make(self, schema: Json, at: _Place) -> Made:
        self._steps += 1
        rules = self._schemas.resolve(schema)
        if "const" in rules:
            return Made(rules["const"])
        if named := entries(rules, "enum"):
            return self._choose(schema, named, rules, at)
        keyword, options = branches(rules)
        if keyword:
            return self._branch(schema, rules, keyword, options, at)
        wanted = kinds(rules) or ["string"]
        if self._minimal(at) and "null" in wanted:
            return Made(None)
        found = [self._typed(schema, rules, kind, at) for kind in wanted if kind != "null"]
        fitting = [made for made in found if self._checker.valid(schema, made.value)]
        if "null" in wanted and not any(made.grounded for made in fitting):
            return Made(None)
        return max(fitting or found or [Made(None)], key=lambda made: made.grounded)

    def _minimal(self, at: _Place) -> bool:
        return at.depth >= _DEEP or self._steps > _STEPS

    def _choose(self, schema: Json, listed: Sequence[Json], rules: Schema, at: _Place) -> Made:
        fitting = [option for option in listed if self._checker.valid(schema, option)] or list(listed)
        named = at.evidence.choice(fitting, at.field)
        if not self._attempt:
            if named is not None:
                return Made(named, 1)
            if None in fitting:
                return Made(None)
            if "default" in rules and rules["default"] in fitting:
                return Made(rules["default"])
        start = fitting.index(self._dice.pick(f"enum {at.field.name}", fitting))
        return Made(fitting[(start + self._attempt) % len(fitting)])

    def _branch(self, schema: Json, rules: Schema, keyword: str, options: Sequence[Json], at: _Place) -> Made:
        """The alternative that evidence speaks for most; where it is silent ``null``, else the first that is valid."""
        outer = {key: value for key, value in rules.items() if key != keyword}
        whole_options: list[Json] = [{"allOf": [option, outer]} if outer else option for option in options]
        ending = [option for option in whole_options if self._schemas.height(option) < ENDLESS] or whole_options
        if self._minimal(at):
            ending = [min(ending, key=self._schemas.height)]
        made: list[Made] = []
        told = at.evidence.told
        for option in ending:
            at.evidence.told = told  # only one of them will be written
            made.append(self._make(option, at.inside()))
        fitting = [one for one in made if self._checker.valid(schema, one.value)] or made
        ranked = sorted(fitting, key=lambda one: -one.grounded)
        empty = [one for one in fitting if one.value is None]
        if empty and not ranked[0].grounded:
            return empty[0]
        said = [one for one in ranked if one.value is not None] or ranked
        return said[self._attempt % len(said)]

    def _typed(self, schema: Json, rules: Schema, kind: str, at: _Place) -> Made:
        """A value of one JSON type."""
        if not self._minimal(at):
            for candidate in at.evidence.grounded(at.field, kind):
                shaped = self._shaped(candidate, kind, rules)
                if shaped is not None and self._fits(schema, rules, shaped):
                    return Made(shaped, 1)
        if kind == "object":
            return self._object(rules, at)
        if kind == "array":
            return self._array(rules, at)
        for stated in (rules.get("default"), *entries(rules, "examples")):
            if stated is not None and self._checker.valid(schema, stated) and not self._attempt:
                return Made(stated)
        known = " ".join(at.evidence.situation.said)
        words = "" if self._minimal(at) and whole(rules, "minLength", 0) == 0 else at.evidence.words(at.field)
        plain = [value for value in scalar(rules, kind, words, known) if self._fits(schema, rules, value)]
        return Made(plain[0]) if plain else Made(fitted(words, rules) if kind == "string" else 0)

    def _fits(self, schema: Json, rules: Schema, value: Json) -> bool:
        if isinstance(value, str) and "pattern" in rules and (len(value) > _LONG or value.endswith("\n")):
            return False
        return self._checker.valid(schema, value)

    def _shaped(self, candidate: Json, kind: str, rules: Schema) -> Json:
        """A candidate turned into a JSON type, or ``None`` where it cannot be."""
        match kind:
            case "string" if isinstance(candidate, (str, int, float)) and not isinstance(candidate, bool):
                text = str(candidate)
                exact = "pattern" in rules or ("format" in rules and "contentEncoding" not in rules)
                return text if exact else fitted(text, rules)
            case "integer" | "number":
                return _number(candidate, kind)
            case "boolean":
                return candidate if isinstance(candidate, bool) else {"true": True, "false": False}.get(str(candidate))
            case "array" if isinstance(candidate, list):
                return self._trimmed(candidate, rules) or (None if candidate else [])
            case "object" if isinstance(candidate, dict):
                return candidate
            case _:
                return None

    def _trimmed(self, given: Sequence[Json], rules: Schema) -> list[Json]:
        """The entries that fit, turned into the type of the items, no more than are allowed."""
        items = self._schemas.resolve(rules.get("items", True))
        wanted = kinds(items)
        most = min(whole(rules, "maxItems", 64), 64)
        found: list[Json] = []
        for entry in given:
            shaped = next((s for kind in wanted if (s := self._shaped(entry, kind, items)) is not None), entry)
            if rules.get("uniqueItems") is True and any(same(shaped, other) for other in found):
                continue
            if len(found) < most and self._fits(rules.get("items", True), items, shaped):
                found.append(shaped)
        return found

    def _object(self, rules: Schema, at: _Place) -> Made:
        made: dict[str, Json] = {}
        grounded = 0
        must = required(rules)
        optional = at.evidence.brief.optional and not self._minimal(at)
        for name in dict.fromkeys([*properties(rules), *must]):
            if name not in must and not optional:
                continue
            rule = self._schemas_for(rules, name)
            inner = Field.of(name, hint(self._schemas.resolve(rule)), required=name in must)
            one = self._make(rule, at.inside(inner))
            if name in must or one.grounded:
                made[name] = one.value
                grounded += one.grounded
        missing = whole(rules, "minProperties", 0) - len(made)
        if missing > 0 or (not properties(rules) and not self._minimal(at)):
            grounded += self._map(rules, at, made)
        return Made(made, grounded)

    def _schemas_for(self, rules: Schema, name: str) -> Json:
        found = self._checker.rules_for(rules, name)
        return found[0] if len(found) == 1 else {"allOf": found}

    def _map(self, rules: Schema, at: _Place, made: dict[str, Json]) -> int:
        """Adds free keys: a text for each source where the values are texts, and as many more as must be there."""
        grounded = 0
        least, evidence = whole(rules, "minProperties", 0), at.evidence
        for sentence in evidence.sentences[: min(evidence.brief.entries, _MAPPED)] if evidence.answering else ():
            key = sentence.source
            rule = self._schemas_for(rules, key)
            text = shortened(sentence.text, max(1, evidence.brief.characters))
            fits = kinds(self._schemas.resolve(rule)) == ["string"] and self._checker.valid(rule, text)
            if key and key not in made and fits and self._checker.valid(rules.get("propertyNames", True), key):
                made[key] = text
                grounded += 1
        names = [name for name in properties(rules) if name not in made]
        number = 0
        while len(made) < least and number < 1000:
            number += 1
            name = names.pop(0) if names else self._key(rules, number)
            if name not in made:
                made[name] = self._make(self._schemas_for(rules, name), at.inside()).value
        return grounded

    def _key(self, rules: Schema, number: int) -> str:
        named = self._schemas.resolve(rules.get("propertyNames", True))
        options = [t for t in scalar(named, "string", f"key{number}", "") if self._checker.valid(named, t)]
        return str(options[(number - 1) % len(options)]) if options else f"key{number}"

    def _array(self, rules: Schema, at: _Place) -> Made:
        made: list[Json] = []
        grounded = 0
        inner = at.inside(Field.of(singular(at.field.name), at.field.hint))
        for rule in entries(rules, "prefixItems"):
            one = self._make(rule, inner)
            made.append(one.value)
            grounded += one.grounded
        items = rules.get("items", True)
        shape = self._schemas.resolve(items)
        found = at.evidence.entries(properties(shape)) if properties(shape) and not self._minimal(at) else []
        for one_of_them in found[: max(0, whole(rules, "maxItems", 64) - len(made))]:
            one = self._make(items, evolve(inner, evidence=one_of_them))
            if one.grounded and self._checker.valid(items, one.value) and not any(same(one.value, m) for m in made):
                made.append(one.value)
                grounded += one.grounded
        while len(made) < whole(rules, "minItems", 0):
            made.append(self._another(items, shape, inner, made, unique=rules.get("uniqueItems") is True))
        return Made(made, grounded)

    def _another(self, items: Json, shape: Schema, at: _Place, made: Sequence[Json], *, unique: bool) -> Json:
        one = self._make(items, at).value
        if not unique or not any(same(one, other) for other in made):
            return one
        options = list(entries(shape, "enum"))
        for kind in kinds(shape):
            options.extend(scalar(shape, kind, f"{at.field.name} {len(made) + 1}", ""))
            options.extend(range(len(made) + 2) if kind in {"integer", "number"} else ())
        return next((o for o in options if self._fits(items, shape, o) and not any(same(o, m) for m in made)), one)


def _number(candidate: Json, kind: str) -> Json:
    """A number or numeric text as a number of a JSON type; one that is no whole number must be what a float can hold."""
    if isinstance(candidate, bool) or not isinstance(candidate, (int, float, str)):
        return None
    try:
        plain = isinstance(candidate, int) or (isinstance(candidate, str) and candidate.strip().isdecimal())
        whole = int(candidate) if plain else None
        if whole is not None and kind == "integer":
            return whole
        found = float(candidate)
    except (OverflowError, ValueError):
        return None
    if not math.isfinite(found):
        return None
    if kind == "integer":
        return int(found) if found.is_integer() else None
    return found if whole is None else whole
