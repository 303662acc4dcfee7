"""Asks that got no reply: the frame that was to give one has closed without it.

No fact records this, since it follows from the others (R1, R2). So the messages and frames that are open are counted here once more, as far
as asks need it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define

from organism.record import facts
from organism.record.images import Ref

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from organism.record.facts import Fact, Posted, Step


@define(eq=False)
class _Frame:
    """``open`` counts its messages and the frames below it; ``asked``: somebody waits for its reply."""

    ref: Ref
    thread: str
    above: _Frame | None
    asked: bool
    open: int = 0


class OpenAsks:
    """Folds facts into the asks that still wait for a reply. Frames that were opened before the first fact are left out."""

    def __init__(self) -> None:
        self._frames: dict[Ref, _Frame] = {}
        self._messages: dict[Ref, _Frame] = {}
        """The frames of those that are queued or being handled."""
        self._owners: dict[str, str] = {}
        """The threads that sub-threads belong to."""
        self._ending: set[str] = set()
        """Threads that ran out of budget or were stopped: whoever asks there hears of that."""

    def unanswered(self, fact: Fact) -> list[Ref]:
        """Takes in a fact; returns the asks, by their frames, that will get no reply any more."""
        message = (fact.thread, getattr(fact, "seq", 0))
        sender = self._messages.get(message)
        if isinstance(fact, facts.Exhausted | facts.Stopped) or getattr(fact, "stops", None) is not None:
            self._ending.add(fact.thread)
        found = [ref for step in fact.steps for ref in self._step(step, sender)]
        if isinstance(fact, facts.Exhausted | facts.Stopped | facts.Buried):
            found += self._gone(fact.dropped)
        if isinstance(fact, facts.Answered | facts.Failed | facts.Dropped):
            found += self._gone([message])
        return found

    def _step(self, step: Step, sender: _Frame | None) -> Iterator[Ref]:
        match step:
            case facts.ThreadOpened(thread=thread, owner=owner) if owner is not None:
                self._owners[thread] = owner[0]
            case facts.Posted():
                self._post(step, sender)
            case facts.Resolved(ask=ref) if ref in self._frames:
                self._frames[ref].asked = False
            case facts.Cut(ask=ref, dropped=dropped):
                if ref in self._frames:
                    self._frames[ref].asked = False
                yield from self._gone(dropped)
            case _:
                pass

    def _post(self, step: Posted, sender: _Frame | None) -> None:
        if step.opens:
            parent = None if step.parent is None else self._frames.get(step.parent)
            above = parent if sender is None else _counts(parent, sender, step.thread)
            asked = step.kind == "ask"
            if step.kind == "forward" and sender is not None:
                asked, sender.asked = sender.asked, False
            self._frames[step.frame] = _Frame(step.frame, step.thread, above, asked)
            if above is not None:
                above.open += 1
        frame = self._frames.get(step.frame)
        if frame is not None:
            frame.open += 1
            self._messages[step.thread, step.seq] = frame

    def _gone(self, messages: Iterable[Ref]) -> Iterator[Ref]:
        """Messages were handled or dropped: their frames count down."""
        for message in messages:
            frame = self._messages.pop(message, None)
            while frame is not None:
                frame.open -= 1
                if frame.open:
                    break
                del self._frames[frame.ref]
                if frame.asked and not self._ends(frame.thread):
                    yield frame.ref
                frame = frame.above

    def _ends(self, thread: str | None) -> bool:
        while thread is not None and thread not in self._ending:
            thread = self._owners.get(thread)
        return thread is not None


def _counts(parent: _Frame | None, sender: _Frame, thread: str) -> _Frame | None:
    """Who counts a new frame in a thread, as :func:`organism.kernel.carrying.above_new` has it."""
    return sender if parent is sender or sender.thread != thread else sender.above
