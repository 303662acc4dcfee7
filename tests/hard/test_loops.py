"""Loops: the same payload over the same route again and again is warned of once, then its thread is stopped; honest work is not."""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import Context, Forward, HandlerFailedError, Reply, Send
from organism.journal.codec import decode, encode
from organism.kernel.comparable import comparable
from organism.kernel.fold import Fold
from organism.kernel.imaging import image_of
from organism.kernel.rings import WARNED, Ring
from organism.payloads import Vocabulary
from organism.primitives import BudgetQuery, BudgetReport, BudgetWarning
from organism.record.facts import Snapshot, Stopped, WarningRaised
from organism.testing import Says, ScriptedModel, differences, running
from tests.durable.turns_world import killed, sqlite
from tests.hard.budget_world import Done, Task, agent, asks, code, models, notices, outcome, peer, replies, said_to

if TYPE_CHECKING:
    from pathlib import Path

    from organism import ThreadResult
    from organism.models.contract import Request
    from organism.testing import Watched

LOOPS = {"repeats": 4, "within": 12}
SAME = "a loop: 'writer' has sent the same Task to 'peer' 5 times within 12 messages, after a warning"


def rows(result: ThreadResult) -> list[dict[str, Any]]:
    """The rows of a result that tell of loops, as JSON has them, without their numbers."""
    found = [row for row in result.as_json()["warnings"] if row["unit"] == "repeats"]
    return [{key: value for key, value in row.items() if key != "seq"} for row in found]


ROW = {"unit": "repeats", "level": "final", "threshold": 4, "used": 4, "limit": 4, "scope": "thread"}


def steps(organism: Watched, kind: Any) -> list[Any]:
    """The steps of one kind, in order."""
    return [step for fact in organism.watch.facts for step in fact.steps if isinstance(step, kind)]


# Agents


async def test_an_agent_that_repeats_a_call_is_warned_in_its_next_prompt_and_then_stopped() -> None:
    model = ScriptedModel([asks("peer")])
    handlers = {"writer": agent(peers=("peer",)), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), loops=LOOPS) as organism:
        result = await outcome(organism, "writer")
    assert (result.outcome, result.error, result.replies) == ("stopped", SAME, ())
    assert rows(result) == [{**ROW, "to": "writer"}]
    # The fourth call is warned of in the fifth prompt, and the fifth call is the last.
    assert [len(notices(request)) for request in model.requests] == [0, 0, 0, 0, 1]
    (notice,) = notices(model.requests[4])
    assert notice.startswith(
        "Budget notice: final. The same message (Task to peer) was sent 4 times; send it once more,"
    )
    assert result.usage.messages == 6
    assert len(organism.watch.of(Stopped)) == 1


async def test_an_agent_that_heeds_the_warning_is_not_stopped() -> None:
    def script(request: Request) -> Says:
        return replies("enough") if notices(request) else asks("peer")

    model = ScriptedModel(script)
    handlers = {"writer": agent(peers=("peer",)), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), loops=LOOPS) as organism:
        result = await outcome(organism, "writer")
    assert (result.outcome, result.reply) == ("completed", Done("enough"))
    assert rows(result) == [{**ROW, "to": "writer"}]


async def test_no_agent_is_stopped_for_what_it_sent_before_it_could_read_the_warning() -> None:
    model = ScriptedModel([asks(*["peer"] * 9), replies("nine of them")])
    handlers = {"writer": agent(peers=("peer",)), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model), loops=LOOPS) as organism:
        result = await outcome(organism, "writer")
    assert (result.outcome, result.reply, result.usage.messages) == ("completed", Done("nine of them"), 10)
    assert rows(result) == [{**ROW, "to": "writer"}]
    assert len(notices(model.requests[1])) == 1


async def test_a_loop_goes_through_sub_threads_and_stops_the_whole_thread() -> None:
    """The boss asks the same of an agent with a budget of its own: each call is a sub-thread."""
    model = ScriptedModel(lambda request: replies() if "'worker'." in said_to(request)[0] else asks("worker"))
    handlers = {"boss": agent(peers=("worker",)), "worker": agent(budget={"tokens": 5000})}
    async with running(handlers=handlers, models=models(model), loops=LOOPS) as organism:
        result = await outcome(organism, "boss", budget={"model_calls": None})
    assert result.outcome == "stopped"
    assert result.error is not None
    assert "'boss' has sent the same Task to 'worker' 5 times" in result.error
    assert {sub.outcome for sub in result.threads} <= {"completed", "stopped"}
    assert rows(result) == [{**ROW, "to": "boss"}]


