"""What an agent remembers within its thread: its system prompt and the messages so far, in its handler's state.

Each message is one key, so that a delivery writes down only what it added. Notices of budgets are never kept.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, MutableMapping, Sequence

_SYSTEM: Final = "system"
_COUNT: Final = "count"
_RECAPPED: Final = 12
"""Messages that a recap has extracts of."""
_EXTRACT: Final = 240
"""Characters of a message in a recap."""
SHORTEST: Final = 200
"""Characters of a result that a cut leaves at least."""
_FEWEST: Final = 80
"""Characters below which cutting the texts of a document says nothing any more."""


class History:
    """The history in ``state``; what is added is kept when the delivery ends well."""

    def __init__(self, state: MutableMapping[str, Any]) -> None:
        self._state = state
        self.system: str | None = state.get(_SYSTEM)
        self.messages: list[Mapping[str, Any]] = [state[_key(n)] for n in range(state.get(_COUNT, 0))]

    def begin(self, system: str) -> None:
        """Keeps the system prompt: it is rendered once a thread."""
        self.system = self._state[_SYSTEM] = system

    def add(self, message: Mapping[str, Any]) -> None:
        """Appends a message."""
        self._state[_key(len(self.messages))] = dict(message)
        self.messages.append(message)
        self._state[_COUNT] = len(self.messages)

    def prompt(self, *after: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
        """The whole prompt, with what is said only this time at its end."""
        return ({"role": "system", "content": self.system or ""}, *self.messages, *after)

    def groups(self) -> list[Sequence[Mapping[str, Any]]]:
        """The messages after the first, so grouped that calls are not parted from their results."""
        groups: list[list[Mapping[str, Any]]] = []
        for message in self.messages[1:]:
            if message.get("role") == "tool" and groups:
                groups[-1].append(message)
            else:
                groups.append([message])
        return list(groups)


def recap(state: Mapping[str, Any]) -> dict[str, Any]:
    """What an agent remembers when its conversation goes on in a fresh one: its system prompt, and a message with extracts of
    what was said, the oldest and the newest of it.
    """
    messages = [state[_key(number)] for number in range(state.get(_COUNT, 0))]
    if not messages:
        return dict(state)
    said = [f"{each['role']}: {_extract(each)}" for each in messages if each.get("content")]
    kept = said if len(said) <= _RECAPPED else [*said[:1], "...", *said[1 - _RECAPPED :]]
    text = "\n".join([f"The conversation so far, cut short ({len(messages)} messages):", *kept])
    return {
        **({_SYSTEM: state[_SYSTEM]} if _SYSTEM in state else {}),
        _key(0): {"role": "user", "content": text},
        _COUNT: 1,
    }


def _extract(message: Mapping[str, Any]) -> str:
    text = " ".join(str(message["content"]).split())
    return text if len(text) <= _EXTRACT else f"{text[:_EXTRACT]}…"


def shortened(group: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    """A group of messages as it is, then with its results cut shorter and shorter, saying how much was cut."""
    yield group
    longest = max((len(str(each.get("content") or "")) for each in group if each.get("role") == "tool"), default=0)
    while longest > SHORTEST:
        longest = max(longest // 2, SHORTEST)
        yield [_cut(each, longest) if each.get("role") == "tool" else each for each in group]


def _cut(message: Mapping[str, Any], longest: int) -> Mapping[str, Any]:
    """The message with ``longest`` characters of content at most; of a JSON document its texts are cut, and it stays one."""
    text = str(message.get("content") or "")
    if len(text) <= longest:
        return message
    said = f"[cut from {len(text)} characters]"
    try:
        document = json.loads(text)
    except ValueError:
        return {**message, "content": f"{text[:longest]} {said}"}
    for items in (len(text), 4, 2, 1):
        most = longest
        while most > _FEWEST:
            most //= 2
            shorter = json.dumps(_shorter(document, most, items), ensure_ascii=False)
            if len(shorter) <= longest:
                return {**message, "content": f"{shorter} {said}"}
    return {**message, "content": said}


def _shorter(value: Any, most: int, items: int) -> Any:
    """A JSON value with texts of ``most`` characters and lists of ``items`` items at most."""
    whole: Any = value
    if isinstance(value, str):
        return value if len(value) <= most else f"{value[:most]}…"
    if isinstance(value, list):
        return [_shorter(each, most, items) for each in whole[:items]]
    if isinstance(value, dict):
        return {key: _shorter(each, most, items) for key, each in whole.items()}
    return whole


def _key(number: int) -> str:
    return f"message {number}"
