"""The circuit breaker of a backend: one that fails again and again is left alone for a while, and then tried by one call.

Pure: time is an argument, in seconds of any clock. Its states are the field's: ``closed`` (calls go through), ``open`` (none do)
and ``half-open`` (one does, the probe; its outcome decides for all).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal

from attrs import define, field

if TYPE_CHECKING:
    from organism.models.contract import Failure

log: Final = logging.getLogger("organism.models")

FAILURES: Final = 5
"""So many failures in a row open it: one more than a call with the usual retries makes, so that no call does it alone."""
OPEN_SECONDS: Final = 10.0
"""How long it is open at first: a server that starts anew takes about as long, and nobody is kept waiting for longer."""
LONGEST_OPEN_SECONDS: Final = 60.0
"""Each probe that fails doubles the time up to this: a probe costs a call its attempt, and a dead server is dead for hours."""

_UNWELL: Final[frozenset[Failure]] = frozenset({"server", "connection", "timeout", "cut", "broken"})
"""What counts. Whoever refuses a call (a wrong key, a long prompt, a rate) is up, and says what it wants."""

State = Literal["closed", "open", "half-open"]


@define(kw_only=True, eq=False)
class Circuit:
    """Of one backend, called ``name`` in the log. Every attempt is begun by :meth:`begin` and ended once, by one of the rest."""

    name: str
    changed: Callable[[], None]
    """Called when those who wait for it should look again."""
    state: State = "closed"
    reopened: int = 0
    """How often it was opened, for those who wait for it to be tried."""
    _failures: int = field(default=0, init=False)
    _seconds: float = field(default=OPEN_SECONDS, init=False)
    _until: float = field(default=0.0, init=False)
    _probing: bool = field(default=False, init=False)

    @property
    def most(self) -> int:
        """How many calls may try it at once; whoever waits for the one that does has a place there next."""
        return 1

    def passes_at(self, now: float) -> float:
        """From when on an attempt may begin: ``now``, or when it half-opens; infinity while a probe is out, which has to tell."""
        if self.state == "closed":
            return now
        return math.inf if self._probing else max(now, self._until)

    def begin(self) -> bool:
        """Begins an attempt, where :meth:`passes_at` allows it; whether it is the probe."""
        if self.state == "closed":
            return False
        if self.state == "open":
            self.state = "half-open"
            log.info("%s: the circuit is half-open after %g s; one call tries it", self.name, self._seconds)
        self._probing = True
        return True

    def answered(self, *, probe: bool) -> None:
        """An attempt had its answer."""
        if self.state == "closed":
            self._failures = 0
        elif probe:
            self._close(failures=0)

    def spoke(self, *, probe: bool) -> None:
        """A stream has given its first text. That closes the circuit, since its reader may take his time with the rest; a
        failure after that opens it again.
        """
        if probe and self.state != "closed":
            self._close(failures=FAILURES - 1)

    def failed(self, kind: Failure, now: float, *, probe: bool) -> None:
        """An attempt failed."""
        if kind not in _UNWELL:
            self.answered(probe=probe)
        elif self.state == "closed":
            self._failures += 1
            if self._failures >= FAILURES:
                self._open(now, f"after {self._failures} failures in a row")
        elif probe:
            self._seconds = min(LONGEST_OPEN_SECONDS, 2 * self._seconds)
            self._open(now, "again, since the call that tried it failed")

    def left(self, *, probe: bool) -> None:
        """An attempt was given up before it came to anything: the next one may be the probe."""
        if probe and self.state == "half-open":
            self._probing = False
            self.changed()

    def _open(self, now: float, why: str) -> None:
        self.state = "open"
        self.reopened += 1
        self._until = now + self._seconds
        self._probing = False
        log.warning("%s: the circuit is open for %g s, %s", self.name, self._seconds, why)
        self.changed()

    def _close(self, *, failures: int) -> None:
        self.state = "closed"
        self._failures = failures
        self._probing = False
        self._seconds = OPEN_SECONDS
        log.info("%s: the circuit is closed, it answers again", self.name)
        self.changed()
