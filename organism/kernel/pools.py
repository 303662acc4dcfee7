"""The budgets that many threads share, the organism's ceiling and the accounts, and the windows they count over (R10, R18)."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

from organism.budget.caps import Mark, caps, figure, raised
from organism.budget.claims import NOTHING, VECTOR, six
from organism.budget.node import Node, aim, begin_with, fire, roll, set_caps
from organism.budget.windows import HOUR, Used, Window, used_in, window_of
from organism.names import ACCOUNT, ORGANISM
from organism.settings import Quota
from organism.usage import Raised, Reached

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from organism.budget.claims import Vector
    from organism.kernel.holds import Hold
    from organism.settings import Policy, Settings, WindowKind
    from organism.usage import Spending

SCOPE: Final = "account"


class Spent(NamedTuple):
    """What a node has spent, and which of its levels and runways have fired; as :class:`~organism.budget.node.Node` has them."""

    used: list[int]
    own: list[int]
    overdraft: list[int]
    details: list[int]
    details_own: list[int]
    estimated: bool
    unpriced: bool
    fired: list[frozenset[Decimal]]
    runways: int


Before = dict[Node, tuple[Window, Spent]]
"""What nodes had spent at some instant, and in which window."""


class Pools(dict[str, Node]):
    """The shared nodes by name: the organism's own (``root``) under the empty name, those of accounts under ``account:kind:name``, made when a
    thread is first under them. ``rolls_at`` is the instant at which the first of their windows ends.
    """

    def __init__(self, settings: Settings, policy: Policy) -> None:
        super().__init__()
        self._quotas = settings.accounts
        self._ceiling = settings.ceiling
        self._now = 0.0
        self.until = math.inf
        """No window begins that is later than that of this instant: while facts are folded of a process whose clock was ahead."""
        self._before_fold: dict[Node, Spent | None] | None = None
        """What the nodes had spent that facts, which are being folded, count in; ``None`` for one that was made meanwhile. Only these: of a
        thousand accounts a chain knows a few.
        """
        self._raised: dict[str, dict[int, Vector]] = {}
        """By how much limits were raised for a window, by node and hour: every window begins and ends with one."""
        self._spent_before: dict[str, tuple[Window, Used]] = {}
        self._spent_ahead: dict[str, tuple[Spending, ...]] = {}
        """What earlier processes, whose clock was ahead, spent in windows that have not begun yet."""
        self._charged_ahead: dict[str, list[tuple[float, Sequence[int]]]] = {}
        """What this process charged to such windows, by node: (an instant of the window, amounts)."""
        self._reached: dict[str, list[tuple[int, Reached]]] = {}
        """The levels that fired in earlier processes, by node: (hour, level)."""
        self._expected: dict[str, tuple[tuple[str, float, Vector], ...]] = {}
        """The calls that earlier processes left under way, by chain: (node, instant, amounts)."""
        self._expecting: dict[str, dict[str, None]] = {}
        """The chains of those calls, by node."""
        window = window_of(settings.ceiling.window, self._now)
        self.root = Node(ORGANISM, caps(settings.ceiling.limits, policy, keeps_back=False), policy, window=window)
        self[""] = self.root
        self._above_all = (self.root,)
        self.rolls_at = window.ends

    def begin(self, settings: Settings, spendings: Sequence[Spending], at: float) -> None:
        """Counts what earlier processes spent (``spendings``) in the windows of this instant."""
        self._now = at
        by_account: dict[str, list[Spending]] = {}
        for each in spendings:
            self._hear(each)
            for name in each.accounts:
                by_account.setdefault(name, []).append(each)
        self._know("", settings.ceiling.window, spendings)
        self._limit(self.root)
        self._take_up(self.root)
        for name, rows in by_account.items():
            quota = quota_of(self._quotas, name)
            if quota is not None:
                self._know(f"{ACCOUNT}{name}", quota.window, rows)

    def _hear(self, row: Spending) -> None:
        """Keeps what a row tells that is no sum. What an earlier process was given for itself alone (``run``) is gone with it."""
        match row.tells:
            case Reached(node=node):
                self._reached.setdefault(node, []).append((row.hour, row.tells))
            case Raised(node=node, amounts=amounts) if self._quota(node).window != "run":
                self._raise(node, amounts, row.hour, 1)
            case _:
                pass

    def _quota(self, node: str) -> Quota:
        """What is configured for a node; no limits where that is nothing any more."""
        return (quota_of(self._quotas, node.removeprefix(ACCOUNT)) or Quota()) if node else self._ceiling

    def raise_limits(self, node: Node, amounts: Vector, at: float) -> None:
        """Raises a node's limits for the window that ``at`` lies in."""
        self._raise(node.thread, amounts, math.floor(at) // HOUR, 1)
        self._limit(node)

    def take_back(self, name: str, amounts: Vector, at: float) -> None:
        """Undoes :meth:`raise_limits` for the node of this name."""
        self._raise(name, amounts, math.floor(at) // HOUR, -1)
        if name in self:
            self._limit(self[name])

    def _raise(self, name: str, amounts: Vector, hour: int, times: int) -> None:
        of_node = self._raised.setdefault(name, {})
        before = of_node.get(hour, NOTHING)
        of_node[hour] = six([have + times * more for have, more in zip(before, amounts, strict=True)])

    def _limit(self, node: Node) -> None:
        """Gives a node the limits of its window: what is configured, and what was given beside that."""
        limits = self._quota(node.thread).limits
        for hour, amounts in self._raised.get(node.thread, {}).items():
            if hour * HOUR in _window(node):
                limits = raised(limits, amounts)
        set_caps(node, caps(limits, node.policy, keeps_back=False))

    def _know(self, name: str, kind: WindowKind, rows: Sequence[Spending]) -> None:
        """Keeps what earlier processes spent at a node in the window of now, and in later ones."""
        window = window_of(kind, self._now)
        self._spent_before[name] = (window, used_in(window, rows))
        ahead = tuple(each for each in rows if each.hour * HOUR >= window.ends)
        if ahead:
            self._spent_ahead[name] = ahead

    @property
    def are_limited(self) -> bool:
        """Whether any limit is shared: what one thread spends another may lack."""
        return bool(self.root.caps.limited or self._quotas)

    def expect(self, chain: str, holds: Iterable[Hold]) -> None:
        """Counts the calls as spent that an earlier process left under way in a chain. Whoever takes the chain up will charge them in full
        (R22); until then nobody else may spend that.
        """
        self.expect_no_more(chain)
        expected = tuple((node.thread, hold.held_at, hold.need) for hold in holds for node in hold.path if node.window)
        for name, at, need in expected:
            node = self.account(name.removeprefix(ACCOUNT), self._now) if name else self.root
            if at in _window(node):
                _count(node, need, 1)
            self._expecting.setdefault(name, {})[chain] = None
        self._expected[chain] = expected

    def expect_no_more(self, chain: str) -> None:
        """A chain is taken up, so that its calls are charged by that: they are not counted here any more."""
        for name, at, need in self._expected.pop(chain, ()):
            self._expecting[name].pop(chain, None)
            node = self.get(name)
            if node is not None and at in _window(node):
                _count(node, need, -1)

    def come_to(self, at: float) -> None:
        """Sets the instant: accounts that are opened from here on count over its window or a later one."""
        self._now = at

    def account(self, name: str, at: float) -> Node:
        """The node of an account (``kind:name``), made where it is missing, with what earlier processes spent in its window. An account that is
        not configured any more has no limits. ``at`` lies in the past while facts are folded.
        """
        known, before = self.get(f"{ACCOUNT}{name}"), self._before_fold
        if known is not None:
            if before is not None and known not in before:
                before[known] = _spent(known)
            return known
        quota, policy = self._quota(name), self.root.policy
        node = Node(
            SCOPE, caps(quota.limits, policy, keeps_back=False), policy, thread=f"{ACCOUNT}{name}", above=(self.root,),
            window=window_of(quota.window, max(min(at, self.until), self._now)),
        )  # fmt: skip
        self[node.thread] = node
        if node.thread in self._raised:
            self._limit(node)
        self.rolls_at = min(self.rolls_at, _window(node).ends)
        self._take_up(node)
        if before is not None:
            before[node] = None
        return node

    def above(self, accounts: Sequence[str], at: float) -> tuple[Node, ...]:
        """The nodes above a root thread or a conversation that is under these accounts, the nearest first."""
        return (*[self.account(name, at) for name in accounts], self.root) if accounts else self._above_all

    def roll_over(self, at: float, needed: Collection[Node]) -> tuple[Node, ...]:
        """Begins a new window for each node whose window is over, and returns these nodes. Nothing is spent or held in it; holds of the old
        window are charged to that (R18). Accounts that are not ``needed`` are forgotten.
        """
        at = min(at, self.until)
        rolled = tuple(node for node in self.values() if at >= _window(node).ends)
        for node in rolled:
            node.window = window_of(_window(node).kind, at)
            if node.thread in self._raised:
                self._limit(node)
            roll(node)
            self._take_up(node)
            if node is not self.root and node not in needed:
                del self[node.thread]
        self.rolls_at = min(_window(node).ends for node in self.values())
        return rolled

    def sums(self) -> Before:
        """What each node has spent in its window."""
        return {node: (_window(node), _spent(node)) for node in self.values()}

    def begin_fold(self) -> None:
        """Facts of an earlier process are folded from here on. Windows stay those of now, though its clock was ahead: what is held and spent
        from now on counts in these.
        """
        self.until = self._now
        self._before_fold = {self.root: _spent(self.root)}

    def end_fold(self) -> None:
        """Gives the nodes back the figures that they had before facts were folded: what these spent is in them already. A ``run`` window,
        which counts one process alone, also forgets which levels the fold has fired.
        """
        before, self._before_fold, self.until = self._before_fold or {}, None, math.inf
        for node, spent in before.items():
            known = spent
            if known is None:
                held, fired, runways = node.held, node.fired, node.runways
                self._take_up(node, always=True)
                known = _spent(node)
                node.held, node.runways = held, node.runways | runways
                node.fired = [ledger | folded for ledger, folded in zip(node.fired, fired, strict=True)]
            node.used, node.own, node.overdraft = known.used, known.own, known.overdraft
            node.details, node.details_own = known.details, known.details_own
            node.estimated, node.unpriced = known.estimated, known.unpriced
            if _window(node).kind == "run":
                node.fired, node.runways = known.fired, known.runways
            for unit in range(len(node.used)):
                aim(node, unit)

    def add(self, other: Pools, before: Before) -> None:
        """Counts here what was spent on other pools since they stood as ``before``: now, or once its window begins."""
        for name, node in other.items():
            # As of now, and not of the others' instant: their clock may have been ahead.
            here = self.account(name.removeprefix(ACCOUNT), self._now) if name else self.root
            window, known = before.get(node, (None, None))
            then = known.used if known is not None and window == node.window else NOTHING
            spent = [now - was for now, was in zip(node.used, then, strict=True)]
            if here.window == node.window:
                here.used = [have + more for have, more in zip(here.used, spent, strict=True)]
            elif any(spent):
                self._charged_ahead.setdefault(name, []).append((_window(node).begins, spent))

    def charge_ahead(self, hold: Hold, amounts: Vector) -> None:
        """Counts what a call was charged once the windows begin in which it was held, where the clock was ahead of the process that held it."""
        for node in hold.path:
            if node.window is not None and hold.held_at >= node.window.ends:
                self._charged_ahead.setdefault(node.thread, []).append((hold.held_at, amounts))

    def _take_up(self, node: Node, *, always: bool = False) -> None:
        """Counts what earlier processes spent in a node's window, which has just begun. ``always``: also where that is nothing."""
        window, used = self._spent_before.get(node.thread, (None, None))
        if window != node.window and node.thread in self._spent_ahead:
            used = used_in(_window(node), self._spent_ahead[node.thread])
            window = node.window
        if used is not None and window == node.window:
            begin_with(node, used.amounts, used.details, estimated=used.estimated, unpriced=used.unpriced)
        elif always:
            begin_with(node, NOTHING)
        for at, amounts in self._known_beside(node.thread):
            if at in _window(node):
                _count(node, amounts, 1)
        for hour, reached in self._reached.get(node.thread, ()):
            unit = VECTOR.index(reached.unit)
            counts = _window(node).kind != "run" and hour * HOUR in _window(node)
            if counts and str(figure(unit, node.caps.limit[unit])) == reached.limit:
                fire(node, unit, Mark(0, reached.level, Decimal(reached.threshold)))

    def _known_beside(self, name: str) -> Iterator[tuple[float, Sequence[int]]]:
        """What counts at a node beside what earlier processes spent: calls left under way, and charges ahead of time, as (instant, amounts)."""
        for chain in self._expecting.get(name, ()):
            yield from ((at, need) for node, at, need in self._expected[chain] if node == name)
        yield from self._charged_ahead.get(name, ())


def quota_of(accounts: Mapping[str, Quota], name: str) -> Quota | None:
    """The quota of an account: its own, or that of the template for its kind; ``None`` where neither is configured."""
    return accounts.get(name) or accounts.get(name.partition(":")[0])


def _count(node: Node, need: Sequence[int], times: int) -> None:
    node.used = [have + times * more for have, more in zip(node.used, need, strict=True)]
    for unit in range(len(need)):
        aim(node, unit)


def _window(node: Node) -> Window:
    assert node.window is not None  # noqa: S101 - every shared node counts over one
    return node.window


def _spent(node: Node) -> Spent:
    return Spent(
        list(node.used), list(node.own), list(node.overdraft), list(node.details), list(node.details_own), node.estimated,
        node.unpriced,
        list(node.fired), node.runways,
    )  # fmt: skip
