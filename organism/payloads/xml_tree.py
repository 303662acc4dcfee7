"""From bytes that anybody may have written to a tree of elements.

Two parsers share the work. libxml2 (through lxml) is fast and checks against the XSD, but it keeps every name it has ever
seen for as long as the process lives: whoever sends new names could fill the memory. It therefore only gets documents
in the plain form that :func:`~organism.payloads.encode_xml` writes, made of names that the vocabulary knows. Everything
else (declarations, comments, prefixes, CDATA, unknown names) goes through expat, which forgets: what turns out to use known
names only is written down again in the plain form, and what does not is refused from expat's tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol, cast
from xml.etree import ElementTree as ET  # noqa: S405 - document types are refused before it sees them

from attrs import frozen
from lxml import etree

from organism.errors import InvalidPayloadError
from organism.payloads.escapes import attribute_text, element_text
from organism.payloads.faults import shown
from organism.payloads.types import none_of
from organism.payloads.xsd import ENTRY, ITEM, KEY

if TYPE_CHECKING:
    from organism.payloads.limits import Limits


class Element(Protocol):
    """What lxml's elements and those of the standard library have in common."""

    @property
    def tag(self) -> str:
        """``{namespace}name``, or the name alone."""
        ...

    @property
    def text(self) -> str | None:
        """The text before the first child."""
        ...

    @property
    def tail(self) -> str | None:
        """The text behind the element."""
        ...

    def __iter__(self) -> Iterator[Element]: ...

    def get(self, key: str, /) -> str | None:
        """The value of an attribute."""
        ...

    def keys(self) -> Iterable[str]:
        """The names of the attributes."""
        ...


def local(tag: str) -> str:
    """The name of ``{namespace}name``."""
    return tag[tag.rfind("}") + 1 :]


def namespace(tag: str) -> str:
    """The namespace of ``{namespace}name``, empty for none."""
    return tag[1 : tag.rfind("}")] if tag[:1] == "{" else ""
