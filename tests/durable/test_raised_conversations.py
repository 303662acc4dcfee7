"""The limits of conversations, changed while their turns run, between them, and by other processes (hard case 18)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from organism import BudgetExhaustedError, ConfigurationError, Context, Reply
from organism.journal import socket_path
from organism.record.facts import LimitsSet
from organism.testing import running
from organism.works.control import Order, tell
from tests.control.test_control import listening
from tests.durable.turns_world import COUNTER, Heard, Say, check_record, code, killed, recorded, sqlite, turn
from tests.hard.budget_world import NO_GRACE, models, spend, spender

if TYPE_CHECKING:
    from pathlib import Path


async def many(say: Say, ctx: Context) -> Reply[Heard]:
    """Spends 400 tokens as often as it is told, and says how often it could."""
    done = 0
    try:
        for _ in range(say.n):
            await spend(ctx, 400)
            done += 1
    except BudgetExhaustedError as error:
        return Reply(Heard(f"{done}, then {error.unit} of the {error.scope}"))
    return Reply(Heard(f"{done}"))


def spending(**limits: Any) -> dict[str, Any]:
    model = spender(seconds=10)
    return {
        "handlers": {"many": code(many)}, "models": models(model), "budget": {"runway": 0},
        "conversation": {"grace": NO_GRACE, "runway": 0, **limits},
    }  # fmt: skip


async def test_a_lowered_limit_lets_running_calls_finish_and_refuses_the_next() -> None:
    async with running(**spending(tokens=10_000)) as organism:
        handle = await organism.send("many", Say(n=5), conversation="c")
        await anyio.sleep(15)
        conversation = await organism.conversation_of("c")
        assert conversation is not None
        conversation.set_budget(tokens=100)
        result = await handle.result()
        assert (conversation.budget.tokens.used, conversation.budget.tokens.limit) == (800, 100)
        # A turn still comes in: there is a message for it, and no tokens.
        assert (await turn(organism, "many")).reply == Heard("0")
    assert result.reply == Heard("2, then tokens of the conversation")
    assert [warned.level for warned in result.warnings] == ["warning", "critical", "final"]


async def test_a_raised_limit_lets_waiting_and_later_calls_go_on() -> None:
    async with running(**spending(tokens=800)) as organism:
        first = await organism.send("many", Say(n=3), conversation="c")
        await anyio.sleep(15)
        conversation = await organism.conversation_of("c")
        assert conversation is not None
        assert (conversation.id, conversation.budget.tokens.remaining) == ("c", 0)
        conversation.add_budget(tokens=800)
        assert (await first.result()).reply == Heard("3")
        assert (await turn(organism, "many", conversation="c")).reply == Heard("0")
        last = await (await organism.send("many", Say(n=3), conversation="c")).result()
    assert last.reply == Heard("1, then tokens of the conversation")


async def test_a_waiting_call_goes_as_soon_as_its_conversation_bears_it() -> None:
    async def pair(say: Say, ctx: Context) -> Reply[Heard]:
        began = anyio.current_time()
        async with anyio.create_task_group() as group:
            group.start_soon(spend, ctx, 600)
            await anyio.sleep(1)
            group.start_soon(spend, ctx, 500)
        return Reply(Heard(f"{anyio.current_time() - began:g}"))

    document = spending(tokens=1000)
    document["handlers"]["pair"] = code(pair)
    async with running(**document) as organism:
        handle = await organism.send("pair", Say(), conversation="c")
        await anyio.sleep(3)
        assert organism.statistics().waiting_for_budget == 1
        conversation = await organism.conversation_of("c")
        assert conversation is not None
        conversation.add_budget(tokens=200)
        await anyio.lowlevel.checkpoint()
        assert organism.statistics().waiting_for_budget == 0
        assert (await handle.result()).reply == Heard("13")


async def test_a_conversation_at_its_cap_goes_on_once_it_is_raised(tmp_path: Path) -> None:
    async with running(sqlite(tmp_path / "j", handlers=COUNTER, conversation={"messages": 2})) as organism:
        for number in (1, 2):
            assert (await turn(organism, "counter", "a")).reply == Heard(f"{number} a")
        with pytest.raises(BudgetExhaustedError, match="messages of the conversation"):
            await turn(organism, "counter", "b")
        conversation = await organism.conversation_of("c")
        assert conversation is not None
        conversation.add_budget(messages=1)
        assert (await turn(organism, "counter", "b")).reply == Heard("3 b")
        with pytest.raises(BudgetExhaustedError):
            await turn(organism, "counter", "c")
        (fact,) = [each for each in await recorded(organism, whole=True) if isinstance(each, LimitsSet)]
        assert (fact.thread, fact.budget.limits.messages) == ("conversation:c", 3)
        await check_record(organism)


async def test_what_was_raised_holds_in_another_process(tmp_path: Path) -> None:
    async with running(sqlite(tmp_path / "j", handlers=COUNTER, conversation={"messages": 1})) as organism:
        await turn(organism, "counter", "a")
        conversation = await organism.conversation_of("c")
        assert conversation is not None
        conversation.set_budget(messages=2)
        await recorded(organism)
        left = killed(tmp_path / "j", "left")
    async with sqlite(left, handlers=COUNTER, conversation={"messages": 1}) as organism:
        assert (await turn(organism, "counter", "b")).reply == Heard("2 b")
        with pytest.raises(BudgetExhaustedError):
            await turn(organism, "counter", "c")


async def test_nothing_is_begun_by_looking_for_it(tmp_path: Path) -> None:
    async with running(sqlite(tmp_path / "j", handlers=COUNTER)) as organism:
        assert await organism.conversation_of("nobody") is None
        assert not organism.kernel.state.conversations


async def test_what_cannot_be_changed_is_said() -> None:
    async with running(handlers=COUNTER, conversation={"tokens": 5}) as organism:
        await turn(organism, "counter")
        conversation = await organism.conversation_of("c")
        assert conversation is not None
        with pytest.raises(ConfigurationError, match="'depth' is not a unit of a conversation that can be raised"):
            conversation.add_budget(depth=3)
        with pytest.raises(ConfigurationError, match="depth is of one turn"):
            conversation.set_budget(depth=3)
        with pytest.raises(ConfigurationError, match="'nobody' is not a handler"):
            conversation.set_budget(grants_by="nobody")
        conversation.add_budget(tokens=5, messages=10)
        assert (conversation.budget.tokens.limit, conversation.budget.messages.limit) == (10, None)
        assert conversation.budget.seconds.limit is None
        assert conversation.budget.depth.limit is None


async def test_another_process_raises_the_limits_of_a_conversation(tmp_path: Path) -> None:
    path = socket_path(tmp_path / "j" / "organism.db")
    document: dict[str, Any] = {"handlers": COUNTER, "conversation": {"messages": 1}}
    async with running(sqlite(tmp_path / "j", **document)) as organism:
        handle = await organism.send("counter", Say("a"), conversation="c", id="first")
        await handle.result()
        await listening(path)
        order = Order(do="add-budget", thread="c", units={"messages": 4})
        answer = await tell(path, order)
        assert answer["said"] == "conversation c: messages 1 -> 5"
        with pytest.raises(ConfigurationError, match="conversation c has no limit of tokens"):
            await tell(path, Order(do="add-budget", thread="c", units={"tokens": 4}))
        assert (await turn(organism, "counter", "b")).reply == Heard("2 b")


async def test_what_a_process_left_of_a_conversation_is_raised_where_it_lies(tmp_path: Path) -> None:
    """Nothing of it runs until somebody goes on with it."""
    path = socket_path(tmp_path / "left" / "organism.db")
    document = spending(tokens=500)
    async with running(sqlite(tmp_path / "j", **document)) as organism:
        handle = await organism.send("many", Say(n=2), conversation="c", id="first")
        await anyio.sleep(5)
        left = killed(tmp_path / "j", "left")
        await handle.result()
    async with sqlite(left, **document) as organism:
        await listening(path)
        answer = await tell(path, Order(do="add-budget", thread="c", units={"tokens": 1000}))
        assert answer["said"] == "conversation c: tokens 500 -> 1,500"
        assert not organism.kernel.state.threads
        (handle,) = await organism.resume()
        # The call that was out is charged, and both are made.
        assert (await handle.result()).reply == Heard("2")
