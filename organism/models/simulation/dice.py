"""Choices that look free and are not: every draw follows from the seed, the request and what the draw is for."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeVar

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")


@frozen
class Dice:
    """Draws from a key; the same key and purpose give the same draw in every process."""

    key: bytes

    @classmethod
    def of(cls, seed: int, *parts: str) -> Dice:
        """Dice for one request: ``parts`` are its texts."""
        digest = hashlib.blake2b(str(seed).encode(), digest_size=16)
        for part in parts:
            data = part.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "big"))
            digest.update(data)
        return cls(digest.digest())

    def _number(self, purpose: str) -> int:
        data = purpose.encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.blake2b(data, key=self.key, digest_size=8).digest(), "big")

    def share(self, purpose: str) -> float:
        """A number in [0, 1)."""
        return (self._number(purpose) >> 11) / 2**53

    def pick(self, purpose: str, among: Sequence[T]) -> T:
        """One of a sequence that is not empty."""
        return among[self._number(purpose) % len(among)]

    def token(self, purpose: str) -> str:
        """Twelve hexadecimal digits."""
        return f"{self._number(purpose):016x}"[:12]