# Code


async def test_code_hears_as_a_message_and_is_stopped_when_it_goes_on() -> None:
    heard: list[BudgetWarning] = []

    async def worker(message: Task | Done | BudgetWarning, ctx: Context) -> Send[Task] | None:
        if isinstance(message, BudgetWarning):
            heard.append(message)
            return None
        return Send("peer", Task("the same"))

    handlers = {"worker": code(worker, peers=("peer",)), "peer": code(changing)}
    async with running(handlers=handlers, loops=LOOPS) as organism:
        result = await outcome(organism)
    assert result.outcome == "stopped"
    assert result.error == SAME.replace("writer", "worker")
    (warning,) = heard
    assert (warning.unit, warning.level) == ("repeats", "final")
    assert [int(each) for each in (warning.used, warning.limit, warning.remaining)] == [4, 4, 0]
    assert "The same message (Task to peer) was sent 4 times" in warning.text
    assert rows(result) == [{**ROW, "to": "worker"}]


async def changing(task: Task, ctx: Context) -> Reply[Done]:
    """Never answers the same."""
    ctx.state["n"] = ctx.state.get("n", 0) + 1
    return Reply(Done(str(ctx.state["n"])))


async def test_code_that_hears_may_go_another_way() -> None:
    async def worker(message: Task | Done | BudgetWarning, ctx: Context) -> Send[Task] | Reply[Done] | None:
        if isinstance(message, BudgetWarning):
            ctx.state["warned"] = True
            return None
        return Reply(Done("enough")) if ctx.state.get("warned") else Send("peer", Task("the same"))

    handlers = {"worker": code(worker, peers=("peer",)), "peer": code(changing)}
    async with running(handlers=handlers, loops=LOOPS) as organism:
        result = await outcome(organism)
    assert (result.outcome, result.reply) == ("completed", Done("enough"))


async def test_code_that_asks_in_a_loop_is_cancelled_where_it_stands() -> None:
    asked: list[int] = []

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        try:
            while True:
                asked.append(len(asked))
                await ctx.ask("peer", task)
        finally:
            asked.append(-1)

    handlers = {"worker": code(worker, peers=("peer",)), "peer": code(peer)}
    async with running(handlers=handlers, loops=LOOPS) as organism:
        result = await outcome(organism)
    assert (result.outcome, asked) == ("stopped", [0, 1, 2, 3, 4, -1])
    # Nobody could tell it, since it takes no warnings.
    assert rows(result) == [{**ROW, "to": None}]


async def test_code_that_spawns_in_a_loop_is_stopped() -> None:
    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        for _ in range(20):
            await (await ctx.spawn("peer", task)).result()
        return Reply(Done("never"))

    handlers = {"worker": code(worker, peers=("peer",)), "peer": code(peer)}
    async with running(handlers=handlers, loops=LOOPS) as organism:
        result = await outcome(organism)
    assert result.outcome == "stopped"
    assert len(result.threads) == 5


async def test_a_message_handed_round_in_circles_is_a_loop() -> None:
    async def one(task: Task, ctx: Context) -> Forward[Task]:
        return Forward("two", task)

    async def two(task: Task, ctx: Context) -> Forward[Task]:
        return Forward("one", task)

    handlers = {"one": code(one, peers=("two",)), "two": code(two, peers=("one",))}
    async with running(handlers=handlers, loops=LOOPS) as organism:
        result = await outcome(organism, "one")
    assert (result.outcome, result.error) == (
        "stopped",
        "a loop: 'one' has sent the same Task to 'two' 5 times within 12 messages, after a warning",
    )
    # Each of the two routes was warned of, once.
    assert [step.about for step in steps(organism, WarningRaised)] == ["Task to two", "Task to one"]
    assert result.usage.messages == 10


async def test_the_callers_of_a_stopped_thread_hear_it() -> None:
    async def one(task: Task, ctx: Context) -> Forward[Task]:
        return Forward("one", task)

    async with running(handlers={"one": code(one)}, loops={"repeats": 2, "within": 2}) as organism:
        with pytest.raises(HandlerFailedError) as stopped:
            await organism.ask("one", Task("go"))
    assert stopped.value.code == "stopped"


# What is no loop


