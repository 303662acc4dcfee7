"""What reports teach: what the next call holds, and who is closed to strict threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from organism.models.contract import ToolSpec
from organism.models.openai.request import body_of
from organism.models.tokens.estimates import Estimates
from organism.models.tokens.prompt import canonical
from organism.record.facts import CallHeld, CallSettled
from organism.testing import Says, ScriptedModel, running
from tests.hard.budget_world import PROMPT, Done, Task, code, models, most_committed, outcome
from tests.models.plain_prompts import prompt_of

if TYPE_CHECKING:
    from pathlib import Path

    from organism import Context
    from organism.models.contract import Request

STRICT = {"accounting": "strict"}


def size_of(request: Request) -> int:
    return prompt_of(request.messages, tools=request.tools, returns=request.returns).size


def needs(organism: Any) -> list[int]:
    """The input that each call held, in order."""
    return [fact.need[1] for fact in organism.watch.of(CallHeld)]


def adding(tokens: int) -> ScriptedModel:
    """A model that counts three bytes a token, and adds ``tokens`` of its own."""
    return ScriptedModel(lambda request: Says(text='{"text": "ok"}', usage=(size_of(request) // 3 + tokens, 1)))


def asking(*texts: str, **more: Any) -> Any:
    async def worker(task: Task, ctx: Context) -> None:
        for text in texts:
            await ctx.complete(text, max_output_tokens=10, **more)

    return worker


async def test_what_a_careless_thread_was_charged_closes_a_provider_before_a_strict_one_asks_it() -> None:
    model = adding(400)
    async with running(
        handlers={"worker": code(asking(PROMPT))}, models=models(model), budget={"tokens": 9000}
    ) as organism:
        careless = await outcome(organism)
        strict = await outcome(organism, budget=STRICT)
        again = await outcome(organism)
    assert (careless.outcome, strict.outcome, again.outcome) == ("completed", "failed", "completed")
    assert strict.usage.model_calls == 0
    assert "it charged 380 tokens more than the bound of a strict budget" in (strict.error or "")
    assert "raise its `overhead` to 380 or more (now 0)" in (strict.error or "")
    assert len(model.requests) == 2


async def test_with_the_overhead_that_it_asks_for_it_is_open_and_no_strict_thread_is_charged_more_than_it_held() -> (
    None
):
    async with running(
        handlers={"worker": code(asking(PROMPT, PROMPT))},
        models=models(adding(400), overhead=380),
        budget={"tokens": 1000, **STRICT},
    ) as organism:
        results = [await outcome(organism) for _ in range(3)]
        facts = organism.watch.facts
    assert [result.outcome for result in results] == ["completed"] * 3
    assert all(result.usage.tokens <= 1000 for result in results)
    charged = [fact.charge.amounts[1] for fact in facts if isinstance(fact, CallSettled)]
    assert charged == needs(organism)  # to the last token
    assert most_committed(facts) <= 3 * 1000


async def test_what_a_provider_adds_is_held_once_two_short_prompts_have_shown_it() -> None:
    texts = ("Who is Ada?", "Who is Bob?", "Who is Eve?")
    async with running(handlers={"worker": code(asking(*texts))}, models=models(adding(300))) as organism:
        result = await outcome(organism)
        charged = [fact.charge.amounts[1] for fact in organism.watch.of(CallSettled)]
    held = needs(organism)
    assert result.outcome == "completed"
    assert held[0] == held[1] < charged[0]
    assert charged[2] <= held[2] < charged[2] + 20


async def test_what_was_reported_for_the_beginning_is_held_for_what_goes_on() -> None:
    first: list[Any] = [{"role": "user", "content": "Tell me a story. " * 100}]
    more: list[Any] = [{"role": "assistant", "content": "ok"}, {"role": "user", "content": "And then?"}]

    async def worker(task: Task, ctx: Context) -> None:
        await ctx.complete(first, max_output_tokens=10)
        await ctx.complete([*first, *more], max_output_tokens=10)

    model = adding(5)
    async with running(handlers={"worker": code(worker)}, models=models(model)) as organism:
        await outcome(organism)
    reported = size_of(model.requests[0]) // 3 + 5
    assert needs(organism)[1] == reported + Estimates().tokens(prompt_of(more).parts)


async def test_tools_and_a_schema_are_held_in_the_form_in_which_they_are_sent() -> None:
    tool = ToolSpec(name="search", description="Searches.", parameters={"type": "object", "properties": {}})
    model = adding(0)
    async with (
        running(models=models(model), budget={"tokens": 9000}) as organism,
        organism.thread(budget=STRICT) as thread,
    ):
        await thread.complete(PROMPT, max_output_tokens=10)
        await thread.complete(PROMPT, max_output_tokens=10, tools=[tool], returns=Done)
        bare, full = needs(organism)
    body = body_of(model.requests[1], limit="max_tokens")
    sent = [*body["tools"], body["response_format"]]
    assert full - bare == sum(len(canonical(part, "a part")) + 1 for part in sent)


async def test_what_was_learned_ends_with_the_process_and_changes_nothing_that_was_recorded(tmp_path: Path) -> None:
    setup: dict[str, Any] = {
        "handlers": {"worker": code(asking("Who is Ada?", "Who is Bob?", "Who is Eve?"))},
        "journal": "sqlite:o.db",
        "folder": tmp_path,
    }
    async with running(models=models(adding(300)), **setup) as organism:
        before = await outcome(organism)
        first = needs(organism)
    async with running(models=models(adding(300)), check=False, **setup) as organism:
        assert organism.usage(by="handler")["worker"].tokens == before.usage.tokens
        await outcome(organism)
        assert needs(organism)[-3:] == first
