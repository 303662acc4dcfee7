"""A signal that comes while Python loads what it needs, or an event loop starts, ends the process as one that comes later does: no
traceback, no message half sent. One that comes when all is said changes nothing.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import ended

if TYPE_CHECKING:
    from tests.cli.conftest import Desk

INTERRUPTING = '''
"""The command line, in a process that is interrupted where it calls this function for the first time."""

import signal
import sys

number = signal.Signals[sys.argv.pop(1)]
file, _, name = sys.argv.pop(1).rpartition(":")


def interrupt(frame, event, arg):
    if event == "call" and frame.f_code.co_name == name and frame.f_code.co_filename.endswith(file):
        sys.setprofile(None)
        signal.raise_signal(number)


sys.setprofile(interrupt)
from organism.cli.entry import main

main()
'''
LOOP = "asyncio/base_events.py:__init__"
FIRST = "organism/errors.py:<module>"
"""What the package itself loads before any command line would keep that from hearing of it."""
LOADING = "organism/cli/help_format.py:<module>"
SERVER = "organism.server.http.Server>:__init__"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.mark.parametrize("number", SIGNALS)
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
def test_a_signal_before_anything_runs_is_no_crash(
    desk: Desk, arguments: tuple[str, ...], number: signal.Signals
) -> None:
    desk.write("interrupting.py", INTERRUPTING)
    ran = desk.process(number.name, *arguments, program=["interrupting.py"])
    assert ran.code == 128 + number
    assert "Traceback" not in ran.err
    assert "never awaited" not in ran.err
    assert "shouter" not in ran.out


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("place", ["cli/interrupts.py:__exit__", "cli/streams.py:finish", "cli/main.py:_end_on_signal"])
def test_a_signal_when_all_is_said_changes_nothing(desk: Desk, place: str, number: signal.Signals) -> None:
    desk.write("interrupting.py", INTERRUPTING)
    ran = desk.process(number.name, f"organism/{place}", "run", "--quiet", program=["interrupting.py"])
    assert (ran.code, ran.out, ran.err) == (0, "shouter: Done\n  text: ADA\n  parts: none\n", "imported\n")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_whoever_began_the_process_ignores_stays_ignored(desk: Desk, number: signal.Signals) -> None:
    desk.write("interrupting.py", INTERRUPTING)
    place = "organism/cli/conduct.py:conduct"
    with desk.start(
        number.name,
        place,
        "run",
        "--quiet",
        program=["interrupting.py"],
        preexec_fn=lambda: signal.signal(number, signal.SIG_IGN),
    ) as process:
        ran = ended(process)
    assert (ran.code, ran.out) == (0, "shouter: Done\n  text: ADA\n  parts: none\n")
