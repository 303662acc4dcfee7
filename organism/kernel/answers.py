"""What a finished delivery answers: all of it is checked before any of it is carried out (R1, R2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, final

from attrs import define, frozen

from organism.budget.caps import caps, figure
from organism.budget.claims import MESSAGES, VECTOR
from organism.budget.node import Node
from organism.budget.tree import Lack, bears_depth, lack_of_one
from organism.errors import BudgetExhaustedError, HandlerFailedError
from organism.kernel.back_pressure import too_crowded, too_nested
from organism.kernel.failures import failed_by, limited_by
from organism.kernel.sendable import known_route, remember_route, wrong_to_reply, wrong_to_send
from organism.message import Forward, Outgoing, Reply, Send
from organism.names import ORGANISM, class_name
from organism.settings import BudgetSettings
from organism.threads.dependence import would_wait_for_ever
from organism.threads.frames import Frame, Message, Thread
from organism.threads.lineage import shared_by
from organism.threads.outcomes import Failure
from organism.threads.routing import Misdirected, Route, check_address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.kernel.state import State


@final
@frozen
class Refusal:
    """Why something may not be sent. ``lack`` names the node that cannot bear it, where a limit is the reason."""

    failure: Failure
    lack: Lack | None = None


@final
@define(eq=False)
class Target:
    """Where a message that opens a frame goes: into ``thread``, or into a new sub-thread with this budget.

    Not frozen, though nobody changes one: a frozen one takes five times as long to make, and most messages make one.
    """

    to: str
    payload: Any
    thread: Thread
    depth: int
    opens: BudgetSettings | None = None
    shared: bool = False


def invalid(text: str) -> Refusal:
    """A refusal of an answer that breaks the rules of answers."""
    return Refusal(Failure("validation", text))


def check_target(
    state: State,
    sender: Message,
    to: object,
    payload: Any,
    *,
    depth: int,
    budget: BudgetSettings | None = None,
    asks: bool = False,
) -> Target | Refusal:
    """Where a message to ``to`` would go, or why it may not be sent. ``budget``: it is to open a sub-thread with this one; ``asks``: its sender
    waits for the reply.
    """
    found = _check_receiver(state, sender, to, payload)
    if isinstance(found, Refusal):
        return found
    target = _placed(sender, found, payload, depth, budget)
    return _check_place(state, sender, target.thread, found, depth, target.opens, asks=asks) or target


def _check_receiver(state: State, sender: Message, to: object, payload: object) -> Route | Refusal:
    """The handler that a sender may send this to, or why not."""
    before = known_route(state, sender.to, to, payload)
    if before is not None:
        return before
    wrong = wrong_to_send(state, payload)
    if wrong is not None:
        return invalid(wrong)
    found = check_address(state.routes, sender.route, to, payload)
    if isinstance(found, Misdirected):
        return Refusal(Failure(found.code, found.text))
    remember_route(state, sender.to, found, payload)
    return found


def _check_place(
    state: State,
    sender: Message,
    thread: Thread,
    receiver: Route,
    depth: int,
    opens: BudgetSettings | None = None,
    *,
    asks: bool = False,
) -> Refusal | None:
    """Why nothing may be sent to this handler in this thread, or (``opens``) in a new one below it with this budget; ``None``: it may."""
    if thread.ending is not None or thread is not sender.thread or sender.dropped:
        refused = _not_now(sender) or closed(thread)
        if refused is not None:
            return refused
    if opens is not None or not bears_depth(thread.node, depth):
        refused = _too_deep(thread.node, opens, depth)
        if refused is not None:
            return refused
    occupied = state.occupied
    waits = occupied and opens is None and (thread, receiver.name) in occupied
    if waits and would_wait_for_ever(thread, receiver.name, sender, occupied, asks=asks):
        return Refusal(Failure("cycle", f"'{receiver.name}' waits for this very branch"))
    return None


def _not_now(sender: Message) -> Refusal | None:
    if sender.dropped and sender.thread.stopping is None:
        return Refusal(Failure("cancelled", f"this delivery of '{sender.to}' was cancelled"))
    return closed(sender.thread)


def _too_deep(node: Node, opens: BudgetSettings | None, depth: int) -> Refusal | None:
    nested = None if opens is None else too_nested(node)
    if nested is not None:
        return Refusal(nested)
    own = None if opens is None else opens.limits.depth
    if bears_depth(node, depth) and (own is None or depth <= own):
        return None
    limited = depth_limit(node if opens is None else unborn(node.path, opens))
    assert limited is not None  # noqa: S101 - one of them was passed
    node, limit = limited
    text = f"depth of the {node.scope}: limit {limit:,}, needed {depth:,}"
    failure = Failure("exhausted", text, unit="depth", scope=node.scope)
    return Refusal(failure, Lack(node, -1, depth, for_good=True))


def closed(thread: Thread) -> Refusal | None:
    """Why nothing more is sent in a thread: it was stopped, or has run out of messages or time."""
    if thread.ending is None:
        return None
    if thread.stopping is not None:
        return Refusal(thread.stopping)
    if not thread.closing:
        return None
    while thread.exhausted is None and thread.owner is not None:
        thread = thread.owner.thread
    failure = thread.exhausted or Failure("exhausted", "the thread hands in its last answer")
    node = limited_by(failure, thread.node)
    return Refusal(failure, Lack(node, MESSAGES, 1, for_good=True) if failure.unit == VECTOR[MESSAGES] else None)


def _placed(sender: Message, route: Route, payload: Any, depth: int, budget: BudgetSettings | None) -> Target:
    """The thread a message goes into: the sender's, or a sub-thread where the receiver has a budget and is not the sender itself."""
    thread, to = sender.thread, route.name
    opens = budget or (route.budget if to != sender.to else None)
    if opens is None:
        return Target(to, payload, thread, depth)
    shared = route.shared and budget is None
    existing = shared_by(thread, to) if shared else None
    if existing is None:
        return Target(to, payload, thread, depth, opens=opens, shared=shared)
    return Target(to, payload, existing, depth)


