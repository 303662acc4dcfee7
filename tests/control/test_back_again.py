"""Chains that were removed and come back, go on, and are removed again: whatever happens to them, what they spent counts once."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
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


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("together", [False, True])
async def test_an_older_copy_of_what_was_removed_has_spent_once(
    tmp_path: Path, url: str, together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if together:
        monkeypatch.setattr("organism.journal.folder_index._ENOUGH", -1000)
    kept: list[dict[str, Sequence[Any]]] = []
    for _ in range(3):
        async with made(tmp_path, url) as organism:
            await organism.ask("count", Say(), conversation="c")
        kept.append(exported(tmp_path, url))
    spent = 3

    async def removed() -> None:
        async with made(tmp_path, url) as organism:
            assert (await prune(organism, until=ALL)).gone == 1
        assert counted(tmp_path, url) == (spent, spent)

    async def gone_on() -> None:
        async with made(tmp_path, url) as organism:
            await organism.ask("count", Say(), conversation="c")
            assert organism.usage().messages == spent

    for turns in (1, 3, 2, 1):  # each comes back as it is, and goes again
        await removed()
        imported(tmp_path, url, kept[turns - 1])
        assert counted(tmp_path, url) == (spent, spent - turns), turns
    for turns in (2, 1, 3):  # and takes another course from there
        await removed()
        imported(tmp_path, url, kept[turns - 1])
        spent += 1
        await gone_on()
        assert counted(tmp_path, url) == (spent, spent - turns - 1), turns
        kept.append(exported(tmp_path, url))
    for turns, copy in ((4, kept[5]), (2, kept[4]), (3, kept[3]), (1, kept[0])):
        await removed()
        imported(tmp_path, url, copy)
        assert counted(tmp_path, url) == (spent, spent - turns), turns


@pytest.mark.by_turns
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("url", URLS)
async def test_copies_in_any_order_have_spent_once(
    tmp_path: Path, url: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(seed)
    spent, turns, done = 0, 0, list[str]()
    kept: list[tuple[int, dict[str, Sequence[Any]]]] = []
    for _ in range(25):
        monkeypatch.setattr("organism.journal.folder_index._ENOUGH", dice.choice([-1000, 1000, 1000]))
        if turns and dice.random() < 0.45:
            async with made(tmp_path, url) as organism:
                assert (await prune(organism, until=ALL)).gone == 1
            turns = 0
        elif kept and not turns and dice.random() < 0.8:
            turns, copy = dice.choice(kept)
            imported(tmp_path, url, copy)
        else:
            async with made(tmp_path, url) as organism:
                await organism.ask("count", Say(), conversation="c")
            spent, turns = spent + 1, turns + 1
            kept.append((turns, exported(tmp_path, url)))
        done.append(f"{turns} of {spent}")
        assert counted(tmp_path, url) == (spent, spent - turns), done


@pytest.mark.parametrize("url", URLS)
async def test_what_grew_elsewhere_since_it_was_removed_brings_only_what_is_new(tmp_path: Path, url: str) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    async with made(here, url) as organism:
        await organism.ask("count", Say(), conversation="c")
    imported(there, url, exported(here, url))
    async with made(here, url) as organism:
        assert (await prune(organism, until=ALL)).gone == 1
    async with made(there, url) as organism:
        await organism.ask("count", Say(), conversation="c")
    imported(here, url, exported(there, url))
    assert counted(here, url) == (2, 0)


@pytest.mark.parametrize("url", URLS)
async def test_what_is_damaged_before_its_last_turn_is_removed_all_the_same(tmp_path: Path, url: str) -> None:
    for _ in range(2):
        async with made(tmp_path, url) as organism:
            await organism.ask("count", Say("x" * 20), conversation="c")
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(tmp_path / "organism.db")) as db:
            db.execute("UPDATE entries SET body = replace(CAST(body AS TEXT), 'xxxxx', 'xxxxy') WHERE n = 1")
            db.commit()
    else:
        (file,) = (tmp_path / "journal").glob("conv*.jsonl")
        first, rest = file.read_bytes().split(b"\n", 1)
        file.write_bytes(first.replace(b"xxxxx", b"xxxxy") + b"\n" + rest)
    with closing(open_journal(url, folder=tmp_path)) as journal:
        journal.remove("conversation:c")
        assert journal.chains() == ()
