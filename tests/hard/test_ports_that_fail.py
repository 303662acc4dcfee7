"""Each port to the world fails once, on its first call, its second, and so on until nothing fails: whoever it concerns hears of it,
nobody else does, and the laws hold each time (``running`` looks after them).
"""

from __future__ import annotations

import errno
import pathlib
import threading
from collections.abc import Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from attrs import define, field, frozen

from organism import ConfigurationError, Context, Reply
from organism.hooks import POINTS
from organism.journal.disk import Disk
from organism.models.contract import BackendError
from organism.record.facts import Ended, ThreadOpened
from organism.testing import FailAfter, Says, ScriptedModel, Watched, running
from tests.hard.budget_world import Done, Task, agent, code, models, replies

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from organism import ThreadResult
    from organism.models.contract import Backend, Piece, Request, Response, Stream


def broken() -> Exception:
    return RuntimeError("broken")


def full() -> Exception:
    return OSError(errno.ENOSPC, "No space left on device")


def cut() -> Exception:
    return BackendError("cut", "the connection was cut")


def overloaded() -> Exception:
    return BackendError("server", "overloaded")


@define
class World:
    """An organism that uses every port, in two threads at once. ``fail`` is what the port under test calls each time."""

    fail: FailAfter
    folder: Path
    patch: pytest.MonkeyPatch
    port: Port
    document: dict[str, Any] = field(factory=dict)
    wrap: Callable[[Any], Any] = lambda backend: backend
    begun: Callable[[Watched], object] = lambda _: None
    ending: Callable[[Watched], object] = lambda _: None
    handler: Callable[[], None] = lambda: None
    tool: Callable[[], None] = lambda: None
    retries: int = 0

    def organism(self) -> Watched:
        """The organism, with the port under test in its place."""

        async def lead(task: Task, ctx: Context) -> Reply[Done]:
            self.handler()
            first = await ctx.complete(f"{task.text} plain", max_output_tokens=10)
            async with ctx.stream(f"{task.text} streamed", max_output_tokens=10) as stream:
                pieces = [piece async for piece in stream]
            asked = await ctx.ask("clerk", task, expect=Done)
            spawned = await (await ctx.spawn("clerk", task)).result()
            assert stream.completion is not None
            assert "".join(pieces) == stream.completion.text
            return Reply(Done(f"{first.text} {asked.text} {spawned.reply_as(Done).text}"))

        async def look_up(word: str) -> str:
            """Looks a word up."""
            self.tool()
            return f"{word} is a word"

        async def count(task: Task, ctx: Context) -> Reply[Done]:
            self.handler()
            return Reply(Done("7"))

        made = models(ScriptedModel(_said), retries=self.retries)
        (backend,) = made["default"]["backends"]
        provider = backend["provider"]
        backend["provider"] = lambda settings: self.wrap(provider(settings))
        clerk = agent(peers=("counter",), tools=[look_up])
        handlers = {"lead": code(lead, peers=("clerk",)), "clerk": clerk, "counter": code(count)}
        return Watched(name="test", folder=self.folder, handlers=handlers, models=made, **self.document)

    async def play(self) -> list[ThreadResult]:
        """Both threads, to their ends. Raises ConfigurationError where it cannot begin."""
        results: list[ThreadResult] = []

        async def one(organism: Watched, text: str) -> None:
            results.append(await (await organism.send("lead", Task(text))).result())

        async with running(self.organism()) as organism:
            self.begun(organism)
            async with anyio.create_task_group() as group:
                group.start_soon(one, organism, "a")
                group.start_soon(one, organism, "b")
            self.ending(organism)
        ends = [fact.thread for fact in organism.watch.of(Ended)]
        opened = [step.thread for fact in organism.watch.facts for step in fact.steps if isinstance(step, ThreadOpened)]
        assert sorted(ends) == sorted(opened)
        return results


def _said(request: Request) -> Says:
    """The clerk's model uses both tools at once and replies, whatever came of them; any other call gets an answer."""
    if not request.tools:
        return Says(text="some words", usage=(10, 5), seconds=0.01)
    if any(message["role"] == "tool" for message in request.messages):
        return replies("found", usage=(10, 5), seconds=0.01)
    calls = (("look_up", {"word": "seven"}), ("counter", Task("seven")))
    return Says(calls=calls, usage=(10, 5), seconds=0.01)


class Failing:
    """A provider that fails wherever the router calls it. ``begun`` is called for the pieces of a stream, and for its end."""

    def __init__(self, inner: Backend, fail: Callable[[], None], begun: Callable[[], None] | None = None) -> None:
        self._inner = inner
        self._fail = fail
        self._begun = begun or fail

    async def complete(self, request: Request) -> Response:
        self._fail()
        response = await self._inner.complete(request)
        self._fail()
        return response

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[Stream]:
        self._fail()
        async with self._inner.stream(request) as stream:
            yield FailingStream(stream, self._begun)
        self._begun()

    async def aclose(self) -> None:
        self._fail()
        await self._inner.aclose()


class FailingStream:
    """Fails before every piece, and behind the last."""

    def __init__(self, inner: Stream, fail: Callable[[], None]) -> None:
        self._inner = inner
        self._fail = fail

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def __aiter__(self) -> AsyncIterator[Piece]:
        pieces: Any = aiter(self._inner)
        async with aclosing(pieces):
            async for piece in pieces:
                self._fail()
                yield piece
        self._fail()


