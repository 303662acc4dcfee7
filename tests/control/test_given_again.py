"""Orders that are given again, since nobody saw whether they were carried out: what has an id is done once."""

from __future__ import annotations

from contextlib import asynccontextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

from organism.errors import ConfigurationError, IdTakenError, JournalError
from organism.journal import socket_path
from organism.works.control import Order, tell
from tests.control.test_control import listening
from tests.durable.mortal import Mortal
from tests.durable.turns_world import Say, Talking, code, count
from tests.hard.pump_world import Go
from tests.hard.pump_world import code as code_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from pathlib import Path

    from organism import Context

URLS: Final = ("sqlite:organism.db", "jsonl:journal")


async def sleep(say: Say, ctx: Context) -> None:
    await anyio.sleep_forever()


KEYS: Final[Mapping[str, Any]] = {
    "handlers": {"sleeper": code(sleep, timeout=None), "counter": code(count)},
    "budget": {"tokens": 1000, "cost_usd": "0.5"},
    "conversation": {"tokens": 2000, "messages": 2, "on_cap": "rotate"},
    "accounts": {"tenant": {"tokens": 3000, "window": "total"}},
    "ceiling": {"tokens": 9000, "window": "total"},
}


def made(folder: Path, url: str) -> Talking:
    return Talking(name="test", folder=folder, journal=url, **KEYS)


@asynccontextmanager
async def process(folder: Path, url: str) -> AsyncGenerator[Talking]:
    """One that goes on with what the one before it has left."""
    async with made(folder, url) as organism:
        await organism.resume()
        yield organism


def limit(organism: Talking, thread: str) -> int | None:
    return organism.kernel.state.threads[thread].budget.limits.tokens


@pytest.mark.parametrize("url", URLS)
async def test_a_thread_is_given_more_once_by_this_process_and_the_next(tmp_path: Path, url: str) -> None:
    async with process(tmp_path, url) as first:
        await first.send("sleeper", Say(), id="apple")
        assert await first.add_budget("apple", id="more", tokens=500, cost_usd=Decimal("0.10"))
        assert not await first.add_budget("apple", id="more", tokens=500.0, cost_usd="0.1"), "the same, typed otherwise"
        assert limit(first, "apple") == 1500
    async with process(tmp_path, url) as second:
        assert not await second.add_budget("apple", id="more", cost_usd="0.1", tokens=500)
        assert await second.add_budget("apple", id="still more", tokens=500, cost_usd="0.1")
        assert limit(second, "apple") == 2000
        second.thread_of("apple").cancel()  # type: ignore[union-attr]
    async with process(tmp_path, url) as third:
        assert not await third.add_budget("apple", id="more", tokens=500, cost_usd="0.1"), "though it has ended"
        with pytest.raises(ConfigurationError, match="thread apple has ended"):
            await third.add_budget("apple", id="new", tokens=500)


async def test_another_order_under_the_same_id_is_refused_by_name(tmp_path: Path) -> None:
    async with process(tmp_path, URLS[0]) as organism:
        await organism.send("sleeper", Say(), id="apple")
        assert await organism.add_budget("apple", id="more", tokens=500)
        with pytest.raises(IdTakenError) as raised:
            await organism.add_budget("apple", id="more", tokens=600)
        assert str(raised.value) == (
            "order id 'more' is that of another order: that one adds tokens=500, this one tokens=600; give this one "
            "another id"
        )
        assert limit(organism, "apple") == 1500
        await organism.send("sleeper", Say(), id="berry")
        assert await organism.add_budget("berry", id="more", tokens=600), "an id is of one thread"


async def test_a_conversation_is_given_more_once_also_where_it_has_gone_on_elsewhere(tmp_path: Path) -> None:
    async with process(tmp_path, URLS[0]) as first:
        await first.ask("counter", Say(), conversation="c")
        assert await first.add_budget("c", id="more", tokens=500)
        await first.ask("counter", Say(), conversation="c")
        await first.ask("counter", Say(), conversation="c")  # it has used up its messages
    async with process(tmp_path, URLS[0]) as second:
        talk = await second.conversation_of("c")
        assert talk is not None
        assert talk.id == "c~2"
        assert not await second.add_budget("c", id="more", tokens=500)
        assert talk.budget.tokens.limit == 2000
        assert await second.add_budget("c", id="and more", tokens=500)
        assert talk.budget.tokens.limit == 2500
    async with process(tmp_path, URLS[0]) as third:
        await third.send("sleeper", Say(), conversation="d", id="turn")
        assert await third.add_budget("turn", id="more", tokens=1)
        with pytest.raises(IdTakenError, match="that one is for 'turn'"):
            await third.add_budget("d", id="more", tokens=1)


