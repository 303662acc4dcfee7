"""Handlers and tools that are a plain `def` run in worker threads, and are cancelled, timed and recorded like others."""

from __future__ import annotations

import contextvars
import functools
import logging
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Literal

import anyio
import pytest

from organism import Context, HandlerFailedError, NotRunningError, Organism, OrganismError, Refused, Reply, Send
from organism.primitives import HandlerFailed  # noqa: TC001 - the handler's annotation is read when the organism is made
from organism.testing import FailAfter, Says, ScriptedModel, running
from tests.durable.inline import Inline
from tests.hard.pump_world import Go, Said, code, echo
from tests.replay.replay_world import Note, Recorded, Task
from tests.waiting import LONG, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="unset")


def plain(message: Go, ctx: Context) -> Reply[Said]:
    """Says in which thread it runs."""
    return Reply(Said(threading.current_thread().name))


def untimed(function: Callable[..., Any], *peers: str, **keys: Any) -> dict[str, Any]:
    """The entry of a plain handler: where a loop waits for a thread alone, a virtual clock goes on to whatever is due next."""
    return code(function, *peers, **{"timeout": None, **keys})


async def test_a_plain_handler_runs_in_a_thread_of_its_own() -> None:
    async with running(handlers={"plain": untimed(plain)}) as organism:
        assert await organism.ask("plain", Go()) == Said("organism handler")
        assert threading.current_thread().name != "organism handler"


async def test_what_a_plain_handler_sees_of_its_context() -> None:
    seen: list[Any] = []

    def look(message: Go, ctx: Context) -> Reply[Said]:
        seen.extend([ctx.thread, ctx.sender, ctx.options["root"], ctx.labels["arm"], ctx.budget.messages.used])
        seen.extend([ctx.now().tzinfo is not None, ctx.random.random()])
        ctx.log.info("looked")
        ctx.state["n"] = ctx.state.get("n", 0) + message.n
        return Reply(Said(str(ctx.state["n"])))

    async def twice(message: Go, ctx: Context) -> Reply[Said]:
        await ctx.ask("look", message)
        return Reply(await ctx.ask("look", message, expect=Said))

    handlers = {"twice": code(twice, "look", timeout=None), "look": untimed(look, options={"root": "docs"})}
    async with running(handlers=handlers) as organism:
        thread = await organism.send("twice", Go(n=4), labels={"arm": "blind"}, id="t")
        assert (await thread.result()).reply == Said("8")
        assert seen[:6] == ["t", "twice", "docs", "blind", 2, True]
        assert seen[6] != seen[13]


async def test_a_plain_handler_asks_and_completes_by_ctx_run() -> None:
    model = ScriptedModel([Says(text="a model's words", usage=(10, 10), seconds=1)])

    def root(message: Go, ctx: Context) -> Reply[Said]:
        said = ctx.run(ctx.ask("echo", message, expect=Said))
        words = ctx.run(ctx.complete("x", max_output_tokens=50))
        both = ctx.run(ctx.ask_all([("echo", Go("a")), ("echo", Go("b"))]))
        return Reply(Said(f"{said.text}, {words.text}, {both[0].text}{both[1].text}"))

    async with running(handlers={"root": untimed(root, "echo"), "echo": code(echo)}, models=model.models()) as organism:
        result = await (await organism.send("root", Go("hello"))).result()
        assert (result.outcome, result.reply) == ("completed", Said("hello, a model's words, ab"))
        assert (result.usage.tokens, result.usage.messages) == (20, 4)


async def test_what_plain_handlers_answer_is_checked_like_any_answer() -> None:
    def sends(message: Go, ctx: Context) -> list[Send[Go]]:
        return [Send("echo", message), Send("nobody", message)]

    def raises(message: Go, ctx: Context) -> None:
        raise Refused("not today")

    def leaves(message: Go, ctx: Context) -> None:
        raise SystemExit(3)

    def odd(message: Go, ctx: Context) -> Any:
        return 7

    handlers = {each.__name__: untimed(each, "echo") for each in (sends, raises, leaves, odd)}
    async with running(handlers={**handlers, "echo": code(echo)}) as organism:
        codes: list[Any] = []
        for name in handlers:
            result = await (await organism.send(name, Go())).result()
            codes.append(result.code)
        assert codes == ["routing", "refused", "crashed", "validation"]


