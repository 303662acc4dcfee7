"""What a handler does to its task, its context or its generators stays its own: it crashes alone (R25)."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import logging
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio

from organism import Context, HandlerFailedError, NotRunningError, Reply, Send
from organism.primitives import HandlerFailed
from organism.record.facts import Answered
from organism.testing import Says, ScriptedModel, running
from tests.hard.pump_world import Go, Said, code, echo, slow
from tests.waiting import LONG

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from organism import Organism

mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="unset")


async def works_on(organism: Organism) -> None:
    """The organism is as well as before: handlers run, wait, and time out as they should."""
    threads = [await organism.send("slow", Go(str(number))) for number in range(5)]
    assert [(await thread.result()).reply for thread in threads] == [Said(str(number)) for number in range(5)]
    assert await organism.ask("echo", Go("fine"), expect=Said) == Said("fine")


# Context variables


async def test_a_context_variable_of_one_delivery_is_not_seen_by_the_next() -> None:
    """Hard case 43, with and without waiting in between."""
    seen: list[str] = []

    async def root(message: Go, ctx: Context) -> Any:
        seen.append(mark.get())
        mark.set(message.text)
        if message.n % 2:
            await anyio.sleep(0.1)
        assert mark.get() == message.text
        return Send("root", Go(f"{message.text}.", message.n - 1)) if message.n else None

    async with running(handlers={"root": code(root)}) as organism:
        threads = [await organism.send("root", Go(text, 5)) for text in "ab"]
        for thread in threads:
            assert (await thread.result()).outcome == "completed"
        assert seen == ["unset"] * 12
    assert mark.get() == "unset"


async def test_handlers_see_the_context_in_which_the_organism_was_started() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        await anyio.lowlevel.checkpoint()
        return Reply(Said(mark.get()))

    token = mark.set("outer")
    try:
        async with running(handlers={"root": code(root)}) as organism:
            mark.set("later")
            assert await organism.ask("root", Go()) == Said("outer")
    finally:
        mark.reset(token)


async def test_tasks_of_a_handler_have_its_context() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        said: list[str] = []

        async def inner() -> None:
            await anyio.sleep(0.1)
            said.append(mark.get())

        mark.set("mine")
        async with anyio.create_task_group() as group:
            group.start_soon(inner)
            await ctx.ask("echo", Go())
        return Reply(Said(said[0]))

    async with running(handlers={"root": code(root, "echo"), "echo": code(echo)}) as organism:
        assert await organism.ask("root", Go()) == Said("mine")


# Cancel scopes left open


def open_scope(kind: str) -> Any:
    """Enters a scope and does not leave it."""
    match kind:
        case "anyio":
            return anyio.CancelScope().__enter__()
        case "anyio with a deadline":
            return anyio.CancelScope(deadline=anyio.current_time() + 3).__enter__()
        case "anyio cancelled":
            scope = anyio.CancelScope().__enter__()
            scope.cancel()
            return scope
        case "two":
            return [anyio.CancelScope().__enter__(), anyio.CancelScope(shield=True).__enter__()]
        case _:
            manager = anyio.fail_after(3)
            manager.__enter__()
            return manager


SCOPES = ["anyio", "anyio with a deadline", "anyio cancelled", "two", "fail_after"]


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "waiting"])
@pytest.mark.parametrize("kind", SCOPES)
async def test_a_handler_that_leaves_a_cancel_scope_open_crashes_alone(
    kind: str,
    waits: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def root(message: Go | HandlerFailed, ctx: Context) -> Any:
        if isinstance(message, HandlerFailed):
            return Reply(Said(message.code))
        return [Send("leaves", message)]

    kept: list[Any] = []

    async def leaves(message: Go, ctx: Context) -> Reply[Said]:
        if waits:
            await anyio.sleep(0.1)
        kept.append(open_scope(kind))
        if waits:
            await anyio.sleep(0.1)
        return Reply(Said("as if nothing were"))

    handlers = {"root": code(root, "leaves"), "leaves": code(leaves), "echo": code(echo), "slow": code(slow)}
    async with running(handlers=handlers) as organism:
        for _ in range(3):
            result = await (await organism.send("root", Go())).result()
            assert (result.outcome, result.reply) == ("completed", Said("crashed"))
            await works_on(organism)
        await anyio.sleep(10)  # past the deadline of what was left
        await works_on(organism)
        for each in kept:  # whoever leaves such a scope later only hears that it was left before
            if hasattr(each, "__exit__"):
                with pytest.raises(RuntimeError):
                    each.__exit__(None, None, None)
        crashed = [record for record in caplog.records if "left a cancel scope" in record.getMessage()]
        assert len(crashed) == 3


async def test_a_scope_of_the_loops_own_that_is_left_open_crashes_its_handler_alone() -> None:
    kept: list[Any] = []

    async def leaves(message: Go, ctx: Context) -> Reply[Said]:
        if trio.lowlevel.in_trio_run():
            kept.append(trio.CancelScope(deadline=trio.current_time() + 3).__enter__())
        else:
            # asyncio.timeout is no scope that others stand in; once it has fired, its cancelling stays behind.
            await asyncio.timeout(0.5).__aenter__()
            with contextlib.suppress(asyncio.CancelledError):
                await anyio.sleep(3)
        return Reply(Said("as if nothing were"))

    async with running(handlers={"leaves": code(leaves), "echo": code(echo), "slow": code(slow)}) as organism:
        for _ in range(3):
            result = await (await organism.send("leaves", Go())).result()
            assert (result.outcome, result.code) == ("failed", "crashed")
            await works_on(organism)
        await anyio.sleep(10)
        await works_on(organism)


async def test_scopes_that_are_left_properly_are_no_crime() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        with anyio.move_on_after(1), contextlib.suppress(TimeoutError):
            with anyio.fail_after(0.5):
                await anyio.sleep(10)
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 10)
            await anyio.sleep(0.1)
            group.cancel_scope.cancel()
        if not trio.lowlevel.in_trio_run():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await anyio.sleep(10)
        return Reply(Said("fine"))

    async with running(handlers={"root": code(root)}) as organism:
        for _ in range(3):
            assert await organism.ask("root", Go()) == Said("fine")


async def test_the_worker_of_a_scope_left_open_is_replaced() -> None:
    async def leaves(message: Go, ctx: Context) -> None:
        anyio.CancelScope().__enter__()

    async with running(handlers={"leaves": code(leaves), "echo": code(echo), "slow": code(slow)}) as organism:
        await works_on(organism)
        before = organism.statistics().workers
        for _ in range(50):
            await (await organism.send("leaves", Go())).result()
        await works_on(organism)
        assert organism.statistics().workers <= before + 1


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "waiting"])
async def test_a_handler_that_leaves_a_task_group_open_crashes_alone(waits: bool) -> None:
    """Its tasks are cancelled; they may take their time, and nobody else waits for them."""
    kept: list[Any] = []
    stopped: list[float] = []

    async def stray() -> None:
        try:
            await anyio.sleep(1000)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(5)
            stopped.append(anyio.current_time())

    async def leaves(message: Go, ctx: Context) -> Reply[Said]:
        if waits:
            await anyio.sleep(0.1)
        group = anyio.create_task_group()
        await group.__aenter__()
        group.start_soon(stray)
        await anyio.sleep(0.1)
        kept.append(group)
        return Reply(Said("as if nothing were"))

    handlers = {"leaves": code(leaves), "echo": code(echo), "slow": code(slow)}
    async with running(handlers=handlers) as organism:
        for count in range(1, 4):
            thread = await organism.send("leaves", Go())
            await works_on(organism)
            result = await thread.result()
            assert (result.outcome, result.code) == ("failed", "crashed")
            await anyio.sleep(10)
            assert len(stopped) == count
            await works_on(organism)


async def test_a_group_of_an_abandoned_generator_ends_with_its_handler() -> None:
    kept: list[Any] = []
    stopped: list[int] = []

    async def stray() -> None:
        try:
            await anyio.sleep(1000)
        finally:
            stopped.append(1)

    async def numbers() -> AsyncGenerator[int]:
        async with anyio.create_task_group() as group:
            group.start_soon(stray)
            for number in range(100):
                await anyio.sleep(0.01)
                yield number

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        kept.append(numbers())
        return Reply(Said(str(await anext(kept[-1]))))

    handlers = {"root": code(root), "echo": code(echo), "slow": code(slow)}
    async with running(handlers=handlers) as organism:
        result = await (await organism.send("root", Go())).result()
        assert (result.outcome, result.code) == ("failed", "crashed")
        await works_on(organism)
        assert stopped == [1]
        with contextlib.suppress(BaseException):
            await kept[0].aclose()
        await works_on(organism)


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)  # trio has no timeout that is not a scope
async def test_what_cancels_its_worker_later_does_not_stop_the_pump() -> None:
    """asyncio.timeout leaves no trace until it fires, on the task of whoever is there by then."""

    async def leaves(message: Go, ctx: Context) -> Reply[Said]:
        await asyncio.timeout(message.n / 10).__aenter__()
        return Reply(Said())

    async with running(handlers={"leaves": code(leaves), "echo": code(echo), "slow": code(slow)}) as organism:
        for number in range(5):
            await organism.ask("leaves", Go(n=number))
        await anyio.sleep(3)  # they fire at workers that wait for work
        await works_on(organism)
        await organism.ask("leaves", Go(n=5))
        thread = await organism.send("slow", Go())
        result = await thread.result()  # or at the next handler on that task, which crashes alone
        assert result.code in {"crashed", None}
        await works_on(organism)


# Cancellings and exceptions of its own


async def test_a_cancelling_of_the_handlers_own_is_its_crash() -> None:
    """On asyncio a cancelled future raises what a cancelled task raises; nobody cancelled the worker."""

    async def root(message: Go | HandlerFailed, ctx: Context) -> Any:
        if isinstance(message, HandlerFailed):
            return Reply(Said(message.code))
        return Send("lost", message)

    async def lost(message: Go, ctx: Context) -> None:
        if message.n:
            await anyio.sleep(0.1)
        if trio.lowlevel.in_trio_run():
            raise asyncio.CancelledError
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    handlers = {"root": code(root, "lost"), "lost": code(lost), "echo": code(echo), "slow": code(slow)}
    async with running(handlers=handlers) as organism:
        for number in range(4):
            with anyio.fail_after(100):
                assert await organism.ask("root", Go(n=number % 2)) == Said("crashed")
            await works_on(organism)


class Strange(BaseException):
    """No Exception."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (BaseExceptionGroup("both", [ValueError("x"), OSError("y")]), "crashed: ValueError: x"),
        (ExceptionGroup("one", [HandlerFailedError("refused", "no")]), "refused: no"),
        (Strange("odd"), "crashed: Strange: odd"),
        (BaseExceptionGroup("odd ones", [Strange("odd"), ValueError("x")]), "crashed: Strange: odd"),
        (StopIteration("stop"), "crashed: RuntimeError: coroutine raised StopIteration"),
        (StopAsyncIteration("stop"), "crashed: StopAsyncIteration: stop"),
    ],
    ids=["group", "group-of-one", "base", "base-group", "stop", "async-stop"],
)
@pytest.mark.parametrize("waits", [False, True], ids=["at once", "waiting"])
async def test_whatever_a_handler_raises_it_crashes_alone(error: BaseException, said: str, waits: bool) -> None:
    async def root(message: Go | HandlerFailed, ctx: Context) -> Any:
        if isinstance(message, HandlerFailed):
            return Reply(Said(f"{message.code}: {message.text}"))
        return Send("wild", message)

    async def wild(message: Go, ctx: Context) -> None:
        if waits:
            await anyio.sleep(0.1)
        raise error

    handlers = {"root": code(root, "wild"), "wild": code(wild), "echo": code(echo), "slow": code(slow)}
    async with running(handlers=handlers) as organism:
        with anyio.fail_after(100):
            assert await organism.ask("root", Go()) == Said(said)
        await works_on(organism)