@pytest.mark.parametrize("account", ["tenant:acme", "ceiling"])
async def test_what_many_share_is_given_more_once(tmp_path: Path, account: str) -> None:
    async with process(tmp_path, URLS[1]) as first:
        before = first.account_of(account).budget.tokens.limit
        assert before is not None
        assert await first.add_budget(account=account, id="more", tokens=500)
    async with process(tmp_path, URLS[1]) as second:
        assert not await second.add_budget(account=account, id="more", tokens=500)
        with pytest.raises(IdTakenError, match="that one adds tokens=500, this one tokens=501"):
            await second.add_budget(account=account, id="more", tokens=501)
        assert second.account_of(account).budget.tokens.limit == before + 500


async def test_of_two_that_come_at_once_one_is_carried_out(tmp_path: Path) -> None:
    done: list[bool] = []

    async def give(organism: Talking) -> None:
        done.append(await organism.add_budget("apple", id="more", tokens=500))

    async with process(tmp_path, URLS[0]) as organism:
        await organism.send("sleeper", Say(), id="apple")
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(give, organism)
        assert sorted(done) == [False, False, False, False, True]
        assert limit(organism, "apple") == 1500


async def test_another_process_that_asks_twice_hears_so(tmp_path: Path) -> None:
    async with process(tmp_path, URLS[0]) as organism:
        path = socket_path(tmp_path / "organism.db")
        await listening(path)
        await organism.send("sleeper", Say(), id="apple")
        order = Order(do="add-budget", thread="app", units={"tokens": 500}, id="more")
        assert (await tell(path, order))["said"] == "thread apple: tokens 1,000 -> 1,500"
        assert (await tell(path, order)) == {
            "ok": True, "said": "order 'more' (tokens=500) was carried out before: nothing was changed", "again": True,
        }  # fmt: skip
        with pytest.raises(ConfigurationError, match="order id 'more' is that of another order"):
            await tell(path, Order(do="add-budget", thread="apple", units={"tokens": 1}, id="more"))


async def test_what_could_not_be_written_was_not_carried_out(tmp_path: Path) -> None:
    full: list[JournalError] = []

    async def rest(go: Go, ctx: Context) -> None:
        await anyio.sleep_forever()

    keys: dict[str, Any] = {"handlers": {"sleeper": code_of(rest, timeout=None)}, "budget": {"tokens": 1000}}
    organism = Mortal(name="test", folder=tmp_path, journal=URLS[0], **keys)
    organism.refuses = lambda _root, _fact: full[0] if full else None
    async with organism:
        await organism.send("sleeper", Go("a"), id="apple")
        full.append(JournalError("the disk is full"))
        with pytest.raises(JournalError, match="the disk is full"):
            await organism.add_budget("apple", id="more", tokens=500)
        full.clear()
        assert await organism.add_budget("apple", id="more", tokens=500)
        assert not await organism.add_budget("apple", id="more", tokens=500)
    async with Mortal(name="test", folder=tmp_path, journal=URLS[0], **keys) as second:
        await second.resume()
        assert second.kernel.state.threads["apple"].budget.limits.tokens == 1500


@pytest.mark.parametrize(
    ("order", "problem"),
    [
        ({"do": "add-budget", "thread": "a", "units": {"tokens": 1}, "id": " "}, "add-budget: id ' ': is empty"),
        ({"do": "pause", "thread": "a", "id": "x"}, "pause: id 'x': only add-budget takes one"),
    ],
)
def test_an_id_that_means_nothing_is_none(order: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        Order(**order)


async def test_nothing_is_known_again_by_what_ends_with_its_process() -> None:
    async with Talking(name="test", **KEYS) as organism:
        await organism.send("sleeper", Say(), id="apple")
        with pytest.raises(ConfigurationError, match="add_budget: journal 'memory:' keeps no finished threads"):
            await organism.add_budget("apple", id="more", tokens=1)
        with pytest.raises(TypeError, match="id must be a text, not 5"):
            await organism.add_budget("apple", id=5, tokens=1)  # type: ignore[arg-type]
