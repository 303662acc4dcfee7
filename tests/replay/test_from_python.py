"""A running organism forks threads of its journal, and any organism replays them, by what its users may call."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import ConfigurationError, Context, Organism, OrganismError, Reply
from organism.errors import JournalError, RoutingError
from organism.journal import open_journal
from organism.replay.forking import fork_in
from organism.testing import Says, ScriptedModel, running
from organism.works import durable
from tests.hard.pump_world import Go, Said, code
from tests.replay.replay_world import URL, Recorded

if TYPE_CHECKING:
    from pathlib import Path

    from organism.models.contract import Request


async def twice(message: Go, ctx: Context) -> Reply[Said]:
    """Asks its model twice, the second time for what its labels say."""
    plan = await ctx.complete(f"plan {message.text}", max_output_tokens=10)
    await ctx.ask("helper", message)
    done = await ctx.complete(f"{plan.text} as {ctx.labels.get('arm')}", max_output_tokens=10)
    return Reply(Said(done.text))


async def helper(message: Go, ctx: Context) -> Reply[Said]:
    """Helps."""
    return Reply(Said(message.text.upper()))


def repeating(request: Request, seconds: float) -> Says:
    return Says(text=str(request.messages[-1]["content"]), usage=(10, 5), seconds=seconds)


def world_of(folder: Path, seconds: float = 0, **keys: Any) -> tuple[Recorded, ScriptedModel]:
    model = ScriptedModel(lambda request: repeating(request, seconds))
    handlers = {"twice": code(twice, "helper"), "helper": code(helper, budget={"messages": 5})}
    return Recorded(folder, handlers=handlers, models=model.models(), **keys), model


@pytest.fixture
def ran(tmp_path: Path) -> tuple[Recorded, ScriptedModel]:
    """A thread that has ended, in a process that is over."""
    world, model = world_of(tmp_path)
    assert world.send("twice", Go("x"), "origin").reply == Said("plan x as None")
    return world, model


def answered(world: Recorded, id_: str = "origin") -> Any:
    """The entry behind which a thread has its first answer of the model."""
    return next(each["n"] for each in world.documents(id_) if each["fact"] == "CallCompleted")


def test_a_fork_goes_on_by_itself_under_limits_and_labels_of_its_own(ran: tuple[Recorded, ScriptedModel]) -> None:
    world, model = ran
    asked = len(model.requests)

    async def work(organism: Organism) -> Any:
        before = organism.usage()
        handle = await organism.fork("origin", at=answered(world), budget={"tokens": 700}, labels={"arm": "b"})
        result = await handle.result()
        spent = organism.usage()
        assert not isinstance(before, dict)
        assert not isinstance(spent, dict)
        assert spent.model_calls - before.model_calls == 1
        return result, organism.settings

    result, _ = world.run(work)
    assert (result.outcome, result.reply, result.labels) == ("completed", Said("plan x as b"), {"arm": "b"})
    assert len(model.requests) == asked + 1  # the plan is from the copy
    limits = [
        each["budget"]["limits"]["tokens"] for each in world.documents(result.thread) if each["fact"] == "LimitsSet"
    ]
    assert limits == [700]


def test_a_fork_that_was_named_is_made_once_and_goes_on_wherever_its_process_ended(
    ran: tuple[Recorded, ScriptedModel],
) -> None:
    world, model = ran
    journal = open_journal(
        URL, folder=world.folder
    )  # as far as a process came that was killed before it let the fork go on
    fork_in(journal, "origin", "fork", entries=answered(world))
    journal.close()

    async def work(organism: Organism) -> Any:
        handles: list[Any] = [None, None]

        async def fork(number: int) -> None:
            handles[number] = await organism.fork("origin", at=answered(world), id="fork")

        async with anyio.create_task_group() as group:
            for number in range(2):
                group.start_soon(fork, number)
        assert handles[0] is handles[1]
        return await handles[0].result()

    assert world.run(work).outcome == "completed"
    asked = len(model.requests)
    assert world.run(work_again).outcome == "completed"
    assert len(model.requests) == asked


async def work_again(organism: Organism) -> Any:
    return await (await organism.fork("origin", id="fork")).result()


def test_a_thread_that_runs_is_forked_as_far_as_it_is_written(tmp_path: Path) -> None:
    world, model = world_of(tmp_path, seconds=5)

    async def work(organism: Organism) -> Any:
        origin = await organism.send("twice", Go("x"), id="origin")
        await anyio.sleep(7)  # its second call is out
        fork = await organism.fork("origin", labels={"arm": "b"})
        return await origin.result(), await fork.result()

    origin, fork = world.run(work)
    assert (origin.reply, fork.reply) == (Said("plan x as None"), Said("plan x as b"))
    assert len(model.requests) == 3


@pytest.mark.parametrize(
    ("how", "error", "said"),
    [
        ({"thread": "nobody"}, ConfigurationError, "there is no thread 'nobody' in the journal"),
        ({"thread": 5}, TypeError, "thread must be a text, not 5"),
        ({"thread": "origin.2"}, ConfigurationError, "'origin.2' is a part of 'origin'"),
        ({"at": 0}, ConfigurationError, "it can be forked at 1 to"),
        ({"at": "4"}, TypeError, "at is the number of entries"),
        ({"budget": 0}, ConfigurationError, "budget: must be a mapping of keys and not 0"),
        ({"budget": {"tokes": 5}}, ConfigurationError, "tokes"),
        ({"labels": {"arm": 1}}, TypeError, "labels are texts by name"),
        ({"id": "origin.2"}, RoutingError, "was used by a sub-thread"),
    ],
)
def test_what_cannot_be_forked_is_said_and_leaves_nothing(
    ran: tuple[Recorded, ScriptedModel], how: dict[str, Any], error: type[Exception], said: str
) -> None:
    world, _ = ran
    given: dict[str, Any] = {"thread": "origin", **how}

    async def work(organism: Organism) -> None:
        with pytest.raises(error, match=said):
            await organism.fork(given.pop("thread"), **given)
        assert organism.unfinished == ()
        assert organism.statistics().threads == 0

    world.run(work)
    journal = open_journal(URL, folder=world.folder, readonly=True)
    assert [each.root for each in journal.chains()] == ["origin"]
    journal.close()


def test_a_thread_that_was_killed_before_its_end_was_written_is_forked_before_it(tmp_path: Path) -> None:
    world, _ = world_of(tmp_path, journal="jsonl:journal")
    world.send("twice", Go("x"), "origin")
    file = tmp_path / "journal" / "origin.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:-1]))

    async def work(organism: Organism) -> None:
        with pytest.raises(ConfigurationError, match="it can be forked at 1 to 10, not at 11"):
            await organism.fork("origin", at=len(lines) - 1)
        fork = await organism.fork("origin")
        assert (await fork.result()).outcome == "completed"
        assert organism.unfinished == ("origin",)

    world.run(work)


def test_a_fork_whose_caller_was_cancelled_while_it_was_written_is_taken_up_again(
    ran: tuple[Recorded, ScriptedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with Organism(**ran[0].keys) as organism:
            call = asyncio.get_running_loop().call_soon_threadsafe

            def forked(*args: Any, **how: Any) -> int:
                call(task.cancel)
                return fork_in(*args, **how)

            monkeypatch.setattr(durable, "fork_in", forked)
            task = asyncio.create_task(organism.fork("origin", id="fork"))
            with pytest.raises(asyncio.CancelledError):
                await task
            assert organism.unfinished == ("fork",)
            again = await organism.fork("origin", id="fork")
            assert (await again.result()).outcome == "completed"

    anyio.run(main, backend="asyncio")


def test_what_is_no_id_and_no_organism_is_said(ran: tuple[Recorded, ScriptedModel]) -> None:
    world, _ = ran
    given: Any = 5
    with pytest.raises(TypeError, match="thread must be a text, not 5"):
        world.organism().replay(given)
    with pytest.raises(TypeError, match=r"learn_from takes an Organism, or what learned\(\) of one gave, not 5"):
        world.organism().learn_from(given)

    async def work(organism: Organism) -> None:
        with pytest.raises(TypeError, match="id must be a text, not 5"):
            await organism.result_of(given)
        with pytest.raises(TypeError, match="thread must be a text, not 5"):
            await organism.calls(given)
        with pytest.raises(JournalError, match=r"'origin', entry \d+: .*'Said' is not a payload of this organism"):
            await organism.result_of("origin")

    world.run(work, handlers={})


def test_a_fork_whose_payloads_are_not_known_is_not_written(ran: tuple[Recorded, ScriptedModel]) -> None:
    world, _ = ran

    async def work(organism: Organism) -> None:
        with pytest.raises(JournalError, match=r"'origin', entry 1: .*'Go' is not a payload of this organism"):
            await organism.fork("origin")
        assert organism.unfinished == ()

    world.run(work, handlers={})


def test_journals_in_memory_are_neither_forked_nor_replayed(tmp_path: Path) -> None:
    world, _ = world_of(tmp_path, journal="memory:")

    async def work(organism: Organism) -> None:
        with pytest.raises(ConfigurationError, match=r"'memory:' keeps no finished threads: .* journal='sqlite"):
            await organism.fork("origin")

    world.run(work)
    with pytest.raises(ConfigurationError, match="'memory:' keeps no finished threads"):
        world.organism().replay("origin")


def test_an_organism_replays_what_its_journal_holds(ran: tuple[Recorded, ScriptedModel]) -> None:
    world, model = ran
    asked, before = len(model.requests), world.documents("origin")
    same = world.organism().replay("origin")
    assert (same.deliveries, same.calls, same.differences, same.unsure) == (2, 2, (), ())
    assert world.organism().replay("origin.2") == same  # it is replayed with the whole thread that it is a part of

    async def shorter(message: Go, ctx: Context) -> Reply[Said]:
        done = await ctx.complete(f"answer {message.text}", max_output_tokens=10)
        return Reply(Said(done.text))

    changed = world.organism(handlers={"twice": code(shorter)})
    (first, _) = changed.replay("origin").differences
    assert (first.handler, first.what, first.thread) == ("twice", "it asked", "origin")
    assert "answer x" in first.now
    assert (len(model.requests), world.documents("origin")) == (asked, before)


def test_a_running_organism_replays_in_a_thread_beside_its_loop(ran: tuple[Recorded, ScriptedModel]) -> None:
    world, _ = ran

    async def main() -> None:
        async with world.organism() as organism:
            with pytest.raises(OrganismError, match=r"call it in a thread, as in `await anyio.to_thread"):
                organism.replay("origin")
            with pytest.raises(
                OrganismError, match=r"run_sync runs an event loop .*: use `async with organism: await organism.ask"
            ):
                world.organism().run_sync("twice", Go("x"))
            replayed = await anyio.to_thread.run_sync(organism.replay, "origin")
            assert replayed.differences == ()

    anyio.run(main)


async def test_an_organism_of_a_test_may_fork(tmp_path: Path) -> None:
    world, _ = world_of(tmp_path)
    async with running(**world.keys) as organism:
        await (await organism.send("twice", Go("x"), id="origin")).result()
        assert (await (await organism.fork("origin", at=1)).result()).outcome == "completed"


def test_what_cannot_be_replayed_is_said(ran: tuple[Recorded, ScriptedModel]) -> None:
    world, _ = ran
    with pytest.raises(ConfigurationError, match="there is no thread 'nobody' in the journal"):
        world.organism().replay("nobody")
    with pytest.raises(JournalError, match=r"other\.db"):
        world.organism(journal="sqlite:other.db").replay("origin")
    assert not (world.folder / "other.db").exists()
