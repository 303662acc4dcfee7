"""Several threads of a study at the same time: all comes to what it comes to one by one."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from attrs import evolve

from organism.journal.sqlite import SqliteJournal
from organism.lab import found, load, run
from organism.lab.running import _Line
from tests.config.conftest import Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from organism.lab import Cell, Study
    from organism.results import ThreadResult

DEN = '''
    """A model that is the slower the longer it was asked, and that knows how many calls it ever had under way."""

    import hashlib
    from collections import Counter

    import anyio

    from organism import BudgetExhaustedError, Context, Reply, payload
    from organism.models.contract import BackendError
    from organism.testing import Says, ScriptedModel

    under_way = Counter()
    at = {}
    """What is done when so many calls were made."""


    @payload
    class Question:
        text: str


    def script(request):
        under_way["all"] += 1
        text = str(request.messages)
        drawn = hashlib.sha256(text.encode()).digest()[0]
        if "No answer" in text:
            return Says(error=BackendError("rejected", "no"))
        return Says(text="hm " * drawn, usage=(len(text) // 4, 10 + drawn), seconds=0.5 + drawn / 50)


    model = ScriptedModel(script)
    scripted = model.backend(None)


    class Backend:
        """The model, and how many ask it at the same time."""

        def __init__(self, settings):
            pass

        async def complete(self, request):
            at.pop(under_way["all"] + 1, int)()
            under_way["now"] += 1
            under_way["most"] = max(under_way["most"], under_way["now"])
            try:
                return await scripted.complete(request)
            finally:
                under_way["now"] -= 1

        def stream(self, request):
            return scripted.stream(request)

        async def aclose(self):
            pass


    async def think(question: Question, ctx: Context) -> Reply[Question]:
        """Thinks three times."""
        if "No answer" in question.text and ctx.labels["arm"] != "small":
            question = Question("What else?")
        if "Escalate" in question.text:
            raise ValueError("no more")
        said = []
        try:
            for step in range(3):
                done = await ctx.complete(f"{question.text} Step {step}: {said}", max_output_tokens=300)
                said.append(done.text[: ctx.random.randrange(40)])
        except BudgetExhaustedError:
            said.append("no more")
        return Reply(Question(" ".join(said)))
'''
WATCH = '''

    from organism.primitives import DeadLetter


    async def watch(letter: DeadLetter, ctx: Context) -> None:
        """Asks what is to be done."""
        await ctx.complete(f"What of {letter.reason}?")
'''
ORGANISM = """
    organism: den
    budget: {tokens: 3000, model_calls: 4}
    models: {default: {retries: 0, backends: [{provider: "den:Backend", model: m, price: {input: 1, output: 1}}]}}
    handlers: {thinker: {code: "den:think"}}
"""
STUDY = """
    study: dens
    to: thinker
    inputs: [What is a den?, Whose is it?, Where is it?]
    arms: {wide: {}, small: {budget.tokens: 800}, short: {budget.model_calls: 2, budget.warn_at: [0.5]}}
    concurrency: 1
