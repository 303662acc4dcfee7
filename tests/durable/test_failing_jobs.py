"""What is asked of the disk fails once, at its first job, its second, and so on: reading, looking up, opening and closing. Nothing is
lost by it, and the next process goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from organism.errors import JournalError
from organism.testing import FailAfter
from tests.durable.mortal import Mortal, MortalWorks
from tests.durable.test_failing_disk import Clients, goes_on, make, reply_of
from tests.hard.pump_world import Go

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.durable.mortal import Scene


class Works(MortalWorks):
    """The parts of an organism whose disk fails a job."""

    async def _offload(self, work: Callable[[], Any]) -> Any:
        assert isinstance(self.mortal, Failing)
        try:
            self.mortal.fail()
        except JournalError:
            if getattr(work, "__name__", "") == "close":
                work()  # whatever it says, it is closed then
            raise
        return await super()._offload(work)


class Failing(Mortal):
    """An organism whose disk fails a job."""

    fail: FailAfter
    _parts = Works


def failing(scene: Scene, number: int) -> Failing:
    """An organism on this scene's journal whose disk fails the job of this number, from 0."""
    organism = Failing(name="test", journal=f"{scene.journal}:{scene.path}", durability="normal", **scene.document)
    organism.fail = FailAfter(number, JournalError("sector 17 of the disk cannot be read"))
    return organism


async def looked_up(life: Mortal, id_: str) -> None:
    """What has ended is found again, or it is said why not."""
    try:
        assert (await (await life.send("worker", Go(id_), id=id_)).result()).outcome == "completed"
    except JournalError as error:
        assert "sector 17" in str(error)  # noqa: PT017 - else nothing is raised


@pytest.mark.parametrize(("resumed", "jobs"), [(True, 3), (False, 8)])
@pytest.mark.parametrize("kind", ["sqlite", "jsonl"])
async def test_every_job_fails_once_in_turn_and_the_next_process_goes_on(
    kind: str, resumed: bool, jobs: int, tmp_path: Path, half: slice
) -> None:
    facts = (await make(tmp_path / "whole", "a", "b", journal=kind).play()).written
    failed = 0
    for number in range(100)[half]:
        scene = make(tmp_path / f"{number}", "a", "b", journal=kind)
        await scene.play(facts // 2)
        organism = failing(scene, number)
        clients = Clients(scene)
        raised: list[JournalError] = []

        async def client(life: Mortal) -> None:
            try:
                if resumed:
                    await life.resume()
            except JournalError as error:
                raised.append(error)  # noqa: B023 - called in this round
            await clients(life)  # noqa: B023
            for id_, heard in clients.heard.items():  # noqa: B023
                if not isinstance(heard, JournalError):
                    await looked_up(life, id_)

        try:
            await scene.live(organism, client)
        except JournalError as error:
            raised.append(error)
        assert all("sector 17 of the disk cannot be read" in str(error) for error in raised)
        failed += len(raised)
        for id_, heard in clients.heard.items():
            if isinstance(heard, JournalError):
                assert "sector 17" in str(heard)
            else:
                assert heard.reply == reply_of(id_)
        scene.results.clear()
        await goes_on(scene)
        if organism.fail.made <= number:
            break
    assert number >= jobs
    assert failed >= 1
    assert len(clients.heard) == 2
    assert not clients.failed
