"""Handlers that were killed where what they may do, or read, was another thing before: what was answered and paid is asked for again by none."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import Context, Forward, HandlerFailedError, Reply, payload
from organism.payloads import Vocabulary
from organism.record.facts import CallCompleted, Diverged, Exhausted, Noticed
from organism.testing import Says, ScriptedModel
from tests.durable import mortal
from tests.durable.mortal import Scene, check_whole, every
from tests.hard.budget_world import Done, Task, agent, code, models, replies

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from organism.models.contract import Request
    from organism.record.facts import Fact


@payload
class Prices:
    """What things cost, in no order."""

    of: dict[str, int]


async def prices(task: Task, ctx: Context) -> Reply[Prices]:
    """Lists prices."""
    return Reply(Prices({"pears": 3, "apples": 2}))


async def peer(task: Task, ctx: Context) -> Reply[Done]:
    """Answers."""
    return Reply(Done("here"))


async def notes(task: Task, ctx: Context) -> Any:
    """Writes down what it is to say, and says it in its next delivery."""
    if task.text == "go":
        ctx.state["second"] = {"pears": 3, "apples": 2}
        ctx.state["first"] = True
        return Forward("boss", Task("again"))
    return Reply(Done((await ctx.complete(f"{list(ctx.state)}, {ctx.state['second']}", max_output_tokens=20)).text))


async def asleep(task: Task, ctx: Context) -> Reply[Done]:
    """Answers when nobody waits any more."""
    await anyio.sleep(9)
    return Reply(Done("late"))


async def hurried(task: Task, ctx: Context) -> Reply[Done]:
    """Says why it has no answer."""
    with pytest.raises(HandlerFailedError) as late:
        await ctx.ask("peer", task, timeout=2)
    return Reply(Done((await ctx.complete(late.value.text, max_output_tokens=20)).text))


def turns(request: Request) -> int:
    return sum(message["role"] == "assistant" for message in request.messages)


def by_tools(request: Request) -> Says:
    """Asks its peer as long as it may, three times at most."""
    asks = any(tool.name == "peer" for tool in request.tools) and turns(request) < 3
    return Says(calls=(("peer", Task(f"{turns(request)}")),), usage=(80, 10)) if asks else replies(usage=(80, 10))


def by_xml(request: Request) -> Says:
    """The same, in XML."""
    asks = "cannot address" not in str(request.messages[-2:]) and turns(request) < 3
    text = f'<Task to="peer"><text>{turns(request)}</text></Task>' if asks else "<Done><text>done</text></Done>"
    return Says(text=text, usage=(80, 10))


def says_back(request: Request) -> Says:
    """Says what it is told."""
    return Says(text=str(request.messages[-1]["content"]), usage=(80, 10))


def in_pieces(request: Request) -> Says:
    """Asks its peer once, and says what it has to say in three pieces."""
    if not turns(request):
        return by_tools(request)
    said = sum("cut for length" in str(message["content"]) for message in request.messages)
    return Says(text=f"piece {said}", finish_reason="length" if said < 2 else None, usage=(80, 10))


def scene_of(
    script: Callable[[Request], Says], budget: Mapping[str, Any], boss: Mapping[str, Any], asks: Any = peer
) -> Callable[[Path], Scene]:
    def made(path: Path) -> Scene:
        model = ScriptedModel(script)
        limits: dict[str, Any] = {"tokens": 100_000, "warn_at": [], "runway": 0, **budget}
        document: dict[str, Any] = {
            "handlers": {"boss": boss, "peer": code(asks)},
            "models": models(model),
            "budget": limits,
        }
        return Scene(path, model, document, [("one", "boss", Task("go"), {})])

    return made


BOSS = agent(peers=("peer",))
WARNED = {"warn_at": {"model_calls": [1, 2, 3, 4]}, "model_calls": 9}
SCENES: dict[str, Callable[[Path], Scene]] = {
    "messages run out between its turns": scene_of(by_tools, {"messages": 3}, BOSS),
    "a peer answers with a mapping": scene_of(by_tools, {}, BOSS, prices),
    "it is warned before what its turn ends with": scene_of(
        by_xml, WARNED, agent(peers=("peer",), peers_as="xml", tool_calls={"peer": 1})
    ),
    "it is warned before an answer in pieces": scene_of(in_pieces, WARNED, BOSS),
    "an ask of it times out": scene_of(says_back, {}, code(hurried, peers=("peer",)), asleep),
    "it goes through what it has written down": scene_of(says_back, {}, code(notes)),
}


def kinds(facts: list[Fact]) -> set[type[Fact]]:
    return {type(fact) for fact in facts}


@pytest.mark.parametrize("name", SCENES)
async def test_wherever_the_process_ends_what_was_paid_is_not_asked_for_again(
    tmp_path: Path, name: str, half: slice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mortal, "WORDS", Vocabulary([Task, Done, Prices]))
    whole = SCENES[name](tmp_path / "whole.db")
    facts = check_whole(await whole.play(), whole.path)
    said = whole.results["one"]
    assert said.reply is not None
    assert (Exhausted in kinds(facts)) == ("run out" in name)
    assert (Noticed in kinds(facts)) == ("warned" in name)
    for cut in range(1, len(facts))[half]:
        again = SCENES[name](tmp_path / f"{cut}.db")
        await again.play(cut)
        paid = every(again.path, CallCompleted)
        after = check_whole(await again.resume(), again.path)
        assert [fact for fact in after if isinstance(fact, Diverged)] == [], cut
        assert set(Counter(fact.key for fact in after if isinstance(fact, CallCompleted)).values()) == {1}, cut
        assert [fact for fact in after if isinstance(fact, CallCompleted)][: len(paid)] == paid, cut
        assert again.results["one"].reply == said.reply, cut
