"""What servers say in their headers of how much of a rate limit is left, whichever protocol they speak."""

from __future__ import annotations

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
