"""Everybody who is called calls everything there is: nobody waits for ever, no change is interrupted, and what is refused says why."""

from __future__ import annotations

import inspect
import logging
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

from organism import Context, NotRunningError, OrganismError, Reply
from organism.hooks import POINTS
from organism.testing import Says, ScriptedModel, Watched, running
from tests.durable.inline import InlineWorks
from tests.hard.pump_world import Go, Said, code, echo

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Sequence
    from pathlib import Path

    from organism.models.contract import Backend, Request, Response
    from organism.pump.handles import ThreadHandle
    from organism.settings import BackendSettings

LONG: Final = 60
"""Seconds after which whoever waits does so for ever."""


class Inlined(Watched):
    """One that is watched, and writes on the event loop."""

    _parts = InlineWorks


class World:
    """One run in which ``caller`` does these ``acts`` when it is first called. ``refused`` is what it was told."""

    def __init__(self, caller: str, acts: Sequence[str]) -> None:
        self.caller, self.acts = caller, acts
        self.organism: Watched
        self.ctx: Any = None
        self.refused: dict[str, str] = {}
        self.called = False

    @property
    def handle(self) -> ThreadHandle:
        """The root thread's handle. Raises OrganismError where it has ended."""
        found = self.organism.thread_of("t")
        if found is None:
            raise OrganismError("it has ended")
        return found

    def _due(self, caller: str, ctx: Any) -> Sequence[str]:
        if caller != self.caller or self.called:
            return ()
        self.called, self.ctx = True, ctx
        return self.acts

    def call(self, caller: str) -> None:
        """Where only functions can be called."""
        for act in self._due(caller, None):
            with self._noting(act):
                done: Any = (ACTS | INSIDE)[act](self)
                if inspect.isawaitable(done):
                    done.close()  # type: ignore[attr-defined]

    async def acall(self, caller: str, ctx: Any = None) -> None:
        """Where something can be awaited."""
        for act in self._due(caller, ctx):
            with self._noting(act):
                done: Any = (ACTS | INSIDE)[act](self)
                if inspect.isawaitable(done):
                    await done

    @contextmanager
    def _noting(self, act: str) -> Generator[None]:
        try:
            yield
        except OrganismError as error:
            self.refused[act] = str(error)


def handlers(world: World) -> dict[str, Any]:
    async def root(message: Go, ctx: Context) -> Any:
        await world.acall("handler at once", ctx)
        with suppress(OrganismError):
            await ctx.ask("echo", Go("a"))
        await world.acall("handler after an ask", ctx)
        await anyio.sleep(0.1)
        await world.acall("handler that has waited", ctx)
        with suppress(OrganismError):
            await ctx.complete("say so", max_output_tokens=20)
        async with ctx.stream("say so", max_output_tokens=20) as stream:
            await world.acall("handler in a stream", ctx)
            async for _ in stream:
                pass
        async with anyio.create_task_group() as group:
            group.start_soon(world.acall, "task of a handler", ctx)
        for to in ("agent", "fails", *(["plain"] if world.caller in IN_THREADS else [])):
            with suppress(OrganismError):
                await ctx.ask(to, Go())
        spawned = await ctx.spawn("echo", Go())
        await spawned.result()
        return Reply(Said("done"))

    def plain(message: Go, ctx: Context) -> Reply[Said]:
        world.call("thread of a handler")
        ctx.run(world.acall("plain handler", ctx))
        return Reply(Said())

    async def naps(message: Go, ctx: Context) -> None:
        await anyio.sleep(0.02)

    async def fails(message: Go, ctx: Context) -> None:
        await anyio.sleep(0.1)
        raise KeyError("of its own")

    async def tool(text: str, ctx: Context) -> str:
        """Gives it back."""
        await world.acall("tool", ctx)
        return text

    def script(request: Request) -> Says:
        if request.messages[-1]["role"] != "tool" and request.tools:
            return Says(text="one moment", calls=(("tool", {"text": "x"}),), usage=(5, 5))
        return Says(text="done now", calls=(("reply", {"text": "y"}),) if request.tools else (), usage=(5, 5))

    class Provider:
        def __init__(self, inner: Backend) -> None:
            self._inner = inner

        async def complete(self, request: Request) -> Response:
            await world.acall("provider")
            return await self._inner.complete(request)

        @asynccontextmanager
        async def stream(self, request: Request) -> AsyncGenerator[AsyncIterator[Any]]:
            await world.acall("provider of a stream")
            async with self._inner.stream(request) as stream:
                yield stream  # type: ignore[misc]

        async def aclose(self) -> None:
            await self._inner.aclose()

    model = ScriptedModel(script)

    def provider(settings: BackendSettings) -> Provider:
        return Provider(model.backend(settings))

    backend = {
        "provider": provider,
        "model": "m",
        "price": {"input": 1, "output": 2},
    }
    agent = {"accepts": Go, "replies": Said, "tools": [tool]}

    def hook(point: str) -> Callable[[Any, Any], Awaitable[None]]:
        async def called(event: Any, ctx: Any) -> None:
            await world.acall(point, ctx)

        return called

    return {
        "handlers": {
            "root": code(root, "echo", "agent", "plain", "fails"),
            "echo": code(echo, concurrency=1),
            "slow": code(naps, concurrency=1),
            "plain": code(plain),
            "fails": code(fails),
            "agent": {"agent": agent, "description": "An agent."},
        },
        "models": {"default": {"backends": [backend]}},
        "hooks": {point: [hook(point)] for point in POINTS},
        "budget": {"tokens": 20_000},
        "ceiling": {"tokens": 100_000},
        "conversation": {"messages": 40},
        "max_handlers": 20,
        "queue": 5,
    }


