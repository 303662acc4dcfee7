"""Going on with an answer that was cut for length."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from attrs import evolve

from organism.models.simulation.tokens import text_of

if TYPE_CHECKING:
    from organism.models.contract import Message, Request

_GO_ON: Final = re.compile(r"\b(?:go on|continue) exactly where\b", re.IGNORECASE)


def interrupted(request: Request) -> tuple[Request, str]:
    """The request as it was before its answer was cut, and what was said of that so far; empty where none was cut."""
    messages = list(request.messages)
    said = ""
    while len(messages) > 2 and _is_asked_to_go_on(messages[-2].get("role"), messages[-1]):
        said = text_of(messages[-2].get("content")) + said
        del messages[-2:]
    return (evolve(request, messages=messages), said) if said else (request, "")


def _is_asked_to_go_on(before: object, message: Message) -> bool:
    return (
        before == "assistant"
        and message.get("role") == "user"
        and _GO_ON.search(text_of(message.get("content"))) is not None
    )
