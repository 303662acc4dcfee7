"""What went on in a thread, as a person would tell it: who said what to whom, calls, warnings, how it ended.

Facts become lines. A line stands as deep as the frame in which it happened: what a handler asks of another is below it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from organism.cli.budget_warnings import warning_lines
from organism.cli.phrases import cut_text, failure_text, forecast_text, grant_text, parts, short, xml_of
from organism.cli.report import field_lines
from organism.cli.story.calls import ModelCalls, call_named
from organism.cli.story.page import Page
from organism.cli.tables import figure_text, limits_text, outcome_text
from organism.cli.text import one_line
from organism.durations import duration
from organism.errors import titled
from organism.kernel.state import NO_REPLY
from organism.names import CONVERSATION, ORGANISM, counted, is_within
from organism.record import facts
from organism.threads.outcomes import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from organism.cli.story.page import How, Line
    from organism.journal.prompts import Prompt
    from organism.record.facts import Fact, Posted, Step
    from organism.record.images import Ref


_NAMED: Final = 4
"""Values that a handler keeps whose names are told."""
_HISTORY: Final = re.compile(r"message \d+")
"""The names under which an agent keeps what was said."""


class Story:
    """Folds facts into ``lines``. ``root`` is the thread that is told of, ``prompts`` are what models were asked, by the number
    of the hold. ``within`` is the thread whose lines are wanted, and those of threads below it, where these are not all.
    """

    def __init__(self, root: str, prompts: Mapping[int, Prompt], how: How, *, within: str | None = None) -> None:
        self._page = Page()
        self._root = root
        self._how = how
        self._within = within
        self._calls = ModelCalls(self._page, prompts, how, self._handler)
        self._posted: dict[Ref, Posted] = {}
        self._depths: dict[Ref, int] = {}
        """How deep the deliveries of a frame stand."""
        self._owners: dict[str, Ref] = {}
        """The frames that opened sub-threads."""
        self._opened_for: dict[str, str] = {}
        """The handlers that threads were opened for."""
        self._paused: set[str] = set()
        self._queued: dict[Ref, Posted] = {}
        self._tries: dict[Ref, int] = {}
        """How many attempts at a message have failed."""

    @property
    def lines(self) -> list[Line]:
        """What was told so far."""
        return self._page.lines

    def tell(self, fact: Fact) -> None:
        """Takes in what has happened."""
        self._page.muted = not self._wanted(fact.thread)
        depth = self._depth_of((fact.thread, getattr(fact, "seq", 0)))
        if isinstance(fact, facts.Answered | facts.Failed | facts.Dropped):
            self._queued.pop((fact.thread, fact.seq), None)
        text = self._of_delivery(fact) or self._of_budget(fact) or self._of_course(fact)
        # What was warned of came before the refusal; what a handler keeps matters less than what it says.
        last = isinstance(fact, facts.CallRefused) or bool(getattr(fact, "state", None))
        if text and not last:
            self._page.add(fact.at, depth, text)
        self._calls.take(fact, depth)
        for step in fact.steps:
            self._step(step, fact, depth)
        if isinstance(fact, facts.Stopped | facts.Exhausted | facts.Buried):
            self._drop(fact.dropped)
        message = (fact.thread, getattr(fact, "seq", 0))
        who = self._handler(message) if message in self._posted else self._opened_for.get(fact.thread, "")
        for line in warning_lines(fact.steps, lambda _: who):
            self._page.add(fact.at, depth, line.partition(" [thread ")[0])
        if text and last:
            self._page.add(fact.at, depth, text)

    def waiting(self) -> Iterator[str]:
        """Who has a message that is queued or being handled, and which calls are out: what an open thread waits for."""
        for ref, posted in self._queued.items():
            if self._wanted(ref[0]):
                yield f"{posted.to} has {self._name(ref)}: {short(posted.payload)}"
        for held in self._calls.out():
            if self._wanted(held.thread):
                yield f"{call_named(held)} to {one_line(held.backend)} is under way: {counted(held.need[0], 'token')} held"

    def _wanted(self, thread: str) -> bool:
        return self._within is None or is_within(thread, self._within)

    # Names

    def _name(self, ref: Ref) -> str:
        """``#4``; of a sub-thread ``.9#1``."""
        thread, seq = ref
        return f"{one_line(self._thread(thread))}#{seq}"

    def _thread(self, thread: str) -> str:
        return thread.removeprefix(self._root)

    def _handler(self, ref: Ref) -> str:
        posted = self._posted.get(ref)
        return "outside" if posted is None else posted.to

    def _depth_of(self, message: Ref) -> int:
        """How deep stands what the delivery of a message does."""
        posted = self._posted.get(message)
        if posted is not None:
            return self._depths.get(posted.frame, 0)
        owner = self._owners.get(message[0])
        return 0 if owner is None else self._depths.get(owner, 0) + 1

    # Facts

    def _of_delivery(self, fact: Fact) -> str:  # noqa: PLR0911 - a case for each fact
        """What a handler has come to, and what it was told or left out."""
        match fact:
            case facts.Answered(steps=steps, state=None, handler=handler) if all(map(_follows, steps)):
                return f"{handler} is done"
            case facts.Answered(handler=handler, state=state) if state:
                return f"{handler} {_kept(state)}"
            case facts.Failed() | facts.Retried():
                return self._fails(fact)
            case facts.Dropped(seq=seq):
                return f"{self._handler((fact.thread, seq))} is stopped"
            case facts.Compacted(handler=handler, cut=cut):
                return f"{handler}{cut_text(cut)}"
            case facts.Noticed(handler=handler):
                told = [step.seq for step in fact.steps if isinstance(step, facts.WarningTold)]
                return f"{handler} gets {counted(len(told), 'warning')} in its prompt"
            case facts.Diverged(handler=handler, keys=keys):
                return f"{handler} went another way than before the restart: {counted(len(keys), 'earlier request')} not made again"
            case _:
                return ""

    def _of_budget(self, fact: Fact) -> str:
        """What was refused, granted, limited or forecast."""
        match fact:
            case facts.CallRefused():
                need = figure_text(fact.unit, fact.need)
                who = fact.handler or "the call"
                # Journals of before say under which accounts it was, and not which of them refused it.
                under = f" ({', '.join(fact.accounts)})" if fact.scope == "account" and fact.account is None else ""
                whose = one_line(f"{titled(fact.scope, fact.account)}{under}")
                return f"{who} is refused: {fact.unit} of the {whose} cannot cover {need} more"
            case facts.Exhausted():
                refused = f"; {counted(len(fact.dropped), 'queued message')} refused" if fact.dropped else ""
                return f"{one_line(fact.failure.text) or 'exhausted'}{refused}"
            case facts.LimitsSet(budget=budget):
                whose = "the conversation's " if fact.thread.startswith(CONVERSATION) else self._of_thread(fact.thread)
                return f"{whose}limits are now: {limits_text(budget.limits)}"
            case facts.Granted():
                return f"{self._of_thread(fact.node)}{grant_text(fact)}"
            case facts.Forecast(estimate=estimate):
                return forecast_text(estimate)
            case _:
                return ""

    def _of_course(self, fact: Fact) -> str:  # noqa: PLR0911 - a case for each fact
        """Where a thread begins, stands still, goes on and ends."""
        whose = self._of_thread(fact.thread)
        match fact:
            case facts.Forked():
                first = "entry" if fact.entries == 1 else counted(fact.entries, "entry")
                return f"begins as a copy of the first {first} of {one_line(fact.origin)}"
            case facts.Paused():
                self._paused.add(fact.thread)
                return f"{whose}paused"
            case facts.Resumed():
                slept = "it was paused" if fact.thread in self._paused else "the machine slept, or its clock was set"
                why = "its process had ended; what was under way is run again" if fact.crashed else slept
                self._paused.discard(fact.thread)
                return f"{whose}goes on after {_idle(fact)} that do not count: {why}"
            case facts.StoodStill():
                return f"{whose}waits only for people: its clock stands still"
            case facts.WentOn():
                return f"{whose}goes on after {_idle(fact)} that do not count"
            case facts.Stopped():
                return f"{whose}{failure_text(fact.failure)}"
            case facts.Closed():
                return "closed"
            case facts.Ended():
                return self._end(fact)
            case _:
                return ""

    def _fails(self, fact: facts.Failed | facts.Retried) -> str:
        """What is said of an attempt that failed: that there is another one, or who hears it."""
        text = f"{fact.handler} fails: {failure_text(fact.failure)}"
        if isinstance(fact, facts.Retried):
            tried = self._tries[fact.thread, fact.seq] = self._tries.get((fact.thread, fact.seq), 0) + 1
            return f"{text}; attempt {tried + 1} in {duration(max(0.0, fact.again_at - fact.at), '.2f')}"
        if not isinstance(fact, facts.Buried):
            return text + self._who_hears(fact)
        if len(fact.attempts) > 1:
            text = f"{fact.handler} fails for good, at attempt {len(fact.attempts)}: {failure_text(fact.failure)}"
        return text + ("; the thread is stopped" if fact.stops is not None else self._who_hears(fact))

    def _of_thread(self, thread: str) -> str:
        if thread == self._root:
            return ""
        turn = self._root.startswith(CONVERSATION) and thread not in self._owners
        return f"{'turn' if turn else 'sub-thread'} {one_line(self._thread(thread))}: "

    def _end(self, fact: facts.Ended) -> str:
        # What has just been told at length need not be told again; below it stands a third time, as `run` prints it.
        known = self.lines and one_line(fact.error or "") in self.lines[-1].text
        why = f": {one_line(fact.error)}" if fact.error and not known else ""
        outcome = outcome_text(fact.outcome, fact.unit)
        return f"{self._of_thread(fact.thread)}ended {outcome} after {duration(fact.usage.seconds, '.2f')}{why}"

    def _who_hears(self, fact: facts.Failed) -> str:
        heard: list[str] = []
        for step in fact.steps:
            match step:
                case facts.Resolved(ask=ask, answer=Failure() as answer) if answer == fact.failure:
                    heard.append(self._asker(ask))
                case facts.Posted(kind="failed", to=to):
                    heard.append(to)
                case facts.Unhandled() if not _given_up(step, fact):
                    heard.append("nobody")
                case _:
                    pass
        # What ends a sub-thread is unhandled in there, and heard outside of it.
        heard = [each for each in heard if each != "nobody"] or heard
        return f"; {', '.join(heard)} hears it" if heard else ""

    def _asker(self, ask: Ref) -> str:
        posted = self._posted.get(ask)
        if posted is None:
            return "outside"
        return posted.sender if posted.parent is None else self._handler(posted.parent)

    # Steps

    def _step(self, step: Step, fact: Fact, depth: int) -> None:
        match step:
            case facts.ThreadOpened(owner=owner, handler=handler):
                self._opened_for[step.thread] = handler
                if owner is not None:
                    self._owners[step.thread] = owner
            case facts.Posted():
                self._post(step, fact, depth)
            case facts.Resolved(ask=ask, answer=answer):
                self._resolve(ask, answer, fact, depth)
            case facts.Left(sender=sender, payload=payload):
                self._say(fact.at, depth, f"{sender} replies", payload)
            case facts.CameLate(frame=frame, payload=payload):
                self._say(fact.at, depth, f"{self._handler(frame)} replies too late, and the reply is dropped", payload)
            case facts.Cut(ask=ask):
                self._drop(step.dropped)
                self._page.add(fact.at, depth, f"{self._asker(ask)} waits no longer for {self._handler(ask)}")
            case facts.Unhandled() if not (isinstance(fact, facts.Failed) or _given_up(step, fact)):
                self._page.add(fact.at, depth, f"nobody handles it: {failure_text(step.failure)}")
            case _:
                pass

    def _drop(self, messages: Iterable[Ref]) -> None:
        for ref in messages:
            self._queued.pop(ref, None)

    def _post(self, step: Posted, fact: Fact, depth: int) -> None:
        ref = (step.thread, step.seq)
        self._posted[ref] = self._queued[ref] = step
        if step.opens:
            above = step.parent or self._owners.get(step.thread)
            self._depths[step.frame] = self._depths.get(above, 0) + 1 if above is not None else 1
        if step.kind == "failed" and isinstance(fact, facts.Failed):
            return  # said with the failure
        sender = step.sender or "outside"
        apart = (
            f" in sub-thread {one_line(self._thread(step.thread))}" if self._root != step.thread != fact.thread else ""
        )
        verbs = {
            "ask": f"{sender} asks {step.to}",
            "spawn": f"{sender} starts {step.to}",
            "forward": f"{sender} forwards to {step.to}",
            "reply": f"{sender} answers {step.to}",
            "ingress": f"outside to {step.to}",
        }
        says = verbs.get(step.kind, f"{sender} to {step.to}")
        self._page.muted = not (self._wanted(step.thread) or self._wanted(fact.thread))
        self._say(fact.at, depth, f"{says}{apart}, {self._name(ref)}", step.payload)
        self._page.muted = not self._wanted(fact.thread)

    def _resolve(self, ask: Ref, answer: Any, fact: Fact, depth: int) -> None:
        if not isinstance(answer, Failure):
            self._say(fact.at, depth, f"{self._handler(ask)} answers {self._asker(ask)}, {self._name(ask)}", answer)
        elif not isinstance(fact, facts.Failed) or answer != fact.failure:  # else it is said with the failure
            said = (
                f"no_reply: {self._handler(ask)} finished without a reply"
                if answer == NO_REPLY
                else failure_text(answer)
            )
            self._page.add(fact.at, depth, f"{self._asker(ask)} hears of {self._name(ask)}: {said}")

    def _say(self, at: float, depth: int, head: str, payload: Any) -> None:
        if self._how.xml:
            self._page.add(at, depth, f"{head}:", [f"  {one_line(xml_of(payload))}"])
        elif self._how.full:
            name, fields = parts(payload)
            self._page.add(at, depth, f"{head}: {name}", field_lines(fields, 2, self._how.width - 2 * depth))
        else:
            self._page.add(at, depth, f"{head}: {short(payload)}")


def _follows(step: Step) -> bool:
    """Whether a step is what the end of a delivery brings about, and no answer of its handler."""
    match step:
        case facts.Posted(sender=sender):
            return sender == ORGANISM
        case facts.Resolved(answer=answer):
            return isinstance(answer, Failure)
        case _:
            return isinstance(step, facts.Handed | facts.Unhandled)


def _given_up(step: facts.Unhandled, fact: Fact) -> bool:
    """Whether a thread is cancelled with the ask that it was opened for, which is said of that."""
    return step.failure.code == "cancelled" and any(isinstance(each, facts.Cut) for each in fact.steps)


def _idle(fact: facts.Resumed | facts.WentOn) -> str:
    """How long a thread stood still; no time where the clock had been ahead until then."""
    return duration(max(0.0, fact.at - fact.since), ".2f")


def _kept(state: Mapping[str, Any]) -> str:
    """What a handler keeps: of an agent, how much of what was said."""
    match state:
        case {"count": (int(count),)} if any(map(_HISTORY.fullmatch, state)):
            return f"remembers {counted(count, 'message')}"
        case _ if len(state) <= _NAMED:
            return f"keeps {', '.join(map(one_line, state))}"
        case _:
            return f"keeps {len(state)} values"
