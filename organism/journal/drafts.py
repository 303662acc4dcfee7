"""Facts that were made ready to be written where they happened: what is left of one is its text, and how many messages it counts.

Most facts only say what a delivery sent. Such a one is encoded at once and let go: it is a handful of objects, and while thousands of
them waited for the disk, looking for garbage among them took an eighth of all the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import frozen

from organism import facts
from organism.journal.codec import contents, finished, shown_of
from organism.journal.texts import Texts
from organism.quick import quick

if TYPE_CHECKING:
    from organism.facts import Fact
    from organism.journal.secrets import Marked


@quick
@frozen(eq=False)
class Draft:
    """What is written of a fact that ends, holds and settles nothing.

    ``shown`` is its text with marks, ``texts`` what these stand for; ``None`` where it has none. ``opened`` are the threads that it
    opens, and ``counts`` the messages that it charges after that: who gets each, and the thread that it is in.
    """

    at: float
    thread: str
    kind: str
    shown: bytes
    texts: Texts | None
    opened: tuple[facts.ThreadOpened, ...]
    counts: tuple[tuple[str, str], ...]

    def contents(self, root: str, mark: bytes) -> tuple[bytes, bytes]:
        """As :func:`organism.journal.codec.contents`."""
        return finished(self.shown, self.texts, root, mark, self.kind)


_PLAIN: Final = frozenset(
    {facts.Accepted, facts.Answered, facts.Asked, facts.Spawned, facts.CallCompleted, facts.Noticed}
)
"""Facts that change nothing but by their steps, of those that are many."""
_STEPS: Final = frozenset({facts.Handed, facts.Resolved, facts.Left, facts.ClockRead})
"""Steps that change nothing of what a chain comes to; Posted and ThreadOpened are looked at."""


def draft_of(root: str, fact: Fact, marked: Marked | None) -> Fact | Draft:
    """The draft of a fact of this root thread; the fact itself where it says more, or cannot be encoded: whoever writes it says why."""
    if fact.__class__ not in _PLAIN:
        return fact
    opened: tuple[facts.ThreadOpened, ...] = ()
    counts: tuple[tuple[str, str], ...] = ()
    for step in fact.steps:
        if isinstance(step, facts.Posted):
            if step.charged:
                counts = (*counts, (step.to, step.thread))
        elif isinstance(step, facts.ThreadOpened) and not counts:
            opened = (*opened, step)
        elif step.__class__ not in _STEPS:
            return fact
    try:
        shown, texts = shown_of(fact, root, marked)
    except Exception:  # noqa: BLE001 - it is raised again where it is written
        return fact
    return Draft(fact.at, fact.thread, fact.__class__.__name__, shown, texts, opened, counts)


def contents_of(entry: Fact | Draft, root: str, mark: bytes, marked: Marked | None) -> tuple[bytes, bytes]:
    """As :func:`organism.journal.codec.contents`, of either."""
    return entry.contents(root, mark) if isinstance(entry, Draft) else contents(entry, root, mark, marked)


__all__ = ["Draft", "contents_of", "draft_of"]
