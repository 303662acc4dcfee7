"""The chain of one root thread: every entry holds its number, the hash of the one before it, and its own.

An entry in bytes is the canonical form of its content, with ``n``, ``prev`` and ``hash`` as its last keys. The hash is SHA-256 over
these bytes without the hash, so that no entry can be changed, left out, put in or moved without the first bad one being found.
What a chain cannot tell is whether entries are missing after its last one.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from organism.errors import JournalError
from organism.names import told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

KEYS: Final = ("n", "prev", "hash")
"""What the chain adds to the content of an entry, behind it and in this order."""
CHANGED: Final = "was changed: its hash does not match its content"


@frozen
class Head:
    """The end of a chain: how many entries there are, and the hash of the last; ``None`` where there is none yet."""

    number: int = 0
    hash: str | None = None


@frozen
class Flaw:
    """The first bad entry of a chain: its place in the order, from 1, and what is wrong with it."""

    number: int
    problem: str

    def __str__(self) -> str:
        return f"entry {self.number}: {self.problem}"


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
json_text: Final[Callable[[Any], str]] = _ENCODER.encode
"""The canonical text of any JSON value; raises TypeError or ValueError for what is none."""


def canonical(content: Mapping[str, Any]) -> bytes:
    """The one form of a JSON object in bytes: keys sorted, no blanks, UTF-8, floats as Python writes them.

    Raises JournalError for what is not JSON.
    """
    try:
        text = json_text(content)
    except (TypeError, ValueError, RecursionError) as error:
        raise JournalError(f"an entry cannot be written as JSON: {error}") from error
    return utf8(text)


def utf8(text: str) -> bytes:
    """JSON text in bytes; half characters (lone surrogates), which UTF-8 cannot say, are escaped as JSON does."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        # Two halves that stand together are read as one character: they must be hashed as one, too.
        whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        return whole.encode("utf-8", "backslashreplace")


def seal(content: bytes, head: Head) -> tuple[bytes, Head]:
    """The bytes of the entry that follows ``head`` with this canonical content, and the head that it makes."""
    body = _linked(content, head.number + 1, head.hash)
    hashed = sha256(body).hexdigest()
    return b'%b,"hash":"%b"}' % (body[:-1], hashed.encode()), Head(head.number + 1, hashed)


def sealed_hash(content: bytes, number: int, before: str | None) -> bytes:
    """The hash alone, in bytes, of an entry with this number, behind the one with the hash ``before``."""
    return sha256(_linked(content, number, before)).digest()


def _linked(content: bytes, number: int, before: str | None) -> bytes:
    """What the hash is of."""
    prev = "null" if before is None else f'"{before}"'
    return content[:-1] + f',"n":{number},"prev":{prev}}}'.encode()


def is_sealed(raw: bytes, entry: Mapping[str, Any]) -> bool:
    """Whether these bytes, which were read as ``entry``, have the hash that they say."""
    said = b',"hash":"%b"}' % str(entry.get("hash")).encode("utf-8", "replace")
    return raw.endswith(said) and sha256(raw[: -len(said)] + b"}").hexdigest() == entry.get("hash")


def line_of(entry: Mapping[str, Any]) -> bytes:
    """The bytes of an entry, as :func:`seal` wrote them."""
    end = {key: entry.get(key) for key in KEYS}
    return canonical(content_of(entry))[:-1] + b"," + json.dumps(end, separators=(",", ":")).encode()[1:]


def head_of(entry: Mapping[str, Any]) -> Head:
    """The end of the chain that a sound entry is the last of."""
    return Head(entry["n"], entry["hash"])


def content_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry without what the chain added."""
    return {key: value for key, value in entry.items() if key not in KEYS}


def misplaced(entry: Mapping[str, Any], head: Head, root: str | None = None) -> str | None:
    """Why an entry whose hash is sound does not follow ``head``, in the chain of ``root`` where that is known."""
    if root is not None and entry.get("root") != root:
        return f"belongs to thread {told(entry.get('root'))}, and not to {told(root)}"
    if entry.get("n") != head.number + 1:
        return f"has number {told(entry.get('n'))} where {head.number + 1} is expected: entries are missing or out of order"
    if entry.get("prev") != head.hash:
        return "does not follow the entry before it: the hash that it holds of that one is wrong"
    return None


def verify(entries: Iterable[Mapping[str, Any]], root: str | None = None) -> Flaw | None:
    """The first bad entry of a chain, from its first entry on; ``None`` where all are sound."""
    head = Head()
    for number, entry in enumerate(entries, 1):
        problem = misplaced(entry, head, root) if is_sealed(line_of(entry), entry) else CHANGED
        if problem is not None:
            return Flaw(number, problem)
        head = head_of(entry)
    return None


def checked(root: str, documents: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """The entries of a whole and sound chain of this root thread; raises JournalError for any other."""
    entries = tuple(documents)
    if not entries:
        raise JournalError(f"thread {told(root)} cannot be imported: it has no entries")
    flaw = verify(entries, root)
    if flaw is not None:
        raise JournalError(f"thread {told(root)} cannot be imported: {flaw}")
    return entries
