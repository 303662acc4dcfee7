"""Hooks at every point, through the real pump: what they see, change, skip, hold up and refuse."""

from __future__ import annotations

import logging
import math
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from attrs import evolve

from organism import ConfigurationError, Context, HandlerFailedError, NotRunningError, Organism, Refused, Reply
from organism.hooks import (
    POINTS,
    Abort,
    AbortEvent,
    CallEvent,
    Change,
    CompletionEvent,
    Go,
    MessageEvent,
    Pause,
    Skip,
    ToolEvent,
    ToolResultEvent,
    TurnEvent,
)
from organism.models.completion import Completion, agreeing
from organism.models.contract import ToolCall
from organism.testing import Says, ScriptedModel, running
from organism.usage import Usage
from tests.hard.budget_world import Done, Task, agent, asks, code, models, outcome, peer, replies, said_to

if TYPE_CHECKING:
    from pathlib import Path

    from organism.models.contract import Request


async def echo(task: Task, ctx: Context) -> Reply[Done]:
    """Says what it was told."""
    return Reply(Done(task.text))


async def caller(task: Task, ctx: Context) -> Reply[Done]:
    """Asks a model."""
    return Reply(Done((await ctx.complete(task.text)).text))


def scripted(*says: Says) -> ScriptedModel:
    return ScriptedModel(list(says) or [Says(text="from the model")])


def always(verdict: Any) -> Any:
    """A hook that says the same to everything, or what a function makes of each event."""

    def hook(event: Any, ctx: Context) -> Any:
        return verdict(event) if callable(verdict) else verdict

    return hook


def remade(**fields: Any) -> Any:
    """A change of these fields of a call or of a completion."""
    return lambda event: Change(evolve(event.completion if hasattr(event, "completion") else event.call, **fields))


NOT_JSON: Any = {"text": "x"}
WITH_A_DICT = ToolCall(id="1", name="reply", arguments=NOT_JSON)


def of_bytes(event: object) -> Go:
    """A verdict that cannot even be made."""
    return Go(secrets=[b"of bytes"])


def refuses(event: Any, ctx: Context) -> Any:
    raise Refused("no")


async def test_every_point_is_asked_in_its_order_with_what_happens_there() -> None:
    seen: list[Any] = []

    def note(event: Any, ctx: Context) -> None:
        seen.append((ctx.name, event))

    model = scripted(asks("helper"), replies("all"))
    handlers = {"worker": agent(peers=("helper",)), "helper": code(peer)}
    hooks: dict[str, Any] = dict.fromkeys(POINTS, note)
    async with running(handlers=handlers, models=models(model), hooks=hooks) as organism:
        assert (await outcome(organism)).reply == Done("all")
    kinds = [(name, type(event)) for name, event in seen]
    assert kinds == [
        ("worker", MessageEvent),
        ("worker", CallEvent),
        ("worker", CompletionEvent),
        ("worker", ToolEvent),
        ("helper", MessageEvent),
        ("worker", ToolResultEvent),
        ("worker", TurnEvent),
        ("worker", CallEvent),
        ("worker", CompletionEvent),
        ("worker", TurnEvent),
    ]
    assert seen[0][1] == MessageEvent(to="worker", sender="", payload=Task("go"))
    assert seen[3][1] == ToolEvent(tool="helper", payload=Task("for helper"))
    assert (seen[5][1].failed, "here" in seen[5][1].result) == (False, True)
    assert (seen[6][1].reply, seen[9][1].reply) == (None, Done("all"))


async def test_hooks_of_a_point_are_asked_in_order_and_each_sees_what_those_before_it_changed() -> None:
    async def one(event: MessageEvent, ctx: Context) -> Change:
        await anyio.sleep(1)
        return Change(Task(f"{event.payload.text} one"))

    def two(event: MessageEvent, ctx: Context) -> Change:
        return Change(Task(f"{event.payload.text} two"))

    async with running(handlers={"worker": code(echo)}, hooks={"on_message": [one, two]}) as organism:
        assert (await outcome(organism)).reply == Done("go one two")


async def test_a_message_is_skipped_with_what_its_handler_would_answer() -> None:
    async def never(task: Task, ctx: Context) -> Reply[Done]:
        raise AssertionError

    async with running(
        handlers={"worker": code(never)}, hooks={"on_message": always(Skip(Reply(Done("kept"))))}
    ) as organism:
        assert (await outcome(organism)).reply == Done("kept")


