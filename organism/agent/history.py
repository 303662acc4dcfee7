"""What an agent remembers within its thread: its system prompt and the messages so far, in its handler's state.

Each message is one key, so that a delivery writes down only what it added. Notices of budgets are never kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence

_SYSTEM: Final = "system"
_COUNT: Final = "count"


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


def _key(number: int) -> str:
    return f"message {number}"
