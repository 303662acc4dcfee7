"""Functions as tools, through the real pump; only the model, which is the world, follows a script."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType

import anyio
import pytest

from organism import Context, HandlerFailedError, Refused, Reply, payload
from organism.errors import RoutingError
from organism.record.facts import Asked
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


@payload
class Place:
    """Where something stands."""

    shelf: int
    notes: list[str]


async def search(
    query: Annotated[str, "What to look for."],
    most: int = 3,
    *,
    order: Literal["new", "old"] = "new",
    tags: list[str] | None = None,
) -> list[str]:
    """Looks things up in the index."""
    assert tags is None or isinstance(tags, list)
    return [f"{query} {number} {order} {tags}" for number in range(most)]


async def locate(place: Place, ctx: Context, everywhere: dict[str, list[Place]]) -> Place:
    """Finds a place."""
    assert type(everywhere) is dict
    return Place(place.shelf + len(everywhere), [*place.notes, ctx.name, ctx.sender])


async def slow(n: int, ctx: Context) -> int:
    """Takes its time."""
    await anyio.sleep(10)
    return n


async def breaks(how: str) -> Any:
    """Fails."""
    if how == "refused":
        raise Refused("not on Sundays")
    if how == "crashed":
        raise ValueError("no such index")
    if how == "timeout":
        await anyio.sleep(31)
    return {how: object()}


async def says(what: str) -> Any:
    """Returns one of a few things."""
    return {
        "none": None, "empty": "", "number": 1.5, "list": [1, "é", None], "place": Place(1, ["a"]),
        "places": {"found": [Place(2, [])]}, "odd": "a\x00b\x1b[31m\x7f\ufffe", "half": "x\ud800y", "half inside": ["\udfff"],
    }[what]  # fmt: skip


async def librarian(question: Question, ctx: Context) -> Reply[Answer]:
    """Knows books."""
    return Reply(Answer(f"about {question.text}"))


REPLY = Says(calls=(("reply", {"text": "done"}),))


def desk(*tools: Any, peers: tuple[str, ...] = (), **agent: Any) -> dict[str, Any]:
    return {
        "desk": {
            "agent": {"accepts": Question, "replies": Answer, "tools": list(tools), **agent},
            "description": "Answers.",
            "peers": list(peers),
            "options": {"root": "docs"},
        },
        "librarian": librarian,
    }


def results(request: Request) -> list[str]:
    """The contents of the tool results in a prompt."""
    return [m["content"] for m in request.messages if m["role"] == "tool"]


async def told(*calls: tuple[str, Any], tools: tuple[Any, ...], **agent: Any) -> list[str]:
    """What a model reads of calls that it makes in one turn."""
    model = ScriptedModel([Says(calls=calls), REPLY])
    async with running(handlers=desk(*tools, **agent), models=model.models()) as organism:
        assert await organism.ask("desk", Question("?")) == Answer("done")
    return results(model.requests[1])


async def test_a_function_is_a_tool_with_the_schema_of_its_signature() -> None:
    model = ScriptedModel([Says(calls=(("search", {"query": "pumps", "tags": ["a"]}),)), REPLY])
    async with running(handlers=desk(search, locate), models=model.models()) as organism:
        await organism.ask("desk", Question("?"))
    first, second = model.requests
    assert [tool.name for tool in first.tools] == ["search", "locate", "reply"]
    assert first.tools[0].description == "Looks things up in the index."
    assert first.tools[0].parameters == {
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "What to look for."},
            "most": {"type": "integer", "default": 3},
            "order": {"type": "string", "enum": ["new", "old"], "default": "new"},
            "tags": {"type": ["array", "null"], "items": {"type": "string"}, "default": None},
        },
        "required": ["query"],
        "additionalProperties": False,
    }
    assert "ctx" not in first.tools[1].parameters["properties"]
    assert json.loads(results(second)[0]) == [f"pumps {n} new ['a']" for n in range(3)]


async def test_mistakes_that_are_made_together_are_corrected_together() -> None:
    wrong = Says(
        calls=(("search", {"q": "a"}), ("search", {"q": "b"}), ("nothing", {}), ("reply", {}), ("reply", {"t": 1}))
    )
    right = Says(calls=(("search", {"query": "a", "most": 1}),))
    model = ScriptedModel([wrong, wrong, wrong, right, REPLY])
    async with running(handlers=desk(search), models=model.models()) as organism:
        assert await organism.ask("desk", Question("?")) == Answer("done")
    told = [json.loads(each)["InvalidPayload"]["attempt"] for each in results(model.requests[3])]
    assert told == [1] * 5 + [2] * 5 + [3] * 5


Shelves = NewType("Shelves", list[int])


async def test_a_tool_may_have_defaults_that_can_be_changed_and_types_with_names_of_their_own() -> None:
    async def sort(shelves: Shelves, empty: Annotated[Shelves | None, "None but these."], notes: list[str] = []) -> str:  # noqa: B006
        """Sorts them."""
        return f"{shelves} {empty} {list(notes)}"

    assert await told(("sort", {"shelves": [2, 1], "empty": [3]}), tools=(sort,)) == ["[2, 1] [3] []"]


async def test_a_tool_gets_the_context_and_payloads() -> None:
    arguments: dict[str, Any] = {
        "place": {"shelf": 3, "notes": ["x"]},
        "everywhere": {"here": [{"shelf": 1, "notes": []}]},
    }
    (result,) = await told(("locate", arguments), tools=(locate,))
    assert json.loads(result) == {"Place": {"shelf": 4, "notes": ["x", "desk.locate", "desk"]}}


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("none", "null"),
        ("empty", ""),
        ("number", "1.5"),
        ("list", '[1, "é", null]'),
        ("place", '{"Place": {"shelf": 1, "notes": ["a"]}}'),
        ("places", '{"found": [{"Place": {"shelf": 2, "notes": []}}]}'),
        ("odd", "a\x00b\x1b[31m\x7f\ufffe"),
        ("half", "x\\ud800y"),
        ("half inside", '["\\udfff"]'),
    ],
)
async def test_what_a_tool_returns_is_told_as_it_is_or_as_json(what: str, text: str) -> None:
    assert await told(("says", {"what": what}), tools=(says,)) == [text]


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("refused", {"code": "refused", "text": "not on Sundays", "retry": False}),
        ("crashed", {"code": "crashed", "text": "ValueError: no such index", "retry": True}),
        ("timeout", {"code": "timeout", "text": "'desk.breaks' did not finish within 30 s", "retry": True}),
    ],
)
async def test_how_a_tool_failed_is_told_to_the_model(how: str, text: dict[str, Any]) -> None:
    (result,) = await told(("breaks", {"how": how}), tools=(breaks,))
    assert json.loads(result) == {"HandlerFailed": text}


async def test_a_result_without_a_form_in_json_is_a_failure_that_says_so() -> None:
    (result,) = await told(("breaks", {"how": "x"}), tools=(breaks,))
    failed = json.loads(result)["HandlerFailed"]
    assert (failed["code"], failed["retry"]) == ("validation", False)
    assert failed["text"].startswith("'breaks' returned a dict that is not a text, a payload or a JSON value: object ")


async def test_wrong_arguments_are_told_to_the_model_and_the_function_is_not_called() -> None:
    first, second = await told(("search", {"query": 7}), ("search", {"query": "x", "limit": 1}), tools=(search,))
    assert "expected str" in json.loads(first)["InvalidPayload"]["error"]
    assert "limit" in json.loads(second)["InvalidPayload"]["error"]


async def test_any_character_reaches_a_function_and_half_of_one_does_not() -> None:
    async def echo(text: str) -> str:
        """Says it again."""
        return text

    odd = "\x00\x1b[31m\ufffe\u2028 & <b> é 👩"
    first, second = await told(("echo", {"text": odd}), ("echo", {"text": "\ud800"}), tools=(echo,))
    assert first == odd
    assert "surrogate" in json.loads(second)["InvalidPayload"]["error"]


async def test_half_a_character_anywhere_in_an_answer_can_be_corrected_and_sent_again() -> None:
    model = ScriptedModel([Says(text="\ud83d", calls=(("\ud83d" * 10_000, "\ud83d"),), call_id="\ud83d"), REPLY])
    async with running(handlers=desk(search), models=model.models()) as organism:
        assert await organism.ask("desk", Question("?")) == Answer("done")
    (told,) = results(model.requests[1])
    assert "there is no tool '\ufffd\ufffd" in json.loads(told)["InvalidPayload"]["error"]
    assert len(told) < 1000
    assert json.dumps(model.requests[1].messages, ensure_ascii=False).encode()


async def test_calls_of_one_turn_run_at_once_also_of_one_function() -> None:
    model = ScriptedModel([Says(calls=tuple(("slow", {"n": n}) for n in range(5))), REPLY])
    async with running(handlers=desk(slow), models=model.models()) as organism:
        start = anyio.current_time()
        await organism.ask("desk", Question("?"))
        assert anyio.current_time() - start == pytest.approx(10, abs=1)
    assert results(model.requests[1]) == ["0", "1", "2", "3", "4"]


async def test_each_call_counts_as_one_message_and_stands_in_the_record() -> None:
    model = ScriptedModel([Says(calls=(("search", {"query": "x"}), ("slow", {"n": 1}))), REPLY])
    facts: list[Any] = []
    async with running(handlers=desk(search, slow), models=model.models()) as organism:
        organism.subscribe(facts.append)
        result = await (await organism.send("desk", Question("?"))).result()
        by_handler: Any = organism.usage(by="handler")
    assert result.usage.messages == 3
    assert sorted(fact.to for fact in facts if isinstance(fact, Asked)) == ["desk.search", "desk.slow"]
    assert {name: sums.messages for name, sums in by_handler.items()} == {"desk": 1, "desk.search": 1, "desk.slow": 1}


async def test_a_call_that_the_budget_of_messages_cannot_bear_is_refused() -> None:
    model = ScriptedModel([Says(calls=(("slow", {"n": 1}),)), Says(calls=(("slow", {"n": 2}),)), REPLY])
    async with running(handlers=desk(slow), models=model.models()) as organism:
        handle = await organism.send("desk", Question("?"), budget={"messages": 2})
        assert (await handle.result()).outcome == "exhausted"
    done, refused = results(model.requests[2])
    assert done == "1"
    assert json.loads(refused)["HandlerFailed"]["code"] == "exhausted"


async def test_only_its_agent_reaches_a_tool() -> None:
    async def sneak(question: Question, ctx: Context) -> Reply[Answer]:
        """Tries."""
        with pytest.raises(HandlerFailedError, match=r"'desk.says' is not a peer of 'sneak'$"):
            await ctx.ask("desk.says", question)
        return Reply(Answer("refused"))

    model = ScriptedModel([REPLY])
    handlers = {**desk(says), "sneak": sneak}
    async with running(handlers=handlers, models=model.models()) as organism:
        assert await organism.ask("sneak", Question("?")) == Answer("refused")
        for wrong in ("desk.says", "desk.say"):
            instead = r"did you mean 'desk'\?|there are: desk, sneak"
            with pytest.raises(RoutingError, match=rf"^'{wrong}' is not a handler; ({instead})$"):
                await organism.send(wrong, Question("?"))


async def test_two_agents_share_nothing_but_the_function() -> None:
    async def counts(ctx: Context) -> str:
        """Counts its calls."""
        ctx.state["n"] = ctx.state.get("n", 0) + 1
        return f"{ctx.name} {ctx.state['n']}"

    one = desk(counts)["desk"]
    model = ScriptedModel([Says(calls=(("counts", {}), ("boss", {"text": "?"}))), Says(calls=(("counts", {}),)), REPLY])
    handlers = {"desk": {**one, "peers": ["boss"]}, "boss": one}
    async with running(handlers=handlers, models=model.models()) as organism:
        await organism.ask("desk", Question("?"))
    told = [text for request in model.requests for text in results(request)]
    assert "desk.counts 1" in told
    assert "boss.counts 1" in told


async def test_a_tool_may_ask_the_peers_of_its_agent_and_models_on_the_threads_budget() -> None:
    async def digest(topic: str, ctx: Context) -> str:
        """Asks around."""
        answer = await ctx.ask("librarian", Question(topic), expect=Answer)
        done = await ctx.complete("Sum up.", max_output_tokens=100)
        return f"{answer.text}; {done.text}; {ctx.options['root']}"

    model = ScriptedModel([Says(calls=(("digest", {"topic": "pumps"}),)), Says(text="short"), REPLY])
    async with running(handlers=desk(digest, peers=("librarian",)), models=model.models()) as organism:
        handle = await organism.send("desk", Question("?"))
        result = await handle.result()
    assert results(model.requests[2]) == ["about pumps; short; docs"]
    assert (result.usage.model_calls, result.usage.messages) == (3, 3)