def depth_limit(node: Node) -> tuple[Node, int] | None:
    """The tightest limit of depth on a node's path."""
    tightest, least = node, node.caps.depth
    for each in node.above:
        depth = each.caps.depth
        if depth is not None and (least is None or depth < least):
            tightest, least = each, depth
    return None if least is None else (tightest, least)


def bears_opening(path: Sequence[Node], budget: BudgetSettings) -> bool:
    """Whether a thread with this budget may be opened below these nodes: the same as :func:`check_messages` of its first message, but faster."""
    limit = budget.limits.messages
    if limit is not None and limit < 1:
        return False
    for node in path:
        caps = node.caps
        if caps.limited and node.used[MESSAGES] + node.held[MESSAGES] >= caps.working[MESSAGES]:
            return False
    return True


def check_messages(payers: Sequence[Payer]) -> Lack | None:
    """Which budget cannot bear these messages, each for a node or for a new sub-thread below it; ``None``: all can."""
    counts: dict[Node, int] = {}
    openings: dict[tuple[Node, str], int] = {}
    for payer in payers:
        if payer.opens is not None:
            # Several messages for a shared sub-thread (`per: thread`) open it once, and count there together.
            one = (payer.path[0], payer.shared)
            count = openings[one] = (openings.get(one, 0) if payer.shared else 0) + 1
            if payer.opens.limits.messages is not None and count > payer.opens.limits.messages:
                return Lack(unborn(payer.path, payer.opens), MESSAGES, count, for_good=True)
        for each in payer.path:
            counts[each] = counts.get(each, 0) + payer.times
    for node, count in counts.items():
        if node.used[MESSAGES] + node.held[MESSAGES] + count > node.caps.working[MESSAGES]:
            return Lack(node, MESSAGES, count, for_good=True)
    return None