@pytest.mark.parametrize("waits", [False, True], ids=["at-once", "later"])
@pytest.mark.parametrize(
    ("error", "said"),
    [(SystemExit(3), "SystemExit: 3"), (SystemExit(), "SystemExit"), (GeneratorExit(), "GeneratorExit")],
    ids=["exit", "exit-without-a-code", "generator-exit"],
)
async def test_a_handler_that_would_leave_its_process_has_crashed(error: BaseException, said: str, waits: bool) -> None:
    async def wild(message: Go, ctx: Context) -> None:
        if waits:
            await anyio.sleep(0.1)
        raise error

    async with running(handlers={"wild": code(wild), "echo": code(echo), "slow": code(slow)}) as organism:
        result = await (await organism.send("wild", Go())).result()
        assert (result.outcome, result.code) == ("failed", "crashed")
        assert result.error == f"{said} left the handler; only this delivery ends"
        await works_on(organism)


async def test_exiting_below_a_task_group_is_a_crash_too() -> None:
    async def wild(message: Go, ctx: Context) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            raise SystemExit(3)

    async with running(handlers={"wild": code(wild), "echo": code(echo), "slow": code(slow)}) as organism:
        result = await (await organism.send("wild", Go())).result()
        assert (result.outcome, result.code) == ("failed", "crashed")
        assert "SystemExit: 3" in str(result.error)
        await works_on(organism)


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_what_ends_the_process_ends_it(backend: str) -> None:
    error = KeyboardInterrupt()

    async def wild(message: Go, ctx: Context) -> None:
        await anyio.lowlevel.checkpoint()
        raise error

    async def main() -> None:
        async with running(handlers={"wild": code(wild)}, check=False) as organism:
            await (await organism.send("wild", Go())).result()

    with pytest.raises(type(error)):
        anyio.run(main, backend=backend)


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_what_ends_the_process_leaves_no_thread_that_keeps_it(backend: str, tmp_path: Path) -> None:
    before = set(threading.enumerate())

    async def wild(message: Go, ctx: Context) -> None:
        await anyio.to_thread.run_sync(str)
        raise KeyboardInterrupt

    async def main() -> None:
        journal = f"sqlite:{tmp_path / 'j.db'}"
        async with running(handlers={"wild": code(wild)}, journal=journal, check=False) as organism:
            await (await organism.send("wild", Go())).result()

    with pytest.raises(KeyboardInterrupt):
        anyio.run(main, backend=backend)
    for thread in set(threading.enumerate()) - before:
        if not thread.daemon:
            thread.join(LONG)
            assert not thread.is_alive(), thread.name


