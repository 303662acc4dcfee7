"""What a result keeps that nobody has read yet."""

from __future__ import annotations

import gc
import sys
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import Context, Organism, Reply
from organism.kernel.outcome import usage_with_subs
from organism.pump import runtime
from organism.testing import Says, ScriptedModel
from organism.threads.outcomes import Memory
from tests.hard.pump_world import Go, Said, code
from tests.waiting import LONG

if TYPE_CHECKING:
    from types import FrameType

    from organism.results import ThreadResult


def memories() -> int:
    """How many memories of handlers are there."""
    return sum(type(each) is Memory for each in gc.get_objects())


async def remembers(message: Go, ctx: Context) -> Reply[Said]:
    """Remembers what it is told."""
    ctx.state["text"] = message.text
    return Reply(Said(message.text))


async def passes_on(message: Go, ctx: Context) -> Reply[Said]:
    """Has it remembered in a thread below."""
    return Reply(await ctx.ask("remembers", message, expect=Said))


@pytest.mark.parametrize(
    "handlers",
    [
        {"worker": code(remembers)},
        {
            "worker": code(passes_on, "remembers"),
            "remembers": code(remembers, budget={"messages": 9}, per="thread"),
        },
    ],
    ids=["its own", "that of a thread below"],
)
@pytest.mark.by_turns
async def test_a_result_that_nobody_has_read_keeps_no_memory_of_a_handler(handlers: dict[str, Any]) -> None:
    async with Organism(handlers=handlers) as organism:
        gc.collect()
        before = memories()
        results = [await (await organism.send("worker", Go(str(number)))).result() for number in range(20)]
        gc.collect()
        assert memories() - before <= 1  # the last one may be on its way out
    assert [each.reply for each in results] == [Said(str(number)) for number in range(20)]


async def leaves_a_call_out(message: Go, ctx: Context) -> Reply[Said]:
    """Answers while a task that nobody waits for calls a model yet."""

    async def call() -> None:
        await ctx.complete("hi", max_output_tokens=40)

    runtime.spawn(call())
    await anyio.sleep(1)
    return Reply(Said(message.text))


async def test_a_result_that_another_os_thread_reads_does_not_change_while_a_call_settles() -> None:
    half_read, settled = threading.Event(), threading.Event()

    def stop(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code is usage_with_subs.__code__:
            half_read.set()
            settled.wait(LONG)

    def read(result: ThreadResult) -> int:
        sys.settrace(stop)
        try:
            return result.usage.model_calls
        finally:
            sys.settrace(None)
            half_read.set()

    model = ScriptedModel(lambda _: Says(text="ok", usage=(30, 4), seconds=60))
    async with Organism(handlers={"worker": code(leaves_a_call_out)}, models=model.models()) as organism:
        result = await (await organism.send("worker", Go("x"))).result()
        seen: list[int] = []
        reader = threading.Thread(target=lambda: seen.append(read(result)))
        reader.start()
        half_read.wait(LONG)
        await anyio.sleep(100)
        settled.set()
        reader.join()
        spent: Any = organism.usage()
        assert spent.model_calls == 1
    assert seen == [0]
    assert result.usage.model_calls == 0
