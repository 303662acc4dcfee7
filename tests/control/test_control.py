"""What other processes ask of the one that works on a journal, over the socket beside it; also those that mean no good."""

from __future__ import annotations

import json
import socket
import stat
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

from organism import Context, Reply
from organism.errors import ConfigurationError, JournalError
from organism.journal import open_journal, socket_path
from organism.record.facts import LimitsSet, Paused
from organism.works.control import Order, tell
from tests.durable.turns_world import Heard, Say, Talking, code
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from anyio.abc import ByteStream

    from organism.record.facts import Fact

BUDGET: Final = {"tokens": 1000, "cost_usd": "0.5"}


async def sleep(say: Say, ctx: Context) -> None:
    await anyio.sleep_forever()


async def step(say: Say, ctx: Context) -> Reply[Heard]:
    await anyio.sleep(1)
    return Reply(Heard(say.text.upper()))


async def walk(say: Say, ctx: Context) -> Reply[Heard]:
    said = [(await ctx.ask("step", Say(f"{say.text}{n}"), expect=Heard)).text for n in range(3)]
    return Reply(Heard(" ".join(said)))


HANDLERS: Final = {"sleeper": code(sleep, timeout=None), "walker": code(walk, "step"), "step": code(step)}


def made(folder: Path) -> Talking:
    return Talking(name="test", folder=folder, journal="sqlite:organism.db", handlers=HANDLERS, budget=BUDGET)


@asynccontextmanager
async def owner(folder: Path) -> AsyncGenerator[tuple[Talking, Path]]:
    """An organism that works on the journal in a folder, and where it listens."""
    async with made(folder) as organism:
        path = socket_path(folder / "organism.db")
        await listening(path)
        yield organism, path


async def listening(path: Path) -> None:
    """Waits until somebody listens; in real time, since that is what it takes to bind a socket."""
    await until(lambda: connects(path), "nobody listens")
    await tell(path, Order(do="status"))


