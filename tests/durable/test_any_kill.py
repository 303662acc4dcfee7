"""Real organisms, killed at every position of their record in turn: another process brings the work to the same end."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

from organism import Context, Forward, Reply, Send
from organism.record.facts import CallSettled
from organism.testing import Says, ScriptedModel
from tests.durable.mortal import Scene, check_whole
from tests.hard.budget_world import Done, Task, agent, asks, models, replies
from tests.hard.pump_world import Go, Said, code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from organism import ThreadResult
    from organism.models.contract import Request
    from organism.record.facts import Fact


async def echo(message: Go, ctx: Context) -> Reply[Said]:
    times = ctx.state[message.text] = ctx.state.get(message.text, 0) + 1
    return Reply(Said(f"{message.text}{times}"))


async def model(message: Go, ctx: Context) -> Reply[Said]:
    return Reply(Said((await ctx.complete(message.text, max_output_tokens=10)).text))


async def hand_on(message: Go, ctx: Context) -> Forward[Go]:
    return Forward("echo", message)


async def broken(message: Go, ctx: Context) -> None:
    raise ValueError("broken")


async def all_of_it(message: Go, ctx: Context) -> Reply[Said]:
    ctx.state["before"] = True
    said: list[str] = []
    first = await ctx.complete("first", max_output_tokens=20)
    handle = await ctx.spawn("model", Go("spawned"))
    answers = await ctx.ask_all(
        [("echo", Go("a")), ("sub", Go("b")), ("model", Go("c")), ("kept", Go("d")), ("kept", Go("e")), ("on", Go("f")),
         ("broken", Go())]
    )  # fmt: skip
    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(_complete, ctx, f"sibling {number}", said)
    async with ctx.stream("streamed", max_output_tokens=10) as stream:
        streamed = "".join([piece async for piece in stream])
    spawned = await handle.result()
    told = [getattr(each, "text", str(each)) for each in answers]
    return Reply(Said("|".join([first.text, *told, *sorted(said), streamed, str(spawned.reply)])))


async def _complete(ctx: Context, text: str, said: list[str]) -> None:
    said.append((await ctx.complete(text, max_output_tokens=10)).text)


async def scatter(message: Go | Said, ctx: Context) -> Any:
    if isinstance(message, Said):
        ctx.state["heard"] = [*ctx.state.get("heard", []), message.text]
        heard = ctx.state["heard"]
        return Reply(Said(",".join(sorted(heard)))) if len(heard) == 3 else None
    return [Send("echo", Go("1")), Send("model", Go("2")), Send("sub", Go("3"))]


def answer(request: Request) -> Says:
    return Says(text=f"<{request.messages[-1]['content']}>", usage=(10, 5), seconds=1.0)


def handlers(**keys: Any) -> dict[str, Any]:
    return {
        "echo": code(echo, **keys),
        "model": code(model, **keys),
        "sub": code(echo, budget={"messages": 5}, **keys),
        "kept": code(model, budget={"tokens": 500}, per="thread", **keys),
        "on": code(hand_on, "echo", **keys),
        "broken": code(broken, **keys),
        "all": code(all_of_it, "echo", "sub", "model", "kept", "on", "broken", **keys),
        "scatter": code(scatter, "echo", "model", "sub", **keys),
    }


async def search(text: str) -> str:
    """Finds."""
    await anyio.sleep(1)
    return f"found {text}"


def working(request: Request) -> Says:
    """An agent that asks two peers and a tool at once, then one again, then answers with what it heard."""
    turns = sum(message["role"] == "assistant" for message in request.messages)
    heard = [str(message.get("content")) for message in request.messages if message["role"] == "tool"]
    if "for helper" in str(request.messages[1]["content"]):
        return replies("helped", usage=(20, 5), seconds=1)
    if turns == 0:
        return asks("helper", "peer", text="think", usage=(40, 10), seconds=1)
    if turns == 1:
        return asks("peer", text="more", usage=(60, 10), seconds=1)
    return replies(f"{len(heard)} heard", usage=(80, 10), seconds=1)


async def peer(task: Task, ctx: Context) -> Reply[Done]:
    """Answers."""
    await anyio.sleep(1)
    return Reply(Done("here"))


def code_scene(path: Path) -> Scene:
    said = ScriptedModel(answer)
    document = {"handlers": handlers(), "models": models(said), "budget": {"tokens": 1000, "seconds": 60}}
    return Scene(path, said, document, [("one", "all", Go("x"), {}), ("two", "scatter", Go("y"), {})])


def early_scene(path: Path) -> Scene:
    said = ScriptedModel(answer)
    document = {"handlers": handlers(effects="context"), "models": models(said), "ceiling": {"tokens": 5000}}
    return Scene(path, said, document, [("one", "all", Go("x"), {}), ("two", "scatter", Go("y"), {})])


def agent_scene(path: Path) -> Scene:
    said = ScriptedModel(working)
    document: dict[str, Any] = {
        "handlers": {
            "boss": agent(peers=("helper", "peer")),
            "helper": agent(budget={"messages": 5}),
            "peer": {"code": peer, "description": "Answers."},
        },
        "models": models(said),
        "budget": {"tokens": 200_000, "messages": 20},
    }
    return Scene(path, said, document, [("one", "boss", Task("go"), {}), ("two", "boss", Task("go on"), {})])


def lines_scene(path: Path) -> Scene:
    scene = agent_scene(path)
    scene.journal = "jsonl"
    return scene


SCENES: Final = {"code": code_scene, "early": early_scene, "agents": agent_scene, "lines": lines_scene}


def told(results: dict[str, ThreadResult]) -> dict[str, Any]:
    """What a user sees of results that a crash must not change."""
    return {id_: (result.outcome, result.replies, result.usage.messages) for id_, result in sorted(results.items())}


@pytest.mark.parametrize("name", SCENES)
async def test_killed_after_any_fact_it_comes_to_the_same_end_and_pays_for_no_answer_twice(
    name: str, tmp_path: Path, half: slice
) -> None:
    make: Callable[[Path], Scene] = SCENES[name]
    plain = make(tmp_path / "plain")
    whole = await plain.play()
    check_whole(whole, plain.path)
    calls = len(plain.model.requests)
    assert {result.outcome for result in plain.results.values()} == {"completed"}
    for cut in range(1, whole.written)[half]:
        scene = make(tmp_path / f"cut-{cut}")
        await scene.play(cut)
        held, completed = scene.calls()
        assert len(scene.model.requests) <= held, "a backend was asked before the hold was durable"
        before = len(scene.model.requests)
        organism = await scene.resume()
        where = f"cut at {cut} of {whole.written}"
        assert told(scene.results) == told(plain.results), where
        assert len(scene.model.requests) - before == calls - completed, where
        spent = sum(result.usage.model_calls for result in scene.results.values())
        facts = check_whole(organism, scene.path)
        assert spent == calls + held - completed - settled_for_nothing(facts), where
        for result in scene.results.values():
            crossed = Counter((each.unit, each.level, each.scope) for each in result.warnings)
            assert max(crossed.values(), default=1) == 1, where


@pytest.mark.parametrize("name", ["early", "agents"])
async def test_killed_again_while_it_takes_up_what_was_killed_it_comes_to_the_same_end(
    name: str, tmp_path: Path, half: slice
) -> None:
    make: Callable[[Path], Scene] = SCENES[name]
    plain = make(tmp_path / "plain")
    whole = await plain.play()
    for cut in range(1, whole.written, 9)[half]:
        for again in (1, 4, 9):
            scene = make(tmp_path / f"cut-{cut}-{again}")
            await scene.play(cut)
            await scene.resume(again)
            organism = await scene.resume()
            assert told(scene.results) == told(plain.results), (cut, again)
            check_whole(organism, scene.path)


def settled_for_nothing(facts: Iterable[Fact]) -> int:
    """Holds that were given up before a backend was asked cost nothing."""
    return sum(isinstance(fact, CallSettled) and not fact.charge.model_calls for fact in facts)
