"""The payload classes that one organism speaks, and what it reads with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from organism.errors import InvalidPayloadError, PayloadTypeError
from organism.payloads import primitives
from organism.payloads.definition import clash, describe, within
from organism.payloads.json_reader import decode_document, parse_json
from organism.payloads.lexical import SPACE
from organism.payloads.limits import Limits
from organism.payloads.types import Field, Maybe, Scalar

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from organism.payloads.xml_decoder import XmlDecoder

T = TypeVar("T")

_TEXTS: Final = (Scalar.TEXT, Maybe(Scalar.TEXT))


class Vocabulary:
    """Payload classes by name: those given, those inside of them, and the primitives. Never changes.

    ``limits`` are those of documents in XML; the size is also that of texts in JSON. Raises PayloadTypeError for a class that is no
    payload, and for two classes of one name.
    """

    def __init__(self, classes: Iterable[type] = (), *, limits: Limits | None = None) -> None:
        self._classes: dict[str, type] = {}
        self._limits = limits if limits is not None else Limits()
        self._xml: XmlDecoder | None = None
        for cls in (*primitives.ALL, *classes):
            for one in within(cls):
                known = self._classes.setdefault(one.__name__, one)
                if known is not one:
                    raise PayloadTypeError(clash(known, one))

    def get(self, name: str) -> type | None:
        """The class of a name, or None."""
        return self._classes.get(name)

    def __iter__(self) -> Iterator[type]:
        return iter(self._classes.values())

    def __len__(self) -> int:
        return len(self._classes)

    def __contains__(self, cls: object) -> bool:
        return isinstance(cls, type) and self._classes.get(cls.__name__) is cls

    @overload
    def decode_xml(self, data: bytes | str, expect: Collection[type[T]]) -> T: ...
    @overload
    def decode_xml(self, data: bytes | str, expect: None = None) -> Any: ...
    def decode_xml(self, data: bytes | str, expect: Collection[type] | None = None) -> Any:
        """The payload of an XML document, checked against its XSD; one of the classes ``expect``, where given.

        The document is in UTF-8, in the namespace of its class or in none. Comments and processing instructions are
        skipped; document types, entities and attributes (but ``key`` of dict entries; so no ``xsi:`` either) are refused.
        Raises InvalidPayloadError, with all that is wrong where it is well-formed.
        """
        return (self._xml or self._xml_decoder()).decode(data, expect)

    @overload
    def decode_json(self, document: Mapping[str, Any], expect: Collection[type[T]]) -> T: ...
    @overload
    def decode_json(self, document: Mapping[str, Any], expect: None = None) -> Any: ...
    def decode_json(self, document: Mapping[str, Any], expect: Collection[type] | None = None) -> Any:
        """The payload of a JSON document ``{"Greeting": {"name": "Ada"}}``; raises InvalidPayloadError."""
        return decode_document(document, self._classes, expect)

    def decode_text(self, text: str, expect: Collection[type[T]]) -> T:
        """The payload of what a person typed for a handler that takes ``expect``; raises InvalidPayloadError.

        XML begins with ``<`` and JSON with ``{``, after blanks; anything else is the text of the one str field that has to be
        given, where exactly one of the expected classes needs one str and nothing else; or of the only field of the only class.
        """
        begin = text.lstrip(SPACE)[:1]
        if begin == "<":
            return self.decode_xml(text.lstrip(SPACE), expect)
        if begin == "{":
            if len(text.encode("utf-8", "surrogatepass")) > self._limits.size:
                raise InvalidPayloadError(f"is longer than {self._limits.size} bytes")
            return self.decode_json(parse_json(text), expect)
        takers = _text_takers(expect)
        if len(takers) != 1:
            names = " or ".join(sorted(cls.__name__ for cls in expect)) or "no payload"
            none = "it does not take" if len(expect) == 1 else "none of them takes"
            why = f"{'more than one of them takes' if takers else none} one text alone"
            raise InvalidPayloadError(f"plain text cannot become {names}: {why}; write XML or JSON")
        cls, field = takers[0]
        return cls(**{field.argument: text})

    def _xml_decoder(self) -> XmlDecoder:
        # lxml loads with the first document: most programs that declare payloads never see XML.
        from organism.payloads.xml_decoder import XmlDecoder

        self._xml = decoder = XmlDecoder(self._classes, self._limits)
        return decoder


def takes_text(expect: Collection[type[Any]]) -> bool:
    """Whether plain text becomes one of these classes."""
    return len(_text_takers(expect)) == 1


def _text_takers(expect: Collection[type[T]]) -> list[tuple[type[T], Field]]:
    return [(cls, field) for cls in expect if (field := _only_text(cls, alone=len(expect) == 1)) is not None]


def _only_text(cls: type, *, alone: bool) -> Field | None:
    """The field that plain text is for. One that may be left out is meant only where nothing else can be: beside another class, a "no" would
    become the note of a consent.
    """
    fields = describe(cls).fields
    if alone and len(fields) == 1:
        return fields[0] if fields[0].type in _TEXTS else None
    required = [field for field in fields if field.required]
    return required[0] if len(required) == 1 and required[0].type is Scalar.TEXT else None
