"""What a way out of a call leaves behind, through an organism: what is charged, and to whom (R18)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import anyio
from attrs import frozen

from organism import Context, ModelError, Reply
from organism.record.facts import CallHeld, CallSettled
from tests.hard.budget_world import Done, Task, code, outcome
from tests.models.hostile import TIMEOUT, Hostile, Way, estimate, estimate_of, says, whole

PROMPT: Final = "Say something of some length, please."
MOST_OUTPUT: Final = 50
"""Tokens of output that the organisms of :mod:`tests.models.hostile` wish for."""
INPUT: Final = estimate_of(PROMPT)
"""The estimate of the prompt."""


def guessed(text: str = "") -> tuple[int, int, bool]:
    """The estimate of the input and of the output that came, which is no more than was held."""
    return INPUT, min(estimate(text), MOST_OUTPUT), True


def garbled(body: bytes) -> tuple[int, int, bool]:
    """The same where the output came in a body that cannot be read."""
    return guessed(body.decode("utf-8", "replace"))


NOTHING: Final = (0, 0, False)
TOLD: Final = (9, 2, False)


@frozen
class Case:
    """A way out: what the server does, what is charged, and what the caller gets (a text, or part of an error)."""

    way: Way
    charged: tuple[int, int, bool]
    said: str
    text: str | None = None
    stalls: bool = False


def failing(status: int, said: str, body: object = None, **headers: object) -> Case:
    return Case(says(whole({} if body is None else body, status, **headers)), NOTHING, said)


@frozen
class Protocol:
    """What speaks it: an organism before a server, the name of its backend, and a server's way to say what it was asked."""

    facing: Callable[..., AbstractAsyncContextManager[tuple[Any, Hostile]]]
    backend: str
    echo: Way


async def whole_call(ctx: Context) -> str:
    return (await ctx.complete(PROMPT)).text


async def streamed_call(ctx: Context) -> str:
    async with ctx.stream(PROMPT) as stream:
        async for _ in stream:
            pass
    return stream.completion.text


def figures(organism: Any, backend: str) -> list[tuple[int, int, bool]]:
    """What was charged to the organism, the handler, the model and the backend."""
    of = organism.usage
    (name,) = [name for name in of("backend") if name]
    assert name.startswith(f"{backend}@127.0.0.1:")
    sums = [of(), of("handler")["worker"], of("model")["default"], of("backend")[name]]
    assert {usage.cost_usd * 10**6 for usage in sums} == {sums[0].input_tokens + 2 * sums[0].output_tokens}
    return [(usage.input_tokens, usage.output_tokens, usage.estimated) for usage in sums]


async def check(case: Case, call: Callable[[Context], Awaitable[str]], protocol: Protocol) -> None:
    heard: list[str] = []

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        try:
            text = await call(ctx)
        except ModelError as error:
            heard.append(str(error))
            text = "nothing"
        assert ctx.budget.tokens.held == 0
        assert organism.statistics().held == 0
        return Reply(Done(ascii(text)))

    # Only one that is to stall is short of time: this machine may be busy.
    timeout = {"timeout": TIMEOUT if case.stalls else 30}
    handlers = {"worker": code(worker)}
    async with protocol.facing([case.way, protocol.echo], backend=timeout, handlers=handlers) as (organism, _):
        with anyio.fail_after(20):
            result = await outcome(organism)
        assert (result.outcome, result.usage.model_calls) == ("completed", 1), result.error
        told = (result.usage.input_tokens, result.usage.output_tokens, result.usage.estimated)
        assert [told, *figures(organism, protocol.backend)] == [case.charged] * 5
        assert len(organism.watch.of(CallHeld)) == len(organism.watch.of(CallSettled)) == 1
        if case.text is None:
            assert result.reply == Done("'nothing'")
            (line,) = heard
            assert case.said in line
            assert line.startswith("model 'default' failed: ")
            assert f"default via {protocol.backend}@127.0.0.1:" in line
        else:
            assert (result.reply, heard) == (Done(ascii(case.text)), [])
        # Whatever it was, the next call gets its own answer.
        async with organism.thread() as thread:
            assert (await thread.complete("And you?", max_output_tokens=5)).text == "And you?"
