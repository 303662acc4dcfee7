"""Fifty threads on a process that is killed while it works: nothing is lost, nothing is done twice, nothing is paid twice.

``benchmarks/crash.py`` is the long form.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.crash.crash_world import Crashes, Model, Reference, World
from tests.crash.fake_model import answer_to, key_of
from tests.crash.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KILLS = {"sqlite:organism.db": 3, "jsonl:journal": 3}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with Model.running(tmp_path_factory.mktemp("model")) as model:
        yield model


@pytest.fixture(scope="module")
def reference(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return Reference.of(World(tmp_path_factory.mktemp("undisturbed"), model, "memory:", "undisturbed"))


def test_an_undisturbed_run_does_all_that_can_be_under_way(reference: Reference) -> None:
    assert {outcome.outcome for outcome in reference.outcomes.values()} == {"completed"}
    assert all(outcome.replies for outcome in reference.outcomes.values())
    assert any(outcome.warnings for outcome in reference.outcomes.values())
    assert max(reference.asked.values()) == 2, "some questions are asked twice at once, and none more often"
    assert reference.asked.total() == sum(usage["model_calls"] for usage in reference.usages.values())


@pytest.mark.parametrize("kind", KILLS)
def test_a_killed_process_goes_on_where_it_was(kind: str, model: Model, reference: Reference, tmp_path: Path) -> None:
    scheme, _, name = kind.partition(":")
    world = World(tmp_path, model, f"{scheme}:{tmp_path / name}", scheme)
    crashes = Crashes(world, reference, random.Random(kind))
    crashes.kill_until(KILLS[kind])
    assert crashes.kills >= 2, "the work was done before it was killed often enough"
    crashes.finish()
    listed = said_by(tmp_path, "threads", "--json", "--journal", world.journal).splitlines()
    results = {result["thread"]: result for result in map(json.loads, listed)}
    assert results.keys() == reference.outcomes.keys()
    assert all(results[thread] | pushed == results[thread] for thread, pushed in world.pushed().items())
    said_by(tmp_path, "verify", "--journal", world.journal)


def said_by(folder: Path, *command: str) -> str:
    """What the command line says to a command that succeeds."""
    program = [sys.executable, "-m", "organism.cli", *command]
    ran = subprocess.run(program, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_what_the_model_answers_depends_on_the_question_alone() -> None:
    question = {"role": "user", "content": "Why?"}
    notice = {"role": "user", "content": "Budget notice: warning."}
    bare = answer_to({"model": "m", "messages": [question]})
    dressed = answer_to({"model": "m", "messages": [{"role": "system", "content": "It is noon."}, question, notice]})
    assert dressed == bare
    assert key_of([question]) in bare["choices"][0]["message"]["content"]
    assert answer_to({"model": "m", "messages": [question, question]}) != bare


def test_the_judge_sees_what_is_asked_again(tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    model = Model("", log)
    crashes = Crashes(World(tmp_path, model, "", "w"), Reference({}, {}, Counter(a=1, b=2)), random.Random(1))
    crashes.due = {"w-0": Counter(a=1, b=2), "w-1": Counter(b=1)}
    asked = [("w-0", "a"), ("w-0", "b"), ("w-1", "b")]

    def judge(*more: tuple[str, str]) -> None:
        lines = [{"event": "asked", "run": run, "key": key, "whole": key} for run, key in more]
        with log.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
        crashes.check_requests()

    judge(*asked)
    with pytest.raises(AssertionError, match=r"w-1 asked again .*'b': 1"):
        judge(("w-1", "b"))
    with pytest.raises(AssertionError, match=r"w-1 asked what .*'c'"):
        judge(("w-1", "c"))


def test_the_judge_sees_holds_and_ends_that_come_twice() -> None:
    held, settled = ({"fact": fact, "hold": 1, "thread": "t"} for fact in ("CallHeld", "CallSettled"))
    end = {"fact": "Ended", "thread": "t"}
    assert Record({"t": [held]}, Counter()).open_holds() == {("t", 1)}
    assert not Record({"t": [held, settled]}, Counter()).open_holds()
    for wrong in ([held, held], [settled], [held, settled, settled]):
        with pytest.raises(AssertionError, match=r"held twice|without being held"):
            Record({"t": wrong}, Counter()).open_holds()
    with pytest.raises(AssertionError, match="ended twice"):
        Record({"t": [end, end]}, Counter()).ended()
