"""Changed limits and policies, down to the threads that have a part of theirs from above (R10, R15)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.budget.caps import caps
from organism.budget.node import set_caps
from organism.kernel.conversations import turn_policy

if TYPE_CHECKING:
    from organism.settings import BudgetSettings
    from organism.threads.frames import Conversation, Thread


def apply_limits(thread: Thread, budget: BudgetSettings, at: float) -> None:
    """Changes a node's limits and policy, and arms its levels again where the new share is below them. Live sub-threads have of the
    policy what they do not say themselves.
    """
    node = thread.node
    before = node.policy
    thread.budget, node.policy = budget, turn_policy(node.path[1], budget)
    set_caps(node, caps(budget.limits, node.policy, keeps_back=True))
    passed = sum(thread.opened_at + mark[0] <= at for mark in node.caps.time_marks)
    thread.time_fired = min(thread.time_fired, passed)
    if node.policy != before:
        for below in (thread.subs or {}).values():
            apply_limits(below, below.budget, at)


def pass_on_policy(conversation: Conversation, at: float) -> None:
    """The turns of a conversation that live have of its policy what they do not say themselves."""
    for turn in conversation.turns:
        if turn_policy(conversation.node, turn.budget) != turn.node.policy:
            apply_limits(turn, turn.budget, at)
