"""Processes that end while messages wait to be tried again, and dead letters on a disk (R9, R20, R21)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import Context, EscalatedError, Reply
from organism.errors import JournalError
from organism.journal import open_journal
from organism.payloads.primitives import DeadLetter  # noqa: TC001 - read from an annotation
from organism.record.facts import Buried, CallCompleted, CallHeld, Ended, Retried, Snapshot
from organism.testing import Says, ScriptedModel
from tests.durable.mortal import Mortal, Scene, behind, check_whole, every
from tests.hard.budget_world import models
from tests.hard.pump_world import Go, Said, code

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.hard.time_of_day import TimeOfDay


def scene(path: Path, handlers: Mapping[str, Any], model: ScriptedModel | None = None, **document: Any) -> Scene:
    """One thread ``t`` for ``worker``, on a journal of its own."""
    model = model or ScriptedModel(lambda _: Says(text=f"said {len(model.requests) if model else 0}", usage=(10, 5)))
    document.setdefault("models", models(model, retries=0))
    return Scene(path / "j.db", model, {"handlers": handlers, **document}, [("t", "worker", Go("x"), {})])


def worker_of(begun: list[float], fails: int, **policy: Any) -> dict[str, Any]:
    """A handler that calls a model and fails so many times, over all processes."""

    async def worker(message: Go, ctx: Context) -> Reply[Said]:
        begun.append(anyio.current_time())
        text = (await ctx.complete("same", max_output_tokens=20)).text
        if len(begun) <= fails:
            raise ValueError("not now")
        return Reply(Said(text))

    return {"worker": code(worker, on_failure=policy)}


async def start(organism: Mortal) -> None:
    """Sends the message and does not wait."""
    await organism.send("worker", Go("x"), id="t")


async def test_after_an_exception_there_are_new_completions_and_after_a_crash_the_old_ones(tmp_path: Path) -> None:
    begun: list[float] = []
    made = scene(tmp_path, worker_of(begun, 1, attempts=3))
    dying = made.organism()
    dying.dies_at = behind(2, CallCompleted)  # that of the second attempt is written, its answer is not
    await made.live(dying, made.send_all)
    assert len(every(made.path, CallCompleted)) == len(made.model.requests) == 2
    organism = await made.resume()
    assert made.results["t"].reply == Said(every(made.path, CallCompleted)[1].text)
    assert (len(begun), len(made.model.requests)) == (3, 2)
    assert len(every(made.path, Retried)) == 1
    check_whole(organism, made.path)


async def test_a_process_that_ends_while_a_message_waits_leaves_the_waiting_to_the_next(tmp_path: Path) -> None:
    begun: list[float] = []
    made = scene(tmp_path, worker_of(begun, 2, attempts=3, within=1000, backoff=[100, 100]))
    dying = made.organism()

    async def leave(organism: Mortal) -> None:
        await start(organism)
        while not every(made.path, Retried):  # noqa: ASYNC110 - as a reader would look
            await anyio.sleep(0.01)

    await made.live(dying, leave)
    (retried,) = every(made.path, Retried)
    assert len(begun) == 1
    organism = await made.resume()
    assert begun[1] - begun[0] >= 49
    first, second = every(made.path, Retried)
    assert first == retried
    assert second.again_at - second.at >= 50
    assert made.results["t"].outcome == "completed"
    assert len(begun) == 3  # the attempt of the process before counted
    check_whole(organism, made.path)


async def test_hours_in_which_no_process_ran_are_none_of_the_period_and_nobody_waits_longer(
    tmp_path: Path, day: TimeOfDay
) -> None:
    begun: list[float] = []
    made = scene(tmp_path, worker_of(begun, 2, attempts=3, within=300, backoff=[100, 100]))
    dying = made.organism()
    dying.dies_at = behind(1, Retried)
    await made.live(dying, made.send_all)
    day.ahead += 7200
    await made.resume()
    assert made.results["t"].outcome == "completed"
    assert begun[-1] - begun[0] < 201


async def test_who_had_not_long_to_wait_has_not_in_the_next_process(tmp_path: Path) -> None:
    """The wait that was drawn counts, and not the longest there is."""
    begun: list[float] = []
    made = scene(tmp_path, worker_of(begun, 1, attempts=2, within=10_000, backoff=[10, 1000]))
    dying = made.organism()
    dying.dies_at = behind(1, Retried)
    await made.live(dying, made.send_all)
    (retried,) = every(made.path, Retried)
    await made.resume()
    assert made.results["t"].outcome == "completed"
    assert begun[-1] - begun[0] == pytest.approx(retried.again_at - retried.at, abs=2)


async def test_a_clock_that_was_set_back_keeps_nobody_waiting(tmp_path: Path, day: TimeOfDay) -> None:
    begun: list[float] = []
    made = scene(tmp_path, worker_of(begun, 1, attempts=2, backoff=[10, 10]))
    dying = made.organism()
    dying.dies_at = behind(1, Retried)
    await made.live(dying, made.send_all)
    day.ahead -= 1000
    await made.resume()
    assert made.results["t"].outcome == "completed"
    assert begun[-1] - begun[0] < 22


@pytest.mark.parametrize("do", ["reply", "stop"])
async def test_wherever_the_process_dies_the_attempts_are_made_and_the_letter_is_written_once(
    tmp_path: Path, do: str, half: slice
) -> None:
    def handlers(begun: list[float], letters: list[str]) -> dict[str, Any]:
        async def watch(message: DeadLetter, ctx: Context) -> None:
            letters.append(message.message)

        return {**worker_of(begun, 99, attempts=2, do=do), "watch": code(watch)}

    plain = scene(tmp_path / "plain", handlers([], []), dead_letters="watch")
    await plain.play()
    length = sum(len(every(plain.path, kind)) for kind in (Buried, Retried)) + 10
    for cut in range(1, length)[half]:
        begun: list[float] = []
        letters: list[str] = []
        made = scene(tmp_path / str(cut), handlers(begun, letters), dead_letters="watch")
        dying = made.organism()
        dying.cut = cut
        await made.live(dying, made.send_all)
        organism = await made.resume()
        if "t" not in made.results:
            continue  # it was not even taken in, or had ended
        assert made.results["t"].outcome == {"reply": "failed", "stop": "stopped"}[do], cut
        assert len(every(made.path, Retried)) == len(every(made.path, Buried)) == 1, cut
        assert len(letters) >= 1, cut
        check_whole(organism, made.path)


async def test_a_snapshot_holds_who_waits_for_another_attempt(tmp_path: Path) -> None:
    begun: list[float] = []
    made = scene(tmp_path, worker_of(begun, 9, attempts=3, within=1000, backoff=[100, 100]))
    dying = made.organism()

    async def leave(organism: Mortal) -> None:
        await start(organism)
        while not every(made.path, Retried):  # noqa: ASYNC110 - as a reader would look
            await anyio.sleep(0.01)
        organism.kernel.snapshot("t", organism._now())
        while not every(made.path, Snapshot):  # noqa: ASYNC110 - as a reader would look
            await anyio.sleep(0.01)

    await made.live(dying, leave)
    organism = await made.resume()
    assert made.results["t"].outcome == "failed"
    assert (len(begun), len(every(made.path, Retried))) == (3, 2)
    check_whole(organism, made.path)


async def test_an_escalation_leaves_the_other_threads_to_the_next_process(tmp_path: Path) -> None:
    async def worker(message: Go, ctx: Context) -> Reply[Said]:
        if message.text == "bad":
            raise ValueError("bad")
        await anyio.sleep(5)
        return Reply(Said("done"))

    made = scene(tmp_path, {"worker": code(worker, on_failure={"do": "escalate"})})
    organism = made.organism()
    with pytest.raises(EscalatedError, match="'worker' failed for good: crashed: ValueError: bad"):
        async with organism:
            await start(organism)
            bad = await organism.send("worker", Go("bad"), id="bad")
            assert (await bad.result()).outcome == "stopped"
            await anyio.sleep(1)
    assert [fact.thread for fact in every(made.path, Ended)] == ["bad"]
    next_one = await made.resume()
    assert made.results["t"].reply == Said("done")
    async with made.organism() as reader:
        assert [letter.payload for letter in await reader.dead()] == [Go("bad")]
    check_whole(next_one, made.path)


async def test_dead_letters_of_an_earlier_process_are_read_and_sent_again(tmp_path: Path) -> None:
    begun: list[float] = []
    made = scene(tmp_path, worker_of(begun, 1))
    await made.play()
    async with made.organism() as organism:
        (letter,) = await organism.dead()
        assert (letter.id, letter.payload) == ("t/1", Go("x"))
        thread = await organism.retry("t/1")
        assert (await thread.result()).outcome == "completed"
    async with made.organism() as organism:
        again = await organism.retry("t/1")
        assert (again.id, again.ended, len(begun)) == ("retry-t-1", True, 2)


async def test_a_message_whose_handler_is_gone_is_a_dead_letter(tmp_path: Path) -> None:
    async def worker(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(await ctx.ask("gone", message, expect=Said))

    async def gone(message: Go, ctx: Context) -> None:
        await anyio.sleep_forever()

    made = scene(tmp_path, {"worker": code(worker, "gone"), "gone": code(gone, timeout=None)})
    dying = made.organism()

    async def leave(organism: Mortal) -> None:
        await start(organism)
        await anyio.sleep(1)

    await made.live(dying, leave)
    made.document = {**made.document, "handlers": {"worker": code(worker)}}
    await made.resume()
    assert [fact.handler for fact in every(made.path, Buried)] == ["gone"]


async def test_a_retry_that_cannot_be_written_stops_its_thread_and_nothing_else(tmp_path: Path) -> None:
    begun: list[float] = []
    made = scene(tmp_path, worker_of(begun, 9, attempts=3))
    organism = made.organism()
    organism.refuses = lambda _, fact: JournalError("disk full") if isinstance(fact, Retried) else None
    async with organism:
        thread = await organism.send("worker", Go("x"), id="t")
        with pytest.raises(JournalError, match="disk full"):
            await thread.result()
        assert organism.kernel.state.retries == {}
        assert organism.kernel.schedule.running == organism.kernel.schedule.queued == 0


async def test_a_held_call_of_a_failed_attempt_is_charged_to_the_thread(tmp_path: Path) -> None:
    begun: list[float] = []
    made = scene(tmp_path, worker_of(begun, 1, attempts=2))
    await made.play()
    assert len(every(made.path, CallHeld)) == 2
    assert made.results["t"].usage.tokens == 30
    journal = open_journal(f"sqlite:{made.path}", readonly=True)
    assert journal.verify("t") is None
    journal.close()
