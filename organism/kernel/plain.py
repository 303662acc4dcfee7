"""Whether one answer may plainly be carried out: the look that is enough for most of them, and no more.

What it finds, :func:`organism.kernel.answers.check_closely` finds as well, which also says why something may not be sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from organism.budget.tree import bears_one
from organism.kernel.sendable import is_plain, whom_before
from organism.message import Forward, Outgoing, Reply, Send

if TYPE_CHECKING:
    from organism.frames import Frame, Message
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
    except AttributeError:  # it was made around its constructor, and holds nothing
        return None


def _sent(state: State, message: Message, out: Send[Any] | Forward[Any], depth: int) -> tuple[Outgoing, Route] | None:
    route = whom_before(state, message, out.to, out.payload) if type(out.to) is str else None
    if route is None:
        return None
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
    if not is_plain(state, out.payload):
        return None
    to = receiver(message.frame, out.payload)
    return None if to is not None and not bears_one(to.thread.node) else (out, None)


def receiver(frame: Frame, payload: Any) -> Frame | None:
    """The frame that a reply would be delivered to as a new message; ``None`` where it is no new message."""
    parent = frame.parent
    if parent is None or frame.answered or frame.asker is not None or type(payload) not in parent.route.accepts:
        return None
    return parent


__all__ = ["plainly", "receiver"]
