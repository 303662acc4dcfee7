"""Tools where it is hard: processes that die, agents that are cancelled, floods, and what other people see of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import ConfigurationError, Context, Organism, Reply, payload
from organism.journal import open_journal
from organism.payloads import Vocabulary
from organism.record.facts import Answered, Fact, Failed
from organism.testing import Says, ScriptedModel
from organism.works.vocabulary import payload_classes
from tests.durable.mortal import Scene
from tests.hard.pump_world import Go, Said
from tests.replay.replay_world import Note, Recorded, Task

if TYPE_CHECKING:
    from pathlib import Path

    from organism.models.contract import Request


@payload
class Place:
    """Where something stands."""

    shelf: int


class World:
    """Tools that touch the world, and what they did there."""

    def __init__(self) -> None:
        self.did: Counter[str] = Counter()

    async def search(self, query: str, places: list[Place], ctx: Context) -> Place:
        """Looks things up."""
        ctx.state["last"] = Place(len(places))
        self.did[f"search {query}"] += 1
        await anyio.sleep(1)
        return Place(len(query))

    async def write(self, text: str) -> str:
        """Writes down."""
        self.did[f"write {text}"] += 1
        return f"wrote {text}"


def working(request: Request) -> Says:
    """Searches for three things at once, writes one down, wants more of both than it may have, and answers with all that it read."""
    turns = sum(message["role"] == "assistant" for message in request.messages)
    told = [str(message["content"]) for message in request.messages if message["role"] == "tool"]
    usage = (50, 10)
    if turns == 0:
        calls = tuple(("search", {"query": each, "places": [{"shelf": 1}]}) for each in ("a", "bb", "ccc"))
        return Says(calls=calls, usage=usage, seconds=1)
    if turns == 1:
        return Says(calls=(("write", {"text": "x"}), ("write", {"text": "y"})), usage=usage, seconds=1)
    return Says(calls=(("reply", {"text": " ".join(told)}),), usage=usage, seconds=1)


def desk(world: World, **agent: Any) -> dict[str, Any]:
    limits = {"default": 2, "search": None}
    return {
        "description": "Works.",
        "agent": {"accepts": Go, "replies": Said, "tools": [world.search, world.write], "tool_calls": limits, **agent},
    }


def scene(path: Path, world: World) -> Scene:
    model = ScriptedModel(working)
    limits = {"tokens": 200_000, "messages": 20}
    document = {
        "handlers": {"desk": desk(world, tool_calls={"write": 1})},
        "models": model.models(),
        "budget": limits,
    }
    return Scene(path, model, document, [("one", "desk", Go("x"), {})])


def record(organism: Organism, path: Path) -> list[Fact]:
    journal = open_journal(f"sqlite:{path}", vocabulary=Vocabulary(payload_classes(organism.settings)), readonly=True)
    try:
        return list(journal.read("one"))
    finally:
        journal.close()


def failures(scene: Scene) -> list[Failed]:
    return [fact for fact in record(scene.organism(), scene.path) if isinstance(fact, Failed)]


def told(scene: Scene) -> Any:
    result = scene.results["one"]
    return result.outcome, result.replies, result.usage.messages


async def test_killed_after_any_fact_no_finished_tool_runs_again_and_its_limits_stand(
    tmp_path: Path, half: slice
) -> None:
    world = World()
    plain = scene(tmp_path / "plain", world)
    whole = await plain.play()
    assert set(world.did.values()) == {1}
    assert sorted(world.did) == ["search a", "search bb", "search ccc", "write x"]
    assert "'write' may be called once in a thread, and was" in plain.results["one"].reply.text
    for cut in range(1, whole.written)[half]:
        world = World()
        cut_off = scene(tmp_path / f"cut-{cut}", world)
        dead = await cut_off.play(cut)
        finished = Counter(
            fact.handler for fact in record(dead, cut_off.path) if isinstance(fact, Answered) and fact.handler != "desk"
        )
        ran = sum(world.did.values())
        await cut_off.resume()
        assert told(cut_off) == told(plain), cut
        again = sum(world.did.values()) - ran
        assert again <= 4 - sum(finished.values()), cut
        assert sorted(world.did) == ["search a", "search bb", "search ccc", "write x"]


async def slow(n: int) -> str:
    """Takes its time."""
    await anyio.sleep(20)
    return str(n)


def repeats(request: Request) -> Says:
    """Calls the tool, and answers with what came of it."""
    heard = [str(message["content"]) for message in request.messages if message["role"] == "tool"]
    return Says(calls=(("reply", {"text": heard[-1]}) if heard else ("slow", {"n": 1}),))


async def left_in_a_call(path: Path, model: ScriptedModel, handlers: dict[str, Any]) -> None:
    """Leaves a process behind whose agent's tool was running."""
    scene = Scene(path, model, {"handlers": handlers, "models": model.models()}, [])
    async with scene.organism() as organism:
        await organism.send("desk", Go(), id="one")
        await anyio.sleep(5)


