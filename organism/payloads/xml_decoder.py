"""From the bytes of a document to a payload of one vocabulary: parsed, checked against the XSD, read."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from lxml import etree

from organism.errors import InvalidPayloadError
from organism.payloads.definition import PerClass, describe, within
from organism.payloads.escapes import attribute_text
from organism.payloads.faults import chosen, invalid, shown
from organism.payloads.types import none_of
from organism.payloads.xml_faults import faults_of
from organism.payloads.xml_reader import Reader, reader
from organism.payloads.xml_tree import Parser, local, namespace, plain, stranger_in
from organism.payloads.xsd import ENTRY, ITEM, KEY, bare_xsd, xsd

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from xml.etree.ElementTree import Element

    from organism.payloads.limits import Limits

_MANY_TAGS: Final = 2_000
"""Longer documents are looked through before they are validated: for each error lxml counts the elements before it, which
takes minutes where an error stands in each of 100,000 elements.
"""


class _Root:
    """A class as the root of documents. What it needs is made when the first document comes, once for the class."""

    def __init__(self, cls: type) -> None:
        self.cls = cls
        self.namespace = describe(cls).namespace
        self.head = f'{cls.__name__} xmlns="{attribute_text(self.namespace)}"'

    @cached_property
    def names(self) -> frozenset[str]:
        """What elements of its documents may be called."""
        classes = within(self.cls)
        fields = {field.name for cls in classes for field in describe(cls).fields}
        names = {ITEM, *fields, *(cls.__name__ for cls in classes)}
        return frozenset({*names, *map(none_of, names), ENTRY, none_of(ENTRY)})

    @cached_property
    def stranger_in(self) -> Any:
        """Whether a document is not plain."""
        return stranger_in(self.names, self.head)

    @cached_property
    def schema(self) -> Any:
        """The compiled schema, of lxml, for documents in its namespace."""
        return etree.XMLSchema(etree.fromstring(xsd(self.cls)))

    @cached_property
    def bare_schema(self) -> Any:
        """The compiled schema for documents without a namespace."""
        return etree.XMLSchema(etree.fromstring(bare_xsd(self.cls)))

    @cached_property
    def read(self) -> Reader:
        """The reader of what a schema accepts."""
        return reader(self.cls)

    def has(self, element: Element, uri: str) -> bool:
        """Whether a plain document of the class could have the element."""
        tag = element.tag
        return namespace(tag) == uri and local(tag) in self.names and all(key == KEY for key in element.attrib)

    def faults(self, element: Element) -> InvalidPayloadError | None:
        """What is wrong with a document, if anything is."""
        return invalid(faults_of(element, self.cls), self.cls.__name__)

    def refused(self, element: Element, schema: Any = None) -> InvalidPayloadError:
        """The error for a document that the schema refuses, or that was kept from it."""
        error = self.faults(element)
        if error is not None:
            return error
        # Not reached as long as faults_of agrees with the schema; should it not, libxml2's words are better than none.
        problem = schema.error_log.last_error.message if schema and schema.error_log else "is not valid"
        return InvalidPayloadError(problem, where=self.cls.__name__)


@PerClass
def _root(cls: type) -> _Root:
    return _Root(cls)


class XmlDecoder:
    """Decodes documents for the classes of one vocabulary, by name."""

    def __init__(self, classes: Mapping[str, type], limits: Limits) -> None:
        self._classes = classes
        self._parser = Parser(limits)
        roots = [_root(cls) for cls in classes.values()]
        self._by_tag = {f"{{{root.namespace}}}{root.cls.__name__}": root for root in roots}
        self._by_tag |= {root.cls.__name__: root for root in roots}
        heads = {head: root for root in roots for head in (root.head, root.cls.__name__)}
        self._by_head = {f"<{head}{end}".encode(): root for head, root in heads.items() for end in (">", "/>")}

    def decode(self, data: bytes | str, expect: Collection[type] | None) -> Any:
        """The payload of a document; raises InvalidPayloadError with everything that is wrong with it."""
        raw = self._parser.in_utf8(data)
        root = self._by_head.get(raw[: raw.find(b">") + 1])
        try:
            if root is None or root.stranger_in(raw):
                return self._decode_carefully(raw, expect, declared=isinstance(data, bytes))
            if expect is not None:
                chosen(root.cls.__name__, self._classes, expect)
            return self._decode_plain(raw, root)
        except RecursionError:
            raise InvalidPayloadError("is nested too deep to be read from here") from None

    def _decode_plain(self, raw: bytes, root: _Root) -> Any:
        element = self._parser.fast(raw)
        if len(raw) > 4 * _MANY_TAGS and raw.count(b"<") > _MANY_TAGS:
            error = root.faults(element)
            if error is not None:
                raise error
        schema = root.schema if element.tag[0] == "{" else root.bare_schema
        if not schema.validate(element):
            raise root.refused(element, schema)
        return root.read(element)

    def _decode_carefully(self, raw: bytes, expect: Collection[type] | None, *, declared: bool) -> Any:
        element = self._parser.careful(raw, declared=declared)
        name, uri = local(element.tag), namespace(element.tag)
        cls = chosen(name, self._classes, expect)
        root = self._by_tag.get(element.tag)
        if root is None:
            right = describe(cls).namespace
            raise InvalidPayloadError(
                f"is in the namespace {shown(uri)}; write xmlns={right!r}, or no namespace at all", where=name
            )
        if not all(root.has(one, uri) for one in element.iter()):
            raise root.refused(element)
        return self._decode_plain(plain(element), root)
