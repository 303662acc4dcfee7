"""The rules of budgets (R12 to R15, R19) once more, as slowly and plainly as can be: what the quick ones must agree with.

Nothing is remembered but what happened: every question is answered by going over all that wait and all limits anew.
Amounts are kept by the names of their units; shares are fractions.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from attrs import define, field

from organism.budget.claims import Claim

UNITS = ("tokens", "input_tokens", "output_tokens", "cost_usd", "model_calls", "messages")
COUNTED_ONCE = ("model_calls", "messages")
Amounts = dict[str, int]


def nothing() -> Amounts:
    return dict.fromkeys(UNITS, 0)


@define(eq=False, kw_only=True)
class Purse:
    """One node of the tree. ``limits`` has no entry where there is no limit; money is in 10^-12 USD."""

    name: str
    limits: dict[str, int]
    share: Decimal
    most_tokens: int
    calls: int
    keeps_back: bool
    levels: Mapping[str, tuple[Decimal, ...]]
    runway: Decimal
    above: Purse | None
    lasting: bool = False
    """A conversation: a turn's last call is its own last call as well."""
    used: Amounts = field(factory=nothing)
    own: Amounts = field(factory=nothing)
    held: Amounts = field(factory=nothing)
    overdraft: Amounts = field(factory=nothing)
    fired: set[tuple[str, Decimal]] = field(factory=set[tuple[str, Decimal]])
    runways: set[str] = field(factory=set[str])

    @property
    def path(self) -> list[Purse]:
        return [self] if self.above is None else [self, *self.above.path]

    def kept(self, unit: str) -> Fraction:
        limit = self.limits[unit]
        if not self.keeps_back or unit == "messages":
            return Fraction(0)
        if unit == "model_calls":
            return Fraction(min(self.calls, limit) if limit > 1 else 0)
        share = limit * Fraction(self.share)
        return share if unit == "cost_usd" else min(share, Fraction(self.most_tokens))

    def working(self, unit: str) -> Fraction:
        return self.limits[unit] - self.kept(unit)

    def marks(self, unit: str) -> list[tuple[Fraction, str, Decimal]]:
        """(reached at, name, level), ascending."""
        working = self.working(unit) if unit in self.limits else Fraction(0)
        if working < 1:
            return []
        money = 10**12 if unit == "cost_usd" else 1
        at = [(working * Fraction(each) if each < 1 else Fraction(each) * money, each) for each in self.levels[unit]]
        within = sorted(pair for pair in at if pair[0] <= working)
        names = ["warning"] + ["critical"] * len(within) if len(within) > 1 else []
        names = [*names[: len(within) - 1], "final"] if within else []
        return [(figure, name, level) for (figure, level), name in zip(within, names, strict=True)]


@define(eq=False, kw_only=True)
class Wanting:
    """A call, as it arrives and while it waits."""

    number: int
    claim: Claim
    purse: Purse
    grace: bool
    owner: Any
    passed: int = 0

    def need(self, output: int) -> Amounts:
        return dict(zip(UNITS, self.claim.need(output), strict=True))

    @property
    def least(self) -> Amounts:
        return self.need(self.claim.wish if self.claim.exact else min(self.claim.min_output, self.claim.wish))

    def cap(self, purse: Purse, unit: str) -> Fraction:
        own = purse is self.purse or (purse.lasting and purse is self.purse.above)
        return Fraction(purse.limits[unit]) if self.grace and own else purse.working(unit)

    def short(self, need: Amounts, *, beside: Callable[[Purse], Amounts] | None = None) -> list[tuple[Purse, str]]:
        """The places where ``need`` does not fit beside what is used and what is held there, or ``beside`` instead."""
        return [
            (purse, unit)
            for purse in self.purse.path
            for unit in UNITS
            if unit in purse.limits
            and (need[unit] or unit not in COUNTED_ONCE)
            and purse.used[unit] + (purse.held if beside is None else beside(purse))[unit] + need[unit]
            > self.cap(purse, unit)
        ]

    def output(self) -> int:
        """At most half of what is free (a grace call: all of it), at least what it takes at the least."""
        claim = self.claim
        if claim.exact:
            return claim.wish
        times = 1 if self.grace else 2
        room = bisect_left(range(claim.wish + 1), 1, key=lambda output: bool(self.short(self.need(output * times)))) - 1
        return max(min(claim.min_output, claim.wish), room)


