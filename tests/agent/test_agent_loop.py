"""Agents through the real pump; only the model, which is the world, follows a script."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import ConfigurationError, Context, HandlerFailedError, Organism, Refused, Reply, payload
from organism.names import tool_for
from organism.record.facts import Answered
from organism.testing import Says, ScriptedModel, running

if TYPE_CHECKING:
    from organism.models.contract import Request


@payload
class Question:
    """What somebody wants to know."""

    text: str


@payload
class Answer:
    """What they get."""

    text: str
    sources: list[str]


@payload
class Short:
    """An answer of one text."""

    text: str


@payload
class Search:
    """What to look for."""

    query: str
    most: int = 3


@payload
class Found:
    hits: list[str]


async def librarian(search: Search, ctx: Context) -> Reply[Found]:
    """Looks things up."""
    await anyio.sleep(10)
    return Reply(Found([f"{search.query} {n}" for n in range(search.most)]))


async def grump(search: Search, ctx: Context) -> None:
    """Refuses."""
    raise Refused("not today")


def desk(replies: Any = Answer, **agent: Any) -> dict[str, Any]:
    return {
        "desk": {
            "agent": {"accepts": Question, "replies": replies, **agent},
            "description": "Answers.",
            "peers": ["librarian", "grump"],
        },
        "librarian": librarian,
        "grump": grump,
    }


REPLY = Says(calls=(("reply", {"text": "done", "sources": []}),))


def results(request: Request) -> list[tuple[str, Any]]:
    """(tool_call_id, content) of the tool results in a prompt."""
    return [(m["tool_call_id"], m["content"]) for m in request.messages if m["role"] == "tool"]


async def test_a_peer_is_a_tool_and_the_reply_ends_the_delivery() -> None:
    model = ScriptedModel([Says(calls=(("librarian", Search("pumps", 2)),)), REPLY])
    async with running(handlers=desk(), models=model.models()) as organism:
        answer = await organism.ask("desk", Question("What is a pump?"), expect=Answer)
    assert answer == Answer("done", [])
    first, second = model.requests
    assert [tool.name for tool in first.tools] == ["librarian", "grump", "reply"]
    assert first.messages[0]["role"] == "system"
    assert "What is a pump?" in first.messages[1]["content"]
    ((call, content),) = results(second)
    assert call == "call_0"
    assert json.loads(content) == {"Found": {"hits": ["pumps 0", "pumps 1"]}}


@payload
class SearchOfTheWholeCatalogue:
    """What to look for everywhere."""

    query: str


@payload
class SearchOfTheWholeCatalogueAgain:
    """What to look for once more."""

    query: str


async def test_tools_of_a_peer_with_a_long_name_are_told_apart() -> None:
    """Providers take 64 characters of a tool's name; what these two have in common is longer."""
    peer = "librarian-of-the-great-reading-room-on-the-second-floor"

    async def finder(search: SearchOfTheWholeCatalogue | SearchOfTheWholeCatalogueAgain, ctx: Context) -> Reply[Found]:
        """Says what it was asked."""
        return Reply(Found([type(search).__name__]))

    handlers: dict[str, Any] = desk()
    handlers["desk"]["peers"] = [peer]
    handlers[peer] = finder
    second = tool_for(peer, SearchOfTheWholeCatalogueAgain.__name__)
    model = ScriptedModel([Says(calls=((second, {"query": "x"}),)), REPLY])
    async with running(handlers=handlers, models=model.models()) as organism:
        await organism.ask("desk", Question("?"), expect=Answer)
    names = [tool.name for tool in model.requests[0].tools]
    assert len(set(names)) == 3
    assert max(map(len, names)) == 64
    ((_, content),) = results(model.requests[1])
    assert json.loads(content) == {"Found": {"hits": ["SearchOfTheWholeCatalogueAgain"]}}


