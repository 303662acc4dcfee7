"""A server that does not stop where it was told to is cut: over real connections, to the real end of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.lowlevel
import pytest

from organism import Context, ModelError, Reply
from organism.models.tokens.usage import Output
from organism.record.facts import CallSettled
from organism.testing import running
from tests.hard.budget_world import NO_GRACE, Done, Task, code, outcome
from tests.models.hostile import DONE, END, estimate_of, events, facing, models, more, says, serving, usage, word

if TYPE_CHECKING:
    from tests.models.hostile import Peer

PROMPT: Final = "Say something of some length, please."
INPUT: Final = estimate_of(PROMPT)
MOST: Final = 50
"""Tokens of output that a call may bring."""


pytestmark = pytest.mark.sockets


def endless(**said: Any) -> Any:
    """Words without an end, until the other side hangs up. ``said`` goes into each chunk."""

    async def way(peer: Peer) -> None:
        await peer.request()
        await peer.send(events())
        try:
            while True:
                await peer.send(more(word("word ", **said)))
                await anyio.lowlevel.checkpoint()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            peer.closed = True

    return way


async def test_the_connection_is_closed_and_what_came_is_charged() -> None:
    async with facing([endless()]) as (organism, server), organism.thread() as thread:
        async with thread.stream(PROMPT) as stream:
            text = "".join([piece async for piece in stream])
            # Before the block is left: the server stops writing, whatever the reader does next.
            await server.deserted()
            assert [piece async for piece in stream] == []
        done = stream.completion
        assert (done.finish_reason, done.text) == ("budget", text)
        came = Output()
        came.add(text)
        assert MOST < came.tokens <= MOST + 1
        assert (done.usage.input_tokens, done.usage.output_tokens) == (INPUT, came.tokens)
        assert done.usage.estimated
        assert thread.budget.tokens.held == 0
        assert thread.budget.tokens.used == INPUT + came.tokens
        assert server.asked == 1


async def test_the_budget_clamps_what_may_come_and_what_is_cut() -> None:
    """300 tokens are left, half of what is free of them is output: the wish of 5,000 would have let it go on."""
    budget = {"tokens": 300, "grace": NO_GRACE, "runway": 0, "warn_at": []}
    async with serving(endless()) as server:

        async def worker(task: Task, ctx: Context) -> Reply[Done]:
            async with ctx.stream(PROMPT, min_output_tokens=10) as stream:
                async for _ in stream:
                    pass
            assert stream.completion.clamped
            return Reply(Done(stream.completion.finish_reason))

        made = models(server)
        made["default"]["max_output_tokens"] = 5000
        async with running(handlers={"worker": code(worker)}, models=made, budget=budget) as organism:
            result = await outcome(organism)
            assert result.reply == Done("budget"), result.error
            assert result.usage.tokens <= 300
            (settled,) = organism.watch.of(CallSettled)
            assert settled.charge.output_tokens <= (300 - INPUT) // 2 + 1
        await server.deserted()


async def test_what_the_server_reports_meanwhile_counts_to_the_token() -> None:
    async def way(peer: Peer) -> None:
        await peer.request()
        await peer.send(events())
        for number in range(1, 60):
            so_far = {"prompt_tokens": 9, "completion_tokens": number}
            await peer.send(more(word("a", usage=so_far)))
        await peer.hang()

    async with facing([way]) as (organism, server), organism.thread() as thread:
        async with thread.stream(PROMPT) as stream:
            text = "".join([piece async for piece in stream])
            await server.deserted()
        assert text == "a" * (MOST + 1)
        done = stream.completion
        assert (done.finish_reason, done.usage.input_tokens, done.usage.output_tokens) == ("budget", 9, MOST + 1)
        assert not done.usage.estimated


async def test_reasoning_that_nobody_sees_counts_too() -> None:
    """It never gives a word: nothing is tried again, since it is money that ends it."""

    async def way(peer: Peer) -> None:
        await peer.request()
        thought = {"choices": [{"index": 0, "delta": {"reasoning_content": "think of it "}}]}
        await peer.send(events(*[thought] * 60))
        await peer.hang()

    async with facing([way], retries=3) as (organism, server), organism.thread() as thread:
        async with thread.stream(PROMPT) as stream:
            assert [piece async for piece in stream] == []
            await server.deserted()
        assert (stream.completion.text, stream.completion.finish_reason) == ("", "budget")
        assert server.asked == 1


TEXTS: Final = {
    "English": "The quick brown fox jumps over the lazy dog, and nobody knows why. ",
    "long words": "internationalization misunderstandings notwithstanding responsibilities ",
    "a ruled line": "-" * 400,
    "indentation": " " * 300 + "x\n",
    "Russian": "Быстрая коричневая лиса прыгает через ленивую собаку. ",
    "Chinese": "敏捷的棕色狐狸跳过了懒狗。",
}
MOST_CHARACTERS: Final = 10
"""Characters a token of a tokenizer that is better than any there is."""


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.by_turns
async def test_a_server_that_keeps_to_it_is_never_cut(text: str) -> None:
    runs = text[0] * 2 == text[:2]
    whole = text if runs else (text * 20)[: int(MOST * MOST_CHARACTERS)]
    pieces = [whole[at : at + 7] for at in range(0, len(whole), 7)]
    reported = {"prompt_tokens": 9, "completion_tokens": MOST}
    way = says(events(*[word(piece) for piece in pieces], word("", "length"), usage(**reported), DONE) + END)
    async with facing([way]) as (organism, _), organism.thread() as thread:
        async with thread.stream(PROMPT) as stream:
            assert "".join([piece async for piece in stream]) == whole
        assert (stream.completion.finish_reason, stream.completion.usage.output_tokens) == ("length", MOST)


@pytest.mark.by_turns
async def test_it_is_closed_to_strict_calls_afterwards_and_others_go_on() -> None:
    async with facing([endless()]) as (organism, _):
        async with organism.thread() as thread:
            for _ in range(7):  # a server that answers too much is no server that is down
                async with thread.stream(PROMPT) as stream:
                    async for _ in stream:
                        pass
        async with organism.thread(budget={"accounting": "strict"}) as thread:
            with pytest.raises(ModelError, match="closed to strict calls"):
                await thread.complete(PROMPT)
