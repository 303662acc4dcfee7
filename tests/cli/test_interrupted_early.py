"""A signal that comes while Python loads what it needs, or an event loop starts, ends the process as one that comes later does: no traceback, no message half sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Desk

INTERRUPTING = '''
"""The command line, in a process that is interrupted where it calls this function for the first time."""

import signal
import sys

file, _, name = sys.argv.pop(1).rpartition(":")


def interrupt(frame, event, arg):
    if event == "call" and frame.f_code.co_name == name and frame.f_code.co_filename.endswith(file):
        sys.setprofile(None)
        signal.raise_signal(signal.SIGINT)


sys.setprofile(interrupt)
from organism.cli.entry import main

main()
'''
LOOP = "asyncio/base_events.py:__init__"
FIRST = "organism/errors.py:<module>"
"""What the package itself loads before any command line would keep that from hearing of it."""
LOADING = "organism/cli/help_format.py:<module>"
SERVER = "organism.server.http.Server>:__init__"


@pytest.mark.parametrize(
    "arguments",
    [
        (FIRST, "run"),
        (LOADING, "run"),
        (LOOP, "run", "--set", "runtime=asyncio"),
        (LOOP, "chat", "--to", "shouter", "--set", "runtime=asyncio", "--quiet"),
        ("trio/_core/_run.py:spawn_impl", "run"),
        (SERVER, "simulate", "--port", "0"),
    ],
)
def test_an_interrupt_before_anything_runs_is_no_crash(desk: Desk, arguments: tuple[str, ...]) -> None:
    desk.write("interrupting.py", INTERRUPTING)
    ran = desk.process(*arguments, program=["interrupting.py"])
    assert ran.code == 130
    assert "Traceback" not in ran.err
    assert "never awaited" not in ran.err
    assert "shouter" not in ran.out
