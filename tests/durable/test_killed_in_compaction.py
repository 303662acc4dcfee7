"""An agent whose history is cut short again and again is killed in the middle of that: it comes to the same end, and pays for no answer twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from organism.payloads import Vocabulary
from organism.record.facts import Compacted
from organism.testing import ScriptedModel
from tests.agent.compaction_world import Job, Page, Reader, Result, Text, handlers
from tests.durable.mortal import Scene, check_whole
from tests.hard.budget_world import models

if TYPE_CHECKING:
    from pathlib import Path

WINDOW: Final = 2200
PAGES: Final = 8
STEP: Final = 3
"""From one position at which it is killed to the next."""


def scene(path: Path, reader: Reader, model: str | None) -> Scene:
    """An agent that reads more than its window holds. ``model`` is what sums its history up; ``None``: it keeps extracts."""
    said = ScriptedModel(reader)
    document: dict[str, Any] = {
        "handlers": handlers(lines=30, compaction={"keep_turns": 1, "model": model}),
        "models": models(said, retries=0, context_window=WINDOW),
    }
    return Scene(path, said, document, [("one", "reader", Job("Read all pages."), {})])


@pytest.mark.parametrize(("model", "how"), [(None, "recap"), ("default", "model")])
async def test_killed_while_its_history_is_cut_short_an_agent_comes_to_the_same_end(
    model: str | None, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: slice
) -> None:
    monkeypatch.setattr("tests.durable.mortal.WORDS", Vocabulary([Job, Result, Page, Text]))
    plain = scene(tmp_path / "plain", Reader(pages=PAGES, window=WINDOW), model)
    whole = await plain.play()
    facts = check_whole(whole, plain.path)
    assert [fact.cut.how for fact in facts if isinstance(fact, Compacted)] == [how] * 2
    for cut in range(1, whole.written, STEP)[half]:
        reader = Reader(pages=PAGES, window=WINDOW)
        made = scene(tmp_path / f"cut-{cut}", reader, model)
        await made.play(cut)
        before, (_, completed) = len(made.model.requests), made.calls()
        organism = await made.resume()
        assert made.results["one"].outcome == "completed", cut
        assert len(made.model.requests) - before == len(plain.model.requests) - completed, cut
        assert sorted(set(reader.seen)) == list(range(1, PAGES + 1)), cut
        check_whole(organism, made.path)
