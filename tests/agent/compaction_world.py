"""What the tests of compaction share: an agent that looks one thing up in each of its turns, and a model that counts as its server does."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from attrs import define, field

from organism import Reply, payload
from organism.agent.recaps import text_of
from organism.models.contract import BackendError
from organism.record.facts import Compacted
from organism.testing import Says, ScriptedModel

if TYPE_CHECKING:
    from organism import Context, Organism
    from organism.models.contract import Request
    from organism.record.images import CutShort
    from organism.testing import Watch

WINDOW = 8_000
CHARACTERS = 4
"""Of a token, as the model here counts."""


@payload
class Job:
    """What is to be done."""

    text: str


@payload
class Result:
    """What came of it."""

    text: str


@payload
class Page:
    """Which page is wanted."""

    number: int


@payload
class Text:
    """What stands on it."""

    text: str


async def shelf(page: Page, ctx: Context) -> Reply[Text]:
    """Has pages."""
    return Reply(
        Text(f"Page {page.number}: " + f"line {page.number} of the page. " * int(ctx.options.get("lines", 20)))
    )


def tokens(request: Request) -> int:
    """The tokens of a request, in the measure of the model here."""
    said = sum(len(json.dumps(message, default=dict)) for message in request.messages)
    return (said + sum(len(json.dumps(tool.parameters, default=dict)) for tool in request.tools)) // CHARACTERS


@define(eq=False)
class Reader:
    """Looks page after page up, and replies when it has seen the last one; refuses what is longer than its window."""

    pages: int = 200
    window: int = WINDOW
    summary: str = "It has read the pages so far."
    summary_error: BackendError | None = None
    seen: list[int] = field(factory=list[int])
    sizes: list[int] = field(factory=list[int])
    summaries: int = 0
    reports: Any = None
    """The usage that it reports; ``None``: what it was."""

    def __call__(self, request: Request) -> Says:
        size = tokens(request)
        self.sizes.append(size)
        if size > self.window:
            return Says(error=BackendError("context", f"{size} tokens, and {self.window} is the most"))
        if not request.tools:
            self.summaries += 1
            return Says(text=self.summary, error=self.summary_error, usage=(size, 20))
        last = text_of(request.messages[-1]["content"])
        found = re.search(r"Page (\d+):", last)
        if found:
            self.seen.append(int(found[1]))
        page = int(found[1]) if found else 0
        usage: Any = (size, 20) if self.reports is None else self.reports
        if page >= self.pages:
            return Says(calls=(("reply", Result(f"read {len(self.seen)} pages")),), usage=usage)
        return Says(calls=(("shelf", Page(page + 1)),), usage=usage, call_id=f"call_{page + 1}")


def handlers(*, lines: int = 20, **agent: Any) -> dict[str, Any]:
    """An agent ``reader`` and the shelf that it asks."""
    made = {"accepts": Job, "replies": Result, "max_turns": 500, "max_output_tokens": 300, **agent}
    return {
        "reader": {"agent": made, "description": "Reads pages.", "peers": ["shelf"]},
        "shelf": {"code": shelf, "description": "Has pages.", "options": {"lines": lines}},
    }


def organism_of(reader: Reader, *, window: int | None = WINDOW, **agent: Any) -> dict[str, Any]:
    """The keys of an organism with the agent and its model; ``window`` is what the configuration says of it."""
    model = ScriptedModel(reader)
    known = {} if window is None else {"context_window": window}
    return {
        "handlers": handlers(**agent),
        "models": model.models(**known),
        "budget": {"messages": 2_000, "tokens": None, "model_calls": None},
    }


def cuts(watch: Watch) -> list[CutShort]:
    """How the histories of a run were cut short, in order; what was left out of prompts alone is not among them."""
    return [fact.cut for fact in watch.of(Compacted) if fact.cut.how != "prune"]


def kept(organism: Organism, conversation: str = "c", handler: str = "reader") -> dict[str, Any]:
    """What a handler keeps in a conversation."""
    return dict((organism.kernel.state.conversations[conversation].state or {})[handler])


def fits(cut: CutShort) -> bool:
    """Whether a prompt was below its mark once it was cut."""
    return cut.mark is not None and cut.tokens_after <= cut.mark
