"""Values to JSON text: a function for each attrs class, made of source once, as :mod:`organism.journal.forms` says of its fields.

What they write is canonical: keys sorted, no blanks, floats as Python writes them. A function that walks the forms took six times
as long, and every fact passes here. The long texts of a payload are written once (:mod:`organism.journal.texts`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import cache
from json.encoder import encode_basestring
from typing import Any, Final, TypeVar, assert_never, cast

from organism.frames import Failure
from organism.journal import forms
from organism.journal.texts import Texts, json_of, marked, xml_of
from organism.journal.values import MARK, closed
from organism.payloads import encode_xml
from organism.payloads.definition import PerClass, describe
from organism.payloads.escapes import attribute_text
from organism.payloads.generated import Source
from organism.payloads.lexical import LEXIS, bytes_text, decimal_text
from organism.payloads.types import Choice, Field, FieldType, Many, Maybe, Nested, OneOf, Scalar, Table, present
from organism.settings import BudgetSettings

Plain = Callable[[Any], str]
"""Gives the JSON text of a value."""
Writer = Callable[[Any, Texts], str]
"""Gives the JSON text of a value, with marks for long texts."""

string: Final[Plain] = encode_basestring
"""The JSON text of a text; raises TypeError for what is none."""
_integer: Final[Plain] = int.__repr__
_float: Final[Plain] = float.__repr__
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
json_text: Final[Plain] = _ENCODER.encode
"""The canonical text of any JSON value; raises TypeError or ValueError for what is none."""


W = TypeVar("W")


class ByClass(dict[type, W]):
    """The writers of some classes, each made when it is first asked for."""

    def __init__(self, make: Callable[[type], W], classes: Sequence[type]) -> None:
        super().__init__()
        self._make = make
        self._classes = classes

    def __missing__(self, cls: type) -> W:
        if cls not in self._classes:
            raise TypeError(f"{cls.__name__} is none of {', '.join(each.__name__ for each in self._classes)}")
        made = self[cls] = self._make(cls)
        return made


class Last:
    """A writer of frozen values without payloads that remembers the text of the last one: most threads have the same budget."""

    def __init__(self, write: Writer) -> None:
        self._write = write
        self._last: tuple[Any, str] = (None, "null")

    def __call__(self, value: Any, texts: Texts) -> str:
        """The text of this very value."""
        last = self._last
        if last[0] is not value:
            last = self._last = (value, self._write(value, texts))
        return last[1]


@cache
def writer(cls: type, tag: str = "") -> Writer:
    """The writer of an attrs class; with a ``tag``, its name stands under this key."""
    source = Source(f"JSON of {cls.__module__}.{cls.__qualname__}")
    tagged = {tag: repr(string(cls.__name__))} if tag else {}
    made: Any = source.function("p, t", [f"return {_object(cls, tagged, source)}"])
    return Last(made) if cls is BudgetSettings else made


def line_writer(cls: type, number: int) -> Callable[[Any, Texts, str], str]:
    """The writer of a fact: of its own, and of the JSON text of its root thread's id. ``number`` is the version of the format."""
    source = Source(f"JSON of {cls.__module__}.{cls.__qualname__}")
    tagged = {"fact": repr(string(cls.__name__)), "format": repr(str(number)), "root": "root"}
    made: Any = source.function("p, t, root", [f"return {_object(cls, tagged, source)}"])
    return cast("Callable[[Any, Texts, str], str]", made)


# Each of these gives an expression for the JSON text of the value that the expression ``v`` has.


def _object(cls: type, tagged: Mapping[str, str], source: Source) -> str:
    known = {slot.name: slot for slot in forms.slots(cls)}
    parts: dict[str, tuple[str, str | None]] = {key: (text, None) for key, text in tagged.items()}
    for name, slot in known.items():
        v = f"p.{name}"
        left_out = None if slot.required else f"{v} is None" if slot.empty is None else f"{v} == ()"
        parts[name] = (_of(slot.form, v, source), left_out)
    return _braces(parts)


