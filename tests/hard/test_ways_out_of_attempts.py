"""Further attempts over HTTP, and calls that somebody gives up: each attempt is charged once, and nothing stays held (R18)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

from organism import BudgetExhaustedError, Context, HandlerFailedError, ModelError, NotRunningError, Reply
from organism.models.routing import circuit_breaker as circuits
from organism.record.facts import CallHeld, CallRefused, CallSettled
from organism.testing import running
from tests.hard.budget_world import NO_GRACE, Done, Task, code, outcome
from tests.models.hostile import (
    DONE,
    END,
    answer,
    echo,
    estimate,
    estimate_of,
    events,
    facing,
    head,
    models,
    more,
    nobody,
    says,
    serving,
    unread,
    usage,
    whole,
    word,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from organism.models.completion import Completion
    from organism.usage import Usage
    from tests.models.hostile import Way

PROMPT: Final = "Say something of some length, please."
INPUT: Final = estimate_of(PROMPT)
"""The estimate of the prompt."""
FAILS: Final = says(whole({}, 500))
CUTS: Final = says(cut=True)
HANGS: Final = says(hang=True)
ANSWERS: Final = says(whole(answer()))


pytestmark = pytest.mark.sockets


def spent(usage: Usage) -> tuple[int, int, int, bool]:
    return usage.input_tokens, usage.output_tokens, usage.model_calls, usage.estimated


def charges(organism: Any) -> list[tuple[int, int]]:
    """The attempts as they are recorded: each held, then settled, before the next."""
    held = organism.watch.of(CallHeld)
    settled = organism.watch.of(CallSettled)
    assert [fact.hold for fact in held] == [fact.hold for fact in settled]
    both = [fact for fact in organism.watch.facts if isinstance(fact, (CallHeld, CallSettled))]
    assert [type(fact) for fact in both] == [CallHeld, CallSettled] * len(held)
    return [(fact.charge.input_tokens, fact.charge.output_tokens) for fact in settled]


async def retried(*ways: Way, **more: Any) -> tuple[Completion, Any]:
    """One call with up to three further attempts."""
    async with facing(ways, retries=3, **more) as (organism, server):
        async with organism.thread() as thread:
            done = await thread.complete(PROMPT)
        result = await thread.handle.result()
        assert spent(result.usage) == spent(done.usage) == spent(organism.usage())
        assert result.usage.cost_usd * 10**6 == result.usage.input_tokens + 2 * result.usage.output_tokens
        assert organism.statistics().held == 0
        assert [fact.attempt for fact in organism.watch.of(CallHeld)] == list(range(1, server.asked + 1))
    return done, organism


@pytest.mark.parametrize(
    ("failure", "charged"),
    [
        (FAILS, (0, 0)),
        (says(whole({}, 429)), (0, 0)),
        (says(whole({}, 429, retry_after=0)), (0, 0)),
        (says(whole({}, 429, retry_after_ms=5)), (0, 0)),
        (says(whole(answer(), 503)), (0, 0)),
        (CUTS, (INPUT, 0)),
        (unread, (INPUT, 0)),
        (says(whole(b"garbage")), (INPUT, estimate("garbage"))),
        (says(whole(answer(choices=[]))), (9, 2)),
    ],
)
@pytest.mark.by_turns
async def test_a_failure_before_the_answer_is_an_attempt_with_a_charge_of_its_own(
    failure: Way, charged: tuple[int, int]
) -> None:
    done, organism = await retried(failure, failure, ANSWERS)
    assert (done.text, done.attempts) == ("Hello", 3)
    assert charges(organism) == [charged, charged, (9, 2)]
    assert spent(done.usage) == (2 * charged[0] + 9, 2 * charged[1] + 2, 1, charged[0] == INPUT)


async def test_a_stream_that_fails_before_its_first_text_is_tried_again() -> None:
    fine = says(events(word("Hel"), word("lo", "stop"), usage(), DONE) + END)
    early = says(events(usage(prompt_tokens=7, completion_tokens=0)), cut=True)
    async with facing([FAILS, CUTS, early, fine], retries=3) as (organism, _):
        async with organism.thread() as thread, thread.stream(PROMPT) as stream:
            assert [piece async for piece in stream] == ["Hel", "lo"]
        assert charges(organism) == [(0, 0), (INPUT, 0), (7, 0), (9, 2)]
        assert stream.completion.attempts == 4
        assert spent((await thread.handle.result()).usage) == (INPUT + 16, 2, 1, True)


async def test_when_all_attempts_are_made_the_caller_hears_of_each() -> None:
    ways = [FAILS, CUTS, says(whole({}, 429)), says(head(content_length=5), cut=True)]
    async with facing(ways, retries=3) as (organism, _):
        async with organism.thread() as thread:
            with pytest.raises(ModelError) as failed:
                await thread.complete(PROMPT)
            assert thread.budget.tokens.held == 0
        assert charges(organism) == [(0, 0), (INPUT, 0), (0, 0), (INPUT, 0)]
    assert failed.value.alias == "default"
    lines = failed.value.causes
    assert [line.split(": ")[1] for line in lines] == ["attempt 1", "attempt 2", "attempt 3", "attempt 4"]
    assert all("default via openai/m@127.0.0.1:" in line for line in lines)
    assert [part in line for part, line in zip(("500", "broke", "429", "broke"), lines, strict=True)] == [True] * 4


async def test_a_host_that_is_not_there_costs_nothing_and_another_one_answers() -> None:
    with nobody() as gone:
        async with serving(ANSWERS) as server, running(models=models(gone, server, retries=1)) as running_one:
            organism: Any = running_one
            async with organism.thread() as thread:
                done = await thread.complete(PROMPT)
            assert (done.text, done.attempts, charges(organism)) == ("Hello", 2, [(0, 0), (9, 2)])
            assert {name: usage.tokens for name, usage in organism.usage("backend").items() if name} == {
                f"openai/m@{gone.url[7:-3]}": 0,
                f"openai/m@{server.url[7:-3]}": 11,
            }


async def test_no_host_at_all_is_a_model_error() -> None:
    with nobody() as gone:
        async with running(models=models(gone)) as organism:
            async with organism.thread() as thread:
                with pytest.raises(
                    ModelError, match=r"no connection to http://127\.0\.0\.1:.*; is http://.* reachable\?"
                ):
                    await thread.complete(PROMPT)
            assert charges(organism) == [(0, 0)]
            assert spent((await thread.handle.result()).usage) == (0, 0, 1, False)


async def test_a_further_attempt_is_refused_where_what_the_last_one_cost_leaves_too_little() -> None:
    async with facing([CUTS, ANSWERS], retries=3) as (organism, server):
        async with organism.thread(budget={"tokens": 2 * INPUT, "grace": NO_GRACE}) as thread:
            with pytest.raises(BudgetExhaustedError) as refused:
                await thread.complete(PROMPT, max_output_tokens=INPUT // 2)
            error = refused.value
            assert (error.unit, error.used, error.held, error.need) == ("tokens", INPUT, 0, INPUT + INPUT // 2)
            assert ["before: default via openai/m" in note for note in error.__notes__] == [True]
        assert server.asked == 1
        assert charges(organism) == [(INPUT, 0)]
        assert len(organism.watch.of(CallRefused)) == 1


async def test_backoff_holds_nothing() -> None:
    ways = [says(whole({}, 429, retry_after=0.05)), ANSWERS]
    held: list[int] = []
    async with facing(ways, retries=1, backoff=(0.01, 1)) as (organism, server):

        async def look() -> None:
            await server.until(lambda: server.heard == 1)
            while not organism.watch.of(CallSettled):  # noqa: ASYNC110 - nobody tells of it to those in the same process
                await anyio.sleep(0.001)
            held.append(organism.statistics().held)

        async with anyio.create_task_group() as group, organism.thread() as thread:
            group.start_soon(look)
            began = anyio.current_time()
            await thread.complete(PROMPT)
            assert anyio.current_time() - began >= 0.05
        assert (held, charges(organism)) == ([0], [(0, 0), (9, 2)])


async def test_calls_one_after_the_other_share_a_connection_and_none_is_kept_that_has_something_left_over() -> None:
    twice = says(whole(answer()) * 2)
    async with facing([echo, echo, twice, twice, echo]) as (organism, server), organism.thread() as thread:
        texts = [(await thread.complete(f"Call {number}")).text for number in range(3)]
        assert (texts, server.connections) == (["Call 0", "Call 1", "Hello"], 1)
        texts = [(await thread.complete(f"Call {number}")).text for number in range(3)]
        assert (texts, server.connections) == (["Hello", "Call 1", "Call 2"], 3)


# Whoever gives up


async def calls(task: Task, ctx: Context) -> Reply[Done]:
    """Calls its model and says what came."""
    return Reply(Done((await ctx.complete(PROMPT)).text))


HANDLERS: Final[Mapping[str, Any]] = {"worker": code(calls)}


async def test_a_thread_that_is_cancelled_during_its_call_pays_for_it_and_hangs_up() -> None:
    async with facing([HANGS], handlers=HANDLERS) as (organism, server):
        thread = await organism.send("worker", Task("go"))
        await server.until(lambda: server.heard == 1)
        assert organism.statistics().held == 1
        thread.cancel("enough")
        result = await thread.result()
        assert (result.outcome, spent(result.usage)) == ("cancelled", (INPUT, 0, 1, True))
        assert organism.statistics().held == 0
        await server.deserted()
        assert spent(organism.usage()) == spent(result.usage)


@pytest.mark.parametrize("sent", [b"", head(content_length=999), events(word("Hel"))])
async def test_a_scope_of_the_handler_that_is_cancelled_leaves_it_fit_for_the_next_call(sent: bytes) -> None:
    """Before the head, before the body, and in the midst of a stream."""
    came: list[str] = []

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        async with anyio.create_task_group() as group:

            async def call() -> None:
                if sent.startswith(b"HTTP/1.1 200 Whatever\r\ncontent-type: text/event-stream"):
                    async with ctx.stream(PROMPT) as stream:
                        async for piece in stream:
                            came.append(piece)
                            hearing.set()
                else:
                    await ctx.complete(PROMPT)

            group.start_soon(call)
            await (hearing.wait() if b"event-stream" in sent else server.until(lambda: server.heard == 1))
            group.cancel_scope.cancel()
        assert ctx.budget.tokens.held == 0
        return Reply(Done((await ctx.complete(PROMPT)).text))

    hearing = anyio.Event()
    handlers = {"worker": code(worker)}
    async with facing([says(sent, hang=True), echo], handlers=handlers) as (organism, server):
        result = await outcome(organism)
        assert result.reply == Done(PROMPT), result.error
        guess = estimate("".join(came)) if came else 0
        assert charges(organism) == [(INPUT, guess), (9, 2)]
        assert spent(result.usage) == (INPUT + 9, guess + 2, 2, True)


async def test_an_ask_that_is_given_up_ends_the_call_below_it() -> None:
    async def root(task: Task, ctx: Context) -> Reply[Done]:
        with pytest.raises(HandlerFailedError):
            await ctx.ask("worker", task, timeout=0.5)
        return Reply(Done("gave up"))

    handlers = {"root": code(root, peers=("worker",)), **HANDLERS}
    async with facing([HANGS], handlers=handlers) as (organism, server):
        result = await outcome(organism, "root")
        assert (result.outcome, result.reply) == ("completed", Done("gave up")), result.error
        assert spent(result.usage) == spent(organism.usage("handler")["worker"]) == (INPUT, 0, 1, True)
        assert organism.statistics().held == 0
        await server.deserted()


async def test_the_end_of_a_threads_time_ends_its_call() -> None:
    async with facing([HANGS], handlers=HANDLERS) as (organism, server):
        result = await outcome(organism, budget={"seconds": 1})
        assert (result.outcome, result.unit) == ("exhausted", "seconds")
        assert spent(result.usage) == (INPUT, 0, 1, True)
        assert organism.statistics().held == 0
        await server.deserted()


async def test_a_handler_that_times_out_beside_its_call_pays_for_it() -> None:
    """Waiting for a model counts for no ``timeout``; reading a stream, piece by piece, is its own running."""

    async def worker(task: Task, ctx: Context) -> None:
        async with ctx.stream(PROMPT) as stream:
            async for _ in stream:
                await anyio.sleep(10)

    handlers = {"worker": code(worker, timeout=0.1)}
    async with facing([says(events(word("Hel")), hang=True)], handlers=handlers) as (organism, server):
        result = await outcome(organism)
        assert (result.outcome, result.code) == ("failed", "timeout"), result.error
        assert spent(result.usage) == (INPUT, estimate("Hel"), 1, True)
        assert organism.statistics().held == 0
        await server.deserted()


async def test_a_call_that_is_cancelled_before_its_turn_costs_nothing() -> None:
    """It waits for a place at its backend, and holds nothing meanwhile."""
    async with facing([HANGS], backend={"max_concurrent": 1}, handlers=HANDLERS) as (organism, server):
        first = await organism.send("worker", Task("go"))
        await server.until(lambda: server.heard == 1)
        second = await organism.send("worker", Task("go"))
        await anyio.sleep(0.01)
        assert organism.statistics().held == 1
        second.cancel()
        assert spent((await second.result()).usage) == (0, 0, 0, False)
        first.cancel()
        assert spent((await first.result()).usage) == (INPUT, 0, 1, True)
        assert server.asked == 1


async def test_a_thread_that_is_cancelled_after_its_answer_pays_what_was_reported() -> None:
    async def worker(task: Task, ctx: Context) -> None:
        await ctx.complete(PROMPT)
        answered.set()
        await anyio.sleep(10)

    answered = anyio.Event()
    async with facing([ANSWERS], handlers={"worker": code(worker)}) as (organism, _):
        thread = await organism.send("worker", Task("go"))
        await answered.wait()
        thread.cancel()
        result = await thread.result()
        assert (result.outcome, spent(result.usage)) == ("cancelled", (9, 2, 1, False))


async def test_an_organism_that_is_closed_during_a_call_leaves_no_connection() -> None:
    async with facing([HANGS], handlers=HANDLERS, check=False) as (organism, server):
        thread = await organism.send("worker", Task("go"))
        await server.until(lambda: server.heard == 1)
    assert organism.usage().input_tokens == INPUT
    assert (await thread.result()).outcome == "cancelled"


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_thread_without_handlers_ends_when_what_it_called_is_paid(*, streamed: bool) -> None:
    way = says(events(word("Hel")), hang=True) if streamed else HANGS
    async with facing([way]) as (organism, server), anyio.create_task_group() as group, organism.thread() as thread:
        reading = anyio.Event()

        async def cancel() -> None:
            await (reading.wait() if streamed else server.until(lambda: server.heard == 1))
            thread.handle.cancel("enough")

        group.start_soon(cancel)
        with pytest.raises(NotRunningError, match="has ended, and its call with it"):
            if streamed:
                async with thread.stream(PROMPT) as stream:
                    async for _ in stream:
                        reading.set()
            else:
                await thread.complete(PROMPT)
        result = await thread.handle.result()
        guess = estimate("Hel") if streamed else 0
        assert (result.outcome, spent(result.usage)) == ("cancelled", (INPUT, guess, 1, True))
        assert spent(organism.usage()) == spent(result.usage)


# Thousands

KINDS: Final[Mapping[str, tuple[Way, int]]] = {
    "fails": (FAILS, 0),
    "has too many calls": (says(whole({}, 429)), 0),
    "refuses": (says(whole({}, 400)), 0),
    "cuts": (CUTS, INPUT),
    "cuts in its body": (says(whole(answer())[:-9], cut=True), INPUT),
    "closes before it has read": (unread, INPUT),
    "sends garbage": (says(whole(b"garbage")), INPUT),
    "answers with nothing in it": (says(whole(answer(choices=[], usage=None))), INPUT),
    "dies in its stream": (says(events(word("Hel")), cut=True), INPUT),
    "fails in its stream": (says(events(word("Hel")) + more({"error": {"message": "no"}}) + END), INPUT),
}
MANY: Final = 50


@pytest.mark.parametrize(("way", "charged"), KINDS.values(), ids=KINDS)
@pytest.mark.by_turns
async def test_however_many_calls_fail_nothing_stays_held(
    way: Way, charged: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifty of each kind, half of them one after the other and half at once; five hundred over all kinds."""
    # Here every call is to reach the server, which its circuit breaker would see to that they do not.
    monkeypatch.setattr(circuits, "FAILURES", 10 * MANY)

    async def call(thread: Any) -> None:
        with pytest.raises(ModelError):
            async with thread.stream(PROMPT) as stream:
                async for _ in stream:
                    pass

    async with facing([way], backend={"max_concurrent": 10}) as (organism, server):
        async with organism.thread() as thread:
            for _ in range(MANY // 2):
                await call(thread)
            async with anyio.create_task_group() as group:
                for _ in range(MANY // 2):
                    group.start_soon(call, thread)
            assert (thread.budget.tokens.held, organism.statistics().held) == (0, 0)
            assert len(server.open) <= 10
        usage = (await thread.handle.result()).usage
        assert (usage.input_tokens, usage.model_calls, server.asked) == (MANY * charged, MANY, MANY)


async def test_half_a_character_is_replaced_and_charged(tmp_path: Path) -> None:
    """Half of a character, as a server gives it that counts in UTF-16: an answer all the same, which can be sent again."""
    way = says(whole(answer("half \ud83d")))

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        return Reply(Done(ascii((await ctx.complete(PROMPT)).text)))

    handlers = {"worker": code(worker)}
    async with facing([way], journal="sqlite:organism.db", folder=tmp_path, handlers=handlers) as (organism, _):
        result = await outcome(organism)
        assert (result.reply, spent(result.usage)) == (Done(r"'half \ufffd'"), (9, 2, 1, False)), result.error
        assert organism.statistics().held == 0
