"""Providers of the user's own that break every promise, thousands of failures, late settlements: all of it through the pump."""

from __future__ import annotations

import asyncio
import decimal
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest
from attrs import evolve, frozen

from organism import Context, ModelError, NotRunningError, Reply
from organism.models.contract import BackendError, Piece, RawUsage, Response
from organism.record.facts import CallHeld, CallSettled, Ended
from organism.testing import Says, ScriptedModel, running
from tests.hard.budget_world import Done, Task, code, outcome
from tests.models.hostile import estimate, estimate_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

    from organism import ThreadHandle
    from organism.models.contract import Request

PROMPT: Final = "Say something of some length, please."
INPUT: Final = estimate_of(PROMPT)
FINE: Final = Response(
    text="fine", message={"role": "assistant", "content": "fine"}, usage=RawUsage(input_tokens=9, output_tokens=2)
)
GUESS: Final = (INPUT, 0, True)
TOLD: Final = (9, 2, False)
NOTHING: Final = (0, 0, False)


class Own:
    """A provider whose answer is what ``gives`` returns or raises; then it answers in order."""

    def __init__(self, gives: Callable[[], Any]) -> None:
        self.gives = [gives]
        self.closings = 0

    def models(self, **backend: Any) -> dict[str, Any]:
        made: dict[str, Any] = {
            "provider": self._made,
            "model": "own",
            "overhead": 0,
            "price": {"input": 1, "output": 2},
        }
        return {"default": {"retries": 0, "max_output_tokens": 50, "backends": [made | backend]}}

    def _made(self, _: Any) -> Own:
        return self

    def complete(self, request: Request) -> Any:  # noqa: ARG002 - a provider's shape
        return self._complete()

    async def _complete(self) -> Any:
        return self.gives.pop()() if self.gives else FINE

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[Any]:  # noqa: ARG002 - a provider's shape
        try:
            yield self.gives.pop()()
        finally:
            self.closings += 1

    async def aclose(self) -> None:
        """Nothing is open."""


def raising(error: BaseException) -> Callable[[], Any]:
    def gives() -> Any:
        raise error

    return gives


def spoilt(**parts: Any) -> Any:
    return evolve(FINE, **parts)


def reporting(report: Any) -> Callable[[], Any]:
    return lambda: evolve(FINE, usage=report)


def figures(given: Any, answered: Any = 2, **more: Any) -> Callable[[], Any]:
    return reporting(RawUsage(input_tokens=given, output_tokens=answered, **more))


