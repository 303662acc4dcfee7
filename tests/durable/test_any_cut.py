"""Generated programs, killed anywhere: whatever was written, a fresh kernel takes it up and brings it to a good end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from organism.kernel.comparable import comparable
from organism.kernel.fold import Fold
from organism.kernel.imaging import image_of
from organism.kernel.index import Index
from organism.kernel.restoring import restore
from organism.kernel.state import State
from organism.testing import differences
from organism.threads.routing import routes
from tests.durable.cut_world import SETTLING, KeptWorld, Recovered
from tests.kernel.test_kernel_laws import Dice, Program, organisms

if TYPE_CHECKING:
    from organism.settings import Settings

CHECKS: Final = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
DICE: Final = st.tuples(*[st.integers(0, 99)] * 4)
programs = st.lists(DICE, min_size=20, max_size=60)


def lasting(organism: Settings) -> Settings:
    """The same, its ceiling counting over all processes: so that figures after a crash can be compared."""
    return evolve(organism, ceiling=evolve(organism.ceiling, window="total"))


def program_of(organism: Settings, dice: list[Dice], world: KeptWorld | None = None) -> Program:
    """A program that was run, with snapshots in between."""
    program = Program(organism)
    program.world = world or KeptWorld(organism)
    for each in dice:
        program.step(each)
        if each[0] % 5 == 0:
            kept(program).snapshot(each[1])
        if each[0] % 11 == 3:
            kept(program).pause(each[1])
    return program


def kept(program: Program) -> KeptWorld:
    assert isinstance(program.world, KeptWorld)
    return program.world


def threads_of(state: State, root: str) -> dict[str, Any]:
    """The part of a state that belongs to one root thread."""
    whole = comparable(state)
    mine = {id_: each for id_, each in whole["threads"].items() if id_.split(".")[0] == root}
    return {"threads": mine, "holds": {key: each for key, each in whole["holds"].items() if key[0] == root}}


def same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    lines = differences(ours, theirs)
    assert not lines, "\n".join(lines)


@settings(max_examples=40, suppress_health_check=CHECKS)
@given(
    organism=organisms().map(lasting),
    dice=programs,
    share=st.floats(0, 1),
    more=st.lists(DICE, max_size=25),
    share_again=st.floats(0, 1),
    forgetful=st.sampled_from([0, 0, 2, 3]),
)
def test_a_record_that_is_cut_anywhere_and_again_is_taken_up_and_comes_to_its_end(
    organism: Settings, dice: list[Dice], share: float, more: list[Dice], share_again: float, forgetful: int
) -> None:
    before = kept(program_of(organism, dice))
    first = Recovered(before, round(share * len(before.written)), forgetful=forgetful)
    check_taken_up(first)
    kept(program_of(organism, more, first))
    second = Recovered(first, round(share_again * len(first.written)), down=0.0)
    check_taken_up(second)
    second.drain()
    second.check_end()


def check_taken_up(world: Recovered) -> None:
    """Taking up settles what nobody will answer for, and changes nothing else."""
    assert all(isinstance(fact, SETTLING) for fact in world.settled)
    assert not world.differing(), "\n".join(world.differing())
    world.check()
    assert not world.kernel.state.holds
    assert not any(world.kernel.state.root.held)
    for id_, ran in world.running_times().items():
        assert abs(ran - world.ran[id_]) < 1e-6, "what a process was down for is no running time"
    for root in world.live:
        thread = world.kernel.state.threads[root]
        assert (thread.paused_at is not None) is (root in world.paused)
        for message in world.kernel.state.open_messages(thread):
            assert not message.dropped


@settings(max_examples=30, suppress_health_check=CHECKS)
@given(organism=organisms(), dice=programs)
def test_a_snapshot_anywhere_changes_nothing_of_what_follows(organism: Settings, dice: list[Dice]) -> None:
    program = program_of(organism, dice)
    world = kept(program)
    world.drain()
    for root in {root for root, _ in world.written}:
        record = [fact for chain, fact in world.written if chain == root]
        for start, first in enumerate(record):
            if type(first).__name__ != "Snapshot":
                continue
            whole, short = Fold(organism), Fold(organism)
            for fact in record[:start]:
                whole.apply(fact)
            for fact in record[start:]:
                whole.apply(fact)
                short.apply(fact)
                same(threads_of(whole.state, root), threads_of(short.state, root))
                assert whole.unsaid.keys() == short.unsaid.keys()


@settings(max_examples=30, suppress_health_check=CHECKS)
@given(organism=organisms(), dice=programs)
def test_a_thread_restored_from_its_image_is_the_thread(organism: Settings, dice: list[Dice]) -> None:
    program = Program(organism)
    program.world = KeptWorld(organism)
    for each in dice:
        program.step(each)
        live = program.world.kernel.state
        for thread in [one for one in live.threads.values() if one.owner is None]:
            fresh = State(organism, routes(organism))
            fresh.index = Index()
            fresh.now = live.now
            restore(fresh, fresh.index, {}, image_of(live, thread))
            same(threads_of(live, thread.id), threads_of(fresh, thread.id))
