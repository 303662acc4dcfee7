"""Warnings whose prompt was lost with its process: they wait until a model has answered a prompt that tells of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import Context, Reply
from organism.journal import open_journal
from organism.journal.prompts import prompts
from organism.models.contract import BackendError
from organism.pump import writer
from organism.record.facts import CallCompleted, CallHeld, Fact, Noticed, Retried
from organism.testing import Says, ScriptedModel
from tests.durable.inline import Inline
from tests.durable.mortal import Scene, behind, check_whole, every
from tests.hard.budget_world import Done, Task, agent, code, models, peer, replies

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from organism.models.contract import Request


def says(request: Request) -> Says:
    """Asks its peer three times."""
    turns = sum(message["role"] == "assistant" for message in request.messages)
    if turns == 3:
        return replies("done", usage=(100, 20), seconds=1)
    return Says(calls=(("peer", Task(f"{turns}")),), usage=(1000, 100), seconds=1)


def failing_once() -> Callable[[Request], Says]:
    """Answers as above, but fails when it is asked for its third turn for the first time."""
    failed = False

    def answer(request: Request) -> Says:
        nonlocal failed
        if not failed and sum(message["role"] == "assistant" for message in request.messages) == 2:
            failed = True
            return Says(error=BackendError("rejected", "out of order"))
        return says(request)

    return answer


def scene(path: Path, script: Callable[[Request], Says] = says, **policy: Any) -> Scene:
    model = ScriptedModel(script)
    document = {
        "handlers": {"boss": agent(peers=("peer",), max_output_tokens=150) | policy, "peer": code(peer)},
        "models": models(model),
        "budget": {"tokens": 20_000, "warn_at": [0.05], "runway": 0, "grace": {"share": 0}},
    }
    return Scene(path, model, document, [("t", "boss", Task("go"), {})])


def heard(path: Path) -> int:
    """How many answers of the model the journal has to prompts of the last attempt that tell of the budget."""
    journal = open_journal(f"sqlite:{path}", readonly=True)
    asked = prompts(journal.documents("t"))
    journal.close()
    answered: list[Any] = []
    for fact in every(path, Fact):
        if isinstance(fact, Retried):
            answered.clear()
        elif isinstance(fact, CallCompleted) and fact.call is not None:
            answered.append(asked[fact.call])
    return sum("Budget notice" in str(prompt[-1]) for prompt in answered)


@pytest.mark.parametrize("attempts", [1, 2], ids=["one attempt", "the first one fails"])
@pytest.mark.parametrize("fewest", [2, 1000], ids=["many snapshots", "few"])
async def test_wherever_the_process_ends_a_model_hears_of_each_warning_once_an_attempt(
    tmp_path: Path, fewest: int, attempts: int, half: slice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_FEWEST", fewest)
    monkeypatch.setattr(writer, "_SHARE", 0)

    def made_in(name: str) -> Scene:
        policy = {"attempts": attempts, "backoff": [1, 1]}
        return scene(tmp_path / name, failing_once() if attempts == 2 else says, on_failure=policy)

    whole = made_in("whole.db")
    written = (await whole.play()).written
    assert [(each.level, each.to) for each in whole.results["t"].warnings] == [("final", "boss")]
    assert len(every(whole.path, Retried)) == attempts - 1
    assert heard(whole.path) == 1
    for cut in range(1, written)[half]:
        made = made_in(f"{cut}.db")
        await made.play(cut)
        check_whole(await made.resume(), made.path)
        assert made.results["t"].outcome == "completed", cut
        assert len(made.results["t"].warnings) == 1, cut
        assert heard(made.path) == 1, cut


async def test_a_warning_waits_over_any_number_of_processes_that_end_before_the_answer(tmp_path: Path) -> None:
    made = scene(tmp_path / "journal.db")
    dying = made.organism()
    dying.dies_at = behind(1, Noticed)
    await made.live(dying, made.send_all)
    for _ in range(2):
        dying = made.organism()
        dying.dies_at = behind(1, CallHeld)
        await made.live(dying, made.go_on)
        assert heard(made.path) == 0
    check_whole(await made.resume(), made.path)
    assert heard(made.path) == 1
    assert len(every(made.path, Noticed)) == 1


async def test_code_that_is_run_again_gets_the_warnings_with_the_answer_that_it_had(tmp_path: Path) -> None:
    heard: list[Any] = []
    goes_on = False

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        """Works for a while."""
        completion = await ctx.complete("Go", max_output_tokens=50)
        heard.append([(each.unit, each.level, each.used, each.limit) for each in completion.warnings])
        await anyio.sleep(0 if goes_on else 1000)
        return Reply(Done(completion.text))

    model = ScriptedModel([Says(text="gone", usage=(50, 50))])
    keys: dict[str, Any] = {
        "name": "test",
        "handlers": {"worker": code(worker, timeout=None)}, "models": models(model), "journal": "sqlite:o.db", "folder": tmp_path,
        "budget": {"tokens": 200, "warn_at": [0.5], "runway": 0, "grace": {"share": 0}},
    }  # fmt: skip
    async with Inline(**keys) as organism:
        await organism.send("worker", Task("go"))
        await anyio.sleep(100)
    goes_on = True
    async with Inline(**keys) as organism:
        (handle,) = await organism.resume()
        assert (await handle.result()).reply == Done("gone")
    assert len(model.requests) == 1
    assert heard == [[("tokens", "final", 100, 200)]] * 2