# The ports


def provider(world: World) -> None:
    """What answers for a model; nobody asks it twice."""
    world.wrap = lambda backend: Failing(backend, world.fail)


def provider_retried(world: World) -> None:
    """The same before it has said anything; it is asked again."""
    world.retries = 1
    world.wrap = lambda backend: Failing(backend, world.fail, begun=lambda: None)


def handlers(world: World) -> None:
    """The code of handlers."""
    world.handler = world.fail


def tools(world: World) -> None:
    """The function that an agent has as a tool."""
    world.tool = world.fail


def hooks(world: World) -> None:
    """Hooks at every point."""

    def hook(event: object, ctx: Context) -> None:
        world.fail()

    world.document["hooks"] = dict.fromkeys(POINTS, hook)


def subscriber(world: World) -> None:
    """Somebody who hears of every fact, before another one who counts them."""
    heard: list[object] = []

    def begun(organism: Watched) -> None:
        organism.subscribe(lambda _: world.fail())
        organism.subscribe(heard.append)

    def ending(organism: Watched) -> None:
        assert heard == organism.watch.facts

    world.begun, world.ending = begun, ending


def meter(world: World) -> None:
    """Somebody who hears what calls cost."""
    world.begun = lambda organism: organism.meter(lambda _: world.fail())


def session_log(world: World) -> None:
    """The disk of the session log: writing to it, and cutting off what a failed write left."""
    world.document["session_log"] = "log"
    write, shorten = Disk.write, Disk.cut

    def failing_write(disk: Disk, file: Any, data: memoryview) -> int:
        try:
            world.fail()
        except OSError:
            write(disk, file, data[: len(data) // 2])
            raise
        return write(disk, file, data)

    def failing_cut(disk: Disk, file: Any, size: int) -> None:
        world.fail()
        shorten(disk, file, size)

    world.patch.setattr(Disk, "write", failing_write)
    world.patch.setattr(Disk, "cut", failing_cut)


def recording(world: World) -> None:
    """The file that requests and answers are recorded in."""
    place = world.folder / "tape.jsonl"
    world.document["record"] = str(place)
    opens = pathlib.Path.open

    def failing(path: Path, *how: Any, **more: Any) -> Any:
        if path == place:
            world.fail()
        return opens(path, *how, **more)

    world.patch.setattr(pathlib.Path, "open", failing)


def threads(world: World) -> None:
    """The threads that the session log and the recording write in."""
    world.document |= {"record": str(world.folder / "tape.jsonl"), "session_log": "log"}
    start = threading.Thread.start

    def failing(thread: threading.Thread) -> None:
        if thread.name in {"organism recording", "organism session log"}:
            world.fail()
        start(thread)

    world.patch.setattr(threading.Thread, "start", failing)


@frozen
class Port:
    """``harms``: a thread may fail of it (one of the two); else both come to their end as if nothing had been. ``calls`` is how often
    it is called at least: a port that nobody calls could not fail.
    """

    install: Callable[[World], None]
    error: Callable[[], Exception]
    calls: int
    harms: bool = True
    at_start: bool = False
    """Whether its first call is made where the organism is made, which then says why it cannot be."""


PORTS = [
    Port(provider, broken, 30),
    Port(provider, cut, 30),
    Port(provider, overloaded, 30),
    Port(provider_retried, cut, 20, harms=False),
    Port(handlers, broken, 6),
    Port(tools, broken, 4, harms=False),
    Port(hooks, broken, 50),
    Port(subscriber, broken, 60, harms=False),
    Port(meter, broken, 20, harms=False),
    Port(session_log, full, 2, harms=False),
    Port(recording, full, 5, harms=False, at_start=True),
    Port(threads, broken, 2, harms=False),
]


@pytest.mark.parametrize("port", PORTS, ids=lambda port: f"{port.install.__name__}-{port.error.__name__}")
async def test_a_port_that_fails_once_harms_at_most_the_one_whose_call_it_was(
    port: Port, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: slice
) -> None:
    for number in range(1000)[half]:
        folder = tmp_path / f"{number}"
        folder.mkdir()
        with monkeypatch.context() as patch:
            world = World(FailAfter(number, port.error()), folder, patch, port)
            port.install(world)
            try:
                results = await world.play()
            except ConfigurationError as error:
                assert port.at_start
                assert not number
                assert "No space left on device" in str(error)  # noqa: PT017 - others raise nothing
                continue
        check(port, results, number)
        if world.fail.made <= number:
            break
    assert number >= port.calls
    assert [result.outcome for result in results] == ["completed", "completed"]


def check(port: Port, results: list[ThreadResult], number: int) -> None:
    """Each thread has ended with an answer, or with the reason why it has none."""
    assert len(results) == 2
    harmed = [result for result in results if result.outcome != "completed"]
    assert len(harmed) <= port.harms, (number, [result.error for result in harmed])
    for result in results:
        if result in harmed:
            assert result.outcome == "failed"
            assert result.error is not None
            assert len(result.error) > 5
        else:
            assert result.reply == Done("some words found found")
        assert result.usage.model_calls <= 6
