"""From the bytes of a document to a payload of one vocabulary: parsed, checked against the XSD, read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from lxml import etree

from organism.errors import InvalidPayloadError
from organism.payloads.definition import PerClass, describe
from organism.payloads.faults import chosen, invalid, shown
from organism.payloads.types import none_of
from organism.payloads.xml_faults import faults_of
from organism.payloads.xml_reader import reader
from organism.payloads.xml_tree import Parser, Tree, local, namespace
from organism.payloads.xsd import ENTRY, ITEM, bare_xsd, xsd

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from organism.payloads.limits import Limits


@PerClass
def schema(cls: type) -> etree.XMLSchema:
    """The compiled XSD of a payload class."""
    return etree.XMLSchema(etree.fromstring(xsd(cls)))


@PerClass
def bare_schema(cls: type) -> etree.XMLSchema:
    """The same for documents without a namespace."""
    return etree.XMLSchema(etree.fromstring(bare_xsd(cls)))


class XmlDecoder:
    """Decodes documents for the classes of one vocabulary, by name."""

    def __init__(self, classes: Mapping[str, type], limits: Limits) -> None:
        self._classes = classes
        types = [describe(cls) for cls in classes.values()]
        names = {ITEM, ENTRY, *classes, *(field.name for type_ in types for field in type_.fields)}
        self._parser = Parser(
            names | {none_of(name) for name in names}, [(type_.name, type_.namespace) for type_ in types], limits
        )
        # By the tag of the root: the class and the schema for its namespace, or for none.
        self._roots = {f"{{{type_.namespace}}}{type_.name}": (type_.cls, schema) for type_ in types}
        self._roots |= {type_.name: (type_.cls, bare_schema) for type_ in types}

    def decode(self, data: bytes | str, expect: Collection[type] | None) -> Any:
        """The payload of a document; raises InvalidPayloadError with everything that is wrong with it."""
        tree = self._parser.parse(data)
        tag = tree.root.tag
        if tag not in self._roots:
            raise self._no_root(tag, expect)
        cls, schema_of = self._roots[tag]
        chosen(cls.__name__, self._classes, expect)
        if not tree.known or not schema_of(cls).validate(cast("Any", tree.root)):
            raise _refused(tree, cls, schema_of(cls))
        try:
            return reader(cls)(tree.root)
        except RecursionError:
            raise InvalidPayloadError("is nested too deep to be read", where=cls.__name__) from None

    def _no_root(self, tag: str, expect: Collection[type] | None) -> InvalidPayloadError:
        cls = chosen(local(tag), self._classes, expect)
        right = describe(cls).namespace
        return InvalidPayloadError(
            f"is in the namespace {shown(namespace(tag))}; write xmlns={right!r}, or no namespace at all",
            where=cls.__name__,
        )


def _refused(tree: Tree, cls: type, of: etree.XMLSchema) -> InvalidPayloadError:
    error = invalid(faults_of(tree.root, cls), cls.__name__)
    if error is not None:
        return error
    # Not reached as long as faults_of agrees with the schema; should it not, libxml2's words are better than none.
    log: Any = of.error_log
    return InvalidPayloadError(log.last_error.message if log else "is not valid", where=cls.__name__)
