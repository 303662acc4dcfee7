"""What models are asked, told by what they were asked before: a conversation of n turns takes O(n) bytes, not O(n^2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen

from organism.record.images import Prompted

if TYPE_CHECKING:
    from organism.kernel.holds import Hold


@frozen(eq=False, kw_only=True)
class Prompt:
    """The request of a call: its messages, and the rest of it (tools, temperature, and so on) as JSON values. ``key`` names it
    among those of its delivery, and ``naming`` is what whoever named it knows the next one by.
    """

    key: str
    messages: Sequence[Any]
    asked: Mapping[str, Any]
    naming: object = None


def prompted(hold: Hold, prompt: Prompt) -> Prompted:
    """How a prompt is written down; the next one of its handler in its thread is told by it."""
    thread, handler = hold.thread, hold.handler
    if thread.prompts is None:
        thread.prompts = {}
    after, before = thread.prompts.get(handler, (None, None))
    thread.prompts[handler] = (hold.id, prompt)
    if before is None:
        return Prompted(after=None, kept=0, messages=tuple(prompt.messages), asked=prompt.asked)
    kept = _common(before.messages, prompt.messages)
    return Prompted(
        after=after,
        kept=kept,
        messages=tuple(prompt.messages[kept:]),
        asked=None if prompt.asked == before.asked else prompt.asked,
    )


def _common(one: Sequence[Any], other: Sequence[Any]) -> int:
    """How many messages both begin with."""
    least = min(len(one), len(other))
    if tuple(one[:least]) == tuple(other[:least]):  # looked at one by one only where one is the same as itself
        return least
    pairs = zip(one, other, strict=False)
    return next((number for number, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
