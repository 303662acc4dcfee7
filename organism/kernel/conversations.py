"""Conversations: turns that run in order, with state, histories and limits that last over all of them (R6)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from attrs import evolve, frozen

from organism.budget.caps import caps
from organism.budget.node import LASTING, Node, set_caps
from organism.errors import out_of_seconds
from organism.record import facts
from organism.settings import NOTHING, BudgetSettings, Policy
from organism.threads.frames import Conversation
from organism.threads.lineage import root_of
from organism.threads.outcomes import Memory

if TYPE_CHECKING:
    from organism.errors import BudgetExhaustedError
    from organism.kernel.inbox import Inbox
    from organism.kernel.pools import Pools
    from organism.threads.frames import Thread
    from organism.threads.outcomes import Warned

SCOPE = LASTING


class Changes(Protocol):
    """The part of the state that conversations change."""

    pools: Pools
    inbox: Inbox
    root: Node
    conversations: dict[str, Conversation]
    now: float
    steps: list[facts.Step] | None
    timed: list[Thread]

    def resume(self, root: Thread, since: float) -> None:
        """A thread that stood still goes on."""
        ...


@frozen(kw_only=True)
class Beginning:
    """The conversation whose turn a message opens. What stands beside ``id`` is for one that is not there yet: its limits, the conversation that
    it continues, what its handlers remember of that, and its accounts.
    """

    id: str
    budget: BudgetSettings
    before: str | None = None
    remembered: Mapping[str, Mapping[str, Any]] = NOTHING
    accounts: tuple[str, ...] = ()


def begun(state: Changes, beginning: Beginning) -> Conversation:
    """The conversation of this id, opened where it is not there yet."""
    known = state.conversations.get(beginning.id)
    if known is not None:
        return known
    return open_conversation(
        state,
        beginning.id,
        beginning.budget,
        before=beginning.before,
        remembered=beginning.remembered,
        accounts=beginning.accounts,
    )


def out_of_time(conversation: Conversation) -> BudgetExhaustedError | None:
    """The refusal of a further turn, where the conversation's running time is used up; ``None`` where it is not."""
    limit = conversation.node.caps.seconds
    if limit is None or conversation.seconds < limit:
        return None
    return out_of_seconds(SCOPE, conversation.seconds, limit)


def time_limit(thread: Thread) -> Node:
    """Whose limit of seconds a thread runs against: its own, or that of the conversation, where that has left the turn less."""
    of = thread.conversation
    if of is None or of.node.caps.seconds is None or thread.node.caps.seconds != _left_of(of, of.node.caps.seconds):
        return thread.node
    return of.node


def _left_of(conversation: Conversation, limit: float) -> float:
    """The seconds that a turn has which begins now. Seconds are not summed up the tree: they are what the turns before it have left."""
    return max(0.0, limit - conversation.seconds)


def open_conversation(
    state: Changes,
    id_: str,
    budget: BudgetSettings,
    *,
    before: str | None = None,
    remembered: Mapping[str, Mapping[str, Any]] | None = None,
    accounts: tuple[str, ...] = (),
) -> Conversation:
    """Begins a conversation; ``remembered`` is the state that its handlers begin with, ``accounts`` those that it is under."""
    conversation = enter_conversation(state, id_, budget, before, accounts)
    conversation.state = {handler: Memory(kept) for handler, kept in (remembered or {}).items()} or None
    if state.steps is not None:
        state.steps.append(
            facts.ConversationOpened(
                conversation=id_, budget=budget, before=before, state=remembered or {}, accounts=accounts
            )
        )
    return conversation


def enter_conversation(
    state: Changes, id_: str, budget: BudgetSettings, before: str | None, accounts: tuple[str, ...]
) -> Conversation:
    """Makes a conversation and its node, and registers it as live. It writes no step."""
    policy = budget.policy(state.root.policy)
    node = Node(
        SCOPE, caps(budget.limits, policy, keeps_back=True), policy, above=state.pools.above(accounts, state.now)
    )
    conversation = Conversation(id_, node, budget, before, accounts)
    conversation.node.thread = conversation.chain
    state.conversations[id_] = conversation
    return conversation


def apply_conversation_limits(conversation: Conversation, budget: BudgetSettings) -> None:
    """Gives a conversation other limits; levels are armed again as :func:`~organism.budget.node.set_caps` says. A running turn keeps its seconds."""
    node = conversation.node
    conversation.budget, node.policy = budget, budget.policy(node.path[1].policy)
    set_caps(node, caps(budget.limits, node.policy, keeps_back=True))


