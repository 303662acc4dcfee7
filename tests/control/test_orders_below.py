"""Orders that name a conversation, a sub-thread, or a thread whose calls were out when its process ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import Context, Reply
from organism.errors import ConfigurationError, JournalError
from organism.journal import socket_path
from organism.record.facts import CallSettled
from organism.testing import Says, ScriptedModel
from organism.works.control import Order, tell
from organism.works.control.orders import LONGEST
from tests.control.test_control import BUDGET, facts, listening, owner
from tests.durable.mortal import Mortal
from tests.durable.turns_world import COUNTER, Heard, Say, Talking, code, killed

if TYPE_CHECKING:
    from pathlib import Path


async def lead(say: Say, ctx: Context) -> Reply[Heard]:
    return Reply(await ctx.ask("sleeper", say, expect=Heard))


async def sleep(say: Say, ctx: Context) -> None:
    await anyio.sleep_forever()


async def call(say: Say, ctx: Context) -> Reply[Heard]:
    return Reply(Heard((await ctx.complete("Say it.", max_output_tokens=50)).text))


def made(folder: Path, **document: Any) -> Talking:
    handlers = {
        "lead": code(lead, "sleeper", timeout=None),
        "sleeper": code(sleep, timeout=None, budget={"tokens": 100}),
        "caller": code(call, timeout=None),
    }
    usual: dict[str, Any] = {"handlers": handlers, "budget": BUDGET, "conversation": {"tokens": 5000}}
    return Talking(name="test", folder=folder, journal="sqlite:organism.db", **usual | document)


async def told(folder: Path, **order: Any) -> str:
    path = socket_path(folder / "organism.db")
    await listening(path)
    return str((await tell(path, Order(**order)))["said"])


async def test_what_could_not_be_written_is_not_said_to_be_done(tmp_path: Path) -> None:
    journal = f"sqlite:{tmp_path / 'organism.db'}"
    async with Mortal(name="test", journal=journal, handlers=COUNTER, conversation={"tokens": 5000}) as organism:
        await (await organism.send("counter", Say("a"), conversation="c")).result()
        organism.refuses = lambda *_: JournalError("there is no space left")
        with pytest.raises(JournalError, match="there is no space left"):
            await told(tmp_path, do="add-budget", thread="c", units={"tokens": 500})
        organism.refuses = None
        for figures in ("5,000 -> 5,500", "5,500 -> 6,000"):
            said = await told(tmp_path, do="add-budget", thread="c", units={"tokens": 500})
            assert said == f"conversation c: tokens {figures}"
        assert not organism.unfinished


async def test_what_was_left_since_it_could_not_be_written_is_changed_once_it_can_be(tmp_path: Path) -> None:
    journal, handlers = f"sqlite:{tmp_path / 'organism.db'}", {"sleeper": code(sleep, timeout=None)}
    async with Mortal(name="test", journal=journal, handlers=handlers, budget=BUDGET) as organism:
        for name in ("apple", "berry"):
            await organism.send("sleeper", Say("a"), id=name)
        organism.refuses = lambda *_: JournalError("there is no space left")
        for name in ("apple", "berry"):
            with pytest.raises(JournalError, match="there is no space left"):
                await told(tmp_path, do="pause", thread=name)
        organism.refuses = None
        assert sorted(organism.unfinished) == ["apple", "berry"]
        assert (await told(tmp_path, do="pause", thread="apple")).startswith("thread apple is paused")
        assert await told(tmp_path, do="cancel", thread="berry") == "thread berry is cancelled"
        assert list(organism.unfinished) == ["apple"]
        assert await told(tmp_path, do="cancel", thread="apple") == "thread apple is cancelled"
        assert not organism.unfinished


async def test_a_conversation_is_given_more_and_paused_by_its_name(tmp_path: Path) -> None:
    async with made(tmp_path) as organism:
        turn = await organism.send("lead", Say("a"), conversation="c", id="apple")
        said = await told(tmp_path, do="add-budget", thread="c", units={"tokens": 500})
        assert said == "conversation c: tokens 5,000 -> 5,500"
        assert organism.kernel.state.conversations["c"].budget.limits.tokens == 5500
        with pytest.raises(ConfigurationError, match="conversation c has no limit of seconds"):
            await told(tmp_path, do="add-budget", thread="c", units={"seconds": 5})
        assert "thread apple is paused" in await told(tmp_path, do="pause", thread="c")
        assert "thread apple is cancelled" in await told(tmp_path, do="cancel", thread="c")
        assert (await turn.result()).outcome == "cancelled"


@pytest.mark.parametrize("before", [True, False], ids=["left", "lives"])
async def test_only_a_whole_thread_can_be_meant(tmp_path: Path, before: bool) -> None:
    whole = "apple.2 is a sub-thread: only a whole thread can be paused, cancelled or given more; that is apple"
    async with made(tmp_path) as organism:
        thread = await organism.send("lead", Say("a"), id="apple")
        await anyio.sleep(1)
        (below,) = [id_ for id_, each in organism.kernel.state.threads.items() if each.owner is not None]
        whole = whole.replace("apple.2", below)
        if not before:
            with pytest.raises(ConfigurationError) as refused:
                await told(tmp_path, do="pause", thread=below)
            assert refused.value.mistakes == (whole,)
            thread.cancel()
    if before:
        async with made(tmp_path) as organism:
            with pytest.raises(ConfigurationError, match="sub-thread: only a whole thread"):
                await told(tmp_path, do="cancel", thread=below)
            assert "thread apple is cancelled" in await told(tmp_path, do="cancel", thread="apple")
            assert not organism.unfinished


async def test_what_is_left_of_a_conversation_is_given_more_and_paused_where_it_lies(tmp_path: Path) -> None:
    async with made(tmp_path) as organism:
        await organism.send("lead", Say("a"), conversation="c", id="apple")
        await anyio.sleep(1)
    async with made(tmp_path) as organism:
        said = await told(tmp_path, do="add-budget", thread="c", units={"tokens": 500})
        assert said == "conversation c: tokens 5,000 -> 5,500"
        assert "thread apple is paused" in await told(tmp_path, do="pause", thread="c")
        assert "thread apple is paused already" in await told(tmp_path, do="pause", thread="c")
        assert organism.statistics().threads == 0
    async with made(tmp_path) as organism:
        (turn,) = await organism.resume()
        assert organism.kernel.state.conversations["c"].budget.limits.tokens == 5500
        assert (await turn.result()).outcome == "paused"
        turn.cancel()


async def test_a_call_that_was_out_is_charged_when_its_thread_is_cancelled_later(tmp_path: Path) -> None:
    model = ScriptedModel([Says(text="Said.", seconds=3600)])
    first = tmp_path / "first"
    first.mkdir()
    async with made(first, models=model.models()) as organism:
        thread = await organism.send("caller", Say("a"), id="apple")
        await anyio.sleep(1)
        folder = killed(first, "second")
        thread.cancel()
    async with made(folder, models=ScriptedModel([]).models()) as organism:
        assert await told(folder, do="cancel", thread="apple") == "thread apple is cancelled"
        assert not organism.unfinished
    (charge,) = [fact.charge for fact in facts(folder, "apple") if isinstance(fact, CallSettled)]
    assert charge.estimated
    assert charge.output_tokens == 50


@pytest.mark.parametrize("amount", ["many", "", "-5", "nan", "1e999", 10**400, "9" * 5000])
@pytest.mark.by_turns
async def test_an_amount_that_is_none_is_refused_in_words(tmp_path: Path, amount: Any) -> None:
    async with owner(tmp_path) as (organism, path):
        thread = await organism.send("sleeper", Say(), id="apple")
        limits = organism.kernel.state.threads["apple"].budget
        for unit in ("tokens", "cost_usd"):
            with pytest.raises(ConfigurationError) as refused:
                await tell(path, Order(do="add-budget", thread="apple", units={unit: amount}))
            assert unit in str(refused.value)
        assert organism.kernel.state.threads["apple"].budget == limits
        thread.cancel()


@pytest.mark.parametrize(
    ("order", "problem"),
    [
        ({"do": "answer", "thread": "x", "text": "y"}, "name the question"),
        ({"do": "answer", "thread": "x", "question": "x/1", "text": "y", "refuse": "z"}, "why there is none"),
        ({"do": "retry", "thread": "x"}, "name the dead letter"),
    ],
)
def test_an_order_without_what_it_is_about_is_none(order: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        Order(**order)


async def test_an_answer_that_is_too_long_is_not_sent(tmp_path: Path) -> None:
    async with owner(tmp_path) as (_, path):
        with pytest.raises(ConfigurationError, match=rf"answer: [\d,]+ bytes are too long; {LONGEST:,} is the most"):
            await tell(path, Order(do="answer", thread="x", question="x/1", text="y" * LONGEST))


async def test_a_fault_of_ours_is_answered_and_the_organism_works_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with owner(tmp_path) as (organism, path):
        with monkeypatch.context() as patch:
            patch.setattr("organism.pump.handles.ThreadHandle.pause", lambda _: 1 / 0)
            thread = await organism.send("sleeper", Say(), id="apple")
            with pytest.raises(ConfigurationError, match="unexpected ZeroDivisionError"):
                await tell(path, Order(do="pause", thread="apple"))
        assert "a request could not be carried out" in caplog.text
        assert "apple is paused" in (await tell(path, Order(do="pause", thread="apple")))["said"]
        thread.cancel()
