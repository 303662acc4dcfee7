"""What was spent, by whom and under what: sums that agree, events for whoever bills, and listeners that harm nobody (hard cases 4, 31)."""

from __future__ import annotations

import re
import threading
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import BudgetExhaustedError, Context, ModelError, Reply, Usage
from organism.journal import open_journal
from organism.models.contract import BackendError
from organism.record.facts import CallFailed, CallHeld, CallSettled
from organism.record.metering import Meter, Metered
from organism.testing import Says, ScriptedModel, Watched, running
from tests.durable.inline import Inline
from tests.hard.budget_world import INPUT, PROMPT, Done, Task, agent, code, models, replies, spend, spender

if TYPE_CHECKING:
    from pathlib import Path

    from organism import Organism

KINDS = ("handler", "model", "backend", "account", "label", "tag")
LONG = 60.0
"""Seconds after which a listener that waits gives up, however busy the machine is."""


def summed(rows: Any) -> tuple[int, Decimal, int]:
    """Tokens, money and calls of several usages."""
    usages: list[Usage] = list(rows)
    return (
        sum(each.tokens for each in usages),
        sum((each.cost_usd for each in usages), Decimal(0)),
        sum(each.model_calls for each in usages),
    )


def by(organism: Organism, kind: str) -> dict[str, Usage]:
    """The sums by one kind, without those of nothing."""
    found: Any = organism.usage(kind)
    return {name: usage for name, usage in found.items() if usage.tokens or usage.messages}


async def lead(task: Task, ctx: Context) -> Reply[Done]:
    """Calls a model itself, asks another, and spawns a third."""
    await spend(ctx, 40, tags=["lead"])
    await ctx.ask("helper", task, expect=Done)
    handle = await ctx.spawn("helper", task, budget={"tokens": 500})
    await handle.result()
    async with ctx.stream(PROMPT, max_output_tokens=5, tags=("lead", "stream")) as stream:
        async for _ in stream:
            pass
    return Reply(Done(task.text))


async def helper(task: Task, ctx: Context) -> Reply[Done]:
    """Calls two models at once."""
    async with anyio.create_task_group() as group:
        group.start_soon(spend_on, ctx, "default", ["draft"])
        group.start_soon(spend_on, ctx, "second", list[str]())
    return Reply(Done(task.text))


async def spend_on(ctx: Context, model: str, tags: list[str]) -> None:
    await spend(ctx, 30, model=model, tags=tags)


def desk(**keys: Any) -> dict[str, Any]:
    """The keys of an organism with two models and two accounts, under which everything adds up."""
    model = spender(seconds=0.01)
    both = models(model)
    both["second"] = both["default"] | {"backends": [both["default"]["backends"][0] | {"model": "second"}]}
    handlers = {"lead": code(lead, peers=("helper",)), "helper": code(helper)}
    return {
        "name": "desk",
        "handlers": handlers,
        "models": both,
        "budget": {"tokens": 100_000},
        "accounts": {"tenant": {"tokens": 10**6, "window": "day"}, "project": {"cost_usd": "100", "window": "total"}},
        **keys,
    }


async def load(organism: Organism) -> list[Any]:
    """Twelve threads at once, under two accounts each, with labels."""
    handles = [
        await organism.send(
            "lead", Task(f"{number}"), labels={"arm": "ab"[number % 2]},
            accounts={"tenant": ("acme", "umbrella", "cyberdyne")[number % 3], "project": "x"},
        )
        for number in range(12)
    ]  # fmt: skip
    return [await handle.result() for handle in handles]


def check_sums(organism: Organism, results: list[Any]) -> None:
    """Hard case 31: the whole is the sum over threads, handlers, models and backends, and over tenants and arms."""
    whole: Any = organism.usage()
    total = summed([whole])
    assert total[2] == 12 * 6
    assert summed(result.usage for result in results) == total
    for kind in ("handler", "model", "backend", "label"):
        assert summed(by(organism, kind).values()) == total, kind
    accounts = by(organism, "account")
    assert sorted(accounts) == ["project:x", "tenant:acme", "tenant:cyberdyne", "tenant:umbrella"]
    assert summed([accounts.pop("project:x")]) == total == summed(accounts.values())
    assert {name: usage.model_calls for name, usage in by(organism, "tag").items()} == {
        "draft": 24, "lead": 24, "stream": 12,
    }  # fmt: skip
    assert {kind: sum(each.messages for each in by(organism, kind).values()) for kind in ("handler", "label")} == {
        "handler": whole.messages, "label": whole.messages,
    }  # fmt: skip


