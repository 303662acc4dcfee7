"""A library that is not installed, or takes its time to load, for as long as a test lasts."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel

if TYPE_CHECKING:
    import pytest

LONG: Final = 10.0
"""Seconds after which a test gives up."""


def forget(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """Has these modules, with those below them, imported anew by whoever asks.

    A module stands in two places: in the table of modules, and as an attribute of its package. Both are put back, or later
    tests would see two modules of one name.
    """
    gone = {
        name: one for name, one in sys.modules.items() if f"{name}.".startswith(tuple(f"{each}." for each in modules))
    }
    for name, module in gone.items():
        package, _, attribute = name.rpartition(".")
        above = gone.get(package) or sys.modules[package]
        if vars(above).get(attribute) is module:
            monkeypatch.delattr(above, attribute)
        monkeypatch.delitem(sys.modules, name)


def hide_library(monkeypatch: pytest.MonkeyPatch, library: str, *users: str) -> None:
    """Makes ``library`` fail to import, and has the modules ``users``, with those below them, imported anew."""
    forget(monkeypatch, *users)
    monkeypatch.setitem(sys.modules, library, None)


class Gate:
    """A module that is loaded only once somebody has opened the gate; ``passed``: whether somebody did, each time that it was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
        self._module = module
        self.reached, self.opened = threading.Event(), threading.Event()
        self.passed: list[bool] = []
        forget(monkeypatch, module)
        monkeypatch.setattr(sys, "meta_path", [self, *sys.meta_path])

    def find_spec(self, name: str, *_: object) -> None:
        """Waits, and leaves the finding to others."""
        if name == self._module:
            self.reached.set()
            self.passed.append(self.opened.wait(LONG))

    async def come_to(self) -> None:
        """Returns once somebody waits at it; meanwhile the event loop is never idle, and a virtual clock stands still."""
        while not self.reached.wait(0.001):
            await anyio.lowlevel.checkpoint()