def _braces(parts: Mapping[str, tuple[str, str | None]]) -> str:
    """An object with these keys, sorted: for each the expression of its value, and of when it is left out."""
    keys = sorted(parts)
    first = next((key for key in keys if parts[key][1] is None), None)
    if first is None:
        pieces = [f"('' if {out} else {_key(key)!r} + {text} + ',')" for key in keys for text, out in [parts[key]]]
        return f"'{{' + ''.join(({''.join(piece + ', ' for piece in pieces)}))[:-1] + '}}'"
    template, values, behind = "{", list[str](), False
    for key in keys:
        text, left_out = parts[key]
        before, after = (",", "") if behind else ("", "," if key != first else "")
        if left_out is None:
            template += before.replace("%", "%%") + _key(key).replace("%", "%%") + "%s" + after
            values.append(text)
        else:
            template += "%s"
            values.append(f"('' if {left_out} else {before + _key(key)!r} + {text} + {after!r})")
        behind = behind or key == first
    return f"({template + '}'!r} % ({', '.join(values)},))"


def _key(name: str) -> str:
    return f"{string(name)}:"


def _of(form: forms.Form, v: str, source: Source) -> str:  # noqa: PLR0911 - a case for each form
    match form:
        case forms.Plain(cls=cls):
            if cls is bool:
                return f"('true' if {v} else 'false')"
            return f"{source.constant(string if cls is str else _integer)}({v})"
        case forms.Maybe(inner=inner):
            return f"('null' if {v} is None else {_of(inner, v, source)})"
        case forms.Many(item=item):
            each = source.variable()
            return f"('[' + ','.join([{_of(item, each, source)} for {each} in {v}]) + ']' if {v} else '[]')"
        case forms.Row(places=places):
            items = [_of(place, f"{v}[{number}]", source) for number, place in enumerate(places)]
            return f"({'[' + ','.join(['%s'] * len(items)) + ']'!r} % ({', '.join(items)},))"
        case forms.Table(item=item):
            key, each = source.variable(), source.variable()
            pair = f"{source.constant(string)}({key}) + ':' + {_of(item, each, source)}"
            return f"('{{' + ','.join([{pair} for {key}, {each} in sorted({v}.items())]) + '}}' if {v} else '{{}}')"
        case forms.Object(cls=cls):
            # Asked for when it is needed: a class may hold itself.
            return f"{source.constant(writer)}({source.constant(cls)})({v}, t)"
        case forms.Tagged(tag=tag, classes=classes):
            some = ByClass(lambda cls: writer(cls, tag), classes)
            return f"{source.constant(some)}[{v}.__class__]({v}, t)"
        case forms.Word(words=words):
            return f"{source.constant({word: json_text(word) for word in words})}[{v}]"
        case _:
            return f"{source.constant(_FUNCTIONS[type(form)])}({v}, t)"


def number_text(value: Any, _: Texts) -> str:
    """A number; a Decimal as a text, so that none of its digits is lost, and an object for what JSON has no number for."""
    if isinstance(value, float):
        return _float(value) if math.isfinite(value) else f'{{"{MARK}float":"{value!r}"}}'
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, Decimal):
        return f'"{value}"'
    raise TypeError(f"{value!r:.80} is no number")


def payload_text(value: Any, texts: Texts) -> str:
    """``{"$xml":"<Greeting ...","Greeting":{"name":"Ada"}}``; raises PayloadError for what is no payload."""
    if isinstance(value, forms.PlainPayload):
        inside = f"{string(value.name)}:{json_text(value.fields)}"
        return marked(f'{{"{MARK}xml":{string(value.xml)},{inside}}}', texts)
    return _payload_writer(value.__class__)(value, texts)


def answer_text(value: Any, texts: Texts) -> str:
    """A payload, or a Failure."""
    return writer(Failure)(value, texts) if isinstance(value, Failure) else payload_text(value, texts)


def open_text(value: Any, texts: Texts) -> str:
    """Any value that may be kept."""
    return marked(json_text(closed(value)), texts)


_FUNCTIONS: Final[Mapping[Any, Writer]] = {
    forms.Amount: number_text,
    forms.PayloadForm: payload_text,
    forms.AnswerForm: answer_text,
    forms.OpenForm: open_text,
}


# Payloads: their XML, and what encode_fields gives, as text.


@PerClass
def _payload_writer(cls: type) -> Writer:
    """The writer of a payload with its XML. A class has a name that begins with a letter or an underscore: behind the mark."""
    source = Source(f"JSON with XML of {cls.__module__}.{cls.__qualname__}")
    opening, between = f'{{"{MARK}xml":', f",{string(cls.__name__)}:"
    xml = _flat_xml(cls, source) or f"{source.constant(_nested_xml)}(p, t)"
    fields = f"{source.constant(_fields_writer(cls))}(p, t)"
    made: Any = source.function("p, t", [f"return {opening!r} + {xml} + {between!r} + {fields} + '}}'"])
    return cast("Writer", made)


