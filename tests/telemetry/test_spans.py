"""Threads, deliveries and calls as spans: each ends once, lies below what caused it, and says what it came to."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest
from hypothesis import given, settings
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from organism import ConfigurationError, Context, Organism, Refused, Reply, Send
from organism.models.contract import BackendError
from organism.record import facts
from organism.settings import Settings
from organism.telemetry import Telemetry
from organism.testing import Says, ScriptedModel, running
from tests.durable.test_any_cut import CHECKS, kept, lasting, program_of, programs
from tests.hard.budget_world import Done, Task, agent, asks, code, models, outcome, peer, replies
from tests.kernel.test_kernel_laws import Dice, organisms
from tests.telemetry.traces import Traces, events, keeper, told

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


ABOVE: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Traces]:
    yield Traces(monkeypatch)
    # A subscriber that raises is logged, and harms nobody.
    assert [each.getMessage() for each in caplog.get_records("call") if "subscribe" in each.getMessage()] == []


def team(model: ScriptedModel, **keys: Any) -> dict[str, Any]:
    """An agent that may ask a peer."""
    handlers = {"worker": agent(peers=("peer",)), "peer": code(peer)}
    return {"handlers": handlers, "models": models(model), "telemetry": True, **keys}


async def test_calls_and_asks_lie_below_the_agent_that_made_them(traces: Traces) -> None:
    model = ScriptedModel([asks("peer", usage=(500, 410)), replies(usage=(600, 5))])
    async with running(**team(model)) as organism:
        result = await outcome(organism, labels={"team": "blue"})
    assert traces.tree() == [
        ("thread worker", None),
        ("invoke_agent worker", "thread worker"),
        ("chat default", "invoke_agent worker"),
        ("handle peer", "invoke_agent worker"),
        ("chat default", "invoke_agent worker"),
    ]
    thread, _, first, asked, second = traces.ended
    assert (told(thread)["organism.outcome"], told(thread)["organism.label.team"]) == ("completed", "blue")
    assert told(thread)["organism.thread.tokens"] == result.usage.tokens == 1515
    calls = [
        (told(each)["gen_ai.usage.input_tokens"], told(each)["gen_ai.usage.output_tokens"]) for each in (first, second)
    ]
    assert calls == [(500, 410), (600, 5)]
    assert told(first)["gen_ai.request.model"] == told(first)["gen_ai.response.model"] == "scripted"
    assert (told(asked)["organism.sender"], told(asked)["organism.payload"]) == ("worker", "Task")
    assert {each.status.status_code for each in traces.ended} == {StatusCode.UNSET}


async def test_a_thread_lies_below_the_span_that_its_labels_name(traces: Traces) -> None:
    async with running(**team(ScriptedModel([replies()]))) as organism:
        await outcome(organism, labels={"traceparent": ABOVE})
    thread = traces.named("thread worker")
    assert thread.parent is not None
    assert f"{thread.parent.span_id:x}" == "b7ad6b7169203331"
    assert {f"{each.get_span_context().trace_id:032x}" for each in traces.ended} == {"0af7651916cd43dd8448eb211c80319c"}
    assert not [name for name in told(thread) if "traceparent" in name]


async def test_warnings_refusals_and_what_ran_out_are_told(traces: Traces) -> None:
    model = ScriptedModel([asks("peer", usage=(500, 410)), replies()])
    async with running(**team(model, budget={"tokens": 1300})) as organism:
        assert (await outcome(organism)).outcome == "exhausted"
    counted = traces.counted()
    warned = {dict(key)["organism.level"]: total for key, total in counted["organism.budget_warnings"].items()}
    assert warned == {"warning": 1, "runway": 1, "critical": 1, "final": 1}
    ((refused, count),) = counted["organism.calls_refused"].items()
    assert (dict(refused), count) == ({"organism.unit": "tokens", "organism.scope": "thread"}, 1)
    thread, worker = traces.named("thread worker"), traces.named("invoke_agent worker")
    assert events(thread) == ["budget_warning"] * 4
    levels = [(each.attributes or {})["organism.level"] for each in thread.events]
    assert levels == ["warning", "runway", "critical", "final"]
    assert events(worker) == ["call_refused"]
    assert (worker.status.status_code, told(worker)["error.type"]) == (StatusCode.ERROR, "exhausted")
    # That a budget is used up is an end as it should be.
    assert (thread.status.status_code, told(thread)["organism.unit"]) == (StatusCode.UNSET, "tokens")


async def test_failed_attempts_are_events_of_their_call(traces: Traces) -> None:
    model = ScriptedModel(
        [Says(error=BackendError("server", "HTTP 500"), seconds=3), replies(usage=(10, 5), seconds=2)]
    )
    async with running(**team(model)) as organism:
        assert (await outcome(organism)).outcome == "completed"
    taken = {
        dict(key).get("error.type"): total
        for key, total in traces.counted()["gen_ai.client.operation.duration"].items()
    }
    assert taken == {"server": pytest.approx(3), None: pytest.approx(2)}
    call = traces.named("chat default")
    assert events(call) == ["attempt_failed", "attempt"]
    assert (call.events[0].attributes or {})["error.type"] == "server"
    assert told(call)["gen_ai.usage.output_tokens"] == 5


async def test_a_call_that_fails_is_an_error(traces: Traces) -> None:
    model = ScriptedModel([Says(error=BackendError("rejected", "HTTP 400"))])
    async with running(**team(model)) as organism:
        assert (await outcome(organism)).outcome == "failed"
    assert [
        (each.name, each.status.status_code is StatusCode.ERROR, told(each)["error.type"]) for each in traces.ended
    ] == [
        ("thread worker", True, "crashed"),
        ("invoke_agent worker", True, "crashed"),
        ("chat default", True, "failed"),
    ]


async def refuses(task: Task, ctx: Context) -> Reply[Done]:
    """Is not in the mood."""
    raise Refused("not today")


async def sends(task: Task, ctx: Context) -> Send[Task]:
    """Hands on."""
    return Send("second", task)


async def stalls(task: Task, ctx: Context) -> Reply[Done]:
    """Never ends."""
    await anyio.sleep_forever()
    raise AssertionError


async def takes_a_second(task: Task, ctx: Context) -> Reply[Done]:
    """Answers, in time."""
    await anyio.sleep(1)
    return Reply(Done("here"))


async def test_what_a_handler_sends_lies_below_it_and_what_is_cancelled_is_dropped(traces: Traces) -> None:
    handlers = {"worker": code(sends, peers=("second",)), "second": code(stalls, timeout=None)}
    async with running(handlers=handlers, telemetry=True) as organism:
        handle = await organism.send("worker", Task("go"))
        await anyio.sleep(1)
        handle.cancel("enough of it")
        assert (await handle.result()).outcome == "cancelled"
    assert traces.tree() == [
        ("thread worker", None),
        ("handle worker", "thread worker"),
        ("handle second", "handle worker"),
    ]
    (stopped,) = traces.named("thread worker").events
    assert (stopped.name, dict(stopped.attributes or {})) == ("organism.stopped", {"organism.why": "enough of it"})
    second = traces.named("handle second")
    assert told(second)["organism.dropped"]
    assert (second.end_time or 0) - (second.start_time or 0) == pytest.approx(1e9, rel=0.01)
    assert told(traces.named("thread worker"))["organism.outcome"] == "cancelled"


async def test_sub_threads_lie_below_the_delivery_that_opened_them(traces: Traces) -> None:
    model = ScriptedModel([asks("peer"), replies()])
    keys = team(model)
    keys["handlers"]["peer"] = code(refuses, budget={"tokens": 100}, per="call")
    async with running(**keys) as organism:
        await outcome(organism)
    assert traces.tree()[:5] == [
        ("thread worker", None),
        ("invoke_agent worker", "thread worker"),
        ("chat default", "invoke_agent worker"),
        ("thread peer", "invoke_agent worker"),
        ("handle peer", "thread peer"),
    ]
    assert told(traces.named("handle peer"))["error.type"] == "refused"
    ((failed, count),) = traces.counted()["organism.failures"].items()
    assert (dict(failed), count) == ({"organism.handler": "peer", "error.type": "refused"}, 1)


async def test_what_another_process_began_has_a_span_from_there(
    traces: Traces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: dict[str, Any] = {"telemetry": True, "journal": "sqlite:o.db", "folder": tmp_path}
    async with running(handlers={"worker": code(stalls, timeout=None)}, **keys) as organism:
        await organism.send("worker", Task("go"), id="t", labels={"traceparent": ABOVE, "team": "blue"})
        await anyio.sleep(1)
    assert [(each.name, told(each).get("organism.outcome")) for each in traces.ended] == [
        ("thread worker", "unfinished"),
        ("handle worker", None),
    ]
    again = Traces(monkeypatch)
    async with running(handlers={"worker": code(takes_a_second)}, **keys) as organism:
        (handle,) = await organism.resume()
        assert (await handle.result()).outcome == "completed"
    thread, delivery = again.ended
    assert (told(thread)["organism.taken_up"], told(thread)["organism.outcome"]) == (True, "completed")
    assert told(thread)["organism.label.team"] == "blue"
    assert f"{thread.get_span_context().trace_id:032x}" == ABOVE[3:35]
    assert (delivery.name, again.above(delivery)) == ("handle worker", thread.name)


async def hands_on(task: Task, ctx: Context) -> Reply[Done]:
    """Asks its peer."""
    return Reply(await ctx.ask("peer", task, expect=Done))


async def test_what_was_opened_in_another_process_lies_below_what_opened_it(
    traces: Traces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: dict[str, Any] = {"telemetry": True, "journal": "sqlite:o.db", "folder": tmp_path}
    handlers = {
        "worker": code(hands_on, peers=("peer",), timeout=None),
        "peer": code(stalls, timeout=None, budget={"tokens": 100}, per="call"),
    }
    async with running(handlers=handlers, **keys) as organism:
        await organism.send("worker", Task("go"), labels={"team": "blue"})
        await anyio.sleep(1)
    assert len(traces.ended) == 4
    again = Traces(monkeypatch)
    handlers["peer"] = code(peer, budget={"tokens": 100}, per="call")  # it is over before anybody hears that it goes on
    async with running(handlers=handlers, **keys) as organism:
        (handle,) = await organism.resume()
        assert (await handle.result()).outcome == "completed"
    assert again.tree() == [
        ("thread worker", None),
        ("thread peer", "thread worker"),
        ("handle peer", "thread peer"),
        ("handle worker", "thread worker"),
    ]
    assert {told(each)["organism.outcome"] for each in again.ended if each.name.startswith("thread ")} == {"completed"}


async def test_turns_are_of_their_conversation_which_is_no_thread(traces: Traces) -> None:
    handlers = {"worker": code(takes_a_second)}
    async with running(handlers=handlers, conversation={"messages": 10}, telemetry=True) as organism:
        for id_ in ("one", "two"):
            handle = await organism.send("worker", Task("go"), id=id_, conversation="c")
            conversation = await organism.conversation_of("c")
            assert conversation is not None
            conversation.add_budget(messages=1)
            assert (await handle.result()).outcome == "completed"
    assert traces.tree() == 2 * [("thread worker", None), ("handle worker", "thread worker")]
    turns = [told(each) for each in traces.ended if each.name == "thread worker"]
    assert [(each["gen_ai.conversation.id"], each["organism.thread"]) for each in turns] == [("c", "one"), ("c", "two")]


async def looks(query: str) -> str:
    """Looks something up."""
    return f"nothing of {query}"


async def test_a_tool_is_told_as_one(traces: Traces) -> None:
    model = ScriptedModel([Says(calls=(("looks", {"query": "bees"}),)), replies()])
    async with running(handlers={"worker": agent(tools=[looks])}, models=models(model), telemetry=True) as organism:
        await outcome(organism)
    tool = traces.named("execute_tool looks")
    assert traces.above(tool) == "invoke_agent worker"
    said = {name: value for name, value in told(tool).items() if name.startswith("gen_ai.")}
    assert said == {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "looks", "gen_ai.agent.name": "worker"}


async def test_what_befalls_a_thread_is_told_with_its_instant(traces: Traces) -> None:
    errors: list[Exception] = [ValueError("not yet")]

    async def fails_once(task: Task, ctx: Context) -> Reply[Done]:
        if errors:
            raise errors.pop()
        return Reply(Done("here"))

    handlers = {"worker": code(fails_once, on_failure={"attempts": 2, "backoff": [5, 5]})}
    async with running(handlers=handlers, telemetry=True) as organism:
        handle = await organism.send("worker", Task("go"))
        await anyio.sleep(1)
        handle.pause()
        await anyio.sleep(1)
        handle.resume()
        assert (await handle.result()).outcome == "completed"
    thread, delivery = traces.ended
    assert (events(thread), events(delivery)) == (["paused", "resumed"], ["retried"])
    paused, resumed = thread.events
    assert resumed.timestamp - paused.timestamp == pytest.approx(1e9, rel=0.01)
    assert dict(delivery.events[0].attributes or {})["error.type"] == "crashed"
    assert "organism.failures" not in traces.counted()  # its next attempt made up for it


async def test_why_a_thread_ran_out_is_told(traces: Traces) -> None:
    async with running(
        handlers={"worker": code(stalls, timeout=None)}, budget={"seconds": 5}, telemetry=True
    ) as organism:
        assert (await outcome(organism)).outcome == "exhausted"
    thread = traces.named("thread worker")
    assert events(thread)[-1] == "exhausted"
    assert "seconds" in str((thread.events[-1].attributes or {})["organism.why"])


@pytest.mark.parametrize("priced", [True, False])
async def test_a_cost_that_leaves_out_calls_without_a_price_is_told_as_such(traces: Traces, priced: bool) -> None:
    model = ScriptedModel([replies(usage=(600, 5))])
    price: dict[str, Any] = {} if priced else {"price": None}
    async with running(**team(model, models=models(model, **price))) as organism:
        await outcome(organism)
    thread, call = told(traces.named("thread worker")), told(traces.named("chat default"))
    assert [each.get("organism.unpriced") for each in (thread, call)] == [None if priced else True] * 2
    assert (thread["organism.thread.cost_usd"] > 0, call["organism.cost_usd"] > 0) == (priced, priced)
    counted = traces.counted()
    assert ("organism.cost" in counted, "organism.unpriced" in counted) == (priced, not priced)
    assert [dict(key)["organism.handler"] for key in counted.get("organism.unpriced", {})] == ["worker"] * (not priced)


async def test_tokens_money_and_ends_are_counted(traces: Traces) -> None:
    model = ScriptedModel([asks("peer", usage=(500, 410)), replies(usage=(600, 5))])
    async with running(**team(model)) as organism:
        result = await outcome(organism)
    counted = traces.counted()
    tokens = {dict(key)["gen_ai.token.type"]: total for key, total in counted["gen_ai.client.token.usage"].items()}
    assert tokens == {"input": 1100, "output": 415}
    assert sum(counted["organism.cost"].values()) == pytest.approx(float(result.usage.cost_usd))
    assert {dict(key)["organism.handler"]: total for key, total in counted["organism.messages"].items()} == {
        "worker": 1, "peer": 1,
    }  # fmt: skip
    ((ended, count),) = counted["organism.threads"].items()
    assert (dict(ended)["organism.outcome"], count) == ("completed", 1)
    assert counted["organism.thread.duration"] == {ended: result.usage.seconds}
    # As the conventions advise, from a token and a hundredth of a second on.
    assert traces.bounds("gen_ai.client.token.usage") == tuple(4**power for power in range(12))
    assert traces.bounds("gen_ai.client.operation.duration") == tuple(0.01 * 2**power for power in range(14))


@settings(max_examples=30, suppress_health_check=CHECKS)
@given(organism=organisms().map(lasting), dice=programs)
def test_every_span_ends_once_and_lies_below_one_of_its_trace(organism: Settings, dice: list[Dice]) -> None:
    written = [fact for _, fact in kept(program_of(organism, dice)).written]
    provider, begun = keeper()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace, "get_tracer_provider", lambda: provider)
        telemetry = Telemetry(organism)
    complaints = _Kept()
    logging.getLogger("opentelemetry.sdk.trace").addHandler(complaints)
    try:
        for fact in written:
            telemetry.take(fact)
        telemetry.close(written[-1].at if written else 0)
    finally:
        logging.getLogger("opentelemetry.sdk.trace").removeHandler(complaints)
    assert complaints.messages == []  # as of a span that is ended, or changed, once it has ended
    spans = begun.ended
    assert len(spans) == len(begun.spans)
    ids = {each.get_span_context().span_id: each for each in spans}
    for each in spans:
        assert (
            each.parent is None
            or ids[each.parent.span_id].get_span_context().trace_id == each.get_span_context().trace_id
        )
        assert (each.end_time or 0) >= (each.start_time or 0)
    opened = [step.thread for fact in written for step in fact.steps if isinstance(step, facts.ThreadOpened)]
    assert sorted(str(told(each)["organism.thread"]) for each in spans if each.name.startswith("thread ")) == sorted(
        opened
    )
    posted = [step for fact in written for step in fact.steps if isinstance(step, facts.Posted)]
    assert sum("organism.message" in told(each) for each in spans) == len(posted)
    ended = {fact.thread: fact.outcome for fact in written if isinstance(fact, facts.Ended)}
    said = {
        told(each)["organism.thread"]: told(each)["organism.outcome"]
        for each in spans
        if each.name.startswith("thread ")
    }
    assert said == {thread: ended.get(thread, "unfinished") for thread in opened}


def test_whoever_has_set_up_nothing_is_told_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trace, "get_tracer_provider", trace.ProxyTracerProvider)
    Telemetry(Settings(name="o"))
    (line,) = caplog.messages
    assert "opentelemetry-instrument" in line


async def test_whoever_counts_and_follows_no_spans_has_set_up_enough(
    traces: Traces, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trace, "get_tracer_provider", trace.ProxyTracerProvider)
    async with running(**team(ScriptedModel([replies()]))) as organism:
        assert (await outcome(organism)).outcome == "completed"
    assert "OpenTelemetry" not in caplog.text
    assert sum(traces.counted()["organism.threads"].values()) == 1


def _never(_: str) -> bool:
    return False


def test_it_is_said_where_its_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("organism.config.document.is_installed", _never)
    with pytest.raises(ConfigurationError) as failure:
        Organism(name="o", handlers={"worker": code(peer)}, telemetry=True)
    assert failure.value.mistakes == (
        "Organism(telemetry=...): needs 'opentelemetry', which is not installed; install organism with its extra 'otel'",
    )


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