async def test_a_handler_cannot_close_its_own_organism() -> None:
    async def root(message: Go, ctx: Context) -> None:
        await organism.close()

    async with running(handlers={"root": code(root), "echo": code(echo), "slow": code(slow)}) as organism:
        with anyio.fail_after(100):
            result = await (await organism.send("root", Go())).result()
        assert result.error is not None
        assert "a handler cannot close its own organism" in result.error
        await works_on(organism)


async def test_a_handler_may_run_an_organism_of_its_own() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        async with running(name="inner", handlers={"slow": code(slow)}) as inner:
            return Reply(await inner.ask("slow", message, expect=Said))

    async with running(handlers={"root": code(root)}) as organism:
        assert await organism.ask("root", Go("deep")) == Said("deep")


async def test_what_a_handler_logs_has_its_name_and_its_thread(caplog: pytest.LogCaptureFixture) -> None:
    async def talker(message: Go, ctx: Context) -> None:
        ctx.log.warning("heard %s", message.text)

    async with running(handlers={"talker": code(talker)}) as organism:
        thread = await organism.send("talker", Go("a"))
        assert (await thread.result()).outcome == "completed"
    (record,) = [record for record in caplog.records if record.name == "organism.handlers.talker"]
    assert record.getMessage() == "heard a"
    assert vars(record)["thread_id"] == thread.id


