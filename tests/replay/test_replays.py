"""A replay runs the handlers of a thread again with the answers that they had, and tells what they do otherwise."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio

from organism import Context, Forward, HandlerFailedError, Refused, Reply, Send
from organism.errors import BudgetExhaustedError, ModelError
from organism.models.contract import BackendError
from organism.replay.player import Player
from organism.testing import Says, ScriptedModel
from tests.hard.pump_world import Go, Said, code
from tests.replay.replay_world import Recorded

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from organism import Organism
    from organism.models.contract import Request


def answering(request: Request) -> Says:
    text = str(request.messages[-1]["content"])
    return Says(text=f"about {text}", usage=(10, 5), seconds=0.1 if text.endswith("1") else 0.2)


async def echo(message: Go, ctx: Context) -> Reply[Said]:
    ctx.state["seen"] = ctx.state.get("seen", 0) + 1
    return Reply(Said(f"{message.text} {ctx.state['seen']}"))


async def refuse(message: Go, ctx: Context) -> None:
    raise Refused("not today")


async def forward(message: Go, ctx: Context) -> Forward[Go]:
    return Forward("echo", message)


async def slow(message: Go, ctx: Context) -> None:
    await anyio.sleep_forever()


async def writer(message: Go, ctx: Context) -> Reply[Said]:
    done = await ctx.complete(f"{message.text} {ctx.now().isoformat()} {ctx.random.random()}", max_output_tokens=20)
    return Reply(Said(done.text))


async def busy(message: Go, ctx: Context) -> Reply[Said]:
    """Does everything that a handler can do, much of it at once."""
    ctx.state["began"] = ctx.now().isoformat()
    said: list[str] = []

    async def one(number: int) -> None:
        said.append((await ctx.complete(f"part {number}", max_output_tokens=20)).text)

    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(one, number)
    with suppress(HandlerFailedError), anyio.move_on_after(0.5):
        await ctx.ask("slow", Go("never"))
    with suppress(HandlerFailedError):
        await ctx.ask("slow", Go("neither"), timeout=0.5)
    with suppress(HandlerFailedError):
        await ctx.ask("refuse", Go("?"))
    with suppress(HandlerFailedError):
        await ctx.ask("nobody", Go("?"))
    handle = await ctx.spawn("writer", Go("aside"))
    answers = await ctx.ask_all([("echo", Go("a")), ("forward", Go("b")), ("sub", Go("c")), ("writer", Go("d"))])
    await anyio.sleep(10)
    aside = await handle.result()
    with suppress(BudgetExhaustedError):
        await ctx.complete("too much", max_output_tokens=100_000)
    async with ctx.stream("piece by piece", max_output_tokens=20) as stream:
        async for piece in stream:
            said.append(piece)  # noqa: PERF401 - as handlers do it
    return Reply(Said(f"{sorted(said[:4])} {answers} {aside.reply} {ctx.budget.tokens.used}"))


async def scatter(message: Go | Said, ctx: Context) -> list[Any] | None:
    if isinstance(message, Said):
        ctx.state["last"] = message
        return None
    return [Send("echo", Go("1")), Send("refuse", Go("2")), Reply(Said("sent")), Send("busy", Go("3"))]


HANDLERS = {
    "echo": code(echo),
    "refuse": code(refuse),
    "forward": code(forward, "echo"),
    "sub": code(echo, budget={"messages": 5}),
    "slow": code(slow),
    "writer": code(writer, budget={"tokens": 1000}),
    "busy": code(busy, "slow", "refuse", "echo", "forward", "sub", "writer", timeout=None),
    "scatter": code(scatter, "echo", "refuse", "busy"),
}


def recorded(folder: Path, **keys: Any) -> Recorded:
    model = ScriptedModel(answering)
    return Recorded(folder, **{"handlers": HANDLERS, "models": model.models(), "budget": {"tokens": 50_000}, **keys})


def test_a_thread_of_everything_comes_out_the_same(tmp_path: Path) -> None:
    world = recorded(tmp_path)
    assert world.send("scatter", Go("x")).outcome == "failed"  # refuse does
    replayed = world.replay()
    assert replayed.differences == ()
    assert replayed.unsure == ()
    assert replayed.deliveries == 13
    assert replayed.calls == 7
    assert len(world.documents()) == len(world.documents())


def test_neither_model_nor_journal_is_touched(tmp_path: Path) -> None:
    model = ScriptedModel(answering)
    world = recorded(tmp_path, models=model.models())
    world.send("writer", Go("x"))
    before, asked = world.documents(), len(model.requests)
    assert world.replay().differences == ()
    assert world.documents() == before
    assert len(model.requests) == asked


def test_a_handler_that_asks_its_model_otherwise_is_told(tmp_path: Path) -> None:
    async def other(message: Go, ctx: Context) -> Reply[Said]:
        done = await ctx.complete(f"a new prompt for {message.text}", max_output_tokens=20)
        return Reply(Said(done.text))

    world = recorded(tmp_path)
    world.send("writer", Go("x"))
    (difference,) = world.replay(handlers={**HANDLERS, "writer": code(other)}).differences
    assert (difference.handler, difference.entry, difference.what) == ("writer", 2, "it asked")
    assert "a new prompt for x" in difference.now
    assert "x 20" in difference.recorded


def test_a_handler_that_answers_or_remembers_otherwise_is_told(tmp_path: Path) -> None:
    async def louder(message: Go, ctx: Context) -> Reply[Said]:
        ctx.state["seen"] = 1
        return Reply(Said("LOUD"))

    async def forgetful(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(Said(f"{message.text} 1"))

    world = recorded(tmp_path)
    world.send("echo", Go("x"))
    (difference,) = world.replay(handlers={"echo": code(louder)}).differences
    assert difference.what == "it answered"
    assert '"x 1"' in difference.recorded
    assert '"LOUD"' in difference.now
    (difference,) = world.replay(handlers={"echo": code(forgetful)}).differences
    assert (difference.what, difference.now) == ("it kept in its state", "{}")


def test_a_handler_that_fails_or_hangs_or_asks_less_is_told(tmp_path: Path) -> None:
    async def fails(message: Go, ctx: Context) -> None:
        raise Refused("no more")

    async def idle(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(Said("about"))

    world = recorded(tmp_path)
    result = world.send("writer", Go("x"))

    async def silent(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(result.reply)

    for handler, what, now in (
        (fails, "it answered", "failed: refused: no more"),
        (idle, "it answered", 'Reply {"Said": {"text": "about"}}'),
        (slow, "it was done", "it does not come to an end"),
        (silent, "it asked", "nothing like it"),
    ):
        (difference,) = world.replay(handlers={"writer": code(handler)}).differences
        assert (difference.what, difference.now) == (what, now)


def test_the_order_of_concurrent_questions_is_none_of_its_business(tmp_path: Path) -> None:
    async def gather(message: Go, ctx: Context, *, backwards: bool = False) -> Reply[Said]:
        answers: dict[int, str] = {}

        async def one(number: int) -> None:
            answers[number] = (await ctx.complete(f"part {number}", max_output_tokens=20)).text

        async with anyio.create_task_group() as group:
            for number in range(9, -1, -1) if backwards else range(10):
                group.start_soon(one, number)
        return Reply(Said(str(sorted(answers.items()))))

    async def backwards(message: Go, ctx: Context) -> Reply[Said]:
        return await gather(message, ctx, backwards=True)

    world = recorded(tmp_path, handlers={"gather": code(gather)})
    world.send("gather", Go("x"))
    replayed = world.replay(handlers={"gather": code(backwards)})
    assert (replayed.differences, replayed.calls) == ((), 10)


def test_a_call_that_no_backend_answered_fails_again(tmp_path: Path) -> None:
    async def careful(message: Go, ctx: Context) -> Reply[Said]:
        with suppress(ModelError):
            await ctx.complete("x", max_output_tokens=20)
            return Reply(Said("answered"))
        return Reply(Said("not answered"))

    model = ScriptedModel([Says(error=BackendError("server", "down"))])
    world = recorded(tmp_path, handlers={"careful": code(careful)}, models=model.models())
    assert world.send("careful", Go("x")).reply == Said("not answered")
    replayed = world.replay()
    assert (replayed.differences, replayed.unsure, replayed.deliveries) == ((), (), 1)


def test_a_thread_that_was_cancelled_or_ran_out_or_is_not_over_can_be_replayed(tmp_path: Path) -> None:
    async def work(organism: Organism) -> None:
        cancelled = await organism.send("busy", Go("x"), id="cancelled")
        short = await organism.send("busy", Go("x"), id="short", budget={"messages": 4})
        timed = await organism.send("busy", Go("x"), id="timed", budget={"seconds": 5})
        await organism.send("busy", Go("x"), id="left")
        await anyio.sleep(1.5)
        cancelled.cancel()
        for each in (cancelled, short, timed):
            await each.result()

    world = recorded(tmp_path)
    world.run(work)
    for thread in ("cancelled", "short", "timed", "left"):
        replayed = world.replay(thread)
        assert (thread, replayed.differences, replayed.unsure) == (thread, (), ())
        assert replayed.deliveries


def test_a_thread_that_went_on_after_a_crash_comes_out_the_same(tmp_path: Path) -> None:
    async def begin(organism: Organism) -> None:
        await organism.send("scatter", Go("x"), id="t")
        await anyio.sleep(2.3)

    async def go_on(organism: Organism) -> None:
        for handle in await organism.resume():
            await handle.result()

    world = recorded(tmp_path)
    world.run(begin)
    world.run(go_on)
    assert world.documents()[-1]["fact"] == "Ended"
    replayed = world.replay()
    assert (replayed.differences, replayed.unsure) == ((), ())


def test_asks_that_were_cut_off_before_a_crash_come_out_as_they_were_asked_after_it(tmp_path: Path) -> None:
    asked: list[str] = []

    async def moody(message: Go, ctx: Context) -> Reply[Said]:
        """Answers what it has been asked before."""
        asked.append(message.text)
        if asked.count(message.text) < 2:
            await anyio.sleep_forever()
        return Reply(Said("here"))

    async def impatient(message: Go, ctx: Context) -> Reply[Said]:
        """Cuts two asks off by itself, of which one is answered the second time, and lets two others time out."""
        said: list[Any] = []
        for to in ("slow", "moody"):
            with anyio.move_on_after(0.5):
                said.append(await ctx.ask(to, Go("without a timeout")))
        for seconds in (0.5, 4):
            try:
                await ctx.ask("slow", Go(f"within {seconds} s"), timeout=seconds)
            except HandlerFailedError as error:
                said.append(error.text)
        return Reply(Said(str(said)))

    async def begin(organism: Organism) -> None:
        await organism.send("impatient", Go("x"), id="t")
        await anyio.sleep(2.5)

    async def go_on(organism: Organism) -> list[Any]:
        return [(await handle.result()).reply for handle in await organism.resume()]

    handlers = {
        "impatient": code(impatient, "slow", "moody", timeout=None),
        "slow": code(slow, timeout=None),
        "moody": code(moody, timeout=None),
    }
    world = recorded(tmp_path, handlers=handlers)
    world.run(begin)
    texts = ["'slow' did not reply within 0.5 s", "'slow' did not reply within 4 s"]
    assert world.run(go_on) == [Said(str([Said("here"), *texts]))]
    assert asked == ["without a timeout"] * 2
    asked.clear()
    replayed = world.replay()
    assert (replayed.differences, replayed.unsure) == ((), ())


def test_a_thread_is_spawned_later_than_then_between_its_end_and_what_the_record_says_of_that(tmp_path: Path) -> None:
    """Messages run out while three threads wait for a place: all end at once, and the record says so of one after the other."""
    later = False

    async def hurried(message: Go, ctx: Context) -> Reply[Said]:
        """Asks for the last of them at once, or behind the end of the first one."""
        taken, first, second = [await ctx.spawn("slow", Go(each)) for each in ("0", "1", "2")]
        third = None if later else await ctx.spawn("slow", Go("3"))
        with suppress(BudgetExhaustedError):
            await ctx.ask("slow", Go("4"))
        outcomes = [(await first.result()).outcome]
        third = third or await ctx.spawn("slow", Go("3"))
        outcomes += [(await each.result()).outcome for each in (second, third, taken)]
        return Reply(Said(" ".join(outcomes)))

    handlers = {"hurried": code(hurried, "slow"), "slow": code(slow, concurrency=1)}
    world = Recorded(tmp_path, handlers=handlers, budget={"messages": 5})
    assert world.send("hurried", Go("x")).reply == Said("exhausted exhausted exhausted failed")
    assert world.replay().differences == ()
    later = True
    assert world.replay().differences == ()


async def remember(message: Go, ctx: Context) -> Reply[Said]:
    seen = ctx.state["seen"] = [*ctx.state.get("seen", []), message.text]
    return Reply(Said((await ctx.complete(" ".join(seen), max_output_tokens=20)).text))


def test_a_turn_that_was_sent_early_is_run_when_those_before_it_have_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ScriptedModel(answering)
    world = Recorded(tmp_path, handlers={"remember": code(remember)}, models=model.models())

    async def work(organism: Organism) -> None:
        turns = [await organism.send("remember", Go(each), id=each, conversation="c") for each in "abc"]
        for turn in turns:
            assert (await turn.result()).outcome == "completed"

    world.run(work)
    came: list[bool] = []
    moved = Player.moved

    async def watched(player: Player, patience: float) -> bool:
        came.append(await moved(player, patience))
        return came[-1]

    monkeypatch.setattr(Player, "moved", watched)
    replayed = world.replay("conversation:c")
    assert (replayed.differences, replayed.deliveries) == ((), 3)
    # On asyncio five seconds pass for each that is waited for in vain.
    assert all(came)
