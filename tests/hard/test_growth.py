"""What an operation costs does not depend on how much else there is: four times as many take about four times the steps, not sixteen."""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

import organism
from organism import Context, Forward, Organism, Reply
from tests.compiled import interpreted
from tests.hard.pump_world import Go, Said, code

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from pathlib import Path

    from organism import ThreadHandle


OURS: Final = organism.__path__[0]
ROOM: Final[dict[str, Any]] = {"max_handlers": 10_000, "queue": 10_000, "budget": {"messages": None, "depth": None}}


class Steps:
    """How many lines of the organism's own code were run; or, where a loop may stand in one line, how many operations of the interpreter."""

    def __init__(self, *, within_lines: bool = False) -> None:
        self.taken = 0
        self._counts = "opcode" if within_lines else "line"

    def _step(self, _frame: object, event: str, _arg: object) -> Any:
        self.taken += event == self._counts
        return self._step

    def _call(self, frame: Any, _event: str, _arg: object) -> Any:
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        frame.f_trace_opcodes = self._counts == "opcode"
        return self._step

    @contextmanager
    def counted(self) -> Generator[None]:
        before = sys.gettrace()
        gc.disable()  # what others left behind is none of its steps
        # Python 3.12 looks when tracing begins, and never later, whether any frame ever asked for operations.
        sys._getframe().f_trace_opcodes = self._counts == "opcode"
        sys.settrace(self._call)
        try:
            yield
        finally:
            sys.settrace(before)
            gc.enable()


def swarm(handlers: dict[str, Any], **more: Any) -> Organism:
    """Not watched as others are in tests: where few threads live, all of their state is compared after each fact."""
    return Organism(name="growth", handlers=handlers, **ROOM, **more)


async def waits(message: Go, ctx: Context) -> Reply[Said]:
    await anyio.sleep(1000)
    return Reply(Said(message.text))


async def echoes(message: Go, ctx: Context) -> Reply[Said]:
    return Reply(Said(message.text))


async def fails(message: Go, ctx: Context) -> Reply[Said]:
    raise ValueError(message.text)


def patient(handler: Callable[..., Awaitable[Any]], *peers: str, **more: Any) -> dict[str, Any]:
    return code(handler, *peers) | {"timeout": None, **more}


async def cancels(many: int, steps: Steps) -> None:
    """Threads whose handlers wait are cancelled, one by one."""
    async with swarm({"waits": patient(waits)}) as made:
        threads = await made.send_all([("waits", Go(str(number))) for number in range(many)])
        await anyio.sleep(1)
        with steps.counted():
            for thread in threads:
                thread.cancel()
            outcomes = [(await thread.result()).outcome for thread in threads]
        assert outcomes == ["cancelled"] * many


async def pauses(many: int, steps: Steps) -> None:
    """Threads whose handlers wait are paused and go on, one by one."""
    async with swarm({"waits": patient(waits)}) as made:
        threads = await made.send_all([("waits", Go(str(number))) for number in range(many)])
        await anyio.sleep(1)
        with steps.counted():
            for thread in threads:
                thread.pause()
            for thread in threads:
                thread.resume()
        for thread in threads:
            assert (await thread.result()).outcome == "completed"


async def retried(many: int, steps: Steps) -> None:
    """Threads whose messages wait for a further attempt are cancelled, one by one."""
    again = {"attempts": 3, "backoff": [100, 200], "within": 1000}
    async with swarm({"fails": code(fails) | {"on_failure": again}}) as made:
        threads = await made.send_all([("fails", Go(str(number))) for number in range(many)])
        await anyio.sleep(1)
        with steps.counted():
            for thread in threads:
                thread.cancel()
        for thread in threads:
            assert (await thread.result()).outcome == "cancelled"


async def given_up(many: int, steps: Steps, **callee: Any) -> None:
    """A delivery waits no longer for its many asks."""

    async def asks(message: Go, ctx: Context) -> Reply[Said]:
        with anyio.move_on_after(1):
            await ctx.ask_all([("waits", Go(str(number))) for number in range(many)])
        return Reply(Said("tired"))

    async with swarm({"asks": patient(asks, "waits"), "waits": patient(waits, **callee)}) as made:
        thread = await made.send("asks", Go("go"))
        await anyio.sleep(0.5)
        with steps.counted():
            assert (await thread.result()).reply == Said("tired")


