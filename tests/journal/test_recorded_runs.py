"""What real runs recorded, through the codec and back: the same facts, and the same state when they are folded."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import Context, Forward, HandlerFailedError, Refused, Reply, Send
from organism.errors import BudgetExhaustedError
from organism.journal.chain import canonical
from organism.journal.codec import decode, encode
from organism.kernel.comparable import comparable
from organism.kernel.fold import Fold
from organism.payloads import Vocabulary, is_payload
from organism.record.facts import Ended, Fact
from organism.testing import Says, ScriptedModel, differences, running
from tests.hard.pump_world import Go, Odd, Said, code

if TYPE_CHECKING:
    from organism import Organism

WORDS = Vocabulary([Go, Said, Odd])


async def echo(message: Go, ctx: Context) -> Reply[Said]:
    ctx.state["seen"] = [*ctx.state.get("seen", []), {"$text": message.text, "go": message, "share": 0.5}]
    return Reply(Said(message.text))


async def refuse(message: Go, ctx: Context) -> None:
    raise Refused("not today")


async def forward(message: Go, ctx: Context) -> Forward[Go]:
    return Forward("echo", message)


async def busy(message: Go, ctx: Context) -> Reply[Said]:
    await ctx.complete("first", max_output_tokens=20)
    with anyio.move_on_after(0.5):
        await ctx.ask("slow", Go("never"))
    with suppress(HandlerFailedError):
        await ctx.ask("refuse", Go("?"))
    await ctx.spawn("echo", Go("aside"))
    answers = await ctx.ask_all([("echo", Go("a")), ("forward", Go("b")), ("sub", Go("c"))])
    with suppress(BudgetExhaustedError):
        await ctx.complete("too much", max_output_tokens=10_000)
    return Reply(Said(repr(answers)))


async def slow(message: Go, ctx: Context) -> None:
    await anyio.sleep_forever()


async def scatter(message: Go | Said, ctx: Context) -> list[Any] | None:
    if isinstance(message, Said):
        return None
    return [Send("echo", Go("1")), Send("refuse", Go("2")), Reply(Said("sent")), Send("slow", Go("3"))]


HANDLERS = {
    "echo": code(echo),
    "refuse": code(refuse),
    "forward": code(forward, "echo"),
    "sub": code(echo, budget={"messages": 5}),
    "slow": code(slow),
    "busy": code(busy, "slow", "refuse", "echo", "forward", "sub"),
    "scatter": code(scatter, "echo", "refuse", "slow"),
}


async def record_of(**budget: Any) -> tuple[Organism, list[Fact]]:
    """Runs all of it once; gives the organism and its record."""
    model = ScriptedModel([Says(text="hello", usage=(100, 50))])
    limits = {"tokens": 200, "seconds": 30, "cost_usd": "0.5", **budget}
    async with running(handlers=HANDLERS, models=model.models(), budget=limits) as organism:
        one = await organism.send("busy", Go("x"), labels={"of": "é"})
        await one.result()
        other = await organism.send("scatter", Go("y"), id="../a b")
        await anyio.sleep(1)
        if not other.ended:
            other.set_budget(tokens=50)
            other.cancel("enough")
        await other.result()
        late = await organism.send("slow", Go("z"))
        await late.result()  # its seconds run out
        async with organism.thread() as bare:
            await bare.complete("hi", max_output_tokens=5)
    return organism, organism.watch.facts


async def test_a_record_comes_back_as_it_was_and_folds_to_the_same_state() -> None:
    organism, record = await record_of()
    kinds = {type(fact).__name__ for fact in record}
    assert {"Accepted", "Answered", "Failed", "Asked", "Abandoned", "Spawned", "CallHeld", "CallSettled"} <= kinds
    assert {"CallRefused", "CallCompleted", "Stopped", "Exhausted", "LimitsSet", "Closed", "Ended"} <= kinds
    back = [decode(json.loads(canonical(encode(fact, "r"))), WORDS) for fact in record]
    assert back == record
    ours, theirs = Fold(organism.settings), Fold(organism.settings)
    for number, (one, other) in enumerate(zip(record, back, strict=True)):
        ours.apply(one)
        theirs.apply(other)
        assert not differences(comparable(ours.state), comparable(theirs.state)), f"after fact {number}"


async def test_a_record_can_be_read_without_its_classes() -> None:
    _, record = await record_of()
    for fact in record:
        document = json.loads(canonical(encode(fact, "r")))
        plain = decode(document)
        assert json.loads(canonical(encode(plain, "r"))) == document
        if isinstance(plain, Ended):
            assert not any(is_payload(payload) for _, payload in plain.replies)


@pytest.mark.parametrize("limits", [{"messages": 4}, {"messages": 7, "tokens": 5000}, {"model_calls": 1}])
async def test_records_of_threads_that_run_out(limits: dict[str, Any]) -> None:
    _, record = await record_of(**limits)
    assert [decode(json.loads(canonical(encode(fact, "r"))), WORDS) for fact in record] == record
