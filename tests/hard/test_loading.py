"""What takes long to load is loaded beside the event loop: everybody else goes on, and no clock moves by it."""

from __future__ import annotations

import importlib
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from organism import BudgetExhaustedError, Context, ModelError, Organism, Reply
from organism.errors import NotRunningError
from organism.kernel.sums import ALL
from organism.models.background import BackgroundWork
from organism.models.recordings.takes import Take, read
from organism.testing import running
from tests.hard.pump_world import Go, Said, code, echo
from tests.imports import LONG, Gate, anew, gated, let_loading_end

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path
    from types import ModuleType

SERVER = {"provider": "openai", "model": "m", "base_url": "http://127.0.0.1:9/v1", "price": {"input": 1, "output": 1}}


@pytest.fixture
def simulated() -> Generator[Gate]:
    """Before the simulated provider."""
    with gated("organism.models.simulation.backend") as gate:
        yield gate


@pytest.fixture
def openai() -> Generator[Gate]:
    """Before the provider that needs the SDK of OpenAI."""
    with gated("organism.models.openai.backend") as gate:
        yield gate


async def talks(message: Go, ctx: Context) -> Reply[Said]:
    """Asks a model."""
    return Reply(Said((await ctx.complete(message.text)).text))


async def recorded(folder: Path) -> Path:
    """The recording of one call."""
    tape = folder / "tape.jsonl"
    models = {"default": {"backends": [{"provider": "simulated", "model": "m"}]}}
    async with running(models=models, record=str(tape)) as organism, organism.thread() as thread:
        await thread.complete("hello")
    return tape


def played(tape: Path) -> dict[str, Any]:
    """The models that answer from there."""
    return {"default": {"backends": [{"provider": "recorded", "model": "m", "options": {"file": str(tape)}}]}}


async def test_while_the_first_call_loads_its_provider_others_go_on(simulated: Gate) -> None:
    """And the handler that makes it is none the older: neither its ``timeout`` nor a virtual clock moves."""
    talker, echoer = code(talks, timeout=0.001), code(echo)
    async with running(handlers={"talker": talker, "echo": echoer}) as organism, anyio.create_task_group() as group:
        began = anyio.current_time()
        for _ in range(3):
            group.start_soon(organism.ask, "talker", Go("hello"))
        await simulated.come_to()
        assert (await organism.ask("echo", Go("still here"))).text == "still here"
        assert anyio.current_time() == began
        simulated.opened.set()
    assert simulated.passed == [True]


async def test_whoever_is_cancelled_while_a_provider_is_loaded_leaves_it_to_the_next_call(simulated: Gate) -> None:
    async with running(handlers={"talker": code(talks)}) as organism, anyio.create_task_group() as group:
        hurried = await organism.send("talker", Go("hello"))
        await simulated.come_to()
        hurried.cancel("it takes too long")
        assert (await hurried.result()).outcome == "cancelled"
        assert organism.kernel.state.sums.tally(*ALL).usage().model_calls == 0
        group.start_soon(organism.ask, "talker", Go("hello"))
        simulated.opened.set()
    assert simulated.passed == [True]
    assert organism.kernel.state.sums.tally(*ALL).usage().model_calls == 1


@pytest.mark.real_clocks
@pytest.mark.parametrize(
    ("whose", "key", "other"), [("thread", "budget", "ceiling"), ("organism", "ceiling", "budget")]
)
async def test_a_call_waits_for_its_provider_no_longer_than_its_budget_has_seconds(
    simulated: Gate, whose: str, key: str, other: str
) -> None:
    limited: dict[str, Any] = {key: {"seconds": 0.2}, other: {"seconds": 100}}
    async with running(**limited) as organism, organism.thread() as thread:
        with pytest.raises(BudgetExhaustedError) as refused:
            await thread.complete("hello")
        assert not simulated.passed
        simulated.opened.set()
    assert (refused.value.unit, refused.value.scope) == ("seconds", whose)
    assert organism.kernel.state.sums.tally(*ALL).usage().model_calls == 0


async def test_an_organism_is_closed_while_a_call_loads_its_provider(simulated: Gate) -> None:
    async with running(handlers={"talker": code(talks)}) as organism:
        handle = await organism.send("talker", Go("hello"))
        await simulated.come_to()
    assert (await handle.result()).outcome == "cancelled"


async def test_while_an_organism_that_starts_loads_an_sdk_others_go_on(openai: Gate) -> None:
    organism = Organism(name="late", models={"default": {"backends": [SERVER]}})
    async with running(handlers={"echo": code(echo)}) as other, anyio.create_task_group() as group:
        group.start_soon(organism.start)
        await openai.come_to()
        assert (await other.ask("echo", Go("still here"))).text == "still here"
        with pytest.raises(NotRunningError, match="has started: make a new one"):
            await organism.start()
        with pytest.raises(NotRunningError, match="has started: add hooks before that"):
            organism.add_hook("on_message", lambda _event, _ctx: None)
        openai.opened.set()
    assert openai.passed == [True]
    assert organism.statistics().threads == 0
    await organism.close()


