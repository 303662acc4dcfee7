"""How values stand in JSON: one form for each type that a fact may hold, made from the annotations of its attrs classes.

A form reads a value, and says in JSON Schema what stands there; :mod:`organism.journal.writers` writes it. A new field or a new
fact needs no code; only what is annotated ``Any`` has its form by the field's name, in :data:`BY_NAME`.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, Union, get_args, get_origin, get_type_hints

from attrs import NOTHING, fields, frozen, has

from organism.journal.values import MARK, Misread, PlainPayload, amount_of, is_instant, opened, payload_of
from organism.names import counted, told
from organism.quick import maker
from organism.record.facts import Ended
from organism.threads.outcomes import Failure, Warned

if TYPE_CHECKING:
    from organism.payloads import Vocabulary

Schema = dict[str, Any]


class Form(Protocol):
    """How values of one type stand in JSON."""

    def read(self, value: Any, words: Vocabulary | None) -> Any:
        """The value; raises Misread with the path of what is wrong."""
        ...

    def schema(self) -> Schema:
        """What the JSON value is, in JSON Schema."""
        ...


@frozen
class Plain:
    """A value that is the same in JSON: of exactly this class, written under ``name`` in JSON Schema."""

    cls: type
    name: str

    def read(self, value: Any, words: Vocabulary | None) -> Any:
        """As it is."""
        del words
        if type(value) is not self.cls:
            raise Misread(f"is not of type {self.name}: {told(value)}")
        return value

    def schema(self) -> Schema:
        """The type."""
        return {"type": self.name}


@frozen
class Amount:
    """A number: an int or a float as such, a Decimal as a text, so that none of its digits is lost. ``instant``: seconds since 1970,
    of an instant that a calendar has.
    """

    decimals: bool = True
    numbers: bool = True
    instant: bool = False

    def read(self, value: Any, words: Vocabulary | None) -> Any:
        """An int, a float or a Decimal."""
        del words
        found = self._number(value)
        if found is None:
            raise Misread(f"is not a number: {told(value)}")
        if self.instant and not is_instant(found):
            raise Misread(f"is not an instant, in seconds since 1970: {told(value)}")
        return found

    def _number(self, value: Any) -> int | float | Decimal | None:
        if self.decimals and isinstance(value, str):
            return amount_of(value)
        if not self.numbers or isinstance(value, bool):
            return None
        found = opened(value, None) if isinstance(value, dict) else value
        return found if isinstance(found, int | float) else None

    def schema(self) -> Schema:
        """A number, a text, or either."""
        number: list[Schema] = [{"type": "number"}, {"$ref": "#/$defs/float"}]
        text: list[Schema] = [{"$ref": "#/$defs/decimal"}]
        either = [*(number if self.numbers else ()), *(text if self.decimals else ())]
        return either[0] if len(either) == 1 else {"anyOf": either}


@frozen
class Word:
    """One of some texts."""

    words: tuple[Any, ...]

    def read(self, value: Any, words: Vocabulary | None) -> Any:
        """As it is, where it is one of them."""
        del words
        if value not in self.words:
            raise Misread(f"is none of {', '.join(map(repr, self.words))}: {told(value)}")
        return value

    def schema(self) -> Schema:
        """The words."""
        return {"enum": list(self.words)}


@frozen
class Maybe:
    """``null``, or what ``inner`` reads."""

    inner: Form

    def read(self, value: Any, words: Vocabulary | None) -> Any:
        """None for ``null``."""
        return None if value is None else self.inner.read(value, words)

    def schema(self) -> Schema:
        """Either."""
        return {"anyOf": [self.inner.schema(), {"type": "null"}]}


@frozen
class Many:
    """A tuple of any length."""

    item: Form

    def read(self, value: Any, words: Vocabulary | None) -> Any:
        """A tuple."""
        items, read, made = _instance(value, list), self.item.read, list[Any]()
        try:
            for each in items:
                made.append(read(each, words))
        except Misread as error:
            raise Misread(error.problem, path=f"[{len(made)}]{error.path}") from None
        return tuple(made)

    def schema(self) -> Schema:
        """A list."""
        return {"type": "array", "items": self.item.schema()}


@frozen
class Row:
    """A tuple of a fixed length, each place of its own type."""

    places: tuple[Form, ...]

    def read(self, value: Any, words: Vocabulary | None) -> Any:
        """A tuple."""
        if len(_instance(value, list)) != len(self.places):
            raise Misread(f"has {counted(len(value), 'item')}, and not {len(self.places)}")
        made = list[Any]()
        try:
            for form, each in zip(self.places, value, strict=True):
                made.append(form.read(each, words))
        except Misread as error:
            raise Misread(error.problem, path=f"[{len(made)}]{error.path}") from None
        return tuple(made)

    def schema(self) -> Schema:
        """A list of that length."""
        return {
            "type": "array",
            "prefixItems": [form.schema() for form in self.places],
            "minItems": len(self.places),
            "maxItems": len(self.places),
        }


@frozen
class Table:
    """A mapping from texts."""

    item: Form

    def read(self, value: Any, words: Vocabulary | None) -> Any:
        """A dict."""
        items, read, made, key = _instance(value, dict), self.item.read, dict[str, Any](), ""
        try:
            for key, each in items.items():
                made[key] = read(each, words)
        except Misread as error:
            raise Misread(error.problem, path=f".{key}{error.path}") from None
        return made

    def schema(self) -> Schema:
        """An object."""
        return {"type": "object", "additionalProperties": self.item.schema()}


@frozen
class PayloadForm:
    """A payload: its JSON document, with its XML beside it."""

    def read(self, value: Any, words: Vocabulary | None) -> Any:
        """The payload; a :class:`PlainPayload` where no class is known."""
        return payload_of(value, words)

    def schema(self) -> Schema:
        """An object with one payload."""
        return {"$ref": "#/$defs/payload"}


@frozen
class OpenForm:
    """Any value that may be kept: JSON values and payloads, numbers of every kind, tuples."""

    def read(self, value: Any, words: Vocabulary | None) -> Any:
        """The value."""
        return opened(value, words)

    def schema(self) -> Schema:
        """Anything."""
        return {}


@frozen
class Object:
    """An attrs value: an object of its fields, in their order. What is None or ``()`` by default is left out where it is."""

    cls: type

    def read(self, value: Any, words: Vocabulary | None) -> Any:
        """The value. What the class does not know, and what it lacks, is an error."""
        return _read(self.cls, _instance(value, dict), words)

    def schema(self) -> Schema:
        """Where it is defined."""
        return {"$ref": f"#/$defs/{self.cls.__name__}"}

    def definition(self, tag: str = "") -> Schema:
        """The object's own schema, with the class's name under ``tag``, where one is given."""
        known = slots(self.cls)
        tagged: Schema = {tag: {"const": self.cls.__name__}} if tag else {}
        return {
            "description": " ".join((self.cls.__doc__ or "").split()),
            "type": "object",
            "properties": {**tagged, **{slot.name: slot.form.schema() for slot in known}},
            "required": [*tagged, *(slot.name for slot in known if slot.required)],
            "additionalProperties": False,
        }


@frozen
class Tagged:
    """A value of one of several attrs classes, told by its class's name under the key ``tag``."""

    tag: str
    classes: tuple[type, ...]

    def read(self, value: Any, words: Vocabulary | None) -> Any:
        """The value; a class that is none of these is refused by name."""
        rest: dict[str, Any] = {**_instance(value, dict)}
        name = rest.pop(self.tag, None)
        cls = _by_name(self.classes).get(name) if isinstance(name, str) else None
        if cls is None:
            raise Misread(f"there is no {self.tag} {told(name)} in this format")
        return _read(cls, rest, words)

    def schema(self) -> Schema:
        """Any of them."""
        return {"oneOf": [Object(cls).schema() for cls in self.classes]}


