"""What models were asked, as a server behind HTTP has seen it, is what the journal says and what a replay asks again."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import Context, Reply
from organism.journal import open_journal
from organism.journal.prompts import requests
from organism.organism import Organism
from organism.payloads import Vocabulary
from organism.pump import writer
from organism.replay import replay
from organism.works.vocabulary import payload_classes
from tests.crash.crash_world import Model
from tests.crash.fake_model import NOTICE, digest
from tests.hard.pump_world import code
from tests.replay.replay_world import Note, Task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from organism.record.facts import Fact
    from organism.results import Replayed

URL = "sqlite:organism.db"
RUN = "seen"


async def shelf(message: Task, ctx: Context) -> Reply[Note]:
    return Reply(Note(f"On the shelf: {message.text}. " * 20))


def documents_of(folder: Path, root: str) -> Sequence[Mapping[str, Any]]:
    """What the journal holds of a chain."""
    journal = open_journal(URL, folder=folder, readonly=True)
    try:
        return list(journal.documents(root))
    finally:
        journal.close()


def again(made: dict[str, Any], documents: Sequence[Mapping[str, Any]]) -> Replayed:
    """What a replay comes to."""
    settings = Organism(**made).settings
    return replay(documents, settings, Vocabulary(payload_classes(settings)), patience=0.001)


def check_seen(made: dict[str, Any], documents: Sequence[Mapping[str, Any]], seen: Counter[str]) -> None:
    """What the server has ``seen``, by digest, is what the journal says, and what a replay asks."""
    assert Counter(digest(list(prompt.messages)) for prompt in requests(documents).values()) == seen
    replayed = again(made, documents)
    assert (replayed.differences, replayed.unsure) == ((), ())
    assert replayed.calls == seen.total()


def keys(folder: Path, url: str) -> dict[str, Any]:
    agent = {
        "accepts": "tests.replay.replay_world:Task",
        "replies": "tests.replay.replay_world:Note",
        "max_output_tokens": 300,
    }
    told = {**agent, "prompt": "You are {{ name }}. {{ description }} It is {{ now }}."}
    backend = {"provider": "openai", "model": "fake-1", "base_url": url, "api_key_env": "SEEN_RUN"}
    return {
        "name": "seen",
        "folder": folder,
        "journal": URL,
        "budget": {"tokens": 40_000, "warn_at": {"tokens": [0.001, 0.005, 0.02]}},
        "models": {
            "default": {"max_output_tokens": 300, "backends": [{**backend, "price": {"input": 1, "output": 2}}]}
        },
        "handlers": {
            "desk": {"agent": told, "description": "Answers.", "peers": ["shelf", "reader"]},
            "reader": {"agent": agent, "description": "Reads.", "peers": ["shelf"], "budget": {"tokens": 10_000}},
            "shelf": code(shelf),
        },
    }


def test_the_server_the_journal_and_a_replay_agree_on_a_thread_that_was_warned_and_paused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEEN_RUN", RUN)
    with Model.running(tmp_path) as model:
        made = keys(tmp_path, model.url)
        held = 0

        async def work() -> None:
            async with Organism(**made) as organism:
                handle = await organism.send("desk", Task("What is there?"), id="t")

                def pause(fact: Fact) -> None:
                    nonlocal held
                    held += type(fact).__name__ == "CallSettled"
                    if held == 1:
                        handle.pause()

                stop = organism.subscribe(pause)
                await handle.result()
                stop()
                await anyio.sleep(0.01)
                handle.resume()
                assert (await handle.result()).replies

        anyio.run(work, backend="trio")
        seen = model.asked(RUN, name="whole")
    documents = documents_of(tmp_path, "t")
    kinds = Counter(each["fact"] for each in documents)
    assert kinds["Paused"]
    assert kinds["Noticed"]
    assert any(NOTICE in str(prompt.messages[-1]) for prompt in requests(documents).values())
    check_seen(made, documents, seen)


def test_the_server_the_journal_and_a_replay_agree_on_a_thread_that_was_cut_short_warned_and_paused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEEN_RUN", RUN)
    with Model.running(tmp_path) as model:
        made = keys(tmp_path, model.url)
        made["models"]["small"] = made["models"]["default"]
        made["models"]["default"] = {
            **made["models"]["default"],
            "backends": [{**made["models"]["default"]["backends"][0], "context_window": 1_500}],
        }
        for agent, compaction in (("desk", {"keep_turns": 1, "model": "small"}), ("reader", {"keep_turns": 1})):
            made["handlers"][agent]["agent"]["compaction"] = compaction
        held = 0

        async def work() -> None:
            async with Organism(**made) as organism:
                handle = await organism.send("desk", Task("What is there?"), id="t", conversation="c")

                def pause(fact: Fact) -> None:
                    nonlocal held
                    held += type(fact).__name__ == "Compacted"
                    if held == 1:
                        handle.pause()

                stop = organism.subscribe(pause)
                await handle.result()
                stop()
                await anyio.sleep(0.01)
                handle.resume()
                assert (await handle.result()).replies
                again = await organism.send("desk", Task("And what else?"), id="u", conversation="c")
                assert (await again.result()).replies

        anyio.run(work, backend="trio")
        seen = model.asked(RUN, name="whole")
    documents = documents_of(tmp_path, "conversation:c")
    kinds = Counter(each["fact"] for each in documents)
    assert kinds["Paused"]
    assert kinds["Noticed"]
    assert {each["cut"]["how"] for each in documents if each["fact"] == "Compacted"} >= {"cut", "model"}
    check_seen(made, documents, seen)


@pytest.mark.parametrize("fewest", [3, 1_000], ids=["many snapshots", "few"])
def test_the_server_the_journal_and_a_replay_agree_on_a_conversation_of_many_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fewest: int
) -> None:
    """Its turns are cut short, and some are paused where their process ends."""
    monkeypatch.setenv("SEEN_RUN", RUN)
    monkeypatch.setattr(writer, "_FEWEST", fewest)
    monkeypatch.setattr(writer, "_SHARE", 0)
    with Model.running(tmp_path) as model:
        made = keys(tmp_path, model.url)
        (backend,) = made["models"]["default"]["backends"]
        made["models"]["default"]["backends"] = [{**backend, "context_window": 4_000}]
        made["handlers"]["desk"]["agent"]["prompt"] = "You are {{ name }}. {{ description }}"
        for agent in ("desk", "reader"):
            made["handlers"][agent]["agent"]["compaction"] = {"keep_turns": 1}

        async def process(number: int) -> None:
            async with Organism(**made) as organism:
                for left in await organism.resume():
                    left.resume()
                    await left.result()
                handle = await organism.send("desk", Task(f"What is in {number}?"), id=f"t{number}", conversation="c")
                if number % 2:
                    organism.subscribe(lambda fact: handle.pause() if type(fact).__name__ == "Asked" else None)
                await handle.result()

        for number in range(4):
            anyio.run(process, number, backend="trio")
        seen = model.asked(RUN, name="whole")
    documents = documents_of(tmp_path, "conversation:c")
    kinds = Counter(each["fact"] for each in documents)
    assert kinds["Paused"]
    assert kinds["Compacted"]
    check_seen(made, documents, seen)


def test_other_words_of_a_warning_are_a_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEN_RUN", RUN)
    with Model.running(tmp_path) as model:
        made = keys(tmp_path, model.url)

        async def work() -> None:
            async with Organism(**made) as organism:
                await (await organism.send("desk", Task("What is there?"), id="t")).result()

        anyio.run(work, backend="trio")
    documents = documents_of(tmp_path, "t")
    (tmp_path / "warning.md").write_text("Other words.")
    made["handlers"]["desk"]["agent"]["notices"] = {"warning": "warning.md"}
    first = again(made, documents).differences[0]
    assert first.what == "a model was asked"
    assert NOTICE in first.recorded
    assert "Other words." in first.now
