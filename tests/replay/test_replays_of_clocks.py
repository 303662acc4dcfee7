"""Threads whose processes had different times of day: what was set back by days is not followed, and is replayed as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio.testing

from organism import Context, HandlerFailedError, Reply
from organism.journal import open_journal
from organism.payloads import Vocabulary
from organism.replay import replay
from organism.testing import ScriptedModel
from tests.durable.mortal import Scene
from tests.hard.budget_world import Done, Task, code
from tests.hard.time_of_day import HOUR, set_clock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

WORDS = Vocabulary([Task, Done])


async def _boss(task: Task, ctx: Context) -> Reply[Done]:
    """Says when it is, before and after it sleeps and asks."""
    before = ctx.now()
    await anyio.sleep(20)
    try:
        await ctx.ask("helper", task)
    except HandlerFailedError:
        await anyio.sleep(20)
    return Reply(Done(f"{before:%c} {ctx.now():%c}"))


async def _fails(task: Task, ctx: Context) -> None:
    await anyio.sleep(10)
    raise ValueError("once more")


def _scene(path: Path) -> Scene:
    retried = {"attempts": 2, "within": 1000, "backoff": [40, 60]}
    handlers: dict[str, Any] = {
        "boss": code(_boss, peers=("helper",), timeout=None),
        "helper": code(_fails, on_failure=retried, timeout=None),
    }
    return Scene(path, ScriptedModel([]), {"handlers": handlers}, [("one", "boss", Task("go"), {})])


@pytest.mark.parametrize("set_by", [-40 * 24 * HOUR, -HOUR, HOUR, 40 * 24 * HOUR])
def test_what_a_process_with_another_time_of_day_goes_on_with_is_replayed(
    set_by: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = set_clock(monkeypatch)

    def process(work: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        virtual = {"clock": trio.testing.MockClock(autojump_threshold=0.0)}
        return anyio.run(work, *args, backend="trio", backend_options=virtual)

    whole = _scene(tmp_path / "whole")
    written = process(whole.play).written
    assert whole.results["one"].outcome == "completed"
    for cut in range(1, written):
        killed = _scene(tmp_path / f"cut-{cut}")
        process(killed.play, cut)
        day.ahead += set_by
        process(killed.resume)
        day.ahead -= set_by
        assert killed.results["one"].outcome == "completed"
        journal = open_journal(f"sqlite:{killed.path}", vocabulary=WORDS, readonly=True)
        entries = list(journal.documents("one"))
        journal.close()
        settings = killed.organism().settings
        assert not replay(entries, settings, WORDS, patience=0.001).differences, f"cut at {cut} of {written}"
