"""Questions to people: answers, refusals, timeouts, and threads that stand still meanwhile (R3, R5, R8, R11)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from organism.durations import duration
from organism.message import Reply
from organism.record import facts
from organism.threads.outcomes import Failure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from organism.kernel.book import Book
    from organism.kernel.state import State
    from organism.message import Outgoing
    from organism.threads.frames import Message, Thread


class Deliveries(Protocol):
    """What :class:`People` needs of the kernel: how a delivery ends, a person's like any other."""

    def answered(
        self,
        message: Message,
        outgoing: Sequence[Outgoing],
        state: Mapping[str, tuple[Any] | None] | None,
        at: float,
        *,
        placed: bool = True,
    ) -> Failure | None:
        """It finished; returns the failure where its answer is not carried out."""
        ...

    def failed(self, message: Message, failure: Failure, at: float, *, placed: bool = True) -> None:
        """It failed."""
        ...


class People:
    """The questions of one organism to people. A message to a person is a delivery that takes no place and ends with the answer."""

    def __init__(self, state: State, book: Book, deliveries: Deliveries) -> None:
        self._state = state
        self._book = book
        self._deliveries = deliveries

    def question(self, id_: str) -> Message | None:
        """The message of this id, if it waits for a person."""
        of, _, number = id_.rpartition("/")
        thread = self._state.threads.get(of)
        message = None if thread is None or not number.isdecimal() else self._state.inbox.question(thread, int(number))
        return message if message is not None and message.id == id_ else None

    def answer(self, message: Message, payload: Any, at: float) -> Failure | None:
        """A person answers a waiting question, with a payload of a class that fits it. Returns the failure where the answer could not be carried
        out, since the thread's messages have run out.
        """
        return self._deliveries.answered(message, (Reply(payload),), None, at, placed=False)

    def refuse(self, message: Message, text: str, at: float) -> None:
        """A person declines to answer: whoever asked is told why."""
        self._deliveries.failed(message, Failure("refused", text), at, placed=False)

    def expire(self, message: Message, at: float) -> None:
        """A question was not answered within the ``timeout`` of its handler."""
        within = self._state.routes[message.to].patience or 0.0
        text = f"'{message.to}' did not answer within {duration(within)}"
        self._deliveries.failed(message, Failure("timeout", text, retry=True), at, placed=False)

    def stand(self, thread: Thread, at: float) -> None:
        """All open work of a thread waits for people from now on: its running time stands still."""
        if thread.ended or thread.paused_at is not None or thread in self._state.inbox.resting:
            return
        self._book.begin(at)
        self._state.stand(thread)
        self._book.write(facts.StoodStill, thread)

    def go_on(self, thread: Thread, at: float) -> None:
        """Something goes on in a thread that stood still."""
        since = self._state.inbox.resting.get(thread)
        if since is None:
            return
        self._book.begin(at)
        self._state.go_on(thread)
        self._state.timed.append(thread)
        self._book.write(facts.WentOn, thread, since=since)
