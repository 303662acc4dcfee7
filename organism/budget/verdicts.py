"""The verdict on a call's claim at one instant (R12 to R14): it fits now, may fit later, or never will. Nothing is changed by asking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define

from organism.budget.claims import Claim, Vector
from organism.budget.tree import NOWHERE, Lack, fits, lack, output_of, output_room

if TYPE_CHECKING:
    from collections.abc import Mapping

    from organism.budget.node import Node


@define
class Granted:
    """The claim fits, and ``output`` tokens may come back; ``clamped``: fewer than wished for. Not frozen, which would be slower: every call makes
    one.
    """

    need: Vector
    output: int
    clamped: bool


@define(frozen=True)
class MustWait:
    """The claim may fit once what is held has settled, or older calls that bar it have gone."""

    lack: Lack


@define(frozen=True)
class TooMuch:
    """The claim does not fit, and will not."""

    lack: Lack


Verdict = Granted | MustWait | TooMuch


def decide(
    claim: Claim, path: tuple[Node, ...], *, grace: bool = False, stuck: Mapping[Node, Vector] = NOWHERE
) -> Verdict:
    """Whether a claim fits on the path now, later, or never. Changes nothing."""
    # A call gets at most half of the room, so that others can call beside it (R13). If two such outputs fit, it gets its whole wish.
    wish = claim.wish
    need = claim.need(wish)
    if fits(path, need if grace or claim.exact else claim.need(2 * wish), grace=grace):
        return Granted(need, wish, clamped=False)
    room = output_room(path, claim, grace=grace)
    output = output_of(claim, room, grace=grace)
    need = claim.need(output)
    missing = None if output <= room else lack(path, need, grace=grace, stuck=stuck)
    if missing is None:
        return Granted(need, output, clamped=output < claim.wish)
    return TooMuch(missing) if missing.for_good else MustWait(missing)
