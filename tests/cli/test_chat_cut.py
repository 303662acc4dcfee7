"""``organism chat`` whose turn is paused, ended from outside, or asks somebody whom nobody can answer for."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from tests.cli.test_chat import talk  # noqa: F401 - the fixture
from tests.cli.test_orders import shelf, walking  # noqa: F401 - the fixtures
from tests.cli.test_people import office  # noqa: F401 - the fixture
from tests.cli.test_process import interrupt_until_it_ends
from tests.cli.test_terminal import HIDE, SHOW, Terminal

if TYPE_CHECKING:
    import subprocess

    from tests.cli.conftest import Desk
    from tests.cli.test_orders import Walking


def typed(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def until(process: subprocess.Popen[str], said: str) -> str:
    """The first line of its standard error that holds this."""
    assert process.stderr is not None
    while said not in (line := process.stderr.readline()):
        assert process.poll() is None or line, "it has ended"
    return line


def test_what_ends_the_process_cancels_a_turn_that_nothing_keeps(talk: Desk) -> None:  # noqa: F811 - the fixture
    with talk.start("chat", "--to", "counter", "--journal", "memory:", "--grace", "0", stdin=-1) as process:
        typed(process, "sleep")
        until(process, "printed by a handler")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (128 + signal.SIGTERM, "")
    assert "interrupted: cancelling running work; interrupt again to end at once\n" in err
    assert "cancelled: counter: interrupted [thread " in err


def test_a_turn_that_is_paused_from_elsewhere_is_waited_for(walking: Walking) -> None:  # noqa: F811 - the fixture
    with walking.desk.start("chat", "--to", "walker", "--conversation", "c", "--quiet", stdin=-1) as process:
        typed(process, '{"Walk": {}}')
        until(process, "step 1")
        thread = walking.thread
        assert walking.desk.organism("pause", thread).code == 0
        walking.go()
        said = f"paused: 'organism resume' continues it, Ctrl-C cancels it [thread {thread}]\n"
        assert until(process, "paused: ") == said
        assert walking.desk.organism("resume").code == 0
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "0 1 2\n"), err


def test_a_question_that_no_journal_keeps_is_said_to_be_lost(office: Desk) -> None:  # noqa: F811 - the fixture
    ran = office.organism("chat", "--to", "clerk", "--journal", "memory:", stdin="Oslo\n")
    assert (ran.code, ran.out) == (4, "")
    assert ran.err.endswith("nobody can answer it any more: the journal is 'memory:', which ends with this process\n")


def test_a_second_ctrl_c_leaves_the_terminal_in_order(talk: Desk) -> None:  # noqa: F811 - the fixture
    busy = 'print("busy")\n        while True: pass'
    work = (talk.folder / "talk.py").read_text("utf-8")
    talk.write("talk.py", work.replace("await anyio.sleep_forever()", f"await anyio.sleep(0.3)\n        {busy}"))
    terminal = Terminal(talk, "chat", "--to", "counter")
    terminal.until(lambda shown: shown.endswith("> "))
    terminal.type(b"sleep\n")
    terminal.until(lambda shown: "busy" in shown)
    assert HIDE in terminal.shown
    interrupt_until_it_ends(terminal.process)
    assert terminal.finish() == 130
    assert terminal.shown.rfind(SHOW) > terminal.shown.rfind(HIDE)


def test_a_line_that_is_no_text_is_no_answer_and_may_be_typed_again(office: Desk) -> None:  # noqa: F811 - the fixture
    on = Terminal(office, "run", "--quiet")
    on.until(lambda shown: shown.endswith("boss> "))
    on.type(b"caf\xe9\n")
    on.until(lambda shown: "not taken: the line is not UTF-8: " in shown and shown.endswith("boss> "))
    on.type(b"caf\xc3\xa9\n")
    assert on.finish() == 0
    assert "Rome: Granted(why='caf\u00e9')" in on.shown
    assert on.shown.count("the answer:") == 1
