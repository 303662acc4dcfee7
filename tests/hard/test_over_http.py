"""Whole organisms over the wire: SDK, HTTP, both protocols, and at the other end the model that answers in process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

from organism import payload
from organism.errors import ModelError
from organism.testing import Watched, running
from tests.server.provider_world import PROTOCOLS, served

if TYPE_CHECKING:
    from collections.abc import Mapping

    from organism import ThreadResult

FILE: Final = Path(__file__).parents[2] / "organism.yaml"
QUESTIONS: Final = ("What is a frame?", "How are parallel calls kept from overrunning a budget?")
WAYS_OF_SPEAKING: Final = ("tools", "xml")
AGENTS: Final = ("desk", "reader", "editor")
MESSAGES: Final = (
    {"role": "system", "content": "You answer in one sentence."},
    {"role": "user", "content": "What is a frame? A frame is one call. It closes when nothing of it is left."},
)


pytestmark = pytest.mark.sockets


async def desk(question: str, **over: Any) -> tuple[ThreadResult, list[tuple[str, ...]]]:
    """How a question ends, and which warnings there were."""
    from handlers.desk import Question

    said = {"journal": "memory:"} | {key.replace("__", "."): value for key, value in over.items()}
    async with running(Watched.load(FILE, set=said)) as organism:
        result = await (await organism.send("desk", Question(question, "explanation"))).result()
    return result, sorted((each.unit, each.level, each.scope) for each in result.warnings)


@pytest.mark.parametrize("speaking", WAYS_OF_SPEAKING)
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_the_default_organism_answers_the_same(protocol: str, speaking: str, half: slice) -> None:
    said: dict[str, Any] = {f"handlers__{name}__agent__peers_as": speaking for name in AGENTS}
    # So that readers hear of their own budgets alone: which of them brings the thread to a level is a matter of microseconds.
    said["budget__tokens"] = 4_000_000
    async with served() as model:
        for question in QUESTIONS[half]:
            near, near_warnings = await desk(question, **said)
            far, far_warnings = await desk(question, **said, models=model.models(protocol))
            assert near.outcome == "completed"
            assert (far.outcome, far.reply) == (near.outcome, near.reply)
            assert (far.usage.input_tokens, far.usage.output_tokens) == (
                near.usage.input_tokens,
                near.usage.output_tokens,
            )
            assert far_warnings == near_warnings
        assert model.model.answered > 10
        await model.deserted()


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_it_is_warned_and_hands_in_what_it_has(protocol: str) -> None:
    """A tight budget: what is told, and what comes of it, does not depend on the wire."""
    async with served() as model:
        near, near_warnings = await desk(QUESTIONS[0], budget__tokens=3000)
        far, far_warnings = await desk(QUESTIONS[0], budget__tokens=3000, models=model.models(protocol))
    assert near_warnings
    assert (far.outcome, far.reply, far_warnings) == (near.outcome, near.reply, near_warnings)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_stream_says_what_the_whole_answer_says(protocol: str) -> None:
    async with served() as model, running(models=model.models(protocol)) as organism:
        async with organism.thread() as thread:
            done = await thread.complete(MESSAGES)
            async with thread.stream(MESSAGES) as stream:
                text = "".join([piece async for piece in stream])
        near = await at_home()
        assert text == stream.completion.text == done.text == near.text
        assert [each.usage.input_tokens for each in (done, stream.completion)] == [near.usage.input_tokens] * 2
        assert [each.usage.output_tokens for each in (done, stream.completion)] == [near.usage.output_tokens] * 2
        assert not done.usage.estimated


async def at_home() -> Any:
    async with running() as organism, organism.thread() as thread:
        return await thread.complete(MESSAGES)


@payload
class Verdict:
    """A judgement."""

    text: str
    points: int


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_an_answer_of_a_payload(protocol: str) -> None:
    async with served() as model, running(models=model.models(protocol)) as organism:
        async with organism.thread() as thread:
            done = await thread.complete(MESSAGES, returns=Verdict)
    async with running() as organism, organism.thread() as thread:
        near = await thread.complete(MESSAGES, returns=Verdict)
    assert isinstance(done.value, Verdict)
    assert (done.value, done.finish_reason) == (near.value, "stop")


async def test_a_prompt_that_comes_again_is_read_from_the_cache() -> None:
    long = {"role": "system", "content": "Frames are calls, and every call is a frame of its own. " * 200}
    question = {"role": "user", "content": "What is a frame?"}
    async with served() as model, running(models=model.models("anthropic")) as organism:
        async with organism.thread() as thread:
            first = (await thread.complete([long, question])).usage
            again = (await thread.complete([long, question])).usage
        assert (first.cache_read_tokens, again.cache_write_tokens) == (0, 0)
        assert first.cache_write_tokens == again.cache_read_tokens > 2000
        assert first.input_tokens == again.input_tokens > first.cache_write_tokens
        other = await elsewhere(model.models("anthropic", prompt_cache=False), [long, question])
        assert (other.cache_read_tokens, other.cache_write_tokens) == (0, 0)


async def elsewhere(models: Mapping[str, Any], messages: Any) -> Any:
    async with running(models=models) as organism, organism.thread() as thread:
        return (await thread.complete(messages)).usage


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_limit_of_the_server_is_waited_for(protocol: str) -> None:
    """It is used up for a second when the first call comes, and then they come a tenth of a second apart."""
    async with served(requests_per_minute=600) as model:
        made = model.models(protocol, alias={"retries": 5, "backoff": [0, 1]})
        async with running(models=made) as organism, organism.thread() as thread:
            model.model.limits.take(requests=610, now=anyio.current_time())
            done = [await thread.complete("Hello?") for _ in range(3)]
        assert sum(each.attempts for each in done) > 3
        assert model.model.answered == 3


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_prompt_that_is_too_long_is_told_as_that(protocol: str) -> None:
    async with served(options={"context_window": 300}) as model, running(models=model.models(protocol)) as organism:
        async with organism.thread() as thread:
            with pytest.raises(ModelError, match="too long"):
                await thread.complete("word " * 400)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_who_hangs_up_is_answered_no_further(protocol: str) -> None:
    async with served(options={"latency": 60}) as model, running(models=model.models(protocol)) as organism:
        async with organism.thread() as thread, anyio.create_task_group() as tasks:
            tasks.start_soon(thread.complete, "Hello?")
            with anyio.fail_after(5):
                await model.server.until(lambda: any(each.busy for each in model.server.open))
                tasks.cancel_scope.cancel()
        await model.deserted()
        assert (model.model.answered, model.model.cancelled) == (0, 1)