async def test_a_crash_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async def wild(message: Go, ctx: Context) -> None:
        raise ValueError("broken")

    async with running(handlers={"wild": code(wild)}) as organism:
        thread = await organism.send("wild", Go())
        await thread.result()
    record = next(record for record in caplog.records if record.name == "organism.handlers")
    assert record.levelno == logging.ERROR
    assert record.getMessage() == f"handler 'wild' crashed in thread {thread.id}"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)


# Generators


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # trio's word on it
@pytest.mark.parametrize("waits", [False, True], ids=["at once", "waiting"])
async def test_an_abandoned_generator_harms_nobody(waits: bool) -> None:
    """Hard case 43: the generator of a broken-off loop, with a clean-up of its own."""
    closed: list[int] = []

    async def numbers() -> AsyncGenerator[int]:
        try:
            for number in range(100):
                if waits:
                    await anyio.sleep(0.01)
                yield number
        finally:
            closed.append(1)

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        async for number in numbers():
            if number == 3:
                break
        return Reply(Said("left"))

    handlers = {"root": code(root), "echo": code(echo), "slow": code(slow)}
    async with running(handlers=handlers) as organism:
        for _ in range(3):
            assert await organism.ask("root", Go()) == Said("left")
            gc.collect()
            await works_on(organism)
    assert len(closed) == 3


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "waiting"])
async def test_an_abandoned_generator_with_an_open_scope_crashes_its_handler_alone(waits: bool) -> None:
    """The scope that the generator stands in is the worker's now: the handler that abandoned it has crashed."""
    kept: list[Any] = []

    async def numbers() -> AsyncGenerator[int]:
        with anyio.fail_after(3):
            for number in range(100):
                if waits:
                    await anyio.sleep(0.01)
                yield number

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        generator = numbers()
        kept.append(generator)
        async for number in generator:
            if number == 3:
                break
        return Reply(Said("left"))

    handlers = {"root": code(root), "echo": code(echo), "slow": code(slow)}
    async with running(handlers=handlers) as organism:
        for _ in range(3):
            result = await (await organism.send("root", Go())).result()
            assert (result.outcome, result.code) == ("failed", "crashed")
            await works_on(organism)
        await anyio.sleep(10)
        await works_on(organism)
        for each in kept:
            with pytest.raises(RuntimeError):
                await each.aclose()
        await works_on(organism)


