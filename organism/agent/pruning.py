"""Old results are left out of prompts. The history has them whole: this is how it is looked at, the same whenever it is looked at.

What is left out grows in steps: a prompt that begins as the one before it is read from a provider's cache, and written down by what is
new in it. Sizes are counted at four characters a token: what is measured may differ from process to process, and this may not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from organism.models.frozen_json import fixed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from organism.agentsettings import Prune

_CHARACTERS: Final = 4
"""Characters that count as a token."""
_SHORT: Final = 120
"""Characters of a result that is left as it is."""


class Boundary:
    """Before which of the messages results are left out: ``place``; 0 where none are.

    It is found as it came to be, message by message: after each turn it moves up to the protected turns where that saves enough.
    """

    def __init__(self, prune: Prune | None) -> None:
        self._prune = prune
        self._saves: list[int] = []
        """Characters, of each message."""
        self._begins: list[int] = []
        """The place of each turn's first message."""
        self._protected = self._waiting = 0
        self.place = 0

    def add(self, message: Mapping[str, Any]) -> None:
        """Takes in the next message."""
        prune = self._prune
        if prune is None:
            return
        role = message.get("role")
        if role == "assistant":
            self._begins.append(len(self._saves))
            if len(self._begins) >= prune.protect_turns:
                self._move(prune, self._begins[-prune.protect_turns])
        self._saves.append(_saves(message) if role == "tool" else 0)

    def _move(self, prune: Prune, until: int) -> None:
        """Those from ``until`` on are protected."""
        self._waiting += sum(self._saves[self._protected : until])
        self._protected = until
        if self._waiting >= prune.min_tokens * _CHARACTERS:
            self.place, self._waiting = until, 0


def pruned(messages: Sequence[Mapping[str, Any]], before: int) -> Sequence[Mapping[str, Any]]:
    """The messages before that place, their results left out, each by a line that says how long it was."""
    return [_left_out(message) if _saves(message) else message for message in messages[:before]] if before else ()


def _saves(message: Mapping[str, Any]) -> int:
    """Characters that are saved where a message is left out: of results alone, and no less than none."""
    length = said_by(message) if message.get("role") == "tool" else 0
    return length - len(_line(length)) if length > _SHORT else 0


def _left_out(message: Mapping[str, Any]) -> Mapping[str, Any]:
    left: Mapping[str, Any] = fixed({**message, "content": _line(said_by(message))})
    return left


def said_by(message: Mapping[str, Any]) -> int:
    """Characters of what a message says, without what it calls."""
    return len(str(message.get("content") or ""))


def _line(length: int) -> str:
    return f"[a result of {length} characters was here and is left out now; ask again if you need it]"
