"""What the record says of each delivery: what it asked, what it was answered and when, how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import define, field

from organism.journal.prompts import Prompt
from organism.record import facts
from organism.record.images import CutShort, Kept, Ref

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from organism.record.facts import Fact, Step
    from organism.threads.outcomes import Failure

END: Final = "end"
"""Stands for the end of a delivery among the keys of its questions."""
REFUSED: Final = "refused"
"""Stands for a question that a limit refused: the record does not say which."""


@define(eq=False)
class Question:
    """A question that the record knows. ``asked``, ``settled`` and ``answered`` are places in the record; ``answer`` is what a
    model said. ``prompts`` are what it was asked: more than one where it was asked again after a crash.
    """

    key: str
    asked: int
    prompts: list[Prompt] = field(factory=list[Prompt])
    settled: int | None = None
    answered: int | None = None
    answer: tuple[str, Kept] | None = None
    hooked: bool = False
    """A hook answered in the model's place."""
    failed: tuple[int, str] | None = None
    """Where in the record no backend had an answer, and what its handler heard then."""


Which = tuple[str, int, int]
"""A delivery: the thread and the number of its message, and which attempt at that it is, from 1."""


@define(eq=False)
class Part:
    """A delivery. ``marks`` are the places in the record that it has to have come to, each with the key of its question."""

    ref: Ref
    attempt: int = 1
    handler: str = ""
    posted: int | None = None
    due: float = 0.0
    """When a further attempt was to begin."""
    questions: dict[str, Question] = field(factory=dict[str, Question])
    marks: list[tuple[int, str]] = field(factory=list[tuple[int, str]])
    times: list[float] = field(factory=list[float])
    cuts: dict[str, CutShort] = field(factory=dict[str, CutShort])
    """How its history was cut short, by the key of each."""
    given_up: set[str] = field(factory=set[str])
    """What it asked before a crash, and not after it."""
    end: int | None = None
    dropped: bool = False
    undelivered: bool = False
    """It failed without its handler being called."""
    before: Part | None = None
    """The delivery that its mailbox handled before it."""

    @property
    def which(self) -> Which:
        """Its name."""
        return (*self.ref, self.attempt)

    @property
    def calls(self) -> int:
        """How many of its questions went to models."""
        return sum(bool(each.prompts) for each in self.questions.values())

    @property
    def ran(self) -> bool:
        """Whether the record shows that its handler was called."""
        return bool(self.questions) or bool(self.marks and not self.dropped and not self.undelivered)


def parts_of(record: Sequence[Fact], prompts: Mapping[int, Prompt]) -> dict[Which, Part]:
    """The deliveries of a record; ``prompts`` has what models were asked, by the number of the hold."""
    reading = _Reading(prompts)
    for place, fact in enumerate(record):
        reading.take(place, fact)
    boxes: dict[tuple[str, str], Part] = {}
    for part in sorted((each for each in reading.parts.values() if each.marks), key=lambda each: each.marks[0][0]):
        box = (part.ref[0], part.handler)
        part.before, boxes[box] = boxes.get(box), part
    return reading.parts


class _Reading:
    def __init__(self, prompts: Mapping[int, Prompt]) -> None:
        self.parts: dict[Which, Part] = {}
        self._last: dict[Ref, Part] = {}
        """The latest attempt at each message."""
        self._prompts = prompts
        self._held: dict[int, Question] = {}

    def take(self, place: int, fact: Fact) -> None:
        for step in fact.steps:
            self._step(place, step)
        match fact:
            case facts.Answered(seq=seq, handler=handler):
                self._end(place, self._part(fact, seq), handler)
            case facts.Failed(seq=seq, handler=handler, failure=failure):
                self._end(place, self._part(fact, seq), handler, failure)
            case facts.Retried(seq=seq, handler=handler, failure=failure, again_at=due):
                part = self._part(fact, seq)
                self._end(place, part, handler, failure)
                following = Part(part.ref, attempt=part.attempt + 1, handler=handler, posted=place, due=due)
                self._last[part.ref] = self.parts[following.which] = following
            case facts.Dropped(seq=seq):
                part = self._part(fact, seq)
                part.dropped = True
                self._end(place, part, part.handler)
            case _:
                self._take_inside(place, fact)

    def _take_inside(self, place: int, fact: Fact) -> None:
        """What happened while a delivery was under way."""
        match fact:
            case facts.CallHeld(seq=seq) if seq:
                self._call(place, fact)
            case facts.CallSettled(hold=hold) if hold in self._held:
                self._held[hold].settled = place
            case facts.CallCompleted(seq=seq, key=key, text=text, kept=kept) if seq and key and kept is not None:
                part = self._part(fact, seq)
                hooked = key not in part.questions
                found = self._ask(place, part, key)
                found.answered, found.answer, found.hooked = place, (text, kept), hooked
            case facts.CallFailed(seq=seq, key=key, outcome="failed", text=text) if seq and key:
                self._ask(place, self._part(fact, seq), key).failed = place, text  # it may never have been held
            case facts.Asked(seq=seq, key=key) | facts.Spawned(seq=seq, key=key):
                self._ask(place, self._part(fact, seq), key)
            case facts.CallRefused(seq=seq) if seq:
                self._part(fact, seq).marks.append((place, REFUSED))
            case facts.Compacted(seq=seq, key=key, cut=cut):
                self._part(fact, seq).cuts[key] = cut
            case facts.Diverged(seq=seq, keys=keys):
                self._part(fact, seq).given_up.update(keys)
            case _:
                pass

    def _part(self, fact: Fact, seq: int) -> Part:
        return self._of((fact.thread, seq))

    def _of(self, ref: Ref) -> Part:
        found = self._last.get(ref)
        if found is None:
            found = self._last[ref] = self.parts[(*ref, 1)] = Part(ref)
        return found

    def _step(self, place: int, step: Step) -> None:
        if isinstance(step, facts.Posted):
            part = self._of((step.thread, step.seq))
            part.handler, part.posted = step.to, place
        elif isinstance(step, facts.ClockRead):
            self._of(step.message).times += step.times

    def _call(self, place: int, held: facts.CallHeld) -> None:
        part, prompt = self._part(held, held.seq), self._prompts.get(held.hold)
        found = self._ask(place, part, held.key)
        self._held[held.hold] = found
        if prompt is not None and prompt not in found.prompts:
            found.prompts.append(prompt)

    def _ask(self, place: int, part: Part, key: str) -> Question:
        found = part.questions.get(key)
        if found is None:
            found = part.questions[key] = Question(key, place)
            part.marks.append((place, key))
        return found

    def _end(self, place: int, part: Part, handler: str, failure: Failure | None = None) -> None:
        part.end, part.handler = place, handler
        part.undelivered = failure is not None and bool(failure.undelivered)
        part.marks.append((place, END))
