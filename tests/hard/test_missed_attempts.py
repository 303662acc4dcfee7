"""Why an attempt at a model failed stands in the record, also where another attempt has the answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from organism import Context, ModelError, Reply
from organism.cli.story.page import How
from organism.cli.story.story import Story
from organism.journal.codec import content, decode, encode
from organism.journal.prompts import requests
from organism.models.contract import BackendError
from organism.record.facts import CallSettled
from organism.testing import Says, ScriptedModel, running
from tests.hard.budget_world import Done, Task, code, outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.record.facts import Fact

BUSY = BackendError("rate_limited", "HTTP 429:\ntoo many requests", retry_after=2.0)
WRONG = BackendError("rejected", "no such model")


async def ask(task: Task, ctx: Context) -> Reply[Done]:
    return Reply(Done((await ctx.complete("Say it.", max_output_tokens=20)).text))


async def read(task: Task, ctx: Context) -> Reply[Done]:
    async with ctx.stream("Say it.", max_output_tokens=20) as stream:
        return Reply(Done("".join([piece async for piece in stream])))


def backends(*scripts: list[Says]) -> dict[str, Any]:
    each = [
        {"provider": ScriptedModel(script).backend, "model": name, "priority": number}
        for number, (name, script) in enumerate(zip("abc", scripts, strict=False))
    ]
    return {"default": {"backends": each, "backoff": [1, 30]}}


def told(facts: Sequence[Fact]) -> list[str]:
    """What is shown of the calls of a thread."""
    root = facts[0].thread
    story = Story(root, requests(encode(fact, root) for fact in facts), How(width=200))
    for fact in facts:
        story.tell(fact)
    return [line.text for line in story.lines if "call " in line.text]


def missed(facts: Sequence[Fact]) -> list[tuple[str, str] | None]:
    settled = [fact.missed for fact in facts if isinstance(fact, CallSettled)]
    return [None if each is None else (each.kind, each.text) for each in settled]


@pytest.mark.parametrize("handler", [ask, read])
async def test_each_attempt_says_why_it_failed_and_the_next_one_how_long_was_waited(handler: Any) -> None:
    models = backends([Says(error=BUSY, seconds=0.5), Says(text="fine")], [Says(error=WRONG)])
    async with running(handlers={"worker": code(handler)}, models=models) as organism:
        assert (await outcome(organism)).outcome == "completed"
        facts = list(organism.watch.facts)
    assert missed(facts) == [("rate_limited", "HTTP 429: too many requests"), ("rejected", "no such model"), None]
    lines = told(facts)
    assert lines[1].endswith("]: rate_limited: HTTP 429: too many requests")
    assert ", attempt 2 of call 1 after 0.00 s" in lines[2]
    assert lines[3] == "attempt 2 of call 1 gets no answer [nothing charged, 0.00 s]: rejected: no such model"
    assert ", attempt 3 of call 1 after 2.00 s" in lines[4]
    assert lines[5].startswith("attempt 3 of call 1 answers [")


async def test_a_call_that_fails_for_good_says_so_of_each_attempt() -> None:
    models = backends([Says(error=WRONG)], [Says(error=BackendError("rejected", ""))])
    models["default"]["retries"] = 1
    async with running(handlers={"worker": code(ask)}, models=models) as organism:
        assert (await outcome(organism)).outcome == "failed"
        facts = list(organism.watch.facts)
    assert missed(facts) == [("rejected", "no such model"), ("rejected", "")]
    assert told(facts)[3].endswith("]: rejected")


async def test_a_stream_that_breaks_is_told_with_what_came_of_it() -> None:
    async def half(task: Task, ctx: Context) -> Reply[Done]:
        async with ctx.stream("Say it.", max_output_tokens=20) as stream:
            with pytest.raises(ModelError):
                [piece async for piece in stream]
        return Reply(Done("enough"))

    broken = Says(text="half of", error=BackendError("cut", "the connection broke"))
    async with running(handlers={"worker": code(half)}, models=backends([broken])) as organism:
        assert (await outcome(organism)).outcome == "completed"
        facts = list(organism.watch.facts)
    assert missed(facts) == [("cut", "the connection broke")]
    line = told(facts)[1]
    assert line.startswith("call 1 breaks off [")
    assert line.endswith("]: cut: the connection broke; it said: half of")


async def test_what_is_a_secret_is_not_written_down() -> None:
    key = "sk-proj-" + "a1B2" * 12
    models = backends([Says(error=BackendError("auth", f"wrong key {key}"))], [Says(text="fine")])
    async with running(handlers={"worker": code(ask)}, models=models) as organism:
        await outcome(organism)
        [fact, _] = organism.watch.of(CallSettled)
    assert fact.missed is not None
    assert key in fact.missed.text
    written = content(fact, fact.thread).decode()
    assert "wrong key" in written
    assert key not in written


async def test_a_journal_of_before_has_no_such_field_and_is_read_and_told_as_ever() -> None:
    models = backends([Says(error=WRONG)], [Says(text="fine")])
    async with running(handlers={"worker": code(ask)}, models=models) as organism:
        await outcome(organism)
        facts = list(organism.watch.facts)
    documents = [json.loads(json.dumps(encode(fact, facts[0].thread))) for fact in facts]
    assert [each["missed"] for each in documents if "missed" in each] == [{"kind": "rejected", "text": "no such model"}]
    for each in documents:
        each.pop("missed", None)
    before = [decode(each) for each in documents]
    assert missed(before) == [None, None]
    assert told(before)[1] == "call 1 gets no answer [nothing charged, 0.00 s]"
