"""``pause``, ``cancel``, ``add-budget`` and ``resume``: on a journal that a process works on, and on one that a process left."""

from __future__ import annotations

import re
import shutil
import signal
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from organism.journal import Lock
from organism.journal.lock import identity

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Desk

WALK = '''
from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from organism import Reply, payload

if TYPE_CHECKING:
    from organism import Context


@payload
class Walk:
    steps: int = 3


@payload
class Step:
    n: int


@payload
class Walked:
    text: str


async def walk(message: Walk, ctx: Context) -> Reply[Walked]:
    """Walks step by step."""
    said = [(await ctx.ask("step", Step(n), expect=Walked)).text for n in range(message.steps)]
    return Reply(Walked(" ".join(said)))


async def step(message: Step, ctx: Context) -> Reply[Walked]:
    """Takes a step; the second one only once there is a file that says so."""
    ctx.log.warning("step %d", message.n)
    while message.n == 1 and not await anyio.Path("go").exists():
        await anyio.sleep(0.01)
    return Reply(Walked(str(message.n)))
'''

FILE = """
organism: walking
journal: sqlite:organism.db
budget: {tokens: 1000}
handlers:
  walker: {code: "walking:walk", peers: [step]}
  step: {code: "walking:step", timeout: null}
start:
  - {to: walker, payload: {Walk: {}}}
"""


class Walking:
    """A folder whose organism waits in its second step, and processes that work on it."""

    def __init__(self, desk: Desk, shelf: Path) -> None:
        self.desk = desk
        self.shelf = shelf
        desk.write("walking.py", WALK)
        desk.write("organism.yaml", FILE)

    def started(self, *arguments: str) -> subprocess.Popen[str]:
        """A run that has come to its second step."""
        process = self.desk.start("run", *arguments)
        assert process.stderr is not None
        while "step 1" not in (line := process.stderr.readline()):
            assert process.poll() is None or line, "it has ended"
        return process

    def killed(self, *arguments: str) -> str:
        """The thread that a run has left that was killed in its second step. Its journal is kept: one such run does for all tests."""
        kept, target = self.shelf / f"killed {' '.join(arguments)}", self.desk.folder
        source = kept
        if not kept.exists():
            with self.started(*arguments) as process:
                process.kill()
            kept.mkdir()
            source, target = target, kept
        for file in source.glob("organism.db*"):
            if file.is_file():  # a socket is none
                shutil.copy2(file, target)
        return self.thread

    def go(self) -> None:
        (self.desk.folder / "go").touch()

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.desk.organism("threads", "--json").objects

    @property
    def thread(self) -> str:
        (row,) = self.rows
        return str(row["thread"])

    @property
    def outcome(self) -> str:
        (row,) = self.rows
        return str(row["outcome"])


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("left")


@pytest.fixture
def walking(desk: Desk, shelf: Path) -> Iterator[Walking]:
    made = Walking(desk, shelf)
    yield made
    made.go()


DONE = "walker: Walked\n  text: 0 1 2\n"


# Where a process left something


def test_a_run_that_was_killed_goes_on(walking: Walking) -> None:
    thread = walking.killed()
    assert walking.outcome == "unfinished"
    walking.go()
    ran = walking.desk.organism("resume", "--quiet")
    assert (ran.code, ran.out) == (0, DONE), ran.err
    assert "step 0" not in ran.err, "what was answered before is not done again"
    assert (walking.thread, walking.outcome) == (thread, "completed")


def test_resume_prints_what_run_prints(walking: Walking) -> None:
    thread = walking.killed("--label", "arm=a")
    walking.go()
    ran = walking.desk.organism("resume", "--json")
    assert ran.object["thread"] == thread
    assert ran.object["labels"] == {"arm": "a"}
    assert ran.object["usage"]["messages"] == 4


def test_with_nothing_left_resume_says_so(walking: Walking) -> None:
    walking.go()
    assert walking.desk.organism("run", "--quiet").code == 0
    ran = walking.desk.organism("resume", "--quiet")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err == "nothing to resume: every thread in the journal has ended\n"


def test_a_run_says_what_is_unfinished_and_leaves_it(walking: Walking) -> None:
    walking.killed()
    walking.go()
    ran = walking.desk.organism("run", "--quiet")
    assert (ran.code, ran.out) == (0, DONE)
    assert "1 thread of earlier runs is unfinished; go on with it: organism resume\n" in ran.err
    assert [row["outcome"] for row in walking.rows] == ["unfinished", "completed"]


