"""Handlers that wait for an answer without a task: whatever they do, nobody can tell (R3, R4, R8, R25)."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio

from organism import Context, HandlerFailedError, Organism, Reply
from organism.record.facts import Ended
from organism.testing import running
from tests.hard.pump_world import Go, Said, code, echo, pass_time, slow

if TYPE_CHECKING:
    from collections.abc import Callable

mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="unset")


def tasks(organism: Organism) -> int:
    """How many tasks the handlers have."""
    assert organism._works is not None
    return len(organism._works.pump.workers)


async def replies(organism: Organism, to: str, count: int) -> list[str]:
    """What so many threads answer that run at once."""
    threads = [await organism.send(to, Go(str(number), number)) for number in range(count)]
    results = [await thread.result() for thread in threads]
    assert {result.outcome for result in results} == {"completed"}, results
    return [result.reply.text for result in results if isinstance(result.reply, Said)]


async def test_a_handler_that_waits_for_an_answer_keeps_no_task() -> None:
    """On trio; on asyncio nobody sees what knows a task there, so each keeps its own."""
    over = anyio.Event()

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(await ctx.ask("gate", message, expect=Said))

    async def gate(message: Go, ctx: Context) -> Reply[Said]:
        await over.wait()
        return Reply(Said(message.text))

    handlers = {"root": code(root, "gate"), "gate": code(gate, concurrency=1)}
    async with running(handlers=handlers) as organism:
        threads = [await organism.send("root", Go(str(number))) for number in range(100)]
        await anyio.sleep(0.1)
        few = tasks(organism)
        over.set()
        assert [(await each.result()).reply for each in threads] == [Said(str(number)) for number in range(100)]
        assert few < 5 if trio.lowlevel.in_trio_run() else few > 100


HOLDS: dict[str, Callable[[Any], Any]] = {
    "a scope": lambda _: anyio.CancelScope(),
    "a deadline": lambda _: anyio.move_on_after(60),
    "a task group": lambda _: anyio.create_task_group(),
    "a lock": lambda locks: locks[0],
    "a lock that is taken at once": lambda locks: locks[1],
    "a limiter": lambda locks: locks[2],
}


@pytest.mark.parametrize("kind", list(HOLDS))
async def test_a_handler_asks_while_it_holds_what_belongs_to_its_task(kind: str) -> None:
    """Many at once: what one holds is not given back by another, and not taken for another's own."""
    inside, most = 0, 0

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        nonlocal inside, most
        held = HOLDS[kind](locks)
        if hasattr(held, "__aenter__"):
            async with held:
                inside += 1
                most = max(most, inside)
                said = await ctx.ask("echo", message, expect=Said)
                inside -= 1
        else:
            with held:
                said = await ctx.ask("echo", message, expect=Said)
        return Reply(said)

    locks = [anyio.Lock(), anyio.Lock(fast_acquire=True), anyio.CapacityLimiter(1)]
    async with running(handlers={"root": code(root, "echo"), "echo": code(echo)}) as organism:
        assert await replies(organism, "root", 20) == [str(number) for number in range(20)]
        assert await organism.ask("root", Go("again"), expect=Said) == Said("again")
    assert most <= 1 or kind == "a task group"


async def test_a_lock_that_was_taken_without_awaiting_is_its_takers_own() -> None:
    """It belongs to a task: two handlers that are stepped in one would take each other for themselves."""
    lock = trio.Lock() if trio.lowlevel.in_trio_run() else anyio.Lock()

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        try:
            lock.acquire_nowait()
        except (trio.WouldBlock, anyio.WouldBlock):
            return Reply(Said("taken"))
        said = await ctx.ask("echo", message, expect=Said)
        lock.release()
        return Reply(said)

    async with running(handlers={"root": code(root, "echo"), "echo": code(echo)}) as organism:
        assert await replies(organism, "root", 3) == ["0", "taken", "taken"]
        assert await replies(organism, "root", 1) == ["0"]


async def test_it_goes_on_in_its_own_context() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        token = mark.set(message.text)
        for _ in range(3):
            await ctx.ask("echo", message)
            assert mark.get() == message.text
        await anyio.sleep(0.1)
        await ctx.ask("echo", message)
        said = mark.get()
        mark.reset(token)
        return Reply(Said(said))

    async def marks(message: Go, ctx: Context) -> Reply[Said]:
        mark.set("another's")
        return Reply(Said())

    async with running(handlers={"root": code(root, "echo"), "echo": code(marks)}) as organism:
        assert await replies(organism, "root", 10) == [str(number) for number in range(10)]
    assert mark.get() == "unset"


async def test_a_cancelled_one_is_told_where_it_waits_and_may_clean_up() -> None:
    seen: list[str] = []

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        try:
            await ctx.ask("slow", message)
        except anyio.get_cancelled_exc_class():
            seen.append("told")
            with anyio.CancelScope(shield=True):
                await anyio.sleep(2)
            seen.append("cleaned up")
            raise
        return Reply(Said())

    async with running(handlers={"root": code(root, "slow"), "slow": code(slow)}) as organism:
        thread = await organism.send("root", Go())
        await anyio.sleep(0.5)
        thread.cancel()
        assert (await thread.result()).outcome == "cancelled"
        assert seen == ["told", "cleaned up"]
        assert await organism.ask("slow", Go("as before")) == Said("as before")