async def test_a_call_is_changed_before_the_model_sees_it_and_the_answer_before_its_caller_does() -> None:
    def redact(event: CallEvent, ctx: Context) -> Change:
        changed = tuple({**each, "content": str(each["content"]).replace("4711", "#")} for each in event.call.messages)
        return Change(evolve(event.call, messages=changed))

    def shout(event: CompletionEvent, ctx: Context) -> Change:
        return Change(evolve(event.completion, text=event.completion.text.upper()))

    model = scripted()
    hooks = {"before_model_call": redact, "after_model_call": shout}
    async with running(handlers={"worker": code(caller)}, models=models(model), hooks=hooks) as organism:
        assert await organism.ask("worker", Task("my number is 4711")) == Done("FROM THE MODEL")
    assert said_to(model.requests[0]) == ["my number is #"]


async def test_an_agent_remembers_of_an_answer_what_a_hook_has_made_of_it() -> None:
    """A call that a hook has taken away has no result, and no provider takes a history with such a call."""

    def censor(event: CompletionEvent, ctx: Context) -> Change:
        calls = tuple(call for call in event.completion.tool_calls if call.name != "second")
        return Change(evolve(event.completion, text=event.completion.text.replace("secret", "word"), tool_calls=calls))

    both = asks("first", "second", text="the secret plan")
    only = asks("second", text="")
    model = scripted(both, only, replies("done"))
    handlers = {"worker": agent(peers=("first", "second")), "first": code(peer), "second": code(peer)}
    async with running(handlers=handlers, models=models(model), hooks={"after_model_call": censor}) as organism:
        assert (await outcome(organism)).reply == Done("done")
    last = model.requests[2].messages
    assert [each["role"] for each in last] == ["system", "user", "assistant", "tool", "user"]
    assert (last[2]["content"], [call["function"]["name"] for call in last[2]["tool_calls"]]) == (
        "the word plan",
        ["first"],
    )


def test_a_completion_that_agrees_with_its_message_stays_as_it_is() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra": 1}
    message = {"role": "assistant", "content": None, "tool_calls": [call], "kept": "x"}
    made = (ToolCall(id="a", name="f", arguments="{}"), ToolCall(id="b", name="g", arguments="{}"))
    whole: dict[str, Any] = {"model": "m", "backend": "b", "usage": Usage(), "cost_usd": Decimal(0)}
    given = Completion(text="", message=message, tool_calls=made[:1], **whole)
    assert agreeing(given, given) is given
    # What a server has said beside a call stays with it.
    longer = agreeing(evolve(given, tool_calls=made), given).message
    assert (longer["tool_calls"][0], longer["tool_calls"][1]["id"], longer["kept"]) == (call, "b", "x")


@pytest.mark.parametrize(
    ("text", "kept", "stand"),
    [
        ("I look, and look.", "ab", [[0, 0], [17, 0], [17, 1]]),
        ("I look.", "xb", [[0, 0], [7, 0], [7, 1]]),
        ("I look.", "b", [[0, 0], [7, 0], [7, 0]]),
        ("", "a", [[0, 0], [0, 0], [0, 1]]),
        ("I look.", "", [[0, 0], [7, 0], [7, 0]]),
    ],
)
def test_what_was_thought_stays_in_its_place_among_what_a_hook_leaves(text: str, kept: str, stand: Any) -> None:
    calls = {name: ToolCall(id=name, name="f", arguments="{}") for name in "abx"}
    made = [{"id": name, "type": "function", "function": {"name": "f", "arguments": "{}"}} for name in "ab"]
    thoughts = [{"type": "thinking", "signature": "s", "at": at} for at in ([0, 0], [7, 0], [7, 1])]
    message = {"role": "assistant", "content": "I look.", "tool_calls": made, "thinking_blocks": thoughts}
    whole: dict[str, Any] = {"model": "m", "backend": "b", "usage": Usage(), "cost_usd": Decimal(0)}
    given = Completion(text="I look.", message=message, tool_calls=(calls["a"], calls["b"]), **whole)
    changed = agreeing(evolve(given, text=text, tool_calls=tuple(calls[name] for name in kept)), given).message
    assert [each["at"] for each in changed["thinking_blocks"]] == stand
    # One that the hook has put there itself stays as it is.
    own = evolve(given, text=text, message={**message, "content": text, "thinking_blocks": []})
    assert agreeing(own, given).message["thinking_blocks"] == []