async def test_sums_of_every_kind_are_the_whole_under_load() -> None:
    async with running(**desk()) as organism:
        check_sums(organism, await load(organism))


@pytest.mark.parametrize("url", ["sqlite:o.db", "jsonl:o"])
@pytest.mark.by_turns
async def test_sums_of_every_kind_are_those_of_the_journal_also_after_a_restart(tmp_path: Path, url: str) -> None:
    document = desk(journal=url, folder=tmp_path)
    async with Inline(**document) as organism:
        results = await load(organism)
        check_sums(organism, results)
        before = {kind: by(organism, kind) for kind in KINDS}
    async with Inline(**document) as again:
        assert {kind: by(again, kind) for kind in KINDS} == before
        check_sums(again, results)
        for result in results:
            calls = await again.calls(result.thread)
            spent = (
                sum(call.tokens for call in calls),
                sum((call.cost_usd or Decimal(0) for call in calls), Decimal(0)),
            )
            assert (*spent, len(calls)) == summed([result.usage])
            assert {call.outcome for call in calls} == {"ok"}
    journal = open_journal(url, folder=tmp_path, readonly=True)
    rows = list(journal.spendings())
    journal.close()
    whole: Any = again.usage()
    assert sum(row.amounts[0] for row in rows) == whole.tokens
    assert sum(row.amounts[0] for row in rows if "lead" in row.tags) == before["tag"]["lead"].tokens
    assert {row.accounts for row in rows} == {
        ("project:x", f"tenant:{name}") for name in ("acme", "umbrella", "cyberdyne")
    }  # fmt: skip


async def test_a_turn_is_under_the_accounts_of_its_conversation_and_so_is_what_it_spawns(tmp_path: Path) -> None:
    document = desk(journal="sqlite:o.db", folder=tmp_path)
    async with Inline(**document) as organism:
        for number in range(2):
            accounts = {"tenant": "acme"} if not number else None
            await organism.ask("lead", Task(f"{number}"), conversation="c", accounts=accounts)
        account, whole = by(organism, "account")["tenant:acme"], organism.usage()
        assert account == whole
    async with Inline(**document) as again:
        assert by(again, "account")["tenant:acme"] == whole


async def test_sums_by_what_is_not_kept_are_refused_by_name() -> None:
    async with running(**desk()) as organism:
        await load(organism)
        arms: Any = organism.usage("label:arm")
        assert sorted(arms) == ["a", "b"]
        assert summed(arms.values()) == summed(by(organism, "label").values())
        assert organism.usage("label:no such key") == {}
        for wrong in ("thread", "labels", "", "all"):
            with pytest.raises(ValueError, match=f"label and label:KEY, not by '{wrong}'"):
                organism.usage(wrong)


# Tags


@pytest.mark.parametrize(
    ("tags", "error", "said"),
    [
        ("draft", TypeError, "tags is a list of texts, not 'draft'"),
        ({"draft"}, TypeError, "tags is a list of texts"),
        ([7], TypeError, "a tag is a text, not 7"),
        ([["a"]], TypeError, "a tag is a text"),
        ([" "], ValueError, "1 to 64 printable characters, not ' '"),
        (["x" * 65], ValueError, "1 to 64 printable characters"),
        (["a\nb"], ValueError, "1 to 64 printable characters"),
        ([f"{number}" for number in range(17)], ValueError, "at most 16 tags, not 17"),
    ],
)
async def test_what_is_no_tag_is_refused_by_name_before_anything_is_held(
    tags: Any, error: type[Exception], said: str
) -> None:
    async with running(models=models(spender())) as organism, organism.thread() as thread:
        with pytest.raises(error, match=said):
            await thread.complete(PROMPT, tags=tags)
        with pytest.raises(error, match=said):
            thread.stream(PROMPT, tags=tags)
    assert organism.watch.of(CallHeld) == []


