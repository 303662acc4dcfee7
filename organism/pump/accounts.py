"""Handles of accounts, and of the ceiling: how they stand in their window, and raising their limits for the rest of it."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from organism.budget.caps import amounts_of
from organism.budget.claims import VECTOR
from organism.budget.view import BudgetView, Gauge
from organism.config import account_names
from organism.config import budget as parse_budget
from organism.errors import ConfigurationError, check_text
from organism.names import chain_of_limits, told
from organism.usage import adds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from decimal import Decimal

    from organism.budget.claims import Vector
    from organism.budget.node import Node
    from organism.errors import JournalError
    from organism.kernel import Kernel
    from organism.pump.pump import Pump
    from organism.record.images import Ordered
    from organism.settings import Settings

CEILING: Final = "ceiling"
"""What the organism's own limits are called among accounts, whose names have a colon."""
_log: Final = logging.getLogger("organism.budget")


class AccountHandle:
    """An account (``kind:name``), or the ``ceiling``, of a running organism."""

    def __init__(self, pump: Pump, name: str) -> None:
        self._pump = pump
        self.id = name

    def __repr__(self) -> str:
        return f"<AccountHandle {self.id}>"

    @property
    def budget(self) -> BudgetView:
        """Its limits and what was used of them in the window of now, as ``ctx.budget`` has them for a thread."""
        node = self._node()

        def seconds() -> tuple[float, float | None, tuple[str, ...]]:
            limit, left = node.caps.seconds, self._pump.kernel.times.left(self._pump.now())
            return 0.0 if limit is None or left is None else round(limit - left, 3), limit, ()

        return BudgetView(
            node, seconds=Gauge("seconds", seconds), depth=Gauge("depth", lambda: (0, node.caps.depth, ()))
        )

    def add_budget(self, **units: float | str | Decimal) -> None:
        """Raises limits by these amounts until the window ends: ``add_budget(cost_usd="5")``. With a journal on a disk they last over restarts.

        Raises ConfigurationError for an unknown unit, one that is not limited, or an amount that is not above 0.
        """
        self._raise(units)

    def _raise(self, units: Mapping[str, Any], order: Ordered | None = None) -> None:
        if self._pump.own_loop.puts_off(partial(self._raise, units, order)):
            return
        pump, node = self._pump, self._node()
        undo = raise_limits(pump.kernel, node, units, pump.now(), order)
        if pump.writer is not None:
            writer, chain = pump.writer, chain_of_limits(node.thread)

            def fail(error: JournalError) -> None:
                undo()
                writer.thaw(chain)  # nothing of it lives: the next raise begins where the last was written
                _log.error("the limits of %s were not raised: %s", named(node), error)

            writer.when_durable(chain, lambda: None, fail)
        pump.carry_out()

    def _node(self) -> Node:
        """Its node, in the window of now."""
        self._pump.own_loop.check()
        node = node_of(self._pump.kernel, self.id, self._pump.now())
        self._pump.carry_out()
        return node


def checked_account(name: str, settings: Settings) -> str:
    """The name of an account that is configured, or the ceiling's. Raises ConfigurationError and TypeError."""
    if name == CEILING:
        return name
    check_text("account", name)
    kind, colon, one = name.partition(":")
    if not colon:
        problem = (
            "is not an account: name one as KIND:NAME, such as tenant:acme, or 'ceiling' for the limits of the organism"
        )
        raise ConfigurationError([f"account {told(name)}: {problem}"])
    (found,) = account_names({kind: one}, settings, place="account")
    return found


def node_of(kernel: Kernel, name: str, at: float) -> Node:
    """The node of an account, or of the ceiling, in the window of this instant."""
    kernel.calls.come_to(at)
    return kernel.state.root if name == CEILING else kernel.state.pools.account(name, at)


def raise_limits(
    kernel: Kernel, node: Node, units: Mapping[str, Any], at: float, order: Ordered | None = None
) -> Callable[[], None]:
    """Raises the limits of a node that threads share; gives what undoes it. Raises as :meth:`AccountHandle.add_budget`."""
    return kernel.raise_quota(node.account, _amounts(node, units), at, order)


def _amounts(node: Node, units: Mapping[str, Any]) -> Vector:
    for unit, amount in units.items():
        if unit not in VECTOR:
            problem = f"{told(unit)} is not a unit that can be raised here; there are: {', '.join(VECTOR)}"
        elif node.remaining(VECTOR.index(unit)) is None:
            problem = f"{named(node)} has no limit of {unit} that could be raised"
        elif amount is None or not adds(amount):
            problem = f"add_budget: {unit}: {told(amount, 40)} must be above 0: it is added to the limit"
        else:
            continue
        raise ConfigurationError([problem])
    return amounts_of(parse_budget(units).limits)


def named(node: Node) -> str:
    """What it is called to people."""
    return CEILING if node.account is None else node.title
