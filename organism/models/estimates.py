"""How many tokens a prompt will be, without a tokenizer: what was measured for its beginning, and the makeup of the rest.

A tokenizer would have to be downloaded, is another one for each model, and does not know what a provider adds. What the
provider itself reported for an earlier call is exact for everything that the next call repeats, and agents repeat nearly
all of it. New text is held at the tokens a byte that were reported for texts like it (``witnesses``), and at what the finest
tokenizer makes of such signs (``profiles``) as far as it is like none. Bytes themselves are the bound that strict
accounting holds: byte-level tokenizers make no more tokens than there are bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, cast

from attrs import field, frozen

from organism.models.beginnings import Beginnings
from organism.models.chat import format_of, tool_of
from organism.models.overheads import OfferOverhead, Overhead
from organism.models.profiles import RATIO, Text
from organism.models.witnesses import ABSURD, SAID_FROM, Witnesses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from organism.models.beginnings import Base
    from organism.models.contract import Message, ToolSpec

__all__ = ["RATIO", "Estimates", "Prompt", "Text", "bound", "canonical", "prompt_of"]

_GARBLED: Final = 100_000
"""Tokens that no provider adds of its own."""


@frozen(kw_only=True)
class Prompt:
    """What is sent as input, for estimating: each message, and beside them the tools and the schema of the answer.

    ``parts`` are the messages as canonical JSON, ``digests`` stand for everything up to and including each. ``beside`` has
    the digest and the JSON of each tool and schema. ``unbounded`` is the place and type of the first part whose tokens its
    bytes do not bound (images, audio, files), empty where there is none.
    """

    parts: tuple[Text, ...] = field(repr=False)
    digests: tuple[bytes, ...] = field(repr=False)
    beside: tuple[tuple[bytes, Text], ...] = field(default=(), repr=False)
    unbounded: str = ""

    @property
    def size(self) -> int:
        """Bytes of everything, with a comma behind each tool."""
        return sum(text.size for text in self.parts) + sum(text.size + 1 for _, text in self.beside)

    @property
    def texts(self) -> tuple[Text, ...]:
        """Everything, tools and schema last."""
        return (*self.parts, *(text for _, text in self.beside))

    @property
    def offer(self) -> frozenset[bytes]:
        """Which tools and schema it has."""
        return frozenset(digest for digest, _ in self.beside)


def prompt_of(
    messages: Sequence[Message], *, tools: Sequence[ToolSpec] = (), returns: Mapping[str, Any] | None = None
) -> Prompt:
    """The prompt of these messages. Raises TypeError, naming the message, where one holds what is no JSON.

    Tools and the schema of the answer count as they are sent in the chat-completions dialect, which is the longest form
    that is in use.
    """
    schemas = [*map(tool_of, tools), *([] if returns is None else [format_of(returns)])]
    heads = [canonical(schema, "the tools or the schema of the answer") for schema in schemas]
    parts = [b"", *(canonical(message, f"messages[{index}]") for index, message in enumerate(messages))]
    digests = accumulate(parts, lambda before, part: _digest(before + part), initial=b"")
    return Prompt(
        parts=tuple(map(Text, parts)),
        digests=tuple(digests)[1:],
        beside=tuple((_digest(head), Text(head)) for head in heads),
        unbounded=next(_unbounded(messages), ""),
    )


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=16).digest()


def canonical(value: object, what: str) -> bytes:
    """The value as compact JSON in UTF-8, keys sorted. ``what`` it is stands in the TypeError for what is no JSON."""
    try:
        text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=_plain)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{what} cannot be sent to a model: {error}; use text, numbers, lists and mappings") from error
    return text.encode("utf-8", "surrogatepass")  # a lone surrogate is for the provider to refuse


def _plain(value: object) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    raise TypeError(f"{type(value).__name__} is no JSON")


def _unbounded(messages: Sequence[Message]) -> Iterator[str]:
    for index, message in enumerate(messages):
        content: Any = message.get("content")
        if isinstance(content, str) or not hasattr(content, "__iter__"):
            continue
        for position, part in enumerate(content):
            kind = cast("Mapping[str, Any]", part).get("type") if isinstance(part, Mapping) else None
            if kind not in {"text", "refusal"}:
                yield f"messages[{index}].content[{position}] ({kind})"


class Estimates:
    """What was learned about one model of one provider. Memory of the process: what is held by it is recorded as a fact.

    It is bounded: ``prefixes`` beginnings of prompts (some 3 MB in all), some dozens of profiles, two overheads.
    """

    def __init__(self, *, prefixes: int = 4096) -> None:
        self._beginnings = Beginnings(most=prefixes)
        self._witnesses = Witnesses()
        self._bare = Overhead()
        self._offering = OfferOverhead()

    def input_tokens(self, prompt: Prompt, *, overhead: int = 0) -> int:
        """The input to hold: the report for the longest known beginning, and new text; ``overhead`` included.

        That is what the configuration says that the provider adds, in tokens. More is held where reports of short prompts
        have shown more, and no whole beginning of this one was reported.

        The answer to an earlier call counts as new where it comes back in the history: its reported output may have
        included reasoning that is not sent again, and the report of the next call covers it anyway. Tools that the earlier
        call had not are new as well; those that only it had were paid for in its report, which then is a bound. So is the
        report of a prompt that began alike and went on otherwise, such as another task of the same agent.
        """
        bases = self._beginnings.of(prompt)
        costs = [
            base.reported + self.tokens(base.new) + overhead + self._lately_offered(prompt, base) for base in bases
        ]
        if not any(base.whole for base in bases):
            costs.append(self.tokens(prompt.texts) + max(overhead, self._overhead(prompt)))
        return min(costs)

    def tokens(self, texts: Sequence[Text]) -> int:
        """The estimate for new text, rounded up."""
        return math.ceil(self._witnesses.tokens(texts))

    def learn(self, prompt: Prompt, reported: int) -> None:
        """Takes in what the provider reported as the input of this prompt (validated; 0 says nothing)."""
        if not 0 < reported <= ABSURD * prompt.size + _GARBLED:
            return
        # Parts that are no text say nothing of how this model cuts text.
        if not prompt.unbounded:
            self._learn_text(prompt, reported)
        self._beginnings.remember(prompt, reported)

    def _learn_text(self, prompt: Prompt, reported: int) -> None:
        bases = self._beginnings.of(prompt)
        before = next((base for base in bases if base.whole and base.offer == prompt.offer), None)
        if before is not None:
            self._witnesses.learn(before.new, reported - before.reported)
            return
        if prompt.offer:
            self._offering.leaves(reported, prompt.size)
        if prompt.size < SAID_FROM:
            learned = self._offering if prompt.offer else self._bare
            learned.learn(reported - self.tokens(prompt.texts))
        self._witnesses.learn(prompt.texts, reported)

    def _overhead(self, prompt: Prompt) -> int:
        return max(self._bare.tokens, self._offering.tokens if prompt.offer else 0)

    def _lately_offered(self, prompt: Prompt, base: Base) -> int:
        """What the provider adds to tools, where the report that is built on was for none."""
        return self._offering.tokens if prompt.offer and not base.offer else 0


def bound(prompt: Prompt, *, sent_along: Sequence[Mapping[str, Any]] = ()) -> int:
    """The most tokens that the prompt can be: the bytes of everything that is sent, options included."""
    return prompt.size + sum(len(canonical(options, "the options")) for options in sent_along if options)
