"""Messages that failed for good: kept, told of, sent again; and handlers that are left alone since they keep failing (R9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import Context, HandlerFailedError, Refused, Reply, Send
from organism.errors import RoutingError
from organism.hooks import MessageEvent, Pause
from organism.payloads.primitives import DeadLetter, HandlerFailed
from organism.record.facts import Buried
from organism.testing import running
from organism.threads.restart import FAILURES, LONGEST_OPEN_SECONDS, OPEN_SECONDS, THREADS
from tests.hard.pump_world import Go, Said, code

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from organism.testing import Watched


async def bad(message: Go, ctx: Context) -> Reply[Said]:
    """Fails at what says so."""
    if message.text.startswith("bad"):
        raise ValueError(message.text)
    return Reply(Said(f"did {message.text}"))


def told() -> tuple[list[DeadLetter], Callable[[DeadLetter, Context], Awaitable[None]]]:
    """A handler of dead letters, and what it was told."""
    letters: list[DeadLetter] = []

    async def watch(message: DeadLetter, ctx: Context) -> None:
        letters.append(message)

    return letters, watch


def wait_at_letters(event: MessageEvent, ctx: Context) -> Pause | None:
    """A hook."""
    return Pause("until somebody looks") if isinstance(event.payload, DeadLetter) else None


async def quiet(organism: Watched) -> None:
    """Waits until no thread lives."""
    while organism.kernel.state.threads:  # noqa: ASYNC110 - as a client would look
        await anyio.sleep(0.01)


async def test_a_message_that_failed_for_good_is_kept_with_its_history() -> None:
    handlers = {"bad": code(bad, on_failure={"attempts": 3})}
    async with running(handlers=handlers) as organism:
        thread = await organism.send("bad", Go("bad one"), labels={"arm": "a"})
        await thread.result()
        (letter,) = await organism.dead()
        assert (letter.id, letter.thread, letter.handler, letter.sender) == (f"{thread.id}/1", thread.id, "bad", "")
        assert (letter.payload, letter.labels, letter.code, letter.text) == (
            Go("bad one"),
            {"arm": "a"},
            "crashed",
            "ValueError: bad one",
        )
        assert [(each.code, each.text) for each in letter.attempts] == [("crashed", "ValueError: bad one")] * 3
        assert letter.attempts[0].at < letter.attempts[1].at < letter.attempts[2].at == letter.died_at


async def test_the_handler_of_dead_letters_is_told_once_in_a_thread_that_costs_no_message() -> None:
    letters, watch = told()
    handlers = {"bad": code(bad), "watch": code(watch)}
    async with running(handlers=handlers, dead_letters="watch") as organism:
        result = await (await organism.send("bad", Go("bad"))).result()
        await quiet(organism)
        assert letters == [
            DeadLetter(message=f"{result.thread}/1", to="bad", reason="crashed: ValueError: bad", attempts=1)
        ]
        assert (result.outcome, result.replies, result.usage.messages) == ("failed", (), 1)
        spent: Any = organism.usage()
        assert spent.messages == 1


async def test_a_thread_that_tells_of_a_dead_letter_can_be_found_and_let_go_on() -> None:
    letters, watch = told()
    handlers = {"bad": code(bad), "watch": code(watch)}
    async with running(handlers=handlers, dead_letters="watch", hooks={"on_message": wait_at_letters}) as organism:
        await (await organism.send("bad", Go("bad"))).result()
        (root,) = organism.kernel.state.roots
        handle = organism.thread_of(root.id)
        assert handle is not None
        assert (await handle.result()).outcome == "paused"
        handle.cancel()
        assert (await handle.result()).outcome == "cancelled"
        assert organism.thread_of(root.id) is None
    assert letters == []


async def test_a_dead_letter_whose_handler_fails_or_asks_who_fails_is_told_to_nobody() -> None:
    letters: list[str] = []

    async def watch(message: DeadLetter, ctx: Context) -> None:
        letters.append(message.to)
        await ctx.ask("bad", Go("bad again"))

    handlers = {"bad": code(bad), "watch": code(watch, "bad", on_failure={"attempts": 2, "do": "stop"})}
    async with running(handlers=handlers, dead_letters="watch") as organism:
        await (await organism.send("bad", Go("bad"))).result()
        await quiet(organism)
        assert letters == ["bad", "bad"]  # two attempts at one letter
        assert [letter.payload for letter in await organism.dead()] == [Go("bad"), Go("bad again"), Go("bad again")]


async def test_a_message_that_was_handled_after_all_or_refused_is_no_dead_letter() -> None:
    begun: list[int] = []

    async def work(message: Go, ctx: Context) -> Reply[Said]:
        begun.append(1)
        if message.text == "refuse":
            raise Refused("no")
        if len(begun) == 1:
            raise ValueError("not now")
        return Reply(Said("well"))

    letters, watch = told()
    handlers = {"work": code(work, on_failure={"attempts": 2}), "watch": code(watch)}
    async with running(handlers=handlers, dead_letters="watch") as organism:
        await organism.ask("work", Go())
        with pytest.raises(HandlerFailedError, match="no"):
            await organism.ask("work", Go("refuse"))
        assert (letters, await organism.dead()) == ([], ())


async def test_every_message_on_the_way_of_a_failure_dies_and_those_that_mend_it_do_not() -> None:
    async def passes(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(await ctx.ask("bad", message, expect=Said))

    async def mends(message: Go, ctx: Context) -> Reply[Said]:
        try:
            return Reply(await ctx.ask("passes", message, expect=Said))
        except HandlerFailedError:
            return Reply(Said("mended"))

    handlers = {"bad": code(bad), "passes": code(passes, "bad"), "mends": code(mends, "passes")}
    async with running(handlers=handlers) as organism:
        assert await organism.ask("mends", Go("bad")) == Said("mended")
        assert [letter.handler for letter in await organism.dead()] == ["bad", "passes"]


async def test_a_dead_letter_is_sent_again_once_in_a_thread_of_its_own() -> None:
    mended: list[int] = []

    async def work(message: Go, ctx: Context) -> Reply[Said]:
        if not mended:
            raise ValueError("not now")
        return Reply(Said(f"{message.text} for {ctx.labels['arm']}"))

    async with running(handlers={"work": code(work)}) as organism:
        first = await organism.send("work", Go("done"), labels={"arm": "a"})
        await first.result()
        (letter,) = await organism.dead()
        mended.append(1)
        thread = await organism.retry(letter.id)
        assert thread.id == letter.retry
        assert await organism.retry(letter.id) is thread
        assert (await thread.result()).reply == Said("done for a")
        assert (await first.result()).outcome == "failed"
        with pytest.raises(RoutingError, match="there is no dead letter 'x/1'"):
            await organism.retry("x/1")


async def test_one_that_the_organism_itself_had_sent_is_not_sent_again() -> None:
    async def root(message: Go | HandlerFailed, ctx: Context) -> Send[Go] | None:
        if isinstance(message, HandlerFailed):
            raise ValueError("cannot hear it")  # noqa: TRY004 - a crash like any
        return Send("bad", message)

    async with running(handlers={"root": code(root, "bad"), "bad": code(bad)}) as organism:
        await (await organism.send("root", Go("bad"))).result()
        letter = (await organism.dead())[-1]
        assert letter.handler == "root"
        with pytest.raises(RoutingError, match="is a HandlerFailed: only the organism itself sends one"):
            await organism.retry(letter.id)


async def test_one_that_began_a_turn_begins_another() -> None:
    mended: list[int] = []

    async def work(message: Go, ctx: Context) -> Reply[Said]:
        if not mended:
            raise ValueError("not now")
        return Reply(Said(str(ctx.conversation)))

    async with running(handlers={"work": code(work)}) as organism:
        await (await organism.send("work", Go(), conversation="c")).result()
        mended.append(1)
        (letter,) = await organism.dead()
        assert letter.conversation == "c"
        assert (await (await organism.retry(letter.id)).result()).reply == Said("c")


@pytest.mark.by_turns
async def test_a_process_remembers_the_last_thousand() -> None:
    async with running(check=False, handlers={"bad": code(bad)}) as organism:
        for number in range(1003):
            await (await organism.send("bad", Go(f"bad {number}"))).result()
        letters = await organism.dead()
        assert (len(letters), letters[0].payload) == (1000, Go("bad 3"))


# Handlers that keep failing


async def fail(organism: Watched, times: int, *, text: str = "bad") -> list[str]:
    """What so many messages come to, each in a thread of its own."""
    said: list[str] = []
    for _ in range(times):
        result = await (await organism.send("bad", Go(text))).result()
        said.append(result.error or result.outcome)
    return said


async def test_a_handler_that_keeps_failing_is_left_alone_and_tried_by_one_message() -> None:
    calls: list[str] = []

    async def work(message: Go, ctx: Context) -> Reply[Said]:
        calls.append(message.text)
        return await bad(message, ctx)

    async with running(handlers={"bad": code(work), "other": code(bad)}) as organism:
        said = await fail(organism, FAILURES + 3)
        assert len(calls) == FAILURES
        assert said[-1] == f"'bad' failed {FAILURES} times in a row, and is left alone until it can be tried again"
        assert await organism.ask("other", Go("x")) == Said("did x")
        await anyio.sleep(OPEN_SECONDS + 0.1)
        await fail(organism, 3)
        assert len(calls) == FAILURES + 1  # the probe failed
        await anyio.sleep(OPEN_SECONDS + 0.1)
        assert (await fail(organism, 1))[0].startswith("'bad' failed")
        await anyio.sleep(OPEN_SECONDS + 0.1)
        assert await organism.ask("bad", Go("good")) == Said("did good")
        assert await fail(organism, 2) == ["ValueError: bad"] * 2
        assert len(organism.watch.of(Buried)) == FAILURES + 3 + 3 + 1 + 2


async def test_the_time_that_a_handler_is_left_alone_doubles_to_a_longest() -> None:
    async with running(handlers={"bad": code(bad)}) as organism:
        await fail(organism, FAILURES)
        seconds = OPEN_SECONDS
        for _ in range(6):
            await anyio.sleep(seconds - 0.1)
            assert (await fail(organism, 1))[0].startswith("'bad' failed")
            await anyio.sleep(0.2)
            assert await fail(organism, 1) == ["ValueError: bad"]
            seconds = min(LONGEST_OPEN_SECONDS, 2 * seconds)


async def test_one_thread_takes_a_handler_from_nobody_else() -> None:
    async def flood(message: Go, ctx: Context) -> Reply[Said]:
        for _ in range(3 * FAILURES):
            with pytest.raises(HandlerFailedError, match="ValueError: bad"):
                await ctx.ask("bad", Go("bad"))
        return Reply(Said("flooded"))

    async with running(handlers={"flood": code(flood, "bad"), "bad": code(bad)}) as organism:
        assert await organism.ask("flood", Go()) == Said("flooded")
        assert await organism.ask("bad", Go("x")) == Said("did x")


@pytest.mark.by_turns
async def test_failures_far_apart_with_a_success_between_or_passed_on_leave_it_alone() -> None:
    async def passes(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(await ctx.ask("bad", message, expect=Said))

    async with running(handlers={"bad": code(bad), "passes": code(passes, "bad")}) as organism:
        for _ in range(FAILURES + THREADS):
            assert await fail(organism, 1) == ["ValueError: bad"]
            await anyio.sleep(4)
        await organism.ask("bad", Go("x"))
        assert await fail(organism, FAILURES - 1) == ["ValueError: bad"] * (FAILURES - 1)
        assert await organism.ask("bad", Go("x")) == Said("did x")
        assert await fail(organism, FAILURES - 1) == ["ValueError: bad"] * (FAILURES - 1)
        await organism.ask("bad", Go("x"))
        for _ in range(FAILURES - 1):
            await (await organism.send("passes", Go("bad"))).result()
        await organism.ask("bad", Go("x"))
        for _ in range(FAILURES - 1):
            await (await organism.send("passes", Go("bad"))).result()
        assert await organism.ask("passes", Go("x")) == Said("did x")


async def bad_or_slow(message: Go, ctx: Context) -> Reply[Said]:
    if message.text == "slow":
        await anyio.sleep_forever()
    return await bad(message, ctx)


async def test_a_probe_that_is_cancelled_leaves_it_to_the_next_message() -> None:
    async with running(handlers={"bad": code(bad_or_slow, timeout=None)}) as organism:
        await fail(organism, FAILURES)
        await anyio.sleep(OPEN_SECONDS + 0.1)
        probe = await organism.send("bad", Go("slow"))
        await anyio.sleep(1)
        assert (await fail(organism, 1, text="x"))[0].startswith("'bad' failed")
        probe.cancel()
        await probe.result()
        assert await organism.ask("bad", Go("x")) == Said("did x")


@pytest.mark.by_turns
async def test_what_waits_for_its_next_attempt_may_be_the_probe() -> None:
    mended: list[int] = []

    async def work(message: Go, ctx: Context) -> Reply[Said]:
        if not mended:
            raise ValueError("not now")
        return Reply(Said("well"))

    policy: dict[str, Any] = {"attempts": 8, "backoff": [1, 5]}
    async with running(handlers={"work": code(work, on_failure=policy)}) as organism:
        threads = [await organism.send("work", Go()) for _ in range(FAILURES)]
        await anyio.sleep(0.1)
        mended.append(1)
        assert {(await thread.result()).reply for thread in threads} == {Said("well")}


async def test_a_probe_that_does_not_end_bars_nobody_for_ever() -> None:
    async with running(handlers={"bad": code(bad_or_slow, timeout=None)}) as organism:
        await fail(organism, FAILURES)
        await anyio.sleep(OPEN_SECONDS + 0.1)
        await organism.send("bad", Go("slow"))
        await anyio.sleep(OPEN_SECONDS - 0.1)
        assert (await fail(organism, 1, text="x"))[0].startswith("'bad' failed")
        await anyio.sleep(0.2)
        assert await organism.ask("bad", Go("x")) == Said("did x")
