"""From bytes that anybody may have written to a tree of elements.

Two parsers share the work. libxml2 (through lxml) is fast and checks against the XSD, but it keeps every name it has ever
seen for as long as the process lives: whoever sends new names could fill the memory. It therefore only gets documents
in the plain form that :func:`~organism.payloads.encode_xml` writes, made of names that the payload has. Everything
else (declarations, comments, prefixes, CDATA, unknown names) goes through expat, which forgets: what turns out to use its
names only is written down again in the plain form, and what does not is refused from expat's tree.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, cast
from xml.etree import ElementTree as ET

from lxml import etree

from organism.errors import InvalidPayloadError
from organism.payloads.escapes import marked_up, marked_up_attribute
from organism.payloads.faults import shown
from organism.payloads.types import none_of
from organism.payloads.xsd import ENTRY, KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from xml.etree.ElementTree import Element

    from organism.payloads.limits import Limits

_MARK: Final = b"\xef\xbb\xbf"
_ODD_REFERENCE: Final = re.compile(rb"&(?!(?:amp|lt|gt|quot|apos|#x?[0-9A-Fa-f]+);)")
_ENCODING: Final = re.compile(rb"<\?xml\s[^>]*?\bencoding\s*=\s*[\"']([^\"'>]*)")
_HINT: Final = ", use XML_PARSE_HUGE option"
_SAME_LINE: Final = re.compile(r" line ([0-9]+)(?=(?: and [^ ,]+)?, line \1, column [0-9]+$)")
"""Where an element began, where that is the line at which the text ends with all the same."""
_MARKUP_IN_TEXT: Final = (4, 11)
"""Expat's codes for an invalid token and an undefined entity: as a rule an ``&`` or ``<`` that was meant as itself."""
_BEFORE_ROOT: Final = re.compile(rb"[ \t\r\n]+|<\?.*?\?>|<!--.*?-->", re.DOTALL)
_UTF8: Final = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})


def local(tag: str) -> str:
    """The name of ``{namespace}name``."""
    return tag[tag.rfind("}") + 1 :]


def namespace(tag: str) -> str:
    """The namespace of ``{namespace}name``, empty for none."""
    return tag[1 : tag.rfind("}")] if tag[:1] == "{" else ""


def stranger_in(names: Iterable[str], head: str) -> Callable[[bytes], object]:
    """A function that tells whether a document holds a tag or a reference that no plain document has.

    ``names`` are those of the elements, ``head`` is the whole inside of the tag that may stand at the top.
    """
    plain = "|".join(re.escape(name) for name in names)
    keyed = f'{ENTRY}(?:{re.escape(none_of(""))})? {KEY}="[^"<>]*"'
    # Two patterns, each with a byte to begin with, are three times as fast as one with both.
    odd_tag = re.compile(f"<(?!/?(?:{plain})/?>|(?:{re.escape(head)}|{keyed})/?>)".encode()).search
    return lambda raw: odd_tag(raw) or (b"&" in raw and _ODD_REFERENCE.search(raw))


