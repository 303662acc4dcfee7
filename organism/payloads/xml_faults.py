"""What is wrong with an XML document, in words for its author: asked only after the XSD has refused it.

It finds a fault exactly where the XSD does (the tests hold the two against each other), and says all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from attrs import frozen

from organism.payloads.definition import describe
from organism.payloads.escapes import hidden, revealed
from organism.payloads.faults import MISSING, Fault, Misfit, expected, shown, unknown_field
from organism.payloads.lexical import LEXIS, SPACE, collapsed
from organism.payloads.normal import normaliser
from organism.payloads.types import (
    Choice,
    FieldType,
    Many,
    Maybe,
    Nested,
    OneOf,
    PayloadType,
    Scalar,
    Table,
    present,
    slot_names,
    spelled,
)
from organism.payloads.xml_tree import local, namespace
from organism.payloads.xsd import ENTRY, ITEM, KEY, is_token

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

Faults = Iterator[Fault]

_SHOWN: Final = 64
"""Characters of a name that are shown."""


def faults_of(root: Element, cls: type) -> Faults:
    """The faults of a document whose root is named like the class. Lazy: looks no further than is asked for."""
    yield from _attributes(root, cls.__name__, keyed=False)
    yield from _Walk(namespace(root.tag)).payload(root, describe(cls), cls.__name__)


@frozen
class _Walk:
    """A walk through one document, all of whose elements must be in ``namespace`` (empty: in none)."""

    namespace: str

    def payload(self, element: Element, described: PayloadType, path: str) -> Faults:
        """The faults of an element that holds the fields of a payload."""
        yield from _stray_text(element, path, empty=not described.fields)
        places = {
            name: place
            for place, field in enumerate(described.fields)
            for name in slot_names(field.name, field.written)
        }
        seen: set[int] = set()
        last, in_order = -1, True
        for child in element:
            name = local(child.tag)
            place = places.get(name)
            if place is None:
                yield Fault(f"{path}.{name[:_SHOWN]}", unknown_field(name, [field.name for field in described.fields]))
                continue
            in_order, last = in_order and place >= last, place
            if place in seen:
                yield Fault(f"{path}.{name}", "occurs twice")
                continue
            seen.add(place)
            yield from self._named(child, described.fields[place].written, f"{path}.{name}")
        for place, field in enumerate(described.fields):
            if field.required and place not in seen:
                yield Fault(f"{path}.{field.name}", f"{MISSING} ({spelled(field.type)})")
        if not in_order:
            order = ", ".join(field.name for field in described.fields)
            yield Fault(path, f"has its fields out of order; they come as {order}")

    def _named(self, element: Element, type_: FieldType, path: str, *, keyed: bool = False) -> Faults:
        """The faults of an element whose name fits its place."""
        yield from _attributes(element, path, keyed=keyed)
        if namespace(element.tag) != self.namespace:
            yield Fault(
                path, f"is in {_place(namespace(element.tag))}, not in {_place(self.namespace)} like the document"
            )
        elif isinstance(type_, Maybe) and element.tag.endswith(".none"):
            yield from _stray_text(element, path, empty=True)
            yield from _strangers(element, path, "says None, and holds nothing")
        else:
            yield from self._content(element, present(type_), path)

    def _content(self, element: Element, type_: FieldType, path: str) -> Faults:
        match type_:
            case Scalar() | Choice():
                yield from _strangers(element, path, "holds text only")
                yield from _text_faults(element.text or "", type_, path)
            case Nested():
                yield from self.payload(element, describe(type_.cls), path)
            case OneOf():
                yield from self._one_of(element, type_, path)
            case Many():
                yield from self._many(element, type_, path)
            case Table():
                yield from self._table(element, type_, path)
            case Maybe():  # pragma: no cover - said in a field, and nowhere else
                raise AssertionError("None has an element of its own")

    def _one_of(self, element: Element, type_: OneOf, path: str) -> Faults:
        yield from _stray_text(element, path)
        classes = {cls.__name__: cls for cls in type_.classes}
        children = list(element)
        if len(children) != 1:
            yield Fault(path, f"holds {len(children)} elements; expected one of <{'>, <'.join(classes)}>")
        for child in children[:1]:
            name = local(child.tag)
            if name in classes:
                yield from self._named(child, Nested(classes[name]), f"{path}.{name}")
            else:
                yield Fault(path, f"holds <{name[:_SHOWN]}>; expected one of <{'>, <'.join(classes)}>")

    def _many(self, element: Element, type_: Many, path: str) -> Faults:
        yield from _stray_text(element, path)
        names = slot_names(ITEM, type_.item)
        for index, child in enumerate(element):
            spot = f"{path}[{index}]"
            if local(child.tag) in names:
                yield from self._named(child, type_.item, spot)
            else:
                yield Fault(spot, f"expected <{'> or <'.join(names)}>, got <{local(child.tag)[:_SHOWN]}>")

    def _table(self, element: Element, type_: Table, path: str) -> Faults:
        yield from _stray_text(element, path)
        names = slot_names(ENTRY, type_.value)
        seen: set[str] = set()
        for index, child in enumerate(element):
            key = child.get(KEY)
            spot = f"{path}[{index}]" if key is None else f"{path}[{shown(revealed(key))}]"
            if local(child.tag) not in names:
                yield Fault(spot, f'expected <{names[0]} {KEY}="...">, got <{local(child.tag)[:_SHOWN]}>')
                continue
            if key is None:
                yield Fault(spot, f'has no key; write <{local(child.tag)} {KEY}="...">')
            elif key in seen:
                yield Fault(spot, "occurs twice")
            seen.add(key or "")
            yield from self._named(child, type_.value, spot, keyed=True)


def _place(uri: str) -> str:
    return f"the namespace {shown(uri)}" if uri else "no namespace"


def _attributes(element: Element, path: str, *, keyed: bool) -> Faults:
    for name in element.attrib:
        if not keyed or name != KEY:
            yield Fault(path, f"has the attribute {shown(name)}; only the entries of a dict have one, {KEY!r}")


def _stray_text(element: Element, path: str, *, empty: bool = False) -> Faults:
    """Text between elements. An element that may hold nothing may not even hold blanks: so says XML Schema."""
    texts = [element.text, *(child.tail for child in element)]
    for text in texts:
        if text and (text.strip(SPACE) or empty):
            yield Fault(
                path, f"holds the text {shown(text)}, where only elements may stand" if not empty else "must be empty"
            )


def _strangers(element: Element, path: str, why: str) -> Faults:
    for child in element:
        yield Fault(path, f"{why}; it has the element <{local(child.tag)[:_SHOWN]}>")


def _text_faults(text: str, type_: Scalar | Choice, path: str) -> Faults:
    if isinstance(type_, Choice):
        options = {hidden(option) for option, _ in type_.options}
        if text not in options and not (is_token(type_) and collapsed(text) in options):
            yield Fault(path, expected(spelled(type_), text))
        return
    if type_ is Scalar.TEXT:
        return
    lexis = LEXIS[type_]
    stripped = text.strip(SPACE)
    try:
        fits = lexis.pattern.fullmatch(stripped) and normaliser(type_)(lexis.read(stripped)) is not None
    except (ValueError, Misfit):
        fits = False
    if not fits:
        yield Fault(path, f"expected {lexis.form}, got {shown(text)}")
