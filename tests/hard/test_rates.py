"""Waiting for a backend, through the whole of an organism: it costs no handler's time, holds nothing and outlives no deadline."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from organism import Context, ModelError, Reply
from organism.models.contract import BackendError
from organism.record.facts import CallFailed, CallHeld
from organism.testing import Says, ScriptedModel, running
from tests.hard.budget_world import NO_GRACE, Done, Task, code, models, outcome, spend, spender


async def test_waiting_for_a_rate_costs_no_handler_time_and_holds_nothing() -> None:
    model = spender(seconds=1)
    held: list[int] = []

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(spend, ctx, 100)
            await anyio.sleep(1.5)
            held.append(organism.statistics().held)
        return Reply(Done("done"))

    made = models(model, requests_per_minute=6)
    handlers = {"worker": code(worker, timeout=3)}
    async with running(handlers=handlers, models=made, budget={"tokens": 1000}) as organism:
        began = anyio.current_time()
        result = await outcome(organism)
        assert result.reply == Done("done"), result.error
        assert anyio.current_time() - began == pytest.approx(31, abs=0.1)
    assert held == [0]


async def test_a_call_that_waits_alone_is_not_timed_out() -> None:
    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        for _ in range(3):
            await spend(ctx, 100)
        return Reply(Done("done"))

    handlers = {"worker": code(worker, timeout=1)}
    async with running(handlers=handlers, models=models(spender(), requests_per_minute=1)) as organism:
        began = anyio.current_time()
        assert (await outcome(organism)).reply == Done("done")
        assert anyio.current_time() - began == pytest.approx(120, abs=0.1)


async def test_threads_get_their_turns_in_the_order_in_which_they_asked() -> None:
    model, order = spender(), list[str]()

    async def worker(task: Task, ctx: Context) -> None:
        await spend(ctx, 100)
        order.append(ctx.labels["number"])

    async with running(handlers={"worker": code(worker)}, models=models(model, requests_per_minute=30)) as organism:
        handles = []
        for number in range(12):
            handles.append(await organism.send("worker", Task("go"), labels={"number": str(number)}))
            await anyio.sleep(0.01)
        for handle in handles:
            await handle.result()
    assert order == [str(number) for number in range(12)]


@pytest.mark.parametrize("backend", [{"requests_per_minute": 1}, {}], ids=["rate", "backoff"])
async def test_what_would_come_after_the_threads_seconds_is_told_while_it_can_still_act(
    backend: dict[str, Any],
) -> None:
    error = BackendError("rate_limited", "429", retry_after=25.0)
    model = ScriptedModel([Says(text="ok")] if backend else [Says(error=error)])

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        began = anyio.current_time()
        with pytest.raises(ModelError, match=r"after .*deadline"):
            for _ in range(2):
                await spend(ctx, 100)
        assert anyio.current_time() == began
        return Reply(Done("gave up in time"))

    budget = {"seconds": 20, "grace": NO_GRACE}
    async with running(handlers={"worker": code(worker)}, models=models(model, **backend), budget=budget) as organism:
        result = await outcome(organism)
        assert (result.outcome, result.reply) == ("completed", Done("gave up in time")), result.error
        assert organism.statistics().held == 0
        assert len(organism.watch.of(CallHeld)) == 1
        assert len(organism.watch.of(CallFailed)) == 1


async def test_an_open_circuit_is_waited_for_without_cost_and_the_wait_is_no_attempt() -> None:
    broken = Says(error=BackendError("server", "500"))
    model = ScriptedModel([*[broken] * 5, Says(text="back", usage=(10, 1))])

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        done = await spend(ctx, 100)
        return Reply(Done(f"{done.text} {done.attempts} {done.usage.tokens}"))

    made = models(model, retries=5)
    made["default"]["backoff"] = [0, 0]
    async with running(handlers={"worker": code(worker, timeout=5)}, models=made) as organism:
        began = anyio.current_time()
        assert (await outcome(organism)).reply == Done("back 6 11")
        assert anyio.current_time() - began == pytest.approx(10, abs=0.1)
