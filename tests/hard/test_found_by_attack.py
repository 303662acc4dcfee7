"""What somebody found who tried to break it; each stays mended."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import BudgetExhaustedError, Context, Forward, HandlerFailedError, Reply, payload
from organism.pump.timers import Timers
from organism.testing import Says, ScriptedModel, running

if TYPE_CHECKING:
    from pathlib import Path

    from organism.models.contract import Request


@payload
class Text:
    text: str


async def test_a_stream_that_is_left_open_holds_nothing_once_its_delivery_is_over() -> None:
    kept: list[Any] = []

    async def leaky(message: Text, ctx: Context) -> None:
        """Opens a stream and forgets it."""
        stream = ctx.stream("tell me", max_output_tokens=100)
        await stream.__aenter__()
        kept.append(stream)

    model = ScriptedModel([Says(text="one two three", usage=(10, 5))])
    handlers = {"leaky": leaky}
    async with running(handlers=handlers, models=model.models(), ceiling={"tokens": 1000}) as organism:
        for _ in range(4):
            result = await (await organism.send("leaky", Text("x"))).result()
            assert result.usage.estimated
            assert organism.statistics().held == 0


async def test_a_generator_that_ends_in_a_cancelling_is_one_delivery() -> None:
    async def root(message: Text, ctx: Context) -> Any:
        def answers() -> Any:
            yield Reply(Text("1"))
            raise asyncio.CancelledError

        return answers()

    async with running(handlers={"root": {"code": root, "description": "x"}}) as organism:
        for _ in range(3):
            result = await (await organism.send("root", Text("x"))).result()
            assert result.outcome == "failed"
            assert organism.statistics().running == 0


def test_a_timer_that_another_cancels_in_the_same_instant_does_not_come() -> None:
    timers = Timers(lambda: None)
    came: list[str] = []
    second = None

    def first() -> None:
        came.append("first")
        assert second is not None
        timers.cancel(second)

    timers.add(1.0, first)
    second = timers.add(1.0, lambda: came.append("second"))
    for call in timers.due(1.0):
        call()
    assert came == ["first"]
    assert len(timers) == 0


async def test_two_calls_of_one_id_get_each_their_own_result() -> None:
    async def echo(message: Text, ctx: Context) -> Reply[Text]:
        """Says it again."""
        return Reply(message)

    def script(request: Request) -> Says:
        if len(request.messages) > 2:
            return Says(calls=(("reply", {"text": "done"}),))
        calls = (("echo", Text("one")), ("echo", "[" * 100_000), ("echo", Text("two")))
        return Says(calls=calls, call_id="c")

    model = ScriptedModel(script)
    agent = {"agent": {"accepts": Text, "replies": Text}, "description": "x", "peers": ["echo"]}
    async with running(handlers={"agent": agent, "echo": echo}, models=model.models()) as organism:
        assert await organism.ask("agent", Text("go")) == Text("done")
    results = [json.loads(message["content"]) for message in model.requests[1].messages if message["role"] == "tool"]
    assert [next(iter(each)) for each in results] == ["Text", "InvalidPayload", "Text"]
    assert [results[0]["Text"]["text"], results[2]["Text"]["text"]] == ["one", "two"]
    assert "nested too deep" in results[1]["InvalidPayload"]["error"]


async def test_a_class_is_no_payload() -> None:
    async def root(message: Text, ctx: Context) -> Any:
        return Reply(Text)

    async with running(handlers={"root": {"code": root, "description": "x"}}) as organism:
        with pytest.raises(HandlerFailedError, match="Text is a class") as caught:
            await organism.ask("root", Text("x"))
        assert caught.value.code == "validation"


async def test_a_thread_that_may_have_no_depth_is_not_opened() -> None:
    async def root(message: Text, ctx: Context) -> None:
        """Never called."""

    async with running(handlers={"root": root}) as organism:
        with pytest.raises(BudgetExhaustedError, match="depth"):
            await organism.send("root", Text("x"), budget={"depth": 0})
        assert organism.statistics().threads == 0


async def test_labels_and_ids_are_texts_and_handlers_cannot_change_them() -> None:
    async def root(message: Text, ctx: Context) -> Any:
        with pytest.raises(TypeError):
            ctx.labels["x"] = "forged"  # type: ignore[index]
        return Reply(Text(ctx.labels["x"]))

    wrong: Any = 5
    async with running(handlers={"root": {"code": root, "description": "x"}}) as organism:
        with pytest.raises(TypeError, match="labels"):
            await organism.send("root", Text("x"), labels={"x": wrong})
        with pytest.raises(TypeError, match="id must be a text"):
            await organism.send("root", Text("x"), id=wrong)
        assert organism.statistics().threads == 0
        assert await organism.ask("root", Text("x"), labels={"x": "mine"}) == Text("mine")


async def test_time_ends_the_calls_of_a_thread_without_handlers() -> None:
    model = ScriptedModel([Says(text="x", usage=(1, 1), seconds=1)])
    async with running(models=model.models()) as organism, organism.thread(budget={"seconds": 2.5}) as thread:
        with pytest.raises(BudgetExhaustedError, match="seconds"):
            for _ in range(5):
                await thread.complete("go on")
        assert len(model.requests) == 3
        await anyio.lowlevel.checkpoint()


@pytest.mark.by_turns
async def test_sub_threads_below_one_another_are_so_few_that_their_record_can_be_read(tmp_path: Path) -> None:
    async def hand_on(message: Text, ctx: Context) -> Forward[Text]:
        """Has somebody else do it, who has a budget as well."""
        return Forward("left" if ctx.name == "right" else "right", message)

    handlers = {
        name: {"code": hand_on, "peers": [peer], "budget": {"tokens": 1000}}
        for name, peer in (("left", "right"), ("right", "left"))
    }
    journal = f"sqlite:{tmp_path / 'organism.db'}"
    async with running(handlers=handlers, journal=journal) as organism:
        result = await (await organism.send("left", Text("x"), id="ring")).result()
        assert (result.outcome, result.code) == ("failed", "refused")
        assert "budgets are nested 100 deep here" in str(result.error)
        assert len(json.dumps(result.as_json())) < 10**6
    async with running(handlers=handlers, journal=journal, check=False) as again:
        assert await again.calls("ring") == ()
        assert (await (await again.send("left", Text("x"), id="ring")).result()).code == "refused"
