"""The nodes that many threads share, the organism's own and those of accounts, and the windows they count over (R10, R18)."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from organism.budget.caps import caps
from organism.budget.claims import NOTHING
from organism.budget.tree import Node, aim, begin_with, roll
from organism.budget.windows import Used, window_of
from organism.names import ACCOUNT
from organism.settings import Quota

if TYPE_CHECKING:
    from collections.abc import Mapping

    from organism.budget.windows import Window
    from organism.kernel.holds import Hold
    from organism.kernel.state import State

SCOPE: Final = "account"


def quota_of(accounts: Mapping[str, Quota], name: str) -> Quota | None:
    """The quota of an account: its own, or that of the template for its kind; ``None`` where neither is configured."""
    return accounts.get(name) or accounts.get(name.partition(":")[0])


def account(state: State, name: str) -> Node:
    """The node of an account (``kind:name``), which begins with what was spent in its window by earlier processes. One that is not
    configured any more has no limits.
    """
    known = state.pools.get(f"{ACCOUNT}{name}")
    if known is not None:
        return known
    quota = quota_of(state.settings.accounts, name) or Quota()
    node = Node(
        SCOPE, caps(quota.limits, state.root.policy, keeps_back=False), state.root.policy, thread=f"{ACCOUNT}{name}",
        above=(state.root,), window=window_of(quota.window, max(state.now, state.no_earlier)),
    )  # fmt: skip
    state.pools[node.thread] = node
    state.rolls_at = min(state.rolls_at, _window(node).ends)
    used = spent_before(state, node)
    begin_with(node, used.amounts, used.details, estimated=used.estimated)
    return node


def spent_before(state: State, node: Node) -> Used:
    """What earlier processes spent in the window of a shared node."""
    window, used = state.spent_before.get(node.thread, (None, None))
    return Used() if used is None or window != node.window else used


def above(state: State, accounts: tuple[str, ...]) -> tuple[Node, ...]:
    """The nodes above a root thread or a conversation that is under these accounts, the nearest first."""
    return (*(account(state, name) for name in accounts), state.root)


def roll_over(state: State, at: float) -> tuple[Node, ...]:
    """A new window begins for the nodes whose old one is over: nothing was spent in it, and nothing is held; what is held from the
    old one is charged to that (R18). Accounts that nobody is under any more are forgotten.
    """
    rolled = tuple(node for node in state.pools.values() if at >= _window(node).ends)
    for node in rolled:
        node.window = window_of(_window(node).kind, at)
        roll(node)
        used = spent_before(state, node)  # facts of an earlier process may be what brings it to this window
        if used.amounts != NOTHING:
            begin_with(node, used.amounts, used.details, estimated=used.estimated)
    needed = {node for thread in state.threads.values() for node in thread.node.path}
    needed.update(node for conversation in state.conversations.values() for node in conversation.node.path)
    for node in rolled:
        if node is not state.root and node not in needed:
            del state.pools[node.thread]
    state.rolls_at = min(_window(node).ends for node in state.pools.values())
    return rolled


def roll_hint(node: Node) -> str:
    """When a node's window rolls over, for whoever was refused by it."""
    window = node.window
    if window is None or math.isinf(window.ends):
        return ""
    return f"its {window.kind} ends {datetime.fromtimestamp(window.ends, UTC):%Y-%m-%d %H:%M} UTC"


def path_of(hold: Hold) -> tuple[Node, ...]:
    """The nodes that a hold is on: not those whose window has rolled over since."""
    rolled = [node for node in hold.path if node.window is not None and hold.held_at < node.window.begins]
    return tuple(node for node in hold.path if node not in rolled) if rolled else hold.path


Sums = tuple[list[int], list[int], list[int], list[int], list[int], bool]
"""What a node has spent: used, own, overdraft, details, own details, and whether some of it is an estimate."""
Levels = tuple[list[frozenset[Decimal]], int]
"""Which levels of a node have fired, and which runways."""


def sums_of(state: State) -> dict[Node, tuple[Sums, Levels]]:
    """What the shared nodes have spent, and the levels that have fired by that."""
    return {node: (_sums(node), (list(node.fired), node.runways)) for node in state.pools.values()}


def keep_sums(state: State, before: Mapping[Node, tuple[Sums, Levels]]) -> None:
    """Gives shared nodes the sums back that they had before facts were folded whose spending is in them already. A count of one
    process has nothing of what another one fired.
    """
    for node in state.pools.values():
        known, (fired, runways) = before.get(node) or _begun(state, node)
        node.used, node.own, node.overdraft, node.details, node.details_own, node.estimated = known
        if _window(node).kind == "run":
            node.fired, node.runways = fired, runways
        else:
            node.fired = [ledger | folded for ledger, folded in zip(fired, node.fired, strict=True)]
            node.runways |= runways
        for unit in range(len(node.used)):
            aim(node, unit)


def _begun(state: State, node: Node) -> tuple[Sums, Levels]:
    """What a shared node begins with that was opened by folding; it stays as it is."""
    used = spent_before(state, node)
    fresh = Node(node.scope, node.caps, node.policy, thread=node.thread, window=node.window)
    begin_with(fresh, used.amounts, used.details, estimated=used.estimated)
    return _sums(fresh), (fresh.fired, fresh.runways)


def add_sums(state: State, other: State, before: Mapping[Node, tuple[Sums, Levels]]) -> None:
    """Counts what was spent on the shared nodes of another state since it stood as ``before`` here as well, where the windows are the
    same.
    """
    for name, node in other.pools.items():
        here = account(state, name.removeprefix(ACCOUNT)) if name else state.root
        if here.window == node.window:
            then = before[node][0][0] if node in before else [0] * len(node.used)
            here.used = [have + now - was for have, now, was in zip(here.used, node.used, then, strict=True)]


def _sums(node: Node) -> Sums:
    return (
        list(node.used), list(node.own), list(node.overdraft), list(node.details), list(node.details_own), node.estimated,
    )  # fmt: skip


def _window(node: Node) -> Window:
    assert node.window is not None  # noqa: S101 - every shared node counts over one
    return node.window
