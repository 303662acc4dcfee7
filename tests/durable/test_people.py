"""Questions and answers outlive processes: whenever one dies, each question is answered once, and nobody waits for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import Context, NoQuestionError, Reply
from organism.record.facts import Answered, Snapshot, StoodStill, WentOn
from organism.testing import Says, ScriptedModel
from tests.durable.inline import Inline
from tests.durable.mortal import Mortal, Scene, check_whole, every
from tests.hard.pump_world import Go, Said, code

if TYPE_CHECKING:
    from pathlib import Path

    from tests.hard.time_of_day import TimeOfDay


async def clerk(message: Go, ctx: Context) -> Reply[Said]:
    """Asks the boss twice, and a model in between."""
    first = await ctx.ask("boss", Go("first"), expect=Said)
    await ctx.complete("and now?")
    second = await ctx.ask("boss", Go("second"), expect=Said)
    return Reply(Said(f"{first.text} {second.text}"))


HANDLERS: dict[str, Any] = {
    "clerk": code(clerk, "boss", effects="context"),
    "boss": {"human": {"accepts": Go, "replies": Said}, "description": "Decides.", "timeout": 100_000},
}


class Office(Scene):
    """A scene in which somebody answers whatever is asked."""

    async def answer_all(self, organism: Mortal) -> None:
        """Answers what is asked as soon as it is."""
        while True:
            for question in organism.inbox():
                await organism.answer(question.id, Said(f"yes {question.payload.text}"))
            await anyio.sleep(1)

    async def send_all(self, organism: Mortal) -> None:
        async with anyio.create_task_group() as beside:
            beside.start_soon(self.answer_all, organism)
            thread = await organism.send("clerk", Go(), id="t")
            while (result := await thread.result()).outcome == "paused":
                await thread.goes_on()
            self.results["t"] = result
            beside.cancel_scope.cancel()


def office(tmp_path: Path, number: int, journal: str) -> Office:
    model = ScriptedModel([Says(text="go on")] * 3)
    document = {"handlers": HANDLERS, "models": model.models()}
    return Office(tmp_path / f"{number}.db", model, document, (), journal)


@pytest.mark.parametrize("journal", ["sqlite", "jsonl"])
async def test_whenever_the_process_dies_each_question_is_answered_once(
    tmp_path: Path, journal: str, half: slice
) -> None:
    whole = await office(tmp_path, 0, journal).play()
    assert whole.written > 10
    for cut in range(1, whole.written)[half]:
        scene = office(tmp_path, cut, journal)
        died = await scene.play(cut)
        assert died.died.is_set()
        organism = await scene.resume()
        assert scene.results["t"].reply == Said("yes first yes second"), cut
        assert len([fact for fact in every(scene.path, Answered) if fact.handler == "boss"]) == 2, cut
        check_whole(organism, scene.path)


def inline(tmp_path: Path, **keys: Any) -> Inline:
    document: dict[str, Any] = {"name": "test", "handlers": HANDLERS, "journal": f"sqlite:{tmp_path / 'x.db'}", **keys}
    return Inline(models=ScriptedModel([Says(text="go on")]).models(), **document)


async def asked(organism: Inline) -> str:
    while not (found := organism.inbox()):  # noqa: ASYNC110 - as a client would look
        await anyio.sleep(0.01)
    return found[0].id


async def test_a_process_that_was_down_costs_no_time_and_the_question_keeps_its_age(
    tmp_path: Path, day: TimeOfDay
) -> None:
    async with inline(tmp_path, budget={"seconds": 60}) as organism:
        thread = await organism.send("clerk", Go(), id="t")
        id_ = await asked(organism)
        (question,) = organism.inbox()
        await thread.result()
        await anyio.sleep(500)
    day.ahead += 10_000
    async with inline(tmp_path, budget={"seconds": 60}) as organism:
        assert organism.inbox() == ()
        with pytest.raises(NoQuestionError, match="no thread that runs here has asked it"):
            await organism.answer(id_, Said("yes"))
        (thread,) = await organism.resume()
        assert (await thread.result()).outcome == "paused"
        assert organism.inbox() == (question,)
        await organism.answer(id_, Said("yes"))
        second = await asked(organism)
        assert second != id_
        await anyio.sleep(500)
        await organism.answer(second, Said("no"))
        result = await thread.result()
        assert (result.reply, result.usage.seconds < 1) == (Said("yes no"), True)
    kinds = [type(fact) for fact in every(tmp_path / "x.db", StoodStill) + every(tmp_path / "x.db", WentOn)]
    assert kinds.count(StoodStill) == 3


async def test_a_question_whose_time_was_over_while_nobody_ran_has_failed(tmp_path: Path, day: TimeOfDay) -> None:
    async with inline(tmp_path) as organism:
        await organism.send("clerk", Go(), id="t")
        await asked(organism)
    day.ahead += 200_000
    async with inline(tmp_path) as organism:
        (thread,) = await organism.resume()
        while (result := await thread.result()).outcome == "paused":
            await thread.goes_on()
        assert (result.code, result.error) == ("timeout", "'boss' did not answer within 1 day 3 h")


async def test_an_answer_is_there_once_it_was_taken(tmp_path: Path) -> None:
    async with inline(tmp_path) as organism:
        await organism.send("clerk", Go(), id="t")
        await organism.answer(await asked(organism), Said("yes"))
        # It is closed here, before the clerk could do anything with it.
    async with inline(tmp_path) as organism:
        (thread,) = await organism.resume()
        second = await asked(organism)
        assert organism.inbox()[0].payload == Go("second")
        await organism.answer(second, Said("no"))
        assert (await thread.result()).reply == Said("yes no")


async def test_a_person_who_is_code_by_now_is_asked_as_code(tmp_path: Path) -> None:
    async def deputy(message: Go, ctx: Context) -> Reply[Said]:
        """Decides instead."""
        return Reply(Said(f"deputy {message.text}"))

    async with inline(tmp_path) as organism:
        await organism.send("clerk", Go(), id="t")
        await asked(organism)
    async with inline(tmp_path, handlers={**HANDLERS, "boss": code(deputy)}) as organism:
        (thread,) = await organism.resume()
        assert (await thread.result()).reply == Said("deputy first deputy second")


async def test_a_snapshot_holds_what_is_asked_and_since_when_nothing_else_goes_on(
    tmp_path: Path, day: TimeOfDay
) -> None:
    async with inline(tmp_path, budget={"seconds": 60}) as organism:
        thread = await organism.send("clerk", Go(), id="t")
        await thread.result()
        questions = organism.inbox()
        await anyio.sleep(50)
        organism.kernel.snapshot("t", organism._now())
        await anyio.sleep(50)
    day.ahead += 1000
    async with inline(tmp_path, budget={"seconds": 60}) as organism:
        (thread,) = await organism.resume()
        assert organism.inbox() == questions
        assert isinstance(next(iter(every(tmp_path / "x.db", Snapshot))), Snapshot)
        await organism.answer(await asked(organism), Said("yes"))
        await organism.answer(await asked(organism), Said("no"))
        result = await thread.result()
        assert (result.reply, result.usage.seconds < 1) == (Said("yes no"), True)
