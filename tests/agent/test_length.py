"""Answers that are cut for length: text and XML are gone on with, calls are written again; through the real pump."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from organism import HandlerFailedError, Reply, payload
from organism.payloads import Vocabulary
from organism.payloads.primitives import InvalidPayload
from organism.testing import Says, ScriptedModel, running

if TYPE_CHECKING:
    from organism import Context
    from organism.models.contract import Request


@payload
class Question:
    text: str


@payload
class Short:
    text: str


@payload
class Long:
    text: str
    more: str


async def shelf(question: Question, ctx: Context) -> Reply[Short]:
    """Looks things up."""
    return Reply(Short(question.text))


def desk(replies: Any = Short, **agent: Any) -> dict[str, Any]:
    return {
        "desk": {
            "agent": {"accepts": Question, "replies": replies, **agent},
            "description": "Answers.",
            "peers": ["shelf"],
        },
        "shelf": shelf,
    }


def cut(text: str = "", *calls: tuple[str, Any]) -> Says:
    return Says(text=text, calls=calls, finish_reason="length")


async def asked(model: ScriptedModel, **agent: Any) -> Any:
    async with running(handlers=desk(**agent), models=model.models()) as organism:
        return await organism.ask("desk", Question("?"))


def roles(request: Request) -> list[str]:
    return [message["role"] for message in request.messages]


async def test_a_text_that_is_cut_is_gone_on_with_where_it_stopped() -> None:
    model = ScriptedModel([cut("one, tw"), cut("o, thr"), Says(text="ee")])
    assert await asked(model) == Short("one, two, three")
    first, second, third = model.requests
    assert second.messages[:-2] == first.messages
    assert second.messages[-2] == {"role": "assistant", "content": "one, tw"}
    assert "Go on exactly where it stopped" in second.messages[-1]["content"]
    # The pieces are one answer.
    assert third.messages[:-2] == first.messages
    assert third.messages[-2] == {"role": "assistant", "content": "one, two, thr"}
    assert second.tools == first.tools


async def test_a_text_is_gone_on_with_twice_and_then_taken_as_it_is() -> None:
    model = ScriptedModel([cut("a"), cut("b"), cut("c"), cut("d")])
    assert await asked(model) == Short("abc")
    assert len(model.requests) == 3


async def test_each_piece_is_a_call_of_its_own_and_what_is_kept_is_one_message() -> None:
    async def caller(question: Question, ctx: Context) -> Reply[Short]:
        """Asks twice."""
        await ctx.ask("desk", question)
        return Reply(await ctx.ask("desk", question, expect=Short))

    model = ScriptedModel([cut("on"), Says(text="e"), Says(text="two")])
    handlers = {**desk(), "caller": {"code": caller, "peers": ["desk"]}}
    async with running(handlers=handlers, models=model.models()) as organism:
        handle = await organism.send("caller", Question("?"))
        result = await handle.result()
    assert result.reply == Short("two")
    assert result.usage.model_calls == 3
    assert roles(model.requests[2]) == ["system", "user", "assistant", "user"]
    assert model.requests[2].messages[2]["content"] == "one"


async def test_xml_that_is_cut_is_gone_on_with() -> None:
    model = ScriptedModel([cut("<Long><text>a</te"), cut("xt><mo"), Says(text="re>b</more></Long>")])
    assert await asked(model, replies=Long, peers_as="xml") == Long("a", "b")


async def test_the_call_for_a_reply_alone_is_gone_on_with_as_such() -> None:
    model = ScriptedModel([cut("<Short><text>a"), Says(text="b</text></Short>")])
    assert await asked(model, peers_as="xml", max_turns=1) == Short("ab")
    first, second = model.requests
    assert second.messages[:-2] == first.messages
    assert "Go on exactly" in second.messages[-1]["content"]


async def test_xml_that_stays_cut_is_never_closed_for_the_model() -> None:
    def script(request: Request) -> Says:
        told = "InvalidPayload" in str(request.messages[-1]["content"])
        return Says(text="<Short><text>done</text></Short>") if told else cut("<Short><text>a")

    model = ScriptedModel(script)
    assert await asked(model, peers_as="xml") == Short("done")
    document = model.requests[-1].messages[-1]["content"].partition(":\n")[2]
    invalid = Vocabulary().decode_xml(document, (InvalidPayload,))
    assert "it was cut before </text>: write less" in invalid.error


async def test_prose_that_stays_cut_where_xml_is_asked_for_is_to_be_written_again() -> None:
    def script(request: Request) -> Says:
        told = "InvalidPayload" in str(request.messages[-1]["content"])
        return Says(text="<Long><text>a</text><more>b</more></Long>") if told else cut("I think ")

    model = ScriptedModel(script)
    assert await asked(model, replies=Long, peers_as="xml") == Long("a", "b")
    document = model.requests[-1].messages[-1]["content"].partition(":\n")[2]
    invalid = Vocabulary().decode_xml(document, (InvalidPayload,))
    assert invalid.error == "your answer was cut for length: write it again, shorter, and hand it in as <Long>"


@pytest.mark.parametrize("arguments", ['{"text": "a long sto', "", '{"text": "a"'])
async def test_a_call_that_is_cut_is_told_so_and_written_again(arguments: str) -> None:
    model = ScriptedModel([cut("", ("reply", arguments)), Says(calls=(("reply", {"text": "short"}),))])
    assert await asked(model) == Short("short")
    second = model.requests[1]
    assert roles(second) == ["system", "user", "assistant", "tool"]
    assert (
        "cut for length: write this again, shorter"
        in json.loads(second.messages[-1]["content"])["InvalidPayload"]["error"]
    )


async def test_calls_that_were_whole_before_the_cut_are_carried_out() -> None:
    calls = (("shelf", Question("a")), ("shelf", '{"text": "b'))
    model = ScriptedModel([cut("", *calls), Says(calls=(("reply", {"text": "done"}),))])
    assert await asked(model) == Short("done")
    whole, broken = (json.loads(message["content"]) for message in model.requests[1].messages[-2:])
    assert whole == {"Short": {"text": "a"}}
    assert "cut for length" in broken["InvalidPayload"]["error"]


async def test_a_last_call_that_is_whole_was_not_cut() -> None:
    model = ScriptedModel([cut("", ("reply", {"text": "just fitted"}))])
    assert await asked(model) == Short("just fitted")
    assert len(model.requests) == 1


@pytest.mark.parametrize("says", [cut("", ("reply", '{"text": "a')), cut("thoughts, and nothing else")])
async def test_what_is_cut_again_and_again_fails_with_a_way_out(says: Says) -> None:
    model = ScriptedModel([says])
    with pytest.raises(HandlerFailedError, match="cut for length 3 times: raise its 'max_output_tokens'") as caught:
        await asked(model, replies=Long)
    assert caught.value.code == "validation"
    assert len(model.requests) == 3


async def test_text_that_could_be_no_reply_is_not_gone_on_with() -> None:
    model = ScriptedModel([cut("I think"), Says(calls=(("reply", {"text": "a", "more": "b"}),))])
    assert await asked(model, replies=Long) == Long("a", "b")
    said = model.requests[1].messages[-1]
    assert said["role"] == "user"
    assert "cut for length" in said["content"]


async def test_a_piece_that_the_budget_cannot_bear_any_more_is_known_to_the_last_answer() -> None:
    def script(request: Request) -> Says:
        if "last call" in str(request.messages[-1]["content"]):
            return Says(calls=(("reply", {"text": "in short"}),), usage=(900, 50))
        return Says(text="a long story", finish_reason="length", usage=(900, 500))

    model = ScriptedModel(script)
    handlers = desk(max_output_tokens=500, min_output_tokens=400)
    budget = {"tokens": 6000, "grace": {"share": 0.4}, "model_calls": 2}
    async with running(handlers=handlers, models=model.models(), budget=budget) as organism:
        handle = await organism.send("desk", Question("?"))
        result = await handle.result()
    assert (result.outcome, result.reply) == ("exhausted", Short("in short"))
    assert any(message["content"] == "a long story" for message in model.requests[-1].messages)


async def test_the_simulated_model_goes_on_with_what_it_said() -> None:
    handlers = desk(peers_as="xml", max_output_tokens=14, min_output_tokens=1)
    async with running(handlers=handlers) as organism:
        handle = await organism.send("desk", Question("Is there a long and winding sentence in here somewhere?"))
        result = await handle.result()
    assert result.outcome == "completed", result.error
    assert result.usage.model_calls > 2
    assert isinstance(result.reply, Short)


@pytest.mark.parametrize("peers_as", ["tools", "xml"])
async def test_what_the_budget_cut_is_neither_gone_on_with_nor_taken_for_the_reply(peers_as: str) -> None:
    text = "<Short><text>done</text></Short>" if peers_as == "xml" else ""
    calls = () if peers_as == "xml" else (("reply", {"text": "done"}),)
    model = ScriptedModel([Says(text="half a sto", finish_reason="budget"), Says(text=text, calls=calls)])
    assert await asked(model, peers_as=peers_as) == Short("done")
    second = model.requests[1]
    assert second.messages[-2]["content"] == "half a sto"
    assert "your answer was cut by your budget" in second.messages[-1]["content"]
