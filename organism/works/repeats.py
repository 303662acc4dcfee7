"""What is sent again under the id of a thread: it is to be what began that thread, or whoever sends it is told that it is not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve, frozen

from organism.errors import IdTakenError, JournalError
from organism.journal.codec import decode_entry
from organism.likeness import INSTEAD, without_secrets
from organism.names import class_name, successor_of, told
from organism.payloads import encode_fields
from organism.record import facts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from organism.journal import Journal
    from organism.payloads import Vocabulary
    from organism.threads.frames import Thread

_BEGINNINGS: Final = frozenset({"Accepted"})


@frozen(kw_only=True)
class Sent:
    """A message from outside. ``accounts`` and ``conversation`` are those that were given with it, or those of its thread."""

    to: object
    payload: Any
    accounts: tuple[str, ...]
    conversation: str | None

    def taken_in(self, thread: Thread) -> Sent:
        """This message, once it has begun this thread."""
        talk = thread.conversation
        return evolve(self, accounts=thread.accounts, conversation=None if talk is None else talk.id)


def opening_of(journal: Journal, thread: str, vocabulary: Vocabulary | None) -> Sent | None:
    """The message that began a root thread, as far as the journal says so in payload classes of today; else ``None``."""
    chain = journal.root_of(thread)
    try:
        found = [] if chain is None else list(_beginnings(journal, chain, thread, vocabulary))
    except JournalError:  # said to whoever goes on with it
        return None
    accounts: tuple[str, ...] = ()
    for fact in found:
        for step in fact.steps:
            match step:
                case facts.ConversationOpened():
                    accounts = step.accounts
                case facts.ThreadOpened(conversation=None):
                    accounts = step.accounts
                case _:
                    pass
    steps = found[-1].steps if found else ()
    opened = next((each for each in steps if isinstance(each, facts.ThreadOpened)), None)
    posted = next((each for each in steps if isinstance(each, facts.Posted)), None)
    if opened is None or posted is None:
        return None
    return Sent(to=posted.to, payload=posted.payload, accounts=accounts, conversation=opened.conversation)


def _beginnings(journal: Journal, chain: str, thread: str, vocabulary: Vocabulary | None) -> Iterator[facts.Fact]:
    """What its chain began with, and the fact that opened it."""
    first = next(iter(journal.documents(chain)), None)
    if first is not None and first["thread"] != thread and first["fact"] in _BEGINNINGS:
        yield decode_entry(first, None)
    for document in journal.documents(chain, kinds=_BEGINNINGS, of=thread):
        if document["thread"] == thread:
            yield decode_entry(document, vocabulary)
            return


def check_same(id_: str, first: Sent, again: Sent) -> None:
    """Raises IdTakenError where what is sent under an id again is not what was sent under it first."""
    other = _other(first, again)
    if other is not None:
        raise IdTakenError(id_, f"is that of another message: {other}; send this one under another id")


def _other(first: Sent, again: Sent) -> str | None:
    """How one differs from the other. Whoever pays is compared first: what another tenant has sent is not told."""
    if (first.conversation is None or again.accounts) and again.accounts != first.accounts:
        return "that one is under other accounts"
    if not _goes_on(again.conversation, first.conversation):
        return f"that one is in {_told(first.conversation)}, this one in {_told(again.conversation)}"
    if again.to != first.to:
        return f"that one is for {told(first.to)}, this one for {told(again.to)}"
    if class_name(again.payload) != class_name(first.payload):
        return f"that one is of class {class_name(first.payload)}, this one of class {class_name(again.payload)}"
    there, here = encode_fields(first.payload), encode_fields(again.payload)
    for name in dict.fromkeys((*there, *here)):
        old, new = there.get(name), here.get(name)
        if not _same(old, new):
            was, now = without_secrets(told(old)), without_secrets(told(new))
            return f"{name!r} of that {class_name(again.payload)} is {was}, of this one {now}"
    return None


def _told(conversation: str | None) -> str:
    return "no conversation" if conversation is None else f"conversation {told(conversation)}"


def _goes_on(given: str | None, found: str | None) -> bool:
    """Whether a conversation is the one that was named, or one in which that goes on."""
    if given is None or found is None or given == found:
        return given == found
    return found.startswith(f"{successor_of(given).rpartition('~')[0]}~")


def _same(first: Any, again: Any) -> bool:
    """Whether a field says the same, as far as can be known: what was a secret is not written down, and may have been anything."""
    written, rest = _written(first), _written(again)
    begin, *parts = written.split(INSTEAD)
    if not parts:
        return written == rest
    if not rest.startswith(begin):
        return False
    at = len(begin)
    for part in parts[:-1]:
        found = rest.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return rest.endswith(parts[-1]) and len(rest) - len(parts[-1]) >= at


def _written(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
