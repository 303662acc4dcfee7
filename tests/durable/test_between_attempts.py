"""Processes that end between two attempts of a call: it is one call all the same."""

from __future__ import annotations

from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import Context, Reply
from organism.models.contract import BackendError
from organism.record.facts import CallHeld, CallSettled, Diverged, Snapshot
from organism.testing import Says, ScriptedModel
from tests.durable.mortal import Mortal, Scene, behind, check_whole, every
from tests.hard.budget_world import Done, Task, agent, models
from tests.hard.pump_world import Go, Said, code

if TYPE_CHECKING:
    from pathlib import Path


async def whole(message: Go, ctx: Context) -> Reply[Said]:
    return Reply(Said((await ctx.complete(message.text, max_output_tokens=50)).text))


async def graced(message: Go, ctx: Context) -> Reply[Said]:
    return Reply(Said((await ctx.complete(message.text, max_output_tokens=50, grace=True)).text))


async def streamed(message: Go, ctx: Context) -> Reply[Said]:
    async with ctx.stream(message.text, max_output_tokens=50) as stream:
        return Reply(Said("".join([piece async for piece in stream])))


def scene(path: Path, asks: Any, *, failures: int, **budget: Any) -> Scene:
    """A thread that asks once, and is answered after so many failures."""
    failed = Says(error=BackendError("rate_limited", "slow down"), seconds=1)
    said = chain(repeat(failed, failures), repeat(Says(text="fine", usage=(10, 5))))
    model = ScriptedModel(lambda _: next(said))
    aliases = models(model, retries=5)
    aliases["default"]["backoff"] = [60, 60]
    document = {"handlers": {"worker": code(asks)}, "models": aliases}
    return Scene(path / "j.db", model, {**document, "budget": budget}, [("t", "worker", Go("x"), {})])


async def killed(made: Scene, *, settled: int) -> None:
    """A process that ends behind so many attempts."""
    dying = made.organism()
    dying.dies_at = behind(settled, CallSettled)
    await made.live(dying, made.send_all if not made.path.exists() else made.go_on)
    assert dying.died.is_set()


@pytest.mark.parametrize("asks", [whole, streamed])
async def test_a_call_whose_process_ended_between_two_attempts_is_counted_once(tmp_path: Path, asks: Any) -> None:
    made = scene(tmp_path, asks, failures=3, model_calls=1)
    for settled in (1, 2):  # the second process makes two more
        await killed(made, settled=settled)
    organism = await made.resume()
    result = made.results["t"]
    assert (result.outcome, result.usage.model_calls, result.usage.tokens) == ("completed", 1, 15)
    assert not result.usage.estimated
    assert len(made.model.requests) == 4
    assert [held.need[4] for held in every(made.path, CallHeld)] == [1, 0, 0, 0]
    assert not every(made.path, Diverged)
    check_whole(organism, made.path)


async def test_a_call_on_grace_is_still_the_one_that_there_is(tmp_path: Path) -> None:
    made = scene(tmp_path, graced, failures=2, model_calls=2, grace={"model_calls": 1})
    await killed(made, settled=1)
    organism = await made.resume()
    result = made.results["t"]
    assert (result.outcome, result.reply, result.usage.model_calls) == ("exhausted", Said("fine"), 1)
    check_whole(organism, made.path)


async def test_an_agents_call_on_grace_is_made_after_all(tmp_path: Path) -> None:
    failed = Says(error=BackendError("rate_limited", "slow down"))
    said = iter([Says(calls=(("nobody", {}),), usage=(10, 5)), failed, failed])
    spent = Says(calls=(("reply", Done("fine")),), usage=(10, 5))
    model = ScriptedModel(lambda _: next(said, spent))
    document = {
        "handlers": {"worker": agent()},
        "models": models(model, retries=5),
        "budget": {"model_calls": 2, "grace": {"model_calls": 1}},
    }
    document["models"]["default"]["backoff"] = [60, 60]
    made = Scene(tmp_path / "j.db", model, document, [("t", "worker", Task("go"), {})])
    await killed(made, settled=2)
    organism = await made.resume()
    result = made.results["t"]
    assert (result.outcome, result.reply, result.usage.model_calls) == ("exhausted", Done("fine"), 2)
    assert len(model.requests) == 4
    check_whole(organism, made.path)


async def test_so_it_is_where_only_a_snapshot_knows_of_the_attempt(tmp_path: Path) -> None:
    made = scene(tmp_path, whole, failures=1, model_calls=1)
    dying = made.organism()
    dying.dies_at = behind(1, CallSettled)

    async def client(organism: Mortal) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(made.send_all, organism)
            await anyio.sleep(0.5)
            organism.kernel.snapshot("t", organism._now())

    await made.live(dying, client)
    assert dying.died.is_set()
    assert [*map(type, every(made.path, Snapshot))] == [Snapshot]
    organism = await made.resume()
    result = made.results["t"]
    assert (result.outcome, result.usage.model_calls, result.usage.tokens) == ("completed", 1, 15)
    check_whole(organism, made.path)
