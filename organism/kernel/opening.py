"""Opening threads: each gets a budget node below the one that it belongs to, and is registered as live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from organism.budget.caps import caps
from organism.budget.node import Node
from organism.kernel.conversations import SCOPE as CONVERSATION_SCOPE
from organism.kernel.conversations import join, turn_policy
from organism.kernel.steps import ref
from organism.payloads.frozendict import FrozenDict
from organism.record import facts
from organism.threads.frames import Conversation, Frame, Thread, ThreadKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from organism.budget.caps import Caps
    from organism.kernel.state import State
    from organism.settings import BudgetSettings, Policy

_TERMS: Final = 1000
"""How many budgets have their policies and caps cached. Senders may name any number of budgets."""


def open_thread(
    state: State,
    id_: str,
    kind: ThreadKind,
    handler: str,
    budget: BudgetSettings,
    owner: Frame | None,
    labels: Mapping[str, str],
    *,
    conversation: Conversation | None = None,
    accounts: tuple[str, ...] = (),
) -> Thread:
    """Opens a thread below its owner's, or a root thread, with a budget node of its own. ``accounts`` are for a root thread that is
    no turn of a conversation.
    """
    thread = enter_thread(state, id_, kind, handler, budget, owner, labels, conversation, accounts)
    if conversation is not None:
        join(state, thread, conversation)
    if owner is not None:
        thread.paused_at = owner.thread.paused_at
        owner.thread.seq += 1
    if state.steps is not None:
        state.steps.append(
            facts.ThreadOpened(
                thread=id_,
                kind=kind,
                handler=handler,
                budget=budget,
                owner=ref(owner),
                labels=labels,
                conversation=None if conversation is None else conversation.id,
                accounts=accounts,
            )
        )
    return thread


def _terms(state: State, above: Node, budget: BudgetSettings) -> tuple[Policy, Caps]:
    """The policy and the caps of a thread with this budget, cached: most threads have that of the settings."""
    known = state.terms.get(id(budget))
    if known is not None and known[0] is budget and known[1] is above.policy and above.scope != CONVERSATION_SCOPE:
        return known[2], known[3]
    policy = turn_policy(above, budget)
    limits = caps(budget.limits, policy, keeps_back=True)
    if len(state.terms) >= _TERMS:
        state.terms.clear()
    if above.scope != CONVERSATION_SCOPE:
        state.terms[id(budget)] = (budget, above.policy, policy, limits)
    return policy, limits


def enter_thread(
    state: State,
    id_: str,
    kind: ThreadKind,
    handler: str,
    budget: BudgetSettings,
    owner: Frame | None,
    labels: Mapping[str, str],
    conversation: Conversation | None = None,
    accounts: tuple[str, ...] = (),
) -> Thread:
    """Makes a thread and its node, and registers it as live. It writes no step, and begins no turn."""
    if owner is not None:
        path, scope = owner.thread.node.path, "sub-thread"
    else:
        path = state.pools.above(accounts, state.now) if conversation is None else conversation.node.path
        scope = "thread"
    policy, limits = _terms(state, path[0], budget)
    node = Node(scope, limits, policy, thread=id_, above=path)
    if type(labels) is not FrozenDict:  # handlers see them, and sub-threads share them: they must not be changed
        labels = FrozenDict(labels)
    thread = Thread(id_, kind, handler, node, owner, labels, state.now, budget)
    if conversation is not None:
        thread.conversation, thread.accounts = conversation, conversation.accounts
    elif owner is None:
        thread.accounts = accounts
    state.threads[id_] = thread
    if node.caps.seconds is not None:
        state.timed.append(thread)
    if owner is not None:
        below = owner.thread.have_below()
        below.subs = below.subs or {}
        below.subs[id_] = thread
        if kind == "shared":
            below.shared = below.shared or {}
            below.shared[handler] = thread
    return thread
