"""The XML Schema of a payload class: one document for the class and for all that it may hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from organism.errors import PayloadTypeError
from organism.payloads.definition import describe, within
from organism.payloads.escapes import attribute_text, element_text, hidden
from organism.payloads.lexical import LEXIS, collapsed
from organism.payloads.types import (
    Choice,
    Field,
    FieldType,
    Many,
    Maybe,
    Nested,
    OneOf,
    PayloadType,
    Scalar,
    Table,
    none_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ITEM: Final = "item"
ENTRY: Final = "entry"
KEY: Final = "key"
"""The element of a list's item, that of a dict's entry, and the attribute with the entry's key."""

_OPTIONAL: Final = ' minOccurs="0"'
_ANY_NUMBER: Final = ' minOccurs="0" maxOccurs="unbounded"'

Lines = list[str]


def xsd(cls: type) -> str:
    """The XSD of a payload class, with its documentation. Raises PayloadTypeError for other classes.

    Elements are in the class's namespace, also those of payloads inside. A field is an element that holds its text, its
    payload's fields, ``<item>`` elements for a list, ``<entry key="...">`` for a dict, or the payload's own element for a
    union. Fields stand in the order of the class. None is an element left out; where that would say something else (in
    lists and dicts, and where the default is not None) it is the empty element ``<NAME.none/>``.
    """
    return _Schema([describe(cls)], qualified=True).text()


def xsd_of_all(classes: Iterable[type]) -> str:
    """One XSD for documents that are any of these payloads; they are in one namespace, or it raises PayloadTypeError."""
    roots = [describe(cls) for cls in classes]
    spaces = {each.namespace for each in roots}
    if len(spaces) != 1:
        raise PayloadTypeError(
            f"an XSD is of one namespace, and these are of {len(spaces)}: {', '.join(sorted(spaces))}"
        )
    return _Schema(roots, qualified=True).text()


def bare_xsd(cls: type) -> str:
    """The same for documents without a namespace."""
    return _Schema([describe(cls)], qualified=False).text()


