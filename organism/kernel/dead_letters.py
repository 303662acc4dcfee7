"""Dead letters: messages that failed for good, recorded with their history, and reported to a handler (R9)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from organism.kernel.opening import open_thread
from organism.names import ORGANISM
from organism.payloads.primitives import DeadLetter
from organism.record import facts
from organism.threads.lineage import root_of

if TYPE_CHECKING:
    from organism.kernel.book import Book
    from organism.kernel.state import State
    from organism.record.images import Ref
    from organism.threads.frames import Message
    from organism.threads.outcomes import Failure
    from organism.threads.restart import Attempt


KEPT: Final = 1000
"""How many dead letters a process keeps in memory; a journal on a disk has all of them."""


class DeadLetters:
    """The dead letters of one organism. ``buried`` has the last of this process: without a journal on a disk there is no other list."""

    def __init__(self, state: State, book: Book) -> None:
        self._state = state
        self._book = book
        self.buried: deque[facts.Buried] = deque(maxlen=KEPT)

    def bury(
        self,
        message: Message,
        failure: Failure,
        attempts: tuple[Attempt, ...],
        stops: Failure | None,
        dropped: tuple[Ref, ...],
    ) -> None:
        """Ends the change by which a message failed for good: records it with its history, and with all that is needed to send it again."""
        thread, root = message.thread, root_of(message.thread)
        turn = root.conversation if message.kind == "ingress" else None
        about: dict[str, Any] = {
            "seq": message.seq,
            "handler": message.to,
            "failure": failure,
            "attempts": attempts,
            "payload": message.payload,
            "sender": message.sender,
            "kind": message.kind,
            "labels": root.labels,
            "accounts": root.accounts,
            "conversation": None if turn is None else turn.id,
        }
        self.buried.append(facts.Buried(at=self._state.now, thread=thread.id, **about))
        self._book.write(facts.Buried, thread, **about, stops=stops, dropped=dropped)

    def tell(self, message: Message, failure: Failure, at: float) -> None:
        """Delivers a dead letter to its handler (``dead_letters``), in a thread of its own. It is not charged.

        Failures in such a thread are not reported again: that could go on for ever. A message of an earlier process may have been reported
        by that already: then the name of the new thread includes the instant.
        """
        to, root = self._state.settings.dead_letters, root_of(message.thread)
        if to is None or root.letter:
            return
        reason = f"{failure.code}: {failure.text}"
        payload = DeadLetter(message=message.id, to=message.to, reason=reason, attempts=len(message.tries) + 1)
        again = f"-{int(at * 1e6):x}" if message.old else ""
        id_ = f"dead-{message.thread.id}-{message.seq}{again}"
        if id_ in self._state.threads:
            return
        self._book.begin(at)
        thread = open_thread(self._state, id_, "root", to, self._state.settings.budget, None, root.labels)
        route = self._state.routes[to]
        self._state.post_opening(
            thread, route, payload, ORGANISM, "dead", parent=None, above=None, depth=1, charged=False
        )
        self._book.write(facts.Accepted, thread)
