"""What follows from a failure: the retry policy (another attempt, or none; R9), and the circuit breaker of a handler that keeps failing.

Pure: time is an argument, and so is the random draw that spreads attempts.
"""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from typing import TYPE_CHECKING, Final, Literal

from attrs import define, field, frozen

from organism.durations import backoff

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.settings import OnFailure

log: Final = logging.getLogger("organism.handlers")

DEAD: Final = frozenset({"crashed", "timeout"})
"""Failures that are the handler's own: they count for its circuit breaker, and a message that fails so for good is a dead letter whatever
``retry_on`` says. Other failures are answers: a refusal, a limit, a mistake of the sender.
"""

FAILURES: Final = 20
"""How many failures in a row open a handler's circuit, where they came from :data:`THREADS` and within :data:`PERIOD`."""
THREADS: Final = 10
"""From how many root threads these must be: one thread, or whoever sends to it, cannot take a handler from the others."""
PERIOD: Final = 60.0
"""Within how many seconds they must be."""
OPEN_SECONDS: Final = 5.0
"""How long a circuit is open at first."""
LONGEST_OPEN_SECONDS: Final = 60.0
"""Each probe that fails doubles the time up to this."""


@frozen(kw_only=True)
class Attempt:
    """A failed attempt at a message: ``at`` is when it failed, ``code`` and ``text`` say why. ``began`` is how many seconds its thread had run,
    without pauses, when the attempt began; ``again_at`` is when the next attempt is due, ``None`` after the last.
    """

    at: float
    began: float
    code: str
    text: str
    again_at: float | None = None


@frozen
class Past:
    """What earlier attempts or an earlier process left of a message. Most messages have none."""

    tries: tuple[Attempt, ...] = ()
    """The attempts that failed before."""
    idempotency: str = ""
    """Its idempotency key, where that is not its id: it was sent by a delivery that may be tried again."""
    old: bool = False
    """It was accepted by an earlier process: its handler may have changed since."""
    rerun: bool = False
    """An earlier process ended while it was delivered: it is run again, and gets the answers that it had."""


def again_at(
    policy: OnFailure, tried: Sequence[Attempt], code: str, *, began: float, ran: float, now: float, draw: float
) -> float | None:
    """The instant at which a message is tried again after an attempt failed with this ``code``; ``None``: never. ``tried`` are the
    attempts that failed before.

    ``began`` and ``ran`` are the seconds that its thread had run when this attempt began and when it failed; ``draw`` is from 0 to 1.
    The wait doubles with each attempt, and half of it is random: messages that failed together do not come back together.
    """
    failed = len(tried) + 1
    if failed >= policy.attempts or code not in policy.retry_on:
        return None
    first, longest = policy.backoff
    wait = backoff(first, longest, failures=failed)
    wait = wait / 2 + wait / 2 * draw
    since = tried[0].began if tried else began
    return None if ran + wait - since > policy.within else now + wait


def is_dead(policy: OnFailure, code: str) -> bool:
    """Whether a message that failed for good with this code becomes a dead letter."""
    return code in DEAD or code in policy.retry_on


def counts(code: str) -> bool:
    """Whether a failure with this code counts for the handler's circuit breaker."""
    return code in DEAD


def draw_of(message: str, failed: int) -> float:
    """A pseudo-random number from 0 to 1 for a message's next attempt, derived from its id: a replay draws the same."""
    digest = hashlib.sha256(f"{message}#{failed}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


@define(kw_only=True, eq=False)
class Circuit:
    """The circuit breaker of the handler called ``name``: whether messages are let through to it.

    ``closed``: all are; ``open``: none is; ``half-open``: one was, the probe, whose end decides.
    """

    name: str
    state: Literal["closed", "open", "half-open"] = "closed"
    failures: int = 0
    """How many there were in a row."""
    _last: deque[tuple[float, object]] = field(factory=lambda: deque[tuple[float, object]](maxlen=FAILURES), init=False)
    """The instant and the root thread of the last of them."""
    _seconds: float = field(default=OPEN_SECONDS, init=False)
    _until: float = field(default=0.0, init=False)

    def lets_through(self, now: float) -> bool:
        """Whether a message may be delivered. Where the circuit is not closed, such a message is the probe; one that does not end is
        replaced by another after a while.
        """
        if self.state == "closed":
            return True
        if now < self._until:
            return False
        self.state, self._until = "half-open", now + self._seconds
        return True

    def says(self) -> str:
        """What the sender of a message that is not let through is told."""
        return f"'{self.name}' failed {self.failures} times in a row, and is left alone until it can be tried again"

    def succeeded(self) -> None:
        """A delivery ended in any way but a failure of the handler."""
        if self.state != "closed":
            log.info("handler '%s' works again", self.name)
        self.state, self.failures, self._seconds = "closed", 0, OPEN_SECONDS
        self._last.clear()

    def failed(self, thread: object, now: float) -> None:
        """A delivery of this root thread crashed or timed out; where the circuit is half-open, it was the probe."""
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
        """The probe was cancelled before it ended: the next message is the probe."""
        self._until = 0.0

    def _open(self, now: float) -> None:
        self.state, self._until = "open", now + self._seconds
        log.error(
            "handler '%s' failed %d times in a row: messages to it fail at once, for %g s",
            self.name,
            self.failures,
            self._seconds,
        )
