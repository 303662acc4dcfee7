"""The short way of a plain answer comes to the same as the long one, whether somebody listens or not."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from organism.errors import BudgetExhaustedError
from organism.kernel import Kernel
from organism.kernel.comparable import comparable
from organism.kernel.hop import hop
from organism.kernel.outcome import final_of
from organism.message import Forward, Outgoing, Reply, Send
from organism.payloads.primitives import BudgetWarning, HandlerFailed
from organism.settings import BudgetSettings, Limits, OnFailure
from organism.testing import differences
from tests.compiled import interpreted
from tests.hard.pump_world import Go, Odd, Said
from tests.kernel.kernel_world import handler, organism_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.record.facts import Ended, Fact
    from organism.settings import Settings

NAMES: Final = ("a", "b", "c", "d")
OUT: Final = st.one_of(
    st.builds(Send, st.sampled_from(NAMES), st.sampled_from([Go("x"), Said("y")])),
    st.builds(Forward, st.sampled_from(NAMES), st.just(Go("x"))),
    st.builds(Reply, st.sampled_from([Said("y"), Odd()])),
)
ANSWERS: Final = st.one_of(OUT.map(lambda out: [out]), OUT.map(lambda out: [out]), st.lists(OUT, max_size=3))

LIMITS: Final = st.builds(Limits, messages=st.none() | st.integers(2, 12), depth=st.none() | st.integers(1, 6))
BUDGETS: Final = st.builds(
    BudgetSettings, limits=LIMITS, warn_at=st.none() | st.just({"messages": (Decimal("0.3"), Decimal("0.6"))})
)


class Twin:
    """A kernel that is driven as another one is; ``long``: it takes no short way, ``heard``: its facts are listened to."""

    def __init__(self, settings: Settings, *, heard: bool, long: bool) -> None:
        self.facts: list[Fact] = []
        self.kernel = Kernel(settings, (lambda _, fact: self.facts.append(fact)) if heard else None)
        self.long = long

    def accept(self, number: int, to: str, budget: BudgetSettings) -> bool:
        """Sends a message in."""
        try:
            self.kernel.accept(f"t{number}", to, Go("x"), budget, {"arm": "x"}, float(number))
        except BudgetExhaustedError:
            return False
        return True

    def limit(self, budget: BudgetSettings, at: float) -> None:
        """Sets the limits of the thread that was opened first of those that live."""
        for thread in list(self.kernel.state.threads.values())[:1]:
            self.kernel.calls.set_limits(thread, budget, at)

    def step(self, answer: Sequence[Outgoing], changes: Any, at: float, patch: pytest.MonkeyPatch) -> tuple[Any, ...]:
        """Handles the next message; what it was and what came of it."""
        message = self.kernel.schedule.take()
        if message is None:
            return ()
        with patch.context() as only:
            if self.long:
                only.setattr("organism.kernel.kernel.hop", lambda *_: False)
            failure = self.kernel.answered(message, answer, changes, at)
        self.kernel.calls.answered.clear()
        self.kernel.state.woken.clear()
        return (message.id, message.to, message.kind, message.sender, message.payload, message.idempotency, failure)

    def ended(self) -> list[Ended]:
        """The final records of the threads that have ended."""
        return [final_of(thread) for thread in self.kernel.ended]


@interpreted
@settings(max_examples=400)
@given(
    budgets=st.lists(st.none() | st.none() | BUDGETS, min_size=4, max_size=4),
    per=st.sampled_from(["call", "thread"]),
    tries=st.booleans(),
    takes=st.lists(st.sampled_from([HandlerFailed, BudgetWarning]), unique=True),
    opened=st.lists(st.tuples(st.sampled_from(NAMES), BUDGETS), min_size=1, max_size=3),
    program=st.lists(
        st.tuples(ANSWERS, st.none() | st.just({"n": (1,)}), st.none() | st.none() | BUDGETS), max_size=40
    ),
)
def test_the_short_way_comes_to_the_same_as_the_long_one(
    budgets: list[BudgetSettings | None],
    per: Any,
    tries: bool,
    takes: list[type],
    opened: list[Any],
    program: list[Any],
) -> None:
    made = (
        handler(
            name, Go, Said, *takes, peers=NAMES, budget=budgets[number] if number else None, per=per,
            on_failure=OnFailure(attempts=3 if tries and name == "d" else 1),
        )
        for number, name in enumerate(NAMES)
    )  # fmt: skip
    organism = organism_of(*made)
    twins = [Twin(organism, heard=heard, long=long) for heard in (False, True) for long in (False, True)]
    first = twins[0]
    with pytest.MonkeyPatch.context() as patch:
        for number, (to, budget) in enumerate(opened):
            assert len({each.accept(number, to, budget) for each in twins}) == 1
        for number, (answer, changes, lowered) in enumerate(program):
            for each in twins if lowered is not None else ():
                each.limit(lowered, 10.0 + number)
            came = [each.step(answer, changes, 10.0 + number, patch) for each in twins]
            assert came == came[:1] * len(twins)
            live = comparable(first.kernel.state)
            for each in twins[1:]:
                assert not differences(live, comparable(each.kernel.state))
                assert each.kernel.schedule.running == first.kernel.schedule.running == 0
                assert each.kernel.schedule.queued == first.kernel.schedule.queued
    assert all(each.ended() == first.ended() for each in twins)
    assert twins[2].facts == twins[3].facts


@interpreted
def test_most_answers_go_the_short_way() -> None:
    """Else the test above would compare the long way with itself."""
    made = (handler(name, Go, Said, peers=NAMES) for name in ("a", "b"))
    world = Twin(organism_of(*made), heard=False, long=False)
    assert world.accept(0, "a", BudgetSettings())
    short = []

    def noted(*given: Any) -> bool:
        short.append(hop(*given))
        return short[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("organism.kernel.kernel.hop", noted)
        for number in range(3):
            world.step([Send("b", Go("x"))], None, float(number), patch)
            world.step([Reply(Said("y"))], None, float(number), patch)
        world.step([Forward("b", Go("x"))], None, 3.0, patch)
        world.step([Forward("a", Go("x"))], None, 3.0, patch)
        world.step([Forward("b", Go("x"))], None, 3.0, patch)
        world.step([Reply(Said("y"))], None, 4.0, patch)
    assert short == [False, False, True, True, True, True, True, False, True, True]
    assert [each.outcome for each in world.ended()] == ["completed"]


@pytest.mark.parametrize("last", [Reply(Said("y")), Forward("d", Go("x"))], ids=["reply", "forward"])
def test_whoever_answers_while_others_still_work_for_it_is_counted_until_they_are_done(last: Outgoing) -> None:
    made = (handler(name, Go, Said, peers=NAMES) for name in NAMES)
    organism = organism_of(*made)
    short, long = twins = [Twin(organism, heard=False, long=each) for each in (False, True)]
    before: list[Outgoing] = [
        Send("b", Go("x")),
        Send("c", Go("x")),
        Reply(Said("y")),
        Reply(Said("y")),
        Send("d", Go("x")),
    ]
    program: list[list[Outgoing]] = [
        [Send("b", Go("x"))],
        [Send("c", Go("x")), Send("d", Go("x"))],
        [Reply(Said("y"))],
        [Send("a", Go("x"))],
        [last],
    ]
    with pytest.MonkeyPatch.context() as patch:
        for each in twins:
            assert each.accept(0, "a", BudgetSettings())
        for number, answer in enumerate([[out] for out in before] + program):
            for each in twins:
                each.step(answer, None, float(number), patch)
            assert not differences(comparable(short.kernel.state), comparable(long.kernel.state))
        while short.kernel.state.threads:
            for each in twins:
                each.step([], None, 100.0, patch)
            assert not differences(comparable(short.kernel.state), comparable(long.kernel.state))
    assert short.ended() == long.ended()
