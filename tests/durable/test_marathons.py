"""Conversations that last: a nudge at each level, once, to the agent in its very next prompt; then one end or one rotation, and a last
answer. All of it over any number of processes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import BudgetExhaustedError, Context, Reply
from organism.record.facts import ConversationOpened, WarningRaised
from organism.testing import Says, ScriptedModel, running
from tests.durable.turns_world import Heard, Say, check_record, code, conversation_of, killed, sqlite, turn
from tests.hard.budget_world import notices, said_to

if TYPE_CHECKING:
    from pathlib import Path

    from organism.models.contract import Request
    from organism.testing import Watched


def agent(*peers: str, **keys: Any) -> dict[str, Any]:
    """An agent that talks. ``budget`` and ``per`` are the handler's keys."""
    own: dict[str, Any] = {key: keys.pop(key) for key in ("budget", "per") if key in keys}
    settings = {"accepts": Say, "replies": Heard, "prompt": "You talk.", "max_output_tokens": 50, **keys}
    return {"agent": settings, "description": "Talks.", "peers": list(peers), **own}


async def echo(say: Say, ctx: Context) -> Reply[Heard]:
    """Says it again."""
    return Reply(Heard(say.text))


def replies(text: str = "x") -> Says:
    return Says(calls=(("reply", Heard(text)),), usage=(10, 10))


def asks(*peers: str, also: tuple[Any, ...] = ()) -> Says:
    return Says(calls=(*((peer, Say("?")) for peer in peers), *also), usage=(10, 10))


def levels(organism: Watched) -> list[tuple[str, str, str]]:
    """The levels of conversations that were crossed, in order."""
    raised = [step for fact in organism.watch.facts for step in fact.steps if isinstance(step, WarningRaised)]
    return [(each.unit, each.level, str(each.threshold)) for each in raised if each.scope == "conversation"]


def told(requests: list[Request]) -> list[list[str]]:
    """The notices of each prompt."""
    return [notices(request) for request in requests]


# The nudge


@pytest.mark.by_turns
async def test_absolute_levels_of_a_conversation_nudge_once_each_over_processes(tmp_path: Path) -> None:
    model = ScriptedModel([replies()])
    limits = {"messages": 40, "warn_at": {"messages": [10, 20, 0.9]}}
    document: dict[str, Any] = {"handlers": {"talker": agent()}, "models": model.models(), "conversation": limits}
    crossed: list[tuple[str, str, str]] = []
    heard: list[int] = []
    for process in range(8):
        async with running(sqlite(tmp_path, **document), check=not process) as organism:
            for number in range(process * 5 + 1, process * 5 + 6):
                asked = len(model.requests)
                assert (await turn(organism, "talker")).outcome == "completed"
                (prompt,) = model.requests[asked:]
                heard += [number] * len(notices(prompt))
            crossed += levels(organism)
            await check_record(organism)
    assert crossed == [("messages", "warning", "10"), ("messages", "critical", "20"), ("messages", "final", "0.9")]
    # The message that brings a turn crosses the level, and the prompt that answers it tells of it.
    assert heard == [10, 20, 36]


async def test_the_nudge_is_in_the_very_next_prompt() -> None:
    model = ScriptedModel([asks("echo"), asks("echo"), replies()])
    limits = {"messages": 100, "warn_at": {"messages": [3]}}
    handlers = {"talker": agent("echo"), "echo": code(echo)}
    async with running(handlers=handlers, models=model.models(), conversation=limits) as organism:
        assert (await turn(organism, "talker")).outcome == "completed"
        assert [len(each) for each in told(model.requests)] == [0, 0, 1]
        (notice,) = notices(model.requests[2])
        assert "3 of 100 messages are used; 97 messages of the conversation are left" in notice


async def test_the_agent_hears_what_code_crossed_that_takes_no_warnings(tmp_path: Path) -> None:
    """The agent's peer is code that asks another: its message is the one that comes to the level."""

    async def librarian(say: Say, ctx: Context) -> Reply[Heard]:
        return Reply(await ctx.ask("echo", say, expect=Heard))

    model = ScriptedModel([asks("librarian"), replies()])
    handlers = {"talker": agent("librarian"), "librarian": code(librarian, "echo"), "echo": code(echo)}
    limits = {"messages": 100, "warn_at": {"messages": [3]}}
    document: dict[str, Any] = {"handlers": handlers, "models": model.models(), "conversation": limits}
    async with running(sqlite(tmp_path, **document)) as organism:
        result = await turn(organism, "talker")
        assert result.outcome == "completed"
        assert [(warned.scope, warned.used) for warned in result.warnings] == [("conversation", 3)]
        await check_record(organism)
    assert [len(each) for each in told(model.requests)] == [0, 1]


