"""Records of several lines: those that our own code made stay lines, and nothing in them reaches a terminal as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Desk

BUSY = '''
    import logging
    import threading

    from organism import Context, payload

    @payload
    class Word:
        text: str

    named = threading.Event()

    class Hears(logging.Handler):
        def emit(self, record):
            named.set()

    logging.getLogger("organism.handlers").addHandler(Hears())

    async def busy(word: Word, ctx: Context) -> None:
        """Keeps the event loop until it is named for it."""
        named.wait(30)  # \x1b[31m

    async def says(word: Word, ctx: Context) -> None:
        """Makes a line in the log."""
        logging.getLogger("theirs").warning("first\\nerror: second", extra={"lines": True})
'''
FILE = "organism: busy\nwatchdog: 0.05\nhandlers: {busy: {code: busy:busy}, says: {code: busy:says}}\n"


def test_where_a_handler_keeps_the_loop_is_told_in_lines(desk: Desk) -> None:
    desk.write("busy.py", BUSY)
    desk.write("busy.yaml", FILE)
    ran = desk.organism("run", "busy.yaml", "--to", "busy", "--send", "x", "--quiet")
    told = ran.err.splitlines()
    first = next(number for number, line in enumerate(told) if "has kept the event loop" in line)
    assert told[first].startswith("warning: handler 'busy' in thread ")
    assert told[first].endswith("It is at:")
    assert told[first + 1].startswith("  File ")
    assert told[first + 1].endswith("in busy")
    assert told[first + 2] == "    named.wait(30)  # \\x1b[31m"
    assert "\x1b" not in ran.err


def test_lines_that_somebody_else_made_are_one(desk: Desk) -> None:
    desk.write("busy.py", BUSY)
    desk.write("busy.yaml", FILE)
    ran = desk.organism("run", "busy.yaml", "--to", "says", "--send", "x", "--quiet")
    assert "warning: first error: second" in ran.err.splitlines()
