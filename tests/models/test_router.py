"""One call over its backends: who is asked, what is held, what is charged, what is told."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

from organism.budget.claims import Charge
from organism.errors import BudgetExhaustedError, ConfigurationError, ModelError, NotRunningError
from organism.models.contract import BackendError, RawUsage, ToolSpec
from organism.models.reasoning import THINKERS, heard_by, keeper_of, keeps_for
from organism.models.routing.router import Router
from organism.models.tokens.prefixes import digests_of
from organism.models.tokens.prompt_cache import PromptCache
from organism.record.images import Report
from organism.settings import BackendSettings, ModelSettings, Price
from tests.models.plain_prompts import prompt_of
from tests.models.router_world import NOON, Purse, Say, Script, World, ask, fail, usage

if TYPE_CHECKING:
    from organism.budget.claims import Claim
    from organism.models.routing.ledger import Held

PRICE = Price(input=Decimal(3), output=Decimal(15))


def _estimate(text: str = "Say something.") -> int:
    return -(-prompt_of(ask(text).messages).size * 2 // 3)


async def _fails(world: World, purse: Purse, **more: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        await world.router.complete(ask(**more), purse)
    assert not purse.held
    return caught.value


async def test_an_answer_with_all_its_figures() -> None:
    world = World(
        Script(Say("Hello!", usage(100, 10, cache_read_tokens=40, reasoning_tokens=4), seconds=2.5)),
        each=[{"price": PRICE}],
    )
    purse = Purse(tokens=200)
    done = await world.router.complete(ask(), purse)
    assert (done.text, done.message) == ("Hello!", {"role": "assistant", "content": "Hello!"})
    assert (done.model, done.backend, done.finish_reason, done.attempts) == ("m-0", "scripted/m-0", "stop", 1)
    assert (done.usage.input_tokens, done.usage.output_tokens, done.usage.tokens) == (100, 10, 110)
    assert (done.usage.cache_read_tokens, done.usage.reasoning_tokens, done.usage.model_calls) == (40, 4, 1)
    assert done.cost_usd == done.usage.cost_usd == Decimal("0.00045")
    assert done.latency == pytest.approx(2.5)
    assert not done.usage.estimated
    assert [crossing.level for crossing in done.warnings] == ["final"]
    assert purse.used == [110, 100, 10, 450_000_000, 1, 0]
    assert purse.seen == [("default", "scripted/m-0", 1)]


async def test_the_backend_is_asked_what_the_call_and_its_settings_say() -> None:
    script = Script()
    world = World(script, each=[{"options": {"top_k": 3}}])
    tool = ToolSpec(name="search", description="Searches.", parameters={"type": "object"})
    said: dict[str, Any] = {"temperature": 0.0, "seed": 7, "reasoning_effort": "low", "extra": {"user": "ada"}}
    await world.router.complete(ask(tools=(tool,), tool_choice="search", returns={"title": "A"}, **said), Purse())
    (request,) = script.requests
    assert (request.model, request.options, request.tools, request.tool_choice) == (
        "m-0",
        {"top_k": 3},
        (tool,),
        "search",
    )
    assert {name: getattr(request, name) for name in said} == said
    assert request.returns == {"title": "A"}
    assert request.max_output_tokens == 50


@pytest.mark.parametrize(
    ("said", "wish", "least", "exact"),
    [
        ({}, 50, 50, False),
        ({"wish": 1000}, 1000, 64, False),
        ({"wish": 1000, "min_output_tokens": 200}, 1000, 200, False),
        ({"max_output_tokens": 30, "wish": 1000}, 30, 30, True),
    ],
)
async def test_the_need_of_a_call(said: dict[str, Any], wish: int, least: int, exact: bool) -> None:
    world, purse = World(Script(), each=[{"overhead": 16, "price": PRICE}]), Purse()
    await world.router.complete(ask(**said), purse)
    (claim,) = purse.claims
    assert claim.input_tokens == _estimate() + 16
    assert (claim.wish, claim.min_output, claim.exact, claim.model_calls) == (wish, least, exact, 1)
    assert claim.input_cost == claim.input_tokens * 3_000_000
    assert claim.output_price == 15_000_000


@pytest.mark.parametrize(("other", "known"), [("https://gpu/two/v1", False), ("https://gpu/one/v1", True)])
async def test_what_was_reported_in_another_process_is_only_recalled_where_one_model_has_the_name(
    other: str, known: bool
) -> None:
    """The name shows the server, and not its path, behind which another model may be."""
    each = [{"model": "m", "base_url": url} for url in ("https://gpu/one/v1", other)]
    world, call = World(Script(), Script(), each=each), ask("What is a lighthouse? " * 20)
    before = world.router.claim(call, strict=False)
    assert before is not None
    digests = digests_of(prompt_of(call.messages))
    world.router.recall(Report(handler="h", backend="scripted/m@gpu", digests=digests, tokens=55))
    after = world.router.claim(call, strict=False)
    assert after is not None
    assert after.input_tokens == (55 if known else before.input_tokens)


async def test_the_need_of_a_call_can_be_asked_for_beforehand() -> None:
    script, purse = Script(Say("fine", usage(5000, 10))), Purse()
    world = World(script, each=[{"overhead": 16, "price": PRICE}])
    beforehand = world.router.claim(ask(wish=70), strict=False)
    assert not world.made
    await world.router.complete(ask(wish=70), purse)
    assert purse.claims == [beforehand]
    world, strict = World(script), Purse(strict=True)
    bound = world.router.claim(ask(), strict=True)
    await world.router.complete(ask(), strict)
    assert strict.claims == [bound]
    assert world.router.claim(ask(), strict=True) is None  # it passed its bound, and is closed
    assert world.router.claim(ask(), strict=False) is not None
    assert world.router.claim(ask(model="other"), strict=False) is None
    picture = ({"role": "user", "content": [{"type": "image_url"}]},)
    assert World(script).router.claim(type(ask())(messages=picture), strict=True) is None


@pytest.mark.parametrize("why", ["its circuit is open", "it was asked before", "nobody knows its price"])
async def test_the_need_that_is_told_beforehand_is_that_of_the_backend_which_is_asked(why: str) -> None:
    """The first backend costs nothing that is known, and the second has a price: a prompt that is cut to fit the one may not fit the other."""
    first = Script(fail("server")) if why == "its circuit is open" else Script()
    round_robin = why == "it was asked before"
    each: list[dict[str, Any]] = [
        {"priority": 1},
        {"price": PRICE, "overhead": 300, "priority": 1 if round_robin else 2},
    ]
    world = World(first, Script(), each=each, retries=1, strategy="round-robin" if round_robin else "failover")
    purse = Purse(needs_price=why == "nobody knows its price")
    for _ in range({"its circuit is open": 5, "it was asked before": 1}.get(why, 0)):
        await world.router.complete(ask(), Purse())
    beforehand = world.router.claim(ask(), strict=False, needs_price=purse.needs_price)
    await world.router.complete(ask(), purse)
    assert purse.claims == [beforehand]
    assert beforehand is not None
    assert beforehand.output_price > 0


async def test_a_wish_that_was_lowered_is_what_the_backend_is_told_and_the_caller_sees() -> None:
    script = Script()
    done = await World(script).router.complete(ask(wish=1000), Purse(tokens=_estimate() + 400))
    assert done.clamped
    assert script.requests[0].max_output_tokens == 200


async def test_what_was_reported_is_the_estimate_of_the_same_beginning() -> None:
    world, purse = World(Script(Say("fine", usage(400, 10))), each=[{"overhead": 5}]), Purse()
    done = await world.router.complete(ask(), purse)
    more = (*ask().messages, done.message, {"role": "user", "content": "more"})
    await world.router.complete(ask(), purse)
    assert purse.claims[1].input_tokens == 405
    call = ask()
    await world.router.complete(type(call)(messages=more), purse)
    new = prompt_of(more).size - prompt_of(ask().messages).size
    assert purse.claims[2].input_tokens == 405 + -(-new * 2 // 3)


async def test_backends_are_tried_in_order_of_priority_then_of_the_file() -> None:
    scripts = [Script(fail("server")) for _ in range(3)]
    world = World(*scripts, each=[{"priority": 2}, {"priority": 1}, {"priority": 2}], retries=4)
    error = await _fails(world, Purse())
    assert [cause.split()[2] for cause in error.causes] == [f"scripted/m-{number}" for number in (1, 0, 2, 1, 0)]
    assert [len(script.requests) for script in scripts] == [2, 2, 1]


async def test_a_fresh_backend_is_asked_at_once_and_nobody_waits_after_the_last_attempt() -> None:
    first, second = Script(fail("server")), Script(fail("server"))
    world = World(first, second, retries=2, dice=_Zero())
    started = anyio.current_time()
    await _fails(world, Purse())
    assert [at - started for at in (first.times[0], second.times[0], first.times[1])] == pytest.approx([0, 0, 1])
    assert anyio.current_time() - started == pytest.approx(1)


async def test_backoff_doubles_and_retry_after_wins_up_to_the_longest() -> None:
    steps = [fail("server"), fail("rate_limited", retry_after=7.0), fail("rate_limited", retry_after=900.0), Say()]
    script = Script(*steps)
    started = anyio.current_time()
    done = await World(script, backoff=(1.0, 20.0), dice=_Zero()).router.complete(ask(), Purse())
    assert [at - started for at in script.times] == pytest.approx([0, 1, 8, 28])
    assert done.attempts == 4


class _Zero:
    def random(self) -> float:
        return 0.0


async def test_backoff_holds_nothing() -> None:
    purse, world = Purse(), World(Script(fail("server"), Say()), backoff=(10.0, 10.0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.router.complete, ask(), purse)
        await anyio.sleep(2)
        assert not purse.held
        assert len(purse.charges) == 1
    assert len(purse.claims) == 2


@pytest.mark.parametrize("kind", ["rate_limited", "server", "connection", "rejected", "auth", "context"])
async def test_what_no_provider_bills_costs_nothing_but_the_call(kind: Any) -> None:
    purse = Purse()
    await _fails(World(Script(fail(kind)), retries=2), purse)
    assert purse.used == [0, 0, 0, 0, 1, 0]
    assert [claim.model_calls for claim in purse.claims] == [1, 0, 0][: len(purse.claims)]


@pytest.mark.parametrize("kind", ["timeout", "cut", "broken"])
async def test_what_may_have_been_billed_is_charged_by_estimate(kind: Any) -> None:
    purse = Purse()
    await _fails(
        World(Script(fail(kind, received="x" * 30)), each=[{"overhead": 16, "price": PRICE}], retries=0), purse
    )
    given = _estimate() + 16
    cost = given * 3_000_000 + 20 * 15_000_000
    assert purse.charges == [Charge(input_tokens=given, output_tokens=20, cost=cost, model_calls=1, estimated=True)]


async def test_what_a_cut_answer_reported_is_charged_as_reported() -> None:
    purse = Purse()
    await _fails(World(Script(fail("cut", usage=usage(70, 3), received="x" * 30)), retries=0), purse)
    assert purse.charges == [Charge(input_tokens=70, output_tokens=3, model_calls=1, unpriced=True)]


async def test_the_estimate_of_an_output_never_passes_what_was_held() -> None:
    purse = Purse()
    await _fails(World(Script(fail("cut", received="x" * 3000)), retries=0), purse, max_output_tokens=40)
    assert purse.charges[0].output_tokens == 40


async def test_the_figures_are_those_of_all_attempts() -> None:
    purse = Purse()
    world = World(Script(fail("cut", usage=usage(70, 3))), Script(Say("fine", None)))
    done = await world.router.complete(ask(), purse)
    assert (done.attempts, done.usage.model_calls, done.usage.estimated) == (2, 1, True)
    assert done.usage.input_tokens == 70 + _estimate() == purse.used[1]
    assert done.usage.output_tokens == 3 + 3 == purse.used[2]
    assert done.backend == "scripted/m-1"


@pytest.mark.parametrize(
    "report",
    [None, RawUsage(), usage(None, 5), usage(-1, 5), usage("5", 5), usage(5.0, 5), usage(10**9 + 1, 5), usage(5, None)],
)
async def test_a_report_that_is_none_is_replaced_by_the_estimate(report: RawUsage | None) -> None:
    purse = Purse()
    await World(Script(Say("x" * 30, report))).router.complete(ask(), purse)
    assert purse.charges == [
        Charge(input_tokens=_estimate(), output_tokens=20, model_calls=1, estimated=True, unpriced=True)
    ]


async def test_a_report_far_above_what_was_held_is_charged() -> None:
    purse = Purse(tokens=1000)
    done = await World(Script(Say("fine", usage(10**9, 10**9)))).router.complete(ask(), purse)
    assert purse.used[0] == done.usage.tokens == 2 * 10**9
    with pytest.raises(BudgetExhaustedError):
        await World(Script()).router.complete(ask(), purse)


async def test_a_refused_hold_touches_no_backend() -> None:
    script = Script()
    world = World(script)
    with pytest.raises(BudgetExhaustedError):
        await world.router.complete(ask(max_output_tokens=100), Purse(tokens=50))
    assert not script.requests


async def test_a_further_attempt_must_fit_after_what_the_last_one_cost() -> None:
    purse = Purse(tokens=_estimate() + 60)
    script = Script(fail("cut", "the line is dead", received="x" * 30), Say())
    with pytest.raises(BudgetExhaustedError) as caught:
        await World(script).router.complete(ask(max_output_tokens=50), purse)
    assert len(script.requests) == 1
    assert purse.used[0] == _estimate() + 20
    assert not purse.held
    assert "the line is dead" in caught.value.__notes__[0]


async def test_wrong_key_and_unknown_model_go_on_elsewhere_and_never_back() -> None:
    key, model, good = Script(fail("auth")), Script(fail("rejected")), Script(fail("server"), Say())
    done = await World(key, model, good).router.complete(ask(), Purse())
    assert (len(key.requests), len(model.requests), len(good.requests)) == (1, 1, 2)
    assert done.attempts == 4


async def test_a_prompt_that_is_too_long_fails_at_once() -> None:
    other = Script()
    error = await _fails(World(Script(fail("context", "8193 tokens, 8192 at most")), other), Purse())
    assert not other.requests
    assert "8193 tokens, 8192 at most; send less, or use a model with a longer context" in str(error)


async def test_every_attempt_is_one_line_with_its_place_and_a_way_out() -> None:
    said: list[dict[str, Any]] = [
        {"place": "organism.yaml:7:9 models.default.backends[0]", "api_key_env": "MY_KEY"},
        {"base_url": "http://localhost:1/v1", "place": "organism.yaml:9:9 models.default.backends[1]"},
        {"timeout": 3.0},
    ]
    scripts = (
        Script(fail("auth", "401:\n the key\n was refused")),
        Script(fail("connection", "no route")),
        Script(Say(seconds=9)),
    )
    error = await _fails(World(*scripts, each=said, retries=2), Purse())
    place = "models.default.backends[2]"
    assert error.alias == "default"
    assert error.causes == (
        f"default via scripted/m-0 ({said[0]['place']}): attempt 1: 401: the key was refused; check the key (MY_KEY)",
        f"default via scripted/m-1@localhost:1 ({said[1]['place']}): attempt 2: no route; is http://localhost:1/v1 reachable?",
        f"default via scripted/m-2 ({place}): attempt 3: no answer within 3 s; a longer `timeout` may help (now 3 s)",
    )
    assert isinstance(error.__cause__, BackendError)


async def test_a_provider_that_raises_anything_is_an_attempt_that_failed() -> None:
    bug, purse = KeyError("choices"), Purse()
    error = await _fails(World(Script(Say(error=bug)), retries=0), purse)
    assert "KeyError: 'choices'" in error.causes[0]
    assert error.__cause__ is not None
    assert error.__cause__.__cause__ is bug
    assert purse.charges[0].estimated


async def test_what_a_provider_does_not_know_may_be_the_model_or_the_way_to_it() -> None:
    error = await _fails(World(Script(fail("rejected", "404: not found")), retries=0), Purse())
    assert error.causes[0].endswith("404: not found; check `model` ('m-0'), `base_url` and `options`")


async def test_a_long_complaint_is_cut() -> None:
    error = await _fails(World(Script(fail("server", "x" * 10_000)), retries=0), Purse())
    assert len(error.causes[0]) < 600


async def test_an_attempt_that_takes_too_long_is_charged_by_estimate_and_another_one_made() -> None:
    slow, purse = Script(Say(seconds=100, came="half of it all")), Purse()
    started = anyio.current_time()
    done = await World(slow, Script(Say()), each=[{"timeout": 3.0}, {}]).router.complete(ask(), purse)
    assert anyio.current_time() - started == pytest.approx(3)
    assert slow.running == 0
    charge = Charge(input_tokens=_estimate(), output_tokens=10, model_calls=1, estimated=True, unpriced=True)
    assert purse.charges[0] == charge
    assert done.latency == pytest.approx(0)


async def test_a_cancelled_call_is_charged_by_estimate_and_holds_nothing() -> None:
    purse = Purse()
    with anyio.move_on_after(1) as scope:
        await World(Script(Say(seconds=50, came="half of it all"))).router.complete(ask(), purse)
    assert scope.cancelled_caught
    assert not purse.held
    charge = Charge(input_tokens=_estimate(), output_tokens=10, model_calls=1, estimated=True, unpriced=True)
    assert purse.charges == [charge]


async def test_a_call_cancelled_before_its_backend_was_touched_costs_nothing() -> None:
    class Cancelling(Purse):
        async def hold(self, *args: Any, **more: Any) -> Any:
            held = await super().hold(*args, **more)
            scope.cancel()
            return held

    purse, script = Cancelling(), Script()
    with anyio.CancelScope() as scope:
        await World(script).router.complete(ask(), purse)
    assert scope.cancelled_caught
    assert purse.charges == [Charge()]
    assert not script.requests
    assert not purse.held


async def test_a_thousand_failures_leave_nothing_held() -> None:
    purse = Purse()
    steps = [fail("server"), fail("cut"), Say(seconds=9.0), fail("rate_limited"), Say(error=ValueError("?"))]
    world = World(Script(*steps * 200, Say()), each=[{"timeout": 1.0}], retries=1000, backoff=(0.0, 0.0))
    done = await world.router.complete(ask(), purse)
    assert done.attempts == 1001
    assert len(purse.charges) == 1001
    assert not purse.held
    assert done.usage.model_calls == purse.used[4] == 1


async def test_no_more_than_max_concurrent_are_asked_and_those_who_wait_hold_nothing() -> None:
    script, purse = Script(Say(seconds=1)), Purse()
    world = World(script, each=[{"max_concurrent": 3}])
    started = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(world.router.complete, ask(), purse)
    assert (script.most_running, purse.most_held) == (3, 3)
    assert anyio.current_time() - started == pytest.approx(4)


async def test_a_place_is_given_back_by_whoever_fails_is_refused_or_is_cancelled() -> None:
    script = Script(fail("cut"), Say(seconds=50), Say())
    world = World(script, each=[{"max_concurrent": 1}], retries=0)
    await _fails(world, Purse())
    with anyio.move_on_after(1):
        await world.router.complete(ask(), Purse())
    with pytest.raises(BudgetExhaustedError):
        await world.router.complete(ask(), Purse(tokens=1))
    assert (await world.router.complete(ask(), Purse())).text == "fine"


async def test_a_model_without_a_price_is_refused_where_money_is_limited() -> None:
    unpriced, priced = Script(), Script()
    alone = World(unpriced)
    error = await _fails(alone, Purse(needs_price=True))
    assert alone.made == []
    assert error.causes[0].startswith(
        "default via scripted/m-0 (models.default.backends[0]): no price is known for 'm-0'"
    )
    assert "`price: " in error.causes[0]
    assert "`on_unpriced: ignore`" in error.causes[0]
    both = World(unpriced, priced, each=[{}, {"price": PRICE}])
    assert (await both.router.complete(ask(), Purse(needs_price=True))).backend == "scripted/m-1"
    assert not unpriced.requests


async def test_a_model_without_a_price_counts_as_0_where_nobody_needs_one() -> None:
    purse = Purse()
    done = await World(Script()).router.complete(ask(), purse)
    assert done.cost_usd == 0
    assert purse.claims[0].input_cost == purse.claims[0].output_price == 0


async def test_strict_holds_the_bytes_of_everything_that_is_sent() -> None:
    world, purse = (
        World(Script(Say("fine", usage(1, 1))), each=[{"overhead": 16, "options": {"top_k": 3}}]),
        Purse(strict=True),
    )
    await world.router.complete(ask(), purse)
    await world.router.complete(ask(), purse)
    bound = prompt_of(ask().messages).size + len('{"top_k":3}') + 16
    assert [claim.input_tokens for claim in purse.claims] == [bound, bound]


async def test_strict_refuses_what_has_no_bound() -> None:
    script = Script()
    picture = {"type": "image_url", "image_url": {"url": "http://example.org/a.png"}}
    call = type(ask())(messages=({"role": "user", "content": [picture]},))
    with pytest.raises(ModelError, match=r"messages\[0\].content\[0\] \(image_url\).*accounting: estimate"):
        await World(script).router.complete(call, Purse(strict=True))
    assert not script.requests
    await World(script).router.complete(call, Purse())


@pytest.mark.parametrize(("given", "answered", "excess"), [(5000, 10, 5000), (10, 1050, 1000), (5000, 1050, 6000)])
async def test_a_provider_that_passes_the_bound_is_closed_to_strict_calls(
    given: int, answered: int, excess: int
) -> None:
    script, purse = Script(Say("fine", usage(given, answered))), Purse(strict=True)
    world = World(script, each=[{"overhead": 16}])
    assert (await world.router.complete(ask(), purse)).usage.tokens == given + answered
    error = await _fails(world, purse)
    bound = prompt_of(ask().messages).size + 16
    needed = excess - (bound if given > bound else 0) + 16
    assert f"raise its `overhead` to {needed} or more (now 16)" in error.causes[0]
    assert len(script.requests) == 1
    await world.router.complete(ask(), Purse())


@pytest.mark.parametrize(("given", "answered"), [(5000, 10), (10, 1050)])
async def test_a_report_to_whoever_estimates_closes_it_before_a_strict_call_is_overcharged(
    given: int, answered: int
) -> None:
    script, careless = Script(Say("fine", usage(given, answered)), Say("fine", usage(500, 10))), Purse()
    world = World(script, each=[{"overhead": 16}])
    await world.router.complete(ask(), careless)
    first = await _fails(world, Purse(strict=True))
    await world.router.complete(ask(), careless)
    assert (await _fails(world, Purse(strict=True))).causes == first.causes  # what it once charged, it may charge again
    assert len(script.requests) == 2


class _Late(Purse):
    """One whose holds are granted late."""

    async def hold(self, claim: Claim, **more: Any) -> Held:
        await anyio.sleep(5)
        return await super().hold(claim, **more)


@pytest.mark.parametrize("waits_for", ["a place", "budget"])
async def test_a_strict_call_that_waits_while_its_backend_is_closed_is_not_made(waits_for: str) -> None:
    script, second = Script(Say("fine", usage(5000, 10), seconds=1)), _Late(strict=True)
    world = World(script, each=[{"max_concurrent": 1 if waits_for == "a place" else 20}])
    errors: list[ModelError] = []

    async def wait() -> None:
        errors.append(await _fails(world, second))

    async with anyio.create_task_group() as group:
        group.start_soon(world.router.complete, ask(), Purse(strict=True))
        await anyio.sleep(0.5)
        group.start_soon(wait)
    assert "is closed to strict calls" in errors[0].causes[0]
    assert len(script.requests) == 1
    assert (second.held, sum(second.used)) == ({}, 0)


async def test_the_overhead_that_is_asked_for_opens_it_again() -> None:
    reported = prompt_of(ask().messages).size + 400
    script = Script(Say("fine", usage(reported, 10)))
    closed = World(script, each=[{"overhead": 16}])
    await closed.router.complete(ask(), Purse(strict=True))
    error = await _fails(closed, Purse(strict=True))
    assert "raise its `overhead` to 400 or more (now 16)" in error.causes[0]
    purse = Purse(strict=True)
    opened = World(script, each=[{"overhead": 400}])
    for _ in range(3):
        await opened.router.complete(ask(), purse)
    assert [claim.input_tokens for claim in purse.claims] == [reported] * 3


async def test_a_picture_says_nothing_of_the_bound() -> None:
    picture = {"type": "image_url", "image_url": {"url": "http://example.org/a.png"}}
    world = World(Script(Say("fine", usage(2000, 10)), Say("fine", usage(10, 10))))
    call = type(ask())(messages=({"role": "user", "content": [picture]},))
    await world.router.complete(call, Purse())
    await world.router.complete(ask(), Purse(strict=True))


async def test_a_provider_that_stays_within_the_bound_is_not_closed() -> None:
    script, purse = Script(Say("fine", usage(prompt_of(ask().messages).size, 50))), Purse(strict=True)
    world = World(script)
    await world.router.complete(ask(), purse)
    await world.router.complete(ask(), purse)
    assert len(script.requests) == 2


async def test_an_alias_that_is_none() -> None:
    with pytest.raises(ModelError, match="no such alias; did you mean 'default'\\?; `models` has: default"):
        await World(Script()).router.complete(ask(model="defualt"), Purse())


async def test_a_backend_that_cannot_be_made_is_passed_over() -> None:
    def make(settings: BackendSettings) -> Script:
        if settings.model == "m-0":
            raise ConfigurationError(["organism.yaml:7:9: no key for 'm-0'"])
        return good

    good, settings = (
        Script(),
        [BackendSettings(provider="p", model=f"m-{number}", priority=number) for number in (0, 1)],
    )
    models = {"default": ModelSettings(name="default", backends=tuple(settings), retries=0)}
    router = Router(models, backends=make, random=_Zero(), clock=lambda: NOON)
    done = await router.complete(ask(), Purse())
    assert (done.backend, done.attempts) == ("p/m-1", 1)
    router = Router(
        {"default": ModelSettings(name="default", backends=(settings[0],))},
        backends=make,
        random=_Zero(),
        clock=lambda: NOON,
    )
    with pytest.raises(ModelError, match="no key for 'm-0'") as caught:
        await router.complete(ask(), Purse())
    assert isinstance(caught.value.__cause__, ConfigurationError)


async def test_backends_are_made_once_when_needed_and_closed_with_the_router() -> None:
    used, unused = Script(), Script()
    world = World(used, unused)
    await world.router.complete(ask(), Purse())
    await world.router.complete(ask(), Purse())
    assert world.made == ["m-0"]
    await world.router.aclose()
    assert (used.closed, unused.closed) == (True, False)
    with pytest.raises(NotRunningError):
        await world.router.complete(ask(), Purse())
    await world.router.aclose()


async def test_one_that_cannot_be_closed_keeps_no_other_open() -> None:
    class Stuck(Script):
        async def aclose(self) -> None:
            raise OSError("stuck")

    for order in ([Stuck(fail("server")), Script()], [Script(fail("server")), Stuck()]):
        world = World(*order)
        await world.router.complete(ask(), Purse())
        with pytest.raises(OSError, match="stuck"):
            await world.router.aclose()
        assert any(script.closed for script in order)


async def test_aliases_that_share_a_backend_share_its_places_and_what_was_measured() -> None:
    script, purse = Script(Say("fine", usage(400, 10), seconds=1)), Purse()
    shared = BackendSettings(provider="p", model="m", max_concurrent=1, overhead=0)
    models = {name: ModelSettings(name=name, backends=(shared,)) for name in ("default", "small")}
    router = Router(models, backends=lambda _: script, random=_Zero(), clock=lambda: NOON)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(router.complete, ask(), purse)
        tasks.start_soon(router.complete, ask(model="small"), purse)
    assert script.most_running == 1
    assert sorted(claim.input_tokens for claim in purse.claims) == [_estimate(), 400]


async def test_failures_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    await World(Script(fail("server", "500: oops"), Say()), each=[{"price": PRICE}]).router.complete(ask(), Purse())
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("organism.models", "WARNING")
    assert "500: oops" in record.getMessage()


ANSWERED: Final[dict[str, Any]] = {"role": "assistant", "content": "", "tool_calls": []}


@pytest.mark.parametrize(
    ("provider", "server", "learns"), [("openai", "", True), ("openai", "another", False), ("anthropic", "", False)]
)
async def test_a_backend_is_held_for_and_learned_of_by_what_it_gets_to_see(
    provider: str, server: str, learns: bool
) -> None:
    """What is kept for one server is not sent to another: a ratio made of both would hold far too little for plain text."""
    script = Script(Say(usage=RawUsage(input_tokens=150, output_tokens=1)))
    world = World(script, each=[{"provider": provider, "factory": None, "base_url": "http://here/v1"}])
    kept = {"server": server or keeps_for(world.settings[0]), "said": "Say something. " * 600}
    plain = ask("Say something. " * 100)
    before = world.router.claim(plain, strict=False)
    for strict in (False, True):
        bare, with_thoughts = (
            world.router.claim(type(plain)(messages=({"role": "user", "content": "0"}, said)), strict=strict)
            for said in (ANSWERED, {**ANSWERED, "kept_for_server": kept})
        )
        assert bare is not None
        assert with_thoughts is not None
        assert (with_thoughts.input_tokens > bare.input_tokens) == learns
    for number in range(5):
        said = ({"role": "user", "content": f"{number}"}, {**ANSWERED, "kept_for_server": kept})
        purse = Purse()
        await world.router.complete(type(plain)(messages=said), purse)
        assert learns or purse.claims[0].input_tokens < 1000
    after = world.router.claim(plain, strict=False)
    assert before is not None
    assert after is not None
    assert (after.input_tokens < before.input_tokens) == learns


@pytest.mark.parametrize(
    ("whom", "parts"),
    [(THINKERS, {"thinking_blocks"}), ("me", {"kept_for_server"}), ("you", set[str]()), ("", set[str]())],
)
def test_thoughts_belong_to_those_who_had_them(whom: str, parts: set[str]) -> None:
    mine = {"server": "me", "said": "{}"}
    both: dict[str, Any] = {**ANSWERED, "thinking_blocks": [], "kept_for_server": mine}
    prompts = prompt_of([both]), PromptCache().of([both])
    assert [prompt.kept_for for prompt in prompts] == [{THINKERS, "me"}] * 2
    assert set(heard_by(both, whom)) - set(ANSWERED) == parts
    assert heard_by(ANSWERED, whom) is ANSWERED


def test_who_answers_without_a_provider_gets_to_see_all() -> None:
    worlds = [
        World(Script(), each=[{"provider": name, "factory": None}]) for name in ("anthropic", "openai", "simulated")
    ]
    keepers = [keeper_of(next(iter(world.router._order["default"])).settings) for world in worlds]
    assert keepers == [THINKERS, keeps_for(worlds[1].settings[0]), None]
