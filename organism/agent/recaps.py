"""What stands for messages that are left out: extracts of them, the first, the newest and the decisive.

A recap is made by rules alone: it costs nothing, and is the same whenever it is made of the same messages. It is itself a message;
where it is cut short again, its lines stand for what it stood for.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Final, cast

from attrs import frozen

from organism.agent.tools import SENT
from organism.names import REPLY, counted, excerpt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

Message = dict[str, Any]
LINES: Final = 12
"""Extracts in the recap of a conversation that goes on in a fresh one."""
EXTRACT: Final = 240
"""Characters of an extract."""
_EXTRACTS: Final = "The conversation so far, cut short"
_SUMMARY: Final = "The conversation so far, summed up"
_GAP: Final = "..."
_SAYS_NOTHING: Final = {SENT, ""}


@frozen
class _Line:
    """An extract. ``decisive``: what was asked for or handed in, rather than a step on the way."""

    text: str
    decisive: bool


def recapped(messages: Sequence[Mapping[str, Any]], *, count: int, lines: int = LINES) -> Message:
    """A message with extracts of these messages; ``count`` is how many it stands for, also those behind an earlier one."""
    kept = _chosen([line for message in messages for line in _lines(message)], lines)
    return {"role": "user", "content": "\n".join([f"{_EXTRACTS} ({counted(count, 'message')}):", *kept])}


def summed_up(text: str, *, count: int) -> Message:
    """A message with a model's summary of ``count`` messages."""
    return {"role": "user", "content": f"{_SUMMARY} ({counted(count, 'message')}):\n{text.strip()}"}


def told(message: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a message says, part by part: who says it, and the text."""
    role, content = str(message.get("role", "")), message.get("content")
    if content:
        yield ("result" if role == "tool" else role), text_of(content)
    for call in message.get("tool_calls") or ():
        function = call.get("function", {})
        yield f"{role} calls {function.get('name', '')}", str(function.get("arguments", ""))


def text_of(content: Any) -> str:
    """The text of a message's content, which may come in parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, (list, tuple)):
        parts = cast("Sequence[Any]", content)
        return "\n".join(str(part.get("text", "")) if hasattr(part, "get") else str(part) for part in parts)
    return str(content)


def is_recap(message: Mapping[str, Any]) -> bool:
    """Whether a message was made here."""
    return message.get("role") == "user" and str(message.get("content", "")).startswith((_EXTRACTS, _SUMMARY))


def _lines(message: Mapping[str, Any]) -> Iterable[_Line]:
    if is_recap(message):
        head, *rest = str(message["content"]).split("\n")
        by_model = head.startswith(_SUMMARY)
        pieces = [piece for line in rest for piece in (textwrap.wrap(line, EXTRACT) if by_model else [line])]
        return [_Line(piece, by_model or _is_decisive(piece)) for piece in pieces if piece != _GAP]
    said = [f"{who}: {_extract(text)}" for who, text in told(message) if text not in _SAYS_NOTHING]
    return [_Line(text, _is_decisive(text)) for text in said]


def _is_decisive(line: str) -> bool:
    return line.startswith(("user: ", f"assistant calls {REPLY}"))


def _chosen(lines: Sequence[_Line], most: int) -> list[str]:
    """The first, the newest of the decisive, and the newest of all, in their order; gaps are shown."""
    if len(lines) <= most:
        return [line.text for line in lines]
    newest = range(len(lines) - 1, 0, -1)
    decisive = [number for number in newest if lines[number].decisive][: most // 3]
    others = [number for number in newest if number not in decisive]
    chosen = sorted([0, *decisive, *others[: most - 1 - len(decisive)]])
    found: list[str] = []
    for before, number in zip([-1, *chosen], chosen, strict=False):
        found += [_GAP] * (number > before + 1) + [lines[number].text]
    return found


def _extract(text: str) -> str:
    return excerpt(" ".join(text.split()), EXTRACT)
