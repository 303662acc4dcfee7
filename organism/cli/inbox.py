"""``organism inbox`` and ``organism answer``: what people are asked, read from the journal without the organism's classes, and what they say to it."""

from __future__ import annotations

import json as jsons
from typing import TYPE_CHECKING, Annotated, Any, Final

from attrs import define, field, frozen
from cyclopts import Parameter

from organism.cli.arguments import Given, meant_by
from organism.cli.journals import HERE, Damage, InJournal
from organism.cli.options import OverWithJournal
from organism.cli.orders import carried_out
from organism.cli.phrases import asker_text, parts, question_lines, short
from organism.cli.sending import text_of
from organism.cli.tables import cell, instant, table
from organism.cli.text import one_line
from organism.errors import ConfigurationError
from organism.journal.codec import decode_entry
from organism.kernel.reading import Reading
from organism.kernel.steps import ref_of
from organism.payloads import Vocabulary, takes_lines
from organism.payloads.primitives import BudgetDecision, BudgetRequest
from organism.results import Question
from organism.settings import UNITS
from organism.threads.lineage import root_of
from organism.works.answers import given
from organism.works.control import Order
from organism.works.inbox import question_of, read
from organism.works.rows import payload_json
from organism.works.vocabulary import payload_classes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from organism.cli.journals import Where
    from organism.cli.streams import Streams
    from organism.journal import Journal
    from organism.threads.frames import Message


@frozen
class Waiting:
    """A question with the chain that its thread is in."""

    question: Question
    chain: str

    def as_json(self) -> dict[str, Any]:
        """The object that ``organism inbox --json`` prints."""
        asked = self.question
        return {
            "id": asked.id,
            "thread": asked.thread,
            "handler": asked.handler,
            "from": asked.sender or None,
            "asked_at": asked.asked_at,
            "labels": dict(asked.labels),
            "accounts": list(asked.accounts),
            **payload_json(asked.payload),
            "answers": list(asked.answers),
            "requester": None if asked.requester is None else asked.requester.as_json(),
        }


@define(eq=False)
class Inbox:
    """The questions of a journal. ``over`` are those that wait no more, ``damage`` what could not be read."""

    waiting: list[Waiting] = field(factory=list[Waiting])
    over: set[str] = field(factory=set[str])
    damage: Damage = field(factory=Damage)

    def named(self, text: str) -> Waiting:
        """The question of this id, or the only one whose id begins so. Raises ConfigurationError where there is none."""
        found = meant_by(text, {each.question.id: each for each in self.waiting}, "questions")
        if found is not None:
            return found
        shown = one_line(text)
        if text in self.over:
            raise ConfigurationError([f"question '{shown}' was answered already, or nobody waits for it any more"])
        raise ConfigurationError([f"there is no question '{shown}'; 'organism inbox' lists all"])


def inbox_of(journal: Journal) -> Inbox:
    """The questions of all threads that have not ended, the oldest first. What is damaged is noted, and others are read."""
    inbox = Inbox()
    for chain in journal.chains(open=True):
        reading = Reading()
        with inbox.damage:
            for fact in map(decode_entry, journal.documents(chain.root)):
                reading.take(fact)
            waiting = {ref_of(message): message for message in reading.state.inbox.questions}
            inbox.over |= {f"{thread}/{seq}" for thread, seq in reading.asked.keys() - waiting.keys()}
            inbox.waiting += [
                Waiting(question_of(reading.state, message, reading.asked.get(ref, ()), _unit(message)), chain.root)
                for ref, message in waiting.items()
                if not root_of(message.thread).waits_turn
            ]
    inbox.waiting.sort(key=lambda each: each.question.asked_at)
    return inbox


def _unit(asked: Message) -> str | None:
    """The unit of a request for more budget."""
    name, fields = parts(asked.payload)
    return fields.get("unit") if name == BudgetRequest.__name__ and fields.get("unit") in UNITS else None


_HEAD: Final = ("question", "asked (UTC)", "of", "by", "what", "answers with")


