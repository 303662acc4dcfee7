"""``organism.thread()``: how a thread without handlers ends, by its block and by others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism.errors import BudgetExhaustedError, HandlerFailedError, NotRunningError
from organism.record.facts import CallSettled
from organism.testing import Says, ScriptedModel, running

if TYPE_CHECKING:
    from pathlib import Path

    from organism import Completion, ThreadHandle


def slow() -> ScriptedModel:
    return ScriptedModel([Says(text="one two three four", usage=(10, 5), seconds=50)])


async def test_a_block_that_is_left_in_order_completes() -> None:
    async with running(models=slow().models()) as organism:
        async with organism.thread() as thread:
            await thread.complete("Go")
        assert (await thread.handle.result()).outcome == "completed"


async def test_an_exception_that_leaves_the_block_is_how_the_thread_failed() -> None:
    async with running() as organism:
        with pytest.raises(ValueError, match="no luck"):
            async with organism.thread() as thread:
                raise ValueError("no luck")
        result = await thread.handle.result()
    assert (result.outcome, result.code, result.error) == ("failed", "crashed", "ValueError: no luck")


async def test_a_refusal_that_leaves_the_block_is_exhaustion() -> None:
    async with running(models=slow().models()) as organism:
        with pytest.raises(BudgetExhaustedError):
            async with organism.thread(budget={"tokens": 1}) as thread:
                await thread.complete("Go")
        result = await thread.handle.result()
    assert (result.outcome, result.unit) == ("exhausted", "tokens")


async def test_its_time_counts_from_its_beginning() -> None:
    """Also where nothing happens meanwhile."""
    async with running(models=slow().models()) as organism:
        with pytest.raises(BudgetExhaustedError) as refused:
            async with organism.thread(budget={"seconds": 10}) as thread:
                await anyio.sleep(15)
                await thread.complete("Go")
        result = await thread.handle.result()
    assert (refused.value.unit, result.outcome, result.unit) == ("seconds", "exhausted", "seconds")


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("whose", ["thread", "organism"])
async def test_a_call_that_is_cut_since_the_seconds_have_run_out_says_so(streamed: bool, whose: str) -> None:
    """It has a few seconds more, as a last delivery has. However late another one comes, it is refused for the same reason."""
    model = slow()
    limited: dict[str, Any] = {"ceiling": {"seconds": 10}} if whose == "organism" else {"budget": {"seconds": 10}}
    async with running(models=model.models(), **limited) as organism, organism.thread() as thread:
        began = anyio.current_time()
        with pytest.raises(BudgetExhaustedError) as cut:
            if streamed:
                async with thread.stream("Go") as stream:
                    async for _ in stream:
                        pass
            else:
                await thread.complete("Go")
        assert anyio.current_time() - began < 20.5
        await anyio.sleep(25)
        with pytest.raises(BudgetExhaustedError) as refused:
            await thread.complete("Go")
        for said in (cut.value, refused.value):
            assert (said.unit, said.scope, said.used, said.limit) == ("seconds", whose, 10, 10)
        assert thread.budget.tokens.held == 0
    result = await thread.handle.result()
    assert (result.outcome, result.unit, result.usage.model_calls) == ("exhausted", "seconds", 1)
    assert len(organism.watch.of(CallSettled)) == 1
    assert model.finished == 0


async def test_a_failure_of_others_keeps_its_code() -> None:
    async with running() as organism:
        with pytest.raises(HandlerFailedError):
            async with organism.thread() as thread:
                raise HandlerFailedError("refused", "not today")
        result = await thread.handle.result()
    assert (result.outcome, result.code, result.error) == ("failed", "refused", "not today")


async def test_a_block_that_is_cancelled_is_a_thread_that_was() -> None:
    model = slow()
    async with running(models=model.models()) as organism:
        with anyio.move_on_after(10):
            async with organism.thread() as thread:
                await thread.complete("Go")
        result = await thread.handle.result()
    assert (result.outcome, result.error) == ("cancelled", "its block was cancelled")
    assert model.finished == 0


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_call_in_flight_ends_with_its_thread(streamed: bool) -> None:
    model = slow()
    async with running(models=model.models()) as organism:
        began = anyio.current_time()
        async with anyio.create_task_group() as group, organism.thread() as thread:

            async def cancel() -> None:
                await anyio.sleep(10)
                thread.handle.cancel("enough")

            group.start_soon(cancel)
            with pytest.raises(NotRunningError, match="has ended, and its call with it"):
                if streamed:
                    async with thread.stream("Go") as stream:
                        async for _ in stream:
                            pass
                else:
                    await thread.complete("Go")
            assert anyio.current_time() - began < 11
        result = await thread.handle.result()
        assert (result.outcome, result.error) == ("cancelled", "enough")
        assert len(organism.watch.of(CallSettled)) == 1
        assert organism.statistics().held == 0
    assert model.finished == 0


@pytest.mark.parametrize("journal", ["memory:", "sqlite:organism.db"])
async def test_a_call_in_flight_ends_when_the_organism_is_closed(tmp_path: Path, journal: str) -> None:
    model = slow()
    async with anyio.create_task_group() as group:
        async with running(models=model.models(), journal=journal, folder=tmp_path, check=False) as organism:

            async def call() -> None:
                with pytest.raises(NotRunningError, match="has ended, and its call with it"):
                    async with organism.thread() as thread:
                        await thread.complete("Go")

            group.start_soon(call)
            await anyio.sleep(1)
    assert model.finished == 0


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_another_task_still_calls_when_the_block_is_left_is_cut_and_paid(streamed: bool) -> None:
    model = slow()
    ended: list[str] = []
    async with running(models=model.models()) as organism, anyio.create_task_group() as group:
        async with organism.thread() as thread:

            async def call() -> None:
                with pytest.raises(NotRunningError, match="has ended, and its call with it"):
                    if streamed:
                        async with thread.stream("Go") as stream:
                            async for _ in stream:
                                pass
                    else:
                        await thread.complete("Go")
                ended.append("cut")

            group.start_soon(call)
            await anyio.sleep(20)
            left = anyio.current_time()
        assert ended == ["cut"]
        assert anyio.current_time() - left < 1  # it waits for the call, and no longer
        result = await thread.handle.result()
        assert (result.outcome, result.usage.model_calls, result.usage.estimated) == ("completed", 1, True)
        assert result.usage.tokens == organism.usage().tokens > 0
        with pytest.raises(NotRunningError):
            await thread.complete("Go")
    assert model.finished == 0


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_a_cancelled_thread_was_calling_is_part_of_its_result(streamed: bool) -> None:
    """And not charged in full: what came of the stream is what is paid."""
    model = slow()
    async with running(models=model.models()) as organism, anyio.create_task_group() as group:
        async with organism.thread() as thread:

            async def cancel() -> None:
                await anyio.sleep(20)
                thread.handle.cancel("enough")

            group.start_soon(cancel)
            with pytest.raises(NotRunningError, match="has ended, and its call with it"):
                if streamed:
                    async with thread.stream("Go", max_output_tokens=500) as stream:
                        async for _ in stream:
                            pass
                else:
                    await thread.complete("Go", max_output_tokens=500)
        result = await thread.handle.result()
        (settled,) = organism.watch.of(CallSettled)
        assert (result.outcome, result.usage.model_calls, result.usage.estimated) == ("cancelled", 1, True)
        assert (result.usage.input_tokens, result.usage.output_tokens) == settled.charge.amounts[1:3]
        assert (0 < result.usage.output_tokens < 20) is streamed
        assert result.usage.output_tokens < 20


async def test_a_block_that_is_cancelled_while_it_is_left_ends_as_well(anyio_backend_name: str) -> None:
    """`Task.cancel` passes every shield."""
    if anyio_backend_name != "asyncio":
        pytest.skip("trio cancels by scopes alone")
    async with running(models=slow().models()) as organism:
        handles: list[ThreadHandle] = []

        async def block() -> None:
            async with organism.thread() as thread:
                handles.append(thread.handle)
                beside.append(asyncio.create_task(thread.complete("Go")))
                await anyio.sleep(1)
                left.set()

        left = asyncio.Event()
        beside: list[asyncio.Task[Completion]] = []
        task = asyncio.create_task(block())
        await left.wait()
        task.cancel()  # while it waits for the call beside it
        await asyncio.wait([task, *beside])
        assert task.cancelled()
        assert isinstance(beside[0].exception(), NotRunningError)
        with anyio.fail_after(10):
            assert (await handles[0].result()).outcome == "completed"
        assert (organism.statistics().threads, organism.statistics().held) == (0, 0)
