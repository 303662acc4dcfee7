"""What models are asked, told by what they were asked before: a conversation of n turns takes O(n) bytes, not O(n^2).

What backends reported of it outlives a process: what was held by it there can be held by it where the conversation is taken up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen

from organism.record.images import Prompted, Report
from organism.threads.outcomes import LastCall

if TYPE_CHECKING:
    from collections.abc import Iterable

    from organism.kernel.holds import Hold
    from organism.threads.frames import Conversation, Thread


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
    last = _last_call(hold.thread, hold.handler)
    after, before = last.hold, last.prompt
    last.hold, last.prompt = hold.id, prompt
    if before is None:
        return Prompted(after=None, kept=0, messages=tuple(prompt.messages), asked=prompt.asked)
    kept = _common(before.messages, prompt.messages)
    return Prompted(
        after=after,
        kept=kept,
        messages=tuple(prompt.messages[kept:]),
        asked=None if prompt.asked == before.asked else prompt.asked,
    )


def note_prompt(hold: Hold, given: Prompted) -> None:
    """A record says what a model was asked: the next prompt is told by it, where all of it is known."""
    last = _last_call(hold.thread, hold.handler)
    before = last.prompt if last.hold == given.after else None
    last.hold, last.prompt = hold.id, None
    if before is None and given.after is not None:
        return
    messages: list[Any] = [] if before is None else before.messages
    del messages[given.kept :]  # it is the fold's own, and goes on: a list for each prompt took O(n^2) for n turns
    messages.extend(given.messages)
    earlier: Mapping[str, Any] = {} if before is None else before.asked
    last.prompt = Prompt(key="", messages=messages, asked=earlier if given.asked is None else given.asked)


def note_report(hold: Hold, digests: tuple[str, ...], tokens: int) -> None:
    """A backend reported so many tokens for the prompt of these digests."""
    if digests and not hold.thread.ended:
        report = Report(handler=hold.handler, backend=hold.backend, digests=digests, tokens=tokens)
        last = _last_call(hold.thread, hold.handler)
        last.report = report
        last.first = last.first or report


def reports_of(whole: Thread | Conversation) -> tuple[Report, ...]:
    """The first and the last report for the calls of each handler there; once where they are the same."""
    known = [each for each in (whole.asked or {}).values() if each.report is not None]
    return tuple(report for each in known for report in dict.fromkeys((each.first, each.report)))


def recalled(reports: Iterable[Report]) -> dict[str, LastCall] | None:
    """The last calls of handlers of which nothing but these is known."""
    found: dict[str, LastCall] = {}
    for each in reports:
        found.setdefault(each.handler, LastCall(first=each)).report = each
    return found or None


def _last_call(thread: Thread, handler: str) -> LastCall:
    """The last call of a handler, to be changed."""
    if thread.asked is None:
        thread.asked = {}
    found = thread.asked.get(handler)
    if found is None:
        found = thread.asked[handler] = LastCall()
    return found


def _common(one: Sequence[Any], other: Sequence[Any]) -> int:
    """How many messages both begin with."""
    least = min(len(one), len(other))
    if tuple(one[:least]) == tuple(other[:least]):  # looked at one by one only where one is the same as itself
        return least
    pairs = zip(one, other, strict=False)
    return next((number for number, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
