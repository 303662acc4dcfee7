"""The keys of ``start``: messages that a run sends when it is given nothing else, their payloads already decoded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, cast

from attrs import frozen

from organism.config import scalars
from organism.config.places import shown
from organism.config.sections import Record, Section, plain
from organism.config.shapes import BROKEN, Broken, Found, Located, Reading, Text, no_handler, one_of
from organism.config.tree import Items, Node, Scalar, Table
from organism.config.yamltext import unfold
from organism.errors import InvalidPayloadError
from organism.payloads import Vocabulary, is_payload
from organism.payloads.primitives import ORGANISM_ONLY
from organism.settings import HandlerSettings, StartMessage

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_STEP: Final = re.compile(r"[^.\[\]']+")


@frozen
class _Document:
    """A payload, before it is known which classes may stand there: the node itself."""

    def read(self, node: Node, reading: Reading) -> Found | Broken:
        read = unfold(node, reading.mistakes)
        return BROKEN if read is None else Found(None, read)


START: Final = Record(
    {"to": Located(Text("the name of a handler")), "payload": _Document()}, required=("to", "payload"), tolerant=True
)
"""One entry, as a section; :func:`message_of` decodes it."""


def message_of(
    section: Section, handlers: Mapping[str, HandlerSettings], names: Collection[str] | None
) -> StartMessage | None:
    """The message of an entry; ``None`` after its mistakes were noted, or where its handler is broken.

    ``names`` are those of all handlers, also of broken ones; ``None`` where they could not be read.
    """
    to: Found | None = section.values.get("to")
    document: Found | None = section.values.get("payload")
    if to is not None and names is not None and to.value not in names:
        section.wrong("to", no_handler(to.value, names))
    handler = handlers.get(to.value) if to is not None else None
    if handler is None or document is None:
        return None
    payload = _decoded(document.node, handler, section.reading)
    return None if payload is BROKEN else StartMessage(to=handler.name, payload=payload)


def _decoded(node: Node, handler: HandlerSettings, reading: Reading) -> Any:
    """The payload that a node says: JSON as a mapping, XML or plain text as a text, in Python a payload itself."""
    expect: tuple[type[Any], ...] = tuple(cls for cls in handler.accepts if cls not in ORGANISM_ONLY)
    if isinstance(node, Scalar) and is_payload(node.value) and not isinstance(node.value, type):
        if type(node.value) in expect:
            return node.value
        takes = one_of([cls.__name__ for cls in expect]) if expect else "none from outside"
        return reading.wrong(node, f"{shown(handler.name)} takes {takes}, and no {shown(type(node.value).__name__)}")
    document = _document(node, reading)
    if document is BROKEN:
        return BROKEN
    words = Vocabulary(handler.accepts)
    try:
        if isinstance(document, str):
            return words.decode_text(document, expect)
        return words.decode_json(cast("Mapping[str, Any]", document), expect)
    except InvalidPayloadError as error:
        spot, rest = _spot(node, error.where)
        return reading.wrong(spot, f"{rest}: {error.problem}" if rest else error.problem)


def _document(node: Node, reading: Reading) -> Any:
    """The text, or the JSON value; ``BROKEN`` where a mistake in it was noted."""
    if isinstance(node, Scalar):
        text = scalars.text(node)
        return reading.wrong(node, text.problem) if isinstance(text, scalars.Wrong) else text
    before = len(reading.mistakes)
    value = plain(node, reading, exact=True)
    return BROKEN if len(reading.mistakes) > before else value


def _spot(node: Node, where: str) -> tuple[Node, str]:
    """The node that a path such as ``Question.tags[2]`` leads to; before it ends, the last one there is, and the path."""
    for step in _STEP.findall(where):
        match node:
            case Table() if step in node.entries:
                node = node.entries[step].node
            case Items() if step.isdecimal() and int(step) < len(node.items):
                node = node.items[int(step)]
            case _:
                return node, where
    return node, ""
