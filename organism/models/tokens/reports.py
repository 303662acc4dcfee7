"""What earlier reports say of a new prompt: the tokens a byte of texts like its own, and what the provider adds without being asked."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from organism.models.tokens.profiles import floor_of, profile_of, unlike

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from organism.models.tokens.profiles import Profile, Text

_MOST: Final = 32
NEEDED: Final = 3
"""Witnesses that are asked: those most like a text. The dearest of them speaks for it."""
SAID_FROM: Final = 1000
"""Bytes of text from which a report says something of it: in short ones what the provider adds prevails."""
_LIKE_FROM: Final = 64
"""Bytes of text from which it is compared: the signs of a shorter one are chance."""
_DOUBT: Final = 2.0
"""How much more of a text is held as unknown than its signs show: two languages share most of their letters."""
_CHANCE: Final = 1.0
"""By how much two texts of one kind differ for being short, times the root of the bytes."""
_MARGIN: Final = 1.15
"""What is added to the witnesses' figure: texts of one kind differ by as much."""
ABSURD: Final = 4.0
"""Tokens a byte that no tokenizer makes: one garbled report must not make every later call look unaffordable."""
_FORGET: Final = 8
"""Figures rise at once and sink by an eighth of the way: a hold too low is an overdraft, one too high only a wait."""
_LEAN: Final = 0.15
"""Tokens a byte of tools that no tokenizer falls below."""
_HIDDEN: Final = 400
"""Tokens that a prompt of the provider's own about tools may have and still stay unseen in a long report."""


class Witnesses:
    """Texts with what was reported for them, for one model: the last :data:`_MOST` of at least :data:`SAID_FROM` bytes."""

    def __init__(self) -> None:
        self._seen: deque[tuple[Profile, float]] = deque(maxlen=_MOST)
        self._finer = 1.0

    def tokens(self, texts: Sequence[Text]) -> float:
        """Tokens to hold for new texts."""
        size = size_of(texts)
        return size * self._ratio(texts, size)

    def _ratio(self, texts: Sequence[Text], size: int) -> float:
        """Tokens to hold for a byte of new text: what the witnesses say for as much as is like them, the floor for the rest."""
        floor = self._finer * floor_of(texts, size)
        if size < _LIKE_FROM or len(self._seen) < NEEDED:
            return floor
        profile = profile_of(texts)
        far = [unlike(profile, seen) for seen, _ in self._seen]
        nearest = [self._seen[index] for index in sorted(range(len(far)), key=far.__getitem__)[:NEEDED]]
        among = sum([other for other, _ in nearest])
        far_from_them = unlike(NEEDED * profile, among, times=NEEDED)
        unknown = min(1.0, _DOUBT * max(0.0, far_from_them - _CHANCE / math.sqrt(size)))
        known = _MARGIN * max(said for _, said in nearest)
        return unknown * floor + (1 - unknown) * known

    def learn(self, texts: Sequence[Text], reported: int) -> None:
        """Takes in what was reported for a text."""
        size = size_of(texts)
        if size < SAID_FROM or not 0 < (said := reported / size) <= ABSURD:
            return
        self._seen.append((profile_of(texts), said))
        finer = said / floor_of(texts, size)
        self._finer = max(1.0, _followed(self._finer, finer))

    def as_json(self) -> dict[str, Any]:
        """The witnesses, oldest first; a profile as hexadecimal digits, since it has more than other programs keep of a number."""
        return {"seen": [[f"{profile:x}", said] for profile, said in self._seen], "finer": self._finer}

    def take(self, image: Mapping[str, Any]) -> None:
        """Takes in what :meth:`as_json` gave elsewhere."""
        self._seen.extend((int(profile, 16), float(said)) for profile, said in image["seen"])
        self._finer = max(self._finer, float(image["finer"]))


def size_of(texts: Sequence[Text]) -> int:
    """The bytes of texts together."""
    return sum([text.size for text in texts])


def _followed(figure: float, seen: float) -> float:
    return max(seen, figure + (seen - figure) / _FORGET)


class Overhead:
    """Learned from short prompts: in long ones, how the model cuts text prevails.

    As much is believed as two reports in succession say: a garbled one must not make every later call look unaffordable.
    """

    def __init__(self) -> None:
        self._held = 0.0
        self._last = 0

    @property
    def tokens(self) -> int:
        """What to hold for it."""
        return math.ceil(self._held)

    def learn(self, excess: int) -> None:
        """Takes in by how much a report passed what was expected for the text alone; below zero it did not."""
        seen = max(0, excess)
        believed, self._last = min(seen, self._last), seen
        self._held = _followed(self._held, believed)

    def as_json(self) -> dict[str, Any]:
        """What is held, and what the last report said."""
        return {"held": self._held, "last": self._last}

    def take(self, image: Mapping[str, Any]) -> None:
        """Takes in what :meth:`as_json` gave elsewhere."""
        self._held, self._last = float(image["held"]), int(image["last"])


class OfferOverhead(Overhead):
    """The same for prompts with tools or a schema, before which some providers put hundreds of tokens of instructions.

    Such prompts are seldom short, so it starts from the other side: what a report leaves, its text taken as lean as can
    be, may all be instructions. The first report with few tools shows that there are none.
    """

    def __init__(self) -> None:
        super().__init__()
        self._room: int | None = None

    @property
    def tokens(self) -> int:
        """What to hold for it; nothing where no tools were ever sent."""
        return max(super().tokens, self._room or 0)

    def leaves(self, reported: int, size: int) -> None:
        """Takes in a report for a whole prompt of ``size`` bytes."""
        room = max(0, reported - math.floor(_LEAN * size))
        self._room = min(room, _HIDDEN if self._room is None else self._room)

    def as_json(self) -> dict[str, Any]:
        """The same, and what reports leave for instructions."""
        return {**super().as_json(), "room": self._room}

    def take(self, image: Mapping[str, Any]) -> None:
        """Takes in what :meth:`as_json` gave elsewhere."""
        super().take(image)
        self._room = None if image["room"] is None else int(image["room"])
