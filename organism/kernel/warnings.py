"""Warnings: which levels fire, who is told of them, and when (R15, R16).

A level is *fired* once; the warning that it raises is entered in the thread whose call crossed it. It *waits* (``pending``) for the next
prompt of an agent, or for the end of a delivery of code (``told``), and is *told* then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.budget.claims import NOTHING, VECTOR, Crossing, Vector
from organism.budget.crossings import crossing, crossings, has_crossed
from organism.budget.node import Node, fire, unfired
from organism.kernel.conversations import SCOPE as CONVERSATION_SCOPE
from organism.kernel.conversations import wait_to_hear
from organism.kernel.notices import calls_left, warning_payload
from organism.kernel.steps import raised
from organism.names import ORGANISM
from organism.record import facts
from organism.threads.lineage import root_of
from organism.threads.outcomes import Warned

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from organism.budget.caps import Mark
    from organism.kernel.state import State
    from organism.threads.frames import Frame, Message, Thread


def note_crossings(
    state: State,
    thread: Thread,
    message: Message | None,
    charge: Vector = NOTHING,
    *,
    at_once: bool = True,
    path: tuple[Node, ...] | None = None,
) -> tuple[Crossing, ...]:
    """Fires the levels that use has reached on the thread's path, and raises a warning for each.

    ``message`` is the delivery that crossed them (``None``: nobody can be told); ``charge`` is what its call cost; ``at_once``: it still
    runs, so that code sees them in its completion and in ``ctx.budget``; ``path``: only these nodes are looked at.
    """
    if path is None and charge is NOTHING and not has_crossed(thread.node):
        return ()
    found = crossings(thread.node.path if path is None else path, charge)
    return fire_all(state, thread, message, found, at_once=at_once) if found else ()


def note_arrival(state: State, message: Message, *, came_from: Thread | None = None) -> None:
    """Fires the levels that a message crossed by coming into its thread, where that is another than ``came_from``. No delivery there caused
    them, so the handler that is about to get the message is told.
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
    said: list[Crossing] = []
    warned: list[Warned] = []
    for node, unit, mark in found:
        fire(node, unit, mark)
        said.append(crossing(node, unit, mark))
        warned.append(raise_crossing(state, thread, message, said[-1], at_once=at_once))
    tell_caller(state, message, warned)
    return tuple(said)


def raise_crossing(
    state: State,
    thread: Thread,
    message: Message | None,
    said: Crossing,
    *,
    hears: str | None = None,
    at_once: bool = False,
    about: str | None = None,
    digest: str | None = None,
) -> Warned:
    """Raises the warning of one crossing, and decides for whom it waits. ``message`` is the delivery whose handler is to be told; where none
    runs, ``hears`` names that handler. ``about`` and ``digest`` are set for a loop, of which only the sender is told.
    """
    to = hears if message is None else message.to
    route = None if to is None else state.routes[to]
    told = "agent" in thread.node.policy.notify
    agent = route if route is not None and route.agent else None
    code = route if route is not None and not route.agent else None
    # Code that still runs sees it in its completion and in ctx.budget, whoever else is told.
    warned = _warning(thread, said, to if at_once and code is not None else None, about)
    enter_warning(
        state,
        thread,
        warned,
        to if told and agent is not None and agent.told else None,
        _other_reader(state, message, said) if digest is None else None,
        message if told and code is not None and code.takes_warnings else None,
        digest=digest,
    )
    return warned


def _warning(thread: Thread, said: Crossing, to: str | None, about: str | None) -> Warned:
    """The warning of a crossing, as results show it, with the next number of its root thread."""
    return Warned(
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
        to=to,
        node=said.thread,
        about=about,
    )


def fire_rest(
    state: State, thread: Thread, message: Message | None, node: Node, unit: int, *, at_once: bool = True
) -> tuple[Crossing, ...]:
    """Fires all levels of a unit that have not fired yet, before a refusal: nobody is refused unwarned (R15)."""
    if not node.thread and node is not state.root:
        return ()  # the sub-thread was never opened
    return fire_all(state, thread, message, tuple((node, unit, mark) for mark in unfired(node, unit)), at_once=at_once)


def post_notices(state: State, message: Message) -> None:
    """Sends code the warnings of its finished delivery as one message in its frame."""
    warnings, thread = message.warned, message.thread
    if warnings is None or not warnings.told:
        return
    told, warnings.told = warnings.told, ()
    if thread.is_ending:
        return
    payload = warning_payload(told)
    state.post(message.frame, payload, ORGANISM, "notice", charged=False)
    tell(state, thread, message.to, told)