def _nested_xml(value: Any, texts: Texts) -> str:
    return marked(string(encode_xml(value).decode()), texts)


def _flat_xml(cls: type, source: Source) -> str | None:
    """The expression for the XML as a JSON text of a payload that holds scalars only: most do, and to write it in one go takes
    half as long. ``None`` for another.
    """
    described = describe(cls)
    opening = f'<{described.name} xmlns="{attribute_text(described.namespace)}">'
    template, values = _raw(opening), list[str]()
    for field in described.fields:
        scalar = present(field.type) if field.absent_is_none else field.type
        if not isinstance(scalar, Scalar):
            return None
        v = f"p.{field.attribute}"
        text = (
            f"{source.constant(xml_of)}({v}, t)"
            if scalar is Scalar.TEXT
            else f"{source.constant(LEXIS[scalar].write)}({v})"
        )
        before, after = f"<{field.name}>", f"</{field.name}>"
        if field.absent_is_none:
            template += "%s"
            values.append(f"('' if {v} is None else {before!r} + {text} + {after!r})")
        else:
            template += f"{before}%s{after}"
            values.append(text)
    quoted = f'"{template}</{described.name}>"'
    return f"({quoted!r} % ({''.join(value + ', ' for value in values)}))"


def _raw(text: str) -> str:
    """As it stands in a JSON text within a template."""
    return string(text)[1:-1].replace("%", "%%")


@PerClass
def _fields_writer(cls: type) -> Writer:
    source = Source(f"JSON of {cls.__module__}.{cls.__qualname__}")
    parts = {field.name: _field(field, source) for field in describe(cls).fields}
    made: Any = source.function("p, t", [f"return {_braces(parts) if parts else repr('{}')}"])
    return cast("Writer", made)


def _field(field: Field, source: Source) -> tuple[str, str | None]:
    v = f"p.{field.attribute}"
    return _payload_value(field.type, v, source), f"{v} is None" if field.absent_is_none else None


def _payload_value(type_: FieldType, v: str, source: Source) -> str:  # noqa: PLR0911 - a case for each type
    match type_:
        case Scalar():
            return _scalar(type_, v, source)
        case Choice(options=options, enum=enum):
            texts: dict[tuple[type, Any], str] = {
                (type(one), one): string(text) if enum else json_text(one) for text, one in options
            }
            return f"{source.constant(texts)}[type({v}), {v}]"
        case Nested(cls=cls):
            return f"{source.constant(_fields_writer)}({source.constant(cls)})({v}, t)"
        case OneOf():
            return f"{source.constant(_one_of)}({v}, t)"
        case Many(item=item):
            each = source.variable()
            return f"('[' + ','.join([{_payload_value(item, each, source)} for {each} in {v}]) + ']')"
        case Table(value=value):
            key, each = source.variable(), source.variable()
            pair = f"{source.constant(string)}({key}) + ':' + {_payload_value(value, each, source)}"
            return f"('{{' + ','.join([{pair} for {key}, {each} in sorted({v}.items())]) + '}}')"
        case Maybe(inner=inner):
            return f"('null' if {v} is None else {_payload_value(inner, v, source)})"
        case _:
            assert_never(type_)


def _scalar(type_: Scalar, v: str, source: Source) -> str:  # noqa: PLR0911 - a case for each type
    match type_:
        case Scalar.TEXT:
            return f"{source.constant(json_of)}({v}, t)"
        case Scalar.INTEGER:
            return f"{source.constant(_integer)}({v})"
        case Scalar.FLOAT:
            return f"{source.constant(_float)}({v})"
        case Scalar.BOOLEAN:
            return f"('true' if {v} else 'false')"
        case Scalar.DECIMAL:
            return f"'\"' + {source.constant(decimal_text)}({v}) + '\"'"
        case Scalar.DATETIME:
            return f"'\"' + {v}.isoformat() + '\"'"
        case Scalar.BYTES:
            return f"'\"' + {source.constant(bytes_text)}({v}) + '\"'"
        case _:
            assert_never(type_)


def _one_of(value: Any, texts: Texts) -> str:
    cls: type = value.__class__
    return f"{{{string(cls.__name__)}:{_fields_writer(cls)(value, texts)}}}"


__all__ = [
    "ByClass",
    "answer_text",
    "json_text",
    "line_writer",
    "number_text",
    "open_text",
    "payload_text",
    "string",
    "writer",
]