@frozen
class AnswerForm:
    """What an ask got: a payload, or a Failure. Only a payload has its XML beside it."""

    def read(self, value: Any, words: Vocabulary | None) -> Any:
        """Either."""
        if isinstance(value, dict) and f"{MARK}xml" in value:
            return payload_of(value, words)
        return Object(Failure).read(value, words)

    def schema(self) -> Schema:
        """Either."""
        return {"oneOf": [PayloadForm().schema(), Object(Failure).schema()]}


_INSTANTS: Final = frozenset(
    {
        "again_at", "asked_at", "at", "began", "counts_at", "held_at", "opened_at", "paused_at", "since", "stands_since", "times",
    }
)  # fmt: skip
"""Floats that are instants, by the names of their fields; readers make dates of these, and count time by them."""

BY_NAME: Final[Mapping[str, Form]] = {
    "payload": PayloadForm(),
    "replies": PayloadForm(),
    "answer": AnswerForm(),
    "failure": Object(Failure),
    "records": Object(Ended),
    "warnings": Object(Warned),
    **dict.fromkeys(("used", "held", "limit", "remaining", "need", "threshold"), Amount()),
}
"""What fields hold whose type the annotations leave open; any other such field holds any value that may be kept."""

_PLAIN: Final[Mapping[Any, Form]] = {
    str: Plain(str, "string"),
    int: Plain(int, "integer"),
    bool: Plain(bool, "boolean"),
    float: Amount(decimals=False),
    Decimal: Amount(numbers=False),
}


