"""Images of threads and conversations in which everything has come to be that can: nothing of it is lost, and nothing is made up."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs

from organism.budget.claims import Charge, Claim
from organism.kernel.calls import CallFor
from organism.kernel.conversations import Beginning
from organism.kernel.holds import Hold
from organism.kernel.imaging import image_of
from organism.message import Reply, Send
from organism.primitives import BudgetWarning
from organism.record.images import (
    CutShort,
    Kept,
)
from organism.settings import (
    AgentSettings,
    BudgetSettings,
    Grace,
    HumanSettings,
    Limits,
    Loops,
    OnFailure,
    Quota,
    Settings,
)
from organism.usage import Usage
from tests.durable.test_any_question import Peopled
from tests.hard.pump_world import Go, Said
from tests.kernel.kernel_world import Delivery, handler

if TYPE_CHECKING:
    from organism.record.images import Image
    from organism.threads.frames import Thread

AGENT = AgentSettings(accepts=(Go,), replies=(Said,))
NAMES = ("a", "b", "c", "d", "e", "h")
LEVELS = {unit: (Decimal("0.25"), Decimal("0.5")) for unit in ("tokens", "model_calls", "seconds")}


def world_of(**keys: Any) -> Peopled:
    """A world with code that takes warnings, an agent, code that is called in sub-threads of either kind, and a person."""
    made = (
        handler("a", Go, Said, BudgetWarning, peers=NAMES, on_failure=OnFailure(attempts=3)),
        handler("b", Go, peers=NAMES, agent=AGENT),
        handler("c", Go, peers=NAMES, per="thread", budget=BudgetSettings(limits=Limits(tokens=300))),
        handler("d", Go, peers=NAMES, budget=BudgetSettings(limits=Limits(tokens=200)), agent=AGENT),
        handler("e", Go, peers=NAMES),
        handler("h", Go, human=HumanSettings(replies=(Said,))),
    )
    keys.setdefault(
        "budget",
        BudgetSettings(
            limits=Limits(tokens=1000, model_calls=20, seconds=100.0), warn_at=LEVELS, grants_by="e",
            grants_up_to={"tokens": Decimal(500)}, grace=Grace(tokens=100),
        ),
    )  # fmt: skip
    return Peopled(
        Settings(name="test", handlers={each.name: each for each in made}, loops=Loops(repeats=2, within=9), **keys)
    )


def begun(world: Peopled, to: str = "a", **how: Any) -> Delivery:
    """The first delivery of a new thread."""
    thread = world.kernel.accept(
        f"t{len(world.roots)}", to, Go("in"), world.settings.budget, {"arm": "blind"}, world.now, **how
    )
    world.roots.append(thread)
    return taken(world, thread)


def taken(world: Peopled, thread: Thread | None = None, to: str = "") -> Delivery:
    """The next delivery of a thread; others that come before it are answered."""
    for _ in range(20):
        found = world.take()
        assert found is not None
        if (thread is None or found.message.thread is thread) and to in ("", found.message.to):
            return found
        world.answer(found)
    raise AssertionError("it does not come")


def held(world: Peopled, delivery: Delivery, wish: int, **how: Any) -> Hold:
    """A call of a delivery, with tags."""
    message = delivery.message
    call = CallFor(
        thread=message.thread, message=message, alias="fast", backend="there", attempt=how.pop("attempt", 1),
        tags=("one", "two"), **how,
    )  # fmt: skip
    hold = world.kernel.calls.hold(
        Claim(input_tokens=10, wish=wish, exact=True, input_cost=3, output_price=2), call, world.now
    )
    assert isinstance(hold, Hold)
    return hold


def spent(hold: Hold, **more: Any) -> Charge:
    """All of it, and details that are told apart."""
    _, given, output, cost, calls, _ = hold.need
    return Charge(
        input_tokens=given, output_tokens=output, cost=cost, model_calls=calls, cache_read_tokens=3,
        cache_write_tokens=5, reasoning_tokens=7, **more,
    )  # fmt: skip


def checked(world: Peopled, chain: str) -> Image:
    """The image of a chain, which says all that there is of it."""
    world.check_whole(chain)
    whole = world.kernel.state.chain(chain)
    assert whole is not None
    return image_of(world.kernel.state, whole)


def is_set(image: Any) -> set[str]:
    """The fields of an image that have something in them."""
    return {each.name for each in attrs.fields(type(image)) if getattr(image, each.name)}


def busy_world() -> tuple[Peopled, Thread]:
    """A thread in which nearly everything is under way at once, under an account and with a ceiling."""
    world = world_of(accounts={"team": Quota(window="day")}, ceiling=Quota(window="hour"))
    world.now = 1_800_000_000.25
    first = begun(world, accounts=("team:x",))
    thread, kernel = first.message.thread, world.kernel
    hold = held(world, first, 240)
    kernel.calls.settle(hold, spent(hold, estimated=True), world.now)
    asked = held(world, first, 10)
    kernel.calls.settle(asked, spent(asked), world.now, digests=("tools", "prompt"))
    world.forecast(first, "tokens", 40)
    world.grant(first, "tokens", 70)
    world.now += 30.0
    kernel.times.reach(thread, world.now)
    # A reply that leaves, a memory, and messages of every kind behind it.
    world.answer(
        first, Reply(Said("out")), *(Send(to, Go(to)) for to in ("b", "e", "e", "c", "d", "h", "h")),
        state={"seen": ({"n": [1, 2]},), "gone": None},
    )  # fmt: skip
    return world, thread


def test_nothing_of_a_thread_in_which_much_goes_on_is_lost() -> None:
    world, thread = busy_world()
    kernel = world.kernel
    agent = taken(world, thread, "b")
    for number in range(3):  # a loop, told to the agent, and an ask that waits
        world.ask(agent, "e", Go(f"{number // 2}"))
    world.now += 1.5
    message = agent.message
    message.have_dealings().clock_reads = [world.now, world.now + 0.25]
    hold = held(world, agent, 100, key="complete:x", streamed=True)
    kept = Kept(model="m", backend="b", usage=Usage(), tool_calls=(("1", "f", "{}"),))
    kernel.calls.completed(_call(agent), "half an answer", world.now, key="complete:y", kept=kept)
    cut = CutShort(
        how="recap",
        why="mark",
        tokens_before=9,
        tokens_after=5,
        messages_before=4,
        messages_after=2,
        replaced=(1, 3),
        digest="d",
    )
    kernel.compacted(message, cut, world.now, key="cut:1")
    world.forecast(agent, "tokens", 30)
    world.grant(agent, "tokens", 20)
    world.spawn(agent, "d", Go("spawned"), tokens=150)
    code = taken(world, thread, "e")
    world.ask(code, "b", Go("asks on"))
    for delivery in (taken(world), taken(world)):  # the sub-threads' own, whose calls cross their levels
        inner = held(world, delivery, 90)
        kernel.calls.settle(inner, spent(inner), world.now)
    image = checked(world, "t0")
    root = next(each for each in image.threads if each.thread == "t0")
    assert {
        "granted",
        "estimates",
        "warnings",
        "state",
        "partial",
        "calls_like",
        "time_fired",
        "ring",
        "accounts",
        "reports",
    } <= is_set(root)
    assert any("pending" in is_set(each) and each.pending for each in image.threads)
    asked = [each for each in image.messages if each.recalled]
    assert asked
    keys = {each.key.partition(":")[0] for message in asked for each in message.recalled}
    assert {"ask", "clock", "complete", "cut", "forecast", "grant", "spawn"} <= keys
    assert image.holds[0].hold == hold.id
    assert {"need", "output", "alias", "backend", "attempt", "streamed", "held_at", "tags", "seq"} <= is_set(
        image.holds[0]
    )
    assert sum(each.asked_at is not None for each in image.messages) == 2
    world.check()
    # What was there before is not restored once more.
    kernel.snapshot("t0", world.now)
    assert world.fold.knows("t0")
    assert not world.fold.knows("t9")
    world.check()


def _call(delivery: Delivery) -> CallFor:
    return CallFor(thread=delivery.message.thread, message=delivery.message, alias="", backend="", attempt=1)


def test_nothing_of_a_conversation_between_its_turns_is_lost() -> None:
    world = conversing()
    first = turn(world)
    thread = first.message.thread
    hold = held(world, first, 200)
    world.kernel.calls.settle(hold, spent(hold), world.now, digests=("tools", "prompt"))
    world.now += 2.5
    late = held(world, first, 50)
    world.answer(first, state={"seen": (["x"],), "n": (1,)})
    assert thread.ended
    image = checked(world, "conversation:c").conversation
    assert image is not None
    assert {"state", "calls", "seconds", "accounts", "node", "before", "unheard", "reports"} <= is_set(image)
    assert image.state == {"b": {"seen": ["x"], "n": 1}, "e": {"old": 1}}
    assert (image.calls, image.seconds, image.turns) == (2, 2.5, ())
    assert [(each.hold, each.handler, each.under) for each in checked(world, "conversation:c").holds] == [
        (2, "b", "t0")
    ]
    world.kernel.snapshot("conversation:c", world.now)
    world.kernel.calls.settle(late, spent(late), world.now)
    world.check()
    assert turn(world).message.thread.state == image.state


def test_nothing_of_a_conversation_with_turns_in_line_is_lost() -> None:
    world = conversing()
    first = turn(world)
    hold = held(world, first, 200)
    world.kernel.calls.settle(hold, spent(hold), world.now)
    world.answer(first, Send("b", Go("again")), state={"n": (1,)})
    world.now += 1.0
    for number in (1, 2):
        world.roots.append(
            world.kernel.accept(f"t{number}", "b", Go(), world.settings.budget, {}, world.now, turn_of=C)
        )
    image = checked(world, "conversation:c").conversation
    assert image is not None
    assert image.turns == ("t0", "t1", "t2")
    assert image.state == {}
    assert [each.waits_turn for each in checked(world, "conversation:c").threads] == [False, True, True]
    world.kernel.snapshot("conversation:c", world.now)
    world.drain()
    world.check()
    assert world.kernel.state.conversations["c"].state == {"b": {"n": 1}, "e": {"old": 1}}


C = Beginning(
    id="c", before="b", accounts=("team:x",), remembered={"e": {"old": 1}},
    budget=BudgetSettings(limits=Limits(tokens=800, messages=50, seconds=90.0), warn_at={"tokens": (Decimal("0.25"),)}),
)  # fmt: skip


def conversing() -> Peopled:
    return world_of(accounts={"team": Quota(window="total")}, ceiling=Quota(window="total"))


def turn(world: Peopled) -> Delivery:
    """The first delivery of the next turn, an agent's."""
    thread = world.kernel.accept(
        f"t{len(world.roots)}", "b", Go("in"), BudgetSettings(limits=Limits(tokens=900)), {}, world.now, turn_of=C
    )
    world.roots.append(thread)
    return taken(world, thread)


def test_a_call_of_a_thread_without_handlers_is_nobodys() -> None:
    world = world_of(ceiling=Quota(window="total"))
    thread = world.kernel.open_bare("t", BudgetSettings(limits=Limits(tokens=500)), {"arm": "none"}, world.now)
    world.roots.append(thread)
    call = CallFor(thread=thread, message=None, alias="fast", backend="there", attempt=1, streamed=True)
    hold = world.kernel.calls.hold(Claim(input_tokens=10, wish=90, exact=True), call, world.now)
    assert isinstance(hold, Hold)
    (image,) = checked(world, "t").holds
    assert (image.seq, image.handler, image.streamed) == (0, "", True)
    world.kernel.ends.close_bare(thread, world.now)
    world.carry_out()
    assert world.ended[-1].usage.tokens == 100