class Naive:
    """The line and the tree together. ``streams``: what each owner's open streams hold on the whole path."""

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.waiting: list[Wanting] = []
        self.streams: dict[Any, list[Amounts]] = {}

    def stuck(self, owner: Any, purse: Purse) -> Amounts:  # noqa: ARG002 - windows are others' matter
        """What an owner's own streams hold at a purse above it."""
        held = self.streams.get(owner, [])
        return {unit: sum(each[unit] for each in held) for unit in UNITS}

    def bars(self, younger: Wanting) -> list[Wanting]:
        """Who bars a call: older, passed over too often, and lacking somewhere on the call's path."""
        path = younger.purse.path
        return [
            older
            for older in self.waiting
            if older.number < younger.number and older.passed >= self.patience
            if any(purse in path for purse, _ in older.short(older.least))
        ]

    def never(self, call: Wanting) -> list[tuple[Purse, str]]:
        """The places that keep a call from ever going, its own streams being open."""
        return call.short(call.least, beside=lambda purse: self.stuck(call.owner, purse))

    def in_vain(self, call: Wanting) -> bool:
        """Whether one that bars the call waits for what the call's own streams hold."""
        stuck = {purse: self.stuck(call.owner, purse) for purse in call.purse.path}
        return any(
            any(stuck[purse].values())
            and purse.used[unit] + stuck[purse][unit] + older.least[unit] > older.cap(purse, unit)
            for older in self.bars(call)
            for purse, unit in older.short(older.least)
            if purse in stuck
        )

    def grant(self, call: Wanting) -> Amounts:
        need = call.need(call.output())
        for older in self.waiting:
            if older.number < call.number and any(purse in call.purse.path for purse, _ in older.short(older.least)):
                older.passed += 1
        for purse in call.purse.path:
            for unit in UNITS:
                purse.held[unit] += need[unit]
        return need

    def arrive(self, call: Wanting) -> str:
        """``granted``, ``waits`` or ``refused``; where granted it is held."""
        if self.never(call):
            return "refused"
        if call.short(call.least):
            return "waits"
        if self.bars(call):
            return "refused" if self.in_vain(call) else "waits"
        self.grant(call)
        return "granted"

    def freed(self) -> tuple[list[tuple[int, Amounts]], set[int]]:
        """Tries everybody, oldest first: who was granted what, in order, and who was refused."""
        granted: list[tuple[int, Amounts]] = []
        refused: set[int] = set()
        for call in list(self.waiting):
            if self.never(call) or (not call.short(call.least) and self.in_vain(call)):
                self.waiting.remove(call)
                refused.add(call.number)
        for call in list(self.waiting):
            if not call.short(call.least) and not self.bars(call):
                self.waiting.remove(call)
                granted.append((call.number, self.grant(call)))
        return granted, refused

    def settle(self, purse: Purse, need: Amounts, charge: Amounts) -> list[tuple[str, str, str]]:
        """Puts a hold back; (node, unit, level) of what is crossed by it, in order."""
        for unit in UNITS:
            purse.own[unit] += charge[unit]
            for each in purse.path:
                each.held[unit] -= need[unit]
                each.used[unit] += charge[unit]
                if unit in each.limits and charge[unit] > need[unit]:
                    over = each.used[unit] + each.held[unit] - each.limits[unit]
                    each.overdraft[unit] = max(each.overdraft[unit], over)
        return self.crossed(purse, charge)

    def crossed(self, purse: Purse, charge: Amounts) -> list[tuple[str, str, str]]:
        found: list[tuple[str, str, str]] = []
        for each in purse.path:
            for unit in UNITS:
                for at, name, level in each.marks(unit):
                    if each.used[unit] >= at and (unit, level) not in each.fired:
                        each.fired.add((unit, level))
                        found.append((each.name, unit, name))
            found += self._short_runways(each, charge)
        return found

    def _short_runways(self, purse: Purse, charge: Amounts) -> list[tuple[str, str, str]]:
        found: list[tuple[str, str, str]] = []
        if not purse.runway or not any(charge.values()):
            return found
        for unit in UNITS[:5]:
            if unit not in purse.limits or unit in purse.runways or purse.working(unit) < 1:
                continue
            like_this = 1 if unit == "model_calls" else charge[unit]
            left = int(purse.working(unit)) - purse.used[unit] - purse.held[unit]
            if left < Fraction(purse.runway) * like_this:
                purse.runways.add(unit)
                found.append((purse.name, unit, "runway"))
        return found

    def fire_rest(self, purse: Purse, unit: str) -> list[str]:
        """All levels of a unit that have not fired: nobody is refused unwarned."""
        rest = [(name, level) for _, name, level in purse.marks(unit) if (unit, level) not in purse.fired]
        purse.fired |= {(unit, level) for _, level in rest}
        return [name for name, _ in rest]

    def recap(self, purse: Purse, limits: dict[str, int]) -> None:
        # Whole amounts: a limit that rises by less lets nobody spend more.
        before = {unit: int(purse.working(unit)) if unit in purse.limits else None for unit in UNITS}
        purse.limits = limits
        for unit in UNITS:
            old, new = before[unit], int(purse.working(unit)) if unit in limits else None
            if old is not None and (new is None or new > old):
                reached = {level for level in purse.levels[unit] if self._is_reached(purse, unit, level)}
                purse.fired = {(u, level) for u, level in purse.fired if u != unit or level in reached}
                purse.runways.discard(unit)

    def _is_reached(self, purse: Purse, unit: str, level: Decimal) -> bool:
        if level >= 1:
            return purse.used[unit] >= Fraction(level) * (10**12 if unit == "cost_usd" else 1)
        return unit in purse.limits and purse.used[unit] >= Fraction(level) * purse.working(unit)
