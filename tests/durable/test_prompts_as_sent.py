"""What the journal says that a model was asked is what it was sent, to the last digit, whatever became of it in its handler's hands."""

from __future__ import annotations

import json
from contextlib import closing
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from organism import Context, Organism, Reply
from organism.budget.claims import Claim
from organism.journal import open_journal
from organism.journal.codec import encode
from organism.journal.prompts import requests
from organism.kernel import Kernel
from organism.kernel.calls import CallFor
from organism.kernel.prompts import Prompt
from organism.settings import BudgetSettings, Settings
from organism.testing import Says, ScriptedModel
from tests.hard.pump_world import Go, Said, code

if TYPE_CHECKING:
    from pathlib import Path

    from organism.models.contract import Request
    from organism.record.facts import Fact


def part(value: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": "how many?", "n": value}]}


async def keeper(message: Go, ctx: Context) -> Reply[Said]:
    """Asks the same with numbers that are equal, and changes what it has sent."""
    for value in (1, 1.0, True, 0.0, -0.0):
        await ctx.complete([part(value)])
    history: list[Any] = [part(1)]
    for text in ("one", "two"):
        history[0]["content"][0]["text"] = text
        await ctx.complete(history)
    await ctx.complete(history)
    history[0]["content"][0]["text"] = "three"
    for extra in ({"top_k": 1}, {"top_k": 1.0}):
        await ctx.complete(history, extra=extra)
    for odd in ({**part(1), "by_number": {1: "x"}}, MappingProxyType(part(2)), {**part(3), "pair": (1, 2)}):
        await ctx.complete([odd])
    return Reply(Said())


def text_of(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


@pytest.mark.parametrize("place", ["sqlite:j.db", "jsonl:j"])
async def test_what_is_equal_and_not_the_same_is_written_down_as_it_was_sent(place: str, tmp_path: Path) -> None:
    sent: list[tuple[str, Any]] = []

    def answer(request: Request) -> Says:
        sent.append((text_of(list(request.messages)), request.extra))
        return Says(text="2")

    model = ScriptedModel(answer)
    handlers = {"keeper": code(keeper)}
    async with Organism(
        name="test", handlers=handlers, journal=place, folder=tmp_path, models=model.models()
    ) as organism:
        thread = await organism.send("keeper", Go())
        assert (await thread.result()).outcome == "completed"
    with closing(open_journal(place, folder=tmp_path, readonly=True)) as journal:
        found = list(requests(journal.documents(thread.id)).values())
    assert [text_of(list(prompt.messages)) for prompt in found] == [messages for messages, _ in sent]
    assert [text_of(prompt.asked.get("extra", {})) for prompt in found] == [text_of(dict(extra)) for _, extra in sent]


VALUE = st.sampled_from([0, 0.0, -0.0, False, 1, 1.0, True, "1", None, [1], [1.0], {"a": 1}, {"a": True}])


@given(st.lists(st.tuples(st.lists(VALUE, max_size=3), VALUE), max_size=8))
def test_the_kernel_leaves_out_only_what_says_the_same(turns: list[tuple[list[Any], Any]]) -> None:
    record: list[Fact] = []
    kernel = Kernel(Settings(name="demo"), lambda _, fact: record.append(fact))
    thread = kernel.open_bare("t", BudgetSettings(), {}, 0.0)
    sent: list[tuple[str, str]] = []
    for number, (values, heat) in enumerate(turns):
        messages, asked = [part(value) for value in values], {"temperature": heat}
        prompt = Prompt(key=str(number), messages=messages, asked=asked)
        call = CallFor(thread=thread, message=None, alias="default", backend="b", attempt=1, prompt=prompt)
        kernel.calls.hold(Claim(input_tokens=1, wish=1, min_output=1), call, 1.0)
        sent.append((text_of(messages), text_of(asked)))
    found = requests(encode(fact, "t") for fact in record).values()
    assert [(text_of(list(prompt.messages)), text_of(prompt.asked)) for prompt in found] == sent