def connects(path: Path) -> bool:
    """Whether somebody listens there."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def facts(folder: Path, root: str) -> list[Fact]:
    journal = open_journal("sqlite:organism.db", folder=folder, readonly=True)
    try:
        return list(journal.read(root))
    finally:
        journal.close()


async def said(path: Path, line: bytes) -> dict[str, Any]:
    async with await anyio.connect_unix(path) as stream:
        await stream.send(line)
        found = b""
        while not found.endswith(b"\n"):
            found += await stream.receive()
    result: dict[str, Any] = json.loads(found)
    return result


async def test_the_socket_is_its_users_alone_and_goes_with_its_owner(tmp_path: Path) -> None:
    async with owner(tmp_path) as (_, path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


async def test_the_socket_of_a_process_that_was_killed_is_replaced(tmp_path: Path) -> None:
    path = socket_path(tmp_path / "organism.db")
    async with await anyio.create_unix_listener(path):
        pass
    assert path.is_socket()
    async with made(tmp_path):
        await listening(path)
        assert (await tell(path, Order(do="status")))["threads"] == []


async def test_an_organism_that_cannot_listen_works_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    socket_path(tmp_path / "organism.db").mkdir()
    async with made(tmp_path) as organism:
        await until(lambda: "other processes cannot pause, cancel or answer threads here" in caplog.text)
        assert await organism.ask("step", Say("a")) == Heard("A")


async def test_a_thread_is_paused_and_goes_on(tmp_path: Path) -> None:
    async with owner(tmp_path) as (organism, path):
        thread = await organism.send("walker", Say("a"), id="apple")
        await anyio.sleep(0.5)
        assert "apple is paused" in (await tell(path, Order(do="pause", thread="app")))["said"]
        assert isinstance(facts(tmp_path, "apple")[-1], Paused), "it is written down before it is said"
        assert (await thread.result()).outcome == "paused"
        assert (await tell(path, Order(do="pause", thread="apple")))["said"] == "thread apple is paused already"
        status = await tell(path, Order(do="status"))
        assert status["threads"] == [
            {"thread": "apple", "handler": "walker", "paused": True, "waits_for_people": False}
        ]
        await anyio.sleep(1000)
        assert (await tell(path, Order(do="resume", thread="apple")))["said"] == "thread apple goes on"
        assert (await tell(path, Order(do="resume", thread="apple")))["said"] == "thread apple is not paused"
        result = await thread.result()
    assert result.reply == Heard("A0 A1 A2")
    assert result.usage.seconds < 10, "while it was paused its time stood still"


async def test_all_that_is_paused_goes_on_at_once(tmp_path: Path) -> None:
    async with owner(tmp_path) as (organism, path):
        threads = [await organism.send("walker", Say(text)) for text in "ab"]
        for thread in threads:
            thread.pause()
            assert (await thread.result()).outcome == "paused"
        assert (await tell(path, Order(do="resume")))["said"] == "2 threads go on"
        assert [(await thread.result()).reply for thread in threads] == [Heard("A0 A1 A2"), Heard("B0 B1 B2")]


async def test_what_waits_for_people_is_not_said_to_go_on(tmp_path: Path) -> None:
    async def ask(say: Say, ctx: Context) -> Reply[Heard]:
        return Reply(await ctx.ask("boss", say, expect=Heard))

    boss = {"description": "Decides.", "human": {"accepts": Say, "replies": [Heard]}}
    handlers = HANDLERS | {"asker": code(ask, "boss"), "boss": boss}
    async with Talking(name="test", folder=tmp_path, journal="sqlite:organism.db", handlers=handlers) as organism:
        path = socket_path(tmp_path / "organism.db")
        await listening(path)
        thread = await organism.send("asker", Say("a"), id="apple")
        assert (await thread.result()).outcome == "paused"
        assert (await tell(path, Order(do="resume")))["said"] == "0 threads go on; 1 waits for people"
        walks = await organism.send("walker", Say("b"), id="pear")
        walks.pause()
        assert (await walks.result()).outcome == "paused"
        waiting = {
            each["thread"]: each["waits_for_people"] for each in (await tell(path, Order(do="status")))["threads"]
        }
        assert waiting == {"apple": True, "pear": False}
        assert (await tell(path, Order(do="resume")))["said"] == "1 thread goes on; 1 waits for people"
        (question,) = organism.inbox()
        await organism.answer(question.id, Heard("yes"))
        assert (await thread.result()).reply == Heard("yes")


async def test_a_thread_is_cancelled(tmp_path: Path) -> None:
    async with owner(tmp_path) as (organism, path):
        thread = await organism.send("sleeper", Say())
        assert "is cancelled" in (await tell(path, Order(do="cancel", thread=thread.id)))["said"]
        result = await thread.result()
        assert (result.outcome, result.error) == ("cancelled", "cancelled by hand")
        again = await tell(path, Order(do="cancel", thread=thread.id))
        assert again["said"] == f"thread {thread.id} has ended (cancelled): nothing was changed"
        with pytest.raises(ConfigurationError, match=r"has ended \(cancelled\)"):
            await tell(path, Order(do="pause", thread=thread.id))


async def test_a_thread_gets_more(tmp_path: Path) -> None:
    async with owner(tmp_path) as (organism, path):
        thread = await organism.send("sleeper", Say(), id="apple")
        units = {"tokens": 500, "cost_usd": "0.25"}
        answer = await tell(path, Order(do="add-budget", thread="apple", units=units))
        assert answer["said"] == "thread apple: tokens 1,000 -> 1,500, cost_usd 0.5 -> 0.75"
        last = facts(tmp_path, "apple")[-1]
        assert isinstance(last, LimitsSet)
        assert last.budget.limits.tokens == 1500
        with pytest.raises(ConfigurationError, match="thread apple has no limit of model_calls"):
            await tell(path, Order(do="add-budget", thread="apple", units={"model_calls": 1}))
        thread.cancel()


@pytest.mark.parametrize(
    ("order", "problem"),
    [
        ({"do": "add-budget", "thread": "x"}, "name a unit and an amount"),
        ({"do": "add-budget", "thread": "x", "units": {"tokns": 1}}, "did you mean 'tokens'"),
        ({"do": "add-budget", "thread": "x", "units": {"tokens": -1}}, "must be above 0"),
        ({"do": "add-budget", "thread": "x", "units": {"tokens": float("nan")}}, "must be above 0"),
        ({"do": "add-budget", "thread": "x", "units": {"tokens": float("inf")}}, "must be above 0"),
        *(
            (
                {"do": "add-budget", "thread": "x", "units": {"cost_usd": nothing}},
                f"cost_usd: {nothing!r} must be above 0",
            )
            for nothing in ("0", "-0", "0.0", " 0 ", "0e9", "-0.5", "-Infinity", 0, 0.0)
        ),
        ({"do": "add-budget", "thread": "x", "units": {"tokens": True}}, "is a number"),
        ({"do": "pause"}, "name the thread"),
        ({"do": "explode", "thread": "x"}, "there are: pause, resume"),
    ],
)
def test_an_order_that_means_nothing_is_none(order: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        Order.of_line(json.dumps(order).encode())


async def test_a_thread_is_meant_by_what_tells_it_from_the_others(tmp_path: Path) -> None:
    async with owner(tmp_path) as (organism, path):
        for id_ in ("apple", "apricot"):
            await organism.send("sleeper", Say(), id=id_)
        for text, problem in (
            ("ap", "beginning of 2 threads: apple, apricot; write more"),
            ("berry", "no thread 'berry'"),
            ("", "no thread ''"),
            ("x" * 500, "no thread 'xxxx"),
        ):
            with pytest.raises(ConfigurationError, match=problem):
                await tell(path, Order(do="pause", thread=text))
        assert "apricot is paused" in (await tell(path, Order(do="pause", thread="apr")))["said"]


# Threads that an earlier process left


async def left(folder: Path, to: str = "walker") -> None:
    """A process that worked on ``apple`` and has gone."""
    async with made(folder) as organism:
        await organism.send(to, Say("a"), id="apple")
        await anyio.sleep(1.5)


async def test_what_was_left_is_changed_without_going_on_with_it(tmp_path: Path) -> None:
    await left(tmp_path)
    await anyio.sleep(10_000)
    async with owner(tmp_path) as (organism, path):
        assert (await tell(path, Order(do="status")))["unfinished"] == ["apple"]
        await tell(path, Order(do="add-budget", thread="apple", units={"tokens": 500}))
        await tell(path, Order(do="pause", thread="app"))
        await anyio.sleep(100)
        assert organism.unfinished == ("apple",)
        assert organism.statistics().threads == 0
    async with made(tmp_path) as organism:
        (thread,) = await organism.resume()
        assert (await thread.result()).outcome == "paused"
        thread.resume()
        result = await thread.result()
    assert result.reply == Heard("A0 A1 A2")
    assert result.usage.seconds < 5, "neither downtime nor pause is running time"


async def test_what_was_left_is_cancelled_for_good(tmp_path: Path) -> None:
    await left(tmp_path)
    async with owner(tmp_path) as (organism, path):
        await tell(path, Order(do="cancel", thread="apple"))
        assert organism.unfinished == ()
        thread = await organism.send("walker", Say("a"), id="apple")
        assert (await thread.result()).outcome == "cancelled"


async def test_what_was_left_goes_on_when_it_is_asked_for(tmp_path: Path) -> None:
    await left(tmp_path)
    async with owner(tmp_path) as (organism, path):
        await tell(path, Order(do="resume", thread="apple"))
        thread = organism.thread_of("apple")
        assert thread is not None
        assert (await thread.result()).reply == Heard("A0 A1 A2")


async def test_closing_in_the_middle_of_an_ask_leaves_no_trace(tmp_path: Path) -> None:
    await left(tmp_path)
    before = [type(fact).__name__ for fact in facts(tmp_path, "apple")]
    assert before[-1] == "Asked"
    assert {"Abandoned", "Failed", "Dropped"}.isdisjoint(before)


# Those that mean no good


DEEP: Final = b"[" * 60_000
GARBAGE: Final = {
    "no-json": b"\x00\xff\xfe garbage\n",
    "a-list": b"[1, 2]\n",
    "deep": DEEP + b"\n",
    "a-huge-number": b'{"do": "add-budget", "thread": "x", "units": {"tokens": ' + b"9" * 5000 + b"}}\n",
    "no-texts": b'{"do": 3, "thread": []}\n',
    "half-a-character": b'{"do": "pause", "thread": "\\ud800"}\n',
    "a-zero-byte": b'{"do": "pause", "thread": "a\\u0000b"}\n',
    "nothing": b"\n",
}


@pytest.mark.parametrize("line", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_is_refused_in_words(tmp_path: Path, line: bytes) -> None:
    async with owner(tmp_path) as (organism, path):
        answer = await said(path, line)
        assert answer["ok"] is False
        assert answer["error"]
        assert await organism.ask("step", Say("a")) == Heard("A")


async def fed(stream: ByteStream, data: bytes) -> None:
    """Sends as much as is taken."""
    try:
        for _ in range(64):
            await stream.send(data)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        return


async def test_endless_and_half_lines_and_slow_clients_are_left_alone(tmp_path: Path) -> None:
    async with owner(tmp_path) as (organism, path):
        thread = await organism.send("sleeper", Say(), id="apple")
        silent = [await anyio.connect_unix(path) for _ in range(10)]
        endless, half, gone = [await anyio.connect_unix(path) for _ in range(3)]
        await fed(endless, b"x" * 65_536)
        await half.send(b'{"do": "cancel", "thr')
        await gone.send(b'{"do": "status"}\n')
        await gone.aclose()
        assert (await tell(path, Order(do="status")))["ok"] is True
        await anyio.sleep(30)
        for stream in (endless, half, *silent):
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                while True:
                    await stream.receive()
            await stream.aclose()
        assert not thread.ended
        assert await organism.ask("step", Say("a")) == Heard("A")


async def test_too_many_at_once_are_turned_away_and_then_heard_again(tmp_path: Path) -> None:
    async with owner(tmp_path) as (_, path):
        crowd = [await anyio.connect_unix(path) for _ in range(60)]
        with pytest.raises(JournalError, match=r"does not answer .*; it may have done what was asked: look"):
            await tell(path, Order(do="status"))
        for stream in crowd:
            await stream.aclose()
        await anyio.sleep(0.01)
        assert (await tell(path, Order(do="status")))["ok"] is True


async def test_whoever_answers_nonsense_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "fake.sock"
    listener = await anyio.create_unix_listener(path)

    async def nonsense(stream: ByteStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"yes!\n")

    async with anyio.create_task_group() as group:
        group.start_soon(listener.serve, nonsense)
        with pytest.raises(JournalError, match="cannot be understood"):
            await tell(path, Order(do="status"))
        group.cancel_scope.cancel()
    await listener.aclose()
