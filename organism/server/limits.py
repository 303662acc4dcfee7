"""Limits of requests and of tokens a minute, and how the providers tell in their headers what is left of them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECONDS: Final = 60.0


@define(eq=False)
class Bucket:
    """A limit a minute that fills again all the time. Times are seconds of one clock."""

    limit: int
    _level: float = field(init=False)
    _then: float | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._level = self.limit

    def left(self, now: float) -> float:
        """What is left of it; below 0 where more was taken than there was."""
        if self._then is not None:
            self._level = min(self.limit, self._level + self.limit * (now - self._then) / _SECONDS)
        self._then = now
        return self._level

    def take(self, figure: float, now: float) -> None:
        """Takes something out."""
        self._level = self.left(now) - figure

    def seconds_until(self, figure: float, now: float) -> float:
        """How long until so much is left of it."""
        return max(0.0, (figure - self.left(now)) * _SECONDS / self.limit)


@define(eq=False)
class Limits:
    """What may be asked a minute; ``None`` is without a limit."""

    requests: Bucket | None = None
    tokens: Bucket | None = None

    @property
    def _named(self) -> Mapping[str, Bucket]:
        buckets = {"requests": self.requests, "tokens": self.tokens}
        return {name: bucket for name, bucket in buckets.items() if bucket is not None}

    def lacking(self, now: float) -> tuple[str, float] | None:
        """What a further request lacks, and for how many seconds; ``None`` where it may come."""
        for name, bucket in self._named.items():
            if bucket.left(now) < 1:
                return name, bucket.seconds_until(1, now)
        return None

    def take(self, *, requests: int = 0, tokens: int = 0, now: float) -> None:
        """Counts a request, or tokens of it."""
        if self.requests is not None:
            self.requests.take(requests, now)
        if self.tokens is not None:
            self.tokens.take(tokens, now)

    def of_chat(self, now: float) -> dict[str, str]:
        """Headers as chat completions have them."""
        headers: dict[str, str] = {}
        for name, bucket in self._named.items():
            headers |= {
                f"x-ratelimit-limit-{name}": str(bucket.limit),
                f"x-ratelimit-remaining-{name}": str(max(0, math.floor(bucket.left(now)))),
                f"x-ratelimit-reset-{name}": f"{bucket.seconds_until(bucket.limit, now):.3f}s",
            }
        return headers

    def of_messages(self, now: float, wall: float) -> dict[str, str]:
        """Headers as Messages have them; ``wall`` is seconds since 1970."""
        headers: dict[str, str] = {}
        for name, bucket in self._named.items():
            full = datetime.fromtimestamp(wall + bucket.seconds_until(bucket.limit, now), UTC)
            headers |= {
                f"anthropic-ratelimit-{name}-limit": str(bucket.limit),
                f"anthropic-ratelimit-{name}-remaining": str(max(0, math.floor(bucket.left(now)))),
                f"anthropic-ratelimit-{name}-reset": full.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        return headers
