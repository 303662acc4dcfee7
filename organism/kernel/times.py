"""Running time: its levels and its end, for threads and for the whole organism (R11, R17). Time itself is an argument."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from organism.budget.claims import Crossing
from organism.errors import out_of_seconds
from organism.kernel.conversations import time_limit
from organism.kernel.notices import warning_payload
from organism.kernel.outcome import record_of
from organism.kernel.warnings import raise_crossing, tell, tell_caller
from organism.names import ORGANISM
from organism.record import facts
from organism.threads.lineage import descendants
from organism.threads.outcomes import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from organism.budget.node import Node
    from organism.errors import BudgetExhaustedError
    from organism.kernel.book import Book
    from organism.kernel.ends import Ends
    from organism.kernel.state import State
    from organism.record.facts import Ended
    from organism.threads.frames import Thread


class Times:
    """What becomes due by time alone. ``ends`` exhausts threads whose time has run out."""

    def __init__(self, state: State, book: Book, ends: Ends) -> None:
        self._state = state
        self._book = book
        self._ends = ends
        self._started = 0.0
        self._fired = 0

    def start(self, at: float) -> None:
        """The organism runs from now on; its ceiling's seconds count from here."""
        self._started = at

    def leap(self, since: float, at: float) -> None:
        """The clock has leapt: the machine slept, or its clock was set. The time in between is nobody's running time."""
        self._started += at - since
        state = self._state
        for root in state.roots:
            if root.paused_at is None and root not in state.inbox.resting:
                self._book.begin(at)
                state.resume(root, since)
                self._book.write(facts.Resumed, root, since=since)

    def due(self, thread: Thread) -> float | None:
        """The instant at which :meth:`reach` is to be called for a thread next; ``None``: never, as far as is known."""
        # A thread that was stopped ends as soon as what runs has settled: its time would be due again and again, with no effect.
        if thread.ended or thread.is_ending:
            return None
        if thread.paused_at is not None or thread in self._state.inbox.resting:
            return None
        return _due(thread.node, thread.opened_at, thread.time_fired)

    def reach(self, thread: Thread, at: float) -> None:
        """A thread's running time has come to its next level, or to its limit."""
        if thread.ended or thread.node.caps.seconds is None:
            return
        self._book.begin(at)
        for said in _crossed(thread.node, thread.time_fired, thread.opened_at, at):
            thread.time_fired += 1
            self._tell(thread, said)
        self._book.write(facts.CrossedByTime, thread, fired=thread.time_fired)
        if at >= thread.opened_at + thread.node.caps.seconds:
            self._ends.exhaust(thread, _run_out(time_limit(thread)), at, cancel=True)

    def ceiling_due(self) -> float | None:
        """The instant at which :meth:`reach_ceiling` is to be called next."""
        return _due(self._state.root, self._started, self._fired)

    def reach_ceiling(self, at: float) -> None:
        """The organism's running time has come to its next level, or to its limit: every thread hears it."""
        root = self._state.root
        if root.caps.seconds is None:
            return
        said = tuple(_crossed(root, self._fired, self._started, at))
        over = at >= self._started + root.caps.seconds
        if not (said or over):
            return  # too early: the clock has leapt since the timer was set
        self._fired += len(said)
        for thread in self._state.roots:
            self._book.begin(at)
            for each in said:
                self._tell(thread, each)
            self._book.write(facts.CrossedByTime, thread, fired=thread.time_fired)
            if over:
                self._ends.exhaust(thread, _run_out(root), at, cancel=True)

    def left(self, at: float) -> float | None:
        """The seconds that the organism itself has left; ``None`` without a limit."""
        seconds = self._state.root.caps.seconds
        return None if seconds is None else seconds - (at - self._started)

    def refusal(self, at: float) -> BudgetExhaustedError | None:
        """The refusal of any message from outside, once the organism's time has run out; ``None`` before."""
        seconds = self._state.root.caps.seconds
        if seconds is None or at < self._started + seconds:
            return None
        return out_of_seconds(ORGANISM, at - self._started, seconds)

    def _tell(self, thread: Thread, said: Crossing) -> None:
        """Warns the handler of the thread's root frame: an agent in its next prompt, code by a message once it is free."""
        state = self._state
        running = state.occupied.get((thread, thread.handler))
        route = state.routes.get(thread.handler)
        warned = raise_crossing(state, thread, running, said, hears=thread.handler if route else None)
        if running is not None or route is None:
            tell_caller(state, running, [warned])
        elif route.takes_warnings and not route.agent and thread.owner is None and "agent" in thread.node.policy.notify:
            payload = warning_payload([warned])
            state.post_opening(
                thread, route, payload, ORGANISM, "notice", parent=None, above=None, depth=1, charged=False
            )
            tell(state, thread, thread.handler, [warned])


def running_time(state: State, thread: Thread, at: float) -> float:
    """The seconds that a thread has run; while it is paused or waits for people, none are added."""
    since = state.inbox.resting.get(thread) if thread.paused_at is None else thread.paused_at
    return max(0.0, (at if since is None else since) - thread.opened_at)


def so_far(state: State, thread: Thread, at: float) -> Ended:
    """What a thread that has not ended has come to, with the warnings of all below it. While it waits for people, its time stands still."""
    record = record_of(thread, state.inbox.resting.get(thread, at))
    below = [each for sub in descendants(thread) if sub is not thread for each in record_of(sub, at).warnings]
    return evolve(record, warnings=tuple(sorted((*record.warnings, *below), key=lambda each: each.seq)))


def _due(node: Node, since: float, fired: int) -> float | None:
    caps = node.caps
    if caps.seconds is None:
        return None
    return since + (caps.time_marks[fired][0] if fired < len(caps.time_marks) else caps.seconds)


def _crossed(node: Node, fired: int, since: float, now: float) -> Iterator[Crossing]:
    """The levels that have been reached. Instants are computed as in :func:`_due`, not as differences: rounding might make those fall just
    short, and the same level would be due again and again.
    """
    caps, elapsed = node.caps, now - since
    if caps.seconds is None:
        return
    for after, level, threshold in caps.time_marks[fired:]:
        if now < since + after:
            return
        yield Crossing(
            unit="seconds",
            level=level,
            threshold=threshold,
            used=round(elapsed, 3),
            held=0,
            limit=caps.seconds,
            remaining=round(max(0.0, caps.seconds - elapsed), 3),
            scope=node.scope,
            thread=node.thread,
        )


def _run_out(node: Node) -> Failure:
    text = f"seconds of the {node.scope}: limit {node.caps.seconds:g}"
    return Failure("exhausted", text, unit="seconds", scope=node.scope)
