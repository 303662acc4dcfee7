"""Who is told of a crossing, and when (R15, R16)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.budget.claims import NOTHING, VECTOR, Crossing, Vector
from organism.budget.tree import Node, crossing, crossings, fire, unfired
from organism.frames import Thread, Warned, root_of
from organism.kernel.notices import calls_left, warning_payload
from organism.names import ORGANISM

if TYPE_CHECKING:
    from organism.budget.caps import Mark
    from organism.frames import Message
    from organism.kernel.state import State


def note_crossings(
    state: State, thread: Thread, message: Message | None, charge: Vector = NOTHING, *, at_once: bool = True
) -> tuple[Crossing, ...]:
    """Fires the levels that the thread's path has reached and writes down who hears of each.

    ``message`` is the delivery that crossed them (``None``: nobody can be told); ``at_once``: it still runs, so that code
    sees them in its completion and in ``ctx.budget``.
    """
    found = crossings(thread.node.path, charge)
    return fire_all(state, thread, message, found, at_once=at_once) if found else ()


def note_arrival(state: State, message: Message, *, came_from: Thread | None = None) -> None:
    """Fires the levels that a message reached by coming into its thread. No call in there made them, so the handler that
    is about to get the message hears of them.
    """
    if message.thread is not came_from:
        note_crossings(state, message.thread, message, at_once=False)


def fire_all(
    state: State,
    thread: Thread,
    message: Message | None,
    found: tuple[tuple[Node, int, Mark], ...],
    *,
    at_once: bool = True,
) -> tuple[Crossing, ...]:
    """Fires these levels, in order."""
    seen: list[Crossing] = []
    for node, unit, mark in found:
        fire(node, unit, mark)
        said = crossing(node, unit, mark)
        seen.append(said)
        raise_crossing(state, thread, None if message is None else message.to, message, node, said, at_once=at_once)
    return tuple(seen)


def raise_crossing(
    state: State,
    thread: Thread,
    hears: str | None,
    message: Message | None,
    node: Node,
    said: Crossing,
    *,
    at_once: bool,
) -> None:
    """Writes one crossing down. ``hears`` is the handler that is to hear of it, ``message`` its delivery if one runs."""
    route = None if hears is None else state.routes[hears]
    agent = route is not None and route.agent
    told = route is not None and not agent and (at_once or route.takes_warnings)
    warned = Warned(
        seq=root_of(thread).seq + 1,
        unit=said.unit,
        level=said.level,
        threshold=said.threshold,
        used=said.used,
        limit=said.limit,
        held=said.held,
        remaining=said.remaining,
        scope=said.scope,
        calls_left=calls_left(thread) if said.unit in VECTOR else None,
        to=hears if told else None,
    )
    state.raise_warning(thread, warned, node, hears if agent else None)
    if message is not None and route is not None and route.takes_warnings and not agent:
        message.told = [*(message.told or ()), warned]


def fire_rest(state: State, thread: Thread, message: Message | None, node: Node, unit: int) -> tuple[Crossing, ...]:
    """Fires all levels of a unit that have not fired: nobody is refused unwarned (R15)."""
    if not node.thread and node is not state.root:
        return ()  # the sub-thread was never opened
    return fire_all(state, thread, message, tuple((node, unit, mark) for mark in unfired(node, unit)))


def post_notices(state: State, message: Message) -> None:
    """Sends what a finished delivery is to hear as one message in its frame; its caller too, where it is to be told."""
    told, message.told = message.told, None
    if not told or message.kind == "notice":
        return
    thread, frame = message.thread, message.frame
    if thread.closing or thread.stopping is not None:
        return
    payload = warning_payload(told)
    state.post(thread, message.to, payload, ORGANISM, "notice", frame=frame, charged=False)
    caller = frame.parent
    if (
        caller is not None
        and "caller" in thread.node.policy.notify
        and state.routes[caller.handler].takes_warnings
        and not state.routes[caller.handler].agent
    ):
        state.post(caller.thread, caller.handler, payload, ORGANISM, "notice", frame=caller, charged=False)
