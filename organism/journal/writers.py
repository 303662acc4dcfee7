"""Values to JSON text: a function for each attrs class, made of source once, as :mod:`organism.journal.forms` says of its fields.

What they write is canonical: keys sorted, no blanks, floats as Python writes them. A function that walks the forms took six times
as long, and every fact passes here. What stands in most entries, and the long texts of a payload again, are written as marks
(:mod:`organism.journal.texts`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import cache, partial
from json.encoder import encode_basestring
from typing import Any, Final, TypeVar, assert_never, cast

from attrs import frozen

from organism.generated import Source
from organism.journal import forms
from organism.journal.chain import json_text
from organism.journal.literals import Literal
from organism.journal.texts import ANSWERED, NAMESPACE, PAYLOAD, ROOT, Fragment, Texts, json_of, marked, xml_of
from organism.journal.values import MARK, closed
from organism.names import told
from organism.payloads import encode_xml
from organism.payloads.definition import PerClass, describe
from organism.payloads.escapes import attribute_text
from organism.payloads.lexical import LEXIS, bytes_text, decimal_text
from organism.payloads.types import Choice, Field, FieldType, Many, Maybe, Nested, OneOf, Scalar, Table
from organism.record.facts import Answered
from organism.settings import BudgetSettings
from organism.threads.outcomes import Failure
from organism.usage import Usage

Plain = Callable[[Any], str]
"""Gives the JSON text of a value."""
Inner = Callable[[Any, Texts], str]
"""Gives the JSON text of a value, with marks for long texts."""
Writer = Callable[[Any, Texts, str], str]
"""Gives the JSON text of a value in an entry of the root thread with this id, with marks."""
_TEXT: Final = forms.Plain(str, "string")
_REF: Final = forms.Row((_TEXT, forms.Plain(int, "integer")))
_IDS: Final = frozenset({"thread", "node", "under"})
"""Fields that hold the id of a thread, where they hold a text; as the first place of a Ref does."""

string: Final[Plain] = encode_basestring
"""The JSON text of a text; raises TypeError for what is none."""
_integer: Final[Plain] = int.__repr__
_float: Final[Plain] = float.__repr__
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
    """A writer of frozen values without payloads that remembers the text of the last one: most threads have the same budget, and
    one without sub-threads has spent itself what was spent.
    """

    def __init__(self, write: Writer) -> None:
        self._write = write
        self._last: tuple[Any, str] = (None, "null")

    def __call__(self, value: Any, texts: Texts, root: str) -> str:
        """The text of this very value."""
        last = self._last
        if last[0] is not value:
            last = self._last = (value, self._write(value, texts, root))
        return last[1]


@cache
def writer(cls: type, tag: str = "") -> Writer:
    """The writer of an attrs class; with a ``tag``, its name stands under this key."""
    source = Source(f"JSON of {cls.__module__}.{cls.__qualname__}")
    made = _made(source, _object(cls, {tag: string(cls.__name__)} if tag else {}, source))
    return Last(made) if cls in {BudgetSettings, Usage} else made


def line_writer(cls: type, number: int) -> Writer:
    """The writer of a fact as the content of an entry. ``number`` is the version of the format."""
    source = Source(f"JSON of {cls.__module__}.{cls.__qualname__}")
    tagged = {"fact": string(cls.__name__), "format": str(number), "root": f'{ROOT}"'}
    return _made(source, _object(cls, tagged, source))


def _made(source: Source, lines: Sequence[str]) -> Writer:
    made: Any = source.function("p, t, r", lines)
    return cast("Writer", made)


@frozen
class _Part:
    """The value of a key: an expression for its text, or the text itself; ``out`` says when the key is left out. Where it stands behind
    all but the end of a ``fragment``, ``cut`` is the expression for the fragment's mark and the rest.
    """

    text: str
    known: bool = False
    out: str | None = None
    fragment: Fragment | None = None
    cut: str = ""


def _object(cls: type, tagged: Mapping[str, str], source: Source) -> list[str]:
    """The lines of a function that gives the JSON text of ``p``."""
    parts = {key: _Part(text, known=True) for key, text in tagged.items()}
    for slot in forms.slots(cls):
        v = f"p.{slot.name}"
        left_out = None if slot.required else f"{v} is None" if slot.empty is None else f"{v} == ()"
        # What is left out where it is None is not None where it stands.
        form = slot.form.inner if left_out == f"{v} is None" and isinstance(slot.form, forms.Maybe) else slot.form
        parts[slot.name] = _part(cls, slot.name, form, v, left_out, source)
    return _braces(parts, source)


def _part(cls: type, name: str, form: forms.Form, v: str, left_out: str | None, source: Source) -> _Part:
    if name in _IDS and form == _TEXT:
        return _Part(_id(v, source), out=left_out)
    text = _of(form, v, source)
    if left_out is None and cls is Answered and name == "handler":
        return _Part(text, fragment=ANSWERED, cut=f"{ANSWERED.mark!r} + {text}[{len(ANSWERED.end)}:]")
    if left_out is None and name == "payload" and isinstance(form, forms.PayloadForm):
        return _Part(text, fragment=PAYLOAD, cut=f"{source.constant(_payload_behind)}({v}, t)")
    return _Part(text, out=left_out)


def _braces(parts: Mapping[str, _Part], source: Source) -> list[str]:
    """The lines that return an object with these keys, sorted."""
    keys = sorted(parts)
    first = next((key for key in keys if parts[key].out is None), None)
    if first is None:
        pieces = [f"('' if {parts[key].out} else {_key(key)!r} + {parts[key].text} + ',')" for key in keys]
        return [f"return '{{' + ''.join(({''.join(piece + ', ' for piece in pieces)}))[:-1] + '}}'"]
    text, behind = Literal("{", source), False
    for key in keys:
        part = parts[key]
        before, after = (",", "") if behind else ("", "," if key != first else "")
        if part.out is not None:
            text.put(f"('' if {part.out} else {before + _key(key)!r} + {part.text}{f' + {after!r}' if after else ''})")
        else:
            text.say(before + _key(key))
            if part.known:
                text.say(part.text)
            elif part.fragment is not None and text.ends_with(part.fragment.start):
                text.put(part.cut)
            else:
                text.put(part.text)
            text.say(after)
        behind = behind or key == first
    text.say("}")
    return text.lines()


# Each of these gives an expression for the JSON text of the value that the expression ``v`` has.


def _key(name: str) -> str:
    return f"{string(name)}:"


def _id(v: str, source: Source) -> str:
    """The id of a thread: nearly always that of the root thread."""
    return f"({ROOT + chr(34)!r} if {v} == r else {source.constant(_other_id)}({v}, r))"


def _other_id(text: str, root: str) -> str:
    if text.startswith(root):
        return ROOT + string(text[len(root) :])[1:]
    return string(text)


def _int(v: str, source: Source) -> str:
    """Calls nothing where it is an int, as it always is; of another class it is told that it is none."""
    return f'(f"{{{v}}}" if {v}.__class__ is int else {source.constant(_integer)}({v}))'


def _by_class(tag: str, classes: Sequence[type]) -> ByClass[Writer]:
    return ByClass(lambda cls: writer(cls, tag), classes)


def _list_writer(tag: str, classes: Sequence[type]) -> Writer:
    """A loop: most facts have one step or two, and a comprehension is a function more."""
    some = _by_class(tag, classes)

    def write(values: Any, texts: Texts, root: str) -> str:
        if len(values) == 1:
            (value,) = values
            return f"[{some[value.__class__](value, texts, root)}]"
        parts: list[str] = []
        for value in values:
            parts.append(some[value.__class__](value, texts, root))  # noqa: PERF401 - see above
        return f"[{','.join(parts)}]"

    return write


def _place(row: forms.Row, number: int, form: forms.Form, v: str, source: Source) -> str:
    place = f"{v}[{number}]"
    return _id(place, source) if row == _REF and not number else _of(form, place, source)


def _of(form: forms.Form, v: str, source: Source) -> str:  # noqa: C901, PLR0911, PLR0912 - a case for each form
    match form:
        case forms.Plain(cls=cls):
            if cls is bool:
                return f"('true' if {v} else 'false')"
            return f"{source.constant(string)}({v})" if cls is str else _int(v, source)
        case forms.Maybe(inner=inner):
            return f"('null' if {v} is None else {_of(inner, v, source)})"
        case forms.Many(item=forms.Tagged(tag=tag, classes=classes)):
            return f"{source.constant(_list_writer(tag, classes))}({v}, t, r)"
        case forms.Many(item=item):
            each = source.variable()
            return f"('[' + ','.join([{_of(item, each, source)} for {each} in {v}]) + ']' if {v} else '[]')"
        case forms.Row(places=places):
            items = [_place(form, number, place, v, source) for number, place in enumerate(places)]
            return f"({'[' + ','.join(['%s'] * len(items)) + ']'!r} % ({', '.join(items)},))"
        case forms.Table(item=item):
            key, each = source.variable(), source.variable()
            pair = f"{source.constant(string)}({key}) + ':' + {_of(item, each, source)}"
            return f"('{{' + ','.join([{pair} for {key}, {each} in sorted({v}.items())]) + '}}' if {v} else '{{}}')"
        case forms.Object(cls=cls):
            # Asked for when it is needed: a class may hold itself.
            return f"{source.constant(writer)}({source.constant(cls)})({v}, t, r)"
        case forms.Tagged(tag=tag, classes=classes):
            return f"{source.constant(_by_class(tag, classes))}[{v}.__class__]({v}, t, r)"
        case forms.Word(words=words):
            return f"{source.constant({word: json_text(word) for word in words})}[{v}]"
        case forms.AnswerForm():
            return f"{source.constant(answer_text)}({v}, t, r)"
        case forms.Amount(decimals=False):
            # Of what is not finite the difference is no number.
            finite = f"{v}.__class__ is float and {v} - {v} == 0.0"
            return f"({source.constant(_float)}({v}) if {finite} else {source.constant(number_text)}({v}, t))"
        case _:
            return f"{source.constant(_FUNCTIONS[type(form)])}({v}, t)"


def number_text(value: Any, _: Texts) -> str:
    """A number; a Decimal as a text, so that none of its digits is lost, and an object for what JSON has no number for."""
    if isinstance(value, float):
        text = _float(value)
        return f'{{"{MARK}float":"{text}"}}' if text[-1] in "fn" else text  # inf and nan: only they end in a letter
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, Decimal):
        return f'"{value}"'
    raise TypeError(f"{told(value)} is not a number")


def payload_text(value: Any, texts: Texts) -> str:
    """``{"$xml":"<Greeting ...","Greeting":{"name":"Ada"}}``; raises PayloadError for what is no payload."""
    if isinstance(value, forms.PlainPayload):
        inside = f"{string(value.name)}:{json_text(value.fields)}"
        return marked(f'{{"{MARK}xml":{string(value.xml)},{inside}}}', texts)
    return _payload_writer(value.__class__)(value, texts)


def _payload_behind(value: Any, texts: Texts) -> str:
    """A payload behind its key, with the mark for both."""
    if value.__class__ is forms.PlainPayload:
        text = payload_text(value, texts)
        known = text.startswith(PAYLOAD.end)
        return PAYLOAD.mark + text.removeprefix(PAYLOAD.end) if known else PAYLOAD.start + text
    return _behind_writer(value.__class__)(value, texts)


def answer_text(value: Any, texts: Texts, root: str) -> str:
    """A payload, or a Failure."""
    return writer(Failure)(value, texts, root) if isinstance(value, Failure) else payload_text(value, texts)


def open_text(value: Any, texts: Texts) -> str:
    """Any value that may be kept."""
    return marked(json_text(closed(value)), texts)


_FUNCTIONS: Final[Mapping[Any, Inner]] = {
    forms.Amount: number_text,
    forms.PayloadForm: payload_text,
    forms.OpenForm: open_text,
}


# Payloads: their XML, and what encode_fields gives, as text.


def _with_xml(cls: type, begin: str) -> Inner:
    """The writer of a payload with its XML, with ``begin`` for :data:`PAYLOAD` or its end. A class has a name that begins with a letter or an
    underscore: it sorts behind the mark.
    """
    source = Source(f"JSON with XML of {cls.__module__}.{cls.__qualname__}")
    text = Literal(begin, source)
    if not _flat_xml(cls, text, source):
        text = Literal(begin, source)
        text.put(f"{source.constant(_nested_xml)}(p, t)")
    text.say(f",{string(cls.__name__)}:")
    text.put(f"{source.constant(_fields_writer(cls))}(p, t)")
    text.say("}")
    made: Any = source.function("p, t", text.lines())
    return cast("Inner", made)


_payload_writer: Final = PerClass(partial(_with_xml, begin=PAYLOAD.end))
_behind_writer: Final = PerClass(partial(_with_xml, begin=PAYLOAD.mark))


def _nested_xml(value: Any, texts: Texts) -> str:
    text = marked(string(encode_xml(value).decode()), texts)
    return text[len('"<') :].replace(NAMESPACE.end, NAMESPACE.mark, 1)


def _flat_xml(cls: type, into: Literal, source: Source) -> bool:
    """Adds the XML, as a JSON text, of a payload that holds scalars only: most do, and to write it in one go takes half as long.
    False for another.
    """
    described = describe(cls)
    opening = f'<{described.name} xmlns="{attribute_text(described.namespace)}">'
    into.say(_raw(opening).removeprefix("<").replace(NAMESPACE.end, NAMESPACE.mark, 1))
    for field in described.fields:
        scalar = field.written
        if not isinstance(scalar, Scalar):
            return False
        v = f"p.{field.attribute}"
        text = (
            f"{source.constant(xml_of)}({v}, t)"
            if scalar is Scalar.TEXT
            else f"{source.constant(LEXIS[scalar].write)}({v})"
        )
        before, after = f"<{field.name}>", f"</{field.name}>"
        if field.absent_is_none:
            into.put(f"('' if {v} is None else {before!r} + {text} + {after!r})")
        else:
            into.say(before)
            into.put(text)
            into.say(after)
    into.say(f'</{described.name}>"')
    return True


def _raw(text: str) -> str:
    """As it stands in a JSON text."""
    return string(text)[1:-1]


@PerClass
def _fields_writer(cls: type) -> Inner:
    source = Source(f"JSON of {cls.__module__}.{cls.__qualname__}")
    parts = {field.name: _field(field, source) for field in describe(cls).fields}
    made: Any = source.function("p, t", _braces(parts, source) if parts else ["return '{}'"])
    return cast("Inner", made)


def _field(field: Field, source: Source) -> _Part:
    v = f"p.{field.attribute}"
    return _Part(_payload_value(field.written, v, source), out=f"{v} is None" if field.absent_is_none else None)


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
            return _int(v, source)
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
