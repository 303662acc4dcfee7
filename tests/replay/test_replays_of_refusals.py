"""What a handler was refused without a word of it in the record, or with less than it was told: a replay refuses it once more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import BudgetExhaustedError, Context, HandlerFailedError, NotRunningError, Reply
from organism.payloads import Vocabulary
from organism.works.vocabulary import payload_classes
from tests.hard.budget_world import code, models, spend, spender
from tests.replay.replay_world import Note, Recorded, Task, late

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path


async def why(asked: Awaitable[Any]) -> str:
    """Why something is refused, in full."""
    try:
        await asked
    except (BudgetExhaustedError, HandlerFailedError) as error:
        return str(error)
    return "it was not refused"


async def asks_below(task: Task, ctx: Context) -> Reply[Note]:
    """Asks its only peer, and says what that said or why it was refused."""
    (peer,) = ctx.options["asks"]
    try:
        return Reply(await ctx.ask(peer, task, expect=Note))
    except BudgetExhaustedError as error:
        return Reply(Note(str(error)))


def asks(peer: str, **keys: Any) -> dict[str, Any]:
    return code(asks_below, peers=(peer,), options={"asks": [peer]}, **keys)


async def notes(task: Task, ctx: Context) -> Reply[Note]:
    await anyio.sleep(len(task.text))
    return Reply(Note("noted"))


def check_same(world: Recorded, said: str) -> None:
    """What the thread says, and that its replay says the same."""
    assert world.send("first", Task("x")).reply == Note(said)
    replayed = world.replay()
    assert (replayed.differences, replayed.unsure) == ((), ())


async def twice_on_grace(task: Task, ctx: Context) -> Reply[Note]:
    """Its first call on grace is made, if it has one; what it does then is done in any case."""
    await why(spend(ctx, 950))
    await why(spend(ctx, 100, grace=True))
    refused = await why(spend(ctx, 60, grace=True))
    await spend(ctx, 50)
    return Reply(Note(refused))


@pytest.mark.parametrize("root", [True, False])
def test_grace_that_there_is_not_is_refused_in_its_own_figures(root: bool, tmp_path: Path) -> None:
    """No limit of model calls is said to have refused it: there is none."""
    handlers = {"first": code(twice_on_grace)} if root else {"first": asks("below"), "below": code(twice_on_grace)}
    world = Recorded(tmp_path, handlers=handlers, models=models(spender()), budget={"tokens": 1000})
    figures = "1 used, 0 held, limit 1" if root else "0 used, 0 held, limit 0"
    hint = (
        "the thread has made its grace call"
        if root
        else "grace belongs to 'first', the handler of the thread's root frame"
    )
    check_same(world, f"model_calls of the thread: {figures}, needed 1; {hint}")


@pytest.mark.parametrize("all_at_once", [True, False])
def test_a_thread_with_too_much_under_way_is_refused_more(all_at_once: bool, tmp_path: Path) -> None:
    async def crowds(task: Task, ctx: Context) -> Reply[Note]:
        await ctx.spawn("below", Task("xxx"))
        await ctx.spawn("below", Task("xxx"))
        if all_at_once:
            refused = [str(each) for each in await ctx.ask_all([("below", task), ("below", task)])]
        else:
            refused = [await why(ctx.ask("below", task)), await why(ctx.spawn("below", task))]
        await spend(ctx, 50)
        return Reply(Note(refused[0] if refused[0] == refused[1] else " but ".join(refused)))

    handlers = {"first": code(crowds, peers=("below",)), "below": code(notes)}
    world = Recorded(tmp_path, handlers=handlers, models=models(spender()), thread_queue=3)
    crowded = "messages under way in this thread: 3, and 1 more do not fit: 'thread_queue' is 3; send fewer at once, or raise it"
    check_same(world, f"refused: {crowded}")


SELF = "cycle: 'first' waits for this very branch"
CROWDED = "refused: messages under way in this thread: 3, and 1 more do not fit: 'thread_queue' is 3; send fewer at once, or raise it"


def out_of_messages(limit: int) -> str:
    return f"messages of the thread: {limit} used, 0 held, limit {limit}, needed 1"


@pytest.mark.parametrize(
    ("peers", "keys", "said"),
    [
        # Once a thread has run out of messages, that is why it asks nothing more, whatever else were wrong.
        (("below", "first"), {"budget": {"messages": 1}}, [out_of_messages(1), out_of_messages(1)]),
        (
            ("below", "first", "below", "below", "first"),
            {"budget": {"messages": 2}},
            ["exhausted: messages of the thread: 2 used, limit 2, needed 1", SELF, *[out_of_messages(2)] * 3],
        ),
        # What was asked just before is under way.
        (("below",) * 4, {"thread_queue": 3}, ["noted", "noted", CROWDED, CROWDED]),
        (("below", "first", "below", "first", "below"), {"thread_queue": 3}, ["noted", SELF, "noted", SELF, CROWDED]),
    ],
)
def test_what_was_asked_just_before_decides_what_may_be_asked(
    peers: tuple[str, ...], keys: dict[str, Any], said: list[str], tmp_path: Path
) -> None:
    """Whoever asks several handlers at once asks one after the other, and the record tells of them one after the other."""

    async def asks_all(task: Task, ctx: Context) -> Reply[Note]:
        answers = await ctx.ask_all([(each, task) for each in peers])
        if "budget" not in keys:
            await spend(ctx, 50)
        return Reply(Note("; ".join(each.text if isinstance(each, Note) else str(each) for each in answers)))

    async def answers(task: Task, ctx: Context) -> Reply[Note]:
        return Reply(Note("noted"))

    handlers = {"first": code(asks_all, peers=("below",)), "below": code(answers)}
    world = Recorded(tmp_path, handlers=handlers, models=models(spender()), **keys)
    check_same(world, "; ".join(said))
    settings = world.organism().settings
    assert late(world.documents(), settings, Vocabulary(payload_classes(settings))) == []


@pytest.mark.parametrize(
    ("first", "below", "said"),
    [
        ({}, {"depth": 1}, "depth of the sub-thread: 1 used, 0 held, limit 1, needed 2"),
        ({}, {"messages": 0}, "messages of the sub-thread: 0 used, 0 held, limit 0, needed 1"),
        ({"depth": 3}, {}, "depth of the sub-thread: 3 used, 0 held, limit 3, needed 4"),
    ],
)
def test_a_sub_thread_that_was_not_opened_is_told_of_by_its_limits(
    first: dict[str, Any], below: dict[str, Any], said: str, tmp_path: Path
) -> None:
    handlers = {"first": asks("below"), "below": code(notes, budget=below)}
    if first:  # one that has the limit, and below it one that asks, which has others
        handlers = {
            "first": asks("second"),
            "second": asks("third", budget=first),
            "third": asks("below", budget={"tokens": 100}),
            "below": code(notes),
        }
    check_same(Recorded(tmp_path, handlers=handlers), said)


def test_a_thread_that_was_spawned_may_be_waited_for_and_has_no_budget_once_it_has_ended(tmp_path: Path) -> None:
    async def waits(task: Task, ctx: Context) -> Reply[Note]:
        handle = await ctx.spawn("below", Task("xx"))
        handle.add_budget(tokens=10)
        result = await handle.result()
        try:
            handle.add_budget(tokens=10)
        except NotRunningError as error:
            return Reply(Note(f"{result.outcome}: {str(error).partition(' has ended; ')[2]}"))
        return Reply(Note("it has one"))

    world = Recorded(tmp_path, handlers={"first": code(waits, peers=("below",)), "below": code(notes)})
    check_same(world, "completed: its budget was released")
