"""What was reported for the beginnings of prompts: exact for whatever is sent again."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from attrs import define

from organism.models.profiles import Text

if TYPE_CHECKING:
    from organism.models.prompt import Prompt

Offer = frozenset[bytes]
"""The digests of the tools and the schema that were sent beside the messages."""

_OFFERS: Final = 4
"""Offers beside which a beginning is remembered at once."""
_SHARED: Final = 256
"""Offers that are kept only once, however many beginnings they were sent with."""


@define(eq=False, kw_only=True)
class Base:
    """What an estimate can build on: ``reported`` tokens for ``offer`` and all but the ``new`` texts of a prompt.

    Where it is not ``whole``, they were reported for more than that, and bound it. Nobody changes one; every call makes some.
    """

    reported: int
    whole: bool
    offer: Offer
    new: tuple[Text, ...]


class Beginnings:
    """The last ``most`` beginnings that were used, each by the digest of its messages."""

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._known: OrderedDict[bytes, dict[Offer, tuple[int, bool]]] = OrderedDict()
        self._offers: dict[Offer, Offer] = {}

    def of(self, prompt: Prompt) -> list[Base]:
        """The longest known beginning of a prompt, and the longest that was reported whole, by what was sent beside."""
        found: list[Base] = []
        complete = False
        for end in range(len(prompt.digests), 0, -1):
            digest = prompt.digests[end - 1]
            known = self._known.get(digest)
            if known is None:
                continue
            if found and not any(whole for _, whole in known.values()):
                continue
            self._known.move_to_end(digest)
            for offer, (reported, whole) in known.items():
                if end == 1 and not (offer or whole):
                    continue  # a prompt that has nothing in common with another is no bound on it
                new = prompt.parts[end:]
                if offer != prompt.offer:
                    new = (*new, *(text for digest, text in prompt.beside if digest not in offer))
                found.append(Base(reported=reported, whole=whole, offer=offer, new=new))
                complete = complete or whole
            if complete:
                break
        return found

    def remember(self, prompt: Prompt, reported: int) -> None:
        """Takes in a report for a whole prompt, which bounds each of its beginnings."""
        if len(self._offers) > _SHARED:
            self._offers.clear()
        offer = self._offers.setdefault(prompt.offer, prompt.offer)
        self._put(prompt.digests[-1], offer, reported, whole=True)
        for digest in reversed(prompt.digests[:-1]):
            known = self._known.get(digest, {}).get(offer)
            if known is not None and known[0] <= reported:
                break  # whoever reported less did so for all that comes before, too
            self._put(digest, offer, reported, whole=False)
        while len(self._known) > self._most:
            self._known.popitem(last=False)

    def _put(self, digest: bytes, offer: Offer, reported: int, *, whole: bool) -> None:
        known = self._known.setdefault(digest, {})
        known.pop(offer, None)
        known[offer] = reported, whole
        if len(known) > _OFFERS:
            del known[next(iter(known))]
        self._known.move_to_end(digest)
