"""Generated programs with a person in them, killed anywhere: every law holds, and every question comes to one end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from organism.kernel.imaging import image_of
from organism.kernel.index import Index
from organism.kernel.restoring import restore
from organism.kernel.state import State
from organism.settings import HumanSettings
from organism.threads.routing import routes
from tests.durable.cut_world import KeptWorld, Recovered
from tests.durable.test_any_cut import lasting, programs, same, threads_of
from tests.hard.pump_world import Go, Said
from tests.kernel.kernel_world import Delivery, handler
from tests.kernel.test_kernel_laws import Program, organisms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from organism.settings import Settings
    from organism.threads.frames import Message

CHECKS: Final = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)


def with_person(organism: Settings) -> Settings:
    """The same, where the last handler is a person; others may have an hour, or all the time there is."""
    budget = organism.handlers["d"].budget
    person = handler(
        "d", Go, human=HumanSettings(replies=(Said, Go)), budget=budget, timeout=None if budget else 3600.0
    )
    return lasting(evolve(organism, handlers={**organism.handlers, "d": person}))


class Peopled(KeptWorld):
    """A world in which a person answers, refuses, or takes too long."""

    draining = False
    _with_questions = False

    def _queued(self) -> Iterator[Message]:
        yield from super()._queued()
        if self._with_questions:
            yield from self.kernel.state.inbox.questions

    def _check_frames(self) -> None:
        self._with_questions = True
        super()._check_frames()
        self._with_questions = False

    def is_stuck(self) -> bool:
        return not self.kernel.state.inbox.questions and super().is_stuck()

    def take(self) -> Delivery | None:
        if self.draining:
            for message in tuple(self.kernel.state.inbox.questions):
                if message in self.kernel.state.inbox.questions:
                    self.respond(message, 0)
        return super().take()

    def respond(self, message: Message, how: int) -> None:
        """What a person does with a question."""
        people = self.kernel.people
        assert people.question(message.id) is message
        match how % 5:
            case 0:
                people.refuse(message, "no", self.now)
            case 1:
                people.expire(message, self.now)
            case _:
                people.answer(message, Said() if how % 2 else Go(), self.now)
        assert people.question(message.id) is None
        self.carry_out()

    def rest(self, which: int) -> None:
        """A thread stands still, or goes on."""
        threads = list(self.kernel.state.threads.values())
        if threads:
            thread = threads[which % len(threads)]
            resting = thread in self.kernel.state.inbox.resting
            (self.kernel.people.go_on if resting else self.kernel.people.stand)(thread, self.now)
            self.carry_out()

    def drain(self) -> None:
        self.draining = True
        super().drain()

    def check_end(self) -> None:
        super().check_end()
        inbox = self.kernel.state.inbox
        assert not (inbox.questions or inbox.resting or inbox.watched or inbox._by_thread)


class PeopledAgain(Peopled, Recovered):
    """The same, taken up by another process."""


def play(program: Program, dice: list[tuple[int, int, int, int]]) -> Any:
    """The world of a program, once it was run."""
    world: Any = program.world
    for each in dice:
        program.step(each)
        questions = list(world.kernel.state.inbox.questions)
        if questions and each[1] % 3 == 0:
            world.respond(questions[each[2] % len(questions)], each[3])
        if each[2] % 4 == 0:
            world.rest(each[3])
        if each[0] % 7 == 0:
            world.snapshot(each[1])
        if each[0] % 11 == 3:
            world.pause(each[1])
        world.check()
    return world


def peopled(organism: Settings) -> Program:
    program = Program(organism)
    program.world = Peopled(organism)
    return program


@settings(max_examples=30, suppress_health_check=CHECKS)
@given(
    organism=organisms().map(with_person),
    dice=programs,
    share=st.floats(0, 1),
    more=st.lists(st.tuples(*[st.integers(0, 99)] * 4), max_size=25),
)
def test_programs_with_a_person_come_to_their_end_also_when_they_are_killed(
    organism: Settings, dice: Any, share: float, more: Any
) -> None:
    before = play(peopled(organism), dice)
    asked = round(share * len(before.written))
    again = PeopledAgain(before, asked)
    again.check()
    assert not again.kernel.state.inbox.resting.keys() - {
        each for each in again.kernel.state.threads.values() if each.paused_at is not None
    }
    program = Program(organism)
    program.world = again
    play(program, more)
    for world in (before, again):
        world.drain()
        world.check_end()


@settings(max_examples=20, suppress_health_check=CHECKS)
@given(organism=organisms().map(with_person), dice=programs)
def test_a_thread_that_asks_people_is_restored_from_its_image_as_it_is(organism: Settings, dice: Any) -> None:
    live = play(peopled(organism), dice).kernel.state
    for thread in [one for one in live.threads.values() if one.owner is None]:
        fresh = State(organism, routes(organism))
        fresh.index = Index()
        fresh.now = live.now
        restore(fresh, fresh.index, {}, image_of(live, thread))
        same(threads_of(live, thread.id), threads_of(fresh, thread.id))
