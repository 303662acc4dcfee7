"""The command line as a process: its streams, its signals, what it loads."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess

    from tests.cli.conftest import Desk

ESCAPE = "\x1b"


def test_a_run_without_a_terminal(desk: Desk) -> None:
    ran = desk.process("run", environ={"FORCE_COLOR": "1", "TERM": "xterm-256color"})
    assert (ran.code, ran.out.partition("\n")[0]) == (0, "shouter: Done")
    assert ESCAPE not in ran.out + ran.err


def test_seven_mistakes_are_said_without_a_traceback(desk: Desk) -> None:
    desk.write("organism.yaml", "organism: X\nb: 1\nc: 1\nd: 1\ne: 1\nf: 1\ng: 1\n")
    ran = desk.process("check")
    assert (ran.code, ran.err, ran.out.count("\n")) == (2, "", 7)
    assert "Traceback" not in ran.out


def test_check_and_help_load_neither_an_event_loop_nor_a_provider(desk: Desk) -> None:
    desk.write("work.py", "")
    desk.write("organism.yaml", "organism: demo\n")
    code = (
        "import sys; from organism.cli import main; sys.argv = ['organism', sys.argv[1]]\n"
        "try: main.main()\n"
        "except SystemExit as end: print(end.code, *sorted({'trio', 'asyncio', 'anthropic', 'openai', 'rich'} & set(sys.modules)))"
    )
    desk.write("loads.py", code)
    for argument, loaded in (("check", "0"), ("--help", "0 rich"), ("inbox", "2")):
        ran = desk.process(argument, program=["loads.py"])
        assert ran.out.splitlines()[-1] == loaded, ran.err


def interrupt_until_it_ends(process: subprocess.Popen[str]) -> None:
    """Two signals at once would be one, so it is sent until it was heard twice."""
    for _ in range(200):
        if process.poll() is not None:
            return
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    process.kill()


def asleep(process: subprocess.Popen[str]) -> None:
    """Waits until the handler runs that does not end by itself."""
    assert process.stderr is not None
    while process.stderr.readline() != "asleep\n":
        assert process.poll() is None


def test_ctrl_c_cancels_in_order(desk: Desk) -> None:
    with desk.start("run", "--json", "--grace", "0.3", "--to", "sleeper", "--send", "x") as process:
        asleep(process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert '"outcome": "cancelled"' in out
    first, second = err.splitlines()
    assert (
        first == "interrupted: running work has 0.3 s to finish, and is then cancelled; interrupt again to end at once"
    )
    assert second.startswith("cancelled: sleeper: interrupted [thread ")


def test_ctrl_c_again_ends_what_never_waits(desk: Desk) -> None:
    text = desk.folder.joinpath("work.py").read_text()
    desk.write("work.py", text.replace("await anyio.sleep_forever()", "while True: pass"))
    with desk.start("run", "--to", "sleeper", "--send", "x") as process:
        asleep(process)
        interrupt_until_it_ends(process)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (130, "", "")


def test_a_reader_that_goes_away_is_no_error(desk: Desk) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with desk.start("run", "--json", stdout=writing) as process:
        os.close(writing)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "Broken" not in err
    assert "Traceback" not in err


def test_what_handlers_print_is_worth_no_work(desk: Desk) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with desk.start("run", "--quiet", "--to", "talker", "--send", "x", stderr=writing) as process:
        os.close(writing)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out.startswith("talker: Done\n")


def test_closed_streams_are_no_error(desk: Desk) -> None:
    with desk.start("run", "--to", "talker", "--send", "x", preexec_fn=lambda: os.closerange(0, 3)) as process:
        process.communicate(timeout=120)
    assert process.returncode == 0


def test_the_package_is_the_command_line(desk: Desk) -> None:
    ran = desk.process("check", program=("-m", "organism"))
    assert ran.code == 0
    assert ran == desk.process("check")


def unread(desk: Desk, *arguments: str) -> tuple[int, str]:
    """What a command comes to whose reader has gone: its code, and what it says of that."""
    reading, writing = os.pipe()
    os.close(reading)
    with desk.start(*arguments, stdout=writing) as process:
        os.close(writing)
        _, err = process.communicate(timeout=60)
    return process.returncode, err.removeprefix("imported\n")


@pytest.mark.parametrize(
    "arguments", [("--help",), ("--version",), ("run", "--help"), ("schema", "--json", "organism.yaml")]
)
def test_nobody_needs_to_read_what_is_printed(desk: Desk, arguments: tuple[str, ...]) -> None:
    assert unread(desk, *arguments) == (0, "")


LOST = "error: standard output cannot be written: No space left on device; what is printed there is lost\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is Linux's")
@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("threads",), ("export",), ("run", "--quiet")])
def test_a_standard_output_that_is_full_is_said_and_loses_no_answer(
    desk: Desk, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORGANISM_JOURNAL", "sqlite:kept.db")
    assert desk.organism("run").code == 0
    with Path("/dev/full").open("w") as full:
        ran = desk.process(*arguments, stdout=full)
    said = "the results are in the journal: 'organism threads' lists all, and 'organism show' shows one\n"
    assert (ran.code, ran.err.removeprefix("imported\n")) == (1, LOST + (said if arguments[0] == "run" else ""))
    assert len(desk.organism("threads", "--json").objects) == (2 if arguments[0] == "run" else 1)
