"""What threads have used, told by their facts: sub-threads count in those above, and time that stands still does not count."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from organism import payload
from organism.cli.thread_usage import UsageOfThreads
from organism.record import facts
from organism.settings import BudgetSettings, Limits


@payload
class Note:
    text: str


def opened(thread: str, owner: tuple[str, int] | None, **limits: Any) -> tuple[facts.ThreadOpened, facts.Posted]:
    budget = BudgetSettings(limits=Limits(**limits))
    first = facts.ThreadOpened(thread=thread, kind="root", handler="desk", budget=budget, owner=owner, labels={})
    message = facts.Posted(
        thread=thread, seq=1, to="desk", sender="", kind="ingress", payload=Note("x"), frame=(thread, 1), opens=True,
        parent=None, charged=True,
    )  # fmt: skip
    return first, message


def test_what_a_sub_thread_sends_counts_in_those_above_it() -> None:
    used = UsageOfThreads()
    used.take(facts.Accepted(at=0.0, thread="t", steps=opened("t", None, messages=9)))
    used.take(facts.Accepted(at=1.0, thread="t", steps=opened("t.2", ("t", 1), tokens=50)))
    above, below = used.of("t"), used.of("t.2")
    assert above is not None
    assert below is not None
    assert (above.used("messages"), below.used("messages")) == (Decimal(2), Decimal(1))
    assert [below.limited(unit).thread for unit in ("messages", "tokens", "seconds")] == ["t", "t.2", "t.2"]


def test_running_time_stands_still_while_people_are_waited_for_and_while_a_thread_is_paused() -> None:
    used = UsageOfThreads()
    used.take(facts.Accepted(at=100.0, thread="t", steps=opened("t", None)))
    used.take(facts.Accepted(at=104.0, thread="t", steps=opened("t.2", ("t", 1))))
    for fact in (
        facts.StoodStill(at=110.0, thread="t"),
        facts.Paused(at=120.0, thread="t"),
        facts.Resumed(at=150.0, thread="t", since=120.0),
        facts.Noticed(at=155.0, thread="t", seq=1, handler="desk"),
        facts.Paused(at=160.0, thread="t"),
        facts.Noticed(at=170.0, thread="t", seq=1, handler="desk"),
    ):
        used.take(fact)
    found = [used.of(thread) for thread in ("t", "t.2")]
    assert [each and each.used("seconds") for each in found] == [Decimal(20), Decimal(26)]