async def test_one_that_is_cancelled_goes_on_if_it_wants_to_but_only_as_long_as_it_does_not_wait() -> None:
    seen: list[str] = []

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        for name in ("slow", "slow", "echo"):
            try:
                await ctx.ask(name, message)
            except anyio.get_cancelled_exc_class():
                seen.append("cancelled")
            except HandlerFailedError as error:
                seen.append(error.code)
        return Reply(Said("whatever"))

    async with running(
        handlers={"root": code(root, "slow", "echo"), "slow": code(slow), "echo": code(echo)}
    ) as organism:
        thread = await organism.send("root", Go())
        await anyio.sleep(0.5)
        thread.cancel()
        result = await thread.result()
        assert (result.outcome, result.replies) == ("cancelled", ())
        assert seen[0] == "cancelled"
        assert len(seen) == 3


async def test_one_that_is_cancelled_while_it_waits_for_a_place_lets_the_others_pass() -> None:
    """Its answer is there, but all places are taken."""
    blocked, over = anyio.Event(), anyio.Event()

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(await ctx.ask("echo", message, expect=Said))

    async def blocks(message: Go, ctx: Context) -> Reply[Said]:
        if message.text != "first":
            blocked.set()
        await over.wait()
        return Reply(Said(message.text))

    handlers = {"root": code(root, "echo"), "echo": code(echo), "blocks": code(blocks)}
    async with running(handlers=handlers, max_handlers=2) as organism:
        first = await organism.send("blocks", Go("first"))
        waits = await organism.send("root", Go())  # it gives the second place back
        second = await organism.send("blocks", Go("second"))
        await blocked.wait()
        await anyio.sleep(0.1)
        waits.cancel()
        assert (await waits.result()).outcome in {"cancelled", "completed"}
        over.set()
        assert [(await each.result()).outcome for each in (first, second)] == ["completed"] * 2
        assert await replies(organism, "root", 5) == [str(number) for number in range(5)]


async def test_its_timeout_stands_still_while_it_waits_and_counts_when_it_goes_on() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        pass_time(1)
        for _ in range(3):
            await ctx.ask("slow", message)
        if message.n:
            await anyio.sleep(message.n)
        return Reply(Said("in time"))

    async def late(message: Go, ctx: Context) -> Reply[Said]:
        await ctx.ask("slow", message)
        pass_time(3)
        return Reply(Said("too late"))

    handlers = {"root": code(root, "slow", timeout=2), "late": code(late, "slow", timeout=2), "slow": code(slow)}
    async with running(handlers=handlers) as organism:
        assert await organism.ask("root", Go()) == Said("in time")
        for to, how in (("root", Go(n=5)), ("late", Go())):
            with pytest.raises(HandlerFailedError, match="did not finish within 2 s"):
                await organism.ask(to, how)


async def test_an_answer_that_does_not_come_in_time_is_not_waited_for() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        try:
            await ctx.ask("slow", message, timeout=0.5)
        except HandlerFailedError as error:
            said = await ctx.ask("echo", message, expect=Said, timeout=0.5)
            return Reply(Said(f"{error.code}, then {said.text}"))
        return Reply(Said("too early"))

    handlers = {"root": code(root, "slow", "echo"), "slow": code(slow), "echo": code(echo)}
    async with running(handlers=handlers) as organism:
        assert await organism.ask("root", Go("answered")) == Said("timeout, then answered")


async def test_tasks_of_others_may_ask_for_it_meanwhile() -> None:
    """A task that it started elsewhere, and another handler that was given its context."""
    lent: list[Context] = []
    heard: list[str] = []

    async with anyio.create_task_group() as outside:

        async def root(message: Go, ctx: Context) -> Reply[Said]:
            lent.append(ctx)
            outside.start_soon(beside, ctx)
            said = await ctx.ask("borrower", message, expect=Said)
            await ctx.ask("slow", message)
            return Reply(said)

        async def beside(ctx: Context) -> None:
            heard.append((await ctx.ask("echo", Go("beside"), expect=Said)).text)

        async def borrower(message: Go, ctx: Context) -> Reply[Said]:
            return Reply(await lent[0].ask("echo", Go("borrowed"), expect=Said))

        handlers = {
            "root": code(root, "borrower", "echo", "slow"),
            "borrower": code(borrower),
            "echo": code(echo),
            "slow": code(slow),
        }
        async with running(handlers=handlers) as organism:
            assert await organism.ask("root", Go()) == Said("borrowed")
    assert heard == ["beside"]


async def test_what_is_laid_aside_when_the_organism_closes_is_cancelled_in_order() -> None:
    ended: list[str] = []

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        try:
            return Reply(await ctx.ask("stuck", message, expect=Said))
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.1)
            ended.append(message.text)

    async def stuck(message: Go, ctx: Context) -> None:
        await anyio.sleep_forever()

    handlers = {"root": code(root, "stuck"), "stuck": code(stuck)}
    organism = Organism(name="test", handlers=handlers)
    await organism.start()
    for number in range(50):
        await organism.send("root", Go(str(number)))
    await anyio.sleep(0.1)
    await organism.close()
    assert sorted(ended, key=int) == [str(number) for number in range(50)]


async def test_asking_many_costs_no_task_for_each() -> None:
    """All are asked before any is waited for, and failures are values in their places."""
    most = 0

    async def root(message: Go, ctx: Context) -> Reply[Said]:
        answers = await ctx.ask_all([("echo", Go(str(number))) for number in range(300)] + [("nobody", message)])
        assert [each.text for each in answers[:-1]] == [str(number) for number in range(300)]
        assert isinstance(answers[-1], HandlerFailedError)
        return Reply(Said(answers[-1].code))

    async def counts(message: Go, ctx: Context) -> Reply[Said]:
        nonlocal most
        most = max(most, tasks(organism))
        return Reply(Said(message.text))

    async with running(
        handlers={"root": code(root, "echo"), "echo": code(counts)}, thread_queue=1000, budget={"messages": None}
    ) as organism:
        assert await organism.ask("root", Go()) == Said("routing")
        ended = organism.watch.of(Ended)[-1]
        assert ended.own.messages == 301
    assert most < 5
