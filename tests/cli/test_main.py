"""The command line itself: commands that there are, are not yet, and are not."""

from __future__ import annotations

import io
import itertools
import shlex
import sys
from typing import TYPE_CHECKING

import pytest

from organism.cli import main
from organism.cli.streams import Streams

if TYPE_CHECKING:
    from tests.cli.conftest import Desk


def test_help_names_what_there_is(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert desk.organism("--help").code == 0
    shown = capsys.readouterr().out
    assert "  run           Runs an organism until every thread has ended or paused.\n" in shown
    assert "  check         Reports every mistake in an organism's file, and starts nothing.\n" in shown
    assert "  graph         Draws who may address whom, as Mermaid.\n" in shown


def test_help_shows_commands_in_groups_and_in_the_order_in_which_they_are_needed(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.organism("--help").code == 0
    groups = [block.splitlines() for block in capsys.readouterr().out.strip().split("\n\n")[2:]]
    shown = {title: [line.split()[0] for line in lines] for title, *lines in groups}
    assert shown.pop("Options:") == ["--help,", "--version"]
    assert shown == {f"{title}:": list(commands) for title, commands in main.GROUPS.items()}
    assert shown["Run:"] == ["init", "check", "run", "chat", "resume"]


def test_help_of_a_command_says_all_that_it_does(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert desk.organism("run", "--help").code == 0
    assert "else 3 if one was exhausted; else 4 if one is paused" in " ".join(capsys.readouterr().out.split())


def test_help_of_a_command_stands_in_paragraphs_and_its_example_is_one(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    examples: dict[str, str] = {}
    for name in main.COMMANDS:
        assert desk.organism(name, "--help").code == 0
        paragraphs = capsys.readouterr().out.split("\n\n")
        examples |= dict.fromkeys(
            (each.removeprefix("Example: ") for each in paragraphs if each.startswith("Example: ")), name
        )
    takes_nothing_much = {"resume", "inbox", "pause", "cancel", "verify", "models"}
    assert {*main.COMMANDS} - {*examples.values()} == takes_nothing_much
    for example, name in examples.items():
        program, *arguments = shlex.split(example.partition(" > ")[0])
        assert (program, arguments[0]) == ("organism", name)
        streams = Streams(io.StringIO(), io.StringIO(), io.StringIO())
        main._application(arguments, streams).parse_args(arguments, print_error=False, exit_on_error=False)


@pytest.mark.parametrize("columns", [30, 50, 120])
def test_help_keeps_within_its_width_and_stands_in_columns(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for name, (_, takes, _) in main.COMMANDS.items():
        assert desk.organism(name, "--help").code == 0
        shown = capsys.readouterr().out
        usage, _, _ = shown.partition("\n\n")
        assert " ".join(usage.split()) == " ".join(["Usage: organism", name, *([takes] if takes else []), "[OPTIONS]"])
        assert bool(takes) == ("\nArguments:\n" in shown), name
        assert max(len(line.rstrip()) for line in shown.splitlines()) <= columns
        # What goes on below a name stands in the column of what is said of it, and is as full as the width allows.
        _, _, options = shown.partition("\nOptions:\n")
        behind = min(26, columns - 24)
        for above, below in itertools.pairwise(options.splitlines()):
            if below.startswith(" " * behind):
                alone = above[2] != " " and above[behind - 2 : behind].strip()  # a long name has a line of its own
                assert alone or not above[behind:].strip() or len(above) + 1 + len(below.split()[0]) > columns


def test_a_file_may_be_named_by_an_option_wherever_it_may_stand_by_itself(desk: Desk) -> None:
    takers = [name for name, (_, takes, _) in main.COMMANDS.items() if takes.endswith("[FILE]")]
    assert {"run", "chat", "resume", "check", "graph", "models", "schema", "replay", "fork"} <= {*takers}
    for name in takers:
        before = {"replay": ["t"], "fork": ["t"], "schema": ["--xsd"]}.get(name, [])
        alone, named = (desk.organism(name, *before, *file) for file in (["none.yaml"], ["--file", "none.yaml"]))
        assert alone == named
        assert alone.code == 2 and "none.yaml: there is no such file" in alone.out + alone.err, name


def test_help_names_no_option_that_is_an_argument(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("replay", "fork"):
        assert desk.organism(name, "--help").code == 0
        assert "--THREAD" not in capsys.readouterr().out


def test_help_of_a_command_names_its_options(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert desk.organism("run", "--help").code == 0
    shown = capsys.readouterr().out
    for option in (
        "--to",
        "--send",
        "--set",
        "--label",
        "--journal",
        "--resume",
        "--timeout",
        "--seed",
        "--quiet",
        "--json",
        "--debug",
    ):
        assert f"  {option} " in shown.replace(":", " ")
    assert "--no-" not in shown
    assert "streams" not in shown.lower()


def test_the_version(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert desk.organism("--version").code == 0
    assert capsys.readouterr().out == "0.1.0\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("runn",), "organism: 'runn' is not a command; did you mean 'run' or 'prune'?; see 'organism --help'\n"),
        (("help",), "organism: 'help' is not a command; see 'organism --help'\n"),
        (("chatt", "--to", "x"), "organism: 'chatt' is not a command; did you mean 'chat'?; see 'organism --help'\n"),
        (("pare",), "organism: 'pare' is not a command; did you mean 'prune' or 'pause'?; see 'organism --help'\n"),
        (
            ("--versoin",),
            "organism --versoin: there is no such option; did you mean '--version'?; see 'organism --help'\n",
        ),
        (
            ("--journal=x", "threads"),
            "organism --journal: there is no such option; those of a command stand behind it; see 'organism --help'\n",
        ),
        (
            ("threads", "--version"),
            "organism threads --version: there is no such option; see 'organism threads --help'\n",
        ),
        (("zzz\x1b",), "organism: 'zzz\\x1b' is not a command; see 'organism --help'\n"),
        (
            ("run", "--jsn"),
            "organism run --jsn: there is no such option; did you mean '--json'?; see 'organism run --help'\n",
        ),
        (
            ("run", "--runtime", "asyncio"),
            "organism run --runtime: there is no such option; set that key of the file with '--set runtime=VALUE'; see 'organism run --help'\n",
        ),
        (
            ("chat", "--max-handlers=3"),
            "organism chat --max-handlers: there is no such option; set that key of the file with '--set max_handlers=VALUE'; see",
        ),
        (
            ("resume", "--budget", "x"),
            "organism resume --budget: there is no such option; set that key of the file with '--set budget.KEY=VALUE'; see",
        ),
        (
            ("fork", "x", "--cost-usd", "1"),
            "organism fork --cost-usd: there is no such option; set that limit with '--set budget.cost_usd=VALUE'; see",
        ),
        (("run", "--notes"), "organism run --notes: there is no such option; see"),
        (("threads", "--runtime", "trio"), "organism threads --runtime: there is no such option; see"),
        (("run", "--bogus"), "organism run --bogus: there is no such option; see 'organism run --help'\n"),
        (("run", "a", "b\x1b", "c"), "organism run b\\x1b c: is more than it takes; see 'organism run --help'\n"),
        (("run", "--no-json"), "organism run --no-json: there is no such option"),
        (("run", "--timeout", "soon"), "organism run --timeout soon: is not a number; see 'organism run --help'\n"),
        (("run", "--seed=x"), "organism run --seed x: is not a whole number; see 'organism run --help'\n"),
        (("run", "--seed=1.5"), "organism run --seed 1.5: is not a whole number; see"),
        (("simulate", "--port", "1.0e400"), "organism simulate --port 1.0e400: is not a whole number; see"),
        (("run", "--json=maybe"), "organism run --json maybe: is too much: it takes no value; see"),
        (("run", "--to"), "organism run --to: needs a value behind it; see 'organism run --help'\n"),
        (("pause",), "organism pause THREAD: is missing; see 'organism pause --help'\n"),
        (("run", "--to", "a", "--to", "b"), "organism run --to: is there more than once; see"),
        (("check", "--json"), "organism check --json: there is no such option"),
    ],
)
def test_what_is_no_command_line_is_said(desk: Desk, arguments: tuple[str, ...], said: str) -> None:
    ran = desk.organism(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(said)
    assert ran.err.count("\n") == 1


class _Odd(io.StringIO):
    """Standard output that fails as none does."""

    def write(self, _text: str) -> int:
        raise RuntimeError("nobody expected that")


class _Full(io.StringIO):
    """Standard output on a disk that is full."""

    def write(self, _text: str) -> int:
        raise OSError(28, "No space left on device")


def test_what_cannot_be_printed_is_said_once_and_the_run_goes_on(desk: Desk) -> None:
    err = io.StringIO()
    code = main.execute(["run", "--set", "journal=sqlite:kept.db"], Streams(out=_Full(), err=err, input=io.StringIO()))
    assert code == 1
    assert err.getvalue().count("error: standard output cannot be written: No space left on device") == 1
    assert "in the journal" in err.getvalue()
    assert "unexpected" not in err.getvalue()


def test_what_nobody_expected_is_one_line(desk: Desk) -> None:
    err = io.StringIO()
    code = main.execute(["run"], Streams(out=_Odd(), err=err, input=io.StringIO()))
    assert code == 1
    *_, line = err.getvalue().splitlines()
    assert line.startswith("error: unexpected RuntimeError: nobody expected that (")
    assert line.endswith("; --debug shows the traceback")
    assert "Traceback" not in err.getvalue()


def test_a_command_that_cannot_be_loaded_says_what_is_missing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "organism.cli.upkeep", raising=False)
    monkeypatch.setitem(sys.modules, "organism.cli.journals", None)
    ran = desk.organism("verify")
    (line,) = ran.err.splitlines()
    assert ran.code == 1
    assert line.startswith("error: unexpected ModuleNotFoundError: import of organism.cli.journals halted")


@pytest.mark.parametrize("command", [("run",), ("verify", "--journal", "sqlite:kept.db")])
def test_and_its_traceback_where_it_is_asked_for(desk: Desk, command: tuple[str, ...]) -> None:
    desk.organism("run", "--journal", "sqlite:kept.db")
    err = io.StringIO()
    code = main.execute([*command, "--debug"], Streams(out=_Odd(), err=err, input=io.StringIO()))
    assert code == 1
    assert "Traceback (most recent call last)" in err.getvalue()
    assert "nobody expected that" in err.getvalue()


def test_ctrl_c_before_anything_runs(desk: Desk) -> None:
    desk.write("work.py", "raise KeyboardInterrupt")
    assert desk.organism("check").code == 130


def test_a_stream_that_was_closed_is_empty_and_takes_everything() -> None:
    with main.sound(None, "r") as given, main.sound(None, "w") as taking:
        assert given.read() == ""
        assert taking.write("lost\n") == 5


def test_a_stream_takes_what_its_encoding_cannot_say() -> None:
    under = io.BytesIO()
    stream = io.TextIOWrapper(under, encoding="ascii")
    with main.sound(stream, "w") as sound:
        sound.write("café\udcff")
        sound.flush()
        assert under.getvalue() == b"caf\\xe9\\udcff"
