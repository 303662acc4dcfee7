"""What models are asked takes as much room where a process ends after each turn as where one makes all of them."""

from __future__ import annotations

from contextlib import closing
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from organism import Organism, payload
from organism.journal import open_journal
from organism.journal.prompts import prompts
from organism.kernel.prompts import note_prompt
from organism.record.images import Prompted

if TYPE_CHECKING:
    from pathlib import Path

TURNS = 12


@payload
class Said:
    text: str


DESK: dict[str, Any] = {"desk": {"agent": {"accepts": Said, "replies": Said}, "description": "Answers."}}


async def asked(folder: Path, *, restarts: bool) -> tuple[list[Any], int]:
    """The last prompt of a conversation, and how many messages stand in its chain."""
    left = [f"Turn {number}: {'on and on ' * 20}" for number in range(TURNS)]
    while left:
        async with Organism(name="test", handlers=DESK, journal="jsonl:j", folder=folder, seed=7) as organism:
            for text in left[: 1 if restarts else TURNS]:
                await (await organism.send("desk", Said(text), conversation="c")).result()
        left = left[1:] if restarts else []
    with closing(open_journal("jsonl:j", folder=folder, readonly=True)) as journal:
        documents = [*journal.documents("conversation:c")]
    written = sum(len(each["prompt"]["messages"]) for each in documents if each.get("prompt") is not None)
    return list(map(nameless, list(prompts(documents).values())[-1])), written


def nameless(message: dict[str, Any]) -> tuple[Any, ...]:
    """A message without the ids of calls: each process names them anew."""
    calls = [each["function"] for each in message.get("tool_calls", ())]
    return message["role"], message["content"], calls


async def test_a_restarted_process_writes_only_what_is_new_of_a_prompt(tmp_path: Path) -> None:
    for name in ("one", "many"):
        (tmp_path / name).mkdir()
    whole, due = await asked(tmp_path / "one", restarts=False)
    again, written = await asked(tmp_path / "many", restarts=True)
    assert again == whole
    assert (len(again), written) == (len(whole), due)


def test_a_prompt_that_goes_on_is_not_copied_for_each_turn() -> None:
    """A list for each took time with the square of the turns."""
    thread: Any = SimpleNamespace(asked=None)

    def note(turn: int, after: int | None, kept: int, *messages: Any) -> Any:
        hold: Any = SimpleNamespace(id=turn, thread=thread, handler="desk")
        note_prompt(hold, Prompted(after=after, kept=kept, messages=messages, asked=None))
        return thread.asked["desk"].prompt

    lists = [note(turn, turn - 1 or None, turn - 1, turn).messages for turn in range(1, TURNS)]
    assert all(each is lists[0] for each in lists)
    assert lists[0] == [*range(1, TURNS)]
    assert note(TURNS, TURNS - 1, 2, "cut").messages == [1, 2, "cut"]
    assert note(TURNS + 1, 3, 1) is None  # of one that nobody knows any more