async def test_calls_of_one_turn_run_at_once() -> None:
    calls = tuple(("librarian", Search("x", 0)) for _ in range(5))
    # One handler handles one message at a time in a thread; in sub-threads of its own it serves several at once.
    handlers = desk()
    handlers["librarian"] = {"code": librarian, "budget": {"messages": 10}}
    model = ScriptedModel([Says(calls=calls), REPLY])
    async with running(handlers=handlers, models=model.models()) as organism:
        start = anyio.current_time()
        handle = await organism.send("desk", Question("?"))
        result = await handle.result()
        assert anyio.current_time() - start == pytest.approx(10, abs=1)
    assert result.outcome == "completed"
    assert len(result.threads) == 5


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("librarain", {"query": "x"}, "did you mean 'librarian'?"),
        ("BudgetGranted", {"unit": "tokens", "amount": "5"}, "there is no tool 'BudgetGranted'"),
        ("librarian", "{broken", "not JSON"),
        ("librarian", {"query": 5}, "query"),
        ("librarian", {"query": "x", "more": 1}, "more"),
        ("librarian", "[]", "Search"),
        ("reply", {"text": "x"}, "sources"),
    ],
)
async def test_a_call_that_makes_no_sense_is_told_and_may_be_corrected(name: str, arguments: Any, said: str) -> None:
    model = ScriptedModel([Says(calls=((name, arguments),)), REPLY])
    async with running(handlers=desk(), models=model.models()) as organism:
        assert await organism.ask("desk", Question("?")) == Answer("done", [])
    ((_, content),) = results(model.requests[1])
    told = json.loads(content)["InvalidPayload"]
    assert said in told["error"]
    assert told["attempt"] == 1


@payload
class Nest:
    """An answer with answers in it."""

    inner: Nest | None = None


async def test_a_reply_that_is_nested_too_deep_may_be_corrected() -> None:
    deep: dict[str, Any] = {}
    for _ in range(250):
        deep = {"inner": deep}
    model = ScriptedModel([Says(calls=(("reply", deep),)), Says(calls=(("reply", {}),))])
    async with running(handlers=desk(Nest), models=model.models()) as organism:
        assert await organism.ask("desk", Question("?")) == Nest()
    ((_, content),) = results(model.requests[1])
    assert "more than 200 deep" in json.loads(content)["InvalidPayload"]["error"]


async def test_every_call_gets_exactly_one_result() -> None:
    calls: tuple[tuple[str, Any], ...] = (
        ("librarian", Search("x", 1)),
        ("nobody", {}),
        ("grump", Search("y")),
        ("reply", {"text": "first", "sources": []}),
        ("reply", {"text": "second", "sources": []}),
    )

    def script(request: Request) -> Says:
        return Says(calls=calls) if len(request.messages) == 2 else REPLY

    model = ScriptedModel(script)
    async with running(handlers=desk(), models=model.models()) as organism:
        handle = await organism.send("desk", Question("?"))
        result = await handle.result()
        assert result.reply == Answer("first", [])
        (answered,) = [fact for fact in organism.watch.of(Answered) if fact.handler == "desk"]
    kept = [value[0] for value in answered.state.values() if isinstance(value[0], dict)]
    counted = Counter(message["tool_call_id"] for message in kept if message["role"] == "tool")
    assert counted == {f"call_{n}": 1 for n in range(5)}
    by_call = {message["tool_call_id"]: message["content"] for message in kept if message["role"] == "tool"}
    assert json.loads(by_call["call_2"]) == {"HandlerFailed": {"code": "refused", "text": "not today", "retry": False}}
    assert "replied already" in by_call["call_4"]


async def test_a_peer_that_fails_is_a_result_and_no_end() -> None:
    model = ScriptedModel([Says(calls=(("grump", Search("x")),)), REPLY])
    async with running(handlers=desk(), models=model.models()) as organism:
        handle = await organism.send("desk", Question("?"))
        result = await handle.result()
    assert result.outcome == "completed"
    assert result.reply == Answer("done", [])


async def test_plain_text_is_the_answer_where_one_text_is_all_that_is_asked_for() -> None:
    model = ScriptedModel([Says(text="just so")])
    async with running(handlers=desk(Short), models=model.models()) as organism:
        assert await organism.ask("desk", Question("?")) == Short("just so")


async def test_plain_text_that_is_no_answer_is_corrected_three_times_and_then_fails() -> None:
    model = ScriptedModel([Says(text="hm")])
    async with running(handlers=desk(), models=model.models()) as organism:
        with pytest.raises(HandlerFailedError, match="corrected 3 times") as caught:
            await organism.ask("desk", Question("?"))
    assert caught.value.code == "validation"
    assert len(model.requests) == 4


