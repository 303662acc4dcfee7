"""A library that is not installed, for as long as a test lasts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def hide_library(monkeypatch: pytest.MonkeyPatch, library: str, *users: str) -> None:
    """Makes ``library`` fail to import, and has the modules ``users``, with those below them, imported anew by whoever asks.

    A module stands in two places: in the table of modules, and as an attribute of its package. Both are put back, or later
    tests would see two modules of one name.
    """
    modules = {
        name: one for name, one in sys.modules.items() if f"{name}.".startswith(tuple(f"{each}." for each in users))
    }
    for name, module in modules.items():
        package, _, attribute = name.rpartition(".")
        above = modules.get(package) or sys.modules[package]
        if vars(above).get(attribute) is module:
            monkeypatch.delattr(above, attribute)
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