async def test_long_honest_dialogues_are_not_touched() -> None:
    async def ping(message: Task | Done, ctx: Context) -> Send[Task] | Reply[Done]:
        said = int(message.text)
        return Send("pong", Task(str(said + 1))) if said < 200 else Reply(Done("both"))

    async def pong(task: Task, ctx: Context) -> Reply[Done]:
        return Reply(Done(str(int(task.text) + 1)))

    handlers = {"ping": code(ping, peers=("pong",)), "pong": code(pong)}
    async with running(handlers=handlers, loops={"repeats": 2, "within": 1000}) as organism:
        result = await (await organism.send("ping", Task("0"))).result()
    assert (result.outcome, result.usage.messages, result.warnings) == ("completed", 201, ())


async def test_the_same_answer_to_many_questions_is_no_loop() -> None:
    async def boss(message: Task | Done, ctx: Context) -> list[Send[Task]] | None:
        return [Send("peer", Task(str(n))) for n in range(30)] if isinstance(message, Task) else None

    handlers = {"boss": code(boss, peers=("peer",)), "peer": code(peer)}
    async with running(handlers=handlers, loops={"repeats": 2, "within": 60}) as organism:
        result = await outcome(organism, "boss")
    assert (result.outcome, result.usage.messages, result.warnings) == ("completed", 61, ())


@pytest.mark.parametrize(("apart", "expected"), [(3, "completed"), (2, "stopped")])
async def test_only_equal_ones_among_the_last_messages_count(apart: int, expected: str) -> None:
    """With three others between, three equal ones stand among any twelve; with two between, four do."""

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        for turn in range(10):
            await ctx.ask("peer", Task("the same"))
            for other in range(apart):
                await ctx.ask("peer", Task(f"{turn} {other}"))
        return Reply(Done("done"))

    handlers = {"worker": code(worker, peers=("peer",)), "peer": code(peer)}
    async with running(handlers=handlers, loops=LOOPS) as organism:
        result = await outcome(organism)
    assert result.outcome == expected


async def test_asking_what_is_left_again_and_again_is_no_loop() -> None:
    async def careful(task: Task, ctx: Context) -> Reply[Done]:
        for number in range(10):
            await ctx.ask("organism", BudgetQuery(), expect=BudgetReport)
            await ctx.ask("peer", Task(str(number)))
        return Reply(Done("done"))

    handlers = {"careful": code(careful, peers=("peer",)), "peer": code(peer)}
    async with running(handlers=handlers, loops={"repeats": 2, "within": 60}) as organism:
        result = await outcome(organism, "careful")
    assert (result.outcome, result.warnings) == ("completed", ())


async def test_the_same_to_others_or_from_others_is_another_route() -> None:
    names = [f"p{n}" for n in range(6)]

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        for name in names * 3:
            await ctx.ask(name, task)
        return Reply(Done("done"))

    handlers = {"worker": code(worker, peers=tuple(names)), **{name: code(peer) for name in names}}
    async with running(handlers=handlers, loops={"repeats": 4, "within": 100}) as organism:
        result = await outcome(organism)
    assert (result.outcome, result.warnings) == ("completed", ())


async def test_threads_do_not_count_for_each_other() -> None:
    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        return Reply(await ctx.ask("peer", task, expect=Done))

    handlers = {"worker": code(worker, peers=("peer",)), "peer": code(peer)}
    async with running(handlers=handlers, loops={"repeats": 2, "within": 100}) as organism:
        results = [await outcome(organism, conversation=name) for name in ("c", "c", "c", None)]
        assert {result.outcome for result in results} == {"completed"}
        assert organism.kernel.state.rings is not None
        assert len(organism.kernel.state.rings) == 0


async def test_nothing_is_counted_where_nothing_is_said() -> None:
    model = ScriptedModel([*[asks("peer")] * 15, replies()])
    handlers = {"writer": agent(peers=("peer",)), "peer": code(peer)}
    async with running(handlers=handlers, models=models(model)) as organism:
        result = await outcome(organism, "writer")
        assert organism.kernel.state.rings is None
    assert (result.outcome, result.warnings) == ("completed", ())


# Processes that end