# A context after its delivery


@pytest.mark.parametrize("use", ["ask", "ask_all", "spawn", "complete", "stream", "state"])
async def test_a_context_is_of_no_use_after_its_delivery(use: str) -> None:
    kept: list[Context] = []
    model = ScriptedModel([Says(text="a")])

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        kept.append(ctx)
        return Reply(Said())

    async def uses(ctx: Context) -> None:
        match use:
            case "ask":
                await ctx.ask("echo", Go())
            case "ask_all":
                await ctx.ask_all([("echo", Go())])
            case "spawn":
                await ctx.spawn("echo", Go())
            case "complete":
                await ctx.complete("x")
            case "stream":
                async with ctx.stream("x"):
                    pass
            case _:
                ctx.state["a"] = 1

    handlers = {"root": code(root, "echo"), "echo": code(echo)}
    async with running(handlers=handlers, models=model.models()) as organism:
        await organism.ask("root", Go())
        before = len(organism.watch.facts)
        with pytest.raises((NotRunningError, ExceptionGroup)) as caught:
            await uses(kept[0])
        error = caught.value.exceptions[0] if isinstance(caught.value, ExceptionGroup) else caught.value
        assert isinstance(error, NotRunningError)
        assert (model.requests, len(organism.watch.facts)) == ([], before)
        assert kept[0].budget.messages.used == 1  # reading is harmless
        assert kept[0].name == "root"


async def test_a_task_that_outlives_its_delivery_cannot_act_for_it() -> None:
    refused: list[str] = []

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        async def later() -> None:
            await anyio.sleep(1)
            try:
                await ctx.ask("echo", Go())
            except NotRunningError as error:
                refused.append(str(error))

        group.start_soon(later)
        return Reply(Said("at once"))

    async with anyio.create_task_group() as group:
        async with running(handlers={"root": code(root, "echo"), "echo": code(echo)}) as organism:
            thread = await organism.send("root", Go())
            assert (await thread.result()).reply == Said("at once")
            await anyio.sleep(5)
            assert len(refused) == 1
            assert "its context cannot be used by tasks that outlive it" in refused[0]


# Subscribers


async def test_a_subscriber_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """Hard case 4, the pump's part: the caller gets its completion, the backend was called once and charged once."""
    model = ScriptedModel([Says(text="a", usage=(10, 10))])
    seen: list[str] = []

    def raises(fact: Any) -> None:
        seen.append(type(fact).__name__)
        raise RuntimeError("I cannot bear it")

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(Said((await ctx.complete("x")).text))

    async with running(handlers={"root": code(root)}, models=model.models(), budget={"tokens": 10_000}) as organism:
        unsubscribe = organism.subscribe(raises)
        result = await (await organism.send("root", Go())).result()
        assert (result.outcome, result.reply, result.usage.tokens, len(model.requests)) == (
            "completed", Said("a"), 20, 1
        )  # fmt: skip
        assert seen == [type(fact).__name__ for fact in organism.watch.facts]
        assert len([record for record in caplog.records if record.name == "organism"]) == len(seen)
        unsubscribe()
        unsubscribe()
        await organism.ask("root", Go())
        assert len(seen) == len({id(fact) for fact in organism.watch.facts}) // 2


async def test_a_subscriber_that_raises_beside_every_answer_changes_no_record() -> None:
    def raises(fact: Any) -> None:
        raise ValueError

    async def root(message: Go, ctx: Context) -> Send[Go]:
        return Send("echo", message)

    async with running(handlers={"root": code(root, "echo"), "echo": code(echo)}) as organism:
        organism.subscribe(raises)
        await (await organism.send("root", Go())).result()
        assert [fact.handler for fact in organism.watch.of(Answered)] == ["root", "echo"]