def join(state: Changes, thread: Thread, conversation: Conversation) -> None:
    """A thread is a turn of a conversation: it begins once those before it have ended."""
    conversation.turns.append(thread)
    if len(conversation.turns) > 1:
        thread.waits_turn, thread.paused_at = True, state.now
    else:
        _begin(state, thread, conversation)


def end_turn(state: Changes, thread: Thread, conversation: Conversation) -> None:
    """A turn has ended: the conversation takes over what it remembers, and the next turn begins."""
    running = conversation.turns[0] is thread
    conversation.turns.remove(thread)
    thread.waits_turn = False  # it may have been cancelled while it waited, and its handle be kept
    _keep_unheard(thread, conversation)
    if not running:
        return
    conversation.state, conversation.asked = thread.state, thread.asked
    until = state.now if thread.paused_at is None else thread.paused_at  # as its own final record counts
    conversation.seconds += max(0.0, until - thread.opened_at)
    if conversation.turns:
        follower = conversation.turns[0]
        since = follower.paused_at
        follower.waits_turn = False
        _begin(state, follower, conversation)
        state.inbox.begin(follower, state.now)
        state.resume(follower, state.now if since is None else since)


def turn_policy(above: Node, budget: BudgetSettings) -> Policy:
    """The policy of a thread below this node. A turn does not inherit ``warn_at`` from its conversation, but from the organism: a
    conversation's levels count over all turns.
    """
    policy = budget.policy(above.policy)
    if above.scope != SCOPE:
        return policy
    levels = above.path[-1].policy.warn_at
    return evolve(policy, warn_at=MappingProxyType({**levels, **(budget.warn_at or NOTHING)}))


def _keep_unheard(thread: Thread, conversation: Conversation) -> None:
    """Keeps the warnings about a conversation's limits that nobody was told of in a turn, for the next one. They stay in the results of the
    first; the next turn gets copies, with negative numbers, so that these are not taken for its own.
    """
    left = conversation.unheard or {}
    count = sum(map(len, left.values()))
    for handler, queue in (thread.pending or {}).items():
        for each in queue:
            if each.node == conversation.chain:
                count += 1
                left.setdefault(handler, []).append(evolve(each, seq=-count))
    conversation.unheard = left or None


def pass_up(thread: Thread) -> None:
    """A sub-thread has ended: warnings about its conversation's limits that were not heard there wait in the turn, for the same handler in
    the next sub-thread or turn.
    """
    root = root_of(thread)
    if root.conversation is None:
        return
    for handler, queue in (thread.pending or {}).items():
        for each in queue:
            if each.node == root.conversation.chain:
                wait_to_hear(root, handler).append(each)


def wait_to_hear(thread: Thread, handler: str) -> list[Warned]:
    """The list of warnings that an agent is to be told in its next prompt in a thread, to be added to."""
    troubles = thread.have_troubles()
    troubles.pending = troubles.pending or {}
    return troubles.pending.setdefault(handler, [])


def unheard(thread: Thread, handler: str) -> list[Warned]:
    """The warnings that an agent is to be told in its next prompt in this thread: those that wait in the thread, and in a
    sub-thread those of the conversation that wait in the turn.
    """
    found = list((thread.pending or {}).get(handler, ()))
    if thread.owner is None:
        return found
    root = root_of(thread)
    if root.conversation is not None:
        found += [each for each in (root.pending or {}).get(handler, ()) if each.node == root.conversation.chain]
    return found


def heard_before(thread: Thread, handler: str, seq: int) -> Warned:
    """The warning of this number, left by an earlier turn; raises LookupError where there is none."""
    for each in unheard(thread, handler):
        if each.seq == seq:
            return each
    msg = f"the record tells '{handler}' of warning {seq}, which thread {thread.id} never had"
    raise LookupError(msg)


def _begin(state: Changes, thread: Thread, conversation: Conversation) -> None:
    thread.state, thread.asked = conversation.state, conversation.asked
    # Its first message may have crossed levels while it waited for its turn.
    for handler, queue in (thread.pending or {}).items():
        conversation.unheard = conversation.unheard or {}
        conversation.unheard.setdefault(handler, []).extend(queue)
    if conversation.unheard is not None or thread.troubles is not None:
        thread.have_troubles().pending, conversation.unheard = conversation.unheard, None
    limit = conversation.node.caps.seconds
    if limit is None:
        return
    left = _left_of(conversation, limit)
    own = thread.budget.limits.seconds
    if own is None or left < own:
        thread.budget = evolve(thread.budget, limits=evolve(thread.budget.limits, seconds=left))
        thread.node.caps = caps(thread.budget.limits, thread.node.policy, keeps_back=True)
        state.timed.append(thread)