@frozen
class Slot:
    """A field of an attrs class. ``empty`` is what it is where it was left out, if it may be."""

    name: str
    form: Form
    required: bool
    empty: Any = None


@cache
def slots(cls: Any) -> tuple[Slot, ...]:
    """The fields of an attrs class, with their forms."""
    hints = get_type_hints(cls)
    # A default that says something is written: were it left out, changing it would change what old lines say.
    return tuple(
        Slot(each.name, form_of(hints[each.name], each.name), each.default not in (None, ()), each.default)
        if each.default is not NOTHING
        else Slot(each.name, form_of(hints[each.name], each.name), required=True)
        for each in fields(cls)
    )


@frozen
class _Plan:
    """How an attrs class is read: its fields with what reads them, those that must be there, and what others are where they are left out."""

    make: Callable[..., Any]
    reads: Mapping[str, Callable[..., Any]]
    required: frozenset[str]
    empty: Mapping[str, Any]


@cache
def _plan(cls: Any) -> _Plan:
    known = slots(cls)
    return _Plan(
        maker(cls),
        {slot.name: slot.form.read for slot in known},
        frozenset(slot.name for slot in known if slot.required),
        {slot.name: slot.empty for slot in known if not slot.required},
    )


@cache
def _by_name(classes: tuple[type, ...]) -> Mapping[str, type]:
    return {cls.__name__: cls for cls in classes}


def _read(cls: Any, value: Mapping[str, Any], words: Vocabulary | None) -> Any:
    """The attrs value of an object with its fields. Every entry passes here, most of them through several such objects."""
    plan = _plan(cls)
    if not plan.reads.keys() >= value.keys():
        raise Misread(f"{cls.__name__} has no field {told(min(value.keys() - plan.reads.keys()))}")
    if not plan.required <= value.keys():
        missing = next(name for name in plan.reads if name in plan.required and name not in value)
        raise Misread(f"{cls.__name__} lacks its field '{missing}'")
    given, name = {**plan.empty}, ""
    try:
        for name, read in plan.reads.items():
            if name in value:
                given[name] = read(value[name], words)
    except Misread as error:
        raise Misread(error.problem, path=f".{name}{error.path}") from None
    return plan.make(**given)


def form_of(hint: Any, name: str) -> Form:
    """The form of an annotation, in a field of this name; raises TypeError for one that no form is known for."""
    if hint is Any:
        return BY_NAME.get(name, OpenForm())
    if hint is float and name in _INSTANTS:
        return Amount(decimals=False, instant=True)
    if hint in _PLAIN:
        return _PLAIN[hint]
    if _is_attrs(hint):
        return Object(hint)
    return _generic(hint, get_origin(hint), get_args(hint), name)


_NUMBERS: Final = frozenset({int, float, Decimal})


def _is_attrs(hint: Any) -> bool:
    cls: Any = hint if inspect.isclass(hint) else None
    return cls is not None and has(cls)


def _generic(hint: Any, origin: Any, inner: tuple[Any, ...], name: str) -> Form:
    if origin is Literal:
        return Word(inner)
    if origin is tuple and inner[-1] is Ellipsis:
        return Many(form_of(inner[0], name))
    if origin is tuple:
        return Row(tuple(form_of(each, name) for each in inner))
    if origin is Mapping and inner[0] is str:
        return Table(form_of(inner[1], name))
    if origin in (Union, types.UnionType):
        one = [each for each in inner if each is not types.NoneType]
        if len(one) == 1:
            return Maybe(form_of(one[0], name))
        if _NUMBERS.issuperset(one) or (len(one) == len(inner) and all(map(_is_attrs, one))):
            return Amount() if one[0] in _NUMBERS else Tagged(name.removesuffix("s"), tuple(one))
    raise TypeError(f"field '{name}' is annotated {hint}; the journal has no form for that type")


def _instance(value: Any, cls: type) -> Any:
    if not isinstance(value, cls):
        raise Misread(f"is not {'a list' if cls is list else 'an object'}: {told(value)}")
    return value


__all__ = ["Form", "Object", "PlainPayload", "Tagged", "form_of", "slots"]