async def test_no_provider_hears_a_tag_and_each_counts_once() -> None:
    model = spender()
    async with running(models=models(model)) as organism, organism.thread() as thread:
        await thread.complete(PROMPT, max_output_tokens=9, tags=["b", "a", "b"])
        await thread.complete(PROMPT, max_output_tokens=9)
        assert by(organism, "tag")["b"] == by(organism, "tag")["a"]
        assert by(organism, "tag")["a"].model_calls == 1
    assert [fact.tags for fact in organism.watch.of(CallSettled)] == [("b", "a"), ()]
    assert model.requests[0] == model.requests[1]


async def test_other_tags_ask_the_same_after_a_crash(tmp_path: Path) -> None:
    """A handler whose tags were changed between two processes is answered as before: no model heard them."""
    tags, called = ["old"], anyio.Event()

    async def root(task: Task, ctx: Context) -> Reply[Done]:
        done = await spend(ctx, 40, tags=tags)
        if tags == ["old"]:
            called.set()
            await anyio.sleep_forever()
        return Reply(Done(done.text))

    model = spender()
    keys: dict[str, Any] = {
        "handlers": {"root": code(root)}, "models": models(model), "journal": "sqlite:o.db", "folder": tmp_path,
    }  # fmt: skip
    async with Inline(**keys) as organism:
        await organism.send("root", Task("x"))
        await called.wait()
    tags = ["new"]
    async with Inline(**keys) as again:
        (handle,) = await again.resume()
        assert (await handle.result()).reply == Done("ok")
        assert list(by(again, "tag")) == ["old"]
    assert len(model.requests) == 1


# Events


async def metered(organism: Organism, *, to: str = "root", **how: Any) -> tuple[list[Metered], Any]:
    """What a meter hears while a thread runs, and how that ends."""
    heard: list[Metered] = []
    async with organism:
        organism.meter(heard.append)
        result = await (await organism.send(to, Task("x"), **how)).result()
    return heard, result


async def test_each_attempt_and_each_call_is_an_event_with_all_that_bills_need() -> None:
    async def root(task: Task, ctx: Context) -> Reply[Done]:
        await spend(ctx, 40, tags=["draft"])
        return Reply(Done(""))

    says = [
        Says(error=BackendError("server", "500")),
        Says(error=BackendError("cut", "gone", received="half an answer")),
        Says(text="ok", usage=(9, 20), seconds=2.5),
    ]
    document = desk(handlers={"root": code(root)}, models=models(ScriptedModel(says)))
    heard, result = await metered(Watched(**document), labels={"arm": "a"}, accounts={"tenant": "acme"})
    attempts, calls = ([each for each in heard if each.what == what] for what in ("attempt", "call"))
    assert [(each.attempt, each.estimated, each.outcome) for each in attempts] == [
        (1, False, None), (2, True, None), (3, False, None),
    ]  # fmt: skip
    (call,) = calls
    assert (call.attempt, call.outcome, call.estimated) == (3, "ok", True)
    assert call.latency == pytest.approx(2.5)
    assert summed(each.usage for each in attempts) == summed([call.usage]) == summed([result.usage])
    assert sum(each.cost_usd or 0 for each in attempts) == call.cost_usd == result.usage.cost_usd
    for each in heard:
        assert (each.thread, each.handler, each.message, each.model) == (result.thread, "root", 1, "default")
        assert each.backend == "ScriptedModel.backend/scripted"
        assert (each.tags, dict(each.labels), each.accounts) == (("draft",), {"arm": "a"}, ("tenant:acme",))


