"""Failures as in OTP: attempts within a period, what comes after the last of them, and handlers that keep failing (R9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import (
    BudgetExhaustedError,
    Context,
    EscalatedError,
    HandlerFailedError,
    NotRunningError,
    Refused,
    Reply,
    Send,
)
from organism.payloads.primitives import BudgetExhausted, HandlerFailed
from organism.record.facts import Buried, Failed, Retried, Stopped
from organism.testing import Says, ScriptedModel, Watched, running
from tests.hard.budget_world import models
from tests.hard.pump_world import Go, Odd, Said, code

if TYPE_CHECKING:
    from collections.abc import Callable


class Flaky:
    """A handler that fails ``times`` times before it answers; ``begun`` has when each attempt began."""

    def __init__(self, times: int, error: Callable[[], Exception] = lambda: ValueError("not now")) -> None:
        self.times = times
        self.error = error
        self.begun: list[float] = []

    async def __call__(self, message: Go) -> Reply[Said]:
        self.begun.append(anyio.current_time())
        if len(self.begun) <= self.times:
            raise self.error()
        return Reply(Said(f"{message.text} at last"))


def flaky(handler: Flaky, **policy: Any) -> dict[str, Any]:
    """The entry of such a handler."""

    async def work(message: Go, ctx: Context) -> Reply[Said]:
        return await handler(message)

    return code(work, on_failure=policy)


# Attempts


async def test_a_message_is_tried_again_until_it_is_handled_and_its_caller_hears_one_answer() -> None:
    handler = Flaky(3)
    async with running(handlers={"work": flaky(handler, attempts=5, backoff=[1, 3])}) as organism:
        assert await organism.ask("work", Go("done"), expect=Said) == Said("done at last")
        assert [fact.failure.text for fact in organism.watch.of(Retried)] == ["ValueError: not now"] * 3
        assert organism.watch.of(Failed) == []
        spent: Any = organism.usage()
        assert spent.messages == 1
    waits = [later - sooner for sooner, later in zip(handler.begun, handler.begun[1:], strict=False)]
    assert [0.5 <= waits[0] <= 1.01, 1 <= waits[1] <= 2.01, 1.5 <= waits[2] <= 3.01] == [True] * 3
    assert len({round(wait / longest, 6) for wait, longest in zip(waits, (1, 2, 3), strict=True)}) == 3


async def test_after_the_last_attempt_the_caller_hears_it_once() -> None:
    handler = Flaky(9)

    async def caller(message: Go, ctx: Context) -> Reply[Said]:
        try:
            await ctx.ask("work", message)
        except HandlerFailedError as error:
            return Reply(Said(f"{error.code}: {error.text}, {error.retry}"))
        raise AssertionError

    handlers = {"caller": code(caller, "work"), "work": flaky(handler, attempts=3)}
    async with running(handlers=handlers) as organism:
        assert await organism.ask("caller", Go()) == Said("crashed: ValueError: not now, True")
        (buried,) = organism.watch.of(Buried)
        assert [each.again_at is None for each in buried.attempts] == [False, False, True]
    assert len(handler.begun) == 3


async def test_nothing_is_tried_again_where_nothing_is_said() -> None:
    handler = Flaky(1)
    async with running(handlers={"work": flaky(handler)}) as organism:
        with pytest.raises(HandlerFailedError, match="not now"):
            await organism.ask("work", Go())
    assert len(handler.begun) == 1


@pytest.mark.parametrize(
    "error",
    [
        lambda: Refused("no"),
        lambda: BudgetExhaustedError("tokens", "thread", 1, 0, 1, 1),
        lambda: HandlerFailedError("cycle", "round"),
        lambda: HandlerFailedError("no_reply", "nothing came"),
    ],
)
async def test_answers_limits_and_what_is_not_named_are_not_tried_again(error: Callable[[], Exception]) -> None:
    handler = Flaky(1, error)
    async with running(handlers={"work": flaky(handler, attempts=3)}) as organism:
        result = await (await organism.send("work", Go())).result()
        assert result.outcome in {"failed", "exhausted"}
        assert await organism.dead() == ()
    assert len(handler.begun) == 1


async def test_what_retry_on_names_is_tried_again() -> None:
    begun: list[int] = []

    async def work(message: Go, ctx: Context) -> Any:
        begun.append(1)
        return "no answer" if len(begun) == 1 else Send("nobody", message) if len(begun) == 2 else Reply(Said("well"))

    policy = {"attempts": 3, "retry_on": ["validation", "routing"]}
    async with running(handlers={"work": code(work, on_failure=policy)}) as organism:
        assert await organism.ask("work", Go()) == Said("well")
        assert [fact.failure.code for fact in organism.watch.of(Retried)] == ["validation", "routing"]


async def test_a_handler_that_took_too_long_is_tried_again() -> None:
    begun: list[int] = []

    async def work(message: Go, ctx: Context) -> Reply[Said]:
        begun.append(1)
        if len(begun) == 1:
            await anyio.sleep(60)
        return Reply(Said("in time"))

    async with running(handlers={"work": code(work, timeout=1, on_failure={"attempts": 2})}) as organism:
        assert await organism.ask("work", Go()) == Said("in time")
        assert [fact.failure.code for fact in organism.watch.of(Retried)] == ["timeout"]


async def test_no_attempt_begins_later_than_within_so_many_seconds_of_the_first() -> None:
    handler = Flaky(9)
    async with running(handlers={"work": flaky(handler, attempts=9, within=10, backoff=[4, 4])}) as organism:
        with pytest.raises(HandlerFailedError):
            await organism.ask("work", Go())
    assert 3 <= len(handler.begun) <= 5
    assert handler.begun[-1] - handler.begun[0] <= 10


async def test_time_in_which_the_thread_is_paused_is_none_of_the_period() -> None:
    handler = Flaky(2)
    async with running(handlers={"work": flaky(handler, attempts=3, within=10, backoff=[4, 4])}) as organism:
        thread = await organism.send("work", Go("x"))
        await anyio.sleep(1)
        thread.pause()
        await anyio.sleep(1000)
        assert len(handler.begun) == 1
        thread.resume()
        assert (await thread.result()).reply == Said("x at last")
    assert handler.begun[1] - handler.begun[0] >= 1001


# A new attempt


async def test_nothing_of_the_failed_attempt_is_reused() -> None:
    keys: list[tuple[str, str]] = []
    states: list[Any] = []
    model = ScriptedModel(lambda _: Says(text="said", usage=(10, 5)))

    async def peer(message: Go, ctx: Context) -> Reply[Said]:
        keys.append((ctx.message_id, ctx.idempotency_key))
        return Reply(Said(f"answer {len(keys)}"))

    async def work(message: Go, ctx: Context) -> Reply[Said]:
        states.append(ctx.state.get("seen"))
        ctx.state["seen"] = True
        await ctx.complete("same")
        answer = await ctx.ask("peer", message, expect=Said)
        if len(states) == 1:
            raise ValueError("not now")
        return Reply(answer)

    handlers = {"work": code(work, "peer", on_failure={"attempts": 2}), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model)) as organism:
        result = await (await organism.send("work", Go("x"))).result()
        assert result.reply == Said("answer 2")
        assert (result.usage.model_calls, result.usage.tokens, result.usage.messages) == (2, 30, 3)
    assert states == [None, None]
    assert len(model.requests) == 2
    assert keys[0][0] != keys[1][0]
    assert keys[0][1] == keys[1][1]


async def test_a_reply_that_comes_back_is_the_same_work_in_every_attempt() -> None:
    keys: list[tuple[str, str]] = []

    async def deep(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(Said("deep"))

    async def middle(message: Go | Said, ctx: Context) -> Send[Go] | Reply[Said]:
        if isinstance(message, Go):
            return Send("deep", message)
        keys.append((ctx.message_id, ctx.idempotency_key))
        return Reply(message)

    async def work(message: Go, ctx: Context) -> Reply[Said]:
        answer = await ctx.ask("middle", message, expect=Said)
        if len(keys) < 2:
            raise ValueError("not now")
        return Reply(answer)

    handlers = {
        "work": code(work, "middle", on_failure={"attempts": 2}),
        "middle": code(middle, "deep"),
        "deep": code(deep),
    }
    async with running(handlers=handlers) as organism:
        assert await organism.ask("work", Go()) == Said("deep")
    (first, key), (second, same) = keys
    assert first != second
    assert key == same


async def test_the_same_work_has_the_same_key_however_deep_and_other_work_another() -> None:
    keys: dict[str, list[str]] = {}

    async def deep(message: Go, ctx: Context) -> Reply[Said]:
        keys.setdefault(f"deep {message.text}", []).append(ctx.idempotency_key)
        return Reply(Said("deep"))

    async def middle(message: Go, ctx: Context) -> list[Any]:
        keys.setdefault(f"middle {message.text}", []).append(ctx.idempotency_key)
        await ctx.ask("deep", message)
        return [Send("deep", Go(f"{message.text} sent")), Reply(Said("x"))]

    attempts: list[int] = []

    async def work(message: Go, ctx: Context) -> Reply[Said]:
        attempts.append(1)
        keys.setdefault("work", []).append(ctx.idempotency_key)
        for text in ("a", "b", "b"):
            await ctx.ask("middle", Go(text))
        if len(attempts) < 3:
            raise ValueError("not now")
        return Reply(Said("x"))

    handlers = {
        "work": code(work, "middle", on_failure={"attempts": 3}),
        "middle": code(middle, "deep"),
        "deep": code(deep),
    }
    async with running(handlers=handlers) as organism:
        await organism.ask("work", Go())
        await organism.ask("deep", Go("alone"))
    assert len(set(keys["work"])) == 1
    assert len(keys["middle b"]) == len(keys["deep b"]) == len(keys["deep b sent"]) == 6
    for name in ("middle b", "deep b", "deep b sent"):
        assert len(set(keys[name])) == 2, name
        assert keys[name][:2] == keys[name][2:4] == keys[name][4:]
    assert len({each for found in keys.values() for each in found}) == 1 + 3 * 3 + 1


async def test_what_a_failed_attempt_asked_is_called_off() -> None:
    ended: list[str] = []

    async def slow(message: Go, ctx: Context) -> Reply[Said]:
        try:
            await anyio.sleep(100)
        finally:
            ended.append(message.text)
        return Reply(Said("late"))

    attempts: list[int] = []

    async def work(message: Go, ctx: Context) -> Reply[Said]:
        attempts.append(1)
        if len(attempts) == 1:
            async with anyio.create_task_group() as group:
                group.start_soon(ctx.ask, "slow", Go("first"))
                await anyio.sleep(1)
                raise ValueError("not now")
        return Reply(Said("well"))

    handlers = {"work": code(work, "slow", on_failure={"attempts": 2}), "slow": code(slow, timeout=None)}
    async with running(handlers=handlers) as organism:
        assert await organism.ask("work", Go()) == Said("well")
    assert ended == ["first"]


# While it waits


async def test_a_message_that_waits_for_its_next_attempt_takes_no_place() -> None:
    handler = Flaky(1)

    async def other(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(Said("other"))

    handlers = {
        "work": {**flaky(handler, attempts=2, backoff=[50, 50]), "concurrency": 1},
        "other": code(other),
    }
    async with running(handlers=handlers, max_handlers=1) as organism:
        first = await organism.send("work", Go("first"))
        await anyio.sleep(1)
        with anyio.fail_after(5):
            assert await organism.ask("other", Go()) == Said("other")
            assert await organism.ask("work", Go("second")) == Said("second at last")
        assert (await first.result()).reply == Said("first at last")


async def test_messages_for_one_handler_of_a_thread_stay_in_order_and_others_go_on() -> None:
    seen: list[str] = []

    async def work(message: Go, ctx: Context) -> None:
        seen.append(f"{message.text} {ctx.state.get('tried', 0)}")
        if message.text == "a" and seen.count("a 0") < 2:
            raise ValueError("not now")

    async def other(message: Go, ctx: Context) -> None:
        seen.append("other")

    async def root(message: Go, ctx: Context) -> list[Send[Go]]:
        return [Send("work", Go("a")), Send("work", Go("b")), Send("other", Go())]

    handlers = {
        "root": code(root, "work", "other"),
        "work": code(work, on_failure={"attempts": 2, "backoff": [5, 5]}),
        "other": code(other),
    }
    async with running(handlers=handlers) as organism:
        await (await organism.send("root", Go())).result()
    assert seen == ["a 0", "other", "a 0", "b 0"]


async def test_a_thread_that_is_cancelled_is_not_tried_again() -> None:
    handler = Flaky(5)
    async with running(handlers={"work": flaky(handler, attempts=5, backoff=[50, 50])}) as organism:
        thread = await organism.send("work", Go())
        await anyio.sleep(1)
        thread.cancel()
        assert (await thread.result()).outcome == "cancelled"
        await anyio.sleep(200)
        assert organism.kernel.state.retries == {}
        assert await organism.dead() == ()
    assert len(handler.begun) == 1


async def test_the_seconds_of_a_thread_go_on_while_it_waits_and_end_it() -> None:
    handler = Flaky(5)
    budget = {"seconds": 10}
    handlers = {"work": flaky(handler, attempts=5, backoff=[50, 50])}
    async with running(handlers=handlers, budget=budget) as organism:
        result = await (await organism.send("work", Go())).result()
        assert (result.outcome, result.unit) == ("exhausted", "seconds")
        assert 9.9 < result.usage.seconds < 11
    assert len(handler.begun) == 1


async def test_the_last_delivery_of_a_thread_that_ran_out_is_not_tried_again() -> None:
    last: list[BudgetExhausted] = []

    async def work(message: Go | BudgetExhausted, ctx: Context) -> None:
        if isinstance(message, BudgetExhausted):
            last.append(message)
            raise ValueError("not now")  # noqa: TRY004 - a failure like any other
        await anyio.sleep(100)

    handlers = {"work": code(work, timeout=None, on_failure={"attempts": 5, "backoff": [1, 1]})}
    async with running(handlers=handlers, budget={"seconds": 10}) as organism:
        result = await (await organism.send("work", Go())).result()
        assert (result.outcome, result.code) == ("failed", "crashed")
        assert not organism.watch.of(Retried)
    assert len(last) == 1


async def test_an_asker_that_waits_no_longer_ends_the_attempts() -> None:
    handler = Flaky(5)

    async def caller(message: Go, ctx: Context) -> Reply[Said]:
        with pytest.raises(HandlerFailedError, match="did not reply within 3 s"):
            await ctx.ask("work", message, timeout=3)
        return Reply(Said("gave up"))

    handlers = {"caller": code(caller, "work"), "work": flaky(handler, attempts=5, backoff=[50, 50])}
    async with running(handlers=handlers) as organism:
        assert await organism.ask("caller", Go()) == Said("gave up")
        assert organism.kernel.state.retries == {}
    assert len(handler.begun) == 1


async def test_handlers_that_ask_each_other_are_refused_and_not_stuck_when_one_is_tried_again() -> None:
    attempts: list[int] = []

    async def left(message: Go, ctx: Context) -> Reply[Said]:
        attempts.append(1)
        if len(attempts) == 1:
            raise ValueError("not now")
        return Reply(await ctx.ask("right", Odd(), expect=Said))

    async def right(message: Go | Odd, ctx: Context) -> Reply[Said]:
        if isinstance(message, Odd):
            return Reply(Said("odd"))
        await anyio.sleep(1)
        return Reply(await ctx.ask("left", Go("again"), expect=Said))

    async def root(message: Go, ctx: Context) -> list[Send[Go]]:
        return [Send("left", Go()), Send("right", Go())]

    handlers = {
        "root": code(root, "left", "right"),
        "left": code(left, "right", on_failure={"attempts": 2, "backoff": [5, 5]}),
        "right": code(right, "left"),
    }
    async with running(handlers=handlers) as organism:
        with anyio.fail_after(100):
            result = await (await organism.send("root", Go())).result()
        assert result.outcome == "failed"
        assert result.code == "cycle"


async def test_calls_that_run_in_threads_of_their_own_are_tried_again_there() -> None:
    handler = Flaky(1)

    async def caller(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(await ctx.ask("work", message, expect=Said))

    work = {**flaky(handler, attempts=2), "budget": {"messages": 5}}
    async with running(handlers={"caller": code(caller, "work"), "work": work}) as organism:
        result = await (await organism.send("caller", Go("x"))).result()
        assert (result.reply, len(result.threads), result.usage.messages) == (Said("x at last"), 1, 2)
        (retried,) = organism.watch.of(Retried)
        assert retried.thread == result.threads[0].thread


async def test_a_turn_that_is_tried_again_keeps_the_next_one_waiting() -> None:
    seen: list[str] = []

    async def work(message: Go, ctx: Context) -> Reply[Said]:
        seen.append(message.text)
        if len(seen) == 1:
            raise ValueError("not now")
        ctx.state["turns"] = turns = ctx.state.get("turns", 0) + 1
        return Reply(Said(str(turns)))

    async with running(handlers={"work": code(work, on_failure={"attempts": 2})}) as organism:
        first = await organism.send("work", Go("first"), conversation="c")
        second = await organism.send("work", Go("second"), conversation="c")
        assert [(await each.result()).reply for each in (first, second)] == [Said("1"), Said("2")]
    assert seen == ["first", "first", "second"]


# After the last


async def test_stop_stops_the_whole_thread() -> None:
    heard: list[Any] = []

    async def other(message: Go, ctx: Context) -> None:
        await anyio.sleep(100)
        heard.append("other")

    async def root(message: Go | HandlerFailed, ctx: Context) -> list[Send[Go]]:
        if isinstance(message, HandlerFailed):
            heard.append(message)
            return []
        return [Send("other", Go()), Send("work", Go())]

    handlers = {
        "root": code(root, "other", "work"),
        "other": code(other, timeout=None),
        "work": flaky(Flaky(9), attempts=2, do="stop"),
    }
    async with running(handlers=handlers) as organism:
        result = await (await organism.send("root", Go())).result()
        assert (result.outcome, result.error) == (
            "stopped",
            "'work' failed for good after 2 attempts: crashed: ValueError: not now",
        )
        (buried,) = organism.watch.of(Buried)
        assert buried.stops.text == result.error
        assert organism.watch.of(Stopped) == []
    assert heard == []


async def test_a_refusal_stops_nothing() -> None:
    async with running(handlers={"work": flaky(Flaky(9, lambda: Refused("no")), do="stop")}) as organism:
        result = await (await organism.send("work", Go())).result()
        assert (result.outcome, result.code) == ("failed", "refused")


async def test_escalate_stops_the_organism_in_order_and_closing_it_says_why() -> None:
    async def other(message: Go, ctx: Context) -> None:
        await anyio.sleep_forever()

    organism = Watched(
        name="test",
        handlers={"work": flaky(Flaky(9), attempts=2, do="escalate"), "other": code(other, timeout=None)},
    )
    with pytest.raises(EscalatedError, match="'work' failed for good after 2 attempts: crashed: ValueError: not now"):
        async with organism:
            beside = await organism.send("other", Go())
            thread = await organism.send("work", Go())
            assert (await thread.result()).outcome == "stopped"
            with pytest.raises(NotRunningError):
                while True:
                    await organism.send("other", Go())
                    await anyio.sleep(0.01)
            ended = await beside.result()
            assert ended.outcome == "cancelled"
            assert "the organism stops" in (ended.error or "")
    organism.watch.check()
