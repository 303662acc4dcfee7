"""What a warning says is the same when it is read from its step again, that of a loop too."""

from __future__ import annotations

from decimal import Decimal

from attrs import evolve

from organism import Context, Organism, payload
from organism.kernel.steps import raised, warned_of
from organism.threads.outcomes import Warned


@payload
class Job:
    text: str


async def work(job: Job, ctx: Context) -> None:
    """Works."""


def test_a_warning_is_read_from_its_step_whole() -> None:
    organism = Organism(name="demo", handlers={"worker": work})
    thread = organism.kernel.accept("t", "worker", Job("x"), organism.settings.budget, {}, 0.0)
    warned = Warned(
        seq=7, unit="tokens", level="critical", threshold=Decimal("0.9"), used=90, limit=100, held=3, remaining=7, scope="thread",
        calls_left=2, to="worker", node="t", about=None,
    )  # fmt: skip
    for each in (warned, evolve(warned, unit="repeats", about="Job to worker")):
        step = raised(thread, each, None, None, None, None)
        assert warned_of(step) == each
