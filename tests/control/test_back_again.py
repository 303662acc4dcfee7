"""Chains that were removed and come back, go on, and are removed again: whatever happens to them, what they spent counts once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from organism.journal import open_journal
from tests.control.test_pruning import ALL, URLS, made, prune
from tests.durable.turns_world import Say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CHAINS = ("conversation:c", "t")


def exported(folder: Path, url: str) -> dict[str, Sequence[Any]]:
    """The entries of every chain."""
    journal = open_journal(url, folder=folder, readonly=True)
    try:
        return {each.root: tuple(journal.documents(each.root)) for each in journal.chains()}
    finally:
        journal.close()


def imported(folder: Path, url: str, chains: dict[str, Sequence[Any]]) -> None:
    journal = open_journal(url, folder=folder)
    for root, documents in chains.items():
        journal.put(root, documents)
    journal.close()


def counted(folder: Path, url: str) -> tuple[int, int]:
    """Messages by the journal, and how many of them were of chains that are not there."""
    journal = open_journal(url, folder=folder, readonly=True)
    try:
        assert not journal.flaws()
        spent, removed = (sum(row.amounts[5] for row in rows) for rows in (journal.spendings(), journal.removed()))
        return spent, removed
    finally:
        journal.close()


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("together", [False, True])
async def test_what_comes_back_goes_on_and_goes_again_has_spent_once(
    tmp_path: Path, url: str, together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if together:  # one line of the index tells of all that were removed, from the next process on
        monkeypatch.setattr("organism.journal.folder_index._ENOUGH", -1000)
    async with made(tmp_path, url) as organism:
        await organism.ask("count", Say(), conversation="c")
        await (await organism.send("count", Say(), id="t")).result()
    kept = [exported(tmp_path, url)]
    assert set(kept[0]) == set(CHAINS)
    for turns in range(2, 5):
        async with made(tmp_path, url) as organism:
            assert (await prune(organism, until=ALL)).gone == 2
        async with made(tmp_path, url) as organism:
            assert organism.usage().messages == turns
        assert counted(tmp_path, url) == (turns, turns)
        imported(tmp_path, url, kept[-1])
        assert counted(tmp_path, url) == (turns, 0)
        async with made(tmp_path, url) as organism:
            assert organism.usage().messages == turns
            await organism.ask("count", Say(), conversation="c")
            assert organism.usage().messages == turns + 1
        assert counted(tmp_path, url) == (turns + 1, 0)
        kept.append(exported(tmp_path, url))


async def test_a_conversation_whose_removal_was_cut_short_goes_on_and_has_spent_once(tmp_path: Path) -> None:
    url, file = URLS[1], tmp_path / "journal" / "conversation_3ac.jsonl"
    async with made(tmp_path, url) as organism:
        await organism.ask("count", Say(), conversation="c")
    left = file.read_bytes()
    async with made(tmp_path, url) as organism:
        assert (await prune(organism, until=ALL)).gone == 1
    file.write_bytes(left)  # its process was killed before the file had gone
    async with made(tmp_path, url) as organism:
        await organism.ask("count", Say(), conversation="c")
        assert organism.usage().messages == 2
        assert (await prune(organism, until=ALL)).gone == 1
    assert counted(tmp_path, url) == (2, 2)
