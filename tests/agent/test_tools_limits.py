"""How often a tool may be called, and how much of what it returns is read (``tool_calls``, ``tool_output``)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from organism import Context, Refused, Reply
from organism.agent.cutting import cut
from organism.testing import Says, ScriptedModel, running
from tests.agent.test_tools import REPLY, Answer, Question, desk, results

if TYPE_CHECKING:
    from organism.models.contract import Request


class Index:
    """Tools that count what runs."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    async def search(self, query: str) -> str:
        """Looks things up."""
        self.ran.append(query)
        return f"found {query}"

    async def note(self, text: str) -> str:
        """Writes down."""
        self.ran.append(text)
        return "noted"


def calls(*queries: str) -> Says:
    return Says(calls=tuple(("search", {"query": each}) for each in queries))


def names(request: Request) -> list[str]:
    return [tool.name for tool in request.tools]


def refusal(text: str) -> Any:
    return json.loads(text)["HandlerFailed"]


async def asked(index: Index, model: ScriptedModel, times: int = 1, **agent: Any) -> None:
    """The desk is asked, ``times`` turns in one thread each."""
    async with running(handlers=desk(index.search, index.note, **agent), models=model.models()) as organism:
        for _ in range(times):
            assert await organism.ask("desk", Question("?")) == Answer("done")


async def test_of_calls_in_one_turn_the_first_run_and_the_others_are_told() -> None:
    index, model = Index(), ScriptedModel([calls("a", "b", "c", "d"), REPLY])
    await asked(index, model, tool_calls={"search": 2})
    first, second, *others = results(model.requests[1])
    assert sorted(index.ran) == ["a", "b"]
    assert (first, second) == ("found a", "found b")
    said = {"code": "refused", "text": "'search' may be called 2 times in a thread, and was", "retry": False}
    assert [refusal(each) for each in others] == [said, said]


async def test_a_tool_that_is_used_up_is_offered_no_more_and_never_runs_later() -> None:
    index, model = Index(), ScriptedModel([calls("a"), calls("b"), calls("c"), REPLY])
    await asked(index, model, tool_calls={"search": 1})
    assert names(model.requests[0]) == ["search", "note", "reply"]
    assert [names(each) for each in model.requests[1:]] == [["note", "reply"]] * 3
    assert index.ran == ["a"]
    told = results(model.requests[3])
    assert len(told) == 3
    assert "tool 'search' is not offered any more" in told[1]


async def test_the_default_is_for_each_tool_on_its_own_and_null_lifts_it() -> None:
    script = [calls("a", "b"), Says(calls=(("note", {"text": "x"}), ("note", {"text": "y"}))), REPLY]
    index, model = Index(), ScriptedModel(script)
    await asked(index, model, tool_calls={"default": 1, "note": None})
    assert sorted(index.ran) == ["a", "x", "y"]


async def test_where_only_the_reply_is_left_the_model_must_reply() -> None:
    index, model = Index(), ScriptedModel([calls("a"), REPLY])
    await asked(index, model, tool_calls={"search": 1, "note": 0})
    assert names(model.requests[0]) == ["search", "reply"]
    assert (names(model.requests[1]), model.requests[1].tool_choice) == (["reply"], "reply")


async def test_peers_count_as_tools_and_the_reply_does_not() -> None:
    model = ScriptedModel([Says(calls=(("librarian", {"text": "a"}), ("librarian", {"text": "b"}))), REPLY])
    handlers = desk(peers=("librarian",), tool_calls={"default": 1})
    async with running(handlers=handlers, models=model.models()) as organism:
        await organism.ask("desk", Question("?"))
    first, second = results(model.requests[1])
    assert first == '{"Answer": {"text": "about a"}}'
    assert refusal(second)["text"] == "'librarian' may be called once in a thread, and was"
    assert names(model.requests[1]) == ["reply"]


async def test_what_is_used_up_cannot_be_written_in_xml_either() -> None:
    index = Index()
    to = '<Question to="librarian"><text>a</text></Question>'
    model = ScriptedModel(
        [
            Says(text=f"{to} {to}", calls=(("search", {"query": "b"}),)),
            Says(text=to, calls=(("search", {"query": "c"}),)),
            Says(text="<Answer><text>done</text></Answer>"),
        ]
    )
    handlers = desk(index.search, peers=("librarian",), peers_as="xml", tool_calls={"default": 1})
    async with running(handlers=handlers, models=model.models()) as organism:
        assert await organism.ask("desk", Question("?")) == Answer("done")
    assert index.ran == ["b"]
    first, second, third = model.requests
    assert names(first) == ["search"]
    assert (names(second), second.tool_choice) == (["search"], "none")
    assert "about a" in str(second.messages[-2]["content"])
    assert "'librarian' may be called once in a thread, and was" in str(second.messages[-2]["content"])
    assert "reply" in str(second.messages[-1]["content"])
    assert "cannot be written any more" in str(third.messages)


async def test_a_model_that_writes_xml_is_told_whom_it_cannot_address_any_more() -> None:
    to = '<Question to="librarian"><text>a</text></Question>'
    model = ScriptedModel([Says(text=to), Says(text="<Answer><text>done</text></Answer>")])
    handlers = desk(Index().search, peers=("librarian",), peers_as="xml", tool_calls={"librarian": 1})
    async with running(handlers=handlers, models=model.models()) as organism:
        await organism.ask("desk", Question("?"))
    first, second = model.requests
    assert second.messages[0] == first.messages[0]
    assert second.messages[-1]["content"] == "You cannot address librarian any more."