async def given_up_below(many: int, steps: Steps) -> None:
    """The same, where each ask opened a sub-thread."""
    await given_up(many, steps, budget={"messages": 5})


async def given_up_apart(many: int, steps: Steps) -> None:
    """Many threads, each of which waits no longer for its ask."""

    async def asks(message: Go, ctx: Context) -> Reply[Said]:
        with anyio.move_on_after(1):
            await ctx.ask("waits", message)
        return Reply(Said("tired"))

    async with swarm({"asks": patient(asks, "waits"), "waits": patient(waits)}) as made:
        threads = await made.send_all([("asks", Go(str(number))) for number in range(many)])
        await anyio.sleep(0.5)
        with steps.counted():
            for thread in threads:
                assert (await thread.result()).reply == Said("tired")


async def asks_of_busy(many: int, steps: Steps) -> None:
    """Many threads, in each of which a handler is asked that waits for another one: that may be a circle."""

    async def desk(message: Go, ctx: Context) -> Reply[Said]:
        await ctx.ask_all([("early", message), ("late", message)])
        return Reply(Said(message.text))

    async def early(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(await ctx.ask("library", message, expect=Said))

    async def late(message: Go, ctx: Context) -> Reply[Said]:
        await anyio.sleep(1)
        return Reply(await ctx.ask("library", message, expect=Said))

    async def library(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(await ctx.ask("waits", message, expect=Said))

    handlers = {
        "desk": patient(desk, "early", "late"), "early": patient(early, "library"), "late": patient(late, "library"),
        "library": patient(library, "waits"), "waits": patient(waits),
    }  # fmt: skip
    async with swarm(handlers) as made:
        threads = await made.send_all([("desk", Go(str(number))) for number in range(many)])
        await anyio.sleep(0.5)
        with steps.counted():
            await anyio.sleep(1)
        for thread in threads:
            assert (await thread.result()).outcome == "completed"


async def in_line(many: int, steps: Steps) -> None:
    """Deliveries that have their answers stand in line for the one place of their handler, and are cancelled, the last first."""
    come = anyio.Event()

    async def asks(message: Go, ctx: Context) -> Reply[Said]:
        await ctx.ask("answers", message)
        await anyio.sleep(1000)
        return Reply(Said(message.text))

    async def answers(message: Go, ctx: Context) -> Reply[Said]:
        await come.wait()
        return Reply(Said(message.text))

    handlers = {"asks": patient(asks, "answers", concurrency=1), "answers": patient(answers)}
    async with swarm(handlers) as made:
        threads = await made.send_all([("asks", Go(str(number))) for number in range(many)])
        await anyio.sleep(1)
        come.set()
        await anyio.sleep(1)
        with steps.counted():
            for thread in reversed(threads):
                thread.cancel()
            for thread in threads:
                assert (await thread.result()).outcome == "cancelled"


async def questions(many: int, steps: Steps) -> None:
    """One thread asks a person many questions, which are answered one by one."""

    async def asks(message: Go, ctx: Context) -> Reply[Said]:
        found = await ctx.ask_all([("boss", Go(str(number))) for number in range(many)])
        return Reply(Said(str(len(found))))

    boss = {"human": {"accepts": Go, "replies": Said}, "description": "Decides.", "timeout": 900}
    async with swarm({"asks": patient(asks, "boss"), "boss": boss}) as made:
        thread = await made.send("asks", Go("go"))
        await anyio.sleep(1)
        waiting = made.inbox()
        with steps.counted():
            for question in waiting:
                await made.answer(question.id, Said("yes"))
            assert (await thread.result()).reply == Said(str(many))


async def given_up_in_turn(many: int, steps: Steps, **callee: Any) -> None:
    """A delivery asks one handler many things, and gives up one ask after the other."""

    async def asks(message: Go, ctx: Context) -> Reply[Said]:
        async def one(number: int) -> None:
            with anyio.move_on_after(1 + number):
                await ctx.ask("waits", Go(str(number)))

        async with anyio.create_task_group() as tasks:
            for number in range(many):
                tasks.start_soon(one, number)
        return Reply(Said("tired"))

    async with swarm({"asks": patient(asks, "waits"), "waits": patient(waits) | callee}) as made:
        thread = await made.send("asks", Go("go"))
        await anyio.sleep(0.5)
        with steps.counted():
            assert (await thread.result()).reply == Said("tired")


async def given_up_between_attempts(many: int, steps: Steps) -> None:
    """The same, where the first of them waits for its next attempt, and the others behind it."""
    again = {"attempts": 3, "backoff": [10_000, 20_000], "within": 100_000}
    await given_up_in_turn(many, steps, code=fails, on_failure=again)


BOSS: Final = {"human": {"accepts": Go, "replies": Said}, "description": "Decides."}
SMALL: Final = {"messages": 5}


async def beside_a_question(many: int, steps: Steps) -> None:
    """Many sub-threads end one after the other, while a person is asked beside them."""

    async def asks(message: Go, ctx: Context) -> Reply[Said]:
        beside = [("late", Go(n=number)) for number in range(many)]
        found = await ctx.ask_all([("boss", message), *beside])
        return Reply(Said(str(len(found))))

    async def late(message: Go, ctx: Context) -> Reply[Said]:
        await anyio.sleep(message.n + 1)
        return Reply(Said())

    handlers = {"asks": patient(asks, "late", "boss"), "late": patient(late, budget=SMALL), "boss": BOSS}
    async with swarm(handlers) as made:
        thread = await made.send("asks", Go("go"))
        await anyio.sleep(0.5)
        with steps.counted():
            assert (await thread.result()).outcome == "paused"
        await made.answer(made.inbox()[0].id, Said("yes"))
        await thread.goes_on()
        assert (await thread.result()).reply == Said(str(many + 1))


async def questions_below(many: int, steps: Steps) -> None:
    """Many sub-threads of one thread each ask a person, who answers one after the other."""

    async def asks(message: Go, ctx: Context) -> Reply[Said]:
        found = await ctx.ask_all([("sub", Go(str(number))) for number in range(many)])
        return Reply(Said(str(len(found))))

    async def sub(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(await ctx.ask("boss", message, expect=Said))

    handlers = {"asks": patient(asks, "sub"), "sub": patient(sub, "boss", budget=SMALL), "boss": BOSS}
    async with swarm(handlers) as made:
        thread = await made.send("asks", Go("go"))
        await anyio.sleep(1)
        waiting = made.inbox()
        with steps.counted():
            for question in waiting:
                await made.answer(question.id, Said("yes"))
            while (await thread.result()).outcome == "paused":
                await thread.goes_on()
        assert (await thread.result()).reply == Said(str(many))


async def heard(many: int, steps: Steps) -> None:
    """Many threads end one after the other, each of which somebody listens to."""

    async def hear(thread: ThreadHandle) -> None:
        ends = [each async for each in thread.events()]
        assert ends[-1].fact.thread == thread.id

    async with swarm({"waits": patient(waits)}) as made:
        made.keep_history()
        threads = await made.send_all([("waits", Go(str(number))) for number in range(many)])
        async with anyio.create_task_group() as tasks:
            for thread in threads:
                tasks.start_soon(hear, thread)
            await anyio.sleep(1)
            with steps.counted():
                for thread in threads:
                    thread.cancel()
                    await thread.result()


async def raised(many: int, steps: Steps) -> None:
    """The limits of an account are raised again and again in one window."""
    async with swarm({"echoes": code(echoes)}, accounts={"tenant": {"tokens": 10, "window": "total"}}) as made:
        account = made.account_of("tenant:acme")
        with steps.counted():
            for _ in range(many):
                account.add_budget(tokens=1)
        assert account.budget.tokens.limit == 10 + many


async def rests(many: int, steps: Steps) -> None:
    """A thread asks a person after each of its many sub-threads, and is waited for each time."""

    async def asks(message: Go, ctx: Context) -> Reply[Said]:
        for _ in range(many):
            await ctx.ask("sub", message)
            await ctx.ask("boss", message)
        return Reply(Said(str(many)))

    handlers = {"asks": patient(asks, "sub", "boss"), "sub": patient(echoes, budget=SMALL), "boss": BOSS}
    async with swarm(handlers) as made:
        thread = await made.send("asks", Go("go"))
        with steps.counted():
            for _ in range(many):
                assert (await thread.result()).reply is None
                await made.answer(made.inbox()[0].id, Said("yes"))
                await thread.goes_on()
            result = await thread.result()
        assert (result.reply, len(result.threads)) == (Said(str(many)), many)


async def levels(many: int, steps: Steps) -> None:
    """Each message of a thread crosses a level."""

    async def counts(message: Go, ctx: Context) -> Forward[Go] | Reply[Said]:
        return Forward("counts", Go(n=message.n + 1)) if message.n < many else Reply(Said())

    budget = {"messages": 2 * many, "depth": None, "runway": 0, "warn_at": {"messages": [*range(1, many + 1)]}}
    async with Organism(name="growth", handlers={"counts": code(counts)}, budget=budget) as made:
        thread = await made.send("counts", Go())
        with steps.counted():
            result = await thread.result()
        assert len(result.warnings) == many


CASES: Final = (
    raised, cancels, pauses, given_up, given_up_below, given_up_apart, given_up_in_turn, given_up_between_attempts, asks_of_busy, in_line,
    questions, beside_a_question, questions_below,
)  # fmt: skip


async def check(case: Callable[[int, Steps], Awaitable[None]], *, few: int, within_lines: bool) -> None:
    some, more = Steps(within_lines=within_lines), Steps(within_lines=within_lines)
    await case(few, some)
    await case(4 * few, more)
    assert more.taken < 5 * some.taken, f"{some.taken} steps for {few}, {more.taken} for {4 * few}"


@interpreted
@pytest.mark.by_turns
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_more_of_them_cost_no_more_each(case: Callable[[int, Steps], Awaitable[None]]) -> None:
    await check(case, few=30, within_lines=False)


@interpreted
@pytest.mark.by_turns
@pytest.mark.parametrize(
    ("case", "few"),
    [
        pytest.param(retried, 100, id="a message that waits for its next attempt is found in its thread"),
        pytest.param(levels, 50, id="a level is crossed without a look at those crossed before"),
        pytest.param(rests, 50, id="a thread waits for people without a look at what has ended below it"),
        pytest.param(heard, 60, id="a fact is told only to those who listen to its thread"),
    ],
)
async def test_more_of_them_cost_no_more_each_within_a_line(
    case: Callable[[int, Steps], Awaitable[None]], few: int
) -> None:
    """What a comprehension or a built-in does over many things is one line, so these look at what is done within it."""
    await check(case, few=few, within_lines=True)


@interpreted
@pytest.mark.by_turns
async def test_each_thread_spawned_before_a_crash_is_found_at_once(tmp_path: Path) -> None:
    async def resumed(many: int, steps: Steps) -> None:
        again, spawned = False, anyio.Event()

        async def spawns(message: Go, ctx: Context) -> Reply[Said]:
            with steps.counted() if again else nullcontext():
                threads = [await ctx.spawn("echoes", Go(str(number))) for number in range(many)]
            for thread in threads:
                await thread.result()
            if not again:
                spawned.set()
                await anyio.sleep(1000)
            return Reply(Said(str(len(threads))))

        handlers = {"spawns": patient(spawns, "echoes", effects="context"), "echoes": code(echoes)}
        kept: dict[str, Any] = {"journal": f"sqlite:{many}.db", "folder": tmp_path}
        async with swarm(handlers, **kept) as made:
            await made.send("spawns", Go("go"))
            await spawned.wait()
        again = True
        async with swarm(handlers, **kept) as made:
            (thread,) = await made.resume()
            assert (await thread.result()).reply == Said(str(many))

    await check(resumed, few=150, within_lines=True)


@interpreted
@pytest.mark.by_turns
async def test_a_conversation_is_taken_up_without_a_look_at_all_accounts(tmp_path: Path) -> None:
    async def taken_up(many: int, steps: Steps) -> None:
        kept: dict[str, Any] = {"journal": f"sqlite:{many}.db", "folder": tmp_path, "durability": "normal"}
        kept["accounts"] = {"tenant": {"messages": 10, "window": "total"}}

        async def turns(made: Organism, **named: str) -> None:
            for number in range(many):
                last: dict[str, Any] = {key: f"{name}{number}" for key, name in named.items()}
                await made.ask("echoes", Go(), accounts={"tenant": f"t{number}"}, **last)

        async with swarm({"echoes": code(echoes)}, **kept) as made:
            await turns(made, conversation="c")
        async with swarm({"echoes": code(echoes)}, **kept) as made:
            await turns(made)
            with steps.counted():
                await turns(made, conversation="c")
            assert {each.messages for each in made.usage("account").values()} == {3}

    await check(taken_up, few=40, within_lines=False)