async def _read(events: AsyncIterator[Any]) -> None:
    async for _ in events:
        pass


async def _bare(world: World) -> None:
    async with world.organism.thread(budget={"tokens": 500}) as thread:
        await thread.complete("hello", max_output_tokens=10)


async def _flood(world: World) -> None:
    for number in range(12):
        await world.organism.send("slow", Go(), id=f"flood-{number}")


async def _drained(world: World) -> None:
    await world.organism.drain(100)
    await world.organism.close()


def _hesitate(world: World) -> None:
    world.handle.pause()
    world.handle.resume()


async def _streamed(world: World) -> None:
    async with world.ctx.stream("hello", max_output_tokens=10) as stream:
        await _read(stream)


async def _later(world: World) -> None:
    handle = await world.organism.send("root", Go(), id="u")
    handle.pause()
    await handle.result()
    await handle.goes_on()


ACTS: Final[dict[str, Callable[[World], object]]] = {
    "cancel": lambda world: world.handle.cancel("enough"),
    "pause": lambda world: world.handle.pause(),
    "pause and resume": _hesitate,
    "resume": lambda world: world.handle.resume(),
    "add_budget": lambda world: world.handle.add_budget(tokens=1),
    "no more tokens": lambda world: world.handle.set_budget(tokens=1),
    "no more messages": lambda world: world.handle.set_budget(messages=1),
    "no more seconds": lambda world: world.handle.set_budget(seconds=0.01),
    "account": lambda world: world.organism.account_of("ceiling").add_budget(tokens=1),
    "look": lambda world: (
        world.organism.usage("handler"),
        world.organism.statistics(),
        world.organism.inbox(),
        world.organism.unfinished,
        world.handle.labels,
        world.handle.ended,
        repr(world.handle),
        repr(world.organism),
    ),
    "listen": lambda world: (
        world.organism.subscribe(print)(),
        world.organism.overhear(print)(),
        world.organism.meter(print)(),
    ),
    "keep listening": lambda world: (
        world.organism.subscribe(lambda _: None),
        world.organism.overhear(lambda _: None),
        world.organism.keep_history(),
    ),
    "replay": lambda world: world.organism.replay("t"),
    "run_sync": lambda world: world.organism.run_sync("echo", Go()),
    "send": lambda world: world.organism.send("echo", Go(), id="u"),
    "send what fails": lambda world: world.organism.send("root", Go(), id="u"),
    "flood": _flood,
    "send_all": lambda world: world.organism.send_all([("echo", Go())] * 10),
    "ask": lambda world: world.organism.ask("echo", Go()),
    "turn": lambda world: world.organism.send("echo", Go(), conversation="c"),
    "conversation": lambda world: world.organism.conversation_of("c"),
    "thread": _bare,
    "result": lambda world: world.handle.result(),
    "goes_on": _later,
    "events of the thread": lambda world: _read(world.handle.events()),
    "all events": lambda world: _read(world.organism.events()),
    "history": lambda world: world.handle.history(),
    "calls": lambda world: world.handle.calls(),
    "result_of": lambda world: world.organism.result_of("t"),
    "resume all": lambda world: world.organism.resume(paused=True),
    "answer": lambda world: world.organism.answer("t/1", Go()),
    "dead": lambda world: world.organism.dead(),
    "retry": lambda world: world.organism.retry("t/1"),
    "fork": lambda world: world.organism.fork("t"),
    "start": lambda world: world.organism.start(),
    "drain": _drained,
    "close": lambda world: world.organism.close(),
}
INSIDE: Final[dict[str, Callable[[World], object]]] = {
    "ctx.ask": lambda world: world.ctx.ask("echo", Go()),
    "ctx.ask oneself": lambda world: world.ctx.ask("root", Go(), timeout=5),
    "ctx.ask_all": lambda world: world.ctx.ask_all([("echo", Go()), ("fails", Go())]),
    "ctx.spawn": lambda world: world.ctx.spawn("echo", Go()),
    "ctx.complete": lambda world: world.ctx.complete("hello", max_output_tokens=10),
    "ctx.stream": _streamed,
    "ctx.request_budget": lambda world: world.ctx.request_budget("tokens", 10, "more"),
    "ctx.in_thread": lambda world: world.ctx.in_thread(len, "three"),
    "ctx.run": lambda world: world.ctx.run(world.ctx.ask("echo", Go())),
}
HANDLERS: Final = (
    "handler at once", "handler after an ask", "handler that has waited", "handler in a stream", "task of a handler", "tool", "plain handler",
    *POINTS,
)  # fmt: skip
IN_THREADS: Final = ("plain handler", "thread of a handler", "other thread")
"""The virtual clock would jump while these work."""
CALLERS: Final = (
    *HANDLERS, "thread of a handler", "other thread", "provider", "provider of a stream", "subscriber", "overhearer", "log", "task",
)  # fmt: skip
ALONE: Final = (
    "cancel",
    "pause",
    "no more messages",
    "no more seconds",
    "flood",
    "goes_on",
    "all events",
    "drain",
    "close",
)
"""After these nothing else is as it was, or whoever may do them waits until the organism is closed."""
REFUSED: Final = ("flood", "ask", "thread", "result", "goes_on", "all events", "drain", "close")
"""What a handler may not, since it would have to wait."""
JOURNALS: Final = ("memory:", "sqlite:{}/{}.db", "jsonl:{}/{}")