async def test_a_level_that_the_last_message_of_a_turn_crossed_is_told_in_the_next_turn(tmp_path: Path) -> None:
    """The call and the reply come in one turn of the model: no prompt of this turn can tell of it. The process ends in between."""
    both = asks("echo", also=(("reply", Heard("both")),))
    model = ScriptedModel([both, replies(), replies()])
    limits = {"messages": 100, "warn_at": {"messages": [2]}}
    handlers = {"talker": agent("echo"), "echo": code(echo)}
    document: dict[str, Any] = {"handlers": handlers, "models": model.models(), "conversation": limits}
    async with running(sqlite(tmp_path, **document)) as organism:
        first = await turn(organism, "talker")
        assert [(row["level"], row["used"], row["to"]) for row in first.as_json()["warnings"]] == [("final", 2, None)]
        await check_record(organism)
    async with running(sqlite(tmp_path, **document), check=False) as organism:
        for _ in range(2):
            assert (await turn(organism, "talker")).outcome == "completed"
            await check_record(organism)
    assert [len(each) for each in told(model.requests)] == [0, 1, 0]
    assert "3 of 100 messages are used" in notices(model.requests[1])[0]


async def test_a_turn_that_waits_for_its_turn_keeps_what_it_is_to_hear() -> None:
    """The message of the second turn crosses the level while the first still runs."""
    model = ScriptedModel([Says(calls=(("reply", Heard("x")),), usage=(10, 10), seconds=5)])
    limits = {"messages": 100, "warn_at": {"messages": [2, 3]}}
    async with running(handlers={"talker": agent()}, models=model.models(), conversation=limits) as organism:
        handles = [await organism.send("talker", Say(str(n)), conversation="c") for n in range(4)]
        results = [await handle.result() for handle in handles]
        assert {result.outcome for result in results} == {"completed"}
        assert [len(each) for each in told(model.requests)] == [0, 1, 1, 0]
        rows = [(row["threshold"], row["to"]) for result in results for row in result.as_json()["warnings"]]
        assert rows == [(2, "talker"), (3, "talker")]


async def test_what_was_not_heard_and_what_came_meanwhile_are_told_together() -> None:
    """The first turn ends with a level unheard, the second has crossed another by coming in."""
    both = asks("echo", also=(("reply", Heard("both")),))

    def script(request: Request) -> Says:
        return both if len(request.messages) == 2 else replies()

    model = ScriptedModel(script)
    limits = {"messages": 100, "warn_at": {"messages": [2, 3]}}
    handlers = {"talker": agent("echo"), "echo": code(slow_echo)}
    async with running(handlers=handlers, models=model.models(), conversation=limits) as organism:
        handles = [await organism.send("talker", Say(str(n)), conversation="c") for n in range(2)]
        for handle in handles:
            assert (await handle.result()).outcome == "completed"
        assert [len(each) for each in told(model.requests)] == [0, 1]
        assert levels(organism) == [("messages", "warning", "2"), ("messages", "final", "3")]
        (notice,) = notices(model.requests[1])
        assert notice.startswith("Budget notice: final.")


async def slow_echo(say: Say, ctx: Context) -> Reply[Heard]:
    """Says it again, later."""
    await anyio.sleep(1)
    return Reply(Heard(say.text))


@pytest.mark.parametrize("per", ["call", "thread"])
async def test_an_agent_in_a_sub_thread_hears_in_its_next_one(tmp_path: Path, per: str) -> None:
    """A code handler takes the turns and has an agent with a budget of its own answer them."""

    async def front(say: Say, ctx: Context) -> Reply[Heard]:
        return Reply(await ctx.ask("talker", say, expect=Heard))

    both = asks("echo", also=(("reply", Heard("both")),))
    model = ScriptedModel([both, replies(), replies()])
    handlers = {
        "front": code(front, "talker"),
        "talker": agent("echo", budget={"tokens": 100_000}, per=per),
        "echo": code(echo),
    }
    limits = {"messages": 100, "warn_at": {"messages": [3]}}
    document: dict[str, Any] = {"handlers": handlers, "models": model.models(), "conversation": limits}
    for process in range(3):
        async with running(sqlite(tmp_path, **document), check=not process) as organism:
            assert (await turn(organism, "front")).outcome == "completed"
            await check_record(organism)
    assert [len(each) for each in told(model.requests)] == [0, 1, 0]


async def test_a_nudge_is_not_lost_when_the_process_is_killed_before_the_prompt(tmp_path: Path) -> None:
    hangs = {"seconds": 1000.0}

    async def stuck(say: Say, ctx: Context) -> Reply[Heard]:
        await anyio.sleep(hangs["seconds"])
        return Reply(Heard(say.text))

    model = ScriptedModel([asks("stuck"), replies()])
    handlers = {"talker": agent("stuck"), "stuck": code(stuck, timeout=None)}
    limits = {"messages": 100, "warn_at": {"messages": [2]}}
    document: dict[str, Any] = {"handlers": handlers, "models": model.models(), "conversation": limits}
    home = tmp_path / "home"
    async with running(sqlite(home, **document)) as organism:
        await organism.send("talker", Say(), conversation="c")
        await anyio.sleep(10)
        left = killed(home, "left")
    hangs["seconds"] = 0.0
    async with running(sqlite(left, **document), check=False) as organism:
        (handle,) = await organism.resume()
        result = await handle.result()
        assert result.outcome == "completed"
        assert [(warned.level, warned.to) for warned in result.warnings] == [("final", "talker")]
        assert levels(organism) == []  # it is not crossed again
        await check_record(organism)
    assert [len(each) for each in told(model.requests)] == [0, 1]


