"""What prompts come to when each is taken apart anew: the measure of what remembers earlier ones."""

from __future__ import annotations

from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any

from organism.models.openai.request import format_of, tool_of
from organism.models.reasoning import kept_in
from organism.models.tokens.profiles import Text
from organism.models.tokens.prompt import Prompt, beside_of, canonical, digest_of, unbounded_in

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from organism.models.contract import Message, ToolSpec


def prompt_of(
    messages: Sequence[Message], *, tools: Sequence[ToolSpec] = (), returns: Mapping[str, Any] | None = None
) -> Prompt:
    """The prompt of these messages. Raises TypeError, naming the message, where one holds what is no JSON.

    Tools and the schema of the answer count as they are sent in the chat-completions dialect, which is the longest form
    that is in use.
    """
    schemas = [*map(tool_of, tools), *([] if returns is None else [format_of(returns)])]
    beside = tuple(map(beside_of, schemas))
    parts = [b"", *(canonical(message, f"messages[{index}]") for index, message in enumerate(messages))]
    digests = accumulate(parts, lambda before, part: digest_of(before + part), initial=b"")
    places = chain.from_iterable(unbounded_in(message, index) for index, message in enumerate(messages))
    return Prompt(
        parts=tuple(map(Text, parts)),
        digests=tuple(digests)[1:],
        beside=beside,
        unbounded=next(places, ""),
        size=sum(map(len, parts)) + sum(text.size + 1 for _, text in beside),
        offer=frozenset(digest for digest, _ in beside),
        kept_for=frozenset[str]().union(*map(kept_in, messages)),
    )
