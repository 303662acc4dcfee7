"""A library that is not installed, or takes its time to load, for as long as a test lasts."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import anyio.lowlevel
import pytest

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType

LONG: Final = 60.0
"""Seconds after which a test gives up: where many share a machine, a library may take half of that to load."""

MOMENT: Final = 0.001
"""Seconds for which a turn of the event loop waits for a thread."""

LOADING: Final = "organism loading"
"""The name of the threads that load what takes its time."""


@contextmanager
def anew(*modules: str) -> Generator[None]:
    """Inside, these modules, with those below them, are imported anew by whoever asks; then what was there is put back.

    Threads that still load something are waited for, before and after: one that ended later would write what it has loaded
    over what was put back, and later tests would see two modules of one name, or wait for one to be loaded that is there.
    """
    let_loading_end()
    before = _taken_out(modules)
    try:
        yield
    finally:
        try:
            let_loading_end()
        finally:
            _taken_out(modules)
            for name, (module, package) in before.items():
                sys.modules[name] = module
                if package is not None:
                    setattr(package, name.rpartition(".")[2], module)


def let_loading_end(seconds: float = LONG) -> None:
    """Returns once no thread loads anything any more; raises TimeoutError where one has not ended within ``seconds``."""
    for thread in threading.enumerate():
        if thread.name == LOADING:
            thread.join(seconds)
            if thread.is_alive():
                raise TimeoutError(f"a thread {LOADING!r} has not ended within {seconds} s: what does it wait for?")


def _taken_out(modules: tuple[str, ...]) -> dict[str, tuple[ModuleType, ModuleType | None]]:
    """These modules by name, which nobody finds any more: each stood in the table of modules, and mostly as an attribute of its package, which is named too."""
    known = dict(sys.modules)
    gone: dict[str, tuple[ModuleType, ModuleType | None]] = {}
    for name, module in known.items():
        if f"{name}.".startswith(tuple(f"{each}." for each in modules)):
            above, _, attribute = name.rpartition(".")
            package = known.get(above)
            if package is not None and vars(package).get(attribute) is module:
                delattr(package, attribute)
            else:
                package = None
            del sys.modules[name]
            gone[name] = module, package
    return gone


@contextmanager
def without_library(library: str, *users: str) -> Generator[None]:
    """Inside, ``library`` fails to import, and the modules ``users``, with those below them, are imported anew."""
    with anew(*users), pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, library, None)
        yield


@contextmanager
def gated(module: str) -> Generator[Gate]:
    """Inside, ``module`` is loaded anew, and only once the gate has been opened. Who still waits there at the end passes."""
    gate = Gate(module)
    with anew(module), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "meta_path", [gate, *sys.meta_path])
        try:
            yield gate
        finally:
            gate.opened.set()


class Gate:
    """What keeps ``module`` from being loaded until somebody opens it; ``passed``: whether somebody did, each time that it was asked for."""

    def __init__(self, module: str) -> None:
        self._module = module
        self.reached, self.opened = threading.Event(), threading.Event()
        self.passed: list[bool] = []

    def find_spec(self, name: str, *_: object) -> None:
        """Waits, and leaves the finding to others."""
        if name == self._module:
            self.reached.set()
            self.passed.append(self.opened.wait(LONG))

    async def come_to(self) -> None:
        """Returns once somebody waits at it; meanwhile the event loop is never idle, and a virtual clock stands still."""
        for _ in range(int(LONG / MOMENT)):
            if self.reached.wait(MOMENT):
                return
            await anyio.lowlevel.checkpoint()
        raise TimeoutError(f"nobody has asked for {self._module!r} within {LONG} s: had somebody loaded it?")