def enter_warning(
    state: State,
    thread: Thread,
    warned: Warned,
    pending_for: str | None,
    pending_caller: tuple[str, str] | None,
    told_after: Message | None = None,
    *,
    digest: str | None = None,
) -> None:
    """Enters a warning in the thread whose call crossed the level, live and when facts are folded.

    ``pending_for`` is an agent of the thread that is to be told in its next prompt, ``pending_caller`` (thread id, handler) another agent;
    ``told_after`` is the delivery whose handler gets it as a message once it is over; ``digest`` is that of a loop's message.
    """
    if told_after is not None:
        warnings = told_after.have_dealings().have_warned()
        warnings.told = (*warnings.told, warned)
    root = root_of(thread)
    root.seq = max(root.seq, warned.seq)
    troubles = thread.have_troubles()
    if troubles.warnings is None:
        troubles.warnings = []
    troubles.warnings.append(warned)
    if digest is not None and state.rings is not None:
        state.rings.of(root).warn(digest, warned.seq)
    hearers = {} if pending_for is None else {(thread.id, pending_for): thread}
    if pending_caller is not None:
        hearers[pending_caller] = state.threads[pending_caller[0]]
    for (_, handler), hears in hearers.items():
        wait_to_hear(hears, handler).append(warned)
    if state.steps is not None:
        state.steps.append(raised(thread, warned, pending_for, pending_caller, told_after, digest))


def tell(state: State, thread: Thread, handler: str, warned: Iterable[Warned]) -> None:
    """Marks warnings as told to a handler of the thread; they do not wait for its next prompt any more."""
    told = list(warned)
    numbers = {each.seq for each in told}
    for queues in {thread, root_of(thread)}:
        troubles = queues.troubles
        if troubles is not None and troubles.pending is not None:
            left = [each for each in troubles.pending.get(handler, ()) if each.seq not in numbers]
            if left:
                troubles.pending[handler] = left
            else:
                troubles.pending.pop(handler, None)
                troubles.pending = troubles.pending or None
    for each in told:
        each.to = each.to or handler
        if state.steps is not None:
            state.steps.append(facts.WarningTold(thread=thread.id, seq=each.seq, to=handler))


def note_telling(message: Message, warned: Iterable[Warned]) -> None:
    """Notes which warnings a prompt of a delivery tells of: until a model answers, they go into the next prompt as well; and into one of the
    next attempt, where this one fails.
    """
    warnings = message.have_dealings().have_warned()
    warnings.telling = (*warnings.telling, *warned)


def note_heard(message: Message | None) -> None:
    """A model has answered a delivery: the warnings in its prompt have been heard."""
    warnings = None if message is None else message.warned
    if warnings is not None:
        warnings.answered()


def tell_caller(state: State, message: Message | None, warned: Sequence[Warned]) -> None:
    """Sends warnings to the caller of a delivery, where callers are told (``notify``) and it is code that takes warnings. An agent reads
    them in its next prompt instead.
    """
    caller = _caller(message) if warned else None
    if caller is None:
        return
    route = state.routes[caller.handler]
    if route.takes_warnings and not route.agent:
        payload = warning_payload(warned)
        state.post(caller, payload, ORGANISM, "notice", charged=False)
        tell(state, caller.thread, caller.handler, warned)


def _other_reader(state: State, message: Message | None, said: Crossing) -> tuple[str, str] | None:
    """Another agent that is to be told of a crossing in its prompt, as (thread id, handler); ``None``: nobody else.

    That is the caller, where callers are told (``notify``). Of a conversation's limits it is the agent that handles its turns, where
    they were crossed by code that takes no warnings: nobody else would act on them.
    """
    caller = _caller(message)
    if message is None or (caller is None and (said.scope != CONVERSATION_SCOPE or root_of(message.thread).ended)):
        return None
    if caller is not None:
        thread, handler = caller.thread, caller.handler
    else:
        crosser = state.routes[message.to]
        thread = root_of(message.thread)
        handler = thread.handler
        if crosser.agent or crosser.takes_warnings or "agent" not in message.thread.node.policy.notify:
            return None
    route = state.routes[handler]
    return (thread.id, handler) if route.agent and route.told else None


def _caller(message: Message | None) -> Frame | None:
    """The frame of whoever called the delivery, where callers are told (``notify``) and it is still open."""
    if message is None or "caller" not in message.thread.node.policy.notify:
        return None
    caller = message.frame.parent
    # A call may be settled after its delivery, and whoever called that, are over.
    if caller is None or not caller.open or caller.thread.is_ending:
        return None
    return caller
