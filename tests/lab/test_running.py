"""A study from Python."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from organism.journal import socket_path
from organism.lab import folder, found, load, of_arms, of_pairs, run
from tests.config.conftest import Project

if TYPE_CHECKING:
    from collections.abc import Iterator

    from organism.lab import Cell
    from organism.results import ThreadResult

DEN = '''
    from organism import Context, Reply, payload


    @payload
    class Question:
        text: str


    async def think(question: Question, ctx: Context) -> Reply[Question]:
        """Says how long it may be at it."""
        return Reply(Question(f"{ctx.labels['arm']}: {ctx.budget.tokens.limit}"))
'''


@pytest.fixture
def den(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    made.write("den.py", DEN)
    made.write("organism.yaml", "organism: den\nhandlers: {thinker: {code: 'den:think'}}\n")
    made.write(
        "study.yaml",
        "study: s\nto: thinker\ninputs: [a, b]\narms: {one: {budget.tokens: 1}, two: {budget.tokens: 2}}\n",
    )
    yield made
    made.forget()


@pytest.mark.by_turns
async def test_a_study_runs_in_an_event_loop_of_ones_own(den: Project) -> None:
    study = load(den.folder / "study.yaml")
    assert found(study) == {}
    heard: list[tuple[Cell, ThreadResult | None, str | None]] = []

    def ended(cell: Cell, result: ThreadResult | None, missing: str | None) -> None:
        heard.append((cell, result, missing))

    ran = await run(study, ended=ended)
    assert (ran.ran, ran.missing, ran.stopped) == (4, {}, None)
    assert [cell for cell, _, _ in heard] == [*study.warm_ups, *study.cells]
    threads = found(study)
    said = {(cell.arm, each.result.replies[0][1].fields["text"]) for cell, each in threads.items()}
    assert said == {("one", "one: 1"), ("two", "two: 2")}
    assert all(each.left("tokens") == int(each.row.limits["tokens"]) for each in threads.values())
    assert of_arms(study, threads.values())["two"]["tokens_left"].value == 2
    assert of_pairs(study, threads.values())["two"]["tokens_left"].value == 1
    assert (await run(study)).ran == 0


def test_inputs_in_a_file_are_looked_for_beside_the_study(den: Project) -> None:
    den.write("in.jsonl", '{"Question": {"text": "a"}}\n{"Question": {"text": "b"}}\n')
    den.write("study.yaml", "study: s\nto: thinker\ninputs: in.jsonl\narms: {one: {}}\n")
    assert Path.cwd() != den.folder
    assert [each.text for each in load(den.folder / "study.yaml").inputs] == ["a", "b"]


@pytest.mark.by_turns
async def test_what_a_killed_process_has_left_of_a_thread_that_ended_goes_with_it(
    den: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = load(den.folder / "study.yaml")
    with monkeypatch.context() as killed:
        killed.setattr(folder, "settle", lambda *_: False)
        await run(study)
    left = folder.places(study)
    assert len(left) == 5
    for place in left:
        socket_path(place.path).touch()
    before = found(study)
    assert (await run(study)).ran == 0
    assert {cell: each.row for cell, each in found(study).items()} == {cell: each.row for cell, each in before.items()}
    assert not [*(study.folder / "under-way").iterdir()]
    assert not any(socket_path(place.path).exists() for place in left)
