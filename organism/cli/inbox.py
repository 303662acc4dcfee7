"""``organism inbox`` and ``organism answer``: what people are asked, read from the journal without the organism's classes, and what they say to it."""

from __future__ import annotations

import json as jsons
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Final

from attrs import define, evolve, field, frozen
from cyclopts import Parameter

from organism.cli.arguments import Given  # noqa: TC001 - cyclopts reads annotations
from organism.cli.journals import HERE, Damage, InJournal
from organism.cli.orders import carried_out
from organism.cli.phrases import asker_text, parts, question_lines, short
from organism.cli.reading import facts_of, payload_json
from organism.cli.sending import text_of
from organism.cli.tables import instant, table
from organism.cli.text import cut, one_line
from organism.cli.thread_usage import UsageOfThreads
from organism.errors import ConfigurationError
from organism.names import CONVERSATION, ORGANISM, ambiguous, begun
from organism.payloads import takes_lines
from organism.payloads.primitives import BudgetDecision
from organism.record import facts
from organism.results import Question, Requester
from organism.settings import UNITS
from organism.works.control import Order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from organism.journal import Chain, Journal
    from organism.record.facts import Fact, Step
    from organism.record.images import Ref


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
        known = {each.question.id: each for each in self.waiting}
        found = begun(text, known)
        if len(found) == 1:
            return known[found[0]]
        if found:
            raise ConfigurationError([ambiguous(text, found, "questions")])
        shown = one_line(text)
        if text in self.over:
            raise ConfigurationError([f"question '{shown}' was answered already, or nobody waits for it any more"])
        raise ConfigurationError([f"there is no question '{shown}'; 'organism inbox' lists all"])


def inbox_of(journal: Journal) -> Inbox:
    """The questions of all threads that have not ended, the oldest first. What is damaged is noted, and others are read."""
    inbox = Inbox()
    for chain in journal.chains(open=True):
        reading = _Reading(chain)
        with inbox.damage:
            for fact in facts_of(journal.documents(chain.root)):
                reading.take(fact)
            inbox.waiting += reading.waiting()
            inbox.over |= {_id(ref) for ref in reading.asked.keys() - reading.left}
    inbox.waiting.sort(key=lambda each: each.question.asked_at)
    return inbox


