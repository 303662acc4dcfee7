"""The default organism, the reading desk, by tools and by XML: both ways of speaking, same answers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from organism.record.facts import Asked
from organism.testing import Watched, running

if TYPE_CHECKING:
    from organism import ThreadResult

FILE: Final = Path(__file__).parents[2] / "organism.yaml"
AGENTS: Final = ("desk", "reader", "editor")
UNWARNED: Final = {"budget.warn_at": [], "budget.runway": 0}


@pytest.fixture(autouse=True)
def _nothing_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ORGANISM_")]:
        monkeypatch.delenv(name)


async def asked(peers_as: str, text: str = "", **over: Any) -> tuple[ThreadResult, list[str]]:
    """How a question ends that its agents answer like this, and whom they asked; the file's own where there is none."""
    ways = {f"handlers.{name}.agent.peers_as": peers_as for name in AGENTS}
    organism = Watched.load(
        FILE, set={"journal": "memory:", **ways, **{k.replace("__", "."): v for k, v in over.items()}}
    )
    async with running(organism):
        payload = organism.settings.start[0].payload
        question = type(payload)(text, "explanation") if text else payload
        result = await (await organism.send("desk", question)).result()
    return result, sorted(fact.to for fact in organism.watch.of(Asked))


@pytest.mark.by_turns
async def test_the_desk_answers_the_same_by_tools_and_by_xml() -> None:
    by_tools, tools = await asked("tools")
    by_xml, xml = await asked("xml")
    assert by_xml.outcome == by_tools.outcome == "completed"
    assert by_xml.reply == by_tools.reply
    assert xml == tools
    assert by_xml.usage.model_calls == by_tools.usage.model_calls
    assert {each.level for each in by_xml.warnings} == {each.level for each in by_tools.warnings} == {"warning"}


@pytest.mark.parametrize(
    "text",
    [
        "What is a frame?",
        "Why do handlers not call each other?",
        "What happens when a thread is exhausted?",
        "Can a model forge a sender?",
    ],
)
@pytest.mark.by_turns
async def test_any_question_is_answered_the_same(text: str) -> None:
    # Warnings come at shares of tokens, and these are never quite the same.
    by_tools, tools = await asked("tools", text, **UNWARNED)
    by_xml, xml = await asked("xml", text, **UNWARNED)
    assert by_xml.outcome == "completed", by_xml.error
    assert (by_xml.reply, xml) == (by_tools.reply, tools)


@pytest.mark.parametrize("tokens", [200, 1500, 5000, 12000])
@pytest.mark.by_turns
async def test_a_desk_that_cannot_pay_hands_in_what_it_has_in_xml(tokens: int) -> None:
    result, _ = await asked("xml", "What happens when a thread is exhausted?", budget__tokens=tokens)
    assert result.outcome == "exhausted"
    assert result.usage.tokens <= tokens
    if tokens >= 1500:
        assert result.reply is not None
        assert "used, 0 held" not in result.reply.text