class _Logs(logging.Handler):
    """A handler of log records that calls what it may."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.INFO)
        self._world = world
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if "raised an exception" not in text:
            self._world.call("log")
        self.said.append(text)


async def run(world: World, **document: Any) -> None:
    """One run, whose invariants are checked."""
    logs, ours = _Logs(world), logging.getLogger("organism")
    ours.addHandler(logs)
    before, ours.level = ours.level, logging.INFO
    try:
        with anyio.fail_after(LONG):
            async with running(Inlined(name="test", **handlers(world), **document)) as world.organism:
                world.organism.subscribe(lambda _: world.call("subscriber"))
                world.organism.overhear(lambda _: world.call("overhearer"))
                await _go(world)
    finally:
        ours.level = before
        ours.removeHandler(logs)
    blamed = [each for each in logs.said if "organism itself" in each or "raised an exception" in each]
    assert not blamed


async def _go(world: World) -> None:
    handle = await world.organism.send("root", Go(), id="t")
    async with anyio.create_task_group() as group:
        if world.caller == "task":
            group.start_soon(world.acall, "task")
        if world.caller == "other thread":
            group.start_soon(anyio.to_thread.run_sync, world.call, "other thread")
        with suppress(NotRunningError):  # it was closed
            while (result := await handle.result()).outcome == "paused":
                handle.resume()
            assert result.outcome in {"completed", "cancelled", "exhausted", "failed"}
        group.cancel_scope.cancel()  # whoever reads all events does so until the organism is closed
    with suppress(NotRunningError):
        await world.organism.resume(paused=True)
        assert await world.organism.ask("echo", Go("still")) == Said("still")


def _param(caller: str) -> Any:
    return pytest.param(caller, marks=pytest.mark.real_clocks) if caller in IN_THREADS else caller


@pytest.mark.by_turns
@pytest.mark.parametrize("caller", [*map(_param, CALLERS)])
async def test_whoever_is_called_may_call_anything(caller: str, tmp_path: Path) -> None:
    acts = [*ACTS, *(INSIDE if caller in HANDLERS else ())]
    if caller in HANDLERS and caller not in IN_THREADS:
        acts.remove("ctx.in_thread")  # the virtual clock would jump meanwhile
    runs = [*([each] for each in ALONE), [each for each in acts if each not in ALONE]]
    told: dict[str, str] = {}
    for number, each in enumerate(runs, CALLERS.index(caller)):
        world = World(caller, each)
        # While a disk writes, the virtual clock may jump, and what is to wait in the flood's line has been taken.
        journal = JOURNALS[0 if each == ["flood"] else number % len(JOURNALS)]
        await run(world, journal=journal.format(tmp_path, number))
        assert world.called
        told |= world.refused
    if caller in HANDLERS:
        assert all(told[each].startswith("a handler cannot") for each in REFUSED)
