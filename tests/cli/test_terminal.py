"""What a terminal shows while an organism runs, and that nothing of it is left behind."""

from __future__ import annotations

import itertools
import os
import re
import select
import signal
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import ended
from tests.cli.test_process import interrupt_until_it_ends
from tests.cli.test_shutdown import go

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cli.conftest import Desk

pty = pytest.importorskip("pty", reason="only where there are pseudo terminals")

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
SLOW = '''
    from pathlib import Path

    import anyio

    from organism import Context, Reply, payload


    @payload
    class Job:
        text: str


    @payload
    class Done:
        text: str


    async def lead(job: Job, ctx: Context) -> Reply[Done]:
        """Leads."""
        print("printed by a handler")
        await ctx.ask("reader", job)
        return Reply(Done(text="fin"))


    async def read(job: Job, ctx: Context) -> Reply[Done]:
        """Reads, until there is a file "go"."""
        await ctx.complete("Say something about it.", max_output_tokens=40)
        while not Path("go").exists():
            await anyio.sleep(0.01)
        return Reply(Done(text=job.text))


    async def sleep(job: Job, ctx: Context) -> None:
        """Never ends by itself."""
        await anyio.sleep_forever()
'''
FILE = """
    organism: demo
    handlers:
      leader: {code: slow:lead, peers: [reader]}
      reader: {code: slow:read, budget: {tokens: 300, warn_at: [0.01]}}
      sleeper: {code: slow:sleep}
    start: [{to: leader, payload: {Job: {text: x}}}]
"""


