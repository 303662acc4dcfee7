"""``returns=``: an answer that is a payload, over both protocols, whole and in pieces, and what is said of one that is none."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from organism import Context, HandlerFailedError, InvalidPayloadError, NotRunningError, Reply, payload
from organism.testing import Says, ScriptedModel, running
from tests.models import anthropic_server, hostile
from tests.models.anthropic_server import Asked, before_messages, keeping
from tests.models.hostile import facing

pytestmark = pytest.mark.sockets


@payload
class Verdict:
    """What is thought of it."""

    text: str
    mark: Decimal | None = None


GOOD = '{"text": "good", "mark": 1.10}'
VERDICT = Verdict(text="good", mark=Decimal("1.10"))


async def _streamed(thread: Any) -> tuple[list[str], Any]:
    async with thread.stream("judge", returns=Verdict) as stream:
        pieces = [piece async for piece in stream]
    return pieces, stream.completion


async def test_over_chat_completions() -> None:
    asked: list[Asked] = []
    chunks = [hostile.word(GOOD[:9]), hostile.word(GOOD[9:]), hostile.word("", "stop"), hostile.usage(), hostile.DONE]
    ways = [hostile.says(hostile.whole(hostile.answer(GOOD))), hostile.says(hostile.events(*chunks) + hostile.END)]
    async with facing([keeping(asked, way) for way in ways]) as (organism, _), organism.thread() as thread:
        assert (await thread.complete("judge", returns=Verdict)).value == VERDICT
        pieces, completion = await _streamed(thread)
    assert ("".join(pieces), completion.value) == (GOOD, VERDICT)
    for each in asked:
        schema = each.body["response_format"]["json_schema"]
        assert (schema["name"], schema["schema"]["required"]) == ("Verdict", ["text"])


async def test_over_messages() -> None:
    handed = {"type": "tool_use", "id": "t", "name": "answer", "input": {"text": "good", "mark": 1.1}}
    whole = hostile.says(hostile.whole(anthropic_server.answer(handed, stop="tool_use")))
    pieces_of_it = anthropic_server.call(0, "answer", GOOD[:9], GOOD[9:])
    end = (anthropic_server.stopped("tool_use"), anthropic_server.OVER)
    streamed = anthropic_server.streams(anthropic_server.started(), *pieces_of_it, *end)
    async with before_messages([whole, streamed]) as (organism, _), organism.thread() as thread:
        assert (await thread.complete("judge", returns=Verdict)).value == VERDICT
        pieces, completion = await _streamed(thread)
    assert ("".join(pieces), completion.value, completion.finish_reason) == (GOOD, VERDICT, "stop")


async def _said(text: str, **says: Any) -> InvalidPayloadError:
    """What is said of an answer, which must be the same whole and in pieces."""
    model = ScriptedModel([Says(text=text, **says)])
    async with running(models=model.models()) as organism, organism.thread() as thread:
        with pytest.raises(InvalidPayloadError) as whole:
            await thread.complete("judge", returns=Verdict)
        async with thread.stream("judge", returns=Verdict) as stream:
            assert "".join([piece async for piece in stream]) == text
        with pytest.raises(InvalidPayloadError) as piecewise:
            _ = stream.completion
        assert str(piecewise.value) == str(whole.value)
        # It was answered, and is paid for.
        assert thread.budget.model_calls.used == 2
    return whole.value


async def test_an_answer_that_is_no_such_payload_is_told_with_what_is_wrong_and_what_came() -> None:
    missing = await _said('{"mark": 3, "more": 1}')
    assert "Verdict.more: is not a field; there are text, mark" in str(missing)
    assert "Verdict.text: is missing" in str(missing)
    assert str(missing).endswith("""the model answered '{"mark": 3, "more": 1}'""")
    prose = await _said("I like it. " * 40)
    assert str(prose).startswith("Verdict: is not JSON: ")
    assert str(prose).endswith("I like it. I …'")
    assert "is nested too deep" in str(await _said("[" * 100_000))
    assert "the name 'text' twice" in str(await _said('{"text": "a", "text": "b"}'))


async def test_an_answer_that_was_cut_or_refused_is_told_as_that() -> None:
    cut = await _said('{"text": "goo', finish_reason="length")
    assert str(cut).startswith("Verdict: the answer was cut at its `max_output_tokens`: is not JSON")
    refused = await _said("I would rather not.", finish_reason="content_filter")
    assert str(refused).startswith("Verdict: the model would not answer: ")


@pytest.mark.parametrize(
    "text", [f"```json\n{GOOD}\n```", f"```\n{GOOD}```\n", f"```json  \n{GOOD} \n\n \t```", f"  {GOOD}\n"]
)
async def test_a_fence_around_the_answer_is_no_part_of_it(text: str) -> None:
    async with running(models=ScriptedModel([Says(text=text)]).models()) as organism, organism.thread() as thread:
        done = await thread.complete("judge", returns=Verdict)
    assert (done.value, done.text) == (VERDICT, text)


@pytest.mark.parametrize("text", ["```\n```", "```", "``````", "```json\n``", "```json {}```"])
async def test_what_only_begins_like_a_fence_is_none(text: str) -> None:
    assert "is not JSON" in str(await _said(text))


async def test_blanks_behind_a_fence_are_looked_at_once() -> None:
    text = "```\n" + " " * 1_000_000 + "x"  # each of them for each of them, they take an hour
    async with running(models=ScriptedModel([Says(text=text)]).models()) as organism, organism.thread() as thread:
        with pytest.raises(InvalidPayloadError, match="is not JSON"):
            await thread.complete("judge", returns=Verdict)


async def test_one_that_calls_a_tool_first_has_no_value_yet() -> None:
    model = ScriptedModel([Says(calls=(("Verdict", {"text": "x"}),)), Says(text=GOOD)])
    async with running(models=model.models()) as organism, organism.thread() as thread:
        first = await thread.complete("judge", tools=[Verdict], returns=Verdict)
        assert (first.value, len(first.tool_calls)) == (None, 1)
        assert (await thread.complete("judge", tools=[Verdict], returns=Verdict)).value == VERDICT


async def test_a_stream_that_was_left_has_no_value() -> None:
    async with running(models=ScriptedModel([Says(text=GOOD)]).models()) as organism, organism.thread() as thread:
        async with thread.stream("judge", returns=Verdict) as stream:
            await anext(aiter(stream))
            with pytest.raises(NotRunningError):
                _ = stream.completion
        assert (stream.completion.value, stream.completion.finish_reason) == (None, "left")


async def test_whoever_asked_such_a_handler_hears_what_was_wrong() -> None:
    async def judge(verdict: Verdict, ctx: Context) -> Reply[Verdict]:
        """Judges."""
        async with ctx.stream("judge", returns=Verdict) as stream:
            assert [piece async for piece in stream]
        return Reply(stream.completion.value)

    model = ScriptedModel([Says(text=GOOD), Says(text="no JSON")])
    async with running(models=model.models(), handlers={"judge": {"code": judge}}) as organism:
        assert await organism.ask("judge", VERDICT, expect=Verdict) == VERDICT
        with pytest.raises(HandlerFailedError, match=r"Verdict: is not JSON: .*the model answered 'no JSON'") as caught:
            await organism.ask("judge", VERDICT)
        assert caught.value.code == "crashed"


async def test_an_agent_whose_model_writes_broken_json_hears_of_it_and_may_correct_itself() -> None:
    heard: list[str] = []

    def script(request: Any) -> Says:
        heard.extend(str(message["content"]) for message in request.messages if message["role"] == "tool")
        broken = '{"text": "goo'
        return Says(calls=(("reply", json.loads(GOOD) if heard else broken),))

    agent = {"agent": {"accepts": Verdict, "replies": Verdict}, "description": "Judges."}
    async with running(models=ScriptedModel(script).models(), handlers={"judge": agent}) as organism:
        assert (await organism.ask("judge", VERDICT, expect=Verdict)).text == "good"
    assert len(heard) == 1
    assert "InvalidPayload" in heard[0]
    assert "JSON" in heard[0]
