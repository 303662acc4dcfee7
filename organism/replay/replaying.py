"""Replays: the handlers of a thread run again with the answers that they had, in memory, and what they do is compared."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import trio.testing

from organism.agent import ready
from organism.journal.codec import decode_entry
from organism.journal.prompts import requests
from organism.names import ORGANISM
from organism.replay.player import Odd
from organism.replay.script import parts_of
from organism.replay.stage import Stage
from organism.results import Difference, Replayed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from organism.payloads import Vocabulary
    from organism.replay.course import Course
    from organism.replay.player import Player
    from organism.replay.script import Part, Which
    from organism.settings import Settings

PATIENCE = 0.05
"""Seconds without anything happening after which a handler that waits for something else is let go on to its next timer."""
_LONG = 86_400.0
"""Seconds of its own clock that a handler is waited for."""
_REAL = 5.0
"""The same where the clock is the real one."""
_MOST, _MOST_REAL = 24, 3
"""How many further ways of going on side by side are tried; fewer where a handler that waits is really waited for."""
SIDES: Final = "tasks of it could go on at the same instant, in more orders than were tried, and the record does not say in which they did"


def replay(
    documents: Iterable[Mapping[str, Any]],
    settings: Settings,
    vocabulary: Vocabulary,
    *,
    patience: float = PATIENCE,
) -> Replayed:
    """Runs the handlers of a chain's entries again, each delivery with the answers that it had.

    Nothing is written and no model called; what a handler does to the world without its context, it does again. Runs an event
    loop of its own, so that it must not be called from one. Raises JournalError for entries that cannot be read.
    """
    entries = list(documents)
    record = [decode_entry(each, vocabulary) for each in entries]
    parts = parts_of(record, requests(entries))
    handlers = {name: ready(each, settings.handlers) for name, each in settings.everyone.items()}
    # A person answered then, and is not asked again; nor is a server that acts on the world.
    runs = {name for name, each in handlers.items() if each.human is None and each.replayed}
    ran = {ref for ref, part in parts.items() if part.ran and part.handler in runs}
    gone = [part for part in parts.values() if part.ran and part.handler not in {*handlers, ORGANISM}]

    virtual = settings.runtime == "trio"

    def play(only: Collection[Which], courses: Mapping[Which, Course] | None = None, *, early: bool) -> Stage:
        stage = Stage(
            settings, handlers, record, parts,
            only=only, early=early, patience=_LONG if virtual else _REAL, courses=courses,
        )  # fmt: skip
        options = {"clock": trio.testing.MockClock(autojump_threshold=patience)} if virtual else {}
        try:
            anyio.run(stage.run, backend=settings.runtime, backend_options=options)
        except BaseExceptionGroup as group:
            if group.subgroup(KeyboardInterrupt) is None:
                raise
            raise KeyboardInterrupt from None
        if any(stage.played[which].interrupted for which in stage.odd):
            raise KeyboardInterrupt  # a person pressed the keys: the record knows of none there
        return stage

    first = play(ran, early=True)
    # Of what came out otherwise, a part may have been told figures of an instant that the record leaves open.
    again = play(set(first.odd), early=False) if first.odd else first
    odd = {which: each for which, each in first.odd.items() if which in again.odd}
    # What waits for a time may have found it over, since time passed while another delivery was waited for.
    for which in [which for which in odd if first.played[which].disturbed]:
        if not play({which}, early=True).odd:
            del odd[which]
    # Another part may have had tasks side by side that could go on at one instant, this one or that one first.
    most = _MOST if virtual else _MOST_REAL
    left = _tried(odd, first, most, partial(play, early=True)) | _tried(odd, again, most, partial(play, early=False))
    for which in left & odd.keys():
        first.played[which].unsure = first.played[which].unsure or SIDES
    return _result(parts, first.played, odd, gone)


def _tried(
    odd: dict[Which, Odd], stage: Stage, most: int, play: Callable[[Collection[Which], Mapping[Which, Course]], Stage]
) -> set[Which]:
    """Lets deliveries go other ways than on this stage, and takes out of ``odd`` those that come to their record in one of ``most``.

    Gives those that could go still others.
    """
    for _ in range(most):
        courses = _following(odd, stage)
        if not courses:
            break
        stage = play(set(courses), courses)
        for which in courses.keys() - stage.odd.keys():
            del odd[which]
    return set(_following(odd, stage))


def _following(odd: Collection[Which], stage: Stage) -> dict[Which, Course]:
    """The next ways of those that came out otherwise."""
    found = {which: course.following() for which, course in stage.courses.items() if which in odd}
    return {which: course for which, course in found.items() if course is not None}


def _result(
    parts: Mapping[Which, Part], played: Mapping[Which, Player], odd: Mapping[Which, Odd], gone: Sequence[Part]
) -> Replayed:
    sure = {ref: (played[ref].message.to, each) for ref, each in odd.items() if played[ref].unsure is None}
    for part in gone:
        sure[part.which] = (
            part.handler,
            Odd("it was handled", "by this handler", "there is no such handler any more", part.marks[0][0]),
        )
    compared = {*played, *(part.which for part in gone)}
    return Replayed(
        deliveries=len(compared),
        calls=sum(parts[ref].calls for ref in compared),
        differences=tuple(
            _difference(ref, *each) for ref, each in sorted(sure.items(), key=lambda pair: pair[1][1].place)
        ),
        unsure=tuple((parts[ref].handler, played[ref].unsure or "") for ref in odd if ref not in sure),
    )


def _difference(ref: Which, handler: str, odd: Odd) -> Difference:
    return Difference(
        thread=ref[0], message=ref[1], handler=handler, entry=odd.place + 1, what=odd.what,
        recorded=odd.recorded, now=odd.now,
    )  # fmt: skip
