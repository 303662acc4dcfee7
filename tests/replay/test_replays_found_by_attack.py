"""Threads that nothing was wrong with, and whose replay said otherwise."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from attrs import evolve

from organism import BudgetExhaustedError, Context, HandlerFailedError, ModelError, Reply
from organism.hooks import Abort, CallEvent, Change
from organism.payloads import Vocabulary
from organism.replay import replay
from organism.replay.context import DRAWN
from organism.testing import Says, ScriptedModel
from tests.hard.budget_world import Done, agent, asks, code, models, peer, replies, spend
from tests.hard.budget_world import Task as Job
from tests.replay.replay_world import Note, Recorded, Task, late

if TYPE_CHECKING:
    from pathlib import Path

    from organism import Organism, ThreadResult


async def read_late(ctx: Context) -> str:
    """Reads the clock where nothing is written down, neither just before nor just after."""
    await anyio.sleep(1)
    read = ctx.now().isoformat()
    await anyio.sleep(1)
    return read


async def stamped(task: Task, ctx: Context) -> Reply[Note]:
    return Reply(Note(await read_late(ctx)))


async def kept(task: Task, ctx: Context) -> None:
    ctx.state["began"] = await read_late(ctx)


async def failed(task: Task, ctx: Context) -> None:
    raise ValueError(await read_late(ctx))


@pytest.mark.parametrize("handler", [stamped, kept, failed])
@pytest.mark.parametrize("attempts", [1, 2])
def test_what_the_clock_showed_is_known_to_the_end_of_a_delivery(tmp_path: Path, handler: Any, attempts: int) -> None:
    world = Recorded(tmp_path, handlers={"stamp": code(handler, on_failure={"attempts": attempts})})
    world.send("stamp", Task("x"))
    replayed = world.replay()
    assert replayed.deliveries == (attempts if handler is failed else 1)
    assert (replayed.differences, replayed.unsure) == ((), ())


async def trusting(task: Task, ctx: Context) -> Reply[Note]:
    said: list[str] = []
    for _ in range(2):
        try:
            said.append((await ctx.complete("go on", max_output_tokens=10)).text)
        except ModelError as error:
            said.append(str(error))
    return Reply(Note("; ".join(said)))


def test_a_call_that_no_backend_was_asked_for_is_known(tmp_path: Path) -> None:
    """A backend that is found to charge more than a strict budget can bound is asked no more."""
    model = ScriptedModel([Says(text="hm", usage=(5_000, 10))])
    budget = {"tokens": 100_000, "accounting": "strict"}
    world = Recorded(tmp_path, handlers={"trusting": code(trusting)}, models=models(model), budget=budget)
    result = world.send("trusting", Task("x"))
    assert "closed to strict calls" in result.reply.text
    assert len(model.requests) == 1
    replayed = world.replay()
    assert (replayed.differences, replayed.unsure) == ((), ())


async def spends(job: Job, ctx: Context) -> Reply[Done]:
    await spend(ctx, 3_000)
    return Reply(Done("spent"))


def test_how_many_calls_a_ceiling_leaves_depends_on_others(tmp_path: Path) -> None:
    turns = iter([asks("peer", usage=(100, 50)), replies(usage=(100, 10))])
    model = ScriptedModel(lambda request: next(turns) if request.tools else Says(text="ok", usage=(2_000, 900)))
    handlers = {"writer": agent(peers=("peer",)), "peer": code(peer), "spends": code(spends)}
    budget = {"tokens": 4_000, "warn_at": {"tokens": [100]}}
    world = Recorded(tmp_path, handlers=handlers, models=models(model), budget=budget, ceiling={"tokens": 5_000})

    async def one_after_the_other(organism: Any) -> ThreadResult:
        await (await organism.send("spends", Job("go"), id="other")).result()
        result: ThreadResult = await (await organism.send("writer", Job("go"), id="t")).result()
        return result

    assert [each.calls_left for each in world.run(one_after_the_other).warnings] == [13]
    assert world.replay().differences == ()


async def asks_many(task: Task, ctx: Context) -> Reply[Note]:
    answers = await ctx.ask_all([("other", Task(f"{n}")) for n in range(4)])
    told = [type(each).__name__ for each in answers]
    try:
        await ctx.complete("and now?", max_output_tokens=5_000)
    except BudgetExhaustedError as error:
        told.append(error.unit)
    return Reply(Note(" ".join(told)))


async def other(task: Task, ctx: Context) -> Reply[Note]:
    return Reply(Note(task.text))


def test_several_refusals_in_a_row_are_each_of_another_question(tmp_path: Path) -> None:
    model = ScriptedModel([Says(text="x")])
    handlers = {"many": code(asks_many, peers=("other",)), "other": code(other)}
    budget = {"messages": 2, "tokens": 1_000}
    world = Recorded(tmp_path, handlers=handlers, models=models(model), budget=budget)
    assert world.send("many", Task("x")).replies
    # What the first look finds odd is looked at once more: then, several wait to be refused.
    assert late(world.documents(), world.organism().settings, Vocabulary([Task, Note])) == []


@pytest.mark.parametrize("what", ["change", "abort"])
def test_what_a_hook_does_to_a_last_call_is_no_difference(tmp_path: Path, what: str) -> None:
    def last_call(event: CallEvent, ctx: Context) -> Abort | Change | None:
        *before, last = event.call.messages
        if "This is your last call" not in str(last["content"]):
            return None
        if what == "abort":
            return Abort("no last words")
        return Change(evolve(event.call, messages=(*before, {**last, "content": "Say goodbye."})))

    model = ScriptedModel([replies("bye", usage=(100, 10))])
    keys = {
        "handlers": {"writer": agent()},
        "models": models(model),
        "budget": {"tokens": 1_000, "grace": {"share": 0.9}},
    }
    world = Recorded(tmp_path, **keys, hooks={"before_model_call": [last_call]})
    result = world.send("writer", Job("go"))
    assert (result.outcome, len(result.replies)) == (("exhausted", 1) if what == "change" else ("failed", 0))
    assert world.replay().differences == ()


async def told_whose_limit_it_is(task: Task, ctx: Context) -> Reply[Note]:
    try:
        await ctx.complete("and now?", max_output_tokens=5_000)
    except BudgetExhaustedError as error:
        return Reply(Note(str(error)))
    return Reply(Note("it was not refused"))


@pytest.mark.parametrize("named", [True, False])
def test_a_handler_is_told_of_an_account_what_it_was_told_then(tmp_path: Path, named: bool) -> None:
    accounts = {"tenant": {"tokens": 9_000}, "team": {"tokens": 1_000}}
    world = Recorded(tmp_path, handlers={"told": code(told_whose_limit_it_is)}, accounts=accounts)

    async def work(organism: Organism) -> ThreadResult:
        under = {"tenant": "acme", "team": "x"}
        return await (await organism.send("told", Task("x"), id="t", accounts=under)).result()

    said = world.run(work).reply.text
    assert said.startswith("tokens of the account team:x: 0 used, 0 held, limit 1,000")
    text = json.dumps(world.documents())
    if not named:  # as journals of before have it
        text = text.replace('"account": "team:x", ', "").replace("the account team:x:", "the account:")
    settings = world.organism().settings
    replayed = replay(json.loads(text), settings, Vocabulary([Task, Note]), patience=0.001)
    assert (replayed.differences, replayed.unsure) == ((), ())


async def counts(task: Task, ctx: Context) -> Reply[Note]:
    ctx.state["count"] = ctx.state.get("count", 0) + 1
    return Reply(Note(str(ctx.state["count"])))


async def asks_the_same(task: Task, ctx: Context) -> Reply[Note]:
    answers = await ctx.ask_all([("counts", Task("and now?"))] * 3, expect=Note)
    return Reply(Note(" ".join(each.text for each in answers if isinstance(each, Note))))


def test_equal_questions_at_once_have_their_answers_in_the_order_in_which_they_were_asked(tmp_path: Path) -> None:
    handlers = {"same": code(asks_the_same, peers=("counts",)), "counts": code(counts)}
    world = Recorded(tmp_path, handlers=handlers)
    assert world.send("same", Task("x")).reply == Note("1 2 3")
    # Trio lets tasks begin in this order or in that one, by chance.
    assert [world.replay().differences for _ in range(8)] == [()] * 8


async def draws_side_by_side(task: Task, ctx: Context) -> Reply[Note]:
    heard: dict[int, str] = {}

    async def draw(number: int) -> None:
        await anyio.lowlevel.checkpoint()
        heard[number] = (await ctx.ask("repeats", Task(f"{number}: {ctx.random.random()}"), expect=Note)).text

    async with anyio.create_task_group() as tasks:
        for number in range(4):
            tasks.start_soon(draw, number)
    return Reply(Note(" ".join(heard[number] for number in sorted(heard))))


async def repeats(task: Task, ctx: Context) -> Reply[Note]:
    return Reply(Note(task.text))


def test_what_tasks_drew_side_by_side_is_not_sure(tmp_path: Path) -> None:
    handlers = {"draws": code(draws_side_by_side, peers=("repeats",)), "repeats": code(repeats)}
    world = Recorded(tmp_path, handlers=handlers)
    assert world.send("draws", Task("x")).outcome == "completed"
    # Trio lets tasks begin in this order or in that one, by chance.
    found = [world.replay() for _ in range(8)]
    assert [each.differences for each in found] == [()] * 8
    assert {each.unsure for each in found} <= {(), (("draws", DRAWN),)}


async def reads_the_clock_side_by_side(task: Task, ctx: Context) -> Reply[Note]:
    read: list[str] = []

    async def read_it() -> None:
        read.append(f"{ctx.now()}")

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(read_it)
    return Reply(Note(f"{ctx.options['mood']} {read}"))


def test_what_tasks_read_of_the_clock_side_by_side_is_not_sure(tmp_path: Path) -> None:
    def of(mood: str) -> dict[str, Any]:
        return {"reads": code(reads_the_clock_side_by_side, options={"mood": mood})}

    world = Recorded(tmp_path, handlers=of("fine"))
    assert world.send("reads", Task("x")).outcome == "completed"
    assert (world.replay().differences, world.replay().unsure) == ((), ())
    changed = world.replay(handlers=of("foul"))
    assert (changed.differences, changed.unsure) == ((), (("reads", DRAWN),))


async def draws_alone(task: Task, ctx: Context) -> Reply[Note]:
    first = ctx.random.random()
    return Reply(Note(f"{first} {ctx.random.random()} {ctx.now()}"))


async def draws_once_more(task: Task, ctx: Context) -> Reply[Note]:
    ctx.random.random()
    return await draws_alone(task, ctx)


def test_what_a_handler_draws_alone_is_compared(tmp_path: Path) -> None:
    world = Recorded(tmp_path, handlers={"draws": code(draws_alone)})
    world.send("draws", Task("x"))
    replayed = world.replay()
    assert (replayed.differences, replayed.unsure) == ((), ())
    changed = world.replay(handlers={"draws": code(draws_once_more)})
    assert ([each.what for each in changed.differences], changed.unsure) == (["it answered"], ())


async def impatient(task: Task, ctx: Context) -> Reply[Note]:
    said = "it took too long"
    with anyio.move_on_after(2):
        said = (await ctx.complete("and now?", max_output_tokens=10)).text
    return Reply(Note(said))


def test_the_time_in_which_no_process_was_there_is_nobodys(tmp_path: Path) -> None:
    model = ScriptedModel([Says(text="in time", seconds=1.5)])
    world = Recorded(tmp_path, handlers={"impatient": code(impatient)}, models=models(model))

    async def begin(organism: Organism) -> None:
        await organism.send("impatient", Task("x"), id="t")
        await anyio.sleep(1)

    async def go_on(organism: Organism) -> Any:
        await anyio.sleep(60)
        return [(await handle.result()).reply for handle in await organism.resume()]

    world.run(begin)
    assert world.run(go_on) == [Note("in time")]
    replayed = world.replay()
    assert (replayed.differences, replayed.unsure) == ((), ())


async def asks_nonsense(task: Task, ctx: Context) -> Reply[Note]:
    codes: list[str] = []
    for ask in (ctx.ask, ctx.spawn):
        try:
            await ask("other", object())
        except HandlerFailedError as error:
            codes.append(error.code)
    codes += [each.code for each in await ctx.ask_all([("other", object()), ("nobody", task)])]
    return Reply(Note(" ".join(codes)))


def test_what_is_no_payload_is_refused_again(tmp_path: Path) -> None:
    world = Recorded(tmp_path, handlers={"nonsense": code(asks_nonsense, peers=("other",)), "other": code(other)})
    said = world.send("nonsense", Task("x")).reply.text
    assert said == "validation validation validation routing"
    replayed = world.replay()
    assert (replayed.differences, replayed.unsure) == ((), ())


@pytest.mark.parametrize("limits", [{"tokens": 60}, {"cost_usd": "0.00006"}])
def test_a_refusal_names_the_sub_thread_that_refused(limits: dict[str, Any], tmp_path: Path) -> None:
    """Of two, one below the other, which both are one: their figures are in its text."""

    async def calls(task: Task, ctx: Context) -> Reply[Note]:
        """Calls a model."""
        try:
            await ctx.complete("x" * 40, max_output_tokens=50)
        except BudgetExhaustedError as error:
            return Reply(Note(str(error)))
        return Reply(Note("it was enough"))

    def asks_of(peer: str) -> dict[str, Any]:
        async def asking(task: Task, ctx: Context) -> Reply[Note]:
            """Has it done."""
            return Reply(await ctx.ask(peer, task, expect=Note))

        return {"code": asking, "peers": [peer]}

    (unit,) = limits
    handlers = {
        "root": asks_of("outer"),
        "outer": {**asks_of("inner"), "budget": limits},
        "inner": {"code": calls, "budget": {unit: 1000}},
    }
    said = ScriptedModel([Says(text="so", usage=(10, 5))])
    world = Recorded(tmp_path, handlers=handlers, models=models(said, price={"input": 1, "output": 1}))
    told = world.send("root", Task("go")).reply
    assert " of 1000 " not in told.text
    replayed = world.replay()
    assert (replayed.differences, replayed.unsure) == ((), ())