class _Reading:
    """What the facts of one chain say of questions. ``asked`` are all of them, ``left`` those that wait yet."""

    def __init__(self, chain: Chain) -> None:
        self.asked: dict[Ref, Question] = {}
        self.left: dict[Ref, None] = {}
        self._chain = chain
        self._root_of: dict[str, str] = {}
        self._labels: dict[str, Mapping[str, str]] = {}
        self._accounts: tuple[str, ...] = ()
        """Those of the thread, or of all turns of the conversation."""
        self._used = UsageOfThreads()
        self._wanting: dict[Ref, Ref] = {}
        """What the organism was asked, by the questions that come of it."""
        self._to_organism: dict[Ref, str] = {}
        """Who sent the organism what, by the frame that it works on that in."""
        self._turns: dict[str, None] = {}
        """Root threads that have not ended, in their order."""

    def take(self, fact: Fact) -> None:
        self._used.take(fact)
        for step in fact.steps:
            self._step(step, fact.at)
        match fact:
            case facts.Buried(seq=seq, dropped=dropped):
                self._drop([(fact.thread, seq), *dropped])
            case facts.Answered(seq=seq) | facts.Failed(seq=seq) | facts.Dropped(seq=seq):
                self._drop([(fact.thread, seq)])
            case facts.Stopped(dropped=dropped) | facts.Exhausted(dropped=dropped):
                self._drop(dropped)
            case facts.Ended() if fact.thread in self._turns:
                self._end(fact.thread, fact.at)
            case _:
                pass

    def _step(self, step: Step, at: float) -> None:
        match step:
            case facts.ConversationOpened(accounts=accounts):
                self._accounts = accounts
            case facts.ThreadOpened(thread=id_, owner=owner):
                self._accounts = self._accounts or step.accounts
                self._root_of[id_] = id_ if owner is None else self._root_of.get(owner[0], owner[0])
                self._labels[id_] = step.labels
                if owner is None:
                    self._turns[id_] = None
            case facts.Posted(to=to) if to == ORGANISM:
                self._to_organism[step.frame] = step.sender
            case facts.Posted(answers=answers) if answers:
                ref = (step.thread, step.seq)
                self.left[ref] = None
                if step.sender == ORGANISM and step.parent in self._to_organism:
                    self._wanting[ref] = step.parent
                self.asked[ref] = Question(
                    id=_id(ref),
                    thread=self._root_of.get(step.thread, step.thread),
                    handler=step.to,
                    payload=step.payload,
                    sender=step.sender if step.kind != "ingress" else "",
                    asked_at=at,
                    labels=self._labels.get(step.thread, {}),
                    answers=answers,
                    accounts=self._accounts,
                )
            case facts.Cut(dropped=dropped):
                self._drop(dropped)
            case _:
                pass

    def _drop(self, refs: Iterable[Ref]) -> None:
        for ref in refs:
            self.left.pop(ref, None)

    def _end(self, thread: str, at: float) -> None:
        """A turn has ended: the next one begins now."""
        first = next(iter(self._turns)) == thread
        del self._turns[thread]
        if first and self._turns:
            begins = next(iter(self._turns))
            for ref in self.left:
                if self.asked[ref].thread == begins:
                    self.asked[ref] = evolve(self.asked[ref], asked_at=at)

    def waiting(self) -> list[Waiting]:
        """Those that wait; a turn that stands in line asks nobody yet."""
        begun = next(iter(self._turns), None) if self._chain.root.startswith(CONVERSATION) else None
        return [
            Waiting(evolve(self.asked[ref], requester=self._requester(ref)), self._chain.root)
            for ref in self.left
            if begun is None or self.asked[ref].thread == begun
        ]

    def _requester(self, ref: Ref) -> Requester | None:
        """Who asks for more budget, where the organism asks whether it is granted."""
        frame = self._wanting.get(ref)
        _, fields = parts(self.asked[ref].payload)
        spent = None if frame is None else self._used.of(frame[0])
        if frame is None or spent is None or (unit := fields.get("unit")) not in UNITS:
            return None
        whose = spent.limited(unit)
        limit = getattr(whose.limits, unit)
        return Requester(
            handler=self._to_organism[frame],
            thread=whose.thread,
            unit=unit,
            used=whose.used(unit),
            limit=None if limit is None else Decimal(str(limit)),
        )


def _id(ref: Ref) -> str:
    return f"{ref[0]}/{ref[1]}"


_HEAD: Final = ("question", "asked (UTC)", "of", "by", "what", "answers with")
_WIDEST: Final = 60


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
        cut(short(asked.payload), _WIDEST),
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
            help="The answer: XML, JSON, @FILE, - for standard input, or plain text if its payload has one required text.",
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

    A process that works on the journal continues with the answer at once; if there is none, the answer is written into the
    journal, and 'organism resume' continues with it.
    """
    if send is None and refuse is None:
        raise ConfigurationError(
            ["organism answer: give the answer with --send, or say with --refuse why there is none"]
        )
    if send is not None and refuse is not None:
        raise ConfigurationError(
            ["organism answer: --send gives an answer, and --refuse says why there is none: one of them"]
        )
    if refuse is not None and not refuse.strip():
        raise ConfigurationError(["organism answer --refuse: is empty; say why there is no answer"])
    with where.opened() as found:
        waiting = inbox_of(found).named(question)
    text = None if send is None else text_of(send, streams.input)
    order = Order(do="answer", thread=waiting.question.thread, question=waiting.question.id, text=text, refuse=refuse)
    return carried_out(order, waiting.chain, where, streams)
