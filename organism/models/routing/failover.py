"""Which backend of an alias is tried next, and after how long: one call's way, without clock, dice or network of its own.

With ``failover`` every call begins with the first backend; with ``round-robin`` and ``least-loaded`` those that have the same
priority take turns, or the one that has least to do goes first. Failing over to the next is the same for all.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from attrs import define

from organism.budget.levels import has_reached
from organism.durations import backoff
from organism.quick import maker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from organism.models.contract import BackendError
    from organism.settings import Level, ModelSettings, Strategy


@define(kw_only=True)
class Turn:
    """An attempt to make at ``backend`` (its index), not before ``at`` (seconds of the clock that was passed in)."""

    backend: int
    at: float


_new_turn: Final = maker(Turn)


class Way:
    """The backends of one call in their ``order``: each in turn, then again from the first, ``retries`` further times.

    A backend that was not tried yet is tried at once. One that failed is left alone for its Retry-After (at most
    ``backoff[1]`` seconds), or else for a time that doubles from ``backoff[0]`` with each of its failures; ``dice`` takes
    up to half of that off, so that calls that failed together do not come back together.
    """

    def __init__(
        self, order: Sequence[int], *, retries: int, backoff: tuple[float, float], dice: Callable[[], float]
    ) -> None:
        self._line = deque(order)
        self._left = 1 + retries
        self._first, self._longest = backoff
        self._dice = dice
        self._ready: dict[int, float] = {}
        self._failures: dict[int, int] = {}

    def next(self, now: float, passes: Callable[[int], float] = lambda _: 0.0) -> Turn | None:
        """The next attempt; ``None`` when there is none left to make.

        ``passes`` says from when on a backend may be tried at all: one that may not yet is passed over while another may, and
        where none may, it is the turn of the first that will.
        """
        if not self._line or self._left <= 0:
            return None
        first = self._line[0]
        if not self._ready and passes(first) <= now:
            return _new_turn(backend=first, at=now)
        ready = {backend: max(self._ready.get(backend, now), passes(backend)) for backend in self._line}
        backend = next((each for each in self._line if passes(each) <= now), None)
        if backend is None:
            backend = min(self._line, key=lambda each: ready[each])
        return Turn(backend=backend, at=max(now, ready[backend]))

    def skip(self, backend: int) -> None:
        """Leaves a backend out for good; that is no attempt."""
        self._line.remove(backend)

    def failed(self, backend: int, error: BackendError, now: float) -> None:
        """Counts an attempt that failed at ``now``, and puts the backend where its failure belongs."""
        if error.kind == "declined":
            # It asked nobody: whoever comes next has as many attempts as without it.
            self.skip(backend)
            return
        self._left -= 1
        if error.kind in {"context", "unrecorded"}:
            # The prompt is too long: asking again, or elsewhere, only repeats a mistake that its author must hear of. And a
            # recording that has to have every answer must not be gone around.
            self._line.clear()
            return
        self._line.remove(backend)
        if error.retryable:
            self._line.append(backend)
            self._ready[backend] = now + self._pause(backend, error.retry_after)

    def pause(self, retry_after: float | None) -> float:
        """The seconds of a Retry-After that are kept to; 0 without one."""
        return min(retry_after, self._longest) if retry_after is not None and retry_after >= 0 else 0.0

    def _pause(self, backend: int, retry_after: float | None) -> float:
        failures = self._failures.get(backend, 0)
        self._failures[backend] = failures + 1
        if retry_after is not None and retry_after >= 0:
            return self.pause(retry_after)
        longest = backoff(self._first, self._longest, failures=failures + 1)
        return longest * (1 - self._dice() / 2)


def order_of(loads: Sequence[tuple[int, float]], strategy: Strategy, *, turn: int) -> list[int]:
    """The order in which a call tries its backends, by their index. ``loads`` are (priority, load) of each, in the order of the
    priorities; ``turn`` counts the calls.
    """
    order = list(range(len(loads)))
    if strategy == "least-loaded":
        return sorted(order, key=lambda index: loads[index])
    if strategy == "round-robin":
        order = list[int]()
        for priority in dict.fromkeys(priority for priority, _ in loads):
            peers = [index for index, (each, _) in enumerate(loads) if each == priority]
            first = turn % len(peers)
            order += peers[first:] + peers[:first]
    return order


def downgraded(
    models: Mapping[str, ModelSettings], asked: str, level: Callable[[], Level | None]
) -> ModelSettings | None:
    """The alias that a call goes to: the one that it asks for, or what that is downgraded to at this level of its budget."""
    alias = models.get(asked)
    while alias is not None and alias.downgrade is not None and has_reached(level(), alias.downgrade.at):
        alias = models.get(alias.downgrade.to)
    return alias