async def test_one_that_is_closed_while_it_starts_is_closed_as_soon_as_it_has(openai: Gate) -> None:
    organism = Organism(name="late", models={"default": {"backends": [SERVER]}}, handlers={"echo": code(echo)})
    async with anyio.create_task_group() as group:
        group.start_soon(organism.start)
        await openai.come_to()
        group.start_soon(organism.close)
        await anyio.lowlevel.checkpoint()
        openai.opened.set()
    with pytest.raises(NotRunningError):
        await organism.send("echo", Go())


async def test_one_whose_start_was_cancelled_while_it_loads_can_be_started_again(openai: Gate) -> None:
    organism = Organism(name="late", models={"default": {"backends": [SERVER]}}, handlers={"echo": code(echo)})
    async with anyio.create_task_group() as group:
        group.start_soon(organism.start)
        await openai.come_to()
        group.cancel_scope.cancel()
    openai.opened.set()
    async with organism:
        assert (await organism.ask("echo", Go("again"))).text == "again"


async def test_a_recording_is_read_beside_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is checked, and when it is played. It may be as long as all that a day's work has asked."""
    tape = await recorded(tmp_path)
    organism = Organism(name="again", models=played(tape))
    readers: set[threading.Thread] = set()

    def read_here(*args: Any, **more: Any) -> Take:
        readers.add(threading.current_thread())
        return read(*args, **more)

    monkeypatch.setattr("organism.models.recordings.playback.read", read_here)
    async with organism, organism.thread() as thread:
        checked = len(readers)
        await thread.complete("hello")
    assert checked == 1
    assert len(readers) == 2
    assert threading.current_thread() not in readers


async def test_a_recording_that_cannot_be_read_fails_each_call_with_its_line(tmp_path: Path) -> None:
    """It is read in a thread too, and what that met is told where the call was made."""
    tape = await recorded(tmp_path)
    async with running(models=played(tape)) as organism:
        with tape.open("ab") as file:
            file.write(b"{}\n")
        for _ in range(2):
            async with organism.thread() as thread:
                with pytest.raises(ModelError, match="line 3 is damaged"):
                    await thread.complete("hello")


async def test_one_looks_for_all_that_wait_and_another_one_when_it_waits_no_more() -> None:
    gate = threading.Event()
    work = BackgroundWork(lambda: gate.wait(LONG))
    looked: list[int] = []
    scopes = [anyio.CancelScope() for _ in range(3)]

    async def wait(number: int) -> None:
        with scopes[number]:
            await work.wait()
            looked.append(number)

    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(wait, number)
        for scope in scopes[:2]:
            for _ in range(5):
                await anyio.lowlevel.checkpoint()
            assert not work.over
            scope.cancel()
        gate.set()
    assert looked == [2]
    assert work.result() is True


async def test_where_the_system_has_no_thread_left_it_is_done_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    work = BackgroundWork(lambda: 1 // 0)
    assert work.over
    await work.wait()
    with suppress(ZeroDivisionError):
        work.result()
        raise AssertionError


SMALL = "wsgiref.util"
"""A module that loads at once, and that nobody else needs."""


def load() -> BackgroundWork[ModuleType]:
    return BackgroundWork(lambda: importlib.import_module(SMALL))


def test_who_still_loads_a_module_has_loaded_it_before_the_one_from_before_is_put_back() -> None:
    before = importlib.import_module(SMALL)
    with gated(SMALL) as gate:
        loading = load()
        assert gate.reached.wait(LONG)
        assert not loading.over
    assert loading.over
    assert loading.result() is not before
    assert gate.passed == [True]
    assert sys.modules[SMALL] is before
    assert vars(sys.modules["wsgiref"])["util"] is before


def test_who_loads_a_module_has_loaded_it_before_it_is_taken_out() -> None:
    with gated(SMALL) as gate:
        loading = load()
        assert gate.reached.wait(LONG)
        gate.opened.set()
        with anew(SMALL):
            assert loading.over
            assert importlib.import_module(SMALL) is not loading.result()
        assert importlib.import_module(SMALL) is loading.result()


def test_a_module_that_was_not_there_before_is_not_there_after() -> None:
    with anew(SMALL):
        with anew(SMALL):
            importlib.import_module(SMALL)
        assert SMALL not in sys.modules
        assert "util" not in vars(sys.modules["wsgiref"])


def test_a_thread_that_loads_without_end_is_told() -> None:
    free = threading.Event()
    loading = BackgroundWork(lambda: free.wait(LONG))
    with pytest.raises(TimeoutError, match=r"'organism loading' has not ended within 0\.001 s"):
        let_loading_end(0.001)
    free.set()
    let_loading_end()
    assert loading.over