async def test_a_tool_that_is_gone_when_its_call_is_taken_up_fails_with_a_word(tmp_path: Path) -> None:
    model = ScriptedModel(repeats)
    agent = {"accepts": Go, "replies": Said, "tools": [slow]}
    handlers: dict[str, Any] = {"desk": {"description": "Works.", "agent": agent}}
    await left_in_a_call(tmp_path / "x", model, handlers)
    first = Scene(tmp_path / "x", model, {"handlers": handlers, "models": model.models()}, [("one", "desk", Go(), {})])
    handlers["desk"]["agent"] = {**agent, "tools": []}
    await first.resume()
    assert "there is no tool 'slow' now; tools: reply" in first.results["one"].reply.text
    assert [each.failure.text for each in failures(first)] == ["'desk.slow' is not a handler any more"]


async def test_a_call_whose_function_takes_other_arguments_now_fails_with_a_word(tmp_path: Path) -> None:
    async def slow(text: str) -> str:
        """Takes its time."""
        return text

    model = ScriptedModel(repeats)
    agent = {"accepts": Go, "replies": Said, "tools": [globals()["slow"]]}
    handlers = {"desk": {"description": "Works.", "agent": agent}}
    await left_in_a_call(tmp_path / "x", model, handlers)
    handlers["desk"]["agent"] = {**agent, "tools": [slow]}
    second = Scene(tmp_path / "x", model, {"handlers": handlers, "models": model.models()}, [("one", "desk", Go(), {})])
    await second.resume()
    assert "slow.text: is missing" in second.results["one"].reply.text
    (failed,) = failures(second)
    assert failed.failure.text.startswith("'slow' does not take this: ")


def test_a_replay_of_an_agent_with_tools_finds_no_difference(tmp_path: Path) -> None:
    world = World()
    recorded = Recorded(
        tmp_path, handlers={"desk": desk(world)}, models=ScriptedModel(working).models(), budget={"tokens": 200_000}
    )
    result = recorded.send("desk", Go("x"))
    assert result.outcome == "completed"
    replayed = recorded.replay()
    assert (replayed.deliveries, replayed.calls, replayed.differences, replayed.unsure) == (6, 3, (), ())


