"""What programs give that is nothing of the kind: it is said at once, by name and value, and nothing has happened then."""

from __future__ import annotations

from typing import Any, cast

import pytest

from organism import (
    ConfigurationError,
    Context,
    HandlerFailedError,
    ModelError,
    NotRunningError,
    Organism,
    Reply,
    UnexpectedReplyError,
    payload,
)
from organism.testing import Says, ScriptedModel, Watched, running


@payload
class Text:
    text: str


async def echo(message: Text, ctx: Context) -> Reply[Text]:
    """Says it again."""
    return Reply(message)


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"labels": ["arm"]}, r"labels are texts by name, as in \{'arm': 'blind'\}, not \['arm'\]"),
        ({"labels": {"arm": 1}}, "labels are texts by name, not 'arm': 1"),
        ({"accounts": "tenant"}, r"accounts are names by kind, as in \{'tenant': 'acme'\}, not 'tenant'"),
        ({"accounts": {"tenant": 1}}, "accounts are names by kind, not 'tenant': 1"),
    ],
)
async def test_labels_and_accounts_are_mappings_of_texts(keywords: Any, said: str) -> None:
    async with running(handlers={"echo": {"code": echo}}, accounts={"tenant": {"tokens": 5}}) as organism:
        with pytest.raises(TypeError, match=f"^{said}$"):
            await organism.send("echo", Text("x"), **keywords)
        assert organism.statistics().threads == 0


async def test_an_account_of_no_kind_is_told_of_those_that_there_are() -> None:
    accounts = {"tenant": {"tokens": 5}, "team:blue": {"tokens": 5}}
    async with running(handlers={"echo": {"code": echo}}, accounts=accounts) as organism:
        with pytest.raises(ConfigurationError, match=r"is configured; use 'team:blue' or 'tenant'$"):
            await organism.send("echo", Text("x"), accounts={"club": "chess"})


@pytest.mark.parametrize("of", ["subscribe", "meter", "overhear"])
async def test_a_callback_that_cannot_be_called_is_refused_at_once(of: str) -> None:
    async with running(handlers={"echo": {"code": echo}}) as organism:
        with pytest.raises(TypeError, match="a callback must be a function with one argument, not None"):
            getattr(organism, of)(None)
        assert await organism.ask("echo", Text("x")) == Text("x")


async def test_a_question_is_answered_or_refused() -> None:
    boss = {"description": "Decides.", "human": {"accepts": Text, "replies": Text}}
    async with running(handlers={"boss": boss}) as organism:
        thread = await organism.send("boss", Text("May I?"))
        assert (await thread.result()).outcome == "paused"
        (question,) = organism.inbox()
        with pytest.raises(TypeError, match=f"question {question.id} is answered or refused, and not both"):
            await organism.answer(question.id, Text("yes"), refuse="no")
        assert organism.inbox() == (question,)
        await organism.answer(question.id, Text("yes"))
        assert (await thread.result()).reply == Text("yes")


@pytest.mark.parametrize("timeout", ["5", float("nan"), [5]])
async def test_the_timeout_of_an_ask_is_a_number_and_nothing_is_asked_else(timeout: Any) -> None:
    async def asks(message: Text, ctx: Context) -> Reply[Text]:
        with pytest.raises((TypeError, ValueError), match="timeout must be a number of seconds, not "):
            await ctx.ask("echo", message, timeout=timeout)
        return Reply(Text(str(ctx.budget.messages.used)))

    handlers = {"asks": {"code": asks, "description": "Asks.", "peers": ["echo"]}, "echo": {"code": echo}}
    async with running(handlers=handlers) as organism:
        assert await organism.ask("asks", Text("x")) == Text("1")


@pytest.mark.parametrize("grace", ["5", float("nan"), None])
async def test_a_grace_time_is_a_number_and_the_organism_is_closed_all_the_same(grace: Any) -> None:
    async with running(handlers={"echo": {"code": echo}}) as organism:
        with pytest.raises((TypeError, ValueError), match="grace must be a number of seconds, not "):
            await organism.drain(grace)
        assert await organism.ask("echo", Text("x")) == Text("x")
        with pytest.raises((TypeError, ValueError), match="grace must be a number of seconds, not "):
            await organism.close(grace=grace)
        with pytest.raises(NotRunningError, match="does not run"):
            await organism.send("echo", Text("x"))


@payload
class Other:
    text: str


EITHER: Any = Text | Other
NEITHER: Any = Other | int


