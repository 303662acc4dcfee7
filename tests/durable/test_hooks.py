"""Hooks and the record: what is run again after a crash, and what is replayed, asks them again and comes to the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve

from organism import Context, Reply
from organism.hooks import CallEvent, Change, CompletionEvent, Pause, Skip
from organism.record.facts import CallCompleted, CallHeld
from organism.testing import Says, ScriptedModel
from tests.durable.mortal import Scene, behind, check_whole, every
from tests.hard.budget_world import Done, Task, agent, code, models, replies, said_to
from tests.replay.replay_world import Note, Recorded
from tests.replay.replay_world import Task as Asked

if TYPE_CHECKING:
    from pathlib import Path

    from organism import Organism
    from organism.models.contract import Request
    from organism.record.facts import Fact


def number(event: CallEvent, ctx: Context) -> Any:
    """Changes what is asked, answers every second call itself, and is the same whenever it is asked."""
    text = str(event.call.messages[0]["content"])
    if text.endswith("1"):
        return Skip(f"hook on {text}")
    return Change(evolve(event.call, messages=({"role": "user", "content": f"{text}!"},)))


def shout(event: CompletionEvent, ctx: Context) -> Change:
    return Change(evolve(event.completion, text=event.completion.text.upper()))


async def worker(task: Task, ctx: Context) -> Reply[Done]:
    texts = [(await ctx.complete(f"{task.text} {each}")).text for each in range(4)]
    return Reply(Done(" / ".join(texts)))


ANSWER = "GO 0! / HOOK ON GO 1 / GO 2! / GO 3!"


def scene(path: Path) -> Scene:
    model = ScriptedModel(lambda request: Says(text=said_to(request)[0], usage=(10, 5)))
    document = {
        "handlers": {"worker": code(worker)},
        "models": models(model),
        "hooks": {"before_model_call": number, "after_model_call": shout},
    }
    return Scene(path=path, model=model, document=document, sends=[("t", "worker", Task("go"), {})])


@pytest.mark.parametrize("answered", range(5))
async def test_a_delivery_that_is_run_again_asks_its_hooks_again_and_pays_for_nothing_twice(
    tmp_path: Path, answered: int
) -> None:
    played = scene(tmp_path / "j.db")
    organism = played.organism()
    organism.dies_at = behind(answered, CallCompleted)
    await played.live(organism, played.send_all)
    last = await played.resume()
    assert played.results["t"].reply == Done(ANSWER)
    check_whole(last, played.path)
    answers = [fact.text for fact in every(played.path, CallCompleted)]
    assert answers == ["go 0!", "hook on go 1", "go 2!", "go 3!"]
    # Of the call that was under way the answer may be lost; every other one was made once.
    assert len(every(played.path, CallHeld)) <= 4


async def test_a_last_answer_that_is_read_back_passes_the_hooks_as_it_did(tmp_path: Path) -> None:
    seen: list[CompletionEvent] = []

    def upper(event: CompletionEvent, ctx: Context) -> Change:
        seen.append(event)
        calls = tuple(
            evolve(each, arguments=each.arguments.replace("have", "HAVE")) for each in event.completion.tool_calls
        )
        return Change(evolve(event.completion, tool_calls=calls))

    def says(request: Request) -> Says:
        if [tool.name for tool in request.tools] == ["reply"]:
            return replies("what I have", usage=(100, 20))
        return Says(calls=(("peer", Task("x")),), usage=(300, 60))

    async def peer(task: Task, ctx: Context) -> Reply[Done]:
        return Reply(Done(task.text))

    made = Scene(
        path=tmp_path / "j.db",
        model=ScriptedModel(says),
        document={
            "handlers": {"worker": agent(peers=("peer",), max_output_tokens=100), "peer": code(peer)},
            "models": models(ScriptedModel(says)),
            "budget": {"tokens": 4000, "grace": {"model_calls": 1, "share": 0.5, "tokens": 2000}},
            "hooks": {"after_model_call": upper},
        },
        sends=[("t", "worker", Task("go"), {})],
    )
    organism = made.organism()
    kinds: list[type[Fact]] = []

    def dies_at(fact: Fact) -> bool:
        if kinds == [CallHeld, CallCompleted]:
            return True
        if kinds or (isinstance(fact, CallHeld) and fact.grace):
            kinds.extend([type(fact)] if isinstance(fact, (CallHeld, CallCompleted)) else [])
        return False

    organism.dies_at = dies_at
    await made.live(organism, made.send_all)
    seen.clear()
    check_whole(await made.resume(), made.path)
    assert made.results["t"].reply == Done("what I HAVE")
    assert sum(held.grace for held in every(made.path, CallHeld)) == 1
    said = [str(each.get("content")) for each in seen[-1].call.messages]
    assert "go" in said[1]  # what it was asked with, as far as the history tells it
    assert not seen[-1].skipped


def test_a_replay_asks_the_same_hooks_and_finds_nothing_changed(tmp_path: Path) -> None:
    async def finder(task: Asked, ctx: Context) -> Reply[Note]:
        texts = [(await ctx.complete(f"{task.text} {each}")).text for each in range(3)]
        return Reply(Note(" / ".join(texts)))

    model = ScriptedModel(lambda request: Says(text=said_to(request)[0]))
    handlers = {"finder": {"code": finder, "description": "Finds."}}
    hooks = {"before_model_call": number, "after_model_call": shout}
    recorded = Recorded(tmp_path, handlers=handlers, models=models(model), hooks=hooks)
    assert recorded.send("finder", Asked("go")).reply == Note("GO 0! / HOOK ON GO 1 / GO 2!")
    replayed = recorded.replay()
    assert (replayed.differences, replayed.unsure) == ((), ())
    # Without them the models would be asked something else, which a replay shows.
    assert recorded.replay(hooks={}).differences


def test_what_a_hook_held_up_goes_on_in_another_process_once_it_was_resumed(tmp_path: Path) -> None:
    open_: list[bool] = []

    def gate(event: CallEvent, ctx: Context) -> Pause | None:
        return None if open_ else Pause("look at it")

    async def finder(task: Asked, ctx: Context) -> Reply[Note]:
        return Reply(Note((await ctx.complete(task.text)).text))

    model = ScriptedModel([Says(text="found")])
    handlers = {"finder": {"code": finder, "description": "Finds."}}
    recorded = Recorded(tmp_path, handlers=handlers, models=models(model), hooks={"before_model_call": gate})
    assert recorded.send("finder", Asked("go")).outcome == "paused"

    async def go_on(organism: Organism) -> Any:
        (handle,) = await organism.resume()
        handle.resume()
        return await handle.result()

    open_.append(True)
    result = recorded.run(go_on)
    assert (result.outcome, result.reply, len(model.requests)) == ("completed", Note("found"), 1)
    assert recorded.replay().differences == ()
