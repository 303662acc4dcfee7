"""From the bytes of a document to a payload of one vocabulary: parsed, checked against the XSD, read."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from lxml import etree

from organism.errors import InvalidPayloadError
from organism.payloads.definition import PerClass, describe
from organism.payloads.faults import chosen, invalid, shown
from organism.payloads.types import none_of
from organism.payloads.xml_faults import faults_of
from organism.payloads.xml_reader import Reader, reader
from organism.payloads.xml_tree import Element, Parser, local, namespace
from organism.payloads.xsd import ENTRY, ITEM, bare_xsd, xsd

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from organism.payloads.limits import Limits


class _Root:
    """What may stand at the top of a document, under one tag. Its schema is compiled when the first one comes."""

    def __init__(self, cls: type, source: Callable[[type], str]) -> None:
        self.cls = cls
        self._source = source

    @cached_property
    def schema(self) -> Any:
        """The compiled schema, of lxml."""
        return etree.XMLSchema(etree.fromstring(self._source(self.cls)))

    @cached_property
    def read(self) -> Reader:
        """The reader of what the schema accepts."""
        return reader(self.cls)

    def refused(self, element: Element) -> InvalidPayloadError:
        """The error for a document that the schema refuses, or that was kept from it."""
        error = invalid(faults_of(element, self.cls), self.cls.__name__)
        if error is not None:
            return error
        # Not reached as long as faults_of agrees with the schema; should it not, libxml2's words are better than none.
        log = self.schema.error_log
        return InvalidPayloadError(log.last_error.message if log else "is not valid", where=self.cls.__name__)


@PerClass
def _qualified(cls: type) -> _Root:
    return _Root(cls, xsd)


@PerClass
def _bare(cls: type) -> _Root:
    return _Root(cls, bare_xsd)


class XmlDecoder:
    """Decodes documents for the classes of one vocabulary, by name."""

    def __init__(self, classes: Mapping[str, type], limits: Limits) -> None:
        self._classes = classes
        types = [describe(cls) for cls in classes.values()]
        names = {ITEM, ENTRY, *classes, *(field.name for type_ in types for field in type_.fields)}
        self._parser = Parser(
            names | {none_of(name) for name in names}, [(type_.name, type_.namespace) for type_ in types], limits
        )
        self._roots = {f"{{{type_.namespace}}}{type_.name}": _qualified(type_.cls) for type_ in types}
        self._roots |= {type_.name: _bare(type_.cls) for type_ in types}

    def decode(self, data: bytes | str, expect: Collection[type] | None) -> Any:
        """The payload of a document; raises InvalidPayloadError with everything that is wrong with it."""
        element, known = self._parser.parse(data)
        root = self._roots.get(element.tag)
        if root is None:
            raise self._no_root(element.tag, expect)
        if expect is not None:
            chosen(root.cls.__name__, self._classes, expect)
        if not known or not root.schema.validate(element):
            raise root.refused(element)
        try:
            return root.read(element)
        except RecursionError:
            raise InvalidPayloadError("is nested too deep to be read", where=root.cls.__name__) from None

    def _no_root(self, tag: str, expect: Collection[type] | None) -> InvalidPayloadError:
        cls = chosen(local(tag), self._classes, expect)
        right = describe(cls).namespace
        return InvalidPayloadError(
            f"is in the namespace {shown(namespace(tag))}; write xmlns={right!r}, or no namespace at all",
            where=cls.__name__,
        )
