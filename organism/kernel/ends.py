"""How threads end, pause and run out (R4, R5, R17)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.budget.claims import MESSAGES
from organism.kernel.conversations import SCOPE as CONVERSATION_SCOPE
from organism.kernel.failures import climb
from organism.kernel.steps import ref_of
from organism.record import facts
from organism.threads.lineage import descendants, root_of

if TYPE_CHECKING:
    from organism.kernel.answers import Refusal
    from organism.kernel.book import Book
    from organism.kernel.calls import Calls
    from organism.kernel.state import State
    from organism.threads.frames import Message, Thread
    from organism.threads.outcomes import Failure


class Ends:
    """The ends of one organism's threads. The pump carries out what is collected: ``cancelled`` (deliveries to be cancelled) and ``cut``
    (threads without handlers whose calls are to be cancelled).
    """

    def __init__(self, state: State, book: Book, calls: Calls) -> None:
        self._state = state
        self._book = book
        self._calls = calls
        self.cancelled: list[Message] = []
        self.cut: list[Thread] = []

    def cancel_running(self, message: Message) -> None:
        """A delivery that runs is to be cancelled; whatever it answers is not carried out."""
        message.dropped = True
        self.cancelled.append(message)

    def close_bare(self, thread: Thread, at: float, failure: Failure | None = None) -> None:
        """Ends a thread that was opened without a message. ``failure``: what went wrong in it, if anything."""
        if thread.ended:
            return
        self._calls.abandoned(thread, None, at)
        self._book.begin(at)
        if failure is not None:
            self._state.not_handled(thread, failure, at_root=True)
        self._state.end(thread)
        self._book.write(facts.Closed, thread)

    def stop(self, thread: Thread, failure: Failure, at: float) -> None:
        """Cancels (``cancelled``) or stops (``stopped``) a thread with all below it. It ends when what runs has settled."""
        if thread.ended or thread.stopping is not None:
            return
        self._book.begin(at)
        self.halt(thread, failure)
        queued = self.queued_below(thread)
        for message in queued:
            self._state.drop(message)
        self._book.write(facts.Stopped, thread, failure=failure, dropped=tuple(ref_of(each) for each in queued))
        if not thread.handler:  # opened without a message: there is no delivery whose end would end it
            if any(thread.node.held):
                self.cut.append(thread)
            else:
                self.close_bare(thread, at)

    def halt(self, thread: Thread, failure: Failure) -> None:
        """Part of a change: a thread is stopped with all below it, and what runs there is cancelled. The caller drops what is queued."""
        for each in list(descendants(thread)):
            each.have_ending().stopping = failure
            self._cancel_at_work(each)

    def _cancel_at_work(self, thread: Thread) -> None:
        for message in self._state.at_work(thread):
            self.cancel_running(message)

    def queued_below(self, thread: Thread) -> list[Message]:
        """What waits in a thread and below it."""
        return [message for each in list(descendants(thread)) for message in self._state.queued_in(each)]

    def pause(self, thread: Thread, at: float) -> None:
        """Pauses a root thread with all below it: what runs finishes, nothing more is delivered, and its time stands still."""
        if thread.ended or thread.paused_at is not None:
            return
        self._book.begin(at)
        self._state.pause(thread)
        self._book.write(facts.Paused, thread)

    def resume(self, thread: Thread, at: float) -> None:
        """A paused root thread goes on."""
        since = thread.paused_at
        if thread.ended or since is None or thread.waits_turn:
            return
        self._book.begin(at)
        self._state.resume(thread, since)
        self._book.write(facts.Resumed, thread, since=since)

    def exhausted_by(self, thread: Thread, refusal: Refusal) -> Thread | None:
        """The thread whose messages have run out by this refusal; ``None``: it is about something else, or that thread is ending already."""
        lack = refusal.lack
        if lack is None or lack.unit != MESSAGES:
            return None
        whole = lack.node.window is not None or lack.node.scope == CONVERSATION_SCOPE
        found = root_of(thread) if whole else self._state.threads.get(lack.node.thread)
        return None if found is None or found.is_ending else found

    def exhaust(self, thread: Thread, failure: Failure, at: float, *, cancel: bool = False) -> None:
        """Messages or time ran out (R17): what is queued is refused to its senders, and at the end the thread's handler gets one last delivery.

        ``cancel`` (time): what runs is cancelled as well, and handlers of threads below get no last delivery.
        """
        if thread.ended or thread.is_ending:
            return
        self._book.begin(at)
        every = list(descendants(thread))
        last = thread.handler in self._state.routes and self._state.routes[thread.handler].takes_exhaustion
        self._state.run_out(thread, failure, last=last, alone=cancel)
        # A question that waits for a person counts as running: only time cancels it.
        asked = () if cancel else self._state.inbox.questions
        queued = [message for each in every for message in self._state.queued_in(each) if message not in asked]
        if cancel:
            for each in every:
                self._cancel_at_work(each)
        for message in queued:
            if message.frame.seq == message.seq:
                climb(self._state, message.frame, failure)
        refs = tuple(ref_of(each) for each in queued)
        for message in queued:
            self._state.drop(message)
        self._book.write(facts.Exhausted, thread, failure=failure, last=last, dropped=refs, alone=cancel or None)
