"""What a refusal over HTTP means: its status, then the codes in it, then all that it says.

Servers and the gateways before them write refusals as they like. What they quote of the request says nothing of the reason, and is not
looked at where that can be told.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast

from attrs import define, field

if TYPE_CHECKING:
    from organism.models.contract import Failure

_TOO_LONG: Final = re.compile(
    r"context.?(length|size|window|limit)|too many tokens|(prompt|input).?(is.?)?too.?long|string_above_max_length"
    r"|max\w*[ _]prompt[ _](length|tokens)|model token limit|`inputs` tokens|(prompt|input) (token count|length)\b.{0,60}\b(exceed|should be)"
    r"|prompt exceeds",
    re.IGNORECASE,
)
"""As servers and gateways say it: OpenAI, Anthropic, Google, xAI, Bedrock, vLLM, llama.cpp, TGI, Mistral, Moonshot, DashScope and Z.ai."""
_OTHERWISE: Final = re.compile(r"not.?found|unsupported|permission|quota|billing", re.IGNORECASE)
"""Codes of refusals whose texts may well speak of lengths, and mean something else."""
_NO_QUOTA: Final = "insufficient_quota"
_CODES: Final = frozenset({"code", "type", "status", "error_code", "errorCode"})
_TEXTS: Final = frozenset(
    {"message", "msg", "detail", "details", "error", "errors", "title", "reason", "description", "metadata", "raw"}
)
_DEEP: Final = 6
"""How deep a refusal is looked into; gateways put those of others into their own."""
_MOST: Final = 10_000
"""Characters of a refusal that are looked at: what quotes a whole prompt says why before or soon after."""


@define
class _Heard:
    codes: list[str] = field(factory=list[str])
    texts: list[str] = field(factory=list[str])
    left: int = _MOST

    def hear(self, value: object, into: list[str], deep: int = 0) -> None:
        """Takes in a part of a document: its texts go ``into`` one of the lists."""
        if self.left <= 0 or deep > _DEEP:
            return
        if isinstance(value, str):
            into.append(value[: self.left])
            self.left -= len(into[-1]) + 1
        elif isinstance(value, Mapping):
            for name, part in cast("Mapping[object, object]", value).items():
                if name in _CODES:
                    self.hear(part, self.codes, deep + 1)
                elif name in _TEXTS:
                    self.hear(part, self.texts, deep + 1)
        elif isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
            for part in cast("Sequence[object]", value)[: self.left]:
                self.left -= 1
                self.hear(part, into, deep + 1)


def heard_in(refusal: str) -> tuple[str, str]:
    """The codes in a refusal, and what it says; all of it where it is no document with parts that are known."""
    heard = _Heard()
    with suppress(ValueError, RecursionError):
        heard.hear(json.loads(refusal), heard.texts)
    return " ".join(heard.codes), " ".join(heard.texts) or refusal[:_MOST]


def is_too_long(said: str) -> bool:
    """Whether codes or a text say that a prompt is too long."""
    return _TOO_LONG.search(said) is not None


def kind_of(status: int, codes: str, text: str) -> Failure:
    """What a refusal means: an HTTP status of 400 or more, with the codes and the text that came with it."""
    match status:
        case 401 | 403:
            return "auth"
        case 429:
            # A quota that is used up does not come back by waiting.
            return "rejected" if _NO_QUOTA in codes else "rate_limited"
        case 408 | 409 | 425:
            return "server"
        case _ if status >= 500:
            return "server"
        case _:
            told = status == 413 or is_too_long(codes) or (not _OTHERWISE.search(codes) and is_too_long(text))
            return "context" if told else "rejected"
