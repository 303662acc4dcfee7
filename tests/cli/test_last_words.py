"""The last words of a run: what ended is said, whenever it did, what is left is counted, and no signal comes too late or too early for that."""

from __future__ import annotations

import io
import os
import signal
import time
from typing import TYPE_CHECKING, Any, ClassVar

import anyio
import pytest

from organism import Context, Organism, Reply
from organism.cli import signals
from organism.cli.conduct import Job, conduct
from organism.cli.interrupts import Interrupts
from organism.cli.options import RunOptions
from organism.cli.streams import Streams
from organism.settings import StartMessage
from organism.works.works import Works
from tests.cli.conftest import LEFT, Ran
from tests.hard.pump_world import Go, Said, code

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Desk

WORK = '''
    """Handlers that interrupt their own process, at one moment or another."""

    from __future__ import annotations

    import os
    import signal
    import threading
    import time
    from typing import TYPE_CHECKING

    import anyio

    from organism import Reply, payload

    if TYPE_CHECKING:
        from organism import Context


    @payload
    class Go:
        text: str


    class Goodbye:
        """Interrupts the process when Python takes its modules apart."""

        def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.SIGINT) -> None:
            kill(pid, number)


    async def breaks(message: Go, ctx: Context) -> None:
        """Raises what Ctrl-C raises where nobody listens to it, alone or in a group."""
        raise KeyboardInterrupt if message.text == "alone" else BaseExceptionGroup("both", [ValueError(), KeyboardInterrupt()])


    async def waits(message: Go, ctx: Context) -> None:
        """Waits longer than anybody has patience for."""
        await anyio.sleep(60)


    def keeps(number: int) -> None:
        """Keeps the process, and sends it a signal as soon as that waits for nothing else; again and again, since Python does not
        hear one in the instant in which it begins to wait.
        """
        while threading.main_thread().is_alive():
            time.sleep(0.001)
        while True:
            os.kill(os.getpid(), number)
            time.sleep(0.001)


    async def leaves(message: Go, ctx: Context) -> Reply[Go]:
        """Leaves something behind that interrupts the process when it is about to end."""
        if message.text == "object":
            globals()["goodbye"] = Goodbye()
        else:
            threading.Thread(target=keeps, args=(signal.Signals[message.text],)).start()
        return Reply(message)
'''
FILE = """
    organism: words
    journal: sqlite:organism.db
    handlers:
      breaks: {code: work:breaks}
      waits: {code: work:waits, timeout: null}
      leaves: {code: work:leaves}
"""


@pytest.fixture
def words(desk: Desk) -> Desk:
    desk.write("work.py", WORK)
    desk.write("organism.yaml", FILE)
    return desk


@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
@pytest.mark.parametrize("how", ["alone", "in a group"])
def test_a_handler_that_interrupts_the_run_leaves_a_word_of_what_is_left(words: Desk, how: str, runtime: str) -> None:
    started = f"start=[{{to: waits, payload: {{Go: {{text: x}}}}}}, {{to: breaks, payload: {{Go: {{text: {how}}}}}}}]"
    ran = words.process("run", "--quiet", "--set", f"runtime={runtime}", "--set", started)
    assert (ran.code, ran.out) == (130, "")
    assert "Traceback" not in ran.err
    *_, failed, left = ran.err.splitlines(keepends=True)
    assert failed.startswith("failed: breaks (crashed): KeyboardInterrupt")
    assert left == LEFT
    found = words.organism("threads", "--json").objects
    assert sorted(each["outcome"] for each in found) == ["failed", "unfinished"]


@pytest.mark.parametrize("what", ["object", "SIGINT", "SIGTERM"])
def test_a_signal_that_comes_when_all_is_said_ends_the_process_as_it_would_have_ended(words: Desk, what: str) -> None:
    assert words.process("run", "--to", "leaves", "--send", what, "--quiet") == Ran(
        0, f"leaves: Go\n  text: {what}\n", ""
    )


class SlowDisk(Works):
    """Writes that take their time once the grace time is over."""

    late: ClassVar[anyio.Event]
    """Set when it is."""

    async def drain(self, grace: float) -> None:
        """Lets the handler end in the very moment in which nobody waits for it any more."""
        await super().drain(grace)
        self.late.set()
        while self.pump.running:
            await anyio.lowlevel.checkpoint()

    def _hand_over(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        def slowly() -> Any:
            if self.late.is_set():
                time.sleep(0.02)
            return work()

        super()._hand_over(slowly, done)


class Late(Organism):
    """An organism on such a disk."""

    _parts = SlowDisk


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_what_ends_when_nobody_waits_for_it_any_more_is_said(tmp_path: Path, backend: str) -> None:
    async def ends(message: Go, ctx: Context) -> Reply[Said]:
        os.kill(os.getpid(), signal.SIGINT)
        await SlowDisk.late.wait()
        return Reply(Said(message.text))

    handlers = {"ends": code(ends, timeout=None)}
    organism = Late(name="test", journal="sqlite:organism.db", folder=tmp_path, handlers=handlers)
    out, err = io.StringIO(), io.StringIO()
    streams = Streams(out=out, err=err, input=io.StringIO())
    messages = (StartMessage(to="ends", payload=Go("after all")),)
    job = Job(file=tmp_path, options=RunOptions(grace=0, quiet=True), messages=messages)

    async def main() -> int:
        SlowDisk.late = anyio.Event()
        return await conduct(organism, job, streams, interrupts)

    before = signals.answers()
    with Interrupts(lambda: None) as interrupts:
        assert anyio.run(main, backend=backend) == 130
    signals.set_back(before)
    assert out.getvalue() == "ends: Said\n  text: after all\n"
    assert err.getvalue() == "interrupted: leaving running work; interrupt again to end at once\n"
