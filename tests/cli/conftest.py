"""A folder with an organism in it, and the command line run on it: in this process, or in one of its own."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from attrs import frozen

from organism.cli import signals
from organism.cli.main import execute
from organism.cli.streams import Streams
from tests.config.conftest import Project

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

WORK = '''
    """Small handlers that do one thing each."""

    from __future__ import annotations

    import signal
    from typing import TYPE_CHECKING

    import anyio

    from organism import Refused, Reply, Send, payload
    from organism.payloads.primitives import BudgetWarning

    if TYPE_CHECKING:
        from organism import Context

    print("imported")


    @payload
    class Job:
        """Something to be done."""

        text: str
        times: int = 1
        tags: list[str] = []


    @payload
    class Pair:
        left: str
        right: str


    @payload
    class Done:
        text: str
        parts: list[str] = []


    async def shout(job: Job, ctx: Context) -> Reply[Done]:
        """Says it loudly, with the thread's labels."""
        labels = [f"{key}={value}" for key, value in ctx.labels.items()]
        return Reply(Done(text=job.text.upper() * job.times, parts=[*job.tags, *labels]))


    async def join(pair: Pair, ctx: Context) -> Reply[Done]:
        """Joins two texts."""
        return Reply(Done(text=f"{pair.left}+{pair.right}"))


    async def boss(job: Job, ctx: Context) -> Reply[Done]:
        """Has it shouted."""
        answers = await ctx.ask_all([("shouter", Job(text=f"{job.text}{n}")) for n in range(job.times)], expect=Done)
        return Reply(Done(text="all", parts=[answer.text for answer in answers]))


    async def crash(job: Job, ctx: Context) -> None:
        """Crashes."""
        raise ValueError("bo\\x1b[31mom\\nin two lines")


    async def refuse(job: Job, ctx: Context) -> None:
        """Refuses."""
        raise Refused("not today")


    async def sleep(job: Job, ctx: Context) -> None:
        """Never ends by itself; first it sends its own process the signal that it is told."""
        print("asleep")
        if job.text.startswith("SIG"):
            signal.raise_signal(signal.Signals[job.text])
        await anyio.sleep_forever()


    async def spend(job: Job, ctx: Context) -> Reply[Done]:
        """Calls its model until it may not any more."""
        while True:
            await ctx.complete(f"Say something about {job.text}.", max_output_tokens=40)


    async def hear(job: Job | BudgetWarning, ctx: Context) -> None:
        """Takes what only the organism says, too."""


    async def talk(job: Job, ctx: Context) -> Reply[Done]:
        """Prints and replies with what a terminal would act on."""
        print("printed by a handler")
        return Reply(Done(text="red \\x1b[31mink\\x07\\u202e\\u009b", parts=["a\\nb"]))
'''

FILE = """
    organism: demo
    handlers:
      shouter: {code: work:shout}
      joiner: {code: work:join}
      boss: {code: work:boss, peers: [shouter]}
      crasher: {code: work:crash}
      refuser: {code: work:refuse}
      sleeper: {code: work:sleep}
      spender: {code: work:spend}
      hearer: {code: work:hear}
      talker: {code: work:talk}
    start:
      - {to: shouter, payload: {Job: {text: ada}}}
"""


LEFT = "1 thread is left in the journal; go on with it: organism resume\n"
"""The last words of a run that leaves one."""

TRIP = '''
    from __future__ import annotations

    from typing import TYPE_CHECKING

    import anyio

    from organism import HandlerFailedError, Reply, Send, payload

    if TYPE_CHECKING:
        from organism import Context


    @payload
    class Trip:
        """A trip that somebody wants to make."""

        to: str
'''
"""How the handlers of those begin who ask a boss about a trip."""


@frozen
class Ran:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The lines of ``--json``; each must be one."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def object(self) -> dict[str, Any]:
        (one,) = self.objects
        return one


class Started(subprocess.Popen[str]):
    """A process that is not waited for where what is done with it fails: it may be waiting for the rest of that."""

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, where: TracebackType | None
    ) -> None:
        if kind is not None:
            self.kill()
        super().__exit__(kind, value, where)


class Desk(Project):
    """A project with handlers in ``work.py`` and an organism.yaml, and the command line in its folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.write("work.py", WORK)
        self.write("organism.yaml", FILE)

    def organism(self, *arguments: str, stdin: str = "") -> Ran:
        """In this process, on streams that are no terminal."""
        out, err = io.StringIO(), io.StringIO()
        code = execute(arguments, Streams(out=out, err=err, input=io.StringIO(stdin)))
        return Ran(code, out.getvalue(), err.getvalue())

    def start(
        self,
        *arguments: str,
        environ: Mapping[str, str] | None = None,
        program: Sequence[str] = ("-m", "organism.cli"),
        **how: Any,
    ) -> Started:
        """In a process of its own, where warnings are errors as in this one."""
        return Started(
            [sys.executable, *program, *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONWARNINGS": "error", **(environ or {})},
            text=True,
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how},
        )

    def process(self, *arguments: str, **how: Any) -> Ran:
        with self.start(*arguments, **how) as process:
            return ended(process)


def ended(process: subprocess.Popen[str], number: int | None = None) -> Ran:
    """What a process comes to, sent this signal first; all that nobody has read of it. It is waited for long: where many share a machine,
    a process may take half a minute to load what it needs.
    """
    if number is not None:
        process.send_signal(number)
    out, err = process.communicate(timeout=120)
    return Ran(process.returncode, out, err)


@pytest.fixture(scope="session", autouse=True)
def _signals_are_heard() -> Iterator[None]:
    """Also where whoever started the tests ignores them, as a shell does with SIGINT for what a script runs with ``&``, and ``nohup``
    with SIGHUP: the processes that tests start would inherit that. What is answered here by a function is not ignored there.
    """
    ignored = [number for number in signals.ENDING if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else lambda *_: None)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("ORGANISM_") or name in {"COLUMNS", "NO_COLOR"}]:
        monkeypatch.delenv(name)
    made = Desk(tmp_path)
    yield made
    made.forget()