class _Schema:
    """Collects the simple types that the payloads of one schema need, while these are written."""

    def __init__(self, roots: Sequence[PayloadType], *, qualified: bool) -> None:
        self._roots = roots
        self._qualified = qualified
        self._simple: dict[Scalar | Choice, str] = {}
        self._tables = 0

    def text(self) -> str:
        classes = dict.fromkeys(cls for root in self._roots for cls in within(root.cls))
        payloads = [line for cls in classes for line in self._payload(describe(cls))]
        simple = [line for type_, named in self._simple.items() for line in _simple_type(type_, named)]
        namespace = attribute_text(self._roots[0].namespace)
        home = (
            f' xmlns="{namespace}" targetNamespace="{namespace}" elementFormDefault="qualified"'
            if self._qualified
            else ""
        )
        head = f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"{home}>'
        roots = [f'<xs:element name="{root.name}" type="{root.name}"/>' for root in self._roots]
        return "\n".join([head, *_indented([*roots, *payloads, *simple]), "</xs:schema>", ""])

    def _payload(self, described: PayloadType) -> Lines:
        fields = [line for field in described.fields for line in self._field(field)]
        inside = _wrapped("xs:sequence", fields) if fields else []
        return _wrapped("xs:complexType", [*_annotation(described.doc), *inside], f' name="{described.name}"')

    def _field(self, field: Field) -> Lines:
        return self._slot(field.name, field.written, "" if field.required else _OPTIONAL, field.doc)

    def _slot(self, name: str, type_: FieldType, occurs: str, doc: str = "", *, keyed: bool = False) -> Lines:
        """What stands for a value where None has to be written as well."""
        if not isinstance(type_, Maybe):
            return self._element(name, type_, occurs, doc, keyed=keyed)
        none = _wrapped("xs:complexType", _key_attribute(keyed=keyed))
        return _wrapped(
            "xs:choice",
            [
                *self._element(name, type_.inner, "", doc, keyed=keyed),
                *_wrapped("xs:element", none, f' name="{none_of(name)}"'),
            ],
            occurs,
        )

    def _element(self, name: str, type_: FieldType, occurs: str, doc: str, *, keyed: bool) -> Lines:
        attributes = f' name="{name}"{occurs}'
        named = self._named(type_)
        if named is not None and not keyed:
            return _wrapped("xs:element", _annotation(doc), f' name="{name}" type="{named}"{occurs}')
        if named is not None:
            kind = "xs:complexContent" if isinstance(type_, Nested) else "xs:simpleContent"
            content = _wrapped(kind, _wrapped("xs:extension", _key_attribute(keyed=True), f' base="{named}"'))
        else:
            content = [*self._particle(type_), *_key_attribute(keyed=keyed)]
        body = [*_annotation(doc), *_wrapped("xs:complexType", content)]
        if isinstance(type_, Table):
            self._tables += 1
            body += [
                f'<xs:unique name="keys.{self._tables}">',
                f'  <xs:selector xpath="*"/><xs:field xpath="@{KEY}"/>',
                "</xs:unique>",
            ]
        return _wrapped("xs:element", body, attributes)

    def _named(self, type_: FieldType) -> str | None:
        """The name of a type that has one in the schema. The dot keeps ours apart from payloads."""
        match type_:
            case Scalar.TEXT:
                return "xs:string"
            case Scalar() if LEXIS[type_].pattern_xsd is None:
                return LEXIS[type_].base
            case Scalar():
                return self._simple.setdefault(type_, f"type.{type_.value.lower()}")
            case Choice():
                return self._simple.setdefault(type_, f"choice.{len(self._simple)}")
            case Nested():
                return type_.cls.__name__
            case _:
                return None

    def _particle(self, type_: FieldType) -> Lines:
        match type_:
            case OneOf():
                lines = [f'<xs:element name="{cls.__name__}" type="{cls.__name__}"/>' for cls in type_.classes]
                return _wrapped("xs:choice", lines)
            case Many():
                return _wrapped("xs:sequence", self._slot(ITEM, type_.item, _ANY_NUMBER))
            case Table():
                return _wrapped("xs:sequence", self._slot(ENTRY, type_.value, _ANY_NUMBER, keyed=True))
            case _:  # pragma: no cover - what has a name is not spelled out
                raise AssertionError(f"{type_} has a name")


def _simple_type(type_: Scalar | Choice, named: str) -> Lines:
    if isinstance(type_, Choice):
        base = "xs:token" if is_token(type_) else "xs:string"
        facets = [f'<xs:enumeration value="{attribute_text(text)}"/>' for text, _ in type_.options]
    else:
        lexis = LEXIS[type_]
        base = lexis.base
        facets = [f'<xs:pattern value="{attribute_text(lexis.pattern_xsd or "")}"/>']
        facets += [f'<xs:{facet} value="{value}"/>' for facet, value in lexis.facets]
    return _wrapped("xs:simpleType", _wrapped("xs:restriction", facets, f' base="{base}"'), f' name="{named}"')


def is_token(choice: Choice) -> bool:
    """Whether white space around the options means nothing, since none of them has any of its own."""
    return all(collapsed(hidden(text)) == hidden(text) for text, _ in choice.options)


def _key_attribute(*, keyed: bool) -> Lines:
    return [f'<xs:attribute name="{KEY}" type="xs:string" use="required"/>'] if keyed else []


def _annotation(doc: str) -> Lines:
    return [f"<xs:annotation><xs:documentation>{element_text(doc)}</xs:documentation></xs:annotation>"] if doc else []


def _wrapped(tag: str, lines: Lines, attributes: str = "") -> Lines:
    return [f"<{tag}{attributes}>", *_indented(lines), f"</{tag}>"] if lines else [f"<{tag}{attributes}/>"]


def _indented(lines: Lines) -> Lines:
    return [f"  {line}" for line in lines]