def unborn(above: tuple[Node, ...], opens: BudgetSettings) -> Node:
    """The node that a thread would have if it were opened, for the figures of a refusal. It belongs to no thread."""
    policy = opens.policy(above[0].policy)
    scope = "sub-thread" if above[0].scope in {"thread", "sub-thread"} else "thread"
    return Node(scope, caps(opens.limits, policy, keeps_back=True), policy, above=above)


def too_many_messages(missing: Lack) -> Refusal:
    """The refusal of more messages than a budget bears."""
    node = missing.node
    text = (
        f"messages of the {node.title}: {node.used[MESSAGES]:,} used, limit {node.caps.limit[MESSAGES]:,}, "
        f"needed {missing.need:,}"
    )
    return Refusal(Failure("exhausted", text, unit="messages", scope=node.scope, account=node.account), missing)


def refusal_error(refusal: Refusal, *, hint: str = "") -> BudgetExhaustedError | HandlerFailedError:
    """The exception that whoever asked gets for a refusal."""
    lack, failure = refusal.lack, refusal.failure
    if lack is None or failure.code != "exhausted":
        return failed_by(failure)
    return exhausted_error(lack, hint)


def exhausted_error(lack: Lack, hint: str) -> BudgetExhaustedError:
    """The exception of a limit that could not bear a need, with its figures of this instant. A unit of -1 is the depth."""
    node, unit = lack.node, lack.unit
    if unit < 0:
        return BudgetExhaustedError("depth", node.scope, lack.need - 1, 0, node.caps.depth or 0, lack.need)
    return BudgetExhaustedError(
        VECTOR[unit],
        node.scope,
        figure(unit, node.used[unit]),
        figure(unit, node.held[unit]),
        figure(unit, node.caps.limit[unit]),
        figure(unit, lack.need),
        hint=hint,
        account=node.account,
    )


class Payer(NamedTuple):
    """Which budgets a message is charged to: the nodes of ``path``, and a new thread below them with the budget ``opens``; ``shared``
    names the handler whose calls share that thread. Where none is opened, there may be several messages (``times``).
    """

    path: tuple[Node, ...]
    opens: BudgetSettings | None = None
    shared: str = ""
    times: int = 1


def payer_of(target: Target) -> Payer:
    """Which budgets a message to this target is charged to."""
    return Payer(target.thread.node.path, target.opens, target.to if target.shared else "")


Planned = tuple[Outgoing, Target | Route | Frame | None]
"""An outgoing that was checked, and where it goes:

* the Route of its receiver: it opens a frame in the sender's own thread
* a Target: it opens a frame in another thread
* a Frame: it is a reply, delivered to that frame as a new message
* ``None``: it is a reply that is no new message (to an ask, or out of the thread)
"""


def check_answer(state: State, message: Message, outgoing: Sequence[Outgoing]) -> Sequence[Planned] | Refusal:
    """The plan of all that a delivery answered, or why nothing of it is carried out."""
    frame = message.frame
    plan: list[Planned] = []
    for out in outgoing:
        target: Route | Target | Frame | Refusal | None
        wrote: Any = out  # its fields may hold anything
        try:
            if type(out) is Reply:
                wrong = None if message.to == ORGANISM else wrong_to_reply(state, wrote.payload)
                target = _receiver(frame, wrote.payload) if wrong is None else invalid(wrong)
            elif type(out) is Send:
                target = _check_sent(state, message, wrote.to, wrote.payload, frame.depth + 1)
            elif type(out) is Forward:
                target = _check_sent(state, message, wrote.to, wrote.payload, frame.depth)
            else:
                target = _no_answer(message, out)
        except AttributeError:
            if _is_whole(out):
                raise
            target = _no_answer(message, out)
        if type(target) is Refusal:
            return target
        plan.append((out, target))
    if len(plan) != 1:
        return _check_together(state, message, plan)
    missing = _missing_one(frame, plan[0][1])
    return plan if missing is None else too_many_messages(missing)