def test_a_replay_of_tools_that_ran_at_once_and_asked_others_finds_no_difference(tmp_path: Path) -> None:
    async def digest(n: int, ctx: Context) -> str:
        """Sums up, the later ones faster."""
        await anyio.sleep(5 - n)
        done = await ctx.complete(f"part {n} of {ctx.budget.messages.used}", max_output_tokens=20)
        asked = await ctx.ask("echo", Go(f"{done.text} at {ctx.now().isoformat()}"), expect=Said)
        return f"{n}: {asked.text}"

    async def echo(go: Go, ctx: Context) -> Reply[Said]:
        """Says it again."""
        await anyio.sleep(1)
        return Reply(Said(f"{go.text} {ctx.budget.messages.used}"))

    def says(request: Request) -> Says:
        if not request.tools:
            return Says(text="short", seconds=float(str(request.messages[0]["content"])[5]))
        turns = sum(message["role"] == "assistant" for message in request.messages)
        calls = tuple(("digest", {"n": n}) for n in range(4))
        return Says(calls=(("reply", {"text": "done"}),) if turns else calls)

    agent = {"accepts": Go, "replies": Said, "tools": [digest]}
    desk = {"description": "Works.", "agent": agent, "peers": ["echo"]}
    recorded = Recorded(tmp_path, handlers={"desk": desk, "echo": echo}, models=ScriptedModel(says).models())
    assert recorded.send("desk", Go("x")).outcome == "completed"
    replayed = recorded.replay()
    assert (replayed.deliveries, replayed.calls, replayed.differences, replayed.unsure) == (9, 6, (), ())


def test_a_replay_says_that_a_tool_returns_something_else(tmp_path: Path) -> None:
    answers = iter(("first", "second"))

    async def fickle() -> str:
        """Changes."""
        return next(answers)

    model = ScriptedModel([Says(calls=(("fickle", {}),)), Says(calls=(("reply", {"text": "done"}),))])
    agent = {"accepts": Task, "replies": Note, "tools": [fickle]}
    recorded = Recorded(tmp_path, handlers={"desk": {"description": "Works.", "agent": agent}}, models=model.models())
    recorded.send("desk", Task("x"))
    (difference,) = recorded.replay().differences
    assert difference.handler == "desk.fickle"
    assert ("first" in difference.recorded, "second" in difference.now) == (True, True)


async def test_a_cancelled_agent_takes_its_running_tools_with_it() -> None:
    ended: list[str] = []

    async def endless() -> str:
        """Never ends."""
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("ended")
        return ""

    model = ScriptedModel([Says(calls=(("endless", {}), ("endless", {})))])
    handlers = {
        "desk": {"description": "Works.", "agent": {"accepts": Go, "replies": Said, "tools": [endless]}},
    }
    async with Organism(name="test", handlers=handlers, models=model.models()) as organism:
        handle = await organism.send("desk", Go())
        await anyio.sleep(1)
        handle.cancel("enough")
        assert (await handle.result()).outcome == "cancelled"
    assert ended == ["ended", "ended"]


async def test_a_hundred_calls_in_one_turn_each_have_one_result_in_their_order() -> None:
    async def double(n: int) -> int:
        """Doubles."""
        await anyio.sleep((n * 7) % 10)
        return 2 * n

    calls = tuple(("double", {"n": n}) for n in range(100))
    model = ScriptedModel([Says(calls=calls), Says(calls=(("reply", {"text": "done"}),))])
    handlers = {
        "desk": {"description": "Works.", "agent": {"accepts": Go, "replies": Said, "tools": [double]}},
    }
    async with Organism(name="test", handlers=handlers, models=model.models()) as organism:
        assert await organism.ask("desk", Go()) == Said("done")
        assert organism.statistics().running == 0
    results = [(m["tool_call_id"], m["content"]) for m in model.requests[1].messages if m["role"] == "tool"]
    assert results == [(f"call_{n}", str(2 * n)) for n in range(100)]


@pytest.mark.parametrize("name", ["desk.search", "desk.other", ".", "desk."])
async def test_no_handler_can_be_named_like_a_tool(name: str) -> None:
    async def look(go: Go, ctx: Context) -> Reply[Said]:
        """Looks."""
        return Reply(Said())

    world = World()
    handlers: dict[str, Any] = {"desk": desk(world), name: look}
    with pytest.raises(ConfigurationError, match="is not a valid handler name"):
        Organism(name="test", handlers=handlers)