def test_run_resume_goes_on_first_and_then_sends(walking: Walking, caplog: pytest.LogCaptureFixture) -> None:
    walking.killed()
    walking.go()
    ran = walking.desk.organism("run", "--resume", "--json")
    assert [one["outcome"] for one in ran.objects] == ["completed"] * 2
    # Which of them ends first is for the machine to say.
    assert sorted(one["thread"] for one in ran.objects) == sorted(row["thread"] for row in walking.rows)
    steps = [each for each in caplog.messages if each.startswith("step ")]
    assert steps.index("step 1") < steps.index("step 0")
    assert "unfinished" not in ran.err


def test_the_command_to_go_on_names_the_file_and_the_journal(walking: Walking) -> None:
    walking.desk.write("other.yaml", FILE)
    walking.go()
    with walking.desk.start("run", "other.yaml", "--journal", "jsonl:my facts") as process:
        process.wait(60)
    (walking.desk.folder / "go").unlink()
    with walking.started("other.yaml", "--set", "journal=jsonl:my facts") as process:
        process.kill()
    walking.go()
    ran = walking.desk.organism("run", "other.yaml", "--quiet", "--journal", "jsonl:my facts")
    assert "go on with it: organism resume --file other.yaml --journal 'jsonl:my facts'\n" in ran.err
    again = walking.desk.organism("resume", "other.yaml", "--journal", "jsonl:my facts", "--quiet")
    assert (again.code, again.out) == (0, DONE), again.err


def test_what_was_left_is_paused_and_gets_more_and_nothing_runs(walking: Walking) -> None:
    thread = walking.killed()
    desk = walking.desk
    desk.write("organism.yaml", "journal: sqlite:organism.db\nhandlers: {walker: {code: 'nowhere:walk'}}")
    assert desk.organism("add-budget", thread[:6], "tokens=500", "messages=1,000").out == (
        f"thread {thread}: tokens 1,000 -> 1,500, messages 300 -> 1,300\n"
    )
    paused = desk.organism("pause", thread[:6])
    assert (paused.code, paused.out) == (0, f"thread {thread} is paused; 'organism resume' lets it go on\n")
    assert "step" not in paused.err
    assert walking.outcome == "paused"
    assert desk.organism("pause", thread).out == f"thread {thread} is paused already; 'organism resume' lets it go on\n"
    desk.write("organism.yaml", FILE)
    walking.go()
    ran = desk.organism("resume", "--quiet")
    assert (ran.code, ran.out) == (0, DONE)
    assert desk.organism("verify").code == 0


def test_what_was_left_is_cancelled(walking: Walking) -> None:
    thread = walking.killed()
    (walking.desk.folder / "organism.yaml").rename(walking.desk.folder / "elsewhere.yaml")
    ran = walking.desk.organism("cancel", thread, "--journal", "sqlite:organism.db")
    assert (ran.code, ran.out) == (0, f"thread {thread} is cancelled\n")
    (walking.desk.folder / "elsewhere.yaml").rename(walking.desk.folder / "organism.yaml")
    (row,) = walking.rows
    assert (row["outcome"], row["error"]) == ("cancelled", "cancelled by hand")
    assert "Ended" in walking.desk.organism("log", thread, "--jsonl").out
    again = walking.desk.organism("cancel", thread)
    assert (again.code, again.out) == (0, f"thread {thread} has ended (cancelled): nothing was changed\n")
    more = walking.desk.organism("add-budget", thread, "messages=5")
    assert (more.code, more.out) == (2, "")
    assert more.err == (
        f"thread {thread} has ended (cancelled); to continue a copy with a higher limit: "
        f"organism fork {thread} --set budget.messages=LIMIT\n"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("pause", "zzz"), "there is no thread 'zzz'; 'organism threads' lists all\n"),
        (("add-budget", "THREAD"), "add-budget: name a unit and an amount, as in tokens=1000\n"),
        (("add-budget", "THREAD", "tokens"), "add-budget tokens: is not UNIT=AMOUNT\n"),
        (
            ("add-budget", "THREAD", "tokens=many", "cost_usd=nan", "seconds=1e400"),
            (
                "add-budget tokens=many: is not an amount; write a number, as in tokens=1000\n"
                "add-budget cost_usd=nan: is not an amount; write a number, as in cost_usd=1000\n"
                "add-budget seconds=1e400: is not an amount; write a number, as in seconds=1000\n"
            ),
        ),
        (
            ("add-budget", "THREAD", "cost_usd=0,50", "seconds=1,5"),
            (
                "add-budget cost_usd=0,50: is not an amount; write a number, as in cost_usd=1000\n"
                "add-budget seconds=1,5: is not an amount; write a number, as in seconds=1000\n"
            ),
        ),
        (("add-budget", "THREAD", "tokns=1"), "add-budget: 'tokns' is not a unit; did you mean 'tokens'?\n"),
        (
            ("add-budget", "THREAD", "tokens=-1"),
            "add-budget: tokens: -1 must be above 0: it is added to the limit\n",
        ),
        (
            ("add-budget", "THREAD", "cost_usd=0"),
            "add-budget: cost_usd: '0' must be above 0: it is added to the limit\n",
        ),
        (
            ("add-budget", "THREAD", "depth=1.5", "tokns=1", "messages=0"),
            (
                "add-budget: depth: 1.5 is not a whole number\n"
                "add-budget: 'tokns' is not a unit; did you mean 'tokens'?\n"
                "add-budget: messages: 0 must be above 0: it is added to the limit\n"
            ),
        ),
    ],
)
def test_what_cannot_be_done_is_said(walking: Walking, arguments: tuple[str, ...], said: str) -> None:
    thread = walking.killed()
    ran = walking.desk.organism(*(thread if word == "THREAD" else word for word in arguments))
    assert (ran.code, ran.out, ran.err) == (2, "", said)
    assert walking.outcome == "unfinished"


