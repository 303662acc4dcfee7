"""How many tokens a prompt will be, without a tokenizer: what was measured for its beginning, and bytes for the rest.

A tokenizer would have to be downloaded, is another one for each model, and does not know what a provider adds. What the
provider itself reported for an earlier call is exact for everything that the next call repeats, and agents repeat nearly
all of it. For new text, UTF-8 bytes / 1.5 held for prose, code, Japanese and dense JSON; a model that needs more tokens
than that shows it in its reports, and its own ratio is used from then on. Bytes themselves are the bound that strict
accounting holds: byte-level tokenizers make no more tokens than there are bytes.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, cast

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from organism.models.contract import Message, ToolSpec

RATIO: Final = 1 / 1.5
"""Tokens a byte, where nothing better is known."""
_FIT_FROM: Final = 1000
"""Bytes of a prompt from which its report says something of the ratio: in short ones the provider's overhead prevails."""
_ABSURD: Final = 4.0
"""Tokens a byte that no tokenizer makes: one garbled report must not make every later call look unaffordable."""
_FORGET: Final = 8
"""A ratio rises at once and sinks by an eighth of the way: a hold too low is an overdraft, one too high only a wait."""


@frozen(kw_only=True)
class Prompt:
    """What is sent as input, for estimating: each message, and beside them the tools and the schema of the answer.

    ``sizes`` are the bytes of the messages, ``digests`` stand for everything up to and including each. ``beside`` has the
    digest and the bytes of each tool and schema. ``unbounded`` is the place and type of the first part whose tokens its
    bytes do not bound (images, audio, files), empty where there is none.
    """

    sizes: tuple[int, ...]
    digests: tuple[bytes, ...]
    beside: tuple[tuple[bytes, int], ...] = ()
    unbounded: str = ""

    @property
    def size(self) -> int:
        """Bytes of everything."""
        return sum(self.sizes) + sum(size for _, size in self.beside)


def prompt_of(
    messages: Sequence[Message], *, tools: Sequence[ToolSpec] = (), returns: Mapping[str, Any] | None = None
) -> Prompt:
    """The prompt of these messages. Raises TypeError, naming the message, where one holds what is no JSON."""
    offered = [{"name": tool.name, "description": tool.description, "parameters": tool.parameters} for tool in tools]
    schemas = [*offered, *([] if returns is None else [returns])]
    heads = [canonical(schema, "the tools or the schema of the answer") for schema in schemas]
    parts = [b"", *(canonical(message, f"messages[{index}]") for index, message in enumerate(messages))]
    digests = accumulate(parts, lambda before, part: _digest(before + part), initial=b"")
    return Prompt(
        sizes=tuple(len(part) for part in parts),
        digests=tuple(digests)[1:],
        beside=tuple((_digest(head), len(head) + 1) for head in heads),
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
    """What was learned about one model of one provider. It remembers the last ``prefixes`` prompts it was told of."""

    def __init__(self, *, prefixes: int = 4096) -> None:
        self._prefixes = prefixes
        self._known: OrderedDict[bytes, tuple[frozenset[bytes], int]] = OrderedDict()
        self._ratio = 0.0

    @property
    def ratio(self) -> float:
        """Tokens to hold for a byte of new text."""
        return max(RATIO, self._ratio)

    def input_tokens(self, prompt: Prompt) -> int:
        """The estimate, without the provider's overhead: the report for the longest known beginning, and new bytes.

        The answer to an earlier call counts as new where it comes back in the history: its reported output may have
        included reasoning that is not sent again, and the report of the next call covers it anyway. Tools that the earlier
        call had not are new as well; those that only it had were paid for in its report, which then is a bound.
        """
        new = 0
        for digest, size in zip(reversed(prompt.digests), reversed(prompt.sizes), strict=True):
            known = self._known.get(digest)
            if known is not None:
                beside, reported = known
                self._known.move_to_end(digest)
                return reported + self.tokens(new + sum(more for key, more in prompt.beside if key not in beside))
            new += size
        return self.tokens(prompt.size)

    def tokens(self, size: int) -> int:
        """The estimate for ``size`` bytes of text, rounded up."""
        return math.ceil(size * self.ratio)

    def learn(self, prompt: Prompt, reported: int) -> None:
        """Takes in what the provider reported as the input of this prompt (validated; 0 says nothing)."""
        if reported <= 0:
            return
        self._known[prompt.digests[-1]] = (frozenset(key for key, _ in prompt.beside), reported)
        self._known.move_to_end(prompt.digests[-1])
        if len(self._known) > self._prefixes:
            self._known.popitem(last=False)
        size = prompt.size
        # Parts that are no text say nothing of how this model cuts text.
        if size <= _FIT_FROM or prompt.unbounded or (seen := reported / size) > _ABSURD:
            return
        self._ratio = max(seen, self._ratio + (seen - self._ratio) / _FORGET)


def bound(prompt: Prompt, *, sent_along: Sequence[Mapping[str, Any]] = ()) -> int:
    """The most tokens that the prompt can be: the bytes of everything that is sent, options included."""
    return prompt.size + sum(len(canonical(options, "the options")) for options in sent_along if options)
