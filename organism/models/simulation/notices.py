"""Hearing budgets: which messages of a prompt are notices, and how pressing they are.

Only what the agent says counts, never what a user or a tool says: a notice is a message with the role ``user`` or
``system`` after the task that is marked as one (it starts with ``<BudgetWarning`` or ``<BudgetExhausted``, as JSON too, or
contains ``Budget notice:``), or a short one at the very end that follows tool results and speaks of a budget.
"""

from __future__ import annotations

import re
from decimal import ROUND_UP, Decimal
from typing import TYPE_CHECKING, Final

from attrs import frozen

from organism.models.simulation.documents import documents
from organism.models.simulation.tokens import text_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from organism.models.contract import Message

CALM: Final = 0.0
WARNED: Final = 0.5
PRESSED: Final = 0.85
LAST: Final = 1.0

_MARKED: Final = re.compile(r"\s*(?:<(?:[\w.-]+:)?Budget(?:Warning|Exhausted)\b|\{\s*\"Budget(?:Warning|Exhausted)\")")
_SAID: Final = re.compile(r"(?:^|[\n>\[*(])\W*budget notice\s*:", re.IGNORECASE)
_UNIT: Final = re.compile(r"\b(?:budget|tokens?|model[ _]calls?|calls|cost|usd|limit|messages)\b", re.IGNORECASE)
_STATE: Final = re.compile(
    r"\b(?:remaining|remains?|left|used|spent|exhausted|exceeded|warning|critical|final|nearly|almost)\b", re.IGNORECASE
)
_LONGEST: Final = 1500
"""A notice without a mark is short; whatever is longer is material."""
_GONE: Final = re.compile(
    r"\b(?:exhausted|used up|spent entirely|nothing (?:is )?left|last (?:call|answer|turn))\b", re.IGNORECASE
)
_FINAL: Final = re.compile(r"\bfinal\b|\b(?:answer|reply|finish) (?:at once|now|immediately)\b", re.IGNORECASE)
_CRITICAL: Final = re.compile(r"\b(?:critical|runway|urgent)\b", re.IGNORECASE)
_SHARE: Final = re.compile(r"(\d{1,3}(?:\.\d+)?)\s*(?:%|percent|per cent)", re.IGNORECASE)
_CALLS_LEFT: Final = re.compile(
    r"calls_?left\W{1,4}(\d+)|(\d+)(?: model)? calls?(?: are| is)? (?:left|remaining|remains?)|(\d+) more(?: model)? calls?",
    re.IGNORECASE,
)
_LEVEL: Final = re.compile(r"(?:level|budget notice)\W{1,4}(warning|critical|final|runway|exhausted)\b", re.IGNORECASE)
_LEVELS: Final = {"warning": WARNED, "runway": PRESSED, "critical": PRESSED, "final": LAST, "exhausted": LAST}


_SHORT: Final = re.compile(
    r"(?P<used>\d+(?:\.\d+)?) of \d+(?:\.\d+)? (?P<unit>(?:input |output )?tokens|USD|model calls|messages|seconds) are used; "
    r"(?P<left>\d+(?:\.\d+)?) [^.;]*? left, enough for about (?P<calls>\d+) more"
)
_GROWS: Final = 2
"""The next calls take about so many times as much as those before: their prompts hold what came back."""
_UNITS: Final = {
    "tokens": "tokens", "input tokens": "input_tokens", "output tokens": "output_tokens", "USD": "cost_usd",
    "model calls": "model_calls", "messages": "messages", "seconds": "seconds",
}  # fmt: skip


@frozen
class Shortage:
    """What a notice says of a ``unit``: how much is ``used`` and ``left``, and how many more ``calls`` that allows."""

    unit: str
    used: Decimal
    left: Decimal
    calls: int

    def lacking(self, calls: int, *, made: int) -> Decimal:
        """How much more so many calls would take than there is, by what those that were ``made`` took; rounded up to two digits, and to whole
        ones where the unit has no fractions. 0: it is enough.
        """
        if self.unit == "model_calls":
            return max(Decimal(0), calls - self.left)
        each = _GROWS * max(self.left / (self.calls + 1), self.used / max(1, made))
        lacks = calls * each - self.left
        if lacks <= 0:
            return Decimal(0)
        least = Decimal("0.0001") if self.unit == "cost_usd" else Decimal(1)
        return lacks.quantize(max(least, Decimal(1).scaleb(lacks.adjusted() - 1)), ROUND_UP).quantize(least, ROUND_UP)

    @classmethod
    def told(cls, text: str) -> Shortage | None:
        """What a text tells; ``None`` where it has no such figures."""
        found = _SHORT.search(text)
        if found is None:
            return None
        return cls(_UNITS[found["unit"]], Decimal(found["used"]), Decimal(found["left"]), int(found["calls"]))


def _is_marked(text: str) -> bool:
    return _MARKED.match(text) is not None or _SAID.search(text[:_LONGEST]) is not None


def _is_told(text: str) -> bool:
    """Whether a message without a mark speaks of a budget and of its state, and is neither a question nor a payload."""
    if len(text) > _LONGEST or "?" in text or _UNIT.search(text) is None or _STATE.search(text) is None:
        return False
    return not documents(text)


def notices(messages: Sequence[Message]) -> dict[int, float]:
    """The places of the messages that are budget notices, each with its pressure in (0, 1]."""
    asked = next((place for place, message in enumerate(messages) if message.get("role") == "user"), None)
    if asked is None:
        return {}
    turned = max((i for i, m in enumerate(messages) if m.get("role") in {"assistant", "tool"}), default=-1)
    told_from = _told_from(messages, asked, turned)
    found: dict[int, float] = {}
    for place in range(asked + 1, len(messages)):
        if messages[place].get("role") not in {"user", "system", "developer"}:
            continue
        text = text_of(messages[place].get("content"))
        if _is_marked(text) or (place >= told_from and _is_told(text)):
            found[place] = pressure_of(text)
    return found


def _told_from(messages: Sequence[Message], asked: int, turned: int) -> int:
    """From where a message without a mark may be a notice: after tool results; after the user's own word elsewhere.

    What follows an assistant's plain answer is what the user says next, whatever it speaks of.
    """
    if turned < 0:
        return asked + 1
    last = messages[turned]
    if last.get("role") == "tool" or last.get("tool_calls"):
        return turned + 1
    spoken = (i for i in range(turned + 1, len(messages)) if messages[i].get("role") == "user")
    return next(spoken, turned) + 1


def pressure_of(text: str) -> float:
    """How pressing a notice is: 0.5 for a warning up to 1 for a budget that is exhausted."""
    left = _CALLS_LEFT.search(text)
    if "BudgetExhausted" in text[:200] or (left is not None and int(left.group(left.lastindex or 0)) <= 1):
        return LAST
    level = _LEVEL.search(text)
    if level is not None:
        return _LEVELS[level.group(1).casefold()]
    share = max((float(found) for found in _SHARE.findall(text)), default=0.0)
    if share >= 95 or _GONE.search(text) or _FINAL.search(text):
        return LAST
    return PRESSED if share >= 90 or _CRITICAL.search(text) else WARNED


def pressure(found: Mapping[int, float], since: int) -> float:
    """How pressing the prompt is. The newest notices after the message at ``since`` decide: what was said in an earlier
    turn, or before the limit was raised, is no longer true.
    """
    strongest = CALM
    place = max(found, default=-1)
    while place > since and place in found:
        strongest = max(strongest, found[place])
        place -= 1
    return strongest
