"""Processes that are told to end: what runs has a grace time, the rest goes on another time, and nothing holds them up."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from organism.pump.delivery import PATIENCE
from tests.cli.conftest import LEFT, ended

if TYPE_CHECKING:
    from tests.cli.conftest import Desk

WORK = '''
    """A desk whose steps take until they are told to go on."""

    from __future__ import annotations

    import threading
    import time
    from pathlib import Path
    from typing import TYPE_CHECKING

    import anyio

    from organism import Reply, Send, payload
    from organism.pump import background

    if TYPE_CHECKING:
        from organism import Context

    background.PATIENCE = 0.1  # this test is less patient than people need


    @payload
    class Step:
        n: int


    @payload
    class Done:
        text: str


    async def walk(message: Step | Done, ctx: Context) -> Reply[Done] | Send[Step]:
        """Walks: a step, and when that is done another one."""
        ctx.log.warning("walk %s", getattr(message, "n", "goes on"))
        ctx.state["steps"] = ctx.state.get("steps", 0) + 1
        if ctx.state["steps"] > 3:
            return Reply(Done("there"))
        return Send("step", Step(ctx.state["steps"]))


    async def step(message: Step, ctx: Context) -> Reply[Done]:
        """Takes a step, once there is a file "go"."""
        ctx.log.warning("step %d", message.n)
        while not Path("go").exists():
            await anyio.sleep(0.01)
        ctx.log.warning("stepped %d", message.n)
        return Reply(Done(str(message.n)))


    async def spin(message: Step, ctx: Context) -> None:
        """Swallows whatever comes."""
        ctx.log.warning("step %d", message.n)
        while True:
            try:
                await anyio.sleep(0.2)
            except BaseException:
                pass


    async def nest(message: Step, ctx: Context) -> None:
        """Has a task that swallows whatever comes."""
        async with anyio.create_task_group() as group:
            group.start_soon(spin, message, ctx)


    def hang(message: Step, ctx: Context) -> None:
        """Hangs in its thread."""
        ctx.log.warning("step %d", message.n)
        threading.Event().wait()


    async def block(message: Step, ctx: Context) -> None:
        """Never awaits."""
        ctx.log.warning("step %d", message.n)
        while True:
            time.sleep(1)
'''

FILE = """
    organism: steps
    journal: sqlite:organism.db
    defaults: {timeout: null}
    handlers:
      walker: {code: work:walk, peers: [step]}
      step: {code: work:step}
      spin: {code: work:spin}
      nest: {code: work:nest}
      hang: {code: work:hang}
      block: {code: work:block}