def test_without_a_journal_that_lasts_there_is_nothing_to_go_on_with(desk: Desk) -> None:
    ran = desk.organism("resume")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("organism.yaml: journal 'memory:' ends with its process")


# Where a process works on it


def test_a_process_is_told_to_pause_and_its_run_ends(walking: Walking) -> None:
    with walking.started("--json") as process:
        thread = walking.thread
        said = walking.desk.organism("pause", thread[:6])
        assert said.out == f"thread {thread} is paused: what runs finishes, and nothing more is delivered\n"
        walking.go()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 4
    assert '"outcome": "paused"' in out
    assert f"paused: walker [thread {thread}]\n1 thread is paused; go on with it: organism resume\n" in err
    ran = walking.desk.organism("resume", "--quiet")
    assert (ran.code, ran.out) == (0, DONE)


def test_a_process_is_told_to_cancel(walking: Walking) -> None:
    with walking.started("--quiet") as process:
        thread = walking.thread
        assert walking.desk.organism("cancel", thread).out == f"thread {thread} is cancelled\n"
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"cancelled: walker: cancelled by hand [thread {thread}]\n" in err


def test_a_process_is_told_to_give_more_and_to_go_on(walking: Walking) -> None:
    with walking.started("--quiet") as process:
        thread = walking.thread
        more = walking.desk.organism("add-budget", thread, "tokens=1")
        assert more.out == f"thread {thread}: tokens 1,000 -> 1,001\n"
        resumed = walking.desk.organism("resume")
        assert (resumed.code, resumed.out) == (0, "1 thread goes on, in the process that works on the journal\n")
        for option in ("--json", "--quiet"):  # for programs, and for replies alone: both are printed there
            again = walking.desk.organism("resume", option)
            assert (again.code, again.out) == (0, "")
            assert "in the process that works on the journal" in again.err
        walking.go()
        out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, DONE)


def test_what_has_ended_is_removed_by_the_process_that_works_on_the_journal(walking: Walking) -> None:
    walking.go()
    assert walking.desk.organism("run", "--quiet").code == 0
    done = walking.thread
    (walking.desk.folder / "go").unlink()
    with walking.started("--quiet") as process:
        dry = walking.desk.organism("prune", "--keep-size", "0", "--dry-run")
        pruned = walking.desk.organism("prune", "--keep-size", "0")
        assert (dry.code, pruned.code) == (0, 0)
        assert pruned.out == dry.out.replace("would remove", "removed")
        assert pruned.out.splitlines()[2].startswith(done)
        assert re.fullmatch(r"removed 1 thread of .*; 1 thread of .* stays", pruned.out.splitlines()[-1])
        assert pruned.err == "note: what stays takes more than 0 B; it holds threads that have not ended: 1\n"
        assert walking.thread != done
        walking.go()
        out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, DONE)
    assert walking.desk.organism("verify").code == 0
    assert walking.desk.organism("prune", "--keep-size", "0").out.splitlines()[-1].startswith("removed 1 thread of ")


def test_a_run_waits_for_what_it_was_told_to_go_on_with(walking: Walking) -> None:
    walking.killed()
    with walking.started("--quiet") as process:
        resumed = walking.desk.organism("resume")
        assert resumed.out == "2 threads go on, in the process that works on the journal\n"
        walking.go()
        out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, DONE * 2)
    assert [row["outcome"] for row in walking.rows] == ["completed"] * 2


