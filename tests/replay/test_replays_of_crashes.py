"""Threads whose process was killed at every place of their record in turn: what another one made of them is replayed as it was."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest
import trio.testing
from attrs import evolve

from organism import Usage
from organism.hooks import CallEvent, Change, Skip
from organism.journal import open_journal
from organism.models.completion import Completion
from organism.models.contract import ToolCall
from organism.payloads import Vocabulary
from organism.replay import replay
from organism.testing import Says, ScriptedModel
from tests.durable.mortal import Scene
from tests.hard.budget_world import Done, Task, agent, asks, models, replies
from tests.hard.time_of_day import set_clock
from tests.replay.replay_world import late

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from organism import Context
    from organism.models.contract import Request

WORDS: Final = Vocabulary([Task, Done])


def working(request: Request) -> Says:
    """Asks its helper until nothing but a reply is offered."""
    if "for helper" in str(request.messages[1]["content"]):
        return replies("helped", usage=(20, 5), seconds=1)
    if all(tool.name == "reply" for tool in request.tools):
        return replies("what there is", usage=(300, 20), seconds=1)
    return asks("helper", text="think", usage=(900, 100), seconds=1)


def scene(path: Path, hooks: Mapping[str, Any], **limits: Any) -> Scene:
    said = ScriptedModel(working)
    document: dict[str, Any] = {
        "handlers": {"boss": agent(peers=("helper",)), "helper": agent(budget={"messages": 5})},
        "models": models(said),
        "budget": limits or {"tokens": 4000, "grace": {"share": 0.3}},
        "hooks": hooks,
    }
    return Scene(path, said, document, [("one", "boss", Task("go"), {})])


_CALL: Final = ToolCall(id="first", name="helper", arguments='{"text": "for helper"}')
_FUNCTION: Final = {"name": _CALL.name, "arguments": _CALL.arguments}
BEGINS: Final = Completion(
    text="", message={"role": "assistant", "content": "", "tool_calls": [{"id": _CALL.id, "type": "function", "function": _FUNCTION}]},
    model="scripted", backend="hook", usage=Usage(), cost_usd=Decimal(0), tool_calls=(_CALL,), finish_reason="tool_calls",
)  # fmt: skip
"""What the hook says in place of the first turn."""


def heeds(event: CallEvent, ctx: Context) -> Change | Skip | None:
    """Looks at the last message, as hooks do; which may tell of a budget."""
    del ctx
    *before, last = event.call.messages
    text = str(last["content"])
    if "Budget notice" in text and "last call" not in text:
        return Change(evolve(event.call, messages=(*before, {**last, "content": f"{text}!"})))
    if "for helper" in text:
        return Skip("helped by a hook")
    return Skip(BEGINS) if len(before) == 1 else None


HOOKS: Final[Mapping[str, Mapping[str, Any]]] = {"plain": {}, "hooked": {"before_model_call": [heeds]}}


@pytest.mark.parametrize(
    ("name", "first", "limits"), [("plain", 1, {}), ("hooked", 2, {}), ("plain", 22, {"messages": 3})]
)
def test_what_came_of_a_thread_that_was_killed_anywhere_is_replayed(
    name: str, first: int, limits: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them at every other place."""
    day = set_clock(monkeypatch)

    def process(work: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        day.ahead += 1000
        virtual = {"clock": trio.testing.MockClock(autojump_threshold=0.0)}
        return anyio.run(work, *args, backend="trio", backend_options=virtual)

    whole = scene(tmp_path / "whole", HOOKS[name], **limits)
    written = process(whole.play).written
    assert whole.results["one"].outcome == "exhausted"
    for cut in range(first, written, 2):
        killed = scene(tmp_path / f"cut-{cut}", HOOKS[name], **limits)
        process(killed.play, cut)
        process(killed.resume)
        journal = open_journal(f"sqlite:{killed.path}", vocabulary=WORDS, readonly=True)
        entries = list(journal.documents("one"))
        journal.close()
        settings = killed.organism().settings
        assert not replay(entries, settings, WORDS, patience=0.001).differences, f"cut at {cut} of {written}"
        assert not late(entries, settings, WORDS), f"cut at {cut} of {written}"
