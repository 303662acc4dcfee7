"""Processes that end in the middle of hard cases, and what the next one makes of it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import BudgetExhaustedError, Context, HandlerFailedError, NotRunningError, Reply
from organism.hooks import Abort, CompletionEvent
from organism.journal import open_journal
from organism.journal.prompts import prompts
from organism.primitives import BudgetWarning
from organism.record.facts import (
    Abandoned,
    Answered,
    Asked,
    CallCompleted,
    CallHeld,
    CallSettled,
    Diverged,
    Dropped,
    Ended,
    Failed,
    LimitsSet,
    Noticed,
    Paused,
    Posted,
    Resumed,
    Spawned,
    Stopped,
)
from organism.testing import Says, ScriptedModel
from tests.durable.mortal import Mortal, Scene, behind, check_whole, every, facts_of
from tests.hard.budget_world import Done, Task, agent, models, notices, peer, replies, spend, spender
from tests.hard.pump_world import Go, Said, code

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from organism.models.contract import Request
    from organism.record.facts import Fact
    from tests.hard.time_of_day import TimeOfDay


def scene(path: Path, handlers: Mapping[str, Any], model: ScriptedModel | None = None, **document: Any) -> Scene:
    """One thread ``t`` for ``worker``, on a journal of its own."""
    model = model or slow()
    document.setdefault("models", models(model, retries=0))
    return Scene(path / "j.db", model, {"handlers": handlers, **document}, [("t", "worker", Go("x"), {})])


def slow(seconds: float = 1.0, usage: tuple[int, int] = (10, 5)) -> ScriptedModel:
    return ScriptedModel(
        lambda request: Says(text=f"<{request.messages[-1]['content']}>", usage=usage, seconds=seconds)
    )


async def lone(message: Go, ctx: Context) -> Reply[Said]:
    return Reply(Said((await ctx.complete(message.text, max_output_tokens=50)).text))


# Calls


async def test_of_fifty_completions_in_sibling_tasks_thirty_are_not_paid_again(tmp_path: Path) -> None:
    async def worker(message: Go, ctx: Context) -> Reply[Said]:
        said: list[str] = []

        async def one(number: int) -> None:
            said.append((await ctx.complete(f"{number % 40}", max_output_tokens=20)).text)

        async with anyio.create_task_group() as group:
            for number in range(50):
                group.start_soon(one, number)
        return Reply(Said(" ".join(sorted(said))))

    made = scene(tmp_path, {"worker": code(worker)})
    plain = scene(tmp_path / "plain", {"worker": code(worker)})
    await plain.play()
    dying = made.organism()
    dying.dies_at = behind(30, CallCompleted)
    await made.live(dying, made.send_all)
    assert len(every(made.path, CallCompleted)) == 30
    before = len(made.model.requests)
    organism = await made.resume()
    assert len(made.model.requests) - before == 20
    assert made.results["t"].reply == plain.results["t"].reply
    assert not every(made.path, Diverged)
    check_whole(organism, made.path)


async def test_a_call_that_was_out_is_charged_in_full_as_estimated_and_made_again(tmp_path: Path) -> None:
    made = scene(tmp_path, {"worker": code(lone)}, budget={"tokens": 1000, "runway": 0})
    dying = made.organism()
    dying.dies_at = behind(1, CallHeld)
    await made.live(dying, made.send_all)
    (held,) = every(made.path, CallHeld)
    organism = await made.resume()
    result = made.results["t"]
    settled = [fact.charge for fact in every(made.path, CallSettled)]
    assert [charge.estimated for charge in settled] == [True, False]
    assert settled[0].amounts[0] == held.need[0]
    assert (result.outcome, result.usage.model_calls, result.usage.tokens) == ("completed", 2, held.need[0] + 15)
    assert result.usage.estimated
    check_whole(organism, made.path)


async def test_a_delivery_that_asks_for_something_else_this_time_is_served_and_written_down(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lives: list[int] = []

    async def worker(message: Go, ctx: Context) -> Reply[Said]:
        lives.append(1)
        text = (await ctx.complete(f"life {len(lives)}", max_output_tokens=20)).text
        answer = await ctx.ask("peer" if len(lives) == 1 else "other", Go(text), expect=Said)
        return Reply(answer)

    async def never(message: Go, ctx: Context) -> None:
        await anyio.sleep_forever()

    async def other(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(Said(f"other {message.text}"))

    made = scene(
        tmp_path, {"worker": code(worker, "peer", "other"), "peer": code(never, timeout=None), "other": code(other)}
    )
    dying = made.organism()
    dying.dies_at = behind(1, Asked)
    organism = made.organism()

    async def client(life: Mortal) -> None:
        await made.send_all(life)

    async with anyio.create_task_group() as group:
        group.start_soon(made.live, dying, client)
        await anyio.sleep(5)
        if not dying.died.is_set():
            dying.died.set()
    organism = await made.resume()
    result = made.results["t"]
    assert (result.outcome, result.reply) == ("completed", Said("other <life 2>"))
    (diverged,) = every(made.path, Diverged)
    assert sorted(key.split(":")[0] for key in diverged.keys) == ["ask", "complete"]
    (said,) = [record.getMessage() for record in caplog.records if record.name == "organism.handlers"]
    assert said == (
        "handler 'worker' in thread t was run again and went another way: answers that it uses no more: 2; "
        "what it asked instead is paid for again"
    )
    check_whole(organism, made.path)


async def test_a_delivery_that_is_cancelled_before_it_has_asked_again_went_no_other_way(tmp_path: Path) -> None:
    async def worker(message: Go, ctx: Context) -> None:
        await anyio.sleep(1)
        for text in ("one", "two"):
            await ctx.complete(text, max_output_tokens=10)

    async def cancel(organism: Mortal) -> None:
        (handle,) = await organism.resume()
        await anyio.sleep(0.5)
        handle.cancel()
        assert (await handle.result()).outcome == "cancelled"

    made = scene(tmp_path, {"worker": code(worker)})
    dying = made.organism()
    dying.dies_at = behind(1, CallCompleted)
    await made.live(dying, made.send_all)
    check_whole(await made.live(made.organism(), cancel), made.path)
    assert every(made.path, Diverged) == []


async def test_a_stream_that_was_read_is_given_again_without_paying(tmp_path: Path) -> None:
    """Also where its block goes on behind the last piece, and where a hook refuses what it came to."""

    async def worker(message: Go, ctx: Context) -> Reply[Said]:
        async with ctx.stream("tell", max_output_tokens=50) as stream:
            try:
                told = "".join([piece async for piece in stream])
                assert told == stream.completion.text
            except HandlerFailedError as refused:
                told = refused.text
            return Reply(Said(told + (await ctx.complete("more", max_output_tokens=10)).text))

    def refuses(event: CompletionEvent, ctx: Context) -> Abort | None:
        return Abort("refused") if event.completion.text == "<tell>" else None

    for name, hooks, said in (
        ("plain", {}, "<tell><more>"),
        ("hooked", {"after_model_call": refuses}, "refused<more>"),
    ):
        made = scene(tmp_path / name, {"worker": code(worker)}, hooks=hooks)
        (tmp_path / name).mkdir()
        dying = made.organism()
        dying.dies_at = behind(2, CallHeld)
        await made.live(dying, made.send_all)
        await made.resume()
        assert made.results["t"].reply == Said(said)
        # The one that was out when the process ended may have reached the provider, and is asked again.
        assert Counter(request.messages[-1]["content"] for request in made.model.requests)["tell"] == 1, name


async def test_a_thread_without_handlers_ends_with_the_program_that_opened_it_and_keeps_its_costs(
    tmp_path: Path,
) -> None:
    made = scene(tmp_path, {"worker": code(lone)})

    async def client(organism: Mortal) -> None:
        async with organism.thread(budget={"tokens": 500}) as thread:
            await thread.complete("one", max_output_tokens=50)
            await thread.complete("two", max_output_tokens=50)

    dying = made.organism()
    dying.dies_at = behind(2, CallHeld)
    await made.live(dying, client)
    organism = made.organism()

    async def look(organism: Mortal) -> None:
        assert len(organism.unfinished) == 1
        assert await organism.resume() == []
        assert len(organism.unfinished) == 0

    await made.live(organism, look)
    (ended,) = every(made.path, Ended)
    second = every(made.path, CallHeld)[1]
    assert (ended.outcome, ended.usage.model_calls, ended.usage.tokens) == ("cancelled", 2, 15 + second.need[0])
    check_whole(organism, made.path)


async def test_a_thread_without_handlers_that_was_cancelled_and_had_not_paid_ends_with_its_program(
    tmp_path: Path,
) -> None:
    made = scene(tmp_path, {"worker": code(lone)})

    async def client(organism: Mortal) -> None:
        async with anyio.create_task_group() as group, organism.thread(budget={"tokens": 500}) as thread:
            group.start_soon(lambda: thread.complete("one", max_output_tokens=50))
            await anyio.sleep(0.5)
            thread.handle.cancel("enough")
            await anyio.sleep(100)

    dying = made.organism()
    dying.dies_at = behind(1, Stopped)
    await made.live(dying, client)
    assert every(made.path, CallSettled) == every(made.path, Ended) == []
    organism = made.organism()

    async def look(organism: Mortal) -> None:
        assert await organism.resume() == []
        assert len(organism.unfinished) == 0

    await made.live(organism, look)
    (ended,) = every(made.path, Ended)
    (held,) = every(made.path, CallHeld)
    assert (ended.outcome, ended.error, ended.usage.tokens) == ("cancelled", "enough", held.need[0])
    check_whole(organism, made.path)


# Ends


async def test_a_thread_that_was_cancelled_and_had_not_stopped_ends_cancelled_and_runs_no_more(tmp_path: Path) -> None:
    runs: list[str] = []

    async def worker(message: Go, ctx: Context) -> None:
        runs.append(ctx.message_id)
        with anyio.CancelScope(shield=True):
            await anyio.sleep(100)

    async def client(organism: Mortal) -> None:
        handle = await organism.send("worker", Go("x"), id="t")
        await anyio.sleep(1)
        handle.cancel("enough")
        await handle.result()

    made = scene(tmp_path, {"worker": code(worker, timeout=None)})
    dying = made.organism()
    dying.dies_at = behind(1, Stopped)
    await made.live(dying, client)
    assert every(made.path, Stopped)
    assert not every(made.path, Dropped)
    organism = await made.resume()
    assert (made.results["t"].outcome, len(runs)) == ("cancelled", 1)
    check_whole(organism, made.path)


async def test_a_call_that_is_out_when_its_thread_was_cancelled_is_charged_to_it_after_the_crash(
    tmp_path: Path,
) -> None:
    async def client(organism: Mortal) -> None:
        handle = await organism.send("worker", Go("x"), id="t")
        await anyio.sleep(0.5)
        handle.cancel()
        await handle.result()

    made = scene(tmp_path, {"worker": code(lone)}, ceiling={"tokens": 10_000, "window": "day"})
    dying = made.organism()
    dying.dies_at = behind(1, Stopped)
    await made.live(dying, client)
    (held,) = every(made.path, CallHeld)
    organism = await made.resume()
    assert made.results["t"].outcome == "cancelled"
    assert organism.usage().tokens == held.need[0]
    assert organism.kernel.state.root.used[0] == held.need[0]
    check_whole(organism, made.path)


async def test_an_answer_is_pushed_at_most_once_and_can_be_read_afterwards(tmp_path: Path, half: slice) -> None:
    whole = scene(tmp_path / "plain", {"worker": code(lone)})
    for cut in range(1, (await whole.play()).written + 1)[half]:
        made = scene(tmp_path / f"{cut}", {"worker": code(lone)})
        pushed: list[Fact] = []
        for organism in (made.organism(cut), made.organism(), made.organism()):
            organism.subscribe(pushed.append)
            await made.live(organism, made.go_on)
        assert sum(isinstance(fact, Ended) for fact in pushed) <= 1
        assert made.results["t"].reply == Said("<x>")
        assert len(every(made.path, Ended)) == 1


async def test_an_end_that_the_record_was_cut_before_is_written_and_told(tmp_path: Path) -> None:
    made = scene(tmp_path, {"worker": code(lone)})
    dying = made.organism()
    dying.dies_at = lambda fact: isinstance(fact, Ended)
    await made.live(dying, made.send_all)
    assert every(made.path, Answered)
    assert not every(made.path, Ended)
    requests = len(made.model.requests)
    organism = await made.play()  # nobody resumes it: it is sent again
    assert (made.results["t"].reply, len(made.model.requests)) == (Said("<x>"), requests)
    check_whole(organism, made.path)


# State


async def test_state_that_a_killed_or_failed_delivery_had_changed_is_as_before(tmp_path: Path) -> None:
    async def keeper(message: Go, ctx: Context) -> Reply[Said]:
        ctx.state["n"] = ctx.state.get("n", 0) + 1
        if message.n:
            raise ValueError("no")
        await ctx.complete(message.text, max_output_tokens=10)
        return Reply(Said(str(ctx.state["n"])))

    async def worker(message: Go, ctx: Context) -> Reply[Said]:
        said = [
            getattr(answer, "text", "failed")
            for number in range(3)
            for answer in await ctx.ask_all([("keeper", Go(f"{number}", n=int(number == 1)))])
        ]
        return Reply(Said(" ".join(said)))

    made = scene(tmp_path, {"worker": code(worker, "keeper"), "keeper": code(keeper)})
    for calls in (1, 2):
        dying = made.organism()
        dying.dies_at = behind(1, CallHeld)
        await made.live(dying, made.go_on)
        assert len(every(made.path, CallHeld)) == calls
    await made.resume()
    assert made.results["t"].reply == Said("1 ValueError: no 2")


# Budgets


async def test_limits_that_were_set_hold_after_the_crash(tmp_path: Path) -> None:
    async def worker(message: Go, ctx: Context) -> Reply[Said]:
        done = 0
        try:
            for _ in range(20):
                await spend(ctx, 100)
                done += 1
        except BudgetExhaustedError:
            pass
        return Reply(Said(str(done)))

    async def client(organism: Mortal) -> None:
        handle = await organism.send("worker", Go("x"), id="t")
        await anyio.sleep(2.5)
        handle.set_budget(tokens=450)
        await handle.result()

    keys: dict[str, Any] = {"budget": {"tokens": 10_000, "grace": {"share": 0}, "runway": 0}}
    made = scene(tmp_path, {"worker": code(worker)}, spender(seconds=1.0), **keys)
    dying = made.organism()
    dying.dies_at = behind(1, LimitsSet)
    await made.live(dying, client)
    organism = await made.resume()
    # Two were paid for, the third was out and is paid for as estimated; the fourth one is the repetition of that.
    assert made.results["t"].reply == Said("3")
    assert made.results["t"].usage.tokens == 400
    check_whole(organism, made.path)


async def test_levels_that_a_raised_limit_armed_again_fire_once_over_a_crash(tmp_path: Path) -> None:
    async def worker(message: Go, ctx: Context) -> Reply[Said]:
        for number in range(8):
            await ctx.complete(f"{number}", max_output_tokens=50)
        return Reply(Said("done"))

    async def client(organism: Mortal) -> None:
        handle = await organism.send("worker", Go("x"), id="t")
        await anyio.sleep(4.5)
        handle.set_budget(tokens=1000)
        await handle.result()

    keys: dict[str, Any] = {"budget": {"tokens": 500, "warn_at": [0.75], "grace": {"share": 0}, "runway": 0}}
    said = slow(usage=(50, 50))
    made = scene(tmp_path, {"worker": code(worker)}, said, **keys)
    dying = made.organism()
    dying.dies_at = behind(5, CallCompleted)
    await made.live(dying, client)
    await made.resume()
    result = made.results["t"]
    assert [(each.level, each.limit) for each in result.warnings] == [("final", 500), ("final", 1000)]


async def test_warnings_are_told_once_however_often_the_process_dies(tmp_path: Path, half: slice) -> None:
    async def worker(message: Go | BudgetWarning, ctx: Context) -> Reply[Said] | None:
        if isinstance(message, BudgetWarning):
            ctx.state["told"] = [*ctx.state.get("told", []), message.level]
            return None
        await ctx.ask("caller", Go("a"))
        await ctx.ask("caller", Go("b"))
        return Reply(Said(str(len(ctx.state.get("told", [])))))

    async def caller(message: Go | BudgetWarning, ctx: Context) -> Reply[Said] | None:
        if isinstance(message, BudgetWarning):
            return None
        await ctx.complete(message.text, max_output_tokens=50)
        await ctx.complete(f"{message.text} again", max_output_tokens=50)
        return Reply(Said("ok"))

    keys: dict[str, Any] = {"budget": {"tokens": 1000, "warn_at": [0.2, 0.4, 0.6], "runway": 0, "grace": {"share": 0}}}

    def make(name: str) -> Scene:
        handlers = {"worker": code(worker, "caller"), "caller": code(caller)}
        return scene(tmp_path / name, handlers, slow(usage=(100, 50)), **keys)

    plain = make("plain")
    whole = await plain.play()
    assert [each.level for each in plain.results["t"].warnings] == ["warning", "critical", "final"]
    for cut in range(1, whole.written)[half]:
        made = make(f"{cut}")
        await made.play(cut)
        await made.resume()
        levels = [each.level for each in made.results["t"].warnings]
        assert levels == ["warning", "critical", "final"], cut
        steps = [step for facts in facts_of(made.path).values() for fact in facts for step in fact.steps]
        posted = [
            step.payload.level for step in steps if isinstance(step, Posted) and isinstance(step.payload, BudgetWarning)
        ]
        assert len(posted) == len(set(posted)), cut


async def test_an_agent_that_is_killed_anywhere_is_told_each_level_once_and_has_one_call_on_grace(
    tmp_path: Path, half: slice
) -> None:
    def says(request: Request) -> Says:
        if [tool.name for tool in request.tools] == ["reply"]:
            return replies("what I have", usage=(100, 20), seconds=1)
        return Says(calls=(("peer", Task("x")),), usage=(300, 60), seconds=1)

    def make(name: str) -> Scene:
        made = scene(
            tmp_path / name, {"worker": agent(peers=("peer",), max_output_tokens=100), "peer": code(peer)}, ScriptedModel(says),
            budget={"tokens": 4000, "grace": {"model_calls": 1, "share": 0.5, "tokens": 2000}},
        )  # fmt: skip
        made.sends = [("t", "worker", Task("go"), {})]
        return made

    plain = make("plain")
    whole = await plain.play()
    assert (plain.results["t"].outcome, plain.results["t"].reply) == ("exhausted", Done("what I have"))
    for cut in range(1, whole.written)[half]:
        made = make(f"{cut}")
        await made.play(cut)
        organism = await made.resume()
        result = made.results["t"]
        assert result.outcome == "exhausted", cut
        crossed = Counter((each.unit, each.level) for each in result.warnings)
        assert max(crossed.values()) == 1, (cut, crossed)
        calls = every(made.path, CallHeld)
        assert sum(held.grace for held in calls) <= 1, cut
        if not any(held.grace for held in facts_of(made.path)["t"][:cut] if isinstance(held, CallHeld)):
            assert result.reply == Done("what I have"), cut
        check_whole(organism, made.path)


async def test_a_warning_of_before_the_crash_is_not_in_prompts_after_the_limit_was_raised(tmp_path: Path) -> None:
    def says(request: Request) -> Says:
        turns = sum(message["role"] == "assistant" for message in request.messages)
        if turns == 4:
            return replies("done", usage=(100, 20), seconds=1)
        return Says(calls=(("peer", Task(f"{turns}")),), usage=(1000, 100), seconds=1)

    made = scene(
        tmp_path, {"worker": agent(peers=("peer",), max_output_tokens=150), "peer": code(peer)}, ScriptedModel(says),
        budget={"tokens": 4000, "warn_at": [0.25], "runway": 0, "grace": {"share": 0}},
    )  # fmt: skip
    made.sends = [("t", "worker", Task("go"), {})]
    dying = made.organism()
    dying.dies_at = behind(1, Noticed)
    await made.live(dying, made.send_all)

    async def client(organism: Mortal) -> None:
        (handle,) = await organism.resume()
        handle.set_budget(tokens=1_000_000)
        made.results["t"] = await handle.result()

    before = len(made.model.requests)
    await made.live(made.organism(), client)
    assert made.results["t"].reply == Done("done")
    assert [bool(notices(request)) for request in made.model.requests[before:]] == [False] * 4
    assert len(made.results["t"].warnings) == 1


async def test_the_journal_has_exactly_the_prompts_that_the_model_saw_over_a_pause_and_a_crash(tmp_path: Path) -> None:
    def says(request: Request) -> Says:
        turns = sum(message["role"] == "assistant" for message in request.messages)
        if turns == 4:
            return replies("done", usage=(200, 20), seconds=1)
        return Says(text=f"turn {turns}", calls=(("peer", Task(f"{turns}")),), usage=(500, 50), seconds=1)

    made = scene(
        tmp_path,
        {"worker": agent(peers=("peer",), max_output_tokens=150), "peer": code(peer)},
        ScriptedModel(says),
        budget={"tokens": 8000, "warn_at": [0.2]},
    )
    made.sends = [("t", "worker", Task("go"), {})]

    async def pausing(organism: Mortal) -> None:
        handle = await organism.send("worker", Task("go"), id="t")
        await anyio.sleep(0.5)
        handle.pause()
        await anyio.sleep(10)
        handle.resume()
        await handle.result()

    dying = made.organism()
    dying.dies_at = behind(3, CallHeld)
    await made.live(dying, pausing)
    await made.resume()
    assert made.results["t"].reply == Done("done")
    journal = open_journal(f"sqlite:{made.path}", readonly=True)
    written = prompts(journal.documents("t"))
    journal.close()
    held = [fact.hold for fact in every(made.path, CallHeld)]
    seen = [[dict(message) for message in request.messages] for request in made.model.requests]
    asked = [written[hold] for hold in held]
    assert any(notices(request) for request in made.model.requests)
    if len(asked) == len(seen) + 1:
        del asked[2]  # the process died before the backend was touched
    assert asked == seen


# Time


async def test_an_hour_of_downtime_is_no_running_time(tmp_path: Path) -> None:
    async def worker(message: Go, ctx: Context) -> Reply[Said]:
        for number in range(5):
            await ctx.complete(f"{number}", max_output_tokens=10)
        return Reply(Said("done"))

    made = scene(tmp_path, {"worker": code(worker, timeout=None)}, slow(seconds=50), budget={"seconds": 600})
    dying = made.organism()
    dying.dies_at = behind(3, CallCompleted)
    await made.live(dying, made.send_all)
    await anyio.sleep(3600)
    await made.resume()
    result = made.results["t"]
    assert (result.outcome, result.reply) == ("completed", Said("done"))
    assert 250 <= result.usage.seconds <= 310


async def test_a_thread_that_a_later_process_left_alone_did_not_run_meanwhile(tmp_path: Path) -> None:
    async def worker(message: Go, ctx: Context) -> Reply[Said]:
        for number in range(5):
            await ctx.complete(f"{number}", max_output_tokens=10)
        return Reply(Said("done"))

    made = scene(tmp_path, {"worker": code(worker, timeout=None)}, slow(seconds=50), budget={"seconds": 600})
    for name in ("t", "later"):  # the second process works on its own thread, and ends as the first one did
        made.sends = [(name, "worker", Go("x"), {})]
        dying = made.organism()
        dying.dies_at = behind(2, CallCompleted)
        await made.live(dying, made.send_all)
        await anyio.sleep(3600)
    made.sends = [(name, "worker", Go("x"), {}) for name in ("t", "later")]
    await made.resume()
    assert {id_: (each.outcome, each.reply) for id_, each in made.results.items()} == dict.fromkeys(
        ("t", "later"), ("completed", Said("done"))
    )
    assert all(250 <= each.usage.seconds <= 310 for each in made.results.values())


async def test_time_that_ran_before_the_crash_counts_after_it(tmp_path: Path) -> None:
    async def worker(message: Go, ctx: Context) -> Reply[Said]:
        for number in range(20):
            await ctx.complete(f"{number}", max_output_tokens=10)
        return Reply(Said("done"))

    made = scene(tmp_path, {"worker": code(worker, timeout=None)}, slow(seconds=50), budget={"seconds": 600})
    dying = made.organism()
    dying.dies_at = behind(10, CallCompleted)
    await made.live(dying, made.send_all)
    await anyio.sleep(3600)
    begun = anyio.current_time()
    await made.resume()
    result = made.results["t"]
    assert (result.outcome, result.unit) == ("exhausted", "seconds")
    assert anyio.current_time() - begun <= 111
    levels = Counter(each.level for each in result.warnings if each.unit == "seconds")
    assert levels == {"warning": 1, "critical": 1, "final": 1}


async def test_a_clock_that_was_set_back_while_the_process_was_down_takes_no_time_away(
    tmp_path: Path, day: TimeOfDay
) -> None:
    async def worker(message: Go, ctx: Context) -> Reply[Said]:
        for number in range(4):
            await ctx.complete(f"{number}", max_output_tokens=10)
        return Reply(Said("done"))

    made = scene(tmp_path, {"worker": code(worker, timeout=None)}, slow(seconds=50), budget={"seconds": 600})
    dying = made.organism()
    dying.dies_at = behind(2, CallCompleted)
    await made.live(dying, made.send_all)
    day.ahead -= 7200
    organism = await made.resume()
    result = made.results["t"]
    assert (result.outcome, result.reply) == ("completed", Said("done"))
    assert 200 <= result.usage.seconds <= 260
    assert not every(made.path, Failed)
    check_whole(organism, made.path)


async def test_a_window_that_rolls_while_a_call_is_out_and_while_the_process_is_down_is_charged_where_it_was_held(
    tmp_path: Path,
) -> None:
    made = scene(tmp_path, {"worker": code(lone)}, slow(seconds=30), ceiling={"tokens": 1000, "window": "hour"})

    dying = made.organism()
    dying.dies_at = lambda fact: isinstance(fact, CallSettled)
    await made.live(dying, made.send_at_the_edge)
    (held,) = every(made.path, CallHeld)
    await anyio.sleep(3600)
    organism = await made.resume()
    assert made.results["t"].outcome == "completed"
    # What the crash cost belongs to the window of its hold, which is over: this one has the call that was made again.
    assert organism.kernel.state.root.used[0] == 15
    assert not any(organism.kernel.state.root.held)
    assert organism.usage().tokens == held.need[0] + 15
    third = made.organism()

    async def look(life: Mortal) -> None:
        assert life.kernel.state.root.used[0] == 15
        assert life.usage().tokens == held.need[0] + 15
        assert life.usage("handler")["worker"].tokens == held.need[0] + 15

    await made.live(third, look)
    hours = {fact.held_at // 3600 for fact in every(made.path, CallSettled)}
    assert len(hours) == 2


async def test_a_ceiling_stands_as_it_stood_and_refuses_over_processes(tmp_path: Path) -> None:
    async def worker(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(Said((await spend(ctx, 150)).text))

    made = scene(tmp_path, {"worker": code(worker)}, spender(), ceiling={"tokens": 400, "window": "total"})
    await made.play()
    for number in range(2):
        made.sends = [(f"{number}", "worker", Go("x"), {})]
        await made.play()
    assert [result.outcome for result in made.results.values()] == ["completed", "completed", "exhausted"]
    assert sum(result.usage.tokens for result in made.results.values()) == 300


# Asking


async def test_an_ask_that_had_timed_out_is_not_waited_for_again(tmp_path: Path) -> None:
    async def worker(message: Go, ctx: Context) -> Reply[Said]:
        (answer,) = [await _or_error(ctx)]
        text = (await ctx.complete("after", max_output_tokens=10)).text
        return Reply(Said(f"{answer} {text}"))

    async def _or_error(ctx: Context) -> str:
        try:
            await ctx.ask("peer", Go("x"), timeout=100)
        except HandlerFailedError as error:
            return error.code
        return "answered"

    async def peer(message: Go, ctx: Context) -> None:
        await anyio.sleep(1000)

    made = scene(tmp_path, {"worker": code(worker, "peer", timeout=None), "peer": code(peer, timeout=None)})
    dying = made.organism()
    dying.dies_at = lambda fact: isinstance(fact, CallSettled)
    await made.live(dying, made.send_all)
    assert every(made.path, Abandoned)
    begun = anyio.current_time()
    organism = await made.resume()
    assert made.results["t"].reply == Said("timeout <after>")
    assert anyio.current_time() - begun < 50
    check_whole(organism, made.path)


async def test_who_asks_for_a_branch_that_waits_for_it_is_refused_after_the_crash_as_before(tmp_path: Path) -> None:
    async def worker(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(await ctx.ask("peer", Go("x"), expect=Said))

    async def peer(message: Go, ctx: Context) -> Reply[Said]:
        await ctx.complete("think", max_output_tokens=10)
        (answer,) = await ctx.ask_all([("worker", Go("back"))])
        return Reply(Said(getattr(answer, "code", "answered")))

    made = scene(tmp_path, {"worker": code(worker, "peer"), "peer": code(peer, "worker")})
    dying = made.organism()
    dying.dies_at = lambda fact: isinstance(fact, CallSettled)
    await made.live(dying, made.send_all)
    await made.resume()
    assert made.results["t"].reply == Said("cycle")


async def test_a_spawned_thread_is_not_spawned_again_whether_it_has_ended_or_not(tmp_path: Path) -> None:
    async def worker(message: Go, ctx: Context) -> Reply[Said]:
        handle = await ctx.spawn("peer", Go("side"))
        await ctx.complete("meanwhile", max_output_tokens=10)
        said = (await handle.result()).reply
        handle.cancel()  # it has ended: nothing happens
        with pytest.raises(NotRunningError, match="is a sub-thread"):
            handle.pause()
        return Reply(Said(f"{handle.id} {said}"))

    for kind, name in ((Spawned, "out"), (CallCompleted, "one"), (CallSettled, "both"), (Ended, "ended")):
        made = scene(tmp_path / name, {"worker": code(worker, "peer"), "peer": code(lone)})
        dying = made.organism()
        dying.dies_at = behind(2 if kind is CallSettled else 1, kind)
        await made.live(dying, made.send_all)
        organism = await made.resume()
        assert made.results["t"].reply == Said("t.2 Said(text='<side>')"), name
        assert len(every(made.path, Spawned)) == 1
        assert len(made.results["t"].threads) == 1
        check_whole(organism, made.path)


# Pauses


async def test_a_paused_thread_stays_paused_over_processes_and_goes_on_when_it_is_told(tmp_path: Path) -> None:
    async def worker(message: Go, ctx: Context) -> Reply[Said]:
        await ctx.ask("peer", Go("one"))
        return Reply(await ctx.ask("peer", Go("two"), expect=Said))

    made = scene(tmp_path, {"worker": code(worker, "peer"), "peer": code(lone)}, slow(10), budget={"seconds": 60})

    async def pausing(organism: Mortal) -> None:
        handle = await organism.send("worker", Go(), id="t")
        await anyio.sleep(5)
        handle.pause()
        assert (await handle.result()).outcome == "paused"

    await made.live(made.organism(), pausing)
    await anyio.sleep(1000)

    async def looking(organism: Mortal) -> None:
        (handle,) = await organism.resume()
        result = await handle.result()
        assert (result.outcome, len(made.model.requests)) == ("paused", 1)
        await anyio.sleep(1000)

    await made.live(made.organism(), looking)

    async def going_on(organism: Mortal) -> None:
        (handle,) = await organism.resume()
        handle.resume()
        made.results["t"] = await handle.result()

    organism = await made.live(made.organism(), going_on)
    result = made.results["t"]
    assert (result.outcome, result.reply, len(made.model.requests)) == ("completed", Said("<two>"), 2)
    assert 15 <= result.usage.seconds < 16, "it ran for 5 s until it was paused, and for 10 s after it"
    assert [len(every(made.path, kind)) for kind in (Paused, Failed)] == [1, 0]
    assert sum(not fact.crashed for fact in every(made.path, Resumed)) == 1
    check_whole(organism, made.path)


# Many


@pytest.mark.by_turns
async def test_a_process_that_dies_again_and_again_while_it_takes_up_gets_there(tmp_path: Path) -> None:
    async def worker(message: Go, ctx: Context) -> Reply[Said]:
        answers = await ctx.ask_all([("peer", Go(f"{number}")) for number in range(4)])
        return Reply(Said(" ".join(answer.text for answer in answers)))

    made = scene(tmp_path, {"worker": code(worker, "peer"), "peer": code(lone)})
    made.sends = [(f"t{number}", "worker", Go("x"), {}) for number in range(3)]
    await made.play(7)
    for life in range(100):
        organism = await made.resume(3 + life)
        if not organism.died.is_set():
            break
    assert not organism.died.is_set()
    assert {result.reply for result in made.results.values()} == {Said("<0> <1> <2> <3>")}
    check_whole(organism, made.path)


async def test_a_completion_that_is_given_again_says_which_levels_it_crossed(tmp_path: Path) -> None:
    async def worker(message: Go, ctx: Context) -> Reply[Said]:
        done = await ctx.complete("x", max_output_tokens=10)
        levels = [(said.unit, said.level, said.used, said.limit, said.scope) for said in done.warnings]
        await ctx.complete("another", max_output_tokens=10)
        return Reply(Said(str(levels)))

    budget = {
        "model_calls": 4,
        "cost_usd": 1,
        "grace": {"model_calls": 0},
        "warn_at": {"model_calls": [0.25]},
        "runway": 0,
    }
    made = scene(tmp_path, {"worker": code(worker)}, budget=budget)
    dying = made.organism()
    settled = iter(range(10))
    dying.dies_at = lambda fact: isinstance(fact, CallSettled) and next(settled) == 1
    await made.live(dying, made.send_all)
    await made.resume()
    assert len(every(made.path, CallCompleted)) == 2
    reply = made.results["t"].reply
    assert isinstance(reply, Said)
    assert "('model_calls', 'final', 1, 4, 'thread')" in reply.text
