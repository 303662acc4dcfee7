"""What servers say in the headers of an answer: what is left of a rate limit, and how long to wait, whichever format they speak."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from organism.models.contract import Allowance

if TYPE_CHECKING:
    from collections.abc import Mapping

_REQUESTS: Final = ("x-ratelimit-remaining-requests", "anthropic-ratelimit-requests-remaining")
_TOKENS: Final = ("x-ratelimit-remaining-tokens", "anthropic-ratelimit-tokens-remaining")
_DIGITS: Final = 12
"""A longer number is none that a rate limit has."""


def allowance_in(headers: Mapping[str, str]) -> Allowance | None:
    """What is left by these headers; ``None`` where they say nothing of it that can be read."""
    requests, tokens = _figure(headers, _REQUESTS), _figure(headers, _TOKENS)
    return None if requests is None and tokens is None else Allowance(requests=requests, tokens=tokens)


def _figure(headers: Mapping[str, str], names: tuple[str, ...]) -> int | None:
    for name in names:
        said = headers.get(name, "").strip()
        if said.isascii() and said.isdigit() and len(said) <= _DIGITS:
            return int(said)
    return None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that a server asks to wait. A date counts from the server's own ``Date``, so no clock is needed."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
        if seconds >= 0:  # nor is it no number
            return seconds
    try:
        then, now = (parsedate_to_datetime(headers[name]) for name in ("retry-after", "date"))
        return max(0.0, (then - now).total_seconds())
    except (KeyError, ValueError, TypeError, OverflowError):  # the last for a zone that is far out of this world
        return None