def _no_answer(message: Message, out: object) -> Refusal:
    """The refusal of something that is no answer."""
    name = class_name(out)
    if type(out) in {Reply, Send, Forward}:
        return invalid(f"a handler answered with a {name} that holds nothing: make it with {name}(...)")
    return invalid(f"'{message.to}' answered with {name}; a handler answers with None, Reply, Send or Forward")


def _is_whole(out: Outgoing) -> bool:
    """Whether an answer has its fields: one that was made without its constructor has none."""
    return hasattr(out, "payload") and (type(out) is Reply or hasattr(out, "to"))


def _check_together(state: State, message: Message, plan: Sequence[Planned]) -> Sequence[Planned] | Refusal:
    """Checks several answers of one delivery together: at most one reply, and messages for all of them."""
    frame = message.frame
    answers = sum(type(out) is not Send for out, _ in plan)
    if answers > 1 and not _leaves(frame):
        return invalid(f"'{message.to}' answered its caller {answers} times at once; a frame replies once")
    missing = _missing(frame, plan)
    if missing is not None:
        return too_many_messages(missing)
    crowded = too_crowded(state, message, more=_more(plan))
    return plan if crowded is None else Refusal(crowded)


def _check_sent(state: State, message: Message, to: object, payload: object, depth: int) -> Route | Target | Refusal:
    """Where a message goes that is part of an answer."""
    found: Route | Refusal | None
    found = known_route(state, message.to, to, payload)
    if found is None:
        found = _check_receiver(state, message, to, payload)
        if type(found) is not Route:
            return found
    if found.budget is None or found is message.route:  # the common case: it stays in the sender's thread
        return _check_place(state, message, message.thread, found, depth) or found
    target = _placed(message, found, payload, depth, None)
    return _check_place(state, message, target.thread, found, depth, target.opens) or target


def _missing(frame: Frame, plan: Sequence[Planned]) -> Lack | None:
    """The node that cannot bear the messages of a plan."""
    payers: list[Payer] = []
    node, count = None, 0
    for _, target in plan:
        charged = _charged(frame, target)
        if charged is None:
            continue
        # Consecutive messages to one thread are checked as one.
        if node is not None and charged is not node:
            payers.append(Payer(node.path, times=count))
            count = 0
        if type(charged) is Node:
            node, count = charged, count + 1
        else:
            payers.append(charged)
            node, count = None, 0
    if node is not None:
        payers.append(Payer(node.path, times=count))
    return check_messages(payers) if payers else None


def _missing_one(frame: Frame, target: Target | Route | Frame | None) -> Lack | None:
    """As :func:`_missing`, for a plan of one."""
    charged = _charged(frame, target)
    return None if charged is None else lack_of_one(charged) if type(charged) is Node else check_messages([charged])


def _charged(frame: Frame, target: Target | Route | Frame | None) -> Node | Payer | None:
    """Whose budget an outgoing of this frame is charged to; ``None`` where it is no new message."""
    if type(target) is Route:
        return frame.thread.node
    if type(target) is Target:
        return target.thread.node if target.opens is None else payer_of(target)
    return target.thread.node if type(target) is Frame else None


def _more(plan: Sequence[Planned]) -> int:
    """By how many the messages under way grow once this plan is carried out and its delivery is over."""
    return sum(target is not None for _, target in plan) - 1


def _leaves(frame: Frame) -> bool:
    """Whether replies of this frame leave the thread."""
    return frame.parent is None and (frame.asker is None)


def _receiver(frame: Frame, payload: Any) -> Frame | None:
    """The frame that a reply would be delivered to as a new message; ``None`` where it is no new message."""
    parent = frame.parent
    if parent is None or frame.answered or frame.asker is not None or type(payload) not in parent.route.accepts:
        return None
    return parent