async def test_failures_of_what_it_asks_are_raised_in_the_thread() -> None:
    def root(message: Go, ctx: Context) -> Reply[Said]:
        try:
            ctx.run(ctx.ask("nobody", message))
        except HandlerFailedError as error:
            return Reply(Said(error.code))
        return Reply(Said("nothing was raised"))

    async with running(handlers={"root": untimed(root)}) as organism:
        assert await organism.ask("root", Go()) == Said("routing")


async def test_in_a_coroutine_ctx_run_says_what_to_write() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        with pytest.raises(OrganismError, match="write 'await' instead"):
            ctx.run(ctx.ask("echo", message))
        return Reply(Said("told"))

    async with running(handlers={"root": code(root, "echo"), "echo": code(echo)}) as organism:
        assert await organism.ask("root", Go()) == Said("told")


async def test_any_handler_may_have_a_function_run_in_a_thread() -> None:
    async def root(message: Go, ctx: Context) -> Reply[Said]:
        return Reply(Said(await ctx.in_thread(lambda n: f"{n} in {threading.current_thread().name}", message.n)))

    async with running(handlers={"root": code(root, timeout=None)}) as organism:
        assert await organism.ask("root", Go(n=3)) == Said("3 in organism handler")


async def test_objects_partials_and_decorated_functions_are_plain_handlers_too() -> None:
    class Desk:
        def __init__(self, said: str) -> None:
            self.said = said

        def __call__(self, message: Go, ctx: Context) -> Reply[Said]:
            return Reply(Said(f"{ctx.name} {self.said} {message.text}"))

        def method(self, message: Go, ctx: Context) -> Reply[Said]:
            return Reply(Said(f"{ctx.name} of {self.said} {message.text}"))

    def more(message: Go, ctx: Context, *, said: str) -> Reply[Said]:
        return Reply(Said(said))

    @functools.wraps(echo)
    def decorated(*args: Any) -> Any:
        return echo(*args)

    handlers = {
        "object": untimed(Desk("desk")),
        "method": untimed(Desk("desk").method),
        "partial": untimed(functools.partial(more, said="partly")),
        "decorated": untimed(decorated),
    }
    async with running(handlers=handlers) as organism:
        said = [(await organism.ask(name, Go("x"), expect=Said)).text for name in handlers]
        assert said == ["object desk x", "method of desk x", "partly", "x"]


async def test_context_variables_of_the_organism_are_seen_and_none_are_left() -> None:
    seen: list[str] = []

    def root(message: Go, ctx: Context) -> None:
        seen.append(mark.get())
        mark.set("of a delivery")

    token = mark.set("outer")
    try:
        async with running(handlers={"root": untimed(root)}) as organism:
            for _ in range(3):
                await (await organism.send("root", Go())).result()
    finally:
        mark.reset(token)
    assert seen == ["outer"] * 3


# Time


async def test_the_caller_of_a_plain_handler_hears_timeout_at_its_deadline(caplog: pytest.LogCaptureFixture) -> None:
    go_on = threading.Event()
    over: list[Any] = []

    def slow(message: Go, ctx: Context) -> Reply[Said]:
        go_on.wait(LONG)
        for use in (lambda: ctx.run(ctx.ask("echo", message)), lambda: ctx.state.__setitem__("n", 1)):
            with pytest.raises(NotRunningError) as caught:
                use()
            over.append(str(caught.value))
        nothing: Any = 5
        with pytest.raises(TypeError, match=r"ctx.run takes a coroutine, as ctx.ask\(...\) gives one, not 5"):
            ctx.run(nothing)
        over.append("end")
        return Reply(Said("late"))

    async def root(message: Go | HandlerFailed, ctx: Context) -> Any:
        return Send("slow", message) if isinstance(message, Go) else Reply(Said(f"{message.code}: {message.text}"))

    handlers = {"root": code(root, "slow"), "slow": code(slow, "echo", timeout=5), "echo": code(echo)}
    async with running(handlers=handlers) as organism:
        start = anyio.current_time()
        result = await (await organism.send("root", Go(), id="t")).result()
        assert result.replies == (("root", Said("timeout: 'slow' did not finish within 5 s")),)
        assert anyio.current_time() - start == pytest.approx(5)
        assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
            "'slow' in thread t was given up; its function still runs in its thread, and its answer will be dropped"
        ]
        go_on.set()
        await until(lambda: over[-1:] == ["end"])
        assert over[0] == "the delivery of t/2 is over; its thread can ask for nothing more"
        assert "is over" in over[1]
        assert await organism.ask("echo", Go("fine")) == Said("fine")
    assert len(caplog.records) == 1


