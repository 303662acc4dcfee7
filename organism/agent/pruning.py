"""Old results are left out of prompts. The history has them whole: this is how it is looked at, the same whenever it is looked at.

What is left out grows in steps: a prompt that begins as the one before it is read from a provider's cache, and written down by what is
new in it. Sizes are counted at four characters a token: what is measured may differ from process to process, and this may not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from organism.settings import Prune

_CHARACTERS: Final = 4
"""Characters that count as a token."""
_SHORT: Final = 120
"""Characters of a result that is left as it is."""


def boundary(messages: Sequence[Mapping[str, Any]], prune: Prune | None) -> int:
    """Before which of the messages results are left out; 0 where none are.

    It is found as it came to be, turn by turn: after each of them it moves up to the protected turns where that saves enough.
    """
    if prune is None:
        return 0
    begins = [place for place, message in enumerate(messages) if message.get("role") == "assistant"]
    saves = [_saves(message) for message in messages]
    found = protected = waiting = 0
    for turn in range(prune.protect_turns, len(begins) + 1):
        # After `turn` turns, those from this place on are protected.
        until = begins[turn - prune.protect_turns]
        waiting += sum(saves[protected:until])
        protected = until
        if waiting >= prune.min_tokens * _CHARACTERS:
            found, waiting = until, 0
    return found


def pruned(messages: Sequence[Mapping[str, Any]], before: int) -> Sequence[Mapping[str, Any]]:
    """The messages with the results before that place left out, each by a line that says how long it was."""
    if not before:
        return messages
    return [_left_out(message) if _saves(message) else message for message in messages[:before]] + list(
        messages[before:]
    )


def _saves(message: Mapping[str, Any]) -> int:
    """Characters that are saved where a message is left out: of results alone, and no less than none."""
    length = _length(message) if message.get("role") == "tool" else 0
    return length - len(_line(length)) if length > _SHORT else 0


def _left_out(message: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**message, "content": _line(_length(message))}


def _length(message: Mapping[str, Any]) -> int:
    return len(str(message.get("content") or ""))


def _line(length: int) -> str:
    return f"[a result of {length} characters was here and is left out now; ask again if you need it]"
