"""What models are asked takes as much room where a process ends after each turn as where one makes all of them."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from organism import Organism, payload
from organism.journal import open_journal
from organism.journal.prompts import prompts

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
