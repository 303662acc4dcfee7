"""A history that is handed on from delivery to delivery: as if each of them had read it anew, and nobody can change what was said."""

from __future__ import annotations

import copy
import gc
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from organism import Organism
from organism.agent.history import History
from organism.agentsettings import Prune
from organism.hooks import CallEvent, Change
from organism.models.contract import BackendError
from organism.pump.memory import HandlerState
from organism.testing import Says, ScriptedModel, running
from organism.threads.frames import Thread
from organism.threads.outcomes import Memory
from tests.hard.budget_world import Done, Task, agent, models, replies, said_to

if TYPE_CHECKING:
    from collections.abc import Callable

    from organism import Context
    from organism.models.contract import Request

PRUNE = Prune(protect_turns=1, min_tokens=50)
RUNNING: Any = SimpleNamespace(over=False)
CALL = {"id": "1", "type": "function", "function": {"name": "peer", "arguments": "{}"}}
MESSAGES = st.lists(
    st.builds(lambda text: {"role": "user", "content": text}, st.text(max_size=30))
    | st.builds(lambda text: {"role": "assistant", "content": text, "tool_calls": [CALL]}, st.text(max_size=30))
    | st.builds(lambda size: {"role": "tool", "tool_call_id": "1", "content": "x" * size}, st.integers(0, 900)),
    max_size=8,
)
DELIVERIES = st.lists(
    st.tuples(MESSAGES, st.sampled_from(["ends", "fails", "is cut short", "has results cut"])), max_size=8
)


def state_of(memory: Memory) -> HandlerState:
    return HandlerState(memory, RUNNING)


def seen(history: History) -> tuple[object, ...]:
    place = history.boundary.place
    return (
        history.system, history.count, history.task, history.numbers, history.messages, history.characters, place,
        history.prompt(), history.prompt_from(place),
    )  # fmt: skip


@given(DELIVERIES)
def test_what_is_handed_on_is_what_would_be_read(deliveries: list[tuple[list[dict[str, Any]], str]]) -> None:
    memory = Memory({})
    for messages, how in deliveries:
        state = state_of(memory)
        history = History.of(state, PRUNE)
        assert seen(history) == seen(History(state_of(memory), PRUNE))
        if history.system is None:
            history.begin("You are.")
        for message in messages:
            history.add(message)
        plan = history.plan(1, pins_first=True) if how == "is cut short" else None
        if plan is not None:
            history.replace(plan, {"role": "user", "content": "so far"})
        if how == "has results cut":
            history.cut_results(200)
        history.leave()
        if how != "fails":
            memory.change(state.changes())


def test_a_history_is_read_once_and_not_by_each_delivery() -> None:
    memory = Memory({"count": 1, "message 0": {"role": "user", "content": "hi"}})
    first = History.of(state_of(memory), None)
    first.leave()
    assert History.of(state_of(memory), None) is first
    assert History.of(state_of(memory), None) is not first  # it is taken


def test_what_was_said_cannot_be_changed_and_a_copy_can() -> None:
    history = History(HandlerState({}, RUNNING))
    history.add({"role": "assistant", "content": "", "tool_calls": [CALL]})
    (said,) = history.messages
    whole: Any = said
    calls = whole["tool_calls"]
    changes: list[Callable[[], object]] = [
        lambda: whole.update(content="other"), lambda: whole.pop("role"), lambda: calls.append(CALL),
        lambda: calls[0]["function"].setdefault("x", 1),
    ]  # fmt: skip
    for change in changes:
        with pytest.raises(TypeError, match="change a copy"):
            change()
    copied = copy.deepcopy(whole)
    copied["tool_calls"].append("other")
    assert dict(said) == {"role": "assistant", "content": "", "tool_calls": [CALL]}
    assert json.loads(json.dumps(said)) == said


async def test_a_delivery_that_failed_leaves_nothing_in_the_next_prompt() -> None:
    def says(request: Request) -> Says:
        if said_to(request)[-1].endswith("<text>fail</text></Task>"):
            return Says(error=BackendError("rejected", "no"))
        return replies("done")

    model = ScriptedModel(says)
    handlers = {"worker": agent()}
    async with running(handlers=handlers, models=models(model, retries=0)) as organism:
        for text in ("one", "two", "fail", "three"):
            handle = await organism.send("worker", Task(text), conversation="c")
            result = await handle.result()
            assert (result.outcome == "failed") == (text == "fail")
    tasks = [text for text in said_to(model.requests[-1]) if "<Task" in text]
    assert [text.partition("<text>")[2].partition("<")[0] for text in tasks] == ["one", "two", "three"]


async def test_a_hook_that_changes_what_was_said_changes_a_copy_or_fails_loudly() -> None:
    def hook(event: CallEvent, ctx: Context) -> Change | None:
        first: Any = event.call.messages[1]
        if "<text>rude</text>" in first["content"]:
            first["content"] = "forged"
        changed = {**first, "content": "changed"}
        return Change(evolve(event.call, messages=(event.call.messages[0], changed)))

    model = ScriptedModel([replies("done")])
    async with running(
        handlers={"worker": agent()}, models=models(model), hooks={"before_model_call": hook}
    ) as organism:
        assert await organism.ask("worker", Task("kind")) == Done("done")
        assert said_to(model.requests[0])[1] == "changed"
        result = await (await organism.send("worker", Task("rude"))).result()
    assert result.outcome == "failed"
    assert "change a copy" in str(result.error)


def left() -> list[object]:
    return [each for each in gc.get_objects() if type(each) is Thread or type(each) is HandlerState]


async def test_what_a_delivery_leaves_is_freed_as_it_ends() -> None:
    model = ScriptedModel(lambda _request: Says(calls=(("reply", {"text": "done"}),)))
    async with Organism(name="o", handlers={"worker": agent()}, models=model.models()) as organism:
        await organism.ask("worker", Task("first"))
        model.requests.clear()
        gc.collect()
        before = left()  # other tests may have kept some
        gc.disable()
        try:
            for number in range(10):
                await organism.ask("worker", Task(str(number)))
            known = {id(each) for each in before}
            assert len([each for each in left() if id(each) not in known]) <= 1, "the pump may still know the last one"
        finally:
            gc.enable()