async def test_what_is_asked_of_the_organism_does_not_count() -> None:
    model = ScriptedModel([Says(calls=(("organism_BudgetQuery", {}),)), REPLY])
    handlers = desk(peers=("organism",), tool_calls={"default": 0})
    async with running(handlers=handlers, models=model.models(), budget={"tokens": 50_000}) as organism:
        await organism.ask("desk", Question("?"))
    assert "organism_BudgetQuery" in names(model.requests[0])
    assert "BudgetReport" in results(model.requests[1])[0]


async def test_each_thread_counts_for_itself() -> None:
    index, model = Index(), ScriptedModel([calls("a"), REPLY, calls("b"), REPLY])
    await asked(index, model, times=2, tool_calls={"search": 1})
    assert index.ran == ["a", "b"]


async def boss(question: Question, ctx: Context) -> Reply[Answer]:
    """Asks the desk twice, in one thread."""
    await ctx.ask("desk", Question("1"))
    return Reply(await ctx.ask("desk", Question("2"), expect=Answer))


async def test_the_count_lasts_over_deliveries_of_one_thread() -> None:
    index, model = Index(), ScriptedModel([calls("a", "b"), REPLY, calls("c", "d"), REPLY])
    handlers = {
        **desk(index.search, index.note, tool_calls={"search": 3}),
        "boss": {"code": boss, "peers": ["desk"]},
    }
    async with running(handlers=handlers, models=model.models()) as organism:
        await organism.ask("boss", Question("?"))
    assert sorted(index.ran[:2]) == ["a", "b"]
    assert index.ran[2:] == ["c"]
    assert names(model.requests[3]) == ["note", "reply"]


async def test_each_turn_of_a_conversation_is_a_thread_that_counts_anew() -> None:
    index, model = Index(), ScriptedModel([calls("a", "b"), REPLY, calls("c", "d"), REPLY])
    async with running(handlers=desk(index.search, tool_calls={"search": 1}), models=model.models()) as organism:
        for _ in range(2):
            await organism.ask("desk", Question("?"), conversation="c")
    assert index.ran == ["a", "c"]


async def test_a_tool_that_is_gone_is_refused_and_its_calls_in_the_history_harm_nothing() -> None:
    index = Index()
    model = ScriptedModel([calls("a"), REPLY, calls("b"), REPLY])
    async with running(handlers=desk(index.search), models=model.models()) as organism:
        await organism.ask("desk", Question("?"), conversation="c")
    assert index.ran == ["a"]
    # What a conversation remembers of a tool is a message like any other.
    other = ScriptedModel([calls("b"), REPLY])
    async with running(handlers=desk(index.note), models=other.models()) as organism:
        await organism.ask("desk", Question("?"), conversation="c")
    assert "there is no tool 'search' now; tools: note, reply" in results(other.requests[1])[0]
    assert index.ran == ["a"]


async def long(size: int) -> str:
    """Says much."""
    if size < 0:
        raise Refused("x" * -size)
    return "y" * size


async def short(size: int) -> str:
    """Says less."""
    return "z" * size


async def test_a_long_result_is_cut_and_says_how_much() -> None:
    script = [Says(calls=(("long", {"size": 36864}), ("short", {"size": 100}), ("long", {"size": 16384}))), REPLY]
    model = ScriptedModel(script)
    output = {"per_tool": {"short": 10}}
    async with running(handlers=desk(long, short, tool_output=output), models=model.models()) as organism:
        await organism.ask("desk", Question("?"))
    first, second, third = results(model.requests[1])
    assert first == "y" * 16384 + "\n[cut: 20480 of 36864 bytes left out]"
    assert second == "z" * 10 + "\n[cut: 90 of 100 bytes left out]"
    assert third == "y" * 16384


async def test_replies_of_peers_and_failures_are_cut_too() -> None:
    script = [Says(calls=(("librarian", {"text": "a" * 500}), ("long", {"size": -500}))), REPLY]
    model = ScriptedModel(script)
    handlers = desk(long, peers=("librarian",), tool_output={"max_bytes": 100, "per_tool": {"librarian": 40}})
    async with running(handlers=handlers, models=model.models()) as organism:
        await organism.ask("desk", Question("?"))
    first, second = results(model.requests[1])
    assert first.startswith('{"Answer": {"text": "about aaaa')
    assert [len(each.partition("\n")[0]) for each in (first, second)] == [40, 100]


@pytest.mark.parametrize(
    ("text", "most", "kept"),
    [
        ("abc", 3, "abc"),
        ("abc", 2, "ab\n[cut: 1 of 3 bytes left out]"),
        ("é" * 3, 3, "é\n[cut: 4 of 6 bytes left out]"),
        ("日本", 2, "\n[cut: 6 of 6 bytes left out]"),
        ("ae\u0301b", 2, "a\n[cut: 4 of 5 bytes left out]"),  # an e and its accent
        ("x👩\u200d👧y", 8, "x\n[cut: 12 of 13 bytes left out]"),  # a family of two is one sign
        ("a" + "\u0301" * 40, 41, "a" + "\u0301" * 20 + "\n[cut: 40 of 81 bytes left out]"),  # nothing but marks
        ("", 1, ""),
    ],
)
def test_a_cut_splits_no_character(text: str, most: int, kept: str) -> None:
    assert cut(text, most) == kept