def inbox(
    question: Annotated[
        str | None,
        Parameter(name="ID", help="Show only this question, whole: its id or a unique prefix of it."),
    ] = None,
    /,
    *,
    json: Annotated[bool, Parameter(help="JSON lines: one object per question.")] = False,
    where: InJournal = HERE,
    streams: Given,
) -> int:
    """Lists the questions that wait for people, the oldest first; 'organism answer' answers them.

    If a thread is damaged, lists the questions of the others and exits with 5.
    """
    with where.opened() as found:
        asked = inbox_of(found)
    one = None if question is None else asked.named(question)
    if json:
        for each in asked.waiting if one is None else [one]:
            streams.result(jsons.dumps(each.as_json()))
    elif one is not None:
        streams.result("\n".join(_whole(one.question, streams.width)))
    elif asked.waiting:
        streams.result("\n".join(table([_HEAD, *map(_row, asked.waiting)])))
    elif not asked.damage:
        streams.note("no question waits for an answer")
    return asked.damage.told(streams)


def _whole(asked: Question, width: int) -> Iterator[str]:
    yield from question_lines(asked, width)
    yield f"answers with: {' or '.join(map(one_line, asked.answers))}"
    if asked.requester is not None:  # of others the classes are not known here
        _, fields = parts(asked.payload)
        yield from takes_lines([BudgetDecision], {name: fields[name] for name in ("unit", "amount")})


def _row(waiting: Waiting) -> tuple[str, ...]:
    asked = waiting.question
    return (
        one_line(asked.id),
        instant(asked.asked_at),
        asked.handler,
        asker_text(asked),
        cell(short(asked.payload)),
        " or ".join(map(one_line, asked.answers)),
    )


def answer(
    question: Annotated[str, Parameter(name="ID", help="The question's id or a unique prefix of it.")],
    /,
    *,
    send: Annotated[
        str | None,
        Parameter(
            allow_leading_hyphen=True,
            metavar="X",
            help="The answer: XML, JSON, @FILE, - for standard input, or plain text if its payload has one required text, or nothing but one.",
        ),
    ] = None,
    refuse: Annotated[
        str | None,
        Parameter(allow_leading_hyphen=True, metavar="TEXT", help="Why there is no answer; the asker is told."),
    ] = None,
    where: InJournal = HERE,
    streams: Given,
) -> int:
    """Answers a question for a person, or says why there is no answer.

    A process that works on the journal continues with the answer immediately; if there is none, the answer is written into the
    journal, and 'organism resume' continues with it.

    Example: organism answer 91b7 --send 'Print it.'
    """
    if (send is None) == (refuse is None):
        one = "" if send is None else ", not both"
        raise ConfigurationError(
            [f"organism answer: give the answer with --send, or say with --refuse why there is none{one}"]
        )
    if refuse is not None and not refuse.strip():
        raise ConfigurationError(["organism answer --refuse: is empty; say why there is no answer"])
    text = None if send is None else text_of(send, streams.input)
    with where.opened() as found:
        try:
            waiting = inbox_of(found).named(question)
        except ConfigurationError:
            if not _was_given(found, question, text, refuse, where, streams):
                raise
            streams.result(f"question {one_line(question)} was answered so before: nothing was changed")
            return 0
    order = Order(do="answer", thread=waiting.question.thread, question=waiting.question.id, text=text, refuse=refuse)
    return carried_out(order, waiting.chain, where, streams)


def _was_given(
    journal: Journal, question: str, text: str | None, refuse: str | None, where: Where, streams: Streams
) -> bool:
    """Whether a question that waits no more was answered by this very answer. Raises ConfigurationError where it was by another one."""
    if given(journal, question, None) is None:
        return False
    settings = OverWithJournal(journal=where.journal).settings(where.file, streams)
    before = given(journal, question, Vocabulary(payload_classes(settings)))
    if before is None or before.of not in settings.handlers:
        return False
    if refuse is not None or before.refused is not None:
        same = before.refused is not None and before.refused == refuse
    else:
        same = read(settings.handlers[before.of], before.asked, text or "", said="--send") == before.answer
    if same:
        return True
    how = f"refused: {before.refused}" if before.answer is None else f"answered: {short(before.answer)}"
    raise ConfigurationError([one_line(f"question '{question}' was {how}")])
