"""Raising the limits of accounts, and the ceiling, for the window of now: where the organism runs, and where nobody works on its journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from organism.budget.claims import VECTOR
from organism.errors import ConfigurationError
from organism.kernel.windows import roll_hint
from organism.names import chain_of_limits
from organism.pump.accounts import checked_account, named, node_of, raise_limits
from organism.pump.handles import give_more
from organism.works.control.changes import changed_from

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from organism.budget.node import Node
    from organism.kernel import Kernel
    from organism.pump.accounts import AccountHandle
    from organism.works.control.orders import Order
    from organism.works.durable import Durable


async def given_more(kernel: Kernel, durable: Durable, handle: AccountHandle, order: Order, at: float) -> str:
    """Raises the limits of an account of an organism that runs, and says what was done. Raises as :meth:`AccountHandle.add_budget`, and
    JournalError.
    """
    node = node_of(kernel, handle.id, at)
    return await _done(node, lambda: give_more(handle, order.units or {}, order.once), durable)


async def given_more_in(kernel: Kernel, durable: Durable, order: Order, at: float) -> str:
    """The same in the journal of an organism that does not run."""
    node = node_of(kernel, checked_account(order.account or "", durable.settings), at)
    if node.window is not None and node.window.kind == "run":
        problem = (
            "counts what one process spends (window: run), and none works on the journal: raise the limit in the file"
        )
        raise ConfigurationError([f"{named(node)} {problem}"])
    return await _done(node, lambda: raise_limits(kernel, node, order.units or {}, at, order.once), durable)


async def _done(node: Node, give_more: Callable[[], object], durable: Durable) -> str:
    """Does it, waits until it is written, and says what was done."""
    before = _limits(node)
    give_more()
    await durable.settled(chain_of_limits(node.thread))
    return _said(node, before)


def _limits(node: Node) -> Mapping[str, Any]:
    return {unit: node.figures(number)[2] for number, unit in enumerate(VECTOR)}


def _said(node: Node, before: Mapping[str, Any]) -> str:
    kind = "run" if node.window is None else node.window.kind
    lasts = "until this process ends" if kind == "run" else roll_hint(node) or "for good"
    return f"{named(node)}: {changed_from(before, _limits(node))}; {lasts}"