async def test_what_a_plain_handler_waits_for_on_the_loop_is_cancelled_with_it() -> None:
    stopped: list[str] = []
    told: list[str] = []

    def root(message: Go, ctx: Context) -> None:
        try:
            ctx.run(ctx.ask("sleeper", message))
        except NotRunningError as error:
            told.append(str(error))

    async def sleeper(message: Go, ctx: Context) -> None:
        try:
            await anyio.sleep(1000)
        finally:
            stopped.append(ctx.name)

    handlers = {"root": untimed(root, "sleeper"), "sleeper": code(sleeper, timeout=None)}
    async with running(handlers=handlers) as organism:
        thread = await organism.send("root", Go())
        await until(lambda: organism.statistics().running == 1 and organism.statistics().workers > 1)
        thread.cancel("enough")
        assert (await thread.result()).outcome == "cancelled"
        await until(lambda: bool(told))
        assert stopped == ["sleeper"]
        assert "is over" in told[0]


@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
def test_who_asks_when_the_event_loop_is_over_hears_so(runtime: Literal["trio", "asyncio"]) -> None:
    over, told = threading.Event(), SimpleQueue[str]()

    def root(message: Go, ctx: Context) -> None:
        over.wait()
        try:
            ctx.run(ctx.ask("echo", message))
        except NotRunningError as error:
            told.put(str(error))

    handlers = {"root": code(root, "echo", timeout=0.01), "echo": code(echo)}
    with pytest.raises(HandlerFailedError, match="did not finish within"):
        Organism(name="test", runtime=runtime, handlers=handlers).run_sync("root", Go())
    over.set()
    assert "is over" in told.get(timeout=60)


async def test_no_more_threads_work_than_max_handlers_and_those_given_up_count() -> None:
    go_on = threading.Event()
    began: list[int] = []

    def stuck(message: Go, ctx: Context) -> Reply[Said]:
        began.append(message.n)
        if message.n < 2:
            go_on.wait(LONG)
        return Reply(Said(str(message.n)))

    handlers = {"stuck": code(stuck, timeout=5), "patient": untimed(stuck)}
    async with running(handlers=handlers, max_handlers=2) as organism:
        for number in range(3):
            thread = await organism.send("stuck", Go(n=number))
            if number < 2:
                await until(lambda: len(began) > number)  # noqa: B023 - it is called at once
            assert (await thread.result()).code == "timeout"
        assert began == [0, 1]
        waits = await organism.send("patient", Go(n=3))
        await until(lambda: organism.statistics().running == 1)
        assert began == [0, 1]
        go_on.set()
        assert (await waits.result()).reply == Said("3")
        assert began == [0, 1, 3]


async def test_plain_handlers_that_ask_each_other_do_not_starve_for_threads() -> None:
    def deep(message: Go, ctx: Context) -> Reply[Said]:
        if message.n == 0:
            return Reply(Said("bottom"))
        return Reply(ctx.run(ctx.ask(f"h{message.n - 1}", Go(n=message.n - 1), expect=Said)))

    handlers = {f"h{number}": untimed(deep, f"h{number - 1}") for number in range(1, 10)}
    async with running(handlers={"h0": untimed(deep), **handlers}, max_handlers=2) as organism:
        threads = [await organism.send("h9", Go(n=9)) for _ in range(3)]
        assert [(await thread.result()).reply for thread in threads] == [Said("bottom")] * 3


# The record