def messages(organism: Watched) -> int:
    """How many were delivered, in all threads."""
    used: Any = organism.usage()
    found: int = used.messages
    return found


@pytest.mark.parametrize("expect", ["Text", "", Text("x"), [Text]])
async def test_what_is_expected_is_a_class_and_nothing_is_asked_else(expect: Any) -> None:
    said = "^expect must be a payload class, or a union of them, not "

    async def asks(message: Text, ctx: Context) -> Reply[Text]:
        with pytest.raises(TypeError, match=said):
            await ctx.ask("echo", message, expect=expect)
        with pytest.raises(TypeError, match=said):
            await ctx.ask_all([("echo", message)], expect=expect)
        return Reply(await ctx.ask("echo", message, expect=EITHER))

    handlers = {"asks": {"code": asks, "description": "Asks.", "peers": ["echo"]}, "echo": {"code": echo}}
    async with running(handlers=handlers) as organism:
        with pytest.raises(TypeError, match=said):
            await organism.ask("echo", Text("x"), expect=expect)
        assert await organism.ask("asks", Text("x"), expect=EITHER) == Text("x")
        with pytest.raises(UnexpectedReplyError, match=r"expected .*Other \| int, got Text"):
            await organism.ask("echo", Text("x"), expect=NEITHER)
        assert messages(organism) == 3


@pytest.mark.parametrize("asks", [["echo", "echo"], ("echo", Text("x")), [("echo", Text("x")), ("echo",)], 5])
async def test_asks_are_pairs_and_nothing_is_asked_else(asks: Any) -> None:
    async def asking(message: Text, ctx: Context) -> Reply[Text]:
        with pytest.raises(TypeError, match=r"^ask_all takes a list of \(handler, payload\), not "):
            await ctx.ask_all(asks)
        return Reply(message)

    handlers = {"asks": {"code": asking, "description": "Asks.", "peers": ["echo"]}, "echo": {"code": echo}}
    async with running(handlers=handlers) as organism:
        await organism.ask("asks", Text("x"))
        with pytest.raises(TypeError, match=r"^send_all takes a list of \(handler, payload\), not "):
            await organism.send_all(asks)
        assert messages(organism) == 1


async def test_a_coroutine_in_place_of_what_it_gives_is_told_to_be_awaited() -> None:
    async def forgetful(message: Text, ctx: Context) -> Reply[Text]:
        asked: Any = ctx.ask("echo", message)
        try:
            return Reply(asked)
        finally:
            asked.close()

    handlers = {"asks": {"code": forgetful, "description": "Asks.", "peers": ["echo"]}, "echo": {"code": echo}}
    async with running(handlers=handlers) as organism:
        with pytest.raises(HandlerFailedError, match="coroutine is not a payload; write 'await' before what gives it"):
            await organism.ask("asks", Text("x"))


@pytest.mark.parametrize("script", ["Hello", ["Hello"], Says(text="Hello"), None])
def test_a_script_is_a_list_of_answers_or_a_function(script: Any) -> None:
    with pytest.raises(TypeError, match="a script is a list of Says, or a function from a request to one, not "):
        ScriptedModel(script)


async def test_a_script_that_gives_no_answer_is_told_so_where_the_model_is_asked() -> None:
    async def late(request: object) -> Says:
        return Says(text="too late")

    for script in (late, lambda _: "Hello"):
        model = ScriptedModel(cast("Any", script))
        async with running(models=model.models()) as organism, organism.thread() as thread:
            with pytest.raises(ModelError, match="a script gives Says, and is not an async function; this one gave"):
                await thread.complete("Say hello")


async def test_a_model_without_answers_says_so_when_it_is_called() -> None:
    model = ScriptedModel([])
    async with running(models=model.models()) as organism, organism.thread() as thread:
        with pytest.raises(ModelError, match="a model whose script has no answers was called"):
            await thread.complete("Say hello")


async def test_what_is_to_be_watched_is_made_so_that_it_can_be() -> None:
    plain: Any = Organism(name="test", handlers={"echo": echo})
    watched = Watched(name="test", handlers={"echo": echo})
    cases: list[tuple[Any, dict[str, Any]]] = [(plain, {}), (watched, {"seed": 7})]
    for organism, keys in cases:
        with pytest.raises(TypeError, match=r"an organism that is made as Watched\(...\) or Watched.load"):
            async with running(organism, **keys):
                pytest.fail("it ran")
