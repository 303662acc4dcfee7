"""Attempts at messages: which failed, when the next one is due, and what happens after the last (R9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from organism.kernel.dead_letters import DeadLetters
from organism.kernel.recall import note_clock
from organism.kernel.steps import ref_of
from organism.record import facts
from organism.threads.lineage import root_of
from organism.threads.outcomes import Failure
from organism.threads.restart import Attempt, Past, again_at, draw_of, is_dead

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from organism.kernel.asks import Asks
    from organism.kernel.book import Book
    from organism.kernel.ends import Ends
    from organism.kernel.state import State
    from organism.threads.frames import Message, Thread


class Retries:
    """What follows from failures in one organism. ``unfit`` says why a message cannot be handled at all (``None``: it can).

    The pump carries out what is collected here: ``waiting`` (messages whose next attempt is to be timed) and ``escalated`` (failures for
    which the organism is to stop: root thread and reason).
    """

    def __init__(
        self, state: State, book: Book, ends: Ends, asks: Asks, unfit: Callable[[Message], Failure | None]
    ) -> None:
        self._state = state
        self._book = book
        self._ends = ends
        self._asks = asks
        self._unfit = unfit
        self.waiting: list[Message] = []
        self.letters = DeadLetters(state, book)
        self.escalated: list[tuple[Thread, str]] = []

    def attempt(self, message: Message, failure: Failure, at: float, began: float | None) -> Attempt:
        """The attempt that failed now, with the instant of the next one if there is one. ``began`` is the instant at which it began."""
        thread, policy = message.thread, self._state.routes[message.to].on_failure
        ran = max(0.0, at - thread.opened_at)
        since = ran if began is None else max(0.0, began - thread.opened_at)
        due = None
        if message.kind != "last" and not thread.closing:
            draw = draw_of(message.id, len(message.tries) + 1)
            due = again_at(policy, message.tries, failure.code, began=since, ran=ran, now=at, draw=draw)
        return Attempt(at=at, began=round(since, 6), code=failure.code, text=failure.text, again_at=due)

    def put_back(self, message: Message, failure: Failure, attempt: Attempt, at: float, *, placed: bool) -> None:
        """A delivery failed and is tried again: what it asked is cancelled, nobody is told, and its place is given back."""
        self._book.begin(at)
        note_clock(self._state, message)
        self._asks.leave(message)
        put_back(self._state, message, attempt, placed=placed)
        if self._state.schedule.gate is not None:
            message.position = self._state.schedule.gate.next
        self.waiting.append(message)
        self._book.write(
            facts.Retried,
            message.thread,
            seq=message.seq,
            handler=message.to,
            failure=failure,
            began=attempt.began,
            again_at=attempt.again_at,
        )

    def take_up(self, message: Message, at: float) -> None:
        """Takes up a message of an earlier process that waits for its next attempt. It is due at once where that attempt had begun, and
        within the longest backoff from now otherwise, whatever that process's clock said.
        """
        longest = self._state.routes[message.to].on_failure.backoff[1]
        due = self._state.retries[message]
        self._state.retries[message] = at if message.known or message.asks else min(due, at + longest)
        self.waiting.append(message)

    def due(self, message: Message) -> float | None:
        """The instant at which a message is to be tried again; ``None`` where it does not wait for that (any more)."""
        return self._state.retries.get(message)

    def begin(self, message: Message) -> None:
        """The next attempt is due: the message is delivered once its handler has a place."""
        if self._state.retries.pop(message, None) is not None:
            self._state.schedule.bring_back(message)

    def halt(self, message: Message, failure: Failure) -> Failure | None:
        """Part of the change by which a message fails for good: stops its whole root thread where its handler's ``on_failure`` says so.

        Returns the failure with which it is stopped, ``None`` where it goes on. The caller then drops what is queued.
        """
        do = self._state.routes[message.to].on_failure.do
        root = root_of(message.thread)
        if do == "reply" or root.stopping is not None or not self._is_dead(message, failure):
            return None
        tries = len(message.tries) + 1
        times = "" if tries == 1 else f" after {tries} attempts"
        text = f"'{message.to}' failed for good{times}: {failure.code}: {failure.text}"
        if do == "escalate":
            self.escalated.append((root, f"{text} (message {message.id}; its on_failure says escalate)"))
        stopped = Failure("stopped", text)
        self._ends.halt(root, stopped)
        return stopped

    def tell(self, message: Message, failure: Failure, at: float) -> None:
        """Tells the handler of dead letters of a message that is about to become one. This comes first: a crash in between must not lose it."""
        if self._is_dead(message, failure):
            self.letters.tell(message, failure, at)

    def write(
        self, message: Message, failure: Failure, attempt: Attempt, stops: Failure | None, queued: Sequence[Message]
    ) -> None:
        """Ends the change by which a message failed for good. ``stops``: why its thread was stopped by that; ``queued``: what was dropped."""
        if not self._is_dead(message, failure):
            self._book.write(facts.Failed, message.thread, seq=message.seq, handler=message.to, failure=failure)
            return
        refs = tuple(ref_of(each) for each in queued)
        self.letters.bury(message, failure, (*message.tries, attempt), stops, refs)

    def _is_dead(self, message: Message, failure: Failure) -> bool:
        if message.kind in {"last", "dead"}:
            return False
        policy = self._state.routes[message.to].on_failure
        return is_dead(policy, failure.code) or self._unfit(message) is not None


def put_back(state: State, message: Message, attempt: Attempt, *, placed: bool) -> None:
    """Puts back the message of a delivery that failed: nothing of that attempt is kept but that it failed. ``placed``: it still has its place."""
    state.occupied.pop((message.thread, message.mailbox), None)
    state.schedule.taken.pop(message, None)
    state.schedule.hold_back(message, placed=placed)
    _wait(state, message, (*message.tries, attempt))


def take_back(state: State, message: Message, tries: tuple[Attempt, ...]) -> None:
    """Puts back a message that is queued, or waits for another attempt already. ``tries`` are all attempts that failed so far."""
    if message not in state.retries:
        state.schedule.drop(message)
        state.schedule.hold_back(message, placed=False)
    _wait(state, message, tries)


def _wait(state: State, message: Message, tries: tuple[Attempt, ...]) -> None:
    message.past = evolve(message.past or Past(), tries=tries, rerun=False)
    if message.dealings is not None:
        message.dealings.begin_anew()
    state.retries[message] = tries[-1].again_at or state.now