async def test_calls_without_an_answer_say_how_they_ended() -> None:
    async def root(task: Task, ctx: Context) -> Reply[Done]:
        with pytest.raises(ModelError):
            await spend(ctx, 40, model="broken")
        with pytest.raises(ModelError):
            await spend(ctx, 40, model="no-such-alias")
        with pytest.raises(BudgetExhaustedError):
            await spend(ctx, 10**6)
        with anyio.move_on_after(1):
            await spend(ctx, 40)
        async with ctx.stream(PROMPT, max_output_tokens=20) as stream:
            async for _ in stream:
                break
        return Reply(Done(""))

    both = models(spender(seconds=5), timeout=60)
    both["broken"] = models(ScriptedModel(lambda _: Says(error=BackendError("rejected", "what?"))))["default"]
    async with running(handlers={"root": code(root, timeout=None)}, models=both, budget={"tokens": 1000}) as organism:
        heard: list[Metered] = []
        organism.meter(heard.append)
        await organism.ask("root", Task("x"))
    calls = [each for each in heard if each.what == "call"]
    assert [(each.model, each.outcome, each.attempt) for each in calls] == [
        ("broken", "failed", 1), ("no-such-alias", "failed", 0), ("default", "refused", 0), ("default", "cut", 1),
        ("default", "cut", 1),
    ]  # fmt: skip
    assert summed(each.usage for each in calls) == summed(each.usage for each in heard if each.what == "attempt")
    assert "what?" in organism.watch.of(CallFailed)[0].text


async def test_what_is_refused_at_a_further_attempt_has_cost_what_the_first_did() -> None:
    async def root(task: Task, ctx: Context) -> Reply[Done]:
        with pytest.raises(BudgetExhaustedError):
            await spend(ctx, 60)
        return Reply(Done(""))

    model = ScriptedModel([Says(error=BackendError("cut", "gone", received="x" * 40))])
    keys: dict[str, Any] = {"models": models(model), "budget": {"tokens": 70, "grace": {"share": 0, "tokens": 0}}}
    async with running(handlers={"root": code(root)}, **keys) as organism:
        heard: list[Metered] = []
        organism.meter(heard.append)
        await organism.ask("root", Task("x"))
    (attempt, call) = heard
    assert (attempt.what, call.what, call.outcome, call.attempt) == ("attempt", "call", "refused", 1)
    assert call.usage == attempt.usage
    assert call.usage.tokens > INPUT


async def test_what_nobody_knows_the_price_of_has_no_cost() -> None:
    model = ScriptedModel([Says(text="ok", usage=(5, 5)), Says(error=BackendError("rejected", "what?"))])
    bare = model.models(price=None)
    async with running(models=bare, budget={"tokens": 10_000}) as organism:
        heard: list[Metered] = []
        organism.meter(heard.append)
        async with organism.thread() as thread:
            await thread.complete(PROMPT)
            with pytest.raises(ModelError):
                await thread.complete(PROMPT)
    assert [(each.what, each.cost_usd, each.usage.tokens) for each in heard] == [
        ("attempt", None, 10), ("call", None, 10), ("attempt", Decimal(0), 0), ("call", Decimal(0), 0),
    ]  # fmt: skip


# Listeners


async def test_a_slow_and_a_raising_meter_harm_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """Hard case 4: the caller gets its completion at once, the charge stands, and the others hear all."""
    gate, heard, late = threading.Event(), list[Metered](), list[Metered]()

    def slow(event: Metered) -> None:
        gate.wait(LONG)
        late.append(event)

    def raises(event: Metered) -> None:
        raise RuntimeError("I cannot bear it")

    async with running(**desk()) as organism:
        for listener in (slow, raises, heard.append):
            organism.meter(listener)
        results = await load(organism)
        check_sums(organism, results)
        assert late == []
        gate.set()
    assert len(heard) == 2 * 12 * 6
    assert late == heard
    assert sum("a callback of `meter` raised" in record.message for record in caplog.records) == len(heard)


async def test_what_does_not_fit_in_is_lost_to_that_meter_alone_and_said(caplog: pytest.LogCaptureFixture) -> None:
    gate, late = threading.Event(), list[Metered]()

    def slow(event: Metered) -> None:
        gate.wait(LONG)
        late.append(event)

    meter = Meter(slow, room=10)
    async with running(**desk()) as organism:
        organism.subscribe(meter.hear)
        check_sums(organism, await load(organism))
    gate.set()
    meter.end()
    meter.join()
    assert 10 <= len(late) <= 11
    said = [record.message for record in caplog.records if record.name == "organism"]
    assert said == [
        "a callback of `meter` is more than 10 events behind: it misses those that come now; the journal has all",
        f"a callback of `meter` has missed {2 * 12 * 6 - len(late)} events; the journal has all",
    ]


