"""What was reported for the beginnings of prompts: exact for whatever is sent again."""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from attrs import define

from organism.models.tokens.profiles import Text
from organism.models.tokens.prompt import digest_of
from organism.quick import maker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from organism.models.tokens.prompt import Prompt

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


_new_base: Final = maker(Base)


def digests_of(prompt: Prompt) -> tuple[str, ...]:
    """By what another process knows a prompt again: the digests of what was sent beside the messages, of these, and of all but the last.

    What an agent is told of its budget is the last, and is never sent again.
    """
    return (_name_of(prompt.offer), *(digest.hex() for digest in prompt.digests[:-3:-1]))


@lru_cache(maxsize=64)
def _name_of(offer: Offer) -> str:
    return digest_of(b"".join(sorted(offer))).hex()


class Beginnings:
    """The last ``most`` beginnings that were used, each by the digest of its messages."""

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._known: OrderedDict[bytes, dict[Offer, tuple[int, bool]]] = OrderedDict()
        self._offers: dict[Offer, Offer] = {}
        self._recalled: OrderedDict[str, tuple[str, int, bool]] = OrderedDict()
        """What another process was told, by the digest of a beginning: the digest of the offer, the report, and whether it was whole."""

    def of(self, prompt: Prompt) -> list[Base]:
        """The longest known beginning of a prompt, and the longest that was reported whole, by what was sent beside."""
        found: list[Base] = []
        complete = False
        if self._recalled:
            self._know_again(prompt)
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
                found.append(_new_base(reported=reported, whole=whole, offer=offer, new=new))
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

    def recall(self, digests: Sequence[str], reported: int) -> None:
        """Takes in what was reported in another process for the prompt of these :func:`digests_of`. What it was for is known once it is
        asked again.
        """
        offer, *ends = digests
        for less, digest in enumerate(ends):
            known = self._recalled.get(digest)
            if not less or known is None or known[0] != offer or known[1] > reported:  # else that one bounds it as well
                self._recalled[digest] = (offer, reported, not less)
            self._recalled.move_to_end(digest)
        while len(self._recalled) > self._most:
            self._recalled.popitem(last=False)

    def as_json(self) -> dict[str, Any]:
        """What is known, oldest first: the offers once each, and for every beginning the reports by the number of the offer."""
        offers = list(dict.fromkeys(offer for known in self._known.values() for offer in known))
        number = {offer: place for place, offer in enumerate(offers)}
        return {
            "offers": [sorted(digest.hex() for digest in offer) for offer in offers],
            "known": {
                digest.hex(): [[number[offer], reported, whole] for offer, (reported, whole) in known.items()]
                for digest, known in self._known.items()
            },
            "recalled": {digest: list(said) for digest, said in self._recalled.items()},
        }

    def take(self, image: Mapping[str, Any]) -> None:
        """Takes in what :meth:`as_json` gave elsewhere."""
        offers: list[Offer] = [frozenset(map(bytes.fromhex, digests)) for digests in image["offers"]]
        known: Mapping[str, Sequence[tuple[int, int, bool]]] = image["known"]
        for digest, said in known.items():
            for place, reported, whole in said:
                self._put(bytes.fromhex(digest), offers[place], reported, whole=whole)
        for digest, (offer, reported, whole) in image["recalled"].items():
            self._recalled[digest] = (offer, reported, whole)

    def _know_again(self, prompt: Prompt) -> None:
        """Takes over what was recalled of the beginnings of a prompt, also those shorter than the longest: it may be cut to them next, and
        be sent beside less. Each report bounds all that comes before, as in :meth:`remember`.
        """
        offer, name = prompt.offer, _name_of(prompt.offer)
        bound: int | None = None
        for digest in reversed(prompt.digests):
            at = digest.hex()
            recalled = self._recalled.get(at)
            whole = False
            if recalled is not None and recalled[0] == name:
                del self._recalled[at]
                _, bound, whole = recalled
            if bound is not None and offer not in self._known.get(digest, {}):  # this process has its own word for it
                self._put(digest, offer, bound, whole=whole)

    def _put(self, digest: bytes, offer: Offer, reported: int, *, whole: bool) -> None:
        known = self._known.setdefault(digest, {})
        known.pop(offer, None)
        known[offer] = reported, whole
        if len(known) > _OFFERS:
            del known[next(iter(known))]
        self._known.move_to_end(digest)
