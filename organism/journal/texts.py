r"""Marks: single characters that JSON has none of, in an entry of a journal, for what stands there more than once.

One stands for the id of the root thread, some for what stands in most entries (:class:`Fragment`). A payload stands in an entry as XML
and as JSON: a long text that is the same in both stands in the XML behind a mark, ``<text>\x0eThe quick ...</text>``, and that mark
stands for it where it is a value, ``"text":"\x0e"``. What is hashed, and what is read, has no marks.
"""

from __future__ import annotations

import re
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Final

from attrs import frozen

from organism.journal.chain import utf8
from organism.payloads.escapes import element_text

if TYPE_CHECKING:
    from collections.abc import Iterable

Texts = dict[str, str]
"""The mark of each text that has one in an entry."""

ROOT: Final = "\1"
"""The mark of ``"ID``, as the ids of the root thread and of those below it begin."""


@frozen
class Fragment:
    """What stands in most entries, under a mark: the ``start`` is keys and the ``end`` begins a value, or all of it is one."""

    mark: str
    end: str
    start: str = ""

    @property
    def text(self) -> str:
        """All of it."""
        return self.start + self.end


ANSWERED: Final = Fragment("\2", '"', '"fact":"Answered","format":2,"handler":')
PAYLOAD: Final = Fragment("\3", '{"$xml":"<', ',"payload":')
NAMESPACE: Final = Fragment("\4", r" xmlns=\"urn:organism:payloads\">")
POSTED: Final = Fragment("\5", ',"steps":[{"charged":true,"depth":')
FRAGMENTS: Final = (ANSWERED, PAYLOAD, NAMESPACE, POSTED)
"""They belong to the version of the tables of a SQLite journal: a change of one changes what is in its file."""
_WRITTEN: Final = tuple((each.mark.encode(), each.text.encode()) for each in (ANSWERED, PAYLOAD, NAMESPACE))
"""Those that are marked as soon as an entry is written."""
_ROOT: Final = ROOT.encode()

_MARKS: Final = "".join(map(chr, range(14, 32)))
_LEAST: Final = 40
_ESCAPED: Final = bytes(range(32)) + b'"\\&<>'
_PLAIN: Final = bytes(0 if byte in _ESCAPED else byte for byte in range(256))
"""Changes what needs an escape."""
_LONG: Final = re.compile(r'>([^"\\<>\x00-\x1f]{40,})</')
_MARKED: Final = re.compile(rb">([\x0e-\x1f])([^<]+)<")
_MARK: Final = re.compile(rb"[\x0e-\x1f]")
_TAG: Final = ord(">")
LONGEST: Final = 256 * 1024 * 1024
"""Bytes that an entry of a journal may have. What is longer is not written, and not read: a few bytes can stand for many."""


def root_mark(root: str) -> bytes:
    """What :data:`ROOT` stands for: how the ids of a root thread and of those below it begin in an entry."""
    return utf8(encode_basestring(root)[:-1])


def xml_of(text: str, texts: Texts) -> str:
    """A text of an XML element as it stands in a JSON text; with its mark where it is long, needs no escape, and is new."""
    if len(text) >= _LEAST:
        raw = text.encode()
        # An underscore begins the escapes of XML, and 0xEF is the first byte of two characters that need one. To look for a byte in bytes
        # takes six times as long as for a character in a text.
        unsure = "_" in text or (not text.isascii() and b"\xef" in raw)
        if raw.translate(_PLAIN) == raw and not (unsure and element_text(text) != text):
            if text not in texts and len(texts) < len(_MARKS):
                mark = texts[text] = _MARKS[len(texts)]
                return mark + text
            return text
    return encode_basestring(element_text(text))[1:-1]


def json_of(text: str, texts: Texts) -> str:
    """A text as JSON; its mark alone where it has one."""
    if texts and text in texts:
        return f'"{texts[text]}"'
    return encode_basestring(text)


def marked(document: str, texts: Texts) -> str:
    """JSON text in which XML may stand, with marks for the long texts of its elements, each once."""
    if "</" not in document:
        return document
    for text in dict.fromkeys(_LONG.findall(document)):
        if text not in texts:
            if len(texts) == len(_MARKS):
                continue
            texts[text] = _MARKS[len(texts)]
            document = document.replace(f">{text}</", f">{texts[text]}{text}</", 1)
        document = document.replace(f':"{text}"', f':"{texts[text]}"')
    return document


def marked_bytes(document: bytes) -> bytes:
    """The same, of bytes in UTF-8, on their own."""
    return marked(document.decode(), {}).encode()


def whole(document: bytes, root: bytes, texts: Texts) -> bytes:
    """An entry without the marks that were written; ``root`` is what :data:`ROOT` stands for."""
    document = document.replace(_ROOT, root)
    for mark, fragment in _WRITTEN:
        document = document.replace(mark, fragment)
    for text, letter in texts.items():
        sign, written = letter.encode(), text.encode()
        at = document.find(sign)
        if at > 0 and document[at - 1] == _TAG:  # as it nearly always is: the XML of a payload stands before its values
            document = document.replace(sign, b"", 1).replace(sign, written)
        else:
            document = document.replace(b">" + sign, b">").replace(sign, written)
    return document


def whole_bytes(document: bytes) -> bytes:
    """The same, of what was read. What no journal writes stays as it is, and its hash will tell: a mark that stands for two texts or
    for marks, and what would come to more than :data:`LONGEST`.
    """
    texts: list[tuple[bytes, bytes]] = _MARKED.findall(document)
    if len({mark for mark, _ in texts}) < len(texts) or any(_MARK.search(text) for _, text in texts):
        return document
    if grown(document, texts) > LONGEST:
        return document
    for mark, text in texts:
        document = document.replace(b">" + mark, b">").replace(mark, text)
    return document


def grown(document: bytes, texts: Iterable[tuple[bytes, bytes]]) -> int:
    """How many bytes a document would have with each of these texts wherever its mark stands."""
    return len(document) + sum(document.count(mark) * len(text) for mark, text in texts)
