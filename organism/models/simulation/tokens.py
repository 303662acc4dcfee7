"""Token counts about as a byte-pair tokenizer of 200,000 pieces would give them, without its tables.

A text is cut into pieces as such tokenizers do before they merge (words with their blank, three digits, runs of
punctuation, line ends); then each piece costs by its script and length. No piece ever costs more than its UTF-8 bytes,
so that a bound in bytes holds for these counts as it holds for real ones.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from organism.models.formats import items, mapping
from organism.models.tokens.prompt import compact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from organism.models.contract import Message, Request, ToolCall, ToolSpec

PER_REQUEST: Final = 3
"""What opens the answer."""
PER_MESSAGE: Final = 3
"""What frames a message, its role included; every role has more bytes than that."""
PER_CALL: Final = 3
"""What frames a tool call, besides its name and arguments; the call's own JSON has more bytes than that."""
PER_IMAGE: Final = 85
"""An image at low detail."""

_DENSE: Final = (
    "\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9d"
)
_DENSE_RUN: Final = re.compile(f"[{_DENSE}]")
_PIECE: Final = re.compile(
    rf"[{_DENSE}]{{1,5}}"  # scripts without blanks: five signs are about four tokens
    rf"| ?[A-Z]*(?:(?![{_DENSE}A-Z])[^\W\d_])+(?:['\u2019](?:s|t|re|ve|m|ll|d)\b)?"  # one hump of a word, and its blank
    r"| ?[A-Z]+"
    r"|\d{1,3}"
    r"| ?[^\s\w]+[\r\n/]*|_+"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
)


def _word(letters: str) -> int:
    """Tokens of one run of letters: common words are whole up to a good length, shouted and foreign ones are not."""
    size = len(letters)
    if not letters.isascii():
        return -(-size * 4 // 5) if _DENSE_RUN.match(letters) else -(-size * 10 // 32)
    if size > 2 and letters.isupper():
        return -(-size // 4)
    if size <= 10:
        return 1
    return 2 if size <= 17 else 1 + -(-(size - 5) // 6)


def _marks(run: str) -> int:
    """Tokens of a run of punctuation: rules of one repeated sign are cheap, mixed signs go by twos."""
    if not run.isascii():
        size = sum(1 if c.isascii() else 2 if ord(c) > 0xFFFF else 1 for c in run)
        return min(size, len(run.encode("utf-8", "surrogatepass")))
    if len(set(run.rstrip("\r\n"))) <= 1:
        return 1 + len(run) // 24
    return 1 if len(run) <= 2 else -(-len(run) // 2)


def _cost(piece: str) -> int:
    """Tokens of one piece, at least one."""
    bare = piece.strip()
    if not bare:
        return 1 + len(piece) // 32
    letters = bare.partition("'")[0].partition("\u2019")[0]
    if letters and letters[0].isalpha():
        return max(1, _word(letters))
    return 1 if bare.isdecimal() else max(1, _marks(bare))


def count_tokens(text: str) -> int:
    """The tokens of ``text``: within about a tenth of a real tokenizer's for English prose, less exact elsewhere."""
    found = Counter(_PIECE.findall(text))
    return sum(_cost(piece) * times for piece, times in found.items())


def pieces(text: str) -> list[str]:
    """``text`` in the pieces it is streamed in; joined they are the text again."""
    return _PIECE.findall(text)


def cut_text(text: str, tokens: int) -> str:
    """The longest beginning of ``text`` that has at most ``tokens`` tokens, cut between pieces."""
    spent = end = 0
    for match in _PIECE.finditer(text):
        spent += _cost(match.group())
        if spent > tokens:
            return text[:end]
        end = match.end()
    return text


def _parts(content: object) -> list[Mapping[str, Any]]:
    """The parts of a message's content that is a list; a bare string in it is a text."""
    return [{"type": "text", "text": part} if isinstance(part, str) else mapping(part) for part in items(content)]


def text_of(content: object) -> str:
    """The text of a message's content: a string, or a list of parts of which only texts are read."""
    if isinstance(content, str):
        return content
    return "\n".join(text for part in _parts(content) if isinstance(text := part.get("text"), str))


def message_tokens(message: Message) -> int:
    """The tokens of one chat-completions message, its tool calls included."""
    content = message.get("content")
    images = sum("image" in str(part.get("type")) for part in _parts(content))
    total = PER_MESSAGE + count_tokens(text_of(content)) + PER_IMAGE * images
    for name, arguments, _ in calls_of(message):
        total += PER_CALL + count_tokens(name) + count_tokens(arguments)
    return total


def calls_of(message: Message) -> list[tuple[str, str, str]]:
    """The tool calls of an assistant message: name, arguments as text, id."""
    found: list[tuple[str, str, str]] = []
    for call in map(mapping, items(message.get("tool_calls"))):
        function = mapping(call.get("function"))
        arguments = function.get("arguments", "")
        text = arguments if isinstance(arguments, str) else compact(arguments)
        found.append((str(function.get("name", "")), text, str(call.get("id", ""))))
    return found


def tool_tokens(tool: ToolSpec) -> int:
    """The tokens of a tool as it is described to the model."""
    return count_tokens(tool.name) + count_tokens(tool.description) + count_tokens(compact(tool.parameters))


def request_tokens(request: Request) -> int:
    """The input tokens of a whole request: messages, tools and the schema of the answer."""
    total = PER_REQUEST + sum(message_tokens(message) for message in request.messages)
    total += sum(tool_tokens(tool) for tool in request.tools)
    return total if request.returns is None else total + count_tokens(compact(request.returns))


def answer_tokens(text: str, calls: Iterable[ToolCall]) -> int:
    """The output tokens of an answer."""
    return count_tokens(text) + sum(PER_CALL + count_tokens(c.name) + count_tokens(c.arguments) for c in calls)
