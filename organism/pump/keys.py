"""Keys of what a delivery asks of the world: run again after a crash, it finds the answers that it got by them (R21).

The key of a question is its kind, the digest of its content, and how many equal ones the delivery has asked before. Keys by content, and
not by position, let sibling tasks ask in any order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from operator import is_
from typing import TYPE_CHECKING, Any, Final, Protocol

from attrs import asdict, fields, frozen

from organism.errors import OrganismError
from organism.kernel.prompts import Name, Prompt, common
from organism.models.completion import Call, Completion
from organism.models.contract import ToolCall
from organism.models.frozen_json import OTHER, Fixed, fixed, fixed_texts
from organism.models.redaction import BESIDE
from organism.payloads import encode_json
from organism.record.images import Kept
from organism.settings import NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable

_ASKED: Final = tuple(each.name for each in fields(Call) if each.name not in {"messages", "tags", "tools"})
"""The fields of a request beside messages and tools, without tags, which no model sees."""
_UNCHANGING: Final = frozenset({str, int, bool, float, type(None)})
_NO_JSON: Final = (OrganismError, TypeError, ValueError, RecursionError)
"""The errors of values that have no JSON."""
ASKS: Final = "complete"
"""The kind of calls by ``complete``, and of an agent's turns."""
ASKS_LAST: Final = "last"
"""The kind of an agent's turn once messages or time ran out: it may do less than an equal one before, and needs a key of its own."""
GRACE = "grace"
"""The kind and key of an agent's one grace call: its prompt, with live figures and cut to what is left, would be another one when run again."""


class Keys:
    """The keys of one delivery's questions. Those of a later ``attempt`` at its message have another ending: late answers to the attempt before
    are not its own.
    """

    def __init__(self, attempt: int = 1) -> None:
        self._asked: dict[str, int] = {}
        self._ends = "" if attempt == 1 else f"@{attempt}"

    def next(self, kind: str, says: Callable[[], Any]) -> str:
        """The key of a question with this content, a JSON value; empty where it has no JSON: such a question is refused anyway."""
        try:
            text = _text(says())
        except _NO_JSON:
            return ""
        return self._named(kind, hashlib.sha256(_bytes(text)))

    def prompt(
        self, call: Call, *, kind: str = ASKS, tells: bool = False, before: Prompt | Name | None = None
    ) -> Prompt:
        """What a model is asked, under its key. ``tells``: the last message tells an agent of its budget; it is not part of the digest, since a
        delivery that is run again is not told twice. ``before`` is the prompt before it of the same handler, with which it mostly begins.
        """
        last = before.naming if isinstance(before, Prompt) and isinstance(before.naming, _Naming) else None
        messages = call.messages[:-1] if tells else call.messages
        naming = begins = None
        said: Mapping[str, Any]
        try:
            naming = _naming(call, messages, last)
        except _NO_JSON:
            key, said = "", _said(call, _asked(call, last))
        else:
            key, said = GRACE if kind == GRACE else self._named(kind, naming.whole()), naming.said
            begins = naming.begins(before) if isinstance(before, Name) else None
        lasting = _lasting(call.messages, messages, naming, before.messages if isinstance(before, Prompt) else ())
        return Prompt(key=key, messages=lasting, asked=said, naming=naming, begins=begins)

    def _named(self, kind: str, digest: _Digest) -> str:
        name = f"{kind}:{_shown(digest)}"
        number = self._asked[name] = self._asked.get(name, 0) + 1
        return f"{name}:{number}{self._ends}"


class _Digest(Protocol):
    """A hash object of the standard library."""

    def update(self, data: bytes, /) -> None: ...
    def copy(self) -> _Digest: ...
    def hexdigest(self) -> str: ...


@frozen(eq=False)
class _Naming:
    """How a prompt came to its digest, so that the next one, which mostly begins with it, need only digest what is new.

    ``asked`` is the request beside its messages as a JSON value, ``head`` the same as text, ``said`` the part of it that is recorded.
    ``digest`` is that of ``head`` and ``messages``, still open for more. ``stays``: none of the messages can be changed.
    """

    call: Call
    asked: Mapping[str, Any]
    said: Mapping[str, Any]
    head: str
    messages: Sequence[Any]
    stays: bool
    digest: _Digest

    def whole(self) -> _Digest:
        """The finished digest."""
        whole = self.digest.copy()
        whole.update(b"]]")
        return whole

    def begins(self, before: Name) -> tuple[Name, int] | None:
        """With how many messages of an earlier prompt, known by name only, this one begins: all, or all but the last if that told of its
        budget; ``None``: with neither.
        """
        _, _, digest = before.key.partition(":")
        for count in (before.count, before.count - 1):
            if 0 < count <= len(self.messages):
                text = f"[{self.head},{_text(list(self.messages[:count]))}]"
                if digest.startswith(f"{_shown(hashlib.sha256(_bytes(text)))}:"):
                    return before, count
        return None