async def test_an_agent_remembers_the_calls_of_an_answer_that_a_hook_gave() -> None:
    def plan(event: CallEvent, ctx: Context) -> Skip | None:
        if len(event.call.messages) > 2:
            return None
        call = ToolCall(id="a", name="first", arguments='{"text": "x"}')
        message = {"role": "assistant", "content": None}
        return Skip(
            Completion(
                text="", message=message, model="m", backend="b", usage=Usage(), cost_usd=Decimal(0), tool_calls=(call,)
            )
        )

    model = scripted(replies("done"))
    handlers = {"worker": agent(peers=("first",)), "first": code(peer)}
    async with running(handlers=handlers, models=models(model), hooks={"before_model_call": plan}) as organism:
        assert (await outcome(organism)).reply == Done("done")
    asked, told = model.requests[0].messages[2:4]
    assert [call["id"] for call in asked["tool_calls"]] == [told["tool_call_id"]]


async def test_a_skipped_call_costs_nothing_and_is_written_down_as_an_answer() -> None:
    model = scripted()
    hooks = {"before_model_call": always(Skip("from the hook"))}
    async with running(handlers={"worker": code(caller)}, models=models(model), hooks=hooks) as organism:
        organism.keep_history()
        result = await outcome(organism)
        assert (result.reply, result.usage.tokens, result.usage.model_calls) == (Done("from the hook"), 0, 0)
        answers = [fact for fact in organism.watch.facts if type(fact).__name__ == "CallCompleted"]
    assert [(each.text, each.kept.backend) for each in answers] == [("from the hook", "hook")]  # type: ignore[attr-defined]
    assert model.requests == []


async def test_a_stream_is_hooked_as_a_whole() -> None:
    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        async with ctx.stream(task.text) as stream:
            pieces = [piece async for piece in stream]
        return Reply(Done(f"{''.join(pieces)}|{stream.completion.text}"))

    def shout(event: CompletionEvent, ctx: Context) -> Change:
        return Change(evolve(event.completion, text=event.completion.text.upper()))

    async with running(
        handlers={"worker": code(worker)}, models=models(scripted()), hooks={"after_model_call": shout}
    ) as organism:
        assert (await outcome(organism)).reply == Done("from the model|FROM THE MODEL")
    skipped = {"before_model_call": always(Skip("from the hook"))}
    async with running(handlers={"worker": code(worker)}, models=models(scripted()), hooks=skipped) as organism:
        assert (await outcome(organism)).reply == Done("from the hook|from the hook")


async def test_calls_of_tools_are_changed_skipped_and_refused_and_the_model_reads_what_came_of_it() -> None:
    def before(event: ToolEvent, ctx: Context) -> Any:
        match event.tool:
            case "first":
                return Change(Task("something else"))
            case "second":
                return Skip("the hook's own result")
            case _:
                return Abort("not that one")

    def after(event: ToolResultEvent, ctx: Context) -> Change:
        return Change(event.result.replace("something", "nothing"))

    model = scripted(asks("first", "second", "third"), replies())
    handlers = {
        "worker": agent(peers=("first", "second", "third")),
        **{name: code(echo) for name in ("first", "second", "third")},
    }
    hooks = {"before_tool": before, "after_tool": after}
    async with running(handlers=handlers, models=models(model), hooks=hooks) as organism:
        assert (await outcome(organism)).usage.messages == 2  # the first, and one ask
    first, second, third = (text for text in said_to(model.requests[1])[-3:])
    assert "nothing else" in first
    assert second == "the hook's own result"
    assert '"code": "refused"' in third
    assert "not that one" in third


async def test_a_paused_step_is_made_once_its_thread_was_resumed_and_its_hook_asked_again() -> None:
    allowed: list[bool] = []
    asked: list[str] = []

    def gate(event: Any, ctx: Context) -> Pause | None:
        asked.append(ctx.name)
        return None if allowed else Pause("somebody has to look at it")

    model = scripted()
    hooks = {"before_model_call": gate}
    async with running(handlers={"worker": code(caller)}, models=models(model), hooks=hooks) as organism:
        handle = await organism.send("worker", Task("go"))
        assert (await handle.result()).outcome == "paused"
        handle.resume()
        await anyio.sleep(1)
        assert (await handle.result()).outcome == "paused"
        assert (asked, model.requests) == (["worker"] * 2, [])
        allowed.append(True)
        handle.resume()
        await anyio.sleep(1)
        result = await handle.result()
    assert (result.outcome, result.reply, len(model.requests)) == ("completed", Done("from the model"), 1)


