"""Finished threads are removed from the journal of an organism that works on it, and what it works on goes on meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

from organism import Context, Reply
from organism.errors import ConfigurationError, JournalError, NotRunningError
from organism.journal import Chain, open_journal, socket_path
from organism.journal.pruning import Mark, Pruned, chosen, outcome
from organism.record.facts import CallCompleted, Ended
from organism.testing import Says, ScriptedModel
from organism.works import pruning
from organism.works.control import Order, tell
from organism.works.conversations import Conversations
from organism.works.durable import Durable
from tests.control.test_control import listening
from tests.durable.turns_world import Heard, Say, Talking, code, count

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from organism.record.facts import Fact

ALL: Final = 1e12
"""An instant behind every other one."""
URLS: Final = ("sqlite:organism.db", "jsonl:journal")


async def rest(say: Say, ctx: Context) -> Reply[Heard]:
    await anyio.sleep(100)
    return Reply(Heard(say.text))


def made(folder: Path, url: str = URLS[0]) -> Talking:
    handlers = {"count": code(count), "rest": code(rest, timeout=None)}
    return Talking(name="test", folder=folder, journal=url, handlers=handlers, budget={"tokens": 1000})


def chains(folder: Path, url: str = URLS[0]) -> Sequence[Chain]:
    journal = open_journal(url, folder=folder, readonly=True)
    try:
        assert not journal.flaws()
        return journal.chains()
    finally:
        journal.close()


def roots(folder: Path, url: str = URLS[0]) -> set[str]:
    return {each.root for each in chains(folder, url)}


async def prune(organism: Talking, **mark: Any) -> Pruned:
    works = organism._works
    assert works is not None
    assert works.ingress is not None
    return await works.ingress.prune(Mark(**mark))


async def test_the_file_of_a_removed_thread_that_is_put_back_stays_in_the_next_process(tmp_path: Path) -> None:
    file = tmp_path / "journal" / "t.jsonl"
    async with made(tmp_path, URLS[1]) as organism:
        await (await organism.send("count", Say("x"), id="t")).result()
        kept = file.read_bytes()
        assert (await prune(organism, until=ALL)).gone == 1
    assert roots(tmp_path, URLS[1]) == set()
    file.write_bytes(kept)
    for _ in range(2):
        async with made(tmp_path, URLS[1]) as organism:
            found = await organism.result_of("t")
            assert found is not None
            assert (found.reply, organism.usage().messages) == (Heard("1 x"), 1)
    assert file.read_bytes() == kept


@pytest.mark.parametrize("url", URLS)
async def test_what_has_ended_goes_and_what_runs_goes_on(tmp_path: Path, url: str) -> None:
    async with made(tmp_path, url) as organism:
        for number in range(3):
            await (await organism.send("count", Say(), id=f"done{number}")).result()
        running = await organism.send("rest", Say("still"), id="running")
        turn = await organism.send("rest", Say("talks"), conversation="talks")
        await organism.ask("count", Say(), conversation="idle")
        spent = organism.usage()
        found = await prune(organism, until=ALL)
        assert (found.gone, found.stay, found.open, found.lasting) == (4, 2, 2, 0)
        assert {root for root, *_ in found.first} == {"done0", "done1", "done2", "conversation:idle"}
        assert roots(tmp_path, url) == {"running", "conversation:talks"}
        assert organism.usage() == spent
        assert [(await each.result()).reply for each in (running, turn)] == [Heard("still"), Heard("talks")]
        assert await organism.ask("count", Say("a"), conversation="idle") == Heard("1 a"), "it begins anew"
        assert (await (await organism.send("count", Say("b"), id="done0")).result()).reply == Heard("1 b")
    async with made(tmp_path, url) as organism:
        assert await organism.ask("count", Say("c"), conversation="idle") == Heard("2 c")


@pytest.mark.parametrize("url", URLS)
async def test_whoever_reads_what_was_removed_hears_so(tmp_path: Path, url: str) -> None:
    async with made(tmp_path, url) as organism:
        thread = await organism.send("count", Say(), id="done")
        turn = await organism.send("count", Say(), conversation="c")
        begun, at_once = thread.events(), thread.events()
        assert (await anext(begun)).seq == 1
        await turn.result()
        await thread.result()
        await prune(organism, until=ALL)
        await organism.ask("count", Say(), conversation="c")
        assert [each.seq async for each in begun] == [2, 3], "they were read with the first"
        for late in (at_once, turn.events(), thread.events(after=3)):
            with anyio.fail_after(60), pytest.raises(NotRunningError, match=r"there is no thread '.*' in the journal"):
                await anext(late)
        with pytest.raises(NotRunningError, match="there is no thread 'done' in the journal"):
            await thread.history()


@pytest.mark.parametrize("url", URLS)
async def test_limits_of_a_conversation_that_was_removed_are_not_set(tmp_path: Path, url: str) -> None:
    async with made(tmp_path, url) as organism:
        await organism.ask("count", Say(), conversation="c")
        talk = await organism.conversation_of("c")
        assert talk is not None
        await prune(organism, until=ALL)
        with pytest.raises(NotRunningError, match="is not in memory any more, since nothing of it runs: get it anew"):
            talk.add_budget(tokens=5)
        assert roots(tmp_path, url) == set()
        assert await organism.ask("count", Say("a"), conversation="c") == Heard("1 a")
        assert talk.budget.messages.used == 1, "of the one of this name that there is"
        talk.set_budget(messages=10)
    async with made(tmp_path, url) as organism:
        found = await organism.conversation_of("c")
        assert found is not None
        assert (found.budget.messages.limit, found.budget.messages.used) == (10, 1)


@pytest.mark.parametrize("conversation", [None, "c"])
@pytest.mark.parametrize("url", [*URLS, "memory:"])
async def test_what_comes_behind_the_end_of_a_chain_that_is_gone_begins_none(
    tmp_path: Path, url: str, conversation: str | None
) -> None:
    """A stream that a delivery has left behind is charged when that is over, and answers when somebody has read it."""

    async def leave(say: Say, ctx: Context) -> Reply[Heard]:
        async def read() -> None:
            async with ctx.stream("and now?") as stream:
                async for _ in stream:
                    await anyio.sleep(2)

        left.start_soon(read)
        await anyio.sleep(1)
        return Reply(Heard(say.text))

    model = ScriptedModel([Says(text="late", usage=(9, 2))])
    handlers = {"leave": code(leave)}
    async with (
        anyio.create_task_group() as left,
        Talking(name="test", folder=tmp_path, journal=url, handlers=handlers, models=model.models()) as organism,
    ):
        facts: list[Fact] = []
        organism.subscribe(facts.append)
        history = organism.keep_history()
        for number, pruned in enumerate((False, True)):
            thread = await organism.send("leave", Say(), id=f"t{number}", conversation=conversation)
            assert (await thread.result()).usage.model_calls == 1
            if pruned and url in URLS:
                await prune(organism, until=ALL)
            await anyio.sleep(10)
            assert [type(fact) for fact in facts[-2:]] == [Ended, CallCompleted]
            assert not history.chains()
            if url in URLS:
                there = set[str]() if pruned else {f"conversation:{conversation}" if conversation else "t0"}
                assert {each.root for each in chains(tmp_path, url)} == there
                assert not any(each.open for each in chains(tmp_path, url))


async def test_conversations_go_by_age_alone(tmp_path: Path) -> None:
    async with made(tmp_path) as organism:
        await organism.ask("count", Say(), conversation="idle")
        await organism.ask("count", Say())
        found = await prune(organism, room=0)
        assert (found.gone, found.stay, found.lasting, found.open) == (1, 1, 1, 0)
        assert await organism.ask("count", Say("a"), conversation="idle") == Heard("2 a")


async def test_a_turn_waits_while_its_conversation_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remove = Durable.remove

    async def slowly(durable: Durable, *chains: str) -> None:
        await anyio.sleep(2)
        await remove(durable, *chains)
        await anyio.sleep(2)

    monkeypatch.setattr(Durable, "remove", slowly)
    monkeypatch.setattr(pruning, "_AT_ONCE", 2)
    heard: list[Heard] = []
    async with made(tmp_path) as organism:
        for number in range(4):
            await organism.ask("count", Say(), conversation=f"c{number}")
            await anyio.sleep(1)

        async def speak(number: int) -> None:
            await anyio.sleep(0.5)
            answer = await organism.ask("count", Say(str(number)), conversation=f"c{number}")
            assert isinstance(answer, Heard)
            heard.append(answer)

        now = max(each.last for each in chains(tmp_path)) + 0.1
        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(speak, number)
            found = await prune(organism, until=now)
        # The first two were on their way out as the turns came, and begin anew; the others are not old any more at the second look.
        assert {each.text for each in heard} == {"1 0", "1 1", "2 2", "2 3"}
        assert (found.gone, found.stay) == (2, 4)
    async with made(tmp_path) as organism:
        told = [(await organism.ask("count", Say(), conversation=f"c{number}")) for number in range(4)]
        assert told == [Heard("2 "), Heard("2 "), Heard("3 "), Heard("3 ")]


async def test_what_is_recorded_of_a_conversation_until_it_is_removed_goes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget = Conversations.forget
    async with made(tmp_path) as organism:
        await organism.ask("count", Say(), conversation="c")
        talk = await organism.conversation_of("c")
        assert talk is not None

        def late(conversations: Conversations, chain: str) -> None:
            talk.add_budget(tokens=5)
            forget(conversations, chain)

        monkeypatch.setattr(Conversations, "forget", late)
        assert (await prune(organism, until=ALL)).gone == 1
        assert await organism.ask("count", Say("a"), conversation="c") == Heard("1 a")
    assert roots(tmp_path) == {"conversation:c"}


async def test_of_two_at_a_time_the_second_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remove = Durable.remove

    async def slowly(durable: Durable, chain: str) -> None:
        await anyio.sleep(1)
        await remove(durable, chain)

    monkeypatch.setattr(Durable, "remove", slowly)
    monkeypatch.setattr(pruning, "_AT_ONCE", 1)
    gone: list[int] = []
    async with made(tmp_path) as organism:
        for number in range(3):
            await (await organism.send("count", Say(), id=f"{number}")).result()

        async def removes() -> None:
            gone.append((await prune(organism, until=ALL)).gone)

        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(removes)
    assert gone == [3, 0]


async def test_it_is_done_for_another_process(tmp_path: Path) -> None:
    async with made(tmp_path) as organism:
        path = socket_path(tmp_path / "organism.db")
        await listening(path)
        await organism.ask("count", Say())
        found = await tell(path, Order(do="prune", until=ALL))
        assert Pruned.of_json({key: value for key, value in found.items() if key != "ok"}).gone == 1
        assert roots(tmp_path) == set()
        found = await tell(path, Order(do="prune", room=0))
        assert (found["gone"], found["first"]) == (0, [])
        with pytest.raises(ConfigurationError, match=r"^prune: give a time or a size in bytes$"):
            Order(do="prune")


async def test_what_the_journal_prevents_is_no_mistake_of_whoever_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(_durable: Durable, _chain: str) -> None:
        raise JournalError("the disk is gone")

    monkeypatch.setattr(Durable, "remove", fails)
    async with made(tmp_path) as organism:
        path = socket_path(tmp_path / "organism.db")
        await listening(path)
        await organism.ask("count", Say())
        with pytest.raises(JournalError, match=r"^the disk is gone$"):
            await tell(path, Order(do="prune", until=ALL))


@pytest.mark.parametrize("field", ['"until": "now"', '"room": true', '"until": [1]'])
def test_a_mark_that_is_no_number_is_refused(field: str) -> None:
    with pytest.raises(ConfigurationError, match="the numbers 'until' and 'room'"):
        Order.of_line(b'{"do": "prune", ' + field.encode() + b"}")


def chain(root: str, last: float, *, size: int = 10, is_open: bool = False) -> Chain:
    return Chain(root=root, open=is_open, entries=1, size=size, began=0.0, last=last)


def test_the_oldest_go_first_and_no_more_than_it_takes() -> None:
    those = [chain("c", 3.0), chain("a", 1.0), chain("open", 0.0, is_open=True), chain("b", 2.0)]
    assert [each.root for each in chosen(those, Mark(room=30))] == ["a"]
    assert [each.root for each in chosen(those, Mark(room=29))] == ["a", "b"]
    assert [each.root for each in chosen(those, Mark(until=3.0))] == ["a", "b"]
    assert [each.root for each in chosen(those, Mark(until=1.5, room=20))] == ["a", "b"]
    assert chosen(those, Mark()) == []


def test_what_is_said_of_it_goes_through_json() -> None:
    gone = [chain(f"t{number}", float(number), size=number) for number in range(25)]
    found = outcome(gone, [chain("conversation:c", 1.0), chain("conversation:d", 1.0, is_open=True)])
    assert Pruned.of_json(found.as_json()) == found
    assert (len(found.first), found.gone, found.gone_size) == (20, 25, 300)
    assert (found.stay, found.stay_size, found.lasting, found.open) == (2, 20, 1, 1)
    whole = found.as_json()
    for wrong in ({}, {**whole, "more": 1}, {**whole, "first": [1]}, {**whole, "gone": "few"}, {**whole, "stay": None}):
        with pytest.raises((TypeError, ValueError)):
            Pruned.of_json(wrong)


@pytest.mark.parametrize("url", URLS)
async def test_a_name_does_not_lead_to_one_that_began_after_what_it_led_to_was_removed(
    tmp_path: Path, url: str
) -> None:
    limits = {"messages": 1, "on_cap": "rotate"}
    handlers = {"count": code(count)}
    async with Talking(name="test", folder=tmp_path, journal=url, handlers=handlers, conversation=limits) as organism:
        for _ in range(3):
            await organism.ask("count", Say(), conversation="c")
        assert roots(tmp_path, url) == {f"conversation:{name}" for name in ("c", "c~2", "c~3")}
        await prune(organism, until=ALL)
        await organism.ask("count", Say("other"), conversation="c~2")
        await organism.ask("count", Say("anew"), conversation="c")
        assert roots(tmp_path, url) == {"conversation:c~2", "conversation:c"}