def _naming(call: Call, messages: Sequence[Any], last: _Naming | None) -> _Naming:
    """Digests the JSON of ``[asked, messages]``. Where these continue the messages of ``last``, as an agent's history does, only new ones are
    digested.
    """
    if last is not None and _asks_the_same(call, last.call):
        asked, said, head = last.asked, last.said, last.head
    else:
        asked = _asked(call, last)
        said, head = _said(call, asked), _text(asked)  # 1 and 1.0 are equal, and written otherwise
    if last is not None and last.stays and last.head == head and _begins_with(messages, last.messages):
        digest, come, rest = last.digest.copy(), len(last.messages), messages[len(last.messages) :]
    else:
        digest, come, rest = hashlib.sha256(_bytes(f"[{head},[")), 0, messages
    if rest:
        digest.update(_bytes(f"{',' if come else ''}{_text(list(rest))[1:-1]}"))
    stays = all(type(each) is Fixed for each in rest)
    return _Naming(call, asked, said, head, messages, stays, digest)


def _lasting(
    every: Sequence[Any], named: Sequence[Any], naming: _Naming | None, before: Sequence[Any]
) -> tuple[Any, ...]:
    """Frozen copies of messages, as JSON: a handler may change the originals later, and what was recorded must not change with them.
    ``named`` are those of ``every`` that are part of the digest; messages that stood in the prompt ``before`` are not copied again. Messages
    without JSON are returned as they are: they are neither sent nor recorded.
    """
    if naming is None:
        return tuple(every)
    if naming.stays and len(named) == len(every):
        return tuple(every)
    known = named if naming.stays else before[: common(before, every)]
    return (*known, *map(_fixed, every[len(known) :]))


def _fixed(message: Any) -> Any:
    if type(message) is Fixed:
        return message
    texts = fixed_texts(message)
    if texts is not OTHER:
        return texts
    try:
        return fixed(json.loads(json.dumps(message, default=_object)))
    except _NO_JSON:
        return message  # the router refuses it, and says why


def _object(value: Any) -> dict[Any, Any]:
    whole: Any = value  # what isinstance makes of a container has no types inside
    if isinstance(value, Mapping):
        return dict(whole)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _asks_the_same(call: Call, other: Call) -> bool:
    """Whether two calls are identical but for their messages, in values that nobody can change."""
    for name in _ASKED:
        value = getattr(call, name)
        if value is not getattr(other, name) or not (value.__class__ in _UNCHANGING or value is NOTHING):
            return False
    return _same_tools(call, other)


def _same_tools(call: Call, other: Call) -> bool:
    """Whether two calls have identical tools, which nobody can change."""
    return call.tools is other.tools and all(type(each.parameters) is Fixed for each in call.tools)


def _begins_with(messages: Sequence[Any], first: Sequence[Any]) -> bool:
    return len(first) <= len(messages) and all(map(is_, first, messages))


def _asked(call: Call, last: _Naming | None) -> dict[str, Any]:
    """A request beside its messages, as a JSON value; that of the tools is taken over from ``last`` where they are the same."""
    asked = {name: _json(getattr(call, name)) for name in _ASKED}
    same = last if last is not None and _same_tools(call, last.call) else None
    asked["tools"] = _json(call.tools) if same is None else same.asked["tools"]
    return asked


def _said(call: Call, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a request beside its messages that is recorded: what is not empty, without what may hold keys."""
    said = {name: value for name, value in asked.items() if value not in (None, [], {})}
    if beside := [name for name in BESIDE if name in call.extra]:
        # Headers and the like: they count for the digest, but may hold API keys, and are not recorded.
        left = {name: value for name, value in asked["extra"].items() if name not in beside}
        said = {name: value for name, value in (said | {"extra": left}).items() if value not in (None, [], {})}
    return said


def question(to: Any, payload: Any, *more: Any) -> Callable[[], Any]:
    """The content of an ask or a spawn, for :meth:`Keys.next`."""
    return lambda: [str(to), encode_json(payload), *more]


def kept_of(completion: Completion, *, unpriced: bool = False) -> Kept:
    """What is recorded of a completion beside its text. ``unpriced``: the price of some of it was not known."""
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
    """The completion that was recorded."""
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


def _shown(digest: _Digest) -> str:
    """A digest as it stands in keys."""
    return digest.hexdigest()[:24]


def _text(value: Any) -> str:
    return _ENCODER.encode(value)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _json(value: Any) -> Any:
    """A part of a request as a JSON value."""
    if value is None or type(value) in {str, int, bool}:
        return value
    if value is NOTHING:
        return {}
    return json.loads(json.dumps(value, default=_plain))


def _plain(value: Any) -> Any:
    if hasattr(value, "__attrs_attrs__"):
        return asdict(value, recurse=False)
    if hasattr(value, "items"):
        return dict(value)
    return repr(value)


_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=_plain)