class Terminal:
    """A pseudo terminal that a process runs on; ``shown`` is what it wrote so far."""

    def __init__(self, desk: Desk, *arguments: str) -> None:
        self._end, theirs = pty.openpty()
        environ = {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
        self.process = desk.start(*arguments, environ=environ, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        self.shown = ""

    def until(self, seen: Callable[[str], object]) -> None:
        """Reads until it has shown what is waited for."""
        for more in self._pieces():
            self.shown += more
            if seen(self.shown):
                return
        raise AssertionError(f"it was never shown: {self.shown!r}")

    def type(self, keys: bytes) -> None:
        """Types on it."""
        os.write(self._end, keys)

    def finish(self) -> int:
        for more in self._pieces():
            self.shown += more
        os.close(self._end)
        return self.process.wait(timeout=120)

    def close(self) -> None:
        """Closes it while the process goes on."""
        os.close(self._end)

    def _pieces(self) -> Iterator[str]:
        while True:
            if not select.select([self._end], [], [], 120)[0]:
                self.process.kill()
                raise AssertionError(f"it hangs; it has shown {self.shown!r}")
            try:
                data = os.read(self._end, 65536)
            except OSError:  # how a pseudo terminal says that nobody is at its other end
                return
            if not data:
                return
            yield data.decode("utf-8", "replace")


@pytest.fixture
def slow(desk: Desk) -> Desk:
    desk.write("slow.py", SLOW)
    desk.write("organism.yaml", FILE)
    return desk


def screen(written: str) -> str:
    """What is on the screen after all of that: lines that were erased are gone. Colours are taken out."""
    lines, row = [""], 0
    for part in re.split(r"(\r\n|\n|\r|\x1b\[[0-9;?]*[A-Za-z])", written):
        if part in {"\n", "\r\n"}:
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part.startswith("\x1b[") and part.endswith("A"):
            row -= int(part[2:-1] or 1)
        elif not part.startswith("\x1b") and part != "\r":
            lines[row] += part
    return "\n".join(lines)


def test_progress_is_live_and_nothing_of_it_is_left(slow: Desk) -> None:
    terminal = Terminal(slow, "run")
    terminal.until(lambda shown: "reader" in shown and re.search(r"█|░", shown))
    assert HIDE in terminal.shown
    terminal.until(lambda shown: "threads: 1 running" in shown and "messages" in shown)
    go(slow)
    assert terminal.finish() == 0
    assert terminal.shown.rfind(SHOW) > terminal.shown.rfind(HIDE)
    left = screen(terminal.shown)
    assert not re.search(r"█|░|threads: |running", left)
    assert left.count("printed by a handler") == 1
    assert left.count("budget warning: reader: tokens ") == left.count("budget warning: ") > 0
    assert left.count("leader: Done\n  text: fin\n") == 1
    assert re.search(r"^leader [0-9a-f]{16}  completed ", left, re.MULTILINE)
    assert re.search(r"^  reader +completed ", left, re.MULTILINE)


def test_ctrl_c_leaves_the_terminal_in_order(slow: Desk) -> None:
    terminal = Terminal(slow, "run", "--grace", "0", "--to", "sleeper", "--send", "x")
    terminal.until(lambda shown: "threads: 1 running" in shown)
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.finish() == 130
    assert terminal.shown.rfind(SHOW) > terminal.shown.rfind(HIDE)
    left = screen(terminal.shown)
    assert "interrupted: cancelling running work; interrupt again to end at once\n" in left
    assert "threads: " not in left


def test_and_so_does_a_second_one_at_once(slow: Desk) -> None:
    busy = 'await anyio.sleep(0.3)\n        print("busy")\n        while True: pass'
    slow.write("slow.py", SLOW.replace("await anyio.sleep_forever()", busy))
    terminal = Terminal(slow, "run", "--to", "sleeper", "--send", "x")
    terminal.until(lambda shown: "busy" in shown)
    assert HIDE in terminal.shown
    interrupt_until_it_ends(terminal.process)
    assert terminal.finish() == 130
    assert terminal.shown.rfind(SHOW) > terminal.shown.rfind(HIDE)


def outcome(desk: Desk) -> str:
    """That of the one thread in its journal."""
    return str(desk.organism("threads", "--json", "--journal", "sqlite:kept.db").object["outcome"])


def test_a_terminal_that_is_closed_ends_a_run_in_order(slow: Desk) -> None:
    terminal = Terminal(slow, "run", "--journal", "sqlite:kept.db", "--grace", "0.1", "--to", "sleeper", "--send", "x")
    terminal.until(lambda shown: "threads: 1 running" in shown)
    terminal.close()
    assert ended(terminal.process, signal.SIGHUP).code == 129
    assert outcome(slow) == "unfinished"


def test_a_run_outlives_its_terminal_where_it_does_not_hear_of_that(slow: Desk) -> None:
    terminal = Terminal(slow, "run", "--journal", "sqlite:kept.db")
    terminal.until(lambda shown: "threads: 1 running" in shown)
    terminal.close()
    go(slow)
    assert ended(terminal.process).code == 1, "what it came to could not be printed"
    assert outcome(slow) == "completed"


def test_quiet_draws_nothing(slow: Desk) -> None:
    go(slow)
    terminal = Terminal(slow, "run", "--quiet")
    assert terminal.finish() == 0
    assert "\x1b" not in terminal.shown
    assert terminal.shown.replace("\r", "") == "printed by a handler\nleader: Done\n  text: fin\n"


def test_json_on_a_terminal_is_one_line_between_the_drawings(slow: Desk) -> None:
    go(slow)
    terminal = Terminal(slow, "run", "--json")
    assert terminal.finish() == 0
    assert HIDE in terminal.shown
    (line,) = [line for line in terminal.shown.split("\n") if '"outcome": "completed"' in line]
    assert '{"thread": ' in line


def test_help_is_as_wide_as_the_terminal(slow: Desk) -> None:
    terminal = Terminal(slow, "run", "--help")
    assert terminal.finish() == 0
    said = re.sub(r"\x1b\[[0-9;]*m", "", terminal.shown).replace("\r", "").partition("╭")[0]
    *_, details, _ = said.strip().split("\n\n")  # the last paragraph is an example
    lines = details.splitlines()
    assert len(lines) > 3
    for above, below in itertools.pairwise(lines):
        assert len(above.rstrip()) + 1 + len(below.split()[0]) > 120, above
