"""Tests of organisms that are opened twice: what the journal held before is no broken law."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import Context, Reply, payload
from organism.facts import Ended
from organism.testing import Says, ScriptedModel, running

if TYPE_CHECKING:
    from pathlib import Path


@payload
class Text:
    text: str


async def count(message: Text, ctx: Context) -> Reply[Text]:
    """Asks a model, and counts how often it was called in its conversation."""
    ctx.state["times"] = ctx.state.get("times", 0) + 1
    await ctx.complete(message.text, max_output_tokens=20)
    if message.text == "slow":
        await anyio.sleep(60)
    return Reply(Text(str(ctx.state["times"])))


@pytest.mark.parametrize("url", ["sqlite:{}/journal.db", "jsonl:{}/journal"])
@pytest.mark.parametrize("conversation", [None, "c"])
@pytest.mark.parametrize("window", ["run", "total"])
@pytest.mark.by_turns
async def test_a_journal_is_opened_again(tmp_path: Path, url: str, conversation: str | None, window: str) -> None:
    model = ScriptedModel([Says(text="x", usage=(10, 5))])
    for process in (1, 2, 3):
        async with running(
            handlers={"count": {"code": count}},
            models=model.models(),
            journal=url.format(tmp_path),
            ceiling={"tokens": 1000, "window": window},
        ) as organism:
            said = await organism.ask("count", Text("hello"), conversation=conversation)
            assert said == Text(str(process if conversation else 1))
            assert len(organism.watch.of(Ended)) == 1
            assert organism.usage().tokens == 15 * process


async def test_what_was_left_is_gone_on_with(tmp_path: Path) -> None:
    model = ScriptedModel([Says(text="x", usage=(10, 5))])
    keys: dict[str, Any] = {
        "handlers": {"count": {"code": count, "timeout": None}},
        "models": model.models(),
        "journal": f"sqlite:{tmp_path}/j.db",
    }
    async with running(**keys, check=False) as organism:
        await organism.send("count", Text("slow"), id="first")
        await anyio.sleep(1)
    async with running(**keys) as organism:
        (thread,) = await organism.resume()
        assert (await thread.result()).reply == Text("1")
    assert len(model.requests) == 1


async def test_laws_of_a_journal_that_was_new_are_all_checked(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"\.totals\."):
        async with running(handlers={"count": {"code": count}}, journal=f"sqlite:{tmp_path}/j.db") as organism:
            await organism.ask("count", Text("hello"))
            organism.kernel.state.sums.totals.clear()


async def test_laws_are_checked_though_somebody_begins_to_listen_later() -> None:
    with pytest.raises(AssertionError, match=r"\.totals\."):
        async with running(handlers={"count": {"code": count}}) as organism:
            await organism.ask("count", Text("hello"))
            organism.kernel.state.sums.totals.clear()
            organism.subscribe(lambda _: None)


async def test_that_nothing_stays_held_is_checked_of_any(tmp_path: Path) -> None:
    keys: dict[str, Any] = {"handlers": {"count": {"code": count}}, "journal": f"sqlite:{tmp_path}/j.db"}
    async with running(**keys) as organism:
        await organism.ask("count", Text("hello"))
    with pytest.raises(AssertionError, match="still holds"):
        async with running(**keys) as organism:
            await organism.ask("count", Text("hello"))
            organism.kernel.state.root.held = (1, 0, 0, 0, 0, 0)
