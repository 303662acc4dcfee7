"""What models are asked takes as much room where a process ends after each turn as where one makes all of them."""

from __future__ import annotations

from contextlib import closing
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from organism import Context, Organism, Reply, payload
from organism.journal import open_journal
from organism.journal.prompts import prompts
from organism.kernel.prompts import Name, note_prompt
from organism.pump import writer
from organism.record.images import Prompted
from tests.hard.pump_world import code

if TYPE_CHECKING:
    from pathlib import Path

TURNS = 12
BUDGET = {"tokens": 8_000, "warn_at": [0.25, 0.5, 0.75]}
"""Of each turn: an agent is told what is left, behind what it remembers."""


@payload
class Said:
    text: str


HISTORY: list[dict[str, Any]] = []
"""What the keeper remembers, outside of the organism."""


async def keeper(message: Said, ctx: Context) -> Reply[Said]:
    """Sends all that it was ever told, and remembers none of it in the organism."""
    HISTORY.append({"role": "user", "content": message.text})
    await ctx.complete(HISTORY)
    return Reply(message)


HANDLERS: dict[str, Any] = {
    "desk": {"agent": {"accepts": Said, "replies": Said}, "description": "Answers."},
    "keeper": code(keeper),
}


async def asked(folder: Path, to: str, *, restarts: bool) -> tuple[list[list[Any]], int]:
    """The prompts of a conversation, and how many messages stand in its chain."""
    HISTORY.clear()
    left = [f"Turn {number}: {'on and on ' * 20}" for number in range(TURNS)]
    while left:
        async with Organism(
            name="test", handlers=HANDLERS, journal="jsonl:j", folder=folder, seed=7, budget=BUDGET
        ) as organism:
            for text in left[: 1 if restarts else TURNS]:
                await (await organism.send(to, Said(text), conversation="c")).result()
        left = left[1:] if restarts else []
    with closing(open_journal("jsonl:j", folder=folder, readonly=True)) as journal:
        documents = [*journal.documents("conversation:c")]
    written = sum(len(each["prompt"]["messages"]) for each in documents if each.get("prompt") is not None)
    return [list(map(nameless, each)) for each in prompts(documents).values()], written


def nameless(message: dict[str, Any]) -> tuple[Any, ...]:
    """A message without the ids of calls: each process names them anew."""
    calls = [each["function"] for each in message.get("tool_calls", ())]
    return message["role"], message["content"], calls


@pytest.mark.parametrize("to", ["desk", "keeper"])
@pytest.mark.parametrize("entries", [1, 8, 256])
@pytest.mark.by_turns
async def test_a_restarted_process_writes_only_what_is_new_of_a_prompt(
    to: str, entries: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the prompts of before stand before a snapshot, which is taken after so many entries."""
    monkeypatch.setattr(writer, "_FEWEST", entries)
    for name in ("one", "many"):
        (tmp_path / name).mkdir()
    whole, due = await asked(tmp_path / "one", to, restarts=False)
    again, written = await asked(tmp_path / "many", to, restarts=True)
    assert again == whole
    assert (len(again[-1]), written) == (len(whole[-1]), due)


def test_a_prompt_that_goes_on_is_not_copied_for_each_turn() -> None:
    """A list for each took time with the square of the turns."""
    thread: Any = SimpleNamespace(asked=None)

    def note(turn: int, after: int | None, kept: int, *messages: Any) -> Any:
        hold: Any = SimpleNamespace(id=turn, thread=thread, handler="desk")
        note_prompt(hold, "k", Prompted(after=after, kept=kept, messages=messages, asked=None))
        return thread.asked["desk"].prompt

    lists = [note(turn, turn - 1 or None, turn - 1, turn).messages for turn in range(1, TURNS)]
    assert all(each is lists[0] for each in lists)
    assert lists[0] == [*range(1, TURNS)]
    assert note(TURNS, TURNS - 1, 2, "cut").messages == [1, 2, "cut"]
    unknown = note(TURNS + 1, 3, 1, "new")  # of one whose messages nobody knows any more
    assert (type(unknown), unknown.count) == (Name, 2)
