"""How much effort an answer is worth: thorough by nature, less so the more a notice presses and is heeded. And its only chance: choices that look
free and are not, since every draw follows from the seed, the request and what the draw is for.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, TypeVar

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.models.simulation.options import Options

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


_EFFORTS: Final = {"none": 0.5, "minimal": 0.5, "low": 0.7, "medium": 1.0, "high": 1.4, "xhigh": 1.8}
_HURRIED: Final = 0.7
"""From this degree on nothing more is asked: the answer comes at once."""
_SPREAD: Final = 0.5
"""By how much of the usual a temper may write or look up more or less."""
_ROUNDS: Final = 4.0
_BREADTH: Final = 3.0
_SENTENCES: Final = 4.0


@frozen(kw_only=True)
class Temper:
    """What a model is like while one task lasts: how much it looks up, and how much it writes, beside the usual (1)."""

    looks_up: float = 1.0
    writes: float = 1.0

    @classmethod
    def of(cls, seed: int, taste: Dice, jitter: float) -> Temper:
        """The temper that a seed draws for a task. Without a seed (0), and at a temperature of 0, it is the usual one."""
        if not seed:
            return cls()

        def drawn(purpose: str) -> float:
            return 1 + jitter * _SPREAD * (2 * taste.share(purpose) - 1)

        return cls(looks_up=drawn("looks up"), writes=drawn("writes"))


_USUAL: Final = Temper()


@frozen(kw_only=True)
class Style:
    """What one answer may take. ``rounds``: turns of tool calls since the task began; ``breadth``: calls of one tool in a
    turn; ``sentences``: of a text; ``hurried``: answer now, with what there is.
    """

    rounds: int
    breadth: int
    sentences: int
    hurried: bool

    @classmethod
    def of(
        cls, options: Options, pressure: float, dice: Dice, reasoning_effort: str | None, temper: Temper = _USUAL
    ) -> Style:
        """The style under a pressure in [0, 1]. The same prompt and seed draw the same lot at every obedience, so a more
        obedient model never heeds less.
        """
        heeds = dice.share("obedience") < options.obedience
        # How far a notice is heeded, in [0, 1].
        restraint = pressure * (1 + options.obedience) / 2 if heeds else 0.0
        effort = options.verbosity * _EFFORTS.get(reasoning_effort or "medium", 1.0)
        scale = effort * (1 - restraint)
        return cls(
            rounds=0 if restraint >= _HURRIED else max(1, min(12, round(_ROUNDS * scale * temper.looks_up))),
            breadth=max(1, min(16, round(_BREADTH * scale * temper.looks_up))),
            sentences=max(1, min(40, round(_SENTENCES * scale * temper.writes))),
            hurried=restraint >= _HURRIED,
        )
