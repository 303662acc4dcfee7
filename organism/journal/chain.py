"""The chain of one root thread: every entry holds its number, the hash of the one before it, and its own.

The hash is SHA-256 over the canonical form of the entry without it, so that no entry can be changed, left out, put in or moved
without the first bad one being found. What a chain cannot tell is whether entries are missing after its last one.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from organism.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

KEYS: Final = ("n", "prev", "hash")
"""What the chain adds to the content of an entry."""


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


def canonical(document: Mapping[str, Any]) -> bytes:
    """The one form of a JSON object in bytes: keys sorted, no blanks, UTF-8, floats as Python writes them.

    Half characters (lone surrogates), which UTF-8 cannot say, are escaped as JSON does. Raises JournalError for what is not JSON.
    """
    try:
        text = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise JournalError(f"an entry cannot be written as JSON: {error}") from error
    try:
        return text.encode()
    except UnicodeEncodeError:
        # Two halves that stand together are read as one character: they must be hashed as one, too.
        whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        return whole.encode("utf-8", "backslashreplace")


def digest(entry: Mapping[str, Any]) -> str:
    """The hash of an entry, in hex; what it says of its own is left out."""
    return hashlib.sha256(canonical({key: value for key, value in entry.items() if key != "hash"})).hexdigest()


def link(content: Mapping[str, Any], head: Head) -> dict[str, Any]:
    """The entry that follows ``head`` and holds this content."""
    entry = {**content, "n": head.number + 1, "prev": head.hash}
    return {**entry, "hash": digest(entry)}


def head_of(entry: Mapping[str, Any]) -> Head:
    """The end of the chain that a sound entry is the last of."""
    return Head(entry["n"], entry["hash"])


def content_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry without what the chain added."""
    return {key: value for key, value in entry.items() if key not in KEYS}


def problem_of(entry: Mapping[str, Any], head: Head, root: str | None = None) -> str | None:
    """What is wrong with an entry that should follow ``head``, in the chain of ``root`` where that is known."""
    if root is not None and entry.get("root") != root:
        return f"belongs to thread {entry.get('root')!r:.80}, and not to {root!r:.80}"
    if digest(entry) != entry.get("hash"):
        return "was changed: its hash is not that of its content"
    if entry.get("n") != head.number + 1:
        return (
            f"has the number {entry.get('n')!r:.80}, and {head.number + 1} is due: entries are missing or out of order"
        )
    if entry.get("prev") != head.hash:
        return "does not follow the entry before it: the hash that it holds is another's"
    return None


def verify(entries: Iterable[Mapping[str, Any]], root: str | None = None) -> Flaw | None:
    """The first bad entry of a chain, from its first entry on; ``None`` where all are sound."""
    head = Head()
    for number, entry in enumerate(entries, 1):
        problem = problem_of(entry, head, root)
        if problem is not None:
            return Flaw(number, problem)
        head = head_of(entry)
    return None
