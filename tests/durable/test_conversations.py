"""Conversations through the real pump: turns in order, what carries over, limits over all of them, and a process that ends in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest

from organism import BudgetExhaustedError, Context, NotRunningError, Refused, Reply
from organism.errors import JournalError
from organism.primitives import BudgetExhausted, BudgetWarning
from organism.record.facts import ConversationOpened, WarningRaised
from organism.testing import Says, ScriptedModel, running
from tests.durable.inline import InlineWorks
from tests.durable.turns_world import (
    COUNTER,
    Heard,
    Say,
    Talking,
    check_record,
    code,
    conversation_of,
    killed,
    recorded,
    size_of,
    sqlite,
    turn,
)
from tests.hard.budget_world import notices

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from organism.journal import Journal
    from organism.pump.writer import Writer
    from organism.testing import Watched

LEVELS = ["warning", "critical", "final"]
AGENT = {
    "agent": {"accepts": Say, "replies": Heard, "prompt": "You count.", "max_output_tokens": 100},
    "description": "Counts.",
}


@pytest.fixture(params=["memory", "sqlite"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory:" if request.param == "memory" else f"sqlite:{tmp_path / 'organism.db'}"


def made(journal: str, **document: Any) -> Talking:
    return Talking(name="test", journal=journal, **document)


# Turns


async def test_turns_run_in_order_and_remember(journal: str) -> None:
    async with running(made(journal, handlers=COUNTER)) as organism:
        results = [await turn(organism, "counter", text) for text in ("a", "b", "c")]
        assert [result.reply.text for result in results] == ["1 a", "2 b", "3 c"]
        assert {result.conversation for result in results} == {"c"}
        assert {result.as_json()["conversation"] for result in results} == {"c"}
        assert (await turn(organism, "counter", "d", "other")).reply.text == "1 d"
        alone = await (await organism.send("counter", Say("e"))).result()
        assert (alone.reply.text, alone.conversation) == ("1 e", None)


async def test_turns_sent_at_once_run_one_after_the_other(journal: str) -> None:
    running_now: list[str] = []

    async def slow(say: Say, ctx: Context) -> Reply[Heard]:
        running_now.append(say.text)
        assert running_now == [say.text]
        await anyio.sleep(1)
        running_now.clear()
        ctx.state["said"] = said = [*ctx.state.get("said", []), say.text]
        return Reply(Heard(" ".join(said)))

    async with running(made(journal, handlers={"slow": code(slow)})) as organism:
        handles = [await organism.send("slow", Say(str(n)), conversation="c") for n in range(5)]
        results = [await handle.result() for handle in handles]
        assert [result.reply.text for result in results] == ["0", "0 1", "0 1 2", "0 1 2 3", "0 1 2 3 4"]
        for result in results:  # waiting for its turn is no running time of it
            assert result.usage.seconds == pytest.approx(1, abs=0.1)
        assert conversation_of(organism).seconds == pytest.approx(5, abs=0.1)


async def test_other_conversations_do_not_wait(journal: str) -> None:
    async def slow(say: Say, ctx: Context) -> Reply[Heard]:
        await anyio.sleep(10)
        return Reply(Heard(str(ctx.conversation)))

    async with running(made(journal, handlers={"slow": code(slow)})) as organism:
        began = anyio.current_time()
        handles = [await organism.send("slow", Say(), conversation=f"c-{n}") for n in range(20)]
        assert [(await handle.result()).reply.text for handle in handles] == [f"c-{n}" for n in range(20)]
        assert anyio.current_time() - began < 11


async def test_a_turn_that_fails_is_forgotten_and_the_next_begins(journal: str) -> None:
    async def touchy(say: Say, ctx: Context) -> Reply[Heard]:
        ctx.state["said"] = said = [*ctx.state.get("said", []), say.text]
        if say.text == "refuse":
            raise Refused("no")
        if say.text == "crash":
            raise ValueError("oh")
        return Reply(Heard(" ".join(said)))

    async with running(made(journal, handlers={"touchy": code(touchy)})) as organism:
        texts = ("a", "refuse", "b", "crash", "c")
        handles = [await organism.send("touchy", Say(text), conversation="c") for text in texts]
        results = [await handle.result() for handle in handles]
        assert [result.outcome for result in results] == ["completed", "failed", "completed", "failed", "completed"]
        assert results[-1].reply.text == "a b c"


async def test_cancelling_the_running_turn_lets_the_next_begin(journal: str) -> None:
    async def slow(say: Say, ctx: Context) -> Reply[Heard]:
        ctx.state["said"] = say.text
        await anyio.sleep(5)
        return Reply(Heard(say.text))

    async with running(made(journal, handlers={"slow": code(slow)})) as organism:
        first, second = [await organism.send("slow", Say(text), conversation="c") for text in ("a", "b")]
        await anyio.sleep(1)
        first.cancel("not that")
        assert (await first.result()).outcome == "cancelled"
        assert (await second.result()).reply.text == "b"


async def test_a_waiting_turn_that_is_cancelled_never_runs(journal: str) -> None:
    ran: list[str] = []

    async def slow(say: Say, ctx: Context) -> Reply[Heard]:
        ran.append(say.text)
        await anyio.sleep(5)
        return Reply(Heard(say.text))

    async with running(made(journal, handlers={"slow": code(slow)})) as organism:
        handles = [await organism.send("slow", Say(text), conversation="c") for text in ("a", "b", "c")]
        await anyio.sleep(1)
        handles[1].cancel()
        assert (await handles[1].result()).outcome == "cancelled"
        assert anyio.current_time() < 1e9
        assert [(await handle.result()).outcome for handle in handles] == ["completed", "cancelled", "completed"]
        assert ran == ["a", "c"]


async def test_a_paused_turn_keeps_the_others_waiting(journal: str) -> None:
    handlers = {"steps": code(two_steps, "step"), "step": code(step)}
    async with running(made(journal, handlers=handlers)) as organism:
        first, second = [await organism.send("steps", Say(text), conversation="c") for text in ("a", "b")]
        await anyio.sleep(0.5)
        first.pause()
        assert (await first.result()).outcome == "paused"
        with anyio.move_on_after(100):
            await second.result()
        assert not second.ended
        first.resume()
        assert (await first.result()).outcome == "completed"
        assert (await second.result()).outcome == "completed"
        assert (await first.result()).usage.seconds < 10


async def two_steps(say: Say, ctx: Context) -> Reply[Heard]:
    """Has two steps taken, one after the other."""
    await ctx.ask("step", say)
    await ctx.ask("step", say)
    return Reply(Heard(say.text))


async def step(say: Say, ctx: Context) -> Reply[Heard]:
    """Takes a second."""
    await anyio.sleep(1)
    return Reply(Heard())


async def test_only_the_turn_that_runs_is_paused(journal: str) -> None:
    async def slow(say: Say, ctx: Context) -> Reply[Heard]:
        await anyio.sleep(5)
        return Reply(Heard(say.text))

    async with running(made(journal, handlers={"slow": code(slow)})) as organism:
        first, second = [await organism.send("slow", Say(text), conversation="c") for text in ("a", "b")]
        with pytest.raises(NotRunningError, match=f"waits for its turn in conversation 'c': pause .* {first.id}"):
            second.pause()
        second.resume()  # which waits for something else
        assert [(await each.result()).reply.text for each in (first, second)] == ["a", "b"]


async def test_a_turn_that_ended_before_its_time_waits_for_none(journal: str) -> None:
    async def slow(say: Say, ctx: Context) -> Reply[Heard]:
        await anyio.sleep(5)
        return Reply(Heard(say.text))

    async with running(made(journal, handlers={"slow": code(slow)})) as organism:
        first, second = [await organism.send("slow", Say(text), conversation="c") for text in ("a", "b")]
        second.cancel()
        outcomes = [(await each.result()).outcome for each in (first, second)]
        second.pause()  # as any thread that has ended: nothing happens
        assert (outcomes, second.waits_turn) == (["completed", "cancelled"], False)


async def test_a_sub_thread_begins_with_nothing_and_knows_its_conversation(journal: str) -> None:
    async def front(say: Say, ctx: Context) -> Reply[Heard]:
        ctx.state["n"] = ctx.state.get("n", 0) + 1
        below = await ctx.ask("below", say, expect=Heard)
        return Reply(Heard(f"{ctx.state['n']} {below.text}"))

    async def below(say: Say, ctx: Context) -> Reply[Heard]:
        ctx.state["n"] = ctx.state.get("n", 0) + 1
        return Reply(Heard(f"{ctx.state['n']} {ctx.conversation}"))

    handlers = {"front": code(front, "below"), "below": code(below, budget={"messages": 5})}
    async with running(made(journal, handlers=handlers)) as organism:
        assert [(await turn(organism, "front")).reply.text for _ in range(3)] == ["1 1 c", "2 1 c", "3 1 c"]


@pytest.mark.parametrize(
    "name", ["..", "a/b", "/", "", " ", "conversation:c", "x" * 10_000, "größe-会話-🧵", "a\nb", "c~2", "c~", "~", "~2"]
)
@pytest.mark.by_turns
async def test_any_text_names_a_conversation(journal: str, name: str) -> None:
    async with running(made(journal, handlers=COUNTER)) as organism:
        results = [await turn(organism, "counter", conversation=name) for _ in range(2)]
        assert [(result.reply.text, result.conversation) for result in results] == [("1 ", name), ("2 ", name)]
        assert set(organism.kernel.state.conversations) == {name}


async def test_a_conversation_may_have_the_name_of_a_thread(journal: str) -> None:
    async with running(made(journal, handlers=COUNTER)) as organism:
        first = await (await organism.send("counter", Say("a"), id="same")).result()
        second = await turn(organism, "counter", "b", "same")
        third = await turn(organism, "counter", "c", "same", id="c")
        assert [first.conversation, second.conversation, third.conversation] == [None, "same", "same"]
        assert third.reply.text == "2 c"


async def test_only_a_text_names_a_conversation(journal: str) -> None:
    async with running(made(journal, handlers=COUNTER)) as organism:
        given: Any = 42
        with pytest.raises(TypeError, match="conversation must be a text, not 42"):
            await organism.send("counter", Say(), conversation=given)


async def test_a_turn_sent_again_under_its_id_is_no_second_turn(tmp_path: Path) -> None:
    async with running(sqlite(tmp_path, handlers=COUNTER)) as organism:
        first = await turn(organism, "counter", "a", id="webhook-17")
        again = await turn(organism, "counter", "a", id="webhook-17")
        assert first == again
    async with running(sqlite(tmp_path, handlers=COUNTER), check=False) as organism:
        assert (await turn(organism, "counter", "a", id="webhook-17")).reply.text == "1 a"
        assert (await turn(organism, "counter", "b", id="webhook-18")).reply.text == "2 b"
        await check_record(organism)


# Limits


async def test_messages_count_over_all_turns_and_the_cap_refuses_the_next(journal: str) -> None:
    async with running(made(journal, handlers=COUNTER, conversation={"messages": 4})) as organism:
        for _ in range(4):
            assert (await turn(organism, "counter")).outcome == "completed"
        with pytest.raises(BudgetExhaustedError) as refused:
            await turn(organism, "counter")
        assert (refused.value.unit, refused.value.scope, refused.value.limit) == ("messages", "conversation", 4)
        assert (await turn(organism, "counter", conversation="other")).outcome == "completed"
        raised = raised_in(organism)
        assert [(each.unit, each.level, each.scope) for each in raised] == [
            ("messages", level, "conversation") for level in LEVELS
        ]


@pytest.mark.by_turns
async def test_tokens_count_over_all_turns_and_each_level_warns_once(journal: str) -> None:
    told: list[str] = []

    async def talk(say: Say | BudgetWarning, ctx: Context) -> Reply[Heard] | None:
        if isinstance(say, BudgetWarning):
            told.append(f"{say.level} {say.scope}")
            return None
        try:
            done = await ctx.complete("x", max_output_tokens=10)
        except BudgetExhaustedError as error:
            return Reply(Heard(f"refused by the {error.scope}"))
        return Reply(Heard(done.text))

    model = ScriptedModel([Says(text="ok", usage=(0, 10))])
    document = {"handlers": {"talk": code(talk)}, "models": model.models(overhead=0), "budget": {"runway": 0}}
    limits = {"tokens": 200, "grace": {"share": 0, "model_calls": 0, "tokens": 0}}
    async with running(made(journal, conversation=limits, **document)) as organism:
        heard = [(await turn(organism, "talk")).reply.text for _ in range(25)]
        assert 15 <= heard.count("ok") <= 20
        assert heard == ["ok"] * heard.count("ok") + ["refused by the conversation"] * (25 - heard.count("ok"))
        assert [each.level for each in raised_in(organism) if each.scope == "conversation"] == LEVELS
        assert told == [f"{level} conversation" for level in LEVELS]


@pytest.mark.by_turns
async def test_an_agent_hears_in_its_next_turn_what_the_last_call_of_a_turn_crossed(tmp_path: Path) -> None:
    model = ScriptedModel(
        lambda request: Says(calls=(("reply", Heard("x")),), usage=(300, min(100, request.max_output_tokens)))
    )
    document: dict[str, Any] = {
        "handlers": {"agent": AGENT},
        "models": model.models(),
        "conversation": {"output_tokens": 1500},
    }
    crossed: list[str] = []
    told: list[int] = []
    for process in range(10):
        # Every other turn has a process of its own: what was not heard yet is on the disk in between.
        async with running(sqlite(tmp_path, **document), check=not process) as organism:
            for _ in range(1 + process % 2):
                asked = len(model.requests)
                result = await turn(organism, "agent")
                crossed += [each.level for each in result.warnings]
                told += [len(notices(request)) for request in model.requests[asked : asked + 1]]
                await check_record(organism)
    assert crossed == ["warning", "runway", "critical", "final"]
    # 1100 of 1350 are used after turn 11: turn 12 is told, once; it crosses the next one, and turn 13 is told that.
    assert told[:13] == [0] * 11 + [1, 1]


async def test_model_calls_and_cost_count_over_all_turns(journal: str) -> None:
    model = ScriptedModel([Says(text="ok", usage=(100, 100))])
    document = {"handlers": {"talk": code(talk_once)}, "models": model.models(overhead=0)}
    for limits in ({"model_calls": 3}, {"cost_usd": "0.00099"}):
        name = next(iter(limits))
        async with running(made(journal, conversation=limits, **document), check=False) as organism:
            results = [await turn(organism, "talk", conversation=name) for _ in range(5)]
            assert {result.unit for result in results if result.outcome == "exhausted"} == {name}
            spent = conversation_of(organism, name).node
            assert 2 <= sum(result.usage.model_calls for result in results) <= 3
            assert sum(result.usage.tokens for result in results) == spent.used[0]


async def talk_once(say: Say, ctx: Context) -> Reply[Heard]:
    """Calls its model once."""
    done = await ctx.complete("x", max_output_tokens=100)
    return Reply(Heard(done.text))


async def test_a_turn_has_the_time_that_the_others_have_left(journal: str) -> None:
    async def slow(say: Say, ctx: Context) -> Reply[Heard]:
        await anyio.sleep(float(say.text))
        return Reply(Heard(say.text))

    async with running(
        made(journal, handlers={"slow": code(slow, timeout=None)}, conversation={"seconds": 10})
    ) as organism:
        assert (await turn(organism, "slow", "6")).outcome == "completed"
        await anyio.sleep(100)  # nobody's turn, nobody's time
        cut = await turn(organism, "slow", "6")
        assert (cut.outcome, cut.unit) == ("exhausted", "seconds")
        assert cut.usage.seconds == pytest.approx(4, abs=0.1)
        with pytest.raises(BudgetExhaustedError, match="seconds of the conversation"):
            await turn(organism, "slow", "1")


async def test_waiting_turns_share_the_time_that_is_left(journal: str) -> None:
    async def slow(say: Say, ctx: Context) -> Reply[Heard]:
        await anyio.sleep(6)
        return Reply(Heard(say.text))

    async with running(made(journal, handlers={"slow": code(slow)}, conversation={"seconds": 10})) as organism:
        handles = [await organism.send("slow", Say(), conversation="c") for _ in range(4)]
        outcomes = [(await handle.result()).outcome for handle in handles]
        assert outcomes == ["completed", "exhausted", "exhausted", "exhausted"]


async def test_a_turn_whose_own_budget_ends_answers_on_grace_and_the_next_begins(journal: str) -> None:
    async def greedy(say: Say | BudgetExhausted, ctx: Context) -> Reply[Heard]:
        try:
            while True:
                await ctx.complete("x", max_output_tokens=50)
        except BudgetExhaustedError:
            done = await ctx.complete("x", max_output_tokens=5, grace=True)
            return Reply(Heard(done.text))

    model = ScriptedModel([Says(text="ok", usage=(10, 40))])
    document = {"models": model.models(overhead=0), "budget": {"tokens": 1000}, "conversation": {"tokens": 100_000}}
    async with running(made(journal, handlers={"greedy": code(greedy)}, **document)) as organism:
        results = [await turn(organism, "greedy") for _ in range(3)]
        assert [(each.outcome, each.reply.text) for each in results] == [("exhausted", "ok")] * 3


# At the cap of messages


async def test_a_conversation_that_rotates_goes_on_in_a_fresh_one(journal: str) -> None:
    limits = {"messages": 3, "on_cap": "rotate"}
    async with running(made(journal, handlers=COUNTER, conversation=limits)) as organism:
        results = [await turn(organism, "counter") for _ in range(8)]
        assert [result.reply.text for result in results] == [f"{n} " for n in range(1, 9)]
        assert [result.conversation for result in results] == ["c"] * 3 + ["c~2"] * 3 + ["c~3"] * 2
        opened = [step for fact in organism.watch.facts for step in fact.steps if isinstance(step, ConversationOpened)]
        assert [(each.conversation, each.before) for each in opened] == [("c", None), ("c~2", "c"), ("c~3", "c~2")]
        # Whoever names one of them is led to where it goes on.
        assert (await turn(organism, "counter", conversation="c~2")).conversation == "c~3"
        found = [await organism.conversation_of(name) for name in ("c", "c~2", "c~3", "d")]
        assert [each and each.id for each in found] == ["c~3", "c~3", "c~3", None]
    if journal != "memory:":
        async with running(made(journal, handlers=COUNTER, conversation=limits)) as organism:
            there = await organism.conversation_of("c")
            assert there is not None
            assert there.id == "c~3"


async def test_turns_sent_at_once_rotate_when_those_before_them_have_ended(journal: str) -> None:
    async def slow(say: Say, ctx: Context) -> Reply[Heard]:
        await anyio.sleep(1)
        ctx.state["said"] = said = [*ctx.state.get("said", []), say.text]
        return Reply(Heard(" ".join(said)))

    limits = {"messages": 2, "on_cap": "rotate"}
    async with running(made(journal, handlers={"slow": code(slow)}, conversation=limits)) as organism:
        results: dict[int, Any] = {}

        async def send(number: int) -> None:
            results[number] = await turn(organism, "slow", str(number))

        async with anyio.create_task_group() as senders:
            for number in range(5):
                senders.start_soon(send, number)
        assert {each.outcome for each in results.values()} == {"completed"}
        assert sorted(each.conversation for each in results.values()) == ["c", "c", "c~2", "c~2", "c~3"]
        assert max(len(each.reply.text.split()) for each in results.values()) == 5


@pytest.mark.parametrize("on_cap", ["end", "rotate"])
@pytest.mark.by_turns
async def test_twelve_hundred_turns_with_a_cap_of_a_thousand_messages(tmp_path: Path, on_cap: str) -> None:
    document: dict[str, Any] = {"handlers": COUNTER, "conversation": {"messages": 1000, "on_cap": on_cap}}
    raised: list[WarningRaised] = []
    ended: list[str] = []
    said: list[tuple[str, str | None]] = []
    for process in range(4):
        async with running(sqlite(tmp_path, **document), check=not process) as organism:
            for _ in range(300):
                try:
                    result = await turn(organism, "counter")
                except BudgetExhaustedError as error:
                    ended.append(f"{error.unit} {error.scope}")
                else:
                    said.append((result.reply.text, result.conversation))
            raised += raised_in(organism)
            await check_record(organism)
    if on_cap == "end":
        assert [text for text, _ in said] == [f"{n} " for n in range(1, 1001)]
        assert ended == ["messages conversation"] * 200
    else:
        assert [text for text, _ in said] == [f"{n} " for n in range(1, 1201)]
        assert [name for _, name in said] == ["c"] * 1000 + ["c~2"] * 200
        assert ended == []
    assert [(each.unit, each.level) for each in raised] == [("messages", level) for level in LEVELS]


# Processes that end


async def test_a_conversation_goes_on_in_another_process(tmp_path: Path) -> None:
    for process in range(3):
        async with running(sqlite(tmp_path, handlers=COUNTER), check=not process) as organism:
            assert not organism.unfinished
            assert not organism.kernel.state.conversations
            texts = [(await turn(organism, "counter")).reply.text for _ in range(2)]
            assert texts == [f"{2 * process + 1} ", f"{2 * process + 2} "]
            await check_record(organism)


@pytest.mark.parametrize("name", ["c", "..", "a/b", "x" * 10_000, "größe-会話-🧵", "C", "con"])
@pytest.mark.by_turns
async def test_a_conversation_of_any_name_goes_on_from_files_of_lines(tmp_path: Path, name: str) -> None:
    for process in range(2):
        organism = Talking(name="test", journal=f"jsonl:{tmp_path / 'lines'}", handlers=COUNTER)
        async with running(organism, check=not process):
            texts = [(await turn(organism, "counter", conversation=name)).reply.text for _ in range(2)]
            assert texts == [f"{2 * process + 1} ", f"{2 * process + 2} "]
            await check_record(organism, name)


async def test_after_a_write_that_failed_a_conversation_goes_on_from_what_was_written(tmp_path: Path) -> None:
    full = False

    class FlakyWorks(InlineWorks):
        async def _opened(self) -> Writer | None:
            writer = await super()._opened()
            assert writer is not None
            writer.journal = cast("Any", _Flaky(writer.journal, lambda: full))
            return writer

    class Flaky(Talking):
        _parts = FlakyWorks

    async def slow(say: Say, ctx: Context) -> Reply[Heard]:
        ctx.state["said"] = said = [*ctx.state.get("said", []), say.text]
        await anyio.sleep(1)
        return Reply(Heard(" ".join(said)))

    organism = Flaky(name="test", journal=f"sqlite:{tmp_path / 'organism.db'}", handlers={"slow": code(slow)})
    async with running(organism, check=False):
        assert (await turn(organism, "slow", "a")).reply.text == "a"
        waiting = [await organism.send("slow", Say(text), conversation="c", id=text) for text in ("b", "c")]
        await anyio.sleep(0.5)
        full = True
        for handle in waiting:
            with pytest.raises(JournalError, match="No space left"):
                await handle.result()
        with pytest.raises(JournalError):
            await organism.send("slow", Say("d"), conversation="c", id="d")
        full = False
        assert (await turn(organism, "slow", "e")).reply.text == "a b c e"
        assert (await turn(organism, "slow", "c", id="c")).reply.text == "a b c"
        await check_record(organism)


async def test_turns_that_waited_when_the_process_was_killed_run_in_order(tmp_path: Path) -> None:
    async def slow(say: Say, ctx: Context) -> Reply[Heard]:
        ctx.state["said"] = said = [*ctx.state.get("said", []), say.text]
        await anyio.sleep(1)
        return Reply(Heard(" ".join(said)))

    document: dict[str, Any] = {"handlers": {"slow": code(slow)}, "conversation": {"seconds": 1000}}
    home = tmp_path / "home"
    async with running(sqlite(home, **document)) as organism:
        for n in range(6):
            await organism.send("slow", Say(str(n)), conversation="c", id=f"turn-{n}")
        await anyio.sleep(2.5)
        left = killed(home, "left")
    for way in ("resume", "send"):
        folder = killed(left, way)
        async with running(sqlite(folder, **document), check=False) as organism:
            assert organism.unfinished == ("conversation:c",)
            if way == "resume":
                handles = await organism.resume()
                assert [handle.id for handle in handles] == ["turn-2", "turn-3", "turn-4", "turn-5"]
                await check_record(organism)
            last = await turn(organism, "slow", "last", id="last")
            assert last.reply.text == "0 1 2 3 4 5 last"
            assert [(await turn(organism, "slow", str(n), id=f"turn-{n}")).reply.text for n in (0, 3)] == [
                "0",
                "0 1 2 3",
            ]
            assert not organism.unfinished
            await check_record(organism)
            assert conversation_of(organism).seconds == pytest.approx(7, abs=0.1)


async def test_a_paused_turn_stays_paused_in_the_next_process(tmp_path: Path) -> None:
    handlers = {"steps": code(two_steps, "step"), "step": code(step)}
    async with running(sqlite(tmp_path, handlers=handlers)) as organism:
        first = await organism.send("steps", Say("a"), conversation="c", id="first")
        await organism.send("steps", Say("b"), conversation="c", id="second")
        await anyio.sleep(0.5)
        first.pause()
        await first.result()
    async with running(sqlite(tmp_path, handlers=handlers), check=False) as organism:
        first, second = await organism.resume()
        assert (first.id, second.id) == ("first", "second")
        assert (await first.result()).outcome == "paused"
        await anyio.sleep(100)
        assert not second.ended
        first.resume()
        assert [(await each.result()).reply.text for each in (first, second)] == ["a", "b"]
        await check_record(organism)


@pytest.mark.by_turns
async def test_levels_that_fired_in_one_process_do_not_fire_in_the_next(tmp_path: Path) -> None:
    document: dict[str, Any] = {"handlers": COUNTER, "conversation": {"messages": 20}}
    raised: list[str] = []
    for process in range(10):
        async with running(sqlite(tmp_path, **document), check=not process) as organism:
            for _ in range(2):
                await turn(organism, "counter")
            raised += [each.level for each in raised_in(organism)]
    assert raised == LEVELS


async def test_a_call_of_a_turn_that_has_ended_is_charged_to_its_conversation(tmp_path: Path) -> None:
    async def hasty(say: Say, ctx: Context) -> Reply[Heard]:
        async with anyio.create_task_group() as calls:
            calls.start_soon(slow_call, ctx)
            await anyio.sleep(1)
            calls.cancel_scope.cancel()
        return Reply(Heard(say.text))

    async def slow_call(ctx: Context) -> None:
        await ctx.complete("x", max_output_tokens=50)

    model = ScriptedModel([Says(text="ok", usage=(10, 40), seconds=1000)])
    document: dict[str, Any] = {"handlers": {"hasty": code(hasty)}, "models": model.models(overhead=0)}
    async with running(sqlite(tmp_path, **document)) as organism:
        first = await turn(organism, "hasty")
        assert first.outcome == "completed"
        node = conversation_of(organism).node
        assert node.used[0] > 0
        assert node.held[0] == 0
        assert (await turn(organism, "hasty")).outcome == "completed"
        used = list(node.used)
        await check_record(organism)
    async with running(sqlite(tmp_path, **document), check=False) as organism:
        assert (await turn(organism, "hasty", id="third")).outcome == "completed"
        assert conversation_of(organism).node.used[0] == used[0] * 3 // 2


async def test_calls_that_were_out_at_a_kill_are_charged_to_the_conversation(tmp_path: Path) -> None:
    model = ScriptedModel([Says(text="ok", usage=(10, 40), seconds=10)])
    document: dict[str, Any] = {
        "handlers": {"talk": code(talk_once)},
        "models": model.models(overhead=0),
        "conversation": {"tokens": 10_000},
    }
    home = tmp_path / "home"
    async with running(sqlite(home, **document)) as organism:
        await organism.send("talk", Say(), conversation="c")
        await organism.send("talk", Say(), conversation="c")
        await anyio.sleep(15)
        left = killed(home, "left")
    async with running(sqlite(left, **document), check=False) as organism:
        (second,) = await organism.resume()
        node = conversation_of(organism).node
        assert node.used[0] > 50
        assert node.estimated
        result = await second.result()
        assert result.outcome == "completed"
        assert not any(node.held)
        assert node.used[4] == 3
        await check_record(organism)


# Size and memory


@pytest.mark.by_turns
async def test_an_agent_remembers_and_its_prompts_take_linear_space(tmp_path: Path) -> None:
    model = ScriptedModel(lambda request: Says(calls=(("reply", Heard(f"{len(request.messages)}")),)))
    sizes: list[int] = []
    for turns in (50, 100, 200):
        home = tmp_path / str(turns)
        document: dict[str, Any] = {"handlers": {"agent": AGENT}, "models": model.models()}
        async with running(sqlite(home, **document)) as organism:
            for number in range(turns):
                result = await turn(organism, "agent", "word " * 20)
                # system, and of each turn before: what was said, its call, "Sent."
                assert result.reply.text == str(2 + 3 * number)
        sizes.append(size_of(home))
    per_turn = (sizes[2] - sizes[1]) / 100
    assert per_turn < 1.6 * (sizes[1] - sizes[0]) / 50
    assert per_turn < 16_000


@pytest.mark.by_turns
async def test_opening_a_long_conversation_reads_a_bounded_tail(tmp_path: Path) -> None:
    async with running(sqlite(tmp_path, handlers=COUNTER, conversation={"messages": 100_000})) as organism:
        for _ in range(500):
            await turn(organism, "counter")
    async with running(sqlite(tmp_path, handlers=COUNTER, conversation={"messages": 100_000}), check=False) as organism:
        whole, tail = len(await recorded(organism, whole=True)), len(await recorded(organism))
        assert whole > 1500
        assert tail < 700
        assert (await turn(organism, "counter")).reply.text == "501 "


async def test_idle_conversations_are_forgotten_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 16
    monkeypatch.setattr("organism.works.conversations._IDLE", most)
    async with running(sqlite(tmp_path, handlers=COUNTER), check=False) as organism:
        for n in range(3 * most):
            await turn(organism, "counter", conversation=f"c-{n}")
        assert len(organism.kernel.state.conversations) <= most + 1
        assert (await turn(organism, "counter", conversation="c-0")).reply.text == "2 "
        assert (await turn(organism, "counter", conversation=f"c-{3 * most - 1}")).reply.text == "2 "
        assert len(organism.kernel.state.conversations) <= most + 1
        await check_record(organism, "c-0")


class _Flaky:
    """A journal on a disk that is full from time to time."""

    def __init__(self, journal: Journal, full: Callable[[], bool]) -> None:
        self._journal = journal
        self._full = full

    def write(self, batch: Any) -> Any:
        if self._full():
            raise OSError(28, "No space left on device")
        return self._journal.write(batch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)


def raised_in(organism: Watched) -> list[WarningRaised]:
    """The crossings that were written down, in order."""
    return [step for fact in organism.watch.facts for step in fact.steps if isinstance(step, WarningRaised)]


async def test_a_pause_is_no_time_of_the_conversation(journal: str) -> None:
    """As it is none of its turn: what ran when it was paused finishes, and the turn ends in the pause."""

    async def slow(message: Say, ctx: Context) -> Reply[Heard]:
        await anyio.sleep(900)
        return Reply(Heard("done"))

    async with running(made(journal, handlers={"slow": code(slow, timeout=None)})) as organism:
        handle = await organism.send("slow", Say("x"), conversation="c")
        await anyio.sleep(100)
        handle.pause()
        result = await handle.result()
        assert 100 <= result.usage.seconds < 101
        assert organism.kernel.state.conversations["c"].seconds == pytest.approx(result.usage.seconds)