class Parser:
    """The two parsers, with limits. Both raise InvalidPayloadError for what is not well-formed or over a limit."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lxml = etree.XMLParser(
            encoding="utf-8",
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
            dtd_validation=False,
            attribute_defaults=False,
            huge_tree=False,
            recover=False,
            collect_ids=False,
        )
        self._too_deep = etree.XPath("boolean(" + "/*" * (limits.depth + 1) + ")")
        # Each level has an end tag of its own, but perhaps the last, and seven bytes (<a></a>).
        self._within = min(limits.text, 7 * (limits.depth - 1))
        """Bytes of a document that is within the limits of depth and text, whatever it says."""

    def in_utf8(self, data: bytes | str) -> bytes:
        """The bytes of a document of allowed size, without a byte order mark."""
        if len(data) <= self._limits.size:
            if isinstance(data, bytes) and data.isascii():  # as most are
                return data
            try:
                raw = data.encode() if isinstance(data, str) else data
                raw.decode()
            except UnicodeError as error:
                raise InvalidPayloadError(f"is not in UTF-8: {error}") from None
            if len(raw) <= self._limits.size:
                return raw.removeprefix(_MARK)
        raise InvalidPayloadError(f"is longer than {self._limits.size} bytes")

    def fast(self, raw: bytes) -> Element:
        """The root of a plain document, of lxml; all that is asked of it, those of the standard library can be asked as well."""
        try:
            root: Any = etree.fromstring(raw, self._lxml)
        except etree.XMLSyntaxError as error:
            problem = _SAME_LINE.sub("", error.msg.replace(_HINT, ""))
            raise InvalidPayloadError(f"is not well-formed XML: {problem}") from None
        if len(raw) > self._within:
            self._refuse_too_much(raw, root)
        return cast("Element", root)

    def _refuse_too_much(self, raw: bytes, root: Any) -> None:
        """Refuses what is nested too deep, or has too long a text."""
        if raw.count(b"</") >= self._limits.depth and self._too_deep(root):
            raise _too_deep(self._limits)
        if len(raw) > self._limits.text:
            _refuse_long_texts(root.iter(), self._limits)

    def careful(self, raw: bytes, *, declared: bool) -> Element:
        """The root of any document, of expat. ``declared``: an encoding that the document declares is that of the bytes."""
        _refuse_prolog(raw, declared=declared)
        parser = ET.XMLParser(target=_Builder(self._limits), encoding="utf-8")  # noqa: S314 - it has no document type
        try:
            parser.feed(raw)
            root: Element = parser.close()
        except ET.ParseError as error:
            hint = "; write '&' as '&amp;', and '<' as '&lt;'" if error.code in _MARKUP_IN_TEXT else ""
            raise InvalidPayloadError(f"is not well-formed XML: {error}{hint}") from None
        _refuse_long_texts(root.iter(), self._limits)
        return root


class _Builder:
    """Builds expat's tree as far down as is allowed. Comments and processing instructions are left out."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._depth = 0
        self._tree = ET.TreeBuilder()
        self.data = self._tree.data
        self.close = self._tree.close

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > self._limits.depth:
            raise _too_deep(self._limits)
        self._tree.start(tag, attributes)

    def end(self, tag: str) -> None:
        self._depth -= 1
        self._tree.end(tag)


def _too_deep(limits: Limits) -> InvalidPayloadError:
    return InvalidPayloadError(f"has elements nested more than {limits.depth} deep")


def _refuse_long_texts(elements: Iterable[Any], limits: Limits) -> None:
    for element in elements:
        texts = [element.text, element.tail, *element.attrib.values()]
        if any(text and len(text) > limits.text for text in texts):
            raise InvalidPayloadError(
                f"has a text of more than {limits.text} characters in <{local(element.tag)[:64]}>"
            )


def _refuse_prolog(raw: bytes, *, declared: bool) -> None:
    """Refuses other encodings and document types, before any parser sees them."""
    encoding = _ENCODING.match(raw) if declared else None
    if encoding and encoding[1].decode().lower() not in _UTF8:
        raise InvalidPayloadError(f"declares the encoding {shown(encoding[1].decode())}; only UTF-8 is read")
    position = 0
    while (before := _BEFORE_ROOT.match(raw, position)) is not None:
        position = before.end()
    if raw.startswith(b"<!DOCTYPE", position):
        raise InvalidPayloadError("has a document type (<!DOCTYPE); leave it out, entities are not read")


def plain(root: Element) -> bytes:
    """The document with that root, in the plain form, in its namespace."""
    parts: list[str] = []

    def write(element: Element, head: str) -> None:
        name = local(element.tag)
        attributes = "".join(f' {key}="{marked_up_attribute(value)}"' for key, value in element.items())
        parts.append(f"<{name}{head}{attributes}>{marked_up(element.text or '')}")
        for child in element:
            write(child, "")
            parts.append(marked_up(child.tail or ""))
        parts.append(f"</{name}>")

    write(root, f' xmlns="{marked_up_attribute(namespace(root.tag))}"' if namespace(root.tag) else "")
    return "".join(parts).encode()
