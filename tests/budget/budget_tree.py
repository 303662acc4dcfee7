"""What the tests of budgets share: a path of nodes from limits, claims in one line, and calls that hold, wait and settle."""

from __future__ import annotations

from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from organism.budget.caps import Caps, caps
from organism.budget.claims import NOTHING, Charge, Claim, Vector
from organism.budget.crossings import crossings
from organism.budget.node import Node, fire
from organism.budget.tree import put_back, take
from organism.budget.verdicts import Granted, MustWait, TooMuch, Verdict
from organism.settings import UNITS, Grace, Limits, Policy

if TYPE_CHECKING:
    from organism.budget.waiting import Line, Waiter

NO_GRACE = Grace(model_calls=0, share=Decimal(0), tokens=0)
PLAIN = Policy(grace=NO_GRACE, warn_at=MappingProxyType({}), runway=Decimal(0))
"""Nothing is kept back and nobody is warned."""


def warning(*levels: str, runway: str = "0", grace: Grace = NO_GRACE) -> Policy:
    """A policy with these levels for every unit."""
    each = tuple(Decimal(level) for level in levels)
    return Policy(warn_at=MappingProxyType(dict.fromkeys(UNITS, each)), runway=Decimal(runway), grace=grace)


def limits(**of: Any) -> Limits:
    """Limits; ``cost_usd`` may be text."""
    read: dict[str, Any] = {unit: Decimal(value) if unit == "cost_usd" else value for unit, value in of.items()}
    return Limits(**read)


def made(policy: Policy = PLAIN, *, keeps_back: bool = True, **of: Any) -> Caps:
    """The caps of these limits."""
    return caps(limits(**of), policy, keeps_back=keeps_back)


def node(above: Node | None = None, *, policy: Policy = PLAIN, name: str = "", **of: Any) -> Node:
    """A node with these limits below another; without one it is the organism's."""
    scope = "organism" if above is None else "thread" if above.scope == "organism" else "sub-thread"
    return Node(
        scope,
        made(policy, keeps_back=above is not None, **of),
        policy,
        thread=name,
        above=() if above is None else above.path,
    )


def thread(policy: Policy = PLAIN, **of: Any) -> Node:
    """A thread below an organism without limits."""
    return node(node(policy=policy), policy=policy, name="t", **of)


def tokens(amount: int, **keys: Any) -> Claim:
    """An exact claim of so many tokens, all of them output."""
    return Claim(input_tokens=0, wish=amount, exact=True, **keys)


def wish(amount: int, *, given: int = 0, least: int = 64, **keys: Any) -> Claim:
    """A claim whose output may be lowered."""
    return Claim(input_tokens=given, wish=amount, min_output=least, **keys)


def arrive(line: Line, at: Node, claim: Claim, *, owner: Any = None, grace: bool = False) -> Verdict:
    """The verdict on a call of a node."""
    return line.arrive(claim, at.path, owner, grace=grace)


def held(line: Line, at: Node, claim: Claim | int, *, owner: Any = None, grace: bool = False) -> Vector:
    """What is held for a call that fits."""
    verdict = arrive(line, at, tokens(claim) if isinstance(claim, int) else claim, owner=owner, grace=grace)
    assert isinstance(verdict, Granted)
    return verdict.need


def waits(line: Line, at: Node, claim: Claim | int, *, owner: Any = None, grace: bool = False) -> Waiter:
    """The waiter of a call that does not fit yet."""
    claim = tokens(claim) if isinstance(claim, int) else claim
    verdict = arrive(line, at, claim, owner=owner, grace=grace)
    assert isinstance(verdict, MustWait)
    return line.join(claim, at.path, verdict.lack, grace=grace, owner=owner, note=None)


def settle(line: Line, at: Node, need: Vector, charge: Charge | None = None) -> list[tuple[Waiter, Granted | TooMuch]]:
    """Puts a hold back (all of it where nothing is charged) and tries those who wait."""
    put_back(at.path, need, NOTHING if charge is None else charge.amounts)
    return line.freed(at.path)


def spend(
    at: Node, *, input_tokens: int = 0, output_tokens: int = 0, cost: int = 0, calls: int = 1
) -> list[tuple[str, str]]:
    """Charges a call that was held in full; fires what it crosses and gives (thread or scope, level), in order."""
    charge = Charge(input_tokens=input_tokens, output_tokens=output_tokens, cost=cost, model_calls=calls)
    amounts = charge.amounts
    take(at.path, amounts)
    put_back(at.path, amounts, amounts)
    found = crossings(at.path, amounts)
    for each, unit, mark in found:
        fire(each, unit, mark)
    return [(each.thread or each.scope, mark.level) for each, _, mark in found]


def granted(done: list[tuple[Waiter, Granted | TooMuch]]) -> list[Waiter]:
    """Who was granted, in order."""
    return [waiter for waiter, verdict in done if isinstance(verdict, Granted)]


def refused(done: list[tuple[Waiter, Granted | TooMuch]]) -> list[Waiter]:
    """Who was refused, in order."""
    return [waiter for waiter, verdict in done if isinstance(verdict, TooMuch)]
