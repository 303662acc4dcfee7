"""What follows from a failure: another attempt, or none (R9); and a handler that keeps failing is left alone for a while.

Pure: time is an argument, and so is the draw that spreads attempts. As a supervisor's, the answers are few: again at an instant, or
never.
"""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from typing import TYPE_CHECKING, Final, Literal

from attrs import define, field, frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.settings import OnFailure

log: Final = logging.getLogger("organism.handlers")

FARTHEST: Final = 32
"""Beyond so many doublings the backoff of any configuration has long reached its longest; it keeps the power finite."""

DEAD: Final = frozenset({"crashed", "timeout"})
"""Failures by which a handler shows that it is unwell; of them a message dies whatever ``retry_on`` says. Others are answers: a refusal, a
limit, a mistake of the sender.
"""

FAILURES: Final = 20
"""So many failures in a row open a handler's circuit ..."""
THREADS: Final = 10
"""... if they came from so many root threads: one thread alone, or its sender, takes a handler from nobody else ..."""
PERIOD: Final = 60.0
"""... and the first of them is no longer ago than so many seconds."""
OPEN_SECONDS: Final = 5.0
"""How long a circuit is open at first."""
LONGEST_OPEN_SECONDS: Final = 60.0
"""Each probe that fails doubles the time up to this."""


@frozen(kw_only=True)
class Attempt:
    """An attempt at a message that failed ``at`` an instant, so. ``began`` counts in seconds that its thread had run by then, in which
    no pause is; ``again_at`` is when the next one is due, ``None`` for the last.
    """

    at: float
    began: float
    code: str
    text: str
    again_at: float | None = None


@frozen
class Past:
    """What an earlier attempt or an earlier process left of a message. Most have no such past."""

    tries: tuple[Attempt, ...] = ()
    """What failed before, where its handler tries it again."""
    idempotency: str = ""
    """By what services know it again, where that is not its id: it comes of what may be tried again."""
    old: bool = False
    """It was in its mailbox when its process ended: its handler may be another one by now."""
    rerun: bool = False
    """Its process ended while it was delivered: it asks again for what it knows."""


def again_at(
    policy: OnFailure, tried: Sequence[Attempt], code: str, *, began: float, ran: float, now: float, draw: float
) -> float | None:
    """When a message is tried again of which the attempts ``tried`` failed before, and now one with this ``code``; ``None``: never.

    ``began`` and ``ran`` are the seconds that its thread had run when this attempt began and when it failed, ``draw`` is from 0 to 1.
    The wait doubles with each attempt, and a half of it is drawn: those that failed together do not come back together.
    """
    failed = len(tried) + 1
    if failed >= policy.attempts or code not in policy.retry_on:
        return None
    first, longest = policy.backoff
    wait = min(longest, first * 2 ** min(failed - 1, FARTHEST))
    wait = wait / 2 + wait / 2 * draw
    since = tried[0].began if tried else began
    return None if ran + wait - since > policy.within else now + wait


def is_dead(policy: OnFailure, code: str) -> bool:
    """Whether a message is a dead letter that failed for good with this code."""
    return code in DEAD or code in policy.retry_on


def counts(code: str) -> bool:
    """Whether a failure with this code tells that its handler is unwell."""
    return code in DEAD


def draw_of(message: str, failed: int) -> float:
    """A number from 0 to 1 for a message's next attempt: the same whenever it is asked for, and another one for each message."""
    digest = hashlib.sha256(f"{message}#{failed}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


@define(kw_only=True, eq=False)
class Circuit:
    """Of one handler, called ``name``: whether messages are let through to it.

    ``closed``: all are; ``open``: none is; ``half-open``: one was, the probe, whose end decides for all.
    """

    name: str
    state: Literal["closed", "open", "half-open"] = "closed"
    failures: int = 0
    """In a row."""
    _last: deque[tuple[float, object]] = field(factory=lambda: deque[tuple[float, object]](maxlen=FAILURES), init=False)
    """When the last of them were, and in which threads."""
    _seconds: float = field(default=OPEN_SECONDS, init=False)
    _until: float = field(default=0.0, init=False)

    def lets_through(self, now: float) -> bool:
        """Whether a message may be delivered. Where the circuit is not closed, one that may is a probe; of one that does not end
        another takes the place after a while.
        """
        if self.state == "closed":
            return True
        if now < self._until:
            return False
        self.state, self._until = "half-open", now + self._seconds
        return True

    def says(self) -> str:
        """What the sender of a message hears that is not let through."""
        return f"'{self.name}' failed {self.failures} times in a row, and is left alone until it can be tried again"

    def succeeded(self) -> None:
        """A delivery ended in any way but a failure of the handler."""
        if self.state != "closed":
            log.info("handler '%s' works again", self.name)
        self.state, self.failures, self._seconds = "closed", 0, OPEN_SECONDS
        self._last.clear()

    def failed(self, thread: object, now: float) -> None:
        """A delivery of this root thread crashed or took too long; where the circuit is half-open, the probe's."""
        self.failures += 1
        self._last.append((now, thread))
        if self.state == "half-open":
            self._seconds = min(LONGEST_OPEN_SECONDS, 2 * self._seconds)
            self._open(now)
        elif self.state == "closed" and self._is_unwell(now):
            self._open(now)

    def _is_unwell(self, now: float) -> bool:
        enough = len(self._last) == FAILURES and now - self._last[0][0] <= PERIOD
        return enough and len({thread for _, thread in self._last}) >= THREADS

    def left(self) -> None:
        """The probe was cancelled before it came to anything: the next message is one."""
        self._until = 0.0

    def _open(self, now: float) -> None:
        self.state, self._until = "open", now + self._seconds
        log.error(
            "handler '%s' failed %d times in a row: messages to it fail at once, for %g s",
            self.name,
            self.failures,
            self._seconds,
        )