class SpeechlessError(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


class UnbornError(BackendError):
    def __init__(self) -> None:
        """It says nothing of what every BackendError has to say."""


class Liar(int):
    """A number that computes in ways of its own."""

    def __add__(self, other: int) -> int:
        return -(10**6)

    __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __add__

    def __le__(self, other: int) -> bool:
        return True

    __ge__ = __lt__ = __gt__ = __le__


class Kind(IntEnum):
    NINE = 9


@frozen(kw_only=True)
class Unreadable(RawUsage):
    """A report that is computed when it is read, and fails."""

    def __getattribute__(self, name: str) -> Any:
        if name == "output_tokens":
            raise ZeroDivisionError
        return super().__getattribute__(name)


class Odd(dict[str, Any]):
    """A message that cannot be read to its end."""

    def items(self) -> Any:
        raise ZeroDivisionError


class Endless(BaseException):
    """What no library catches."""


LIMITED: Final = BackendError("rate_limited", "too many")
DEEP: Final[dict[str, Any]] = {}
for _ in range(100_000):
    DEEP["content"] = dict(DEEP)

WRONG: Final[Mapping[str, tuple[Callable[[], Any], tuple[int, int, bool], str]]] = {
    "nothing": (lambda: None, GUESS, "the provider gave None"),
    "an answer without text": (lambda: spoilt(text=None), TOLD, "text is None"),
    "an answer without text or report": (lambda: spoilt(text=None, usage=None), GUESS, "text is None"),
    "a message of another kind": (lambda: evolve(FINE, message=Odd(role="a")), TOLD, "cannot be kept"),
    "an exception": (raising(ValueError("a bug")), GUESS, "ValueError: a bug"),
    "an exception that cannot speak": (raising(SpeechlessError()), GUESS, "SpeechlessError"),
    "an error that was never born": (raising(UnbornError()), GUESS, "None is not a kind of failure"),
    "a group of one refusal": (raising(ExceptionGroup("tasks", [LIMITED])), NOTHING, "too many"),
    "a group within a group": (raising(ExceptionGroup("a", [ExceptionGroup("b", [LIMITED])])), NOTHING, "too many"),
    "a group of several": (raising(ExceptionGroup("tasks", [ValueError("a bug"), LIMITED])), GUESS, "ValueError"),
    "a timeout": (raising(TimeoutError()), GUESS, "TimeoutError"),
}


async def tried(own: Own, call: Callable[[Context], Any], **more: Any) -> tuple[tuple[int, int, bool], list[str]]:
    """What a first call was charged, and what its handler heard; a second call is in order."""
    heard: list[str] = []

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        try:
            await call(ctx)
        except ModelError as error:
            heard.append(str(error))
        assert ctx.budget.tokens.held == 0
        own.gives.clear()
        return Reply(Done((await ctx.complete(PROMPT)).text))

    async with running(handlers={"worker": code(worker)}, models=own.models(**more)) as organism:
        result = await outcome(organism)
        assert result.reply == Done("fine"), result.error
        assert organism.statistics().held == 0
        first, second = organism.watch.of(CallSettled)
        assert second.charge.input_tokens == 9
        assert result.usage.tokens == first.charge.amounts[0] + 11
        assert result.usage.cost_usd * 10**6 == first.charge.input_tokens + 2 * first.charge.output_tokens + 13
    return (first.charge.input_tokens, first.charge.output_tokens, first.charge.estimated), heard


async def whole(ctx: Context) -> None:
    await ctx.complete(PROMPT)


async def read(ctx: Context) -> None:
    async with ctx.stream(PROMPT) as stream:
        async for _ in stream:
            pass


@pytest.mark.parametrize(("gives", "charged", "said"), WRONG.values(), ids=WRONG)
async def test_what_is_no_answer_fails_the_call_and_holds_nothing(
    gives: Callable[[], Any], charged: tuple[int, int, bool], said: str
) -> None:
    found, heard = await tried(Own(gives), whole)
    # What came of an answer that is none is still its text.
    assert found == (charged if charged != GUESS else (INPUT, found[1], True))
    (line,) = heard
    assert said in line
    assert line.startswith("model 'default' failed: default via ")


REPORTS: Final[Mapping[str, tuple[Callable[[], Any], tuple[int, int, bool]]]] = {
    "a number that lies": (figures(Liar(9)), TOLD),
    "a number of a list": (figures(Kind.NINE), TOLD),
    "true": (figures(True), (INPUT, estimate("fine"), True)),
    "a Decimal": (figures(Decimal(9)), (INPUT, estimate("fine"), True)),
    "a float": (figures(9.0), (INPUT, estimate("fine"), True)),
    "no number": (figures(float("nan")), (INPUT, estimate("fine"), True)),
    "a Decimal that is none": (figures(9, Decimal("NaN")), (INPUT, estimate("fine"), True)),
    "a wrong detail": (figures(9, 2, reasoning_tokens=True), (INPUT, estimate("fine"), True)),
    "more cached than there was": (figures(9, 2, cache_read_tokens=10**6), TOLD),
    "what cannot be read": (reporting(Unreadable(input_tokens=9, output_tokens=2)), (INPUT, estimate("fine"), True)),
    "something else": (reporting({"input_tokens": 9}), (INPUT, estimate("fine"), True)),
}


@pytest.mark.parametrize(("gives", "charged"), REPORTS.values(), ids=REPORTS)
async def test_a_report_is_whole_or_worth_nothing(gives: Callable[[], Any], charged: tuple[int, int, bool]) -> None:
    assert await tried(Own(gives), whole) == (charged, [])


async def test_what_was_cached_or_thought_is_a_part_of_what_was_charged() -> None:
    """Whatever the provider says: nobody can have read more from a cache than there was."""

    async def worker(task: Task, ctx: Context) -> None:
        await ctx.complete(PROMPT)

    own = Own(figures(9, 2, cache_read_tokens=10**6, cache_write_tokens=5, reasoning_tokens=77))
    priced = own.models(price={"input": 4, "output": 2, "cache_read": 1, "cache_write": 9, "reasoning": 3})
    async with running(handlers={"worker": code(worker)}, models=priced) as organism:
        used = (await outcome(organism)).usage
    assert (used.input_tokens, used.cache_read_tokens, used.cache_write_tokens) == (9, 9, 0)
    assert (used.output_tokens, used.reasoning_tokens, used.estimated) == (2, 2, False)
    assert used.cost_usd == Decimal(9 * 1 + 2 * 3) / 10**6


@pytest.mark.parametrize("error", [Endless(), GeneratorExit(), SystemExit(3), asyncio.CancelledError()])
async def test_what_no_provider_may_raise_leaves_no_hold(error: BaseException) -> None:
    async def worker(task: Task, ctx: Context) -> None:
        await ctx.complete(PROMPT)

    own = Own(raising(error))
    async with running(handlers={"worker": code(worker)}, models=own.models()) as organism:
        result = await outcome(organism)
        assert result.outcome == "failed"
        assert (result.usage.input_tokens, result.usage.estimated) == (INPUT, True)
        assert organism.statistics().held == 0
        # The organism goes on.
        assert (await outcome(organism)).outcome == "completed"


class Interrupted(Own):
    """It takes being cancelled for a failure of the line, or answers all the same, or does not let itself be cancelled."""

    def __init__(self, how: str) -> None:
        super().__init__(lambda: None)
        self.how = how
        self.asked = 0

    async def _complete(self) -> Any:
        self.asked += 1
        try:
            with anyio.CancelScope(shield=self.how == "shields itself"):
                await anyio.sleep(40)
        except BaseException:
            if self.how == "fails":
                raise BackendError("cut", "interrupted", usage=RawUsage(input_tokens=7, output_tokens=1)) from None
            if self.how == "lets go":
                raise
        return FINE


@pytest.mark.parametrize(
    ("how", "charged", "seconds"),
    [
        ("lets go", GUESS, 10),
        ("fails", (7, 1, False), 10),
        ("answers", TOLD, 10),
        ("shields itself", TOLD, 40),
    ],
)
@pytest.mark.parametrize("bare", [False, True])
async def test_a_provider_that_is_cut_may_say_what_it_cost_and_is_not_asked_again(
    *, how: str, charged: tuple[int, int, bool], seconds: int, bare: bool
) -> None:
    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        return Reply(Done((await ctx.complete(PROMPT)).text))

    own = Interrupted(how)
    made = own.models()
    made["default"] |= {"retries": 3, "backoff": [0, 0]}
    async with running(handlers={"worker": code(worker, timeout=None)}, models=made) as organism:
        if bare:
            async with anyio.create_task_group() as group, organism.thread() as thread:
                handle = thread.handle
                group.start_soon(_cancel_after, 10, handle)
                with pytest.raises(NotRunningError):
                    await thread.complete(PROMPT)
                    await thread.complete(PROMPT)
        else:
            handle = await organism.send("worker", Task("go"))
            await _cancel_after(10, handle)
        result = await handle.result()
        assert (result.outcome, own.asked) == ("cancelled", 1)
        assert (result.usage.input_tokens, result.usage.output_tokens, result.usage.estimated) == charged
        assert result.usage.seconds == pytest.approx(seconds)
        assert organism.statistics().held == 0


async def _cancel_after(seconds: float, handle: ThreadHandle) -> None:
    await anyio.sleep(seconds)
    handle.cancel()


class Pieces:
    """A stream of two words, and then what ``end`` does."""

    def __init__(self, end: Callable[[], Any] | None = None, *, report: Any = None) -> None:
        self.response: Response | None = None
        self.report = report
        self._end = end

    @property
    def usage(self) -> Any:
        return self.report() if callable(self.report) else self.report

    async def __aiter__(self) -> AsyncIterator[Piece]:
        yield Piece(text="one ")
        yield Piece(text="two")
        if self._end is not None:
            self._end()
        self.response = FINE


class ClosesBadly(Own):
    """Its streams break when they are left."""

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[Any]:  # noqa: ARG002 - a provider's shape
        try:
            yield Pieces()
        finally:
            raise OSError("the line is dead")


class Swallows(Own):
    """Its streams swallow whatever leaves their block."""

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[Any]:  # noqa: ARG002 - a provider's shape
        with suppress(BaseException):
            yield Pieces()


class NeverCloses(Own):
    """Its streams do not come to an end."""

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[Any]:  # noqa: ARG002 - a provider's shape
        yield Pieces()
        await anyio.sleep(10**6)


@pytest.mark.parametrize("kind", [ClosesBadly, NeverCloses])
async def test_how_a_provider_closes_is_nothing_to_who_has_his_answer(
    kind: type[Own], caplog: pytest.LogCaptureFixture
) -> None:
    assert await tried(kind(lambda: None), read, timeout=5) == (TOLD, [])
    if kind is ClosesBadly:
        assert "did not close in order: OSError: the line is dead" in caplog.text


async def test_a_provider_swallows_no_exception_of_those_who_read() -> None:
    async def reads(ctx: Context) -> None:
        with pytest.raises(ZeroDivisionError):
            async with ctx.stream(PROMPT) as stream:
                async for _ in stream:
                    raise ZeroDivisionError

    assert await tried(Swallows(lambda: None), reads) == ((INPUT, estimate("one "), True), [])


@pytest.mark.parametrize("kind", ["server", "rate_limited", "rejected", "cut", "broken"])
async def test_what_a_stream_has_sent_is_charged_whatever_its_end_is_called(kind: Any) -> None:
    own = Own(lambda: Pieces(raising(BackendError(kind, "no luck"))))
    charged, (line,) = await tried(own, read)
    assert charged == (INPUT, estimate("one two"), True)
    assert "no luck" in line


@pytest.mark.parametrize("report", [raising(ZeroDivisionError()), Unreadable(input_tokens=1, output_tokens=1), 7])
async def test_a_stream_whose_report_cannot_be_read_is_charged_by_estimate(report: Any) -> None:
    own = Own(lambda: Pieces(raising(BackendError("cut", "no luck")), report=report))
    charged, _ = await tried(own, read)
    assert charged == (INPUT, estimate("one two"), True)


FAILURES: Final[Mapping[str, Says]] = {
    kind: Says(error=BackendError(kind, "no luck"))
    for kind in ("rate_limited", "server", "connection", "timeout", "cut", "rejected", "auth", "context", "broken")
} | {
    "late": Says(text="late", seconds=1000),
    "no report": Says(text="fine", usage=RawUsage(input_tokens="many")),
}


@pytest.mark.parametrize("says", FAILURES.values(), ids=FAILURES)
@pytest.mark.by_turns
async def test_five_hundred_failures_of_each_kind_leave_nothing_held(says: Says) -> None:
    """450 at once, and 50 one after the other, each with a further attempt where that makes sense."""
    model = ScriptedModel([says])

    async def call(thread: Any) -> None:
        with suppress(ModelError):
            await thread.complete(PROMPT, max_output_tokens=20)

    made = model.models(overhead=0, max_concurrent=1000, timeout=10)
    made["default"] |= {"retries": 1, "backoff": [0, 0]}
    async with running(models=made) as organism:
        async with organism.thread(budget={"warn_at": []}) as thread:
            async with anyio.create_task_group() as group:
                for _ in range(450):
                    group.start_soon(call, thread)
            for _ in range(50):
                await call(thread)
            assert thread.budget.tokens.held == 0
        assert organism.statistics().held == organism.statistics().waiting_for_budget == 0
        total: Any = organism.usage()
        result = await thread.handle.result()
        assert (total.model_calls, total.input_tokens) == (500, result.usage.input_tokens)
        assert total.model_calls == result.usage.model_calls
        assert len(organism.watch.of(CallHeld)) == len(organism.watch.of(CallSettled)) == len(model.requests)


async def test_what_settles_after_the_end_is_charged_to_the_ended_thread_and_those_above_it() -> None:
    """A task that a handler has left behind still waits for its model: it is paid for, and no budget is resurrected."""

    async def parent(task: Task, ctx: Context) -> Reply[Done]:
        await ctx.ask("worker", task, expect=Done)
        assert ctx.budget.tokens.held > 0
        await anyio.sleep(10)
        assert (ctx.budget.tokens.used, ctx.budget.tokens.held) == (11, 0)
        return Reply(Done("both"))

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        left_behind.start_soon(ctx.complete, PROMPT)
        await anyio.sleep(1)
        return Reply(Done("done"))

    model = ScriptedModel([Says(text="late", usage=(9, 2), seconds=5)])
    handlers = {"parent": code(parent, peers=("worker",)), "worker": code(worker, budget={"tokens": 5000})}
    async with (
        anyio.create_task_group() as left_behind,
        running(handlers=handlers, models=model.models(), ceiling={"tokens": 10**6}) as organism,
    ):
        result = await outcome(organism, "parent")
        assert (result.outcome, result.reply) == ("completed", Done("both")), result.error
        assert (result.usage.tokens, result.usage.model_calls) == (11, 1)
        (settled,), ended = organism.watch.of(CallSettled), organism.watch.of(Ended)
        (below,) = result.threads
        assert settled.thread == below.thread
        assert (below.usage.tokens, below.usage.model_calls, below.outcome) == (11, 1, "completed")
        assert [(fact.thread, fact.usage.tokens) for fact in ended] == [(below.thread, 0), (result.thread, 11)]
        total: Any = organism.usage()
        assert (total.tokens, organism.statistics().threads, organism.statistics().held) == (11, 0, 0)


@pytest.mark.parametrize(
    "backend",
    [{"price": {"input": "2.50", "output": "10.00"}}, {"price": None, "model": "gpt-4o"}],
    ids=["own", "listed"],
)
async def test_the_precision_of_a_handlers_decimals_changes_no_charge(backend: dict[str, Any]) -> None:
    """It computes with a digit, and traps what is not exact: that is its own business."""

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        if task.text in {"rough", "trapped"}:
            traps: list[Any] = [decimal.Inexact, decimal.Rounded] if task.text == "trapped" else []
            decimal.setcontext(decimal.Context(prec=1, rounding=decimal.ROUND_DOWN, traps=traps))
        await ctx.complete(PROMPT)
        async with ctx.stream(PROMPT) as stream:
            async for _ in stream:
                pass
        below = None
        if task.text != "leaf":
            spawned = await ctx.spawn("worker", Task("leaf"), budget={"cost_usd": "0.923456", "warn_at": ["0.123456"]})
            spawned.add_budget(cost_usd="0.000007")
            below = (await spawned.result()).usage.cost_usd
        cost = ctx.budget.cost_usd
        return Reply(Done(f"{cost.used} {cost.held} {cost.limit} {cost.remaining} {below}"))

    usage = RawUsage(input_tokens=12_347, output_tokens=7_919, cache_read_tokens=1_234)
    model = ScriptedModel([Says(text="one two", usage=usage)])
    made = model.models(**backend)
    handlers = {"worker": code(worker, peers=("worker",))}
    seen: list[Any] = []
    for text in ("smooth", "rough", "trapped"):
        async with running(handlers=handlers, models=made, budget={"cost_usd": "1.234567"}) as organism:
            result = await (await organism.send("worker", Task(text))).result()
            charges = [fact.charge for fact in organism.watch.of(CallSettled)]
            needs = [fact.need for fact in organism.watch.of(CallHeld)]
            warned = [(each.level, each.used, each.limit, each.threshold) for each in result.warnings]
            seen.append((result.outcome, result.reply, result.usage.cost_usd, charges, needs, warned, result.error))
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][0] == "completed", seen[0]
    assert len(seen[0][3]) == 4
    assert seen[0][2] > 0
    assert seen[0][5], "some level was crossed"
