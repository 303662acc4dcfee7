"""What is told of the attempts of a call: how many were made, what they were charged, and where they went."""

from __future__ import annotations

import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest

from organism import BudgetExhaustedError, Context, ModelError, Reply
from organism.models.contract import BackendError, Piece
from organism.record.calls import call_rows
from organism.record.facts import CallFailed
from organism.testing import Says, ScriptedModel, running
from tests.hard.budget_world import NO_GRACE, PROMPT, Done, Task, code, models, outcome
from tests.models.router_world import Say, Script, ScriptedStream, usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from organism.models.completion import Completion
    from organism.models.contract import Request


@pytest.mark.parametrize("fails", [False, True])
async def test_an_attempt_that_was_not_made_after_all_is_none(fails: bool) -> None:
    """Its backend was closed to strict calls while it waited for a place there."""
    first = ScriptedModel([Says(text="first", usage=(5000, 1), seconds=5)])
    refusal = BackendError("auth", "401: no such key") if fails else None
    second = ScriptedModel([Says(text="second", usage=(1, 1), error=refusal)])
    both = models(first, max_concurrent=1)
    both["default"]["backends"] += models(second, priority=2)["default"]["backends"]
    got: list[Completion] = []

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        async def complete() -> None:
            with contextlib.suppress(ModelError):
                got.append(await ctx.complete(PROMPT, max_output_tokens=10))

        async with anyio.create_task_group() as group:
            group.start_soon(complete)
            await anyio.sleep(1)
            group.start_soon(complete)
        return Reply(Done("done"))

    budget = {"tokens": 100_000, "accounting": "strict", "grace": NO_GRACE}
    async with running(handlers={"worker": code(worker)}, models=both, budget=budget) as organism:
        result = await outcome(organism)
        failed = organism.watch.of(CallFailed)
        rows = call_rows(enumerate(organism.watch.facts, 1))
    assert result.outcome == "completed", result.error
    assert [(each.text, each.attempts) for each in got] == [("first", 1), ("second", 1)][: 1 if fails else 2]
    assert [each.attempts for each in failed] == [1] * fails
    assert [each.attempts for each in rows] == [1, 1]
    assert (len(first.requests), len(second.requests)) == (1, 1)


async def test_a_call_that_was_refused_before_any_attempt_was_made_is_over_all_the_same() -> None:
    """What it held of one backend was given back, since that was closed meanwhile, and another one costs too much."""
    first = ScriptedModel([Says(text="first", usage=(5000, 1), seconds=5)])
    second = ScriptedModel([Says(text="never")])
    both = models(first, max_concurrent=1)
    both["default"]["backends"] += models(second, priority=2, overhead=90_000)["default"]["backends"]
    refused: list[BudgetExhaustedError] = []

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        async def complete() -> None:
            try:
                await ctx.complete(PROMPT, max_output_tokens=10)
            except BudgetExhaustedError as error:
                refused.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(complete)
            await anyio.sleep(1)
            group.start_soon(complete)
        return Reply(Done("done"))

    budget = {"tokens": 90_000, "accounting": "strict", "grace": NO_GRACE}
    async with running(handlers={"worker": code(worker)}, models=both, budget=budget) as organism:
        await outcome(organism)
        rows = call_rows(enumerate(organism.watch.facts, 1))
    assert len(refused) == 1
    assert not second.requests
    assert [(each.outcome, each.attempts) for each in rows] == [("ok", 1), ("refused", 0)]


@pytest.mark.parametrize("end", ["left", "cut"])
async def test_a_stream_that_ends_early_costs_what_came_after_its_report_too(end: str) -> None:
    """The server reported its usage with the first piece, and never again."""
    error = BackendError("cut", "gone") if end == "cut" else None
    backend = Script(Say("first, and then a good many more words", early=usage(90, 2), pace=1, error=error))

    async def worker(task: Task, ctx: Context) -> None:
        with contextlib.suppress(ModelError):
            async with ctx.stream(PROMPT, max_output_tokens=100) as stream:
                async for piece in stream:
                    if end == "left" and piece == "words ":
                        break

    settings = {"default": {"backends": [{"provider": lambda _: backend, "model": "m", "overhead": 0}]}}
    async with running(handlers={"worker": code(worker)}, models=settings) as organism:
        result = await outcome(organism)
    assert result.outcome == "completed", result.error
    came = len("and then a good many more words ")
    assert result.usage.input_tokens == 90
    assert result.usage.output_tokens == 2 + -(-came * 2 // 3)
    assert result.usage.estimated


async def test_a_stream_that_reports_as_it_goes_costs_what_it_reported_last() -> None:
    class Going(ScriptedStream):
        async def __aiter__(self) -> AsyncGenerator[Piece]:
            for number in range(1, 9):
                self.usage = usage(90, 3 * number)
                yield Piece(text="some words more ")
            raise BackendError("cut", "gone")

    class Server(Script):
        @asynccontextmanager
        async def stream(self, request: Request) -> AsyncGenerator[ScriptedStream]:
            yield Going(self._next(request))

    async def worker(task: Task, ctx: Context) -> None:
        with pytest.raises(ModelError):
            async with ctx.stream(PROMPT, max_output_tokens=100) as stream:
                async for _ in stream:
                    pass

    settings = {"default": {"backends": [{"provider": lambda _: Server(), "model": "m", "overhead": 0}]}}
    async with running(handlers={"worker": code(worker)}, models=settings) as organism:
        result = await outcome(organism)
    assert (result.usage.input_tokens, result.usage.output_tokens) == (90, 24), result.error
    assert not result.usage.estimated
