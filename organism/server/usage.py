"""What an answer used, and what of its prompt a provider would have kept."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from attrs import define, field, frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.models.contract import Response

LEAST_KEPT: Final = 1024
"""Tokens: a shorter prefix is not kept."""
SECONDS_KEPT: Final = 300.0
"""Since it was last used."""
_MOST_KEPT: Final = 10_000
_LOOKBACK: Final = 20
"""Parts before a mark in which an earlier mark is found."""


def counts(response: Response) -> tuple[int, int]:
    """Tokens of the prompt and of the answer."""
    usage = response.usage
    given, answered = (usage.input_tokens, usage.output_tokens) if usage is not None else (0, 0)
    return (given if isinstance(given, int) else 0), (answered if isinstance(answered, int) else 0)


@frozen
class Part:
    """A part of a prompt, in the order in which prefixes are kept: its text, its tokens, and whether a prefix ends with it."""

    text: str
    tokens: int
    marked: bool


@frozen
class Cached:
    """Tokens of a prompt that were read from what is kept, and that were written there."""

    read: int = 0
    written: int = 0


@define(eq=False)
class PromptCache:
    """The prefixes of prompts that are kept. It holds digests and no texts; ``now`` is seconds of any clock that goes on."""

    _kept: OrderedDict[bytes, float] = field(factory=OrderedDict[bytes, float], init=False)

    def used(self, parts: Sequence[Part], *, now: float) -> Cached:
        """What of this prompt is read and written. Prefixes end at marked parts; one that was marked earlier is found too."""
        last = max((place for place, part in enumerate(parts) if part.marked), default=-1)
        if last < 0:
            return Cached()
        prefixes = _prefixes(parts[: last + 1])
        near = {place - back for place, part in enumerate(parts) if part.marked for back in range(_LOOKBACK)}
        read = 0
        for place, (digest, tokens) in enumerate(prefixes):
            if place in near and self._kept.get(digest, -SECONDS_KEPT) + SECONDS_KEPT > now:
                self._keep(digest, now)
                read = tokens
        written = prefixes[last][1] - read if prefixes[last][1] >= LEAST_KEPT else 0
        for part, (digest, tokens) in zip(parts, prefixes, strict=False):
            if part.marked and tokens >= LEAST_KEPT:
                self._keep(digest, now)
        return Cached(read, written)

    def _keep(self, digest: bytes, now: float) -> None:
        self._kept[digest] = now
        self._kept.move_to_end(digest)
        if len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)


def _prefixes(parts: Sequence[Part]) -> list[tuple[bytes, int]]:
    digest, tokens = hashlib.blake2b(digest_size=16), 0
    found: list[tuple[bytes, int]] = []
    for part in parts:
        said = part.text.encode("utf-8", "surrogatepass")
        digest.update(len(said).to_bytes(8, "big") + said)
        tokens += part.tokens
        found.append((digest.digest(), tokens))
    return found