def test_what_was_left_is_changed_by_the_process_that_works_on_the_journal(walking: Walking) -> None:
    thread = walking.killed()
    with walking.started("--quiet") as process:
        paused = walking.desk.organism("pause", thread)
        assert paused.out == f"thread {thread} is paused; 'organism resume' lets it go on\n"
        cancelled = walking.desk.organism("cancel", thread)
        assert cancelled.out == f"thread {thread} is cancelled\n"
        walking.go()
        out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, DONE)
    assert [row["outcome"] for row in walking.rows] == ["cancelled", "completed"]
    assert walking.desk.organism("verify").code == 0


def test_a_second_process_is_told_who_works_on_the_journal(walking: Walking) -> None:
    with walking.started("--quiet") as process:
        ran = walking.desk.organism("run", "--quiet")
        walking.go()
        process.communicate(timeout=60)
    assert (ran.code, ran.out) == (5, "")
    assert f"organism.db is held by process {process.pid} on " in ran.err
    assert "(organism walking, since 20" in ran.err


def test_an_owner_that_takes_no_orders_is_named(walking: Walking, monkeypatch: pytest.MonkeyPatch) -> None:
    thread = walking.killed()
    monkeypatch.setattr("organism.cli.orders._ENDING", 0)
    lock = Lock(walking.desk.folder / "organism.db", {"pid": "1"})
    lock.take()
    ran = walking.desk.organism("pause", thread)
    lock.release()
    assert (ran.code, ran.out) == (5, "")
    assert "is held by process 1 on ?, which takes no orders (" in ran.err


def test_an_owner_that_will_have_begun_tomorrow_is_not_waited_for(
    walking: Walking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock was set back since it took the journal."""
    thread = walking.killed()
    waited = [0.0]
    clock = SimpleNamespace(
        time=time.time,
        monotonic=lambda: waited[0],
        sleep=lambda seconds: waited.append(waited.pop() + seconds),
    )
    monkeypatch.setattr("organism.cli.orders.time", clock)
    lock = Lock(walking.desk.folder / "organism.db", identity(time.time() + 86400))
    lock.take()
    ran = walking.desk.organism("pause", thread)
    lock.release()
    assert (ran.code, "which takes no orders (" in ran.err) == (5, True)
    assert waited[0] <= 11


def test_an_owner_that_has_just_begun_is_waited_for(walking: Walking, monkeypatch: pytest.MonkeyPatch) -> None:
    thread = walking.killed()
    monkeypatch.setattr("organism.cli.orders._ENDING", 0)
    lock = Lock(walking.desk.folder / "organism.db", identity(time.time()))
    lock.take()
    monkeypatch.setattr("time.sleep", lambda _: lock.release())
    ran = walking.desk.organism("pause", thread)
    assert (ran.code, ran.err) == (0, "")
    assert "pause" in ran.out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_leaves_the_threads_and_says_how_to_go_on(walking: Walking, number: signal.Signals, code: int) -> None:
    with walking.started("--grace", "0") as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "")
    assert err == (
        "interrupted: leaving running work; interrupt again to end at once\n"
        "1 thread is left in the journal; go on with it: organism resume\n"
    )
    assert walking.outcome == "unfinished"
    walking.go()
    ran = walking.desk.organism("resume", "--quiet")
    assert (ran.code, ran.out) == (0, DONE)
    assert "step 0" not in ran.err


def test_a_timeout_cancels_also_where_the_journal_lasts(walking: Walking) -> None:
    ran = walking.desk.organism("run", "--timeout", "0.3", "--json")
    assert (ran.code, ran.object["outcome"]) == (1, "cancelled")
    assert walking.outcome == "cancelled"


# Damage


def test_a_journal_that_is_damaged_is_named_with_the_place(walking: Walking) -> None:
    url = ("--journal", "jsonl:facts")
    with walking.started(*url) as process:
        process.kill()
    (file,) = (walking.desk.folder / "facts").glob("**/*.jsonl")
    damaged = file.read_text("utf-8").replace('"steps":3', '"steps":4', 1)
    file.write_text(damaged, "utf-8")
    for command in (("resume",), ("pause", file.stem), ("cancel", file.stem)):
        ran = walking.desk.organism(*command, *url)
        assert (ran.code, ran.out) == (5, "")
        assert f"{file.name}:1: was changed: its hash does not match its content\n" in ran.err
    walking.go()
    ran = walking.desk.organism("run", "--quiet", *url)
    assert (ran.code, ran.out) == (0, DONE), "other threads are in nobody's way"
    assert file.read_text("utf-8") == damaged, "nothing was written"