async def test_a_meter_that_never_comes_back_keeps_nobody_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    gate = threading.Event()
    meter = Meter(lambda _: gate.wait(LONG), patience=0.01)
    async with running(models=models(spender())) as organism, organism.thread() as thread:
        organism.subscribe(meter.hear)
        await thread.complete(PROMPT, max_output_tokens=9)
    meter.end()
    meter.join()
    gate.set()
    said = [record.message for record in caplog.records if record.name == "organism"]
    assert said[0].startswith("a callback of `meter` has not taken")


async def test_a_meter_that_is_taken_away_hears_no_more_and_what_has_come_before_the_organism_is_closed() -> None:
    heard: list[Metered] = []
    gate = threading.Event()

    def slow(event: Metered) -> None:
        gate.wait(LONG)
        heard.append(event)

    async def let_go() -> None:
        async for _ in organism.events():
            pass
        gate.set()  # it is being closed

    async with anyio.create_task_group() as tasks:
        async with running(models=models(spender())) as organism, organism.thread() as thread:
            tasks.start_soon(let_go)
            stop = organism.meter(slow)
            await thread.complete(PROMPT, max_output_tokens=9)
            stop()
            stop()
            await thread.complete(PROMPT, max_output_tokens=9)
        assert [event.what for event in heard] == ["attempt", "call"]


def test_a_meter_of_an_organism_that_does_not_run_leaves_no_thread() -> None:
    organism = Watched(**desk())
    before = threading.active_count()
    organism.meter(print)()
    organism.meter(print)
    assert threading.active_count() == before


@pytest.mark.parametrize("url", ["memory:", "sqlite:o.db"])
async def test_a_subscriber_that_changes_what_it_hears_of_harms_nobody(tmp_path: Path, url: str) -> None:
    """Re-entrant: from inside, it raises budgets, asks for sums, cancels threads, and subscribes and leaves again."""
    organism = Inline(**desk(journal=url, folder=tmp_path))
    seen: list[Any] = []

    def meddles(fact: Any) -> None:
        seen.append(fact)
        handle = organism.thread_of(fact.thread)
        organism.usage("handler")
        organism.subscribe(lambda _: None)()
        if isinstance(fact, CallSettled) and handle is not None and not handle.ended:
            handle.add_budget(tokens=10)
            if handle.labels["arm"] == "b":
                handle.cancel("seen enough")

    others: list[Any] = []
    async with organism:
        organism.subscribe(meddles)
        organism.subscribe(others.append)
        results = await load(organism)
        whole: Any = organism.usage()
        assert Counter(result.outcome for result in results) == {"completed": 6, "cancelled": 6}
        assert summed(result.usage for result in results) == summed([whole]) == summed(by(organism, "handler").values())
        assert organism.statistics().held == 0
    assert others == seen


async def test_a_subscriber_that_blocks_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    def blocks(fact: Any) -> None:
        threading.Event().wait(0.11 if isinstance(fact, CallSettled) else 0)

    async with running(models=models(spender())) as organism, organism.thread() as thread:
        organism.subscribe(blocks)
        for _ in range(2):
            await thread.complete(PROMPT, max_output_tokens=9)
        usage: Any = organism.usage()
        assert usage.model_calls == 2
    (said,) = [record.message for record in caplog.records if record.name == "organism"]
    assert re.match(r"a callback of `subscribe` took \d+\.\d s, and everything else waited: ", said)


async def test_an_agents_calls_are_metered_as_its_own() -> None:
    model = ScriptedModel([replies()])
    async with running(handlers={"writer": agent()}, models=models(model)) as organism:
        heard: list[Metered] = []
        organism.meter(heard.append)
        await organism.ask("writer", Task("x"))
    assert [(each.what, each.handler, each.outcome) for each in heard] == [
        ("attempt", "writer", None), ("call", "writer", "ok"),
    ]  # fmt: skip
