"""The questions that wait in a journal for people: read from its facts, without the organism's classes."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field, frozen

from organism.cli.damage import Damage
from organism.cli.phrases import parts
from organism.cli.reading import facts_of, payload_json
from organism.cli.text import one_line
from organism.cli.thread_usage import UsageOfThreads
from organism.errors import ConfigurationError
from organism.names import CONVERSATION, ORGANISM, ambiguous, begun
from organism.record import facts
from organism.results import Question, Requester
from organism.settings import UNITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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
            raise ConfigurationError([f"question '{shown}' was answered already, or is not waited for any more"])
        raise ConfigurationError([f"there is no question '{shown}'; 'organism inbox' lists those that wait"])


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
            case facts.ThreadOpened(thread=id_, owner=owner):
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
