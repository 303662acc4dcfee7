"""A fork copies a thread's first entries into a chain of its own, and goes on from there for what that costs alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import config
from organism.errors import ConfigurationError, IdTakenError
from organism.journal import open_journal
from organism.replay.forking import cut_of, fork_in
from organism.settings import laid_over
from organism.testing import ScriptedModel
from tests.hard.pump_world import Go
from tests.replay.replay_world import URL, Recorded
from tests.replay.test_replays import HANDLERS, answering, recorded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from organism import Organism
    from organism.settings import BudgetSettings
    from organism.usage import Spending

ORIGIN = "the-origin"
BUDGET = {"tokens": 50_000, "warn_at": [0.001]}
"""Of which its first call is warned: warnings name threads, too."""


def ran(folder: Path, **keys: Any) -> tuple[Recorded, ScriptedModel]:
    model = ScriptedModel(answering)
    world = Recorded(folder, handlers=HANDLERS, models=model.models(), budget=BUDGET, **keys)
    assert world.send("scatter", Go("x"), ORIGIN).outcome == "failed"
    return world, model


def forked(world: Recorded, new: str, **how: Any) -> int:
    journal = open_journal(URL, folder=world.folder)
    try:
        return fork_in(journal, how.pop("origin", ORIGIN), new, **how)
    finally:
        journal.close()


def gone_on(world: Recorded, new: str) -> Any:
    async def work(organism: Organism) -> Any:
        works = organism._works
        assert works is not None
        (handle,) = await works.ingress.take_up(new)
        handle.resume()
        return await handle.result()

    return world.run(work)


def spent(world: Recorded) -> tuple[int, int, int]:
    """Tokens, calls and messages of the whole journal."""
    journal = open_journal(URL, folder=world.folder, readonly=True)
    try:
        rows: list[Spending] = list(journal.spendings())
    finally:
        journal.close()
    return (
        sum(each.amounts[0] for each in rows),
        sum(each.amounts[4] for each in rows),
        sum(each.amounts[5] for each in rows),
    )


def test_forks_at_every_entry_pay_only_for_what_follows_and_come_to_the_same(tmp_path: Path) -> None:
    world, model = ran(tmp_path)
    documents = world.documents(ORIGIN)
    last = len(documents) - 2
    for entries in range(1, last + 1, 8):
        before, asked = spent(world), len(model.requests)
        assert forked(world, f"f{entries}", entries=entries) == entries
        assert spent(world) == before
        result = gone_on(world, f"f{entries}")
        assert [sender for sender, _ in result.replies] == ["scatter"]
        assert result.outcome == "failed"
        answered = sum(each["fact"] == "CallCompleted" for each in documents[:entries])
        calls = spent(world)[1] - before[1]
        assert calls == len(model.requests) - asked
        assert calls <= 7 - answered + 2  # what a rerun draws anew under its new name is asked anew
        replayed = world.replay(f"f{entries}")
        assert (entries, replayed.differences, replayed.unsure) == (entries, (), ())


def test_nothing_in_a_fork_names_the_thread_that_it_came_from_but_the_first_entry(tmp_path: Path) -> None:
    world, _ = ran(tmp_path)
    forked(world, "new")
    first, *rest = world.documents("new")
    assert (first["fact"], first["origin"], first["entries"]) == ("Forked", ORIGIN, len(rest) - 1)
    assert rest[-1]["fact"] == "Paused"
    assert ORIGIN not in json.dumps(rest)
    assert any(each["thread"].startswith("new.") for each in rest)


def test_a_snapshot_in_the_copy_is_the_forks_own(tmp_path: Path) -> None:
    model = ScriptedModel(answering)
    world = Recorded(tmp_path, handlers=HANDLERS, models=model.models(), budget=BUDGET)

    async def work(organism: Organism) -> Any:
        handle = await organism.send("busy", Go("x"), id=ORIGIN)
        while organism.kernel.state.threads[ORIGIN].subs is None:  # noqa: ASYNC110 - nothing else tells it
            await anyio.sleep(0.1)
        organism.kernel.snapshot(ORIGIN, organism.kernel.state.now)
        return await handle.result()

    reply = world.run(work).reply
    kinds = [each["fact"] for each in world.documents(ORIGIN)]
    forked(world, "new", entries=kinds.index("Snapshot") + 1, labels={"arm": "new"})
    assert ORIGIN not in json.dumps(world.documents("new")[1:])
    image = next(each["image"] for each in world.documents("new") if each["fact"] == "Snapshot")
    assert {each["labels"]["arm"] for each in image["threads"]} == {"new"}
    calls = len(model.requests)
    assert type(gone_on(world, "new").reply) is type(reply)
    assert len(model.requests) - calls <= 7


def _over(**budget: Any) -> Callable[[BudgetSettings], BudgetSettings]:
    return lambda base: laid_over(base, config.budget(budget), budget)


def test_a_fork_has_limits_of_its_own(tmp_path: Path) -> None:
    world, _ = ran(tmp_path)
    world.send("writer", Go("x"), "w")
    forked(world, "short", origin="w", entries=1, budget=_over(tokens=10))
    result = gone_on(world, "short")
    assert (result.outcome, result.unit) == ("exhausted", "tokens")
    assert any(each["fact"] == "LimitsSet" for each in world.documents("short"))


def test_a_fork_can_be_forked(tmp_path: Path) -> None:
    world, _ = ran(tmp_path)
    forked(world, "one", entries=12)
    result = gone_on(world, "one")
    forked(world, "two", origin="one")
    before = spent(world)
    assert gone_on(world, "two").outcome == result.outcome
    assert spent(world)[1] == before[1]
    replayed = world.replay("two")
    assert (replayed.differences, replayed.unsure) == ((), ())


@pytest.mark.parametrize("entries", [-1, 0, 53, 10_000])
def test_a_fork_where_there_is_nothing_to_go_on_with_is_refused(tmp_path: Path, entries: int) -> None:
    world, _ = ran(tmp_path)
    with pytest.raises(ConfigurationError, match=rf"it can be forked at 1 to \d+, not at {entries}"):
        forked(world, "new", entries=entries)
    with pytest.raises(ConfigurationError, match="there is no thread 'nobody' in the journal"):
        forked(world, "new", origin="nobody")
    with pytest.raises(IdTakenError, match="thread id 'the-origin' is that of another thread: that one is no fork"):
        forked(world, ORIGIN)


def test_what_is_not_a_thread_of_its_own_with_a_handler_is_not_forked(tmp_path: Path) -> None:
    world, _ = ran(tmp_path)

    async def work(organism: Organism) -> str:
        async with organism.thread() as thread:
            await thread.complete("x")
        await (await organism.send("slow", Go("x"), id="turn", conversation="c")).result()
        return thread.handle.id

    bare = world.run(work)
    for origin, why in (
        (bare, f"thread {bare} has no handler: nothing would go on with a fork of it"),
        ("turn", "thread 'turn' is a part of 'conversation:c': only threads of their own can be forked"),
        ("conversation:c", "thread turn is a turn of a conversation: only threads of their own can be forked"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            forked(world, "new", origin=origin)
        assert caught.value.mistakes == (f"fork: {why}",)


def test_an_unfinished_thread_is_forked_as_far_as_it_goes(tmp_path: Path) -> None:
    world = recorded(tmp_path)

    async def begin(organism: Organism) -> None:
        await organism.send("slow", Go("x"), id=ORIGIN)

    world.run(begin)
    documents: list[Mapping[str, Any]] = world.documents(ORIGIN)
    assert forked(world, "new") == len(documents)
    assert gone_on(world, "new").code == "timeout"
    assert cut_of(()).last == 0
