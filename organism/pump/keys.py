"""What a delivery asks of the world, by name: run again after a crash, it is answered as before (R21).

The key of a question is what kind it is, the digest of what it says, and how many like it the delivery has asked before: so
sibling tasks may ask in any order.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from attrs import asdict, fields

from organism.errors import OrganismError
from organism.images import Kept
from organism.kernel.prompts import Prompt
from organism.models.completion import Call, Completion
from organism.models.contract import ToolCall
from organism.models.hiding import BESIDE
from organism.payloads import encode_json

if TYPE_CHECKING:
    from collections.abc import Callable


_NOT_ASKED: Final = frozenset({"messages", "tags"})
"""What a request says beside its messages is all but this: no model hears what its costs are counted under."""
GRACE = "grace"
"""The key of an agent's one call on grace: its prompt is cut to what there is just then, and tells live figures."""


class Keys:
    """The keys of one delivery's questions; those of a later ``attempt`` at its message end otherwise: what comes late for the one before
    is none of its answers.
    """

    def __init__(self, attempt: int = 1) -> None:
        self._asked: dict[str, int] = {}
        self._ends = "" if attempt == 1 else f"@{attempt}"

    def next(self, kind: str, says: Callable[[], Any]) -> str:
        """The key of a question that says this (anything that JSON has a form for); empty where it cannot be written down, and is
        refused anyway.
        """
        try:
            text = json.dumps(says(), sort_keys=True, separators=(",", ":"), default=_plain)
        except (OrganismError, TypeError, ValueError, RecursionError):
            return ""
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]
        name = f"{kind}:{digest}"
        number = self._asked[name] = self._asked.get(name, 0) + 1
        return f"{name}:{number}{self._ends}"

    def prompt(self, call: Call, *, kind: str = "complete", tells: bool = False) -> Prompt:
        """What a model is asked, under its key. ``tells``: it ends with what an agent is told of its budget; this is no part
        of what it asks, since it is not told twice.
        """
        asked = {each.name: _json(getattr(call, each.name)) for each in fields(Call) if each.name not in _NOT_ASKED}
        messages = call.messages[:-1] if tells else call.messages
        key = GRACE if kind == GRACE else self.next(kind, lambda: [asked, messages])
        if beside := [name for name in BESIDE if name in call.extra]:
            # No model sees it, and keys stand there: the question is told by it, and it is not written down.
            asked["extra"] = {name: value for name, value in asked["extra"].items() if name not in beside}
        said = {name: value for name, value in asked.items() if value not in (None, [], {})}
        return Prompt(key=key, messages=call.messages, asked=said)


def question(to: Any, payload: Any, *more: Any) -> Callable[[], Any]:
    """What an ask or a spawn says."""
    return lambda: [str(to), encode_json(payload), *more]


def kept_of(completion: Completion, *, unpriced: bool = False) -> Kept:
    """What is kept of a completion beside its text. ``unpriced``: nobody knew the price of some of it."""
    plain = completion.message == {"role": "assistant", "content": completion.text}
    return Kept(
        model=completion.model,
        backend=completion.backend,
        usage=completion.usage,
        message=None if plain else completion.message,
        tool_calls=tuple((call.id, call.name, call.arguments) for call in completion.tool_calls),
        finish_reason=completion.finish_reason,
        latency=completion.latency,
        attempts=completion.attempts,
        clamped=completion.clamped,
        unpriced=unpriced or None,
        warnings=completion.warnings or None,
    )


def completion_of(text: str, kept: Kept) -> Completion:
    """The completion that was kept."""
    return Completion(
        text=text,
        message=kept.message or {"role": "assistant", "content": text},
        model=kept.model,
        backend=kept.backend,
        usage=kept.usage,
        cost_usd=kept.usage.cost_usd,
        tool_calls=tuple(ToolCall(id=id_, name=name, arguments=said) for id_, name, said in kept.tool_calls),
        finish_reason=kept.finish_reason,
        latency=kept.latency,
        attempts=kept.attempts,
        clamped=kept.clamped,
        warnings=kept.warnings or (),
    )


def _json(value: Any) -> Any:
    """A part of a request as a JSON value."""
    return json.loads(json.dumps(value, default=_plain))


def _plain(value: Any) -> Any:
    if hasattr(value, "__attrs_attrs__"):
        return asdict(value, recurse=False)
    if hasattr(value, "items"):
        return dict(value)
    return repr(value)