async def test_what_was_corrected_is_forgotten_once_a_turn_is_in_order() -> None:
    """A long piece of work with a slip now and then does not fail of them."""
    slip, works = Says(text="hm"), Says(calls=(("librarian", Search("x")),))
    model = ScriptedModel([slip, slip, works, slip, works, slip, slip, slip, REPLY])
    async with running(handlers=desk(), models=model.models()) as organism:
        assert await organism.ask("desk", Question("?")) == Answer("done", [])
    assert len(model.requests) == 9


async def test_several_classes_of_replies_are_several_tools() -> None:
    model = ScriptedModel([Says(calls=(("reply_Short", {"text": "x"}),))])
    async with running(handlers=desk([Answer, Short]), models=model.models()) as organism:
        assert await organism.ask("desk", Question("?")) == Short("x")
    assert [tool.name for tool in model.requests[0].tools] == ["librarian", "grump", "reply_Answer", "reply_Short"]


async def test_the_last_turn_offers_the_reply_tool_alone() -> None:
    def script(request: Request) -> Says:
        return REPLY if request.tool_choice == "reply" else Says(calls=(("librarian", Search("x", 1)),))

    model = ScriptedModel(script)
    async with running(handlers=desk(max_turns=3), models=model.models()) as organism:
        assert await organism.ask("desk", Question("?")) == Answer("done", [])
    assert [len(request.tools) for request in model.requests] == [3, 3, 1]


async def test_an_agent_that_never_replies_fails_after_its_turns() -> None:
    model = ScriptedModel([Says(calls=(("librarian", Search("x", 1)),))])
    async with running(handlers=desk(max_turns=3), models=model.models()) as organism:
        with pytest.raises(HandlerFailedError, match="within 3 turns") as caught:
            await organism.ask("desk", Question("?"))
    assert caught.value.code == "no_reply"
    assert len(model.requests) == 3


async def test_an_agent_remembers_its_thread_and_forgets_with_it() -> None:
    async def asker(question: Question, ctx: Context) -> Reply[Short]:
        """Asks twice."""
        await ctx.ask("desk", question)
        await ctx.ask("desk", Question("and then?"))
        return Reply(Short("both"))

    model = ScriptedModel([REPLY])
    handlers = {"asker": {"code": asker, "peers": ["desk"]}, **desk(prompt="You are {{ name }}; it is {{ now[:4] }}.")}
    async with running(handlers=handlers, models=model.models()) as organism:
        await organism.ask("asker", Question("one"))
        await organism.ask("asker", Question("other"))
    first, second, third, _ = model.requests
    assert [message["role"] for message in second.messages] == ["system", "user", "assistant", "tool", "user"]
    assert second.messages[:2] == first.messages
    assert second.messages[0]["content"].startswith("You are desk; it is ")
    assert "Message from asker" in first.messages[1]["content"]
    assert [message["role"] for message in third.messages] == ["system", "user"]


async def test_the_settings_of_an_agent_reach_the_model() -> None:
    model = ScriptedModel([REPLY])
    handlers = desk(temperature=0.5, seed=7, max_output_tokens=333, reasoning_effort="low")
    async with running(handlers=handlers, models=model.models()) as organism:
        await organism.ask("desk", Question("?"))
    (request,) = model.requests
    assert (request.temperature, request.seed, request.max_output_tokens, request.reasoning_effort) == (
        0.5,
        7,
        333,
        "low",
    )


async def test_a_prompt_that_names_what_is_not_there_fails_clearly() -> None:
    with pytest.raises(ConfigurationError, match="line 2: nothing is called 'nmae' here; did you mean 'name'"):
        Organism(handlers=desk(prompt="Hello.\nYou are {{ nmae }}."))
    # What depends on the thread shows when it is rendered.
    model = ScriptedModel([REPLY])
    async with running(handlers=desk(prompt="You have {{ budget.tokens }}."), models=model.models()) as organism:
        with pytest.raises(HandlerFailedError, match=r"the prompt of 'desk' cannot be rendered: .* 'tokens'"):
            await organism.ask("desk", Question("?"))
    assert not model.requests


async def test_a_model_that_cannot_be_reached_fails_the_agent_with_what_was_tried() -> None:
    from organism.models.contract import BackendError

    model = ScriptedModel([Says(error=BackendError("server", "500 from the server"))])
    async with running(handlers=desk(), models=model.models()) as organism:
        with pytest.raises(HandlerFailedError, match="500 from the server") as caught:
            await organism.ask("desk", Question("?"))
    assert caught.value.code == "crashed"
    assert len(model.requests) == 4
