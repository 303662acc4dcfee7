"""What is sent to a model as input, as its tokens are estimated and bounded: canonical, with a digest for every beginning of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, cast

from attrs import define, field

from organism.models.tokens.profiles import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from organism.models.contract import Message


@define(kw_only=True)
class Prompt:
    """What is sent as input, for estimating: each message, and beside them the tools and the schema of the answer. Nobody changes one.

    ``parts`` are the messages as canonical JSON, ``digests`` stand for everything up to and including each. ``beside`` has
    the digest and the JSON of each tool and schema. ``unbounded`` is the place and type of the first part whose tokens its
    bytes do not bound (images, audio, files), empty where there is none.
    """

    parts: tuple[Text, ...] = field(repr=False)
    digests: tuple[bytes, ...] = field(repr=False)
    beside: tuple[tuple[bytes, Text], ...] = field(repr=False)
    unbounded: str
    size: int = field(repr=False)
    """Bytes of everything, with a comma behind each tool."""
    offer: frozenset[bytes] = field(repr=False)
    """Which tools and schema it has."""
    kept_for: frozenset[str]
    """For whom there is something in the messages that others do not get to see (:func:`organism.models.reasoning.kept_in`)."""

    @property
    def texts(self) -> tuple[Text, ...]:
        """Everything, tools and schema last."""
        return (*self.parts, *(text for _, text in self.beside)) if self.beside else self.parts


def digest_of(content: bytes) -> bytes:
    """What stands for a content of any length."""
    return blake2b(content, digest_size=16).digest()


def beside_of(schema: Mapping[str, Any]) -> tuple[bytes, Text]:
    """The digest and the JSON of a tool or of the schema of the answer."""
    head = canonical(schema, "the tools or the schema of the answer")
    return digest_of(head), Text(head)


def canonical(value: object, what: str) -> bytes:
    """The value as compact JSON in UTF-8, keys sorted. ``what`` it is stands in the TypeError for what is no JSON."""
    try:
        text = _ENCODER.encode(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{what} cannot be sent to a model: {error}; use text, numbers, lists and mappings") from error
    return text.encode("utf-8", "surrogatepass")  # a lone surrogate is for the provider to refuse


def compact(value: object) -> str:
    """The value as JSON without blanks, whatever it is: what JSON has no form for is written as a text."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_lenient)


def _lenient(value: object) -> object:
    return dict(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else str(value)


def canonical_text(role: str, content: str) -> bytes:
    """As :func:`canonical` writes a message that says nothing but a text, sooner."""
    return f'{{"content":{_quoted(content)},"role":{_quoted(role)}}}'.encode("utf-8", "surrogatepass")


def _plain(value: object) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    raise TypeError(f"{type(value).__name__} is not JSON")


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=_plain)
"""As ``json.dumps`` makes one anew for each value."""
_quoted: Final = json.encoder.encode_basestring


def unbounded_in(message: Message, index: int) -> Iterator[str]:
    """The place and type of each part of a message whose tokens its bytes do not bound."""
    content: Any = message.get("content")
    if isinstance(content, str) or not hasattr(content, "__iter__"):
        return
    for position, part in enumerate(content):
        kind = cast("Mapping[str, Any]", part).get("type") if isinstance(part, Mapping) else None
        if kind not in {"text", "refusal"}:
            yield f"messages[{index}].content[{position}] ({kind})"
