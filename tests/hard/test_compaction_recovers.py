"""Compaction over the end of a process: what was cut is cut again in the same way, and no summary is paid twice."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio.testing
from attrs import evolve

from organism import Context, Reply
from organism.journal import open_journal
from organism.journal.codec import content, decode
from organism.kernel.comparable import comparable
from organism.kernel.imaging import image_of
from organism.kernel.index import Index
from organism.kernel.restoring import restore
from organism.kernel.state import State
from organism.models.contract import BackendError
from organism.payloads import Vocabulary
from organism.record.facts import CallCompleted, CallHeld, Compacted, Diverged, Fact, Snapshot, WarningRaised
from organism.replay import replay
from organism.testing import Says, ScriptedModel, differences, running
from organism.threads.routing import routes
from organism.works.vocabulary import payload_classes
from tests.agent.compaction_world import kept
from tests.durable.inline import Inline
from tests.durable.mortal import Scene, check_whole, every
from tests.hard.budget_world import Done, Task
from tests.hard.pump_world import Go, Said

if TYPE_CHECKING:
    from pathlib import Path

    from organism.models.contract import Request

PAGES = 10
WINDOW = 1_500
TAKES = 650
"""What the model really takes."""


async def shelf(message: Go, ctx: Context) -> Reply[Said]:
    """Has pages."""
    return Reply(Said(f"Page {message.n}: " + f"line of page {message.n}. " * 12))


def denser(request: Request) -> Says:
    """The same, for a model that makes a token of each character: in another process that is not known yet."""
    said = reads(request)
    return said if said.error else evolve(said, usage=(sum(len(str(message)) for message in request.messages), 20))


def reads(request: Request) -> Says:
    """Asks for page after page; sums up where no tools are offered. What it says depends on the request alone."""
    size = sum(len(str(message)) for message in request.messages) // 4
    if size > TAKES:
        return Says(error=BackendError("context", f"{size} tokens are too many"))
    if not request.tools:
        return Says(text=f"Notes of {len(str(request.messages))} characters.", usage=(size, 20), seconds=1)
    found = re.search(r"Page (\d+):", str(request.messages[-1]["content"]))
    page = int(found[1]) if found else 0
    call = ("reply", Done(f"read {page}")) if page >= PAGES else ("shelf", Go("", page + 1))
    return Says(calls=(call,), usage=(size, 20), seconds=1, call_id=f"call_{page + 1}")


def document(model: ScriptedModel, *, window: int | None, summing: str | None) -> dict[str, Any]:
    known = {} if window is None else {"context_window": window}
    agent = {
        "accepts": Task,
        "replies": Done,
        "max_turns": 100,
        "max_output_tokens": 100,
        "compaction": {"model": summing, "keep_turns": 1},
        "prune": {"protect_turns": 2, "min_tokens": 60},
    }
    return {
        "models": model.models(**known),
        "handlers": {
            "reader": {"agent": agent, "description": "Reads.", "peers": ["shelf"]},
            "shelf": {"code": shelf, "description": "Has pages."},
        },
    }


def scene(path: Path, *, window: int | None = WINDOW, summing: str | None = "default", script: Any = reads) -> Scene:
    path.mkdir()
    model = ScriptedModel(script)
    return Scene(
        path / "j.db", model, document(model, window=window, summing=summing), [("t", "reader", Task("Read."), {})]
    )


def places(facts: list[Fact]) -> list[int]:
    """After how many facts the process is to end: all around what is cut short, and here and there."""
    near = [number for number, fact in enumerate(facts) if isinstance(fact, Compacted)][:3]
    near += [number for number, fact in enumerate(facts) if "compaction" in getattr(fact, "tags", ())][:4]
    found = {number + off for number in near for off in (-1, 0, 1, 2)} | {len(facts) // 2, len(facts) - 3}
    return sorted(number for number in found if 0 < number < len(facts))


@pytest.mark.parametrize(("window", "summing"), [(WINDOW, "default"), (WINDOW, None), (None, None), (None, "default")])
async def test_wherever_the_process_ends_the_history_goes_on_as_it_was_cut(
    tmp_path: Path, window: int | None, summing: str | None, half: slice
) -> None:
    whole = scene(tmp_path / "whole", window=window, summing=summing)
    await whole.play()
    assert whole.results["t"].reply == Done(f"read {PAGES}")
    facts: list[Fact] = every(whole.path, Fact)
    made = [fact for fact in facts if isinstance(fact, Compacted)]
    assert {fact.cut.how for fact in made} >= {"prune", "recap" if summing is None else "model"}
    for cut in places(facts)[half]:
        again = scene(tmp_path / f"{cut}", window=window, summing=summing)
        await again.play(cut)
        organism = await again.resume()
        assert again.results["t"].reply == Done(f"read {PAGES}"), cut
        after = check_whole(organism, again.path)
        assert [fact for fact in after if isinstance(fact, Diverged)] == [], cut
        completed = Counter((fact.seq, fact.key) for fact in after if isinstance(fact, CallCompleted))
        assert set(completed.values()) == {1}, cut
        keys = Counter(fact.key for fact in after if isinstance(fact, Compacted))
        assert set(keys.values()) == {1}, cut


async def test_a_summary_that_was_paid_and_not_yet_used_is_not_paid_again(tmp_path: Path) -> None:
    whole = scene(tmp_path / "whole", window=4_000, script=denser)
    await whole.play()
    facts: list[Fact] = every(whole.path, Fact)
    paid = [number for number, fact in enumerate(facts, 1) if isinstance(fact, CallCompleted) and fact.tags]
    again = scene(tmp_path / "again", window=4_000, script=denser)
    await again.play(paid[0])
    before = len([each for each in again.model.requests if not each.tools])
    await again.resume()
    held = [fact for fact in every(again.path, CallHeld) if fact.tags]
    assert before == 1
    assert len([each for each in again.model.requests if not each.tools]) == len(held)
    assert len({fact.key for fact in held}) == len(held)
    assert len([fact for fact in every(again.path, Compacted) if fact.cut.how == "model"]) == len(held)


def speechless(request: Request) -> Says:
    """The same, for a model that sums nothing up."""
    return reads(request) if request.tools else Says(error=BackendError("rejected", "no"))


async def test_failures_of_summaries_count_on_after_the_process_ended(tmp_path: Path) -> None:
    whole = scene(tmp_path / "whole", window=1_000, script=speechless)
    await whole.play()
    facts: list[Fact] = every(whole.path, Fact)
    made = [number for number, fact in enumerate(facts, 1) if isinstance(fact, Compacted) and fact.cut.how == "recap"]
    assert [fact.cut.asked for fact in facts if isinstance(fact, Compacted) and fact.cut.how == "recap"][:5] == [
        *[True] * 3,
        *[False] * 2,
    ]
    again = scene(tmp_path / "again", window=1_000, script=speechless)
    await again.play(made[1])
    await again.resume()
    asked = [fact.cut.asked for fact in every(again.path, Compacted) if fact.cut.how == "recap"]
    assert asked[:5] == [*[True] * 3, *[False] * 2]


async def test_an_agent_that_is_told_to_cut_nothing_any_more_is_asked_as_it_is(tmp_path: Path) -> None:
    whole = scene(tmp_path / "whole", window=None, summing=None)
    await whole.play()
    made = [number for number, fact in enumerate(every(whole.path, Fact), 1) if isinstance(fact, Compacted)]
    again = scene(tmp_path / "again", window=None, summing=None)
    await again.play(next(each for each in made if every(whole.path, Fact)[each - 1].cut.why == "context"))
    again.document["handlers"]["reader"]["agent"]["compaction"] = None
    await again.resume()
    assert "tokens are too many" in (again.results["t"].error or "")


def wordless(request: Request) -> Says:
    """The same, for a model whose summaries are empty."""
    return reads(request) if request.tools else evolve(reads(request), text="")


async def test_a_summary_that_was_empty_is_known_to_have_been_asked_for(tmp_path: Path, half: slice) -> None:
    whole = scene(tmp_path / "whole", script=wordless)
    await whole.play()
    facts: list[Fact] = every(whole.path, Fact)
    made = [number for number, fact in enumerate(facts, 1) if isinstance(fact, Compacted) and fact.cut.asked]
    assert len(made) > 1
    for cut in [number + off for number in made for off in (0, 2)][half]:
        again = scene(tmp_path / f"{cut}", script=wordless)
        await again.play(cut)
        await again.resume()
        # What is left unasked is taken for a summary that was paid and not yet used, for which more is cut short.
        assert every(again.path, Diverged) == [], cut


async def test_an_image_holds_how_a_history_was_cut() -> None:
    model = ScriptedModel(reads)
    async with running(**document(model, window=WINDOW, summing=None)) as organism:
        seen, words = 0, Vocabulary(payload_classes(organism.settings))

        def look(fact: Fact) -> None:
            nonlocal seen
            if isinstance(fact, Compacted):
                state = organism.kernel.state
                fresh = State(organism.settings, routes(organism.settings))
                fresh.index, fresh.now = Index(), state.now
                restore(fresh, fresh.index, {}, image_of(state, state.threads["t"]))
                assert differences(comparable(state)["threads"]["t"], comparable(fresh)["threads"]["t"]) == []
                (message,) = [each for each in fresh.index.messages.values() if each.to == "reader"]
                assert (message.known or {})[fact.key] == fact.cut
                image = Snapshot(at=1.0, thread="t", image=image_of(state, state.threads["t"]))
                assert decode(json.loads(content(image, "t")), words) == image
                seen += 1

        organism.subscribe(look)
        await (await organism.send("reader", Task("Read."), id="t")).result()
        assert seen > 2


@pytest.mark.parametrize(("window", "summing"), [(WINDOW, "default"), (WINDOW, None), (None, None), (None, "default")])
def test_a_replay_asks_what_was_asked(tmp_path: Path, window: int | None, summing: str | None) -> None:
    made = scene(tmp_path / "t", window=window, summing=summing)
    clock = trio.testing.MockClock(autojump_threshold=0.0)
    anyio.run(made.play, backend="trio", backend_options={"clock": clock})
    journal = open_journal(f"sqlite:{made.path}", readonly=True)
    documents = list(journal.documents("t"))
    journal.close()
    settings = made.organism().settings
    replayed = replay(documents, settings, Vocabulary(payload_classes(settings)), patience=0.001)
    assert replayed.differences == ()
    assert replayed.unsure == ()
    assert replayed.calls > PAGES
    # Another number of turns that are kept is another prompt.
    other = made.document["handlers"]["reader"]["agent"]["compaction"]
    other["keep_turns"] = 2
    settings = made.organism().settings
    assert replay(documents, settings, Vocabulary(payload_classes(settings)), patience=0.001).differences


def test_a_conversation_goes_on_in_another_process_with_what_is_left_and_each_level_is_said_once(
    tmp_path: Path,
) -> None:
    made = document(ScriptedModel(reads), window=WINDOW, summing=None)
    made |= {"conversation": {"messages": 100, "warn_at": {"messages": [0.2, 0.6]}, "runway": 0}, "folder": tmp_path}
    made |= {"name": "test", "journal": "sqlite:c.db"}

    async def talk(first: int, turns: int) -> dict[str, Any]:
        async with Inline(**made) as organism:
            for number in range(first, first + turns):
                handle = await organism.send("reader", Task(f"Read {number}."), conversation="c")
                result = await handle.result()
                assert result.reply == Done(f"read {PAGES}"), number
            return kept(organism)

    clock = {"clock": trio.testing.MockClock(autojump_threshold=0.0)}
    before = anyio.run(talk, 0, 3, backend="trio", backend_options=clock)
    clock = {"clock": trio.testing.MockClock(autojump_threshold=0.0)}
    after = anyio.run(talk, 3, 3, backend="trio", backend_options=clock)
    assert len(before) < 40
    assert len(after) < 40
    assert after["count"] > 1.8 * before["count"]
    journal = open_journal("sqlite:c.db", folder=tmp_path, vocabulary=Vocabulary([Task, Done, Go, Said]), readonly=True)
    facts = journal.read("conversation:c")
    journal.close()
    cuts = [fact for fact in facts if isinstance(fact, Compacted)]
    assert len(cuts) > 4
    levels = [
        step for fact in facts for step in fact.steps if isinstance(step, WarningRaised) and step.unit == "messages"
    ]
    assert [(step.level, step.used) for step in levels] == [("warning", 20), ("final", 60)]
