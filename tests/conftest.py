"""Every async test runs on trio and on asyncio, both with a virtual clock: no test waits. Costly ones take turns (``by_turns``)."""

from __future__ import annotations

import asyncio
import functools
import gc
import importlib
import os
import selectors
import shutil
import ssl
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, TypeVarTuple, Unpack, cast

import hypothesis
import pytest
import trio.testing

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Generator, Iterator, Mapping
    from concurrent.futures import Executor


# How long an example takes says how busy the machine is, and nothing of the code.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
if hypothesis.settings.get_current_profile_name() != "mutation":  # that of benchmarks/mutation.py
    hypothesis.settings.load_profile("untimed")


MEMORY: Final = Path("/dev/shm")  # noqa: S108 - whoever has made it, what pytest makes in it is the user's alone
ROOM: Final = 2**30
"""Bytes that must be free there; the tests need some tens of millions, since what a test has left is removed when it has passed."""

# Journals are made by the thousand, and a disk takes milliseconds for each fact that it is to keep.
if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK | os.X_OK) and shutil.disk_usage(MEMORY).free > ROOM:
    os.environ["TMPDIR"] = str(MEMORY)  # also for processes that tests start
    tempfile.tempdir = None  # it is looked up again


# Compiled once, not by each worker and each process that a test starts: that took a tenth of the time. .gitignore knows what is written.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


MANY: Final = 200
_frozen = [0]
"""How many modules there were each time that what there is was frozen."""


def _freeze() -> None:
    """What is imported and collected is there to the end: it is looked through for garbage once, and then never again."""
    gc.collect()
    gc.freeze()
    _frozen.append(len(sys.modules))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    gc.disable()
    try:
        return (yield)
    finally:
        _freeze()
        gc.enable()


LOOPS: Final = ["trio", "asyncio"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of a test that is marked ``by_turns`` each case stays on one loop, as squares of a chessboard are black or white: where there is
    a second parameter, every value of the first meets both. A case that was asked for by its name on one loop stays.
    """
    tests: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("by_turns") is not None:
            tests.setdefault(item.nodeid.partition("[")[0], []).append(item)
    spared = {item for test in tests.values() for item in _spared(test)}
    items[:] = [item for item in items if item not in spared]
    if spared:
        config.hook.pytest_deselected(items=[*spared])


def _spared(test: list[pytest.Item]) -> Iterator[pytest.Item]:
    params: dict[pytest.Item, dict[str, object]] = {item: cast("Any", item).callspec.params for item in test}
    on = [[item for item in test if params[item]["anyio_backend"] == loop] for loop in LOOPS]
    if len(on[0]) != len(on[1]):
        return
    # Names that are given their values together count as one parameter.
    together = [mark.args[0] for mark in test[0].iter_markers("parametrize")]
    named = [each.replace(",", " ").split() if isinstance(each, str) else each for each in together]
    alone = params[test[0]].keys() - {"anyio_backend"}.union(*named)
    parameters = [*named, *([name] for name in sorted(alone))]
    squares = [*range(len(on[0]))]
    if len(parameters) > 1:
        # Values are told apart by what they look like: each worker of xdist must come to the same.
        looks = [[repr([params[item][name] for name in names]) for item in on[0]] for names in parameters]
        squares = [sum(ranks) for ranks in zip(*map(_ranks, looks), strict=True)]
    for square, pair in zip(squares, zip(*on, strict=True), strict=True):
        yield pair[(square + 1) % len(LOOPS)]


def _ranks(texts: list[str]) -> list[int]:
    """The number of each text among those that differ, in the order in which they come."""
    seen: dict[str, int] = {}
    return [seen.setdefault(text, len(seen)) for text in texts]


_order: Final[random.Random] = cast("Any", importlib.import_module("trio._core._run"))._r
"""What trio shuffles the tasks with that are ready at once."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test has one order of its tasks, wherever it runs: what fails in one place fails in all. ``SCHEDULE=2 make test`` tries others."""
    _order.seed(os.environ.get("SCHEDULE", "") + item.nodeid)


def pytest_runtest_logfinish() -> None:
    """Between two tests: the first one that needs a provider's library has loaded more than all of ours is."""
    if len(sys.modules) > _frozen[-1] + MANY:
        _freeze()


@pytest.fixture(scope="session", autouse=True)
def _certificates_are_read_once() -> Iterator[None]:
    """Each client of a provider reads those of all authorities: longer than a test takes that makes one, and none needs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", functools.cache(ssl.create_default_context))
        yield


MOMENT: Final = 0.002
"""Seconds that a worker thread or a socket has for an answer before the clock jumps."""
QUIET: Final = 0.05
"""The same for tests of ``sockets``: what one end has sent is at the other one long before that, since the same process does nothing else.

How busy the machine is does not count: a loop that was not let run finds what has come, and only then how late it is. Nor does the clock jump
while a thread of a pool works, as the libraries of providers have it done.
"""
WATCHES: Final = "organism watchdog"
"""The name of the thread that only looks on: it wakes nobody."""
_others: Final = {*threading.enumerate()}
"""Threads that were there before any test."""


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that does not wait: where nothing is ready, it moves the loop's clock to the next timer."""

    def __init__(self, moment: float) -> None:
        super().__init__()
        self._moment = moment
        self.now = 0.0
        self.working = 0
        """How many threads of the loop's pool work."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        moment = timeout
        if timeout:
            # This first: what a thread has written that ends meanwhile is then found.
            moment = self._moment if self._may_be_woken() else 0
        ready = super().select(moment)
        if not ready and timeout and not self.working:
            self.now += timeout
        return ready

    def _may_be_woken(self) -> bool:
        """Whether there is a socket beside the loop's own, or a thread that may write to that."""
        return len(self.get_map()) > 1 or any(each.name != WATCHES for each in {*threading.enumerate()} - _others)


T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self, moment: float) -> None:
        self._jumping = _JumpingSelector(moment)
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        def ended(_: object) -> None:
            self._jumping.working -= 1

        future = super().run_in_executor(executor, func, *args)
        self._jumping.working += 1
        future.add_done_callback(ended)
        return future

    async def shutdown_default_executor(self, *given: Any) -> None:
        """Since Python 3.12 its threads are given some time to end: none passes meanwhile."""
        self._jumping.working += 1
        try:
            await super().shutdown_default_executor(*given)
        finally:
            self._jumping.working -= 1


def _patient_clock() -> trio.testing.MockClock:
    """One that jumps only where nothing has come for a moment, and no thread of trio's pool works."""
    clock: Any = trio.testing.MockClock(autojump_threshold=QUIET)
    jump = clock._autojump

    def patiently() -> None:
        if not trio.to_thread.current_default_thread_limiter().borrowed_tokens:
            jump()

    clock._autojump = patiently
    made: trio.testing.MockClock = clock
    return made


@pytest.fixture(params=LOOPS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, Mapping[str, Any]]:
    if request.node.get_closest_marker("real_clocks") is not None:
        return request.param, {}
    speaks = request.node.get_closest_marker("sockets") is not None
    if request.param == "trio":
        return "trio", {"clock": _patient_clock() if speaks else trio.testing.MockClock(autojump_threshold=0.0)}
    return "asyncio", {"loop_factory": functools.partial(_JumpingLoop, QUIET if speaks else MOMENT)}


@pytest.fixture
def half(anyio_backend_name: str) -> slice:
    """For tests that go through many places of one thing: trio takes the first, the third, ... and asyncio those between."""
    return slice(LOOPS.index(anyio_backend_name), None, len(LOOPS))
