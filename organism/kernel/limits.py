"""Changing limits and policies, and passing policies on to live sub-threads and turns, which inherit parts of them (R10, R15)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.budget.caps import caps
from organism.budget.node import set_caps
from organism.kernel.conversations import turn_policy

if TYPE_CHECKING:
    from organism.settings import BudgetSettings
    from organism.threads.frames import Conversation, Thread


def apply_limits(thread: Thread, budget: BudgetSettings, at: float) -> None:
    """Changes a thread's limits and policy, and arms levels again as :func:`~organism.budget.node.set_caps` says. Live sub-threads inherit
    what their own budget does not say.
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
    """Live turns of a conversation inherit what their own budget does not say of its changed policy."""
    for turn in conversation.turns:
        if turn_policy(conversation.node, turn.budget) != turn.node.policy:
            apply_limits(turn, turn.budget, at)
