"""Questions that wait no more: what they were answered with, so that whoever answers one again hears whether that was the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from organism.journal.codec import decode_entry
from organism.record import facts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from organism.journal import Journal
    from organism.payloads import Vocabulary

_REFUSED: Final = "refused"


@frozen
class Given:
    """What came of a question to the person ``of`` whom ``asked`` was asked: an ``answer``, or why it was ``refused``."""

    of: str
    asked: Any
    answer: Any
    refused: str | None


def given(journal: Journal, id_: str, vocabulary: Vocabulary | None) -> Given | None:
    """What a question of this id was answered with; ``None`` where there was none, or it failed in another way. Raises JournalError."""
    thread, _, number = id_.rpartition("/")
    root = journal.root_of(thread) if number.isdecimal() else None
    asked: facts.Posted | None = None
    for document in () if root is None else journal.documents(root):
        fact = decode_entry(document, vocabulary)
        if asked is not None and (fact.thread, getattr(fact, "seq", 0)) == (thread, int(number)):
            return _given(asked, fact)
        posted = (each for each in fact.steps if isinstance(each, facts.Posted) and each.answers)
        asked = next((each for each in posted if (each.thread, each.seq) == (thread, int(number))), asked)
    return None


def _given(asked: facts.Posted, fact: facts.Fact) -> Given | None:
    match fact:
        case facts.Answered():
            return Given(asked.to, asked.payload, _answer_in(fact.steps), None)
        case facts.Failed(failure=failure) if failure.code == _REFUSED:
            return Given(asked.to, asked.payload, None, failure.text)
        case _:
            return None


def _answer_in(steps: Iterable[object]) -> Any:
    """The payload that a person's reply brought to whoever asked, or out of the thread."""
    for step in steps:
        match step:
            case facts.Resolved(answer=answer):
                return answer
            case facts.Posted(kind="reply", payload=payload) | facts.Left(payload=payload):
                return payload
            case facts.CameLate(payload=payload):
                return payload
            case _:
                pass
    return None
