"""What models were asked, put together again from the entries of a chain.

A prompt is written down by what the same handler asked before: its entry names the call whose messages it begins with, and holds
only the new ones. A further attempt of a call asks the same, and its entry holds nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from attrs import field, frozen

from organism.errors import JournalError
from organism.journal.values import opened
from organism.names import counted

if TYPE_CHECKING:
    from collections.abc import Iterable


@frozen(eq=False)
class Said:
    """The messages of a prompt, chat-completions objects: the first ``kept`` ones of the one ``before``, and those that were ``added``.

    So all prompts of a chain take the room of its entries, where a tuple for each took that of all that was ever sent.
    """

    before: Said | None
    kept: int
    added: tuple[Any, ...]

    @property
    def count(self) -> int:
        """How many there are."""
        return self.kept + len(self.added)

    def then(self, kept: int, added: tuple[Any, ...]) -> Said:
        """Those of a prompt that begins with the first ``kept`` of these."""
        before: Said | None = self
        while before is not None and before.kept >= kept:
            before = before.before  # of the one between nothing is left
        return Said(before, kept, added)

    def whole(self) -> tuple[Any, ...]:
        """All of them."""
        parts: list[tuple[Any, ...]] = []
        said: Said | None = self
        end = self.count
        while said is not None:
            parts.append(said.added[: end - said.kept])
            end = said.kept
            said = said.before
        return tuple(chain.from_iterable(reversed(parts)))


@frozen(kw_only=True)
class Prompt:
    """What a model was asked. ``key`` names the call among those of its delivery, ``asked`` is the rest of the request (tools,
    temperature, ...), beside what was ``said``.
    """

    key: str
    asked: Mapping[str, Any]
    said: Said = field(repr=False, eq=Said.whole)

    @property
    def messages(self) -> tuple[Any, ...]:
        """All its messages, put together at each look."""
        return self.said.whole()


def prompts(documents: Iterable[Mapping[str, Any]]) -> dict[int, list[Any]]:
    """The messages that were sent with every call, by the number of its hold, in the order of the chain.

    ``documents`` are the entries of one chain from its first on, or those of ``CallHeld`` and ``CallSettled`` alone. Calls whose
    prompts were not written down are left out. Raises JournalError where a prompt begins with one that is not there.
    """
    return {hold: list(prompt.messages) for hold, prompt in requests(documents).items()}


def requests(documents: Iterable[Mapping[str, Any]]) -> dict[int, Prompt]:
    """As :func:`prompts`, with the rest of what was asked."""
    reading = _Reading()
    for document in documents:
        reading.take(document)
    return reading.found


class _Reading:
    """The prompts so far, and the last attempt of each call."""

    def __init__(self) -> None:
        self.found: dict[int, Prompt] = {}
        self._last: dict[tuple[str, int, str], int] = {}

    def take(self, document: Mapping[str, Any]) -> None:
        """Takes in an entry."""
        if document.get("fact") != "CallHeld":
            return
        hold, key = document["hold"], document.get("key", "")
        call = (document.get("thread", ""), document.get("seq", 0), key)
        given = document.get("prompt")
        before = self._last.get(call)
        if given is not None:
            self.found[hold] = _prompt(document, key, given, self.found)
        elif before is not None and before in self.found:
            self.found[hold] = self.found[before]
        self._last[call] = hold


def _prompt(document: Mapping[str, Any], key: str, given: Mapping[str, Any], found: Mapping[int, Prompt]) -> Prompt:
    after, kept = given.get("after"), given.get("kept", 0)
    earlier = None if after is None else found.get(after)
    if after is not None and (earlier is None or kept > earlier.said.count):
        lacks = "is not there" if earlier is None else f"has {earlier.said.count}"
        raise JournalError(
            f"entry {document.get('n', '?')}: its prompt begins with {counted(kept, 'message')} of call {after}, which {lacks}"
        )
    asked = given.get("asked")
    added = tuple(_plain(opened(each, None)) for each in given.get("messages", ()))
    return Prompt(
        key=key,
        said=Said(None, 0, added) if earlier is None else earlier.said.then(kept, added),
        asked=_plain(opened(asked, None)) if asked is not None else {} if earlier is None else earlier.asked,
    )


def _plain(value: Any) -> Any:
    """As JSON would have it: what was a tuple is a list."""
    given: Any = value
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in cast("Mapping[str, Any]", given).items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in given]
    return value
