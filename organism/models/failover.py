"""Which backend of an alias is tried next, and after how long: one call's way, without clock, dice or network of its own."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable

    from organism.models.contract import BackendError

_DOUBLINGS: Final = 60
"""Beyond this the backoff of any configuration has long reached its longest; it keeps the power finite."""


@frozen(kw_only=True)
class Turn:
    """An attempt to make at ``backend`` (its index), not before ``at`` (seconds of the clock that was passed in)."""

    backend: int
    at: float


class Way:
    """The backends of one call in their order: each in turn, then again from the first, ``retries`` further times.

    A backend that was not tried yet is tried at once. One that failed is left alone for its Retry-After (at most
    ``backoff[1]`` seconds), or else for a time that doubles from ``backoff[0]`` with each of its failures; ``dice`` takes
    up to half of that off, so that calls that failed together do not come back together.
    """

    def __init__(self, backends: int, *, retries: int, backoff: tuple[float, float], dice: Callable[[], float]) -> None:
        self._line = deque(range(backends))
        self._left = 1 + retries
        self._first, self._longest = backoff
        self._dice = dice
        self._ready: dict[int, float] = {}
        self._failures: dict[int, int] = {}

    def next(self, now: float) -> Turn | None:
        """The next attempt; ``None`` when there is none left to make."""
        if not self._line or self._left <= 0:
            return None
        backend = self._line[0]
        return Turn(backend=backend, at=max(now, self._ready.get(backend, now)))

    def skip(self, backend: int) -> None:
        """Leaves a backend out for good; that is no attempt."""
        self._line.remove(backend)

    def failed(self, backend: int, error: BackendError, now: float) -> None:
        """Counts an attempt that failed at ``now``, and puts the backend where its failure belongs."""
        self._left -= 1
        if error.kind == "context":
            # The prompt is too long: asking again, or elsewhere, only repeats a mistake that its author must hear of.
            self._line.clear()
            return
        self._line.remove(backend)
        if error.retryable:
            self._line.append(backend)
            self._ready[backend] = now + self._pause(backend, error.retry_after)

    def _pause(self, backend: int, retry_after: float | None) -> float:
        failures = self._failures.get(backend, 0)
        self._failures[backend] = failures + 1
        if retry_after is not None and retry_after >= 0:
            return min(retry_after, self._longest)
        longest = min(self._longest, self._first * 2.0 ** min(failures, _DOUBLINGS))
        return longest * (1 - self._dice() / 2)
