"""An organism belongs to the event loop that it was started on: whoever asks it from another one hears so, and does no harm."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
import trio

from organism import Context, Organism, Reply
from organism.errors import OrganismError
from organism.testing import Says, ScriptedModel, running
from tests.hard.pump_world import Go, Said, code, echo, slow

if TYPE_CHECKING:
    from collections.abc import Callable

    from organism.pump.bare import BareThread
    from organism.pump.handles import ConversationHandle, ThreadHandle

pytestmark = pytest.mark.anyio

HANDLERS: dict[str, Any] = {"echo": code(echo), "slow": code(slow)}
ELSEWHERE = "belongs to another event loop"


async def elsewhere(work: Callable[[], object]) -> BaseException | None:
    """What a function raises in a thread that knows nothing of this event loop, which is never idle meanwhile."""
    raised: list[BaseException] = []
    ended = threading.Event()

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - it is looked at
            raised.append(error)
        finally:
            ended.set()

    threading.Thread(target=run).start()
    while not ended.wait(0.001):
        await anyio.lowlevel.checkpoint()
    return raised.pop() if raised else None


ASKS: dict[str, Callable[[Organism, ThreadHandle], object]] = {
    "ask, on asyncio": lambda organism, _: asyncio.run(organism.ask("echo", Go())),
    "ask, on trio": lambda organism, _: trio.run(organism.ask, "echo", Go()),
    "close": lambda organism, _: asyncio.run(organism.close()),
    "inbox": lambda organism, _: organism.inbox(),
    "result": lambda _, handle: asyncio.run(handle.result()),
    "cancel": lambda _, handle: handle.cancel(),
    "pause": lambda _, handle: handle.pause(),
    "resume": lambda _, handle: handle.resume(),
    "add_budget": lambda _, handle: handle.add_budget(messages=1),
    "events": lambda _, handle: handle.events(),
}


@pytest.mark.parametrize("asks", ASKS.values(), ids=ASKS)
async def test_whoever_asks_in_another_thread_hears_so_and_does_no_harm(
    asks: Callable[[Organism, ThreadHandle], object],
) -> None:
    async with running(handlers=HANDLERS) as organism:
        handle = await organism.send("slow", Go("here"))
        error = await elsewhere(lambda: asks(organism, handle))
        assert isinstance(error, OrganismError)
        assert f"organism 'test' {ELSEWHERE}" in str(error)
        assert (await handle.result()).outcome == "completed"
        assert (await organism.ask("echo", Go("still"))).text == "still"


async def _streamed(thread: BareThread) -> None:
    async with thread.stream("hello"):
        pass


LASTING: dict[str, Callable[[BareThread, ConversationHandle], object]] = {
    "complete, on asyncio": lambda thread, _: asyncio.run(thread.complete("hello")),
    "complete, on trio": lambda thread, _: trio.run(thread.complete, "hello"),
    "stream": lambda thread, _: asyncio.run(_streamed(thread)),
    "add_budget": lambda _, conversation: conversation.add_budget(messages=1),
    "set_budget": lambda _, conversation: conversation.set_budget(messages=1),
}


@pytest.mark.parametrize("asks", LASTING.values(), ids=LASTING)
@pytest.mark.by_turns
async def test_the_same_holds_for_threads_without_handlers_and_for_conversations(
    asks: Callable[[BareThread, ConversationHandle], object],
) -> None:
    model = ScriptedModel([Says(text="hi", usage=(1, 1))] * 2)
    async with running(handlers=HANDLERS, models=model.models()) as organism:
        await organism.ask("echo", Go(), conversation="c-1")
        conversation = await organism.conversation_of("c-1")
        assert conversation is not None
        async with organism.thread() as thread:
            error = await elsewhere(lambda: asks(thread, conversation))
            assert isinstance(error, OrganismError)
            assert f"organism 'test' {ELSEWHERE}" in str(error)
            assert (await thread.complete("hello")).text == "hi"
        assert len(model.requests) == 1


async def test_what_is_only_read_may_be_read_in_another_thread() -> None:
    async with running(handlers=HANDLERS) as organism:
        handle = await organism.send("echo", Go())
        await handle.result()

        def reads() -> None:
            assert organism.statistics().threads == 0
            assert organism.usage("handler")
            assert handle.ended

        assert await elsewhere(reads) is None


@pytest.mark.parametrize("how", ["ask", "ask_all", "complete", "stream", "spawn", "in_thread"])
async def test_a_plain_handler_with_an_event_loop_of_its_own_crashes_alone(how: str) -> None:
    """Its context is for ``ctx.run``: another loop would step what belongs to the organism's."""

    async def asks(ctx: Context) -> None:
        match how:
            case "ask":
                await ctx.ask("echo", Go())
            case "ask_all":
                await ctx.ask_all([("echo", Go())])
            case "complete":
                await ctx.complete("hello")
            case "stream":
                async with ctx.stream("hello"):
                    pass
            case "spawn":
                await ctx.spawn("echo", Go())
            case _:
                await ctx.in_thread(len, "three")

    def plain(message: Go, ctx: Context) -> Reply[Said]:
        if message.n:
            return Reply(Said(ctx.run(ctx.ask("echo", message, expect=Said)).text))
        asyncio.run(asks(ctx))
        return Reply(Said("unheard of"))

    handlers = {**HANDLERS, "plain": code(plain, "echo", timeout=None)}
    async with running(handlers=handlers) as organism:
        handle = await organism.send("plain", Go())
        while not handle.ended:  # no virtual clock moves while the thread works
            await anyio.lowlevel.checkpoint()
        result = await handle.result()
        assert result.outcome == "failed"
        assert ELSEWHERE in str(result.error)
        assert (await organism.ask("plain", Go("still", n=1))).text == "still"


def test_one_that_was_started_on_a_loop_that_stands_still_is_not_waited_for_on_another() -> None:
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    organism = Organism(name="first", handlers=HANDLERS)
    try:
        first.run_until_complete(organism.start())
        handle = first.run_until_complete(organism.send("echo", Go()))
        for work in (organism.ask("echo", Go()), organism.close()):
            with pytest.raises(OrganismError, match=f"organism 'first' {ELSEWHERE}"):
                second.run_until_complete(work)
        handle.cancel()  # between two runs of its own loop nothing is torn apart
        first.run_until_complete(organism.close())
    finally:
        first.close()
        second.close()


def test_a_loop_that_goes_on_in_another_thread_is_followed() -> None:
    """A program starts the organism, and then has its loop run in the background."""

    async def asks(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(await ctx.ask("echo", message, expect=Said))

    loop = asyncio.new_event_loop()
    organism = Organism(name="first", handlers={**HANDLERS, "asks": code(asks, "echo")})
    loop.run_until_complete(organism.start())
    background = threading.Thread(target=loop.run_forever)
    background.start()
    try:
        for text in ("there", "still there"):
            asked = asyncio.run_coroutine_threadsafe(organism.ask("asks", Go(text), expect=Said), loop)
            assert asked.result().text == text
        asyncio.run_coroutine_threadsafe(organism.close(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        background.join()
        loop.close()
