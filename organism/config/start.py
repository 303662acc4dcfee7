"""The keys of ``start``: messages that a run sends when it is given nothing else, their payloads already decoded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, cast

from attrs import frozen

from organism.config import scalars
from organism.config.places import shown
from organism.config.sections import Record, Section, plain
from organism.config.shapes import BROKEN, Broken, Drawing, Name, Reading, Schema, one_of
from organism.config.tree import Items, Node, Scalar, Table
from organism.config.yamltext import unfold
from organism.errors import InvalidPayloadError, PayloadTypeError
from organism.payloads import Vocabulary, is_payload
from organism.payloads.faults import apart
from organism.payloads.primitives import ORGANISM_ONLY
from organism.settings import StartMessage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from organism.config.drafts import Draft

_STEP: Final = re.compile(r"[^.\[\]']+")


@frozen
class Document:
    """A payload, before it is known which classes may stand there: the node itself."""

    def read(self, node: Node, reading: Reading) -> Node | Broken:
        """The node, a text that is YAML read as such."""
        read = unfold(node, reading.mistakes)
        return BROKEN if read is None else read

    def schema(self, _drawing: Drawing) -> Schema:
        """An object or a text."""
        return {"type": ["object", "string"]}


START: Final = Record(
    {"to": Name(), "payload": Document()}, named=("start",), required=("to", "payload"), tolerant=True
)
"""One entry, as a section; :func:`message_of` decodes it."""


def message_of(section: Section, handlers: Mapping[str, Draft]) -> StartMessage | None:
    """The message of an entry; ``None`` after its mistakes were noted, or where it is not known what its handler takes."""
    handler = handlers.get(section.values.get("to", ""))
    document: Node | None = section.values.get("payload")
    if handler is None or handler.accepts is None or document is None:
        return None
    payload = decoded(document, handler.name, handler.accepts, section.reading)
    return None if payload is BROKEN else StartMessage(to=handler.name, payload=payload)


def decoded(node: Node, handler: str, accepts: tuple[type, ...], reading: Reading) -> Any:
    """The payload for a handler that a node says: JSON as a mapping, XML or plain text as a text, in Python a payload itself; ``BROKEN``
    after its mistakes were noted.
    """
    expect: tuple[type[Any], ...] = tuple(cls for cls in accepts if cls not in ORGANISM_ONLY)
    if isinstance(node, Scalar) and is_payload(node.value) and not isinstance(node.value, type):
        if type(node.value) in expect:
            return node.value
        takes = one_of([cls.__name__ for cls in expect]) if expect else "none from outside"
        return reading.wrong(node, f"{shown(handler)} takes {takes}, and no {shown(type(node.value).__name__)}")
    document = _document(node, reading)
    if document is BROKEN:
        return BROKEN
    try:
        words = Vocabulary(accepts)
        if isinstance(document, str):
            return words.decode_text(document, expect)
        return words.decode_json(cast("Mapping[str, Any]", document), expect)
    except PayloadTypeError:
        pass  # it was noted of the handler
    except InvalidPayloadError as error:
        for one in apart(error):
            spot, rest = _spot(node, one.where)
            if rest or not _is_wrong(spot):
                reading.wrong(spot, f"{rest}: {one.problem}" if rest else one.problem)
    return BROKEN


def _document(node: Node, reading: Reading) -> Any:
    """The text, or the JSON value; ``BROKEN`` stands where a mistake was noted."""
    if isinstance(node, Scalar):
        text = scalars.text(node)
        return reading.wrong(node, text.problem) if isinstance(text, scalars.Wrong) else text
    return plain(node, reading, exact=True)


def _is_wrong(node: Node) -> bool:
    """Whether it was noted already that a value is none."""
    return isinstance(node, Scalar) and isinstance(scalars.anything(node), scalars.Wrong)


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