async def test_a_plain_handler_that_is_run_again_gets_the_answers_it_had(tmp_path: Path) -> None:
    """R21: what it asked by `ctx.run` before its process ended is not asked again."""
    did: list[str] = []

    def walk(message: Go, ctx: Context) -> Reply[Said]:
        said: list[str] = []
        for number in range(3):
            said.append(ctx.run(ctx.ask("step", Go(n=number), expect=Said)).text)
            if number == 1 and not ready.is_set():
                ctx.run(anyio.sleep_forever())
        return Reply(Said(" ".join([*said, str(ctx.random.random() < 1)])))

    async def step(message: Go, ctx: Context) -> Reply[Said]:
        did.append(str(message.n))
        return Reply(Said(str(message.n)))

    ready = threading.Event()
    handlers = {"walk": untimed(walk, "step"), "step": code(step)}
    keys: dict[str, Any] = {"name": "t", "journal": "sqlite:o.db", "folder": tmp_path, "handlers": handlers}
    async with Inline(**keys) as organism:
        await organism.send("walk", Go(), id="t")
        await until(lambda: did == ["0", "1"])
    ready.set()
    async with Inline(**keys) as organism:
        (again,) = await organism.resume()
        assert (await again.result()).reply == Said("0 1 2 True")
    assert did == ["0", "1", "2"]


@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
def test_plain_handlers_replay_however_long_they_compute(tmp_path: Path, runtime: str) -> None:
    def work(message: Task, ctx: Context) -> Reply[Note]:
        """Finds out."""
        threading.Event().wait(0.02)
        words = ctx.run(ctx.complete(message.text, max_output_tokens=50)).text
        ctx.state["words"] = words
        threading.Event().wait(0.02)
        return Reply(ctx.run(ctx.ask("checker", Task(f"{words} at {ctx.now():%H}"), expect=Note)))

    def check(message: Task, ctx: Context) -> Reply[Note]:
        """Checks."""
        threading.Event().wait(0.02)
        return Reply(Note(f"checked {message.text}"))

    model = ScriptedModel(lambda _: Says(text="found", usage=(10, 10)))
    handlers = {"worker": untimed(work, "checker"), "checker": untimed(check)}
    recorded = Recorded(tmp_path, handlers=handlers, models=model.models(), runtime=runtime)
    assert recorded.send("worker", Task("x")).outcome == "completed"
    replayed = recorded.replay()
    assert (replayed.differences, replayed.unsure, replayed.deliveries, replayed.calls) == ((), (), 2, 1)


# Tools


async def test_tools_of_agents_may_be_plain_functions_too() -> None:
    names: list[str] = []

    def search(query: str, ctx: Context, most: int = 3) -> list[str]:
        """Looks things up."""
        names.append(threading.current_thread().name)
        return [f"{query} {number} {ctx.run(ctx.ask('echo', Go('x'), expect=Said)).text}" for number in range(most)]

    told: list[str] = []

    def script(request: Any) -> Says:
        told.extend(str(each["content"]) for each in request.messages if each["role"] == "tool")
        if told:
            return Says(calls=(("reply", {"text": told[0]}),))
        return Says(calls=(("search", {"query": "bees", "most": 2}),))

    agent = {"accepts": Go, "replies": [Said], "tools": [search]}
    handlers = {
        "writer": {"agent": agent, "description": "Writes.", "peers": ["echo"]},
        "echo": {**code(echo), "timeout": None},
    }
    async with running(
        handlers=handlers, models=ScriptedModel(script).models(), defaults={"timeout": None}
    ) as organism:
        assert await organism.ask("writer", Go("go")) == Said('["bees 0 x", "bees 1 x"]')
    assert names == ["organism handler"]


async def test_a_thread_that_cannot_be_started_is_a_failure_of_that_delivery_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran: list[str] = []

    def note(message: Go, ctx: Context) -> Reply[Said]:
        ran.append(message.text)
        return Reply(Said(message.text))

    async with running(handlers={"note": untimed(note)}, max_handlers=1) as organism:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", FailAfter(0, RuntimeError("can't start new thread")))
            with pytest.raises(HandlerFailedError, match="can't start new thread"):
                await organism.ask("note", Go("first"))
        # Its place is free again, and nobody does later what nobody waits for.
        assert await organism.ask("note", Go("second")) == Said("second")
    assert ran == ["second"]
