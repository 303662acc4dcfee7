"""Messages that were tried again are replayed attempt by attempt, each with the answers that it had."""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism import Context, Reply
from organism.record.facts import Retried
from organism.testing import Says, ScriptedModel
from tests.hard.pump_world import Go, Said, code
from tests.replay.replay_world import Recorded

if TYPE_CHECKING:
    from pathlib import Path


async def peer(message: Go, ctx: Context) -> Reply[Said]:
    """Says when, and under which key."""
    return Reply(Said(f"{message.text} {ctx.now().isoformat()} {ctx.idempotency_key}"))


async def work(message: Go, ctx: Context) -> Reply[Said]:
    """Goes by what the model says: the same prompt has another answer in each attempt."""
    ctx.state["began"] = ctx.now().isoformat()
    said = (await ctx.complete(message.text, max_output_tokens=20)).text
    answer = await ctx.ask("peer", Go(said), expect=Said)
    if said != "good":
        raise ValueError(f"{said}: {answer.text}")
    return Reply(answer)


async def careless(message: Go, ctx: Context) -> Reply[Said]:
    """The same, but that it minds nothing."""
    ctx.state["began"] = ctx.now().isoformat()
    said = (await ctx.complete(message.text, max_output_tokens=20)).text
    return Reply(await ctx.ask("peer", Go(said), expect=Said))


def recorded(folder: Path, *answers: str, attempts: int = 3) -> Recorded:
    said = iter(answers)
    model = ScriptedModel(lambda _: Says(text=next(said), usage=(10, 5), seconds=0.5))
    handlers = handled(work, attempts)
    return Recorded(folder, handlers=handlers, models=model.models(), loops=None)


def handled(handler: object, attempts: int = 3) -> dict[str, object]:
    policy = {"attempts": attempts, "backoff": [2, 4]}
    return {"work": code(handler, "peer", on_failure=policy), "peer": code(peer)}  # type: ignore[arg-type]


def test_attempts_come_out_the_same(tmp_path: Path) -> None:
    world = recorded(tmp_path, "bad", "worse", "good")
    assert world.send("work", Go("x")).outcome == "completed"
    assert [each["fact"] for each in world.documents()].count(Retried.__name__) == 2
    replayed = world.replay()
    assert (replayed.differences, replayed.unsure, replayed.deliveries, replayed.calls) == ((), (), 6, 3)


def test_a_message_that_failed_for_good_comes_out_the_same(tmp_path: Path) -> None:
    world = recorded(tmp_path, "bad", "worse", attempts=2)
    assert world.send("work", Go("x")).outcome == "failed"
    replayed = world.replay()
    assert (replayed.differences, replayed.unsure, replayed.deliveries, replayed.calls) == ((), (), 4, 2)


def test_what_an_attempt_does_otherwise_is_told_with_its_place(tmp_path: Path) -> None:
    world = recorded(tmp_path, "bad", "worse", "good")
    world.send("work", Go("x"))
    places = [n for n, each in enumerate(world.documents(), 1) if each["fact"] == Retried.__name__]
    first, second = world.replay(handlers=handled(careless)).differences
    assert [first.entry, second.entry] == places
    assert first.recorded.startswith("failed: crashed: ValueError: bad")
    assert first.now.startswith("Reply")