"""


@pytest.fixture
def steps(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    # What runs in this very process imports the work, too: others are to find it as patient as it was.
    monkeypatch.setattr("organism.pump.background.PATIENCE", PATIENCE)
    desk.write("work.py", WORK)
    desk.write("organism.yaml", FILE)
    return desk


def begun(desk: Desk, to: str, *options: str) -> subprocess.Popen[str]:
    """A process whose first step is under way."""
    process = desk.start("run", *options, "--to", to, "--send", '{"Step": {"n": 1}}')
    assert process.stderr is not None
    while "step 1" not in process.stderr.readline():
        assert process.poll() is None
    return process


def interrupted(process: subprocess.Popen[str], number: signal.Signals) -> str:
    """What a process says as soon as it has heard this signal."""
    process.send_signal(number)
    assert process.stderr is not None
    return process.stderr.readline()


def go(desk: Desk) -> None:
    """Lets steps end."""
    desk.write("go", "")


def test_a_grace_time_longer_than_any_clock_counts_is_none_to_stumble_over(steps: Desk) -> None:
    with begun(steps, "step", "--grace", "1e30") as process:
        assert interrupted(process, signal.SIGTERM).startswith("interrupted: ")
        go(steps)
        ran = ended(process)
    assert ran.code == 143
    assert "Traceback" not in ran.err


def test_what_runs_ends_in_the_grace_time_and_resume_goes_on_behind_it(steps: Desk) -> None:
    with begun(steps, "walker", "--grace", "60") as process:
        assert interrupted(process, signal.SIGTERM) == (
            "interrupted: running work has 60 s to finish, and is then left in the journal; interrupt again to end at once\n"
        )
        go(steps)
        ran = ended(process)
    assert (ran.code, ran.out) == (143, "")
    *between, last = ran.err.splitlines(keepends=True)
    assert [line.split()[-2:] for line in between if "handlers" in line or "step" in line] == [["stepped", "1"]]
    assert last == LEFT
    ran = steps.organism("resume", "--quiet")
    assert (ran.code, ran.out) == (0, "walker: Done\n  text: there\n")
    # The step that ended in the grace time is not taken again.
    assert [line.split()[-1] for line in ran.err.splitlines() if " step " in line] == ["2", "3"]


def test_a_thread_that_ends_in_the_grace_time_is_said(steps: Desk) -> None:
    with begun(steps, "step", "--json", "--grace", "60") as process:
        assert interrupted(process, signal.SIGINT).startswith("interrupted: ")
        go(steps)
        ran = ended(process)
    assert ran.code == 130
    assert json.loads(ran.out)["outcome"] == "completed"
    assert "left in the journal" not in ran.err


def test_what_outlasts_the_grace_time_is_run_again(steps: Desk) -> None:
    with begun(steps, "step", "--grace", "0.1") as process:
        ran = ended(process, signal.SIGTERM)
    assert (ran.code, ran.err.splitlines(keepends=True)[-1]) == (143, LEFT)
    assert "stepped" not in ran.err
    go(steps)
    ran = steps.organism("resume", "--quiet")
    assert (ran.code, ran.out) == (0, "step: Done\n  text: 1\n")


def test_a_second_signal_ends_the_grace_time(steps: Desk) -> None:
    with begun(steps, "step") as process:
        assert interrupted(process, signal.SIGINT).startswith(
            "interrupted: running work has 5 s to finish, and is then left"
        )
        assert ended(process, signal.SIGINT).code == 130


@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
@pytest.mark.parametrize("name", ["spin", "nest"])
def test_a_handler_that_swallows_everything_cannot_hold_the_end_up(steps: Desk, name: str, runtime: str) -> None:
    with begun(steps, name, "--grace", "0.1", "--set", f"runtime={runtime}") as process:
        ran = ended(process, signal.SIGTERM)
    assert ran.code == 143
    assert f"handler '{name}' goes on in thread " in ran.err
    assert "it is abandoned, and what it still does is ignored" in ran.err
    assert ran.err.endswith(LEFT)
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
def test_neither_can_a_thread(steps: Desk, runtime: str) -> None:
    with begun(steps, "hang", "--grace", "0.1", "--set", f"runtime={runtime}") as process:
        ran = ended(process, signal.SIGTERM)
    assert ran.code == 143
    assert "was given up; its function still runs in its thread" in ran.err
    assert ran.err.endswith(LEFT)
    assert "left behind" not in ran.err  # its delivery ended at once


def test_one_that_blocks_is_named_while_it_does(steps: Desk) -> None:
    with begun(steps, "block", "--set", "watchdog=0.05") as process:
        assert process.stderr is not None
        # Where the machine is busy, the loop may have been late before: that is said as well.
        while "handler 'block'" not in (line := process.stderr.readline()):
            assert line, "it has ended"
        process.kill()
        process.communicate(timeout=120)
    assert "handler 'block' in thread " in line
    assert " has kept the event loop for 0.05 s" in line


HELD = """
import signal, sys, time
import anyio
from organism.cli.interrupts import Interrupts

async def main():
    with Interrupts(lambda: print("last words", flush=True), at_most=0.05):
        print("ready", flush=True)
        while True:
            time.sleep(0.01)

anyio.run(main, backend=sys.argv[1])
"""


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_process_whose_event_loop_is_kept_ends_all_the_same(backend: str) -> None:
    command = [sys.executable, "-c", HELD, backend]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - this very program
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=120)
    assert (process.returncode, out) == (143, "last words\n")


def test_sigterm_leaves_the_turn_of_a_chat_in_the_journal(steps: Desk) -> None:
    with steps.start("chat", "--to", "step", "--grace", "0.1", "--conversation", "c", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write('{"Step": {"n": 1}}\n')
        process.stdin.flush()
        while "step 1" not in process.stderr.readline():
            assert process.poll() is None
        ran = ended(process, signal.SIGTERM)
    assert (ran.code, ran.out) == (143, "")
    assert (
        "interrupted: running work has 0.1 s to finish, and is then left in the journal; interrupt again to end at once\n"
        in ran.err
    )
    assert ran.err.endswith(
        "the turn is left in the journal; to continue it: organism chat --to step --conversation c\n"
    )
    go(steps)
    ran = steps.organism("resume", "--quiet")
    assert (ran.code, ran.out) == (0, "step: Done\n  text: 1\n")


@pytest.mark.parametrize("grace", ["-1", "inf", "nan"])
@pytest.mark.parametrize("command", ["run", "chat"])
def test_a_grace_time_that_is_none(steps: Desk, command: str, grace: str) -> None:
    ran = steps.organism(command, "--to", "step", f"--grace={grace}")
    assert ran.code == 2
    assert f"--grace {float(grace):g}: must be a number of seconds, 0 or more" in ran.out + ran.err
