"""A backend's requests and tokens per minute: weighted token buckets, and the line before them.

A bucket fills evenly up to a tenth of a minute's worth. Providers that promise so many a minute refuse much smaller bursts than
a minute's worth at once (most count by the second), and a full minute's worth on top of what flows in would let twice the
figure through in the first minute. So in any minute no more goes through than the figure and a tenth of it. What weighs
more than a bucket holds goes when it is full, and those behind wait for what it has overdrawn.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import anyio
from attrs import define

if TYPE_CHECKING:
    from organism.models.contract import Allowance

_MINUTE: Final = 60.0
BURST: Final = 1 / 10
"""The part of a minute's worth that a bucket holds; of requests one at least."""
_INSTANT: Final = 1e-6
"""Seconds that make no difference: what flows in while one waits for it may round to just less than was waited for."""


class Bucket:
    """A token bucket, full at first. Pure: ``now`` is in seconds of any clock, and never goes back."""

    def __init__(self, per_minute: int) -> None:
        self.capacity = max(1.0, per_minute * BURST)
        self._rate = per_minute / _MINUTE
        self._level = self.capacity
        self._at = -math.inf
        self.taken = 0.0
        """All that was ever taken, also what was given back later."""

    def wait(self, weight: float, now: float) -> float:
        """Seconds until so much may be taken; 0: now."""
        seconds = (min(weight, self.capacity) - self._filled(now)) / self._rate
        return seconds if seconds > _INSTANT else 0.0

    def take(self, weight: float, now: float) -> None:
        """Takes it, also what is not there."""
        self.give(-weight, now)
        self.taken += weight

    def give(self, weight: float, now: float) -> None:
        """Gives back what was not used; a negative weight is owed."""
        self._level = min(self.capacity, self._filled(now) + weight)

    def lower(self, left: float, since: float, now: float) -> None:
        """Believes whoever knows better that so much was left when ``since`` had been taken. It is never raised by that:
        the figure of the configuration may be a part of what the provider grants.
        """
        self._level = min(self._filled(now), left - (self.taken - since))

    def _filled(self, now: float) -> float:
        if now > self._at:
            self._level = min(self.capacity, self._level + (now - self._at) * self._rate)
            self._at = now
        return self._level


@define(eq=False)
class Taken:
    """What an attempt has taken: one request, and ``tokens``; the rest is what had been taken by then, with it."""

    tokens: float = 0.0
    requests_by_then: float = 0.0
    tokens_by_then: float = 0.0


UNTAKEN: Final = Taken()
"""What attempts take of a backend without figures. Nobody changes it there."""


class TooLateError(Exception):
    """Its turn comes after the deadline: ``seconds`` from now."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"{seconds:g} s")


class Bell:
    """Wakes all who wait for something to change, until a moment at most."""

    def __init__(self) -> None:
        self._event: anyio.Event | None = None

    def ring(self) -> None:
        """Something changed."""
        if self._event is not None:
            self._event.set()
            self._event = None

    async def heard(self, until: float) -> None:
        """Waits until it rings, or until a moment of anyio's clock."""
        if self._event is None:
            self._event = anyio.Event()
        with anyio.CancelScope(deadline=until):
            await self._event.wait()


class Pace:
    """The buckets of one backend and the line before them, first come, first served. Without figures all go at once."""

    def __init__(self, *, requests_per_minute: int | None = None, tokens_per_minute: int | None = None) -> None:
        self._requests = None if requests_per_minute is None else Bucket(requests_per_minute)
        self._tokens = None if tokens_per_minute is None else Bucket(tokens_per_minute)
        self._not_before = -math.inf
        self._line = anyio.Lock(fast_acquire=True)
        self._bell = Bell()
        self.unlimited = self._requests is None and self._tokens is None

    async def turn(self, tokens: float, *, deadline: float) -> Taken:
        """Waits in line, and takes one request of so many tokens. Raises TooLateError as soon as it is known that its turn comes
        after the deadline (of anyio's clock). Cancelled, it takes nothing.
        """
        async with self._line:
            while (seconds := self.wait(tokens, anyio.current_time())) > 0:
                if anyio.current_time() + seconds > deadline:
                    raise TooLateError(seconds)
                await self._bell.heard(anyio.current_time() + seconds)
            return self.take(tokens, anyio.current_time())

    def wait(self, tokens: float, now: float) -> float:
        """Seconds until whoever stands first may go with so many tokens."""
        requests = 0.0 if self._requests is None else self._requests.wait(1, now)
        weighed = 0.0 if self._tokens is None else self._tokens.wait(tokens, now)
        paused = self._not_before - now
        return max(requests, weighed, paused if paused > _INSTANT else 0.0)

    def take(self, tokens: float, now: float) -> Taken:
        """Takes one request of so many tokens."""
        for bucket, weight in ((self._requests, 1.0), (self._tokens, tokens)):
            if bucket is not None:
                bucket.take(weight, now)
        return Taken(tokens, *(0.0 if bucket is None else bucket.taken for bucket in (self._requests, self._tokens)))

    def correct(self, taken: Taken, tokens: float, now: float) -> None:
        """Says what an attempt weighs after all: fewer tokens are given back, more of them are owed."""
        if self._tokens is not None and tokens != taken.tokens:
            self._tokens.give(taken.tokens - tokens, now)
            taken.tokens = tokens
            self._bell.ring()

    def give_back(self, taken: Taken, now: float) -> None:
        """Of an attempt that was never made."""
        if self._requests is not None:
            self._requests.give(1.0, now)
        self.correct(taken, 0.0, now)
        self._bell.ring()

    def hear(self, taken: Taken, allowance: Allowance, now: float) -> None:
        """Takes in what the provider says is left. What others have taken since that attempt, it has not counted yet."""
        if self._requests is not None and allowance.requests is not None:
            self._requests.lower(allowance.requests, taken.requests_by_then, now)
        if self._tokens is not None and allowance.tokens is not None:
            self._tokens.lower(allowance.tokens, taken.tokens_by_then, now)
        self._bell.ring()

    def refused(self, seconds: float, now: float) -> None:
        """The provider refused an attempt for its rate, and wants to be left alone for so long."""
        if not self.unlimited:
            self._not_before = max(self._not_before, now + seconds)
            self._bell.ring()