# The cap


@pytest.mark.parametrize("on_cap", ["end", "rotate"])
async def test_the_turn_at_the_cap_hands_in_a_last_answer(tmp_path: Path, on_cap: str) -> None:
    """Hard case 16: the cap and its levels come together. The cap acts, the levels are recorded, and the turn still answers."""

    def script(request: Request) -> Says:
        refused = any("HandlerFailed" in text for text in said_to(request)[2:])
        return replies("what I have") if refused else asks("echo", "echo")

    model = ScriptedModel(script)
    handlers = {"talker": agent("echo"), "echo": code(echo)}
    document: dict[str, Any] = {
        "handlers": handlers, "models": model.models(), "conversation": {"messages": 2, "on_cap": on_cap}
    }  # fmt: skip
    async with running(sqlite(tmp_path, **document)) as organism:
        capped = await turn(organism, "talker")
        assert (capped.outcome, capped.unit, capped.reply) == ("exhausted", "messages", Heard("what I have"))
        assert [level for _, level, _ in levels(organism)] == ["warning", "critical", "final"]
        assert {warned.to for warned in capped.warnings} == {"talker"}
        (notice,) = notices(model.requests[-1])
        assert "2 of 2 messages are used; 0 messages of the conversation are left" in notice
        await check_record(organism)
    async with running(sqlite(tmp_path, **document), check=False) as organism:
        if on_cap == "end":
            with pytest.raises(BudgetExhaustedError, match="messages of the conversation"):
                await turn(organism, "talker")
        else:
            following = await turn(organism, "talker")
            assert (following.outcome, following.conversation) == ("exhausted", "c~2")
            assert "The conversation so far" in said_to(model.requests[-2])[1]
            # Of the old one's levels nothing is told in the fresh one: its own are.
            assert [len(each) for each in told(model.requests[-2:])] == [0, 1]


async def test_an_agent_that_never_comes_to_an_end_is_asked_for_a_last_answer_at_the_cap() -> None:
    """It goes on calling when nothing can be called any more; its last call offers nothing but the reply."""

    def script(request: Request) -> Says:
        return replies("at last") if len(request.tools) == 1 else asks("echo")

    model = ScriptedModel(script)
    handlers = {"talker": agent("echo"), "echo": code(echo)}
    async with running(handlers=handlers, models=model.models(), conversation={"messages": 3}) as organism:
        result = await turn(organism, "talker")
        assert (result.outcome, result.reply) == ("exhausted", Heard("at last"))
        assert result.usage.messages == 3
        # Right after the first call that was refused, and not when its turns are over.
        assert [len(request.tools) for request in model.requests] == [2, 2, 2, 1]


@pytest.mark.by_turns
async def test_a_conversation_that_an_agent_and_four_processes_keep_up_rotates_once(tmp_path: Path) -> None:
    """As hard case 41, with an agent: each level is told once, in the prompt of the turn that crossed it."""
    model = ScriptedModel([replies()])
    limits = {"messages": 250, "on_cap": "rotate", "warn_at": {"messages": [50, 0.9]}}
    document: dict[str, Any] = {
        "handlers": {"counter": code(front), "talker": agent()}, "models": model.models(), "conversation": limits,
        "budget": {"runway": 0},
    }  # fmt: skip
    heard: list[tuple[str, int]] = []
    names: list[str | None] = []
    opened: list[str] = []
    number, used = 0, 0
    for process in range(4):
        async with running(sqlite(tmp_path, **document), check=not process) as organism:
            for _ in range(75):
                number += 1
                # Most turns are short ones of code: an agent's prompts grow with each of its own.
                to = "talker" if number in {1, 49, 50, 51, 224, 225, 226, 249, 250, 251, 300} else "counter"
                asked = len(model.requests)
                result = await turn(organism, to)
                assert result.outcome == "completed"
                names.append(result.conversation)
                heard += [(text, number) for request in model.requests[asked:] for text in notices(request)]
            opened += [
                step.conversation
                for fact in organism.watch.facts
                for step in fact.steps
                if isinstance(step, ConversationOpened)
            ]
            await check_record(organism, names[-1] or "")
            used = conversation_of(organism, names[-1] or "").node.used[5]
    assert [(text.split(". ")[0], at) for text, at in heard] == [
        ("Budget notice: warning", 50),
        ("Budget notice: final", 225),
        ("Budget notice: warning", 300),
    ]
    assert names == ["c"] * 250 + ["c~2"] * 50
    assert opened == ["c", "c~2"]
    assert used == 50


async def front(say: Say, ctx: Context) -> Reply[Heard]:
    """Answers at once."""
    return Reply(Heard(say.text))
