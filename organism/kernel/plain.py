"""Whether one answer may plainly be carried out: the look that is enough for most of them, and no more.

What it finds, :func:`organism.kernel.answers.check_closely` finds as well, which also says why something may not be sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.budget.tree import bears_one
from organism.message import Forward, Outgoing, Reply, Send

if TYPE_CHECKING:
    from typing import Any

    from organism.frames import Message
    from organism.kernel.state import State
    from organism.routing import Route


def plainly(state: State, message: Message, out: Outgoing) -> tuple[Outgoing, Route | None] | None:
    """What is to be done with an answer that is all there is: a reply, or a message to somebody whom its handler has sent such a value
    before. ``None``: there is more to look at.
    """
    try:
        if type(out) is Send:
            return _sent(state, message, out, message.frame.depth + 1)
        if type(out) is Forward:
            return _sent(state, message, out, message.frame.depth)
        return _replied(state, message, out) if type(out) is Reply else None
    except Exception:  # noqa: BLE001 - what is no whole value may raise anything when it is looked at, and so may its class
        return None


def _sent(state: State, message: Message, out: Send[Any] | Forward[Any], depth: int) -> tuple[Outgoing, Route] | None:
    if type(out.to) is not str:
        return None
    payload: object = out.payload
    met = state.met.get((message.to, out.to, type(payload)))
    if met is None:
        return None
    route, check = met
    check(payload)
    thread = message.thread
    at_work = state.occupied.get((thread, route.name)) if state.occupied else None
    odd = (
        thread.closing
        or thread.stopping is not None
        or message.dropped
        or (route.budget is not None and route is not message.route)
        or (
            at_work is not None and at_work is not message and at_work.asks is not None
        )  # it may wait for this very branch
        or not bears_one(thread.node, depth)
    )
    return None if odd else (out, route)


def _replied(state: State, message: Message, out: Reply[Any]) -> tuple[Outgoing, None] | None:
    payload: object = out.payload
    frame = message.frame
    check = state.plain.get(type(payload))
    if check is None:
        return None
    check(payload)
    parent = frame.parent
    delivered = parent is not None and not frame.answered and frame.asker is None
    if parent is not None and delivered and type(payload) in parent.route.accepts and not bears_one(parent.thread.node):
        return None
    return out, None


__all__ = ["plainly"]