async def test_a_restart_neither_forgets_what_was_sent_nor_warns_again(tmp_path: Path) -> None:
    """The process is killed after each of the asks in turn: all that follows is as if it had gone on."""
    gate: dict[str, int] = {}

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        for made in range(8):
            if gate["stop"] == made:
                await anyio.sleep(1000)
            await ctx.ask("peer", task)
        return Reply(Done("never"))

    document: dict[str, Any] = {
        "handlers": {"worker": code(worker, peers=("peer",), timeout=None), "peer": code(peer)}, "loops": LOOPS,
    }  # fmt: skip
    for made in range(6):
        gate["stop"] = made
        home = tmp_path / f"home{made}"
        async with running(sqlite(home, **document)) as organism:
            await organism.send("worker", Task("go"), id="t")
            await anyio.sleep(1)
            left = killed(home, f"left{made}")
            raised = steps(organism, WarningRaised)
            stopped = organism.thread_of("t") is None
        assert stopped == (made == 5)
        if stopped:
            continue
        gate["stop"] = -1
        async with running(sqlite(left, **document), check=False) as organism:
            (handle,) = await organism.resume()
            result = await handle.result()
            again = steps(organism, WarningRaised)
        assert (result.outcome, result.usage.messages) == ("stopped", 6)
        assert len(raised) == (made >= 4)
        assert len(raised + again) == 1
        assert rows(result) == [{**ROW, "to": None}]


async def test_an_agent_that_was_warned_before_a_restart_is_told_once(tmp_path: Path) -> None:
    """Killed while the fourth call is answered: the warning waits for the fifth prompt, which another process makes."""
    slow = {"seconds": 0.0}

    async def thinks(task: Task, ctx: Context) -> Reply[Done]:
        ctx.state["n"] = n = ctx.state.get("n", 0) + 1
        if n == 4:
            await anyio.sleep(slow["seconds"])
        return Reply(Done("here"))

    model = ScriptedModel([asks("peer")])
    document: dict[str, Any] = {
        "handlers": {"writer": agent(peers=("peer",)), "peer": code(thinks, timeout=None)}, "loops": LOOPS,
        "models": models(model),
    }  # fmt: skip
    home, slow["seconds"] = tmp_path / "home", 1000.0
    async with running(sqlite(home, **document)) as organism:
        await organism.send("writer", Task("go"), id="t")
        await anyio.sleep(10)
        left = killed(home, "left")
    assert [len(notices(request)) for request in model.requests] == [0, 0, 0, 0]
    slow["seconds"] = 0.0
    async with running(sqlite(left, **document), check=False) as organism:
        (handle,) = await organism.resume()
        result = await handle.result()
    assert (result.outcome, result.error) == ("stopped", SAME)
    assert rows(result) == [{**ROW, "to": "writer"}]
    assert [len(notices(request)) for request in model.requests] == [0, 0, 0, 0, 1]


async def test_a_snapshot_holds_what_was_sent_and_what_was_warned_of() -> None:
    """The image of a thread that was warned, put into a fresh state, is the same; so is its ring, message for message."""

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        for n in range(4):
            await ctx.ask("peer", Task("other" if n == 1 else "the same"))
        await ctx.ask("peer", Task("the same"))
        await anyio.sleep(1000)
        return Reply(Done("done"))

    handlers = {"worker": code(worker, peers=("peer",), timeout=None), "peer": code(peer)}
    async with running(handlers=handlers, loops=LOOPS) as organism:
        handle = await organism.send("worker", Task("go"))
        await anyio.sleep(1)
        state = organism.kernel.state
        image = image_of(state, state.threads[handle.id])
        fresh = Fold(organism.settings)
        fresh.apply(Snapshot(at=state.now, thread=handle.id, image=image))
        (ring,) = [each.ring for each in image.threads]
        assert ring is not None
        assert (len(ring.recent), len(set(ring.recent)), len(ring.warned)) == (5, 2, 1)
        assert differences(comparable(state)["threads"], comparable(fresh.state)["threads"]) == []
        document = json.loads(json.dumps(encode(Snapshot(at=1.0, thread=handle.id, image=image), handle.id)))
        read = decode(document, Vocabulary([Task, Done]))
        assert isinstance(read, Snapshot)
        assert read.image.threads[0].ring == ring
        handle.cancel()


def test_a_ring_is_bounded_whatever_is_sent() -> None:
    ring = Ring(deque(maxlen=3), {}, {})
    counts = [ring.add(str(number % 5)) for number in range(10_000)]
    assert set(counts) == {1}
    assert (len(ring.recent), len(ring.counts)) == (3, 3)
    assert [ring.add("x") for _ in range(5)] == [1, 2, 3, 3, 3]
    for number in range(10_000):
        ring.warn(str(number), number)
    assert len(ring.warned) == WARNED
    assert "9999" in ring.warned