async def test_a_paused_thread_that_is_cancelled_leaves_nothing_behind() -> None:
    hooks = {"on_message": always(Pause("wait"))}
    async with running(handlers={"worker": code(echo)}, hooks=hooks) as organism:
        handle = await organism.send("worker", Task("go"))
        assert (await handle.result()).outcome == "paused"
        handle.cancel()
        assert not handle.paused
        assert (await handle.result()).outcome == "cancelled"


@pytest.mark.parametrize("refuse", [always(Abort("no")), refuses])
async def test_an_aborted_step_fails_with_refused(refuse: Any) -> None:
    async with running(handlers={"worker": code(caller)}, hooks={"before_model_call": refuse}) as organism:
        with pytest.raises(HandlerFailedError, match="no") as failed:
            await organism.ask("worker", Task("go"))
    assert failed.value.code == "refused"


def odd(event: Any, ctx: Context) -> Any:
    raise ZeroDivisionError("by nought")


@pytest.mark.parametrize("point", ["on_message", "before_model_call", "after_model_call"])
async def test_a_hook_that_raises_fails_its_step_loudly(point: str, caplog: pytest.LogCaptureFixture) -> None:
    async with running(handlers={"worker": code(caller)}, models=models(scripted()), hooks={point: odd}) as organism:
        with pytest.raises(HandlerFailedError, match=f"hook .*:odd at {point}: ZeroDivisionError: by nought") as failed:
            await organism.ask("worker", Task("go"))
    assert failed.value.code == "crashed"
    assert any(record.levelno == logging.ERROR and point in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize(
    ("point", "verdict", "says"),
    [
        ("on_message", "go on", "gave a value of type str at on_message; there it may give None, Go, Change"),
        ("after_model_call", Skip("x"), "gave a value of type Skip at after_model_call"),
        ("on_message", Change(Done("x")), "'worker' takes Task, and not a value of type Done"),
        ("before_model_call", Change("x"), "it must be Call, not a value of type str"),
        ("before_model_call", Skip(5), "replaced by a text or a completion, not by a value of type int"),
        (
            "before_model_call",
            remade(max_output_tokens=-5),
            "gave an invalid value: max_output_tokens is a whole number",
        ),
        ("before_model_call", remade(messages=()), "messages is an empty list"),
        ("before_model_call", remade(messages="text of its own"), None),
        ("before_model_call", remade(tags="draft"), "tags is a list of texts"),
        ("before_model_call", remade(temperature=math.nan), "temperature is a number from 0 on"),
        ("before_model_call", remade(wish=0), "wish is a whole number"),
        ("after_model_call", remade(text=5), "text of a completion is a str, not 5"),
        ("after_model_call", remade(tool_calls=[7]), "tool_calls of a completion are ToolCalls of texts .*, not .7"),
        ("after_model_call", remade(tool_calls=[WITH_A_DICT]), "arguments as JSON.*, not .ToolCall"),
        ("after_model_call", remade(tool_calls=[]), None),
        ("after_model_call", remade(usage=None), "usage of a completion is a Usage, not None"),
        ("on_message", Go(secrets=["short"]), "hook .* at on_message: a secret has 6 characters at least"),
        ("on_message", of_bytes, "secrets are texts, not a value of type bytes"),
    ],
)
async def test_a_verdict_that_cannot_be_fails_the_step_and_names_its_hook(
    point: str, verdict: Any, says: str | None
) -> None:
    model = scripted()
    async with running(
        handlers={"worker": code(caller)}, models=models(model), hooks={point: always(verdict)}
    ) as organism:
        handle = await organism.send("worker", Task("go"))
        result = await handle.result()
    if says is None:
        assert (result.outcome, result.reply) == ("completed", Done("from the model"))
        return
    assert (result.outcome, result.code) == ("failed", "crashed")
    assert re.search(says, result.error or "")
    assert "always.<locals>.hook" in (result.error or "")
    assert len(model.requests) == (point == "after_model_call")


async def test_whoever_is_told_of_aborts_hears_of_failures_and_cancellations_and_changes_nothing() -> None:
    heard: list[AbortEvent] = []

    async def told(event: AbortEvent, ctx: Context) -> None:
        await anyio.sleep(0.5)
        heard.append(event)
        raise RuntimeError("who is told may fail")

    async def worker(task: Task, ctx: Context) -> None:
        if task.text == "fail":
            raise ValueError("bad luck")
        if task.text == "exit":
            raise SystemExit(3)
        await anyio.sleep(100)

    async with running(handlers={"worker": code(worker)}, hooks={"on_abort": told}) as organism:
        with pytest.raises(HandlerFailedError, match="bad luck"):
            await organism.ask("worker", Task("fail"))
        with pytest.raises(HandlerFailedError, match="SystemExit: 3 left the handler"):
            await organism.ask("worker", Task("exit"))
        handle = await organism.send("worker", Task("sleep"))
        await anyio.sleep(1)
        handle.cancel()
        await anyio.sleep(1)
    assert [event.code for event in heard] == ["crashed", "crashed", "cancelled"]


async def test_what_a_hook_does_itself_is_charged_and_not_hooked_again() -> None:
    calls: list[str] = []

    async def judge(event: CallEvent, ctx: Context) -> None:
        calls.append(ctx.name)
        assert (await ctx.complete("is that all right?")).text == "from the model"

    model = scripted()
    async with running(
        handlers={"worker": code(caller)}, models=models(model), hooks={"before_model_call": judge}
    ) as organism:
        assert (await outcome(organism)).usage.model_calls == 2
    assert calls == ["worker"]
    assert [said_to(each) for each in model.requests] == [["is that all right?"], ["go"]]


async def test_hooks_are_added_in_python_before_the_start_and_not_after() -> None:
    organism = Organism(name="test", handlers={"worker": code(echo)}, hooks={"on_message": first})
    organism.add_hook("on_message", second)
    async with organism:
        assert await organism.ask("worker", Task("go")) == Done("go first second")
        with pytest.raises(NotRunningError, match="has started: add hooks before that"):
            organism.add_hook("on_message", second)


async def first(event: MessageEvent, ctx: Context) -> Change:
    return Change(Task(f"{event.payload.text} first"))


def second(event: MessageEvent, ctx: Context) -> Change:
    return Change(Task(f"{event.payload.text} second"))


@pytest.mark.parametrize(
    ("point", "hook", "says"),
    [
        ("on_start", first, "'on_start' is not a point; there are: on_message, before_model_call"),
        ("on_message", 5, "'int' is not a function"),
        ("on_message", always, "cannot be called as a hook"),
    ],
)
def test_what_is_no_hook_is_refused_with_what_one_is(point: Any, hook: Any, says: str) -> None:
    organism = Organism(name="test", handlers={"worker": code(echo)})
    with pytest.raises(ConfigurationError, match=says):
        organism.add_hook(point, hook)


def all_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_what_a_hook_marks_is_written_nowhere_from_then_on(tmp_path: Path) -> None:
    """Neither plain nor as XML or JSON write it, in a journal, in the session log or in a history."""
    hidden = 'my "house" & <key>'

    def mark(event: CallEvent, ctx: Context) -> Go:
        return Go(secrets=hidden)

    def learn(request: Request) -> Says:
        return Says(text=f"I was told {hidden}")

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        completion = await ctx.complete(f"keep {hidden}")
        return Reply(Done(completion.text))

    for journal in (f"sqlite:{tmp_path / 'j.db'}", f"jsonl:{tmp_path / 'lines'}"):
        organism = Organism(
            name="test",
            journal=journal,
            session_log=str(tmp_path / "log"),
            handlers={"worker": code(worker)},
            models=models(ScriptedModel(learn)),
            hooks={"before_model_call": mark},
        )
        async with organism:
            history = organism.keep_history()
            handle = await organism.send("worker", Task("go"))
            reply = (await handle.result()).reply
            assert reply == Done(f"I was told {hidden}")
            assert "house" not in str(list(history.documents(handle.id)))
    written = all_of(tmp_path)
    assert b"house" not in written
    assert b"I was told [secret]" in written
