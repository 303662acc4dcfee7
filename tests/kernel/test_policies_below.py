"""A policy that is changed while threads live: those below have what they do not say themselves, live and after a crash."""

from __future__ import annotations

from decimal import Decimal

from attrs import evolve

from organism.kernel.comparable import comparable
from organism.kernel.imaging import image_of
from organism.kernel.index import Index
from organism.kernel.restoring import restore
from organism.kernel.state import State
from organism.settings import BudgetSettings, Grace, Limits
from organism.testing import differences
from organism.threads.routing import routes
from tests.hard.pump_world import Go
from tests.kernel.kernel_world import World, handler, organism_of


def test_sub_threads_follow_a_change_of_their_parents_policy_and_so_does_what_is_restored() -> None:
    limits = Limits(tokens=1000)
    world = World(
        organism_of(
            handler("a", Go, peers=("b", "c")),
            handler("b", Go, budget=BudgetSettings(limits=limits)),
            handler("c", Go, budget=BudgetSettings(limits=limits, grace=Grace(share=Decimal("0.5")))),
        )
    )
    world.accept("a", Go("x"))
    delivery = world.take()
    assert delivery is not None
    thread = delivery.message.thread
    for to in ("b", "c"):
        world.ask(delivery, to, Go(to))
    assert thread.subs is not None
    own, said = sorted(thread.subs.values(), key=lambda each: each.handler)
    assert (own.node.caps.working[0], said.node.caps.working[0]) == (900, 500)
    world.kernel.calls.set_limits(thread, evolve(thread.budget, grace=Grace(share=Decimal("0.2"))), world.now)
    assert (own.node.caps.working[0], said.node.caps.working[0]) == (800, 500)
    live = world.kernel.state
    fresh = State(live.settings, routes(live.settings))
    fresh.index, fresh.now = Index(), live.now
    restore(fresh, fresh.index, {}, image_of(live, thread))
    assert differences(comparable(live)["threads"], comparable(fresh)["threads"]) == []