"""


class Den(Project):
    """A study, and what its model saw."""

    def study(self, *, concurrency: int = 1, **said: Any) -> Study:
        """As it stands in the file, in a folder of its own."""
        read = load(self.folder / "study.yaml")
        return evolve(read, folder=self.folder / f"kept.{concurrency}", concurrency=concurrency, **said)

    @property
    def module(self) -> Any:
        """The code that the study has loaded."""
        return sys.modules["den"]

    def under_way(self) -> dict[str, int]:
        """How many calls the model had under way at most, and how many in all, since this was asked last."""
        seen = dict(self.module.under_way)
        self.module.under_way.clear()
        return seen


@pytest.fixture
def den(tmp_path: Path) -> Iterator[Den]:
    made = Den(tmp_path)
    made.write("den.py", DEN)
    made.write("organism.yaml", ORGANISM)
    made.write("study.yaml", STUDY)
    yield made
    made.forget()


def told(study: Study) -> dict[Cell, Any]:
    """All that is the same from run to run."""
    return {
        cell: (
            each.attempt, each.missing, each.result.thread, each.result.outcome, each.result.usage.tokens,
            each.result.usage.cost_usd, each.result.warnings, [reply.fields for _, reply in each.result.replies],
            [(call.outcome, call.need_tokens, call.tokens, call.backend, call.attempts) for call in each.calls],
        )
        for cell, each in found(study).items()
    }  # fmt: skip


@pytest.mark.by_turns
async def test_a_study_comes_to_the_same_however_many_threads_run_at_the_same_time(den: Den) -> None:
    came: list[Any] = []
    for concurrency in (1, 4):
        study = den.study(concurrency=concurrency)
        heard: list[Cell] = []

        def ended(cell: Cell, _result: ThreadResult | None, _missing: str | None, heard: list[Cell] = heard) -> None:
            heard.append(cell)

        ran = await run(study, ended=ended)
        assert (ran.ran, ran.missing, ran.stopped) == (9, {}, None)
        assert heard[:1] == list(study.warm_ups)
        assert sorted(heard[1:], key=study.cells.index) == list(study.cells)
        assert concurrency > 1 or heard[1:] == list(study.cells)
        seen = den.under_way()
        assert concurrency >= seen["most"] > (concurrency > 1)
        came.append((told(study), seen["all"]))
        assert not list((study.folder / "under-way").iterdir())
    one, _ = came[0]
    assert {outcome for *_, calls in one.values() for outcome, *_ in calls} == {"ok", "refused"}
    assert came == came[:1] * 2


async def test_a_slow_thread_keeps_back_no_word_of_the_others(den: Den) -> None:
    heard: list[Cell] = []
    study = den.study()
    running: Any = SimpleNamespace(study=study, ended=lambda cell, *_: heard.append(cell), ran=0, missing={})
    line = _Line(running, at_most=2)
    slow, *others = study.cells[:4]
    for cell in (slow, *others):
        line.begin(cell)
    for cell in others:
        line.came(cell, None, "no model")
    assert (heard, running.missing, line.stopped) == (
        others,
        {},
        None,
    )  # what comes to nothing counts in the order of the study
    line.came(slow, None, None)
    assert heard == [*others, slow]
    assert (running.ran, [*running.missing], line.stopped) == (1, others, "2 threads in a row came to nothing")


@pytest.mark.by_turns
async def test_arms_share_the_places_and_rates_of_a_backend(den: Den) -> None:
    den.write("organism.yaml", ORGANISM.replace("model: m,", "model: m, max_concurrent: 2,"))
    await run(den.study(concurrency=6))
    assert den.under_way()["most"] == 2
    den.write("organism.yaml", ORGANISM.replace("model: m,", "model: m, requests_per_minute: 30,"))
    began = anyio.current_time()
    await run(den.study(concurrency=7))
    # What a tenth of a minute brings is there at once.
    assert anyio.current_time() - began >= (den.under_way()["all"] - 3) * 2


@pytest.mark.by_turns
async def test_a_ceiling_is_kept_and_begins_the_same_threads_whatever_runs_beside(den: Den) -> None:
    begun: list[Any] = []
    for concurrency in (1, 4):
        den.write("study.yaml", f"{STUDY}    ceiling: {{tokens: 6000}}\n")
        study = den.study(concurrency=concurrency)
        ran = await run(study)
        assert ran.stopped is not None
        assert sum(each.result.usage.tokens for each in found(study).values()) < 6000
        begun.append((told(study), ran.stopped))
    assert 3 < len(begun[0][0]) < 9
    assert begun == begun[:1] * 2


@pytest.mark.by_turns
async def test_what_goes_wrong_with_a_thread_takes_no_other(den: Den) -> None:
    """One ends its organism, and another has no answer; those that run beside them come to what they come to alone."""
    den.write("study.yaml", STUDY.replace("Where is it?]", "Where is it?, Escalate., No answer.]"))
    den.write("organism.yaml", ORGANISM.replace('"den:think"', '"den:think", on_failure: {do: escalate}'))
    alone, study = den.study(concurrency=1), den.study(concurrency=6)
    first, ran = await run(alone), await run(study)
    assert {cell.input for cell in ran.missing} == {5}
    assert ran.missing == first.missing
    assert {cell.arm for cell in ran.missing} == {"small"}
    assert told(study) == told(alone)
    assert {each.result.outcome for cell, each in found(study).items() if cell.input == 4} == {"stopped"}


@pytest.mark.by_turns
@pytest.mark.parametrize("concurrency", [1, 3])
async def test_three_that_come_to_nothing_stop_a_study_if_they_follow_each_other(den: Den, concurrency: int) -> None:
    inputs = "inputs: [What is a den?, Whose is it?, Where is it?, No answer., No answer!, No answer?]"
    den.write(
        "study.yaml", f"study: dens\nto: thinker\n{inputs}\narms: {{small: {{budget.tokens: 800}}}}\nwarm_up: 0\n"
    )
    studies = [den.study(concurrency=concurrency, seed=seed) for seed in range(40)]
    together = [any(all(study.cells[at + n].input > 3 for n in range(3)) for at in range(4)) for study in studies]
    apart = studies[together.index(False)]
    ran = await run(apart)
    assert ({cell.input for cell in ran.missing}, ran.ran, ran.stopped) == ({4, 5, 6}, 3, None)
    first = next(study for study in studies if {cell.input for cell in study.cells[:3]} == {4, 5, 6})
    ran = await run(evolve(first, folder=den.folder / "another"))
    assert (len(ran.missing), ran.stopped) == (3, "3 threads in a row came to nothing")
    assert ran.ran <= concurrency - 1


@pytest.mark.by_turns
async def test_what_is_told_of_dead_letters_elsewhere_spends_nothing_in_a_study(den: Den) -> None:
    den.write("den.py", DEN + WATCH)
    den.write(
        "organism.yaml",
        ORGANISM.replace("handlers: {", "dead_letters: watch\n    handlers: {watch: {code: 'den:watch'}, "),
    )
    den.write("study.yaml", STUDY.replace("Where is it?]", "Escalate.]"))
    study = den.study(concurrency=3)
    assert (await run(study)).stopped is None
    there = found(study)
    assert {each.result.outcome for cell, each in there.items() if cell.input == 3} == {"failed"}
    calls = [call for each in {**there, **found(study, study.warm_ups)}.values() for call in each.calls]
    assert den.under_way()["all"] == sum(call.outcome == "ok" for call in calls)
    assert not list((study.folder / "under-way").iterdir())


@pytest.mark.by_turns
@pytest.mark.parametrize("grace", [0, 100])
async def test_what_is_cancelled_goes_on_and_pays_for_no_answer_twice(den: Den, grace: int) -> None:
    """A call that is cut is charged for by estimate, and made again; with a grace that is long enough none is."""
    whole, study = den.study(concurrency=1), den.study(concurrency=4)
    await run(whole)
    paid = den.under_way()["all"]
    ends = (2, 3, 1)
    for calls in ends:
        with anyio.CancelScope() as scope:
            den.module.at[den.module.under_way["all"] + calls] = scope.cancel
            await run(study, grace=grace)
        assert scope.cancelled_caught
    assert (await run(study)).stopped is None
    again = den.under_way()["all"]
    assert again <= paid + 4 * len(ends)
    assert not grace or again == paid
    estimated = {cell for cell, each in found(study).items() if any(call.estimated for call in each.calls)}
    assert {cell for cell, each in told(study).items() if each != told(whole)[cell]} <= estimated
    assert bool(estimated) == (not grace)


@pytest.mark.by_turns
async def test_a_thread_costs_no_more_than_those_before_it(den: Den, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of a journal are read by whoever opens it: that of a thread has its own alone."""
    read: list[int] = []
    spendings = SqliteJournal.spendings

    def counted(journal: SqliteJournal) -> Any:
        found = spendings(journal)
        read.append(len(found))
        return found

    monkeypatch.setattr(SqliteJournal, "spendings", counted)
    den.write("study.yaml", STUDY.replace("concurrency: 1", "repeats: 3"))
    first, last = 0, 0

    def ended(cell: Cell, _result: ThreadResult | None, _missing: str | None) -> None:
        nonlocal first, last
        first, last = first or (0 if cell.warms_up else sum(read)), sum(read)
        read.clear()

    study = den.study()
    assert (await run(study, ended=ended)).ran == 27
    assert first == last > 0


@pytest.mark.by_turns
async def test_a_thread_that_goes_on_needs_no_more_of_the_ceiling_than_it_did(den: Den) -> None:
    one_arm = STUDY[: STUDY.index("    arms")] + "    arms: {wide: {}}\n    warm_up: 0\n    ceiling: {tokens: 3000}\n"
    den.write("study.yaml", one_arm)
    study = den.study()
    with anyio.CancelScope() as scope:
        den.module.at[2] = scope.cancel
        await run(study)
    assert [each.ended for each in found(study).values()] == [False]
    assert next(iter(found(study).values())).result.usage.tokens > 0
    assert (await run(study)).ran >= 1
