"""``organism run``: results, streams, exit codes."""

from __future__ import annotations

import logging
import re
import signal
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Desk

NOTE = "note: no models are configured: 'default' is simulated, and calls no provider\n"


@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
def test_what_start_says_runs_to_its_end(desk: Desk, runtime: str) -> None:
    ran = desk.organism("run", "--set", f"runtime={runtime}")
    assert ran.code == 0
    reply, table = ran.out.split("\n\n")
    assert reply == "shouter: Done\n  text: ADA\n  parts: none"
    head, rule, row = table.splitlines()
    assert head.split() == ["thread", "outcome", "calls", "tokens", "in", "out", "cost", "USD", "messages", "seconds"]
    assert set(rule) == {"-"}
    assert re.fullmatch(r"shouter [0-9a-f]{16}  completed +0 +0 +0 +0\.00 +1 +\d+\.\d\d", row)
    assert ran.err == "imported\n" + NOTE


def test_what_a_start_sends_is_accepted_all_together_however_narrow_the_queue_is(desk: Desk) -> None:
    start = ", ".join(["{to: shouter, payload: {Job: {text: x}}}"] * 5)
    ran = desk.organism("run", "--json", "--set", "queue=1", "--set", "on_full=refuse", "--set", f"start=[{start}]")
    assert ran.code == 0, ran.err
    assert [one["outcome"] for one in ran.objects] == ["completed"] * 5


def test_sub_threads_are_rows_of_their_own_below_the_sum(desk: Desk) -> None:
    ran = desk.organism(
        "run",
        "--to",
        "boss",
        "--send",
        '{"Job": {"text": "a", "times": 3}}',
        "--set",
        "handlers.shouter.budget.tokens=50",
    )
    assert ran.code == 0, ran.err
    reply, table = ran.out.split("\n\n")
    assert reply == "boss: Done\n  text: all\n  parts:\n    - A0\n    - A1\n    - A2"
    rows = table.splitlines()[2:]
    assert [row.split()[0] for row in rows] == ["boss", "shouter", "shouter", "shouter"]
    assert all(row.startswith("  shouter") for row in rows[1:])
    assert [int(row.split()[-2]) for row in rows] == [4, 1, 1, 1]


def test_json_is_one_line_a_root_thread_and_nothing_else(desk: Desk) -> None:
    ran = desk.organism(
        "run",
        "--json",
        "--label",
        "arm=blind",
        "--label",
        "run=7",
        "--set",
        "start.1.to=joiner",
        "--set",
        'start.1.payload={"Pair": {"left": "x", "right": "y"}}',
    )
    assert ran.code == 0, ran.err
    shouted, joined = sorted(ran.objects, key=lambda one: str(one["replies"][0]["from"]), reverse=True)
    (reply,) = shouted["replies"]
    assert reply == {
        "from": "shouter",
        "payload": {"Done": {"text": "ADA", "parts": ["arm=blind", "run=7"]}},
        "xml": '<Done xmlns="urn:organism:payloads"><text>ADA</text>'
        "<parts><item>arm=blind</item><item>run=7</item></parts></Done>",
    }
    assert joined["replies"][0]["payload"] == {"Done": {"text": "x+y", "parts": []}}
    assert list(shouted) == [
        "thread", "conversation", "handler", "outcome", "unit", "scope", "account", "labels", "replies", "partial", "usage",
        "warnings", "threads", "error", "code",
    ]  # fmt: skip
    assert (shouted["outcome"], shouted["labels"]) == ("completed", {"arm": "blind", "run": "7"})
    assert shouted["usage"]["messages"] == 1


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_what_handlers_print_is_no_result(desk: Desk, arguments: tuple[str, ...]) -> None:
    ran = desk.organism("run", "--to", "talker", "--send", "x", *arguments)
    assert "printed" not in ran.out
    assert "imported" not in ran.out
    assert "printed by a handler\n" in ran.err
    assert sys.stdout is not sys.stderr


def test_nothing_that_a_terminal_acts_on_comes_from_a_handler(desk: Desk) -> None:
    ran = desk.organism("run", "--to", "talker", "--send", "x")
    assert ran.out.startswith("talker: Done\n  text: red \\x1b[31mink\\x07\\u202e\\x9b\n  parts:\n    - a\n      b\n\n")
    in_json = desk.organism("run", "--to", "talker", "--send", "x", "--json")
    assert in_json.out.isascii()
    assert "\x1b" not in in_json.out
    assert in_json.object["replies"][0]["payload"]["Done"]["text"] == "red \x1b[31mink\x07\u202e\x9b"


def test_quiet_says_the_replies_alone(desk: Desk) -> None:
    ran = desk.organism("run", "--quiet")
    assert (ran.code, ran.out) == (0, "shouter: Done\n  text: ADA\n  parts: none\n")
    assert ran.err == "imported\n"


def test_a_thread_that_failed_is_told_and_exits_with_1(desk: Desk) -> None:
    ran = desk.organism("run", "--to", "crasher", "--send", "x", "--quiet")
    assert (ran.code, ran.out) == (1, "")
    crashed, failed = ran.err.removeprefix("imported\n").splitlines()
    assert re.fullmatch(
        r"error: handler 'crasher' crashed in thread [0-9a-f]{16}: ValueError: bo\\x1b\[31mom in two lines \(.+work\.py:\d+\)",
        crashed,
    )
    assert re.fullmatch(
        r"failed: crasher \(crashed\): ValueError: bo\\x1b\[31mom in two lines \[thread [0-9a-f]{16}\]", failed
    )


def test_a_mistake_is_told_with_the_line_of_the_user_that_made_it(desk: Desk) -> None:
    desk.write(
        "wrong.py",
        """
        from organism import Context, Reply
        from work import Done, Job

        async def builds(job: Job, ctx: Context) -> Reply[Done]:
            "Builds what is none."
            return Reply(Done(5))

        async def keeps(job: Job, ctx: Context) -> Reply[Done]:
            "Keeps what cannot be kept."
            ctx.state["x"] = object()
            return Reply(Done("x"))
        """,
    )
    desk.write(
        "organism.yaml", "organism: demo\nhandlers: {builds: {code: wrong:builds}, keeps: {code: wrong:keeps}}\n"
    )
    text = (desk.folder / "wrong.py").read_text("utf-8").splitlines()
    for handler, made in (("builds", "Done(5)"), ("keeps", "object()")):
        ran = desk.organism("run", "--to", handler, "--send", "x")
        assert ran.code == 1, ran.err
        (place,) = re.findall(r"^error: handler .*wrong\.py:(\d+)\)$", ran.err, re.MULTILINE)
        assert made in text[int(place) - 1]


def test_a_refusal_is_no_crash(desk: Desk) -> None:
    ran = desk.organism("run", "--to", "refuser", "--send", "x", "--json")
    assert (ran.code, ran.object["outcome"], ran.object["error"]) == (1, "failed", "not today")
    assert re.search(r"^failed: refuser \(refused\): not today \[thread [0-9a-f]{16}\]$", ran.err, re.MULTILINE)
    assert "error:" not in ran.err


SPEND = ("run", "--to", "spender", "--send", "x", "--set", "budget.tokens=400")


def test_exhausted_exits_with_3_with_its_warnings_as_they_came(desk: Desk) -> None:
    ran = desk.organism(*SPEND, "--json")
    assert ran.code == 3, ran.err
    result = ran.object
    assert (result["outcome"], result["unit"], result["replies"]) == ("exhausted", "tokens", [])
    assert result["partial"]
    levels = [warning["level"] for warning in result["warnings"]]
    assert levels[-1] == "final"
    said = [line for line in ran.err.splitlines() if line.startswith("budget warning: ")]
    told = [re.fullmatch(r"budget warning: spender: tokens (\D+), (\d+) of 400 used, .*", line) for line in said]
    figures = [(level, int(match[2])) for match in told if match for level in re.split(", | and ", match[1])]
    assert figures == [(warning["level"], warning["used"]) for warning in result["warnings"]]
    for line in said:
        assert line.endswith(f", of the thread [thread {result['thread']}]")
    assert "exhausted: spender ended without an answer: tokens of the thread: " in ran.err


def test_people_see_the_last_text_of_an_exhausted_thread(desk: Desk) -> None:
    ran = desk.organism(*SPEND)
    assert ran.code == 3
    partial, table = ran.out.split("\n\n")
    assert partial.startswith("spender, unfinished\n  ")
    assert "exhausted (tokens)" in table
    quiet = desk.organism(*SPEND, "--quiet")
    assert (quiet.code, quiet.out) == (3, "")
    assert "budget warning" not in quiet.err


def test_failed_outweighs_exhausted(desk: Desk) -> None:
    ran = desk.organism(
        "run", "--json", "--set", "budget.tokens=400",
        "--set", "start=[{to: spender, payload: {Job: {text: x}}}, {to: refuser, payload: {Job: {text: x}}}]",
    )  # fmt: skip
    assert ran.code == 1
    assert {one["outcome"] for one in ran.objects} == {"exhausted", "failed"}


def test_several_threads_are_summed_up(desk: Desk) -> None:
    ran = desk.organism("run", "--set", "start.1={to: joiner, payload: {Pair: {left: x, right: y}}}")
    assert ran.code == 0, ran.err
    assert "joiner: Done\n  text: x+y\n" in ran.out
    *_, last = ran.out.splitlines()
    assert re.fullmatch(r"all 2 threads +completed +0 +0 +0 +0\.00 +2 +\d+\.\d\d", last)


@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
def test_a_timeout_cancels_what_runs_and_says_what_there_is(desk: Desk, runtime: str) -> None:
    ran = desk.organism("run", "--json", "--timeout", "0.5", "--set", f"runtime={runtime}",
                        "--set", "start.1={to: sleeper, payload: {Job: {text: x}}}")  # fmt: skip
    assert ran.code == 1
    assert sorted(one["outcome"] for one in ran.objects) == ["cancelled", "completed"]
    assert "timeout after 0.5 s: cancelling what still runs\n" in ran.err
    assert "cancelled: sleeper: the run's timeout of 0.5 s was reached [thread " in ran.err


def test_a_timeout_that_is_not_reached_changes_nothing(desk: Desk) -> None:
    assert desk.organism("run", "--timeout", "60").code == 0


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf"])
def test_a_timeout_is_a_number_of_seconds(desk: Desk, seconds: str) -> None:
    ran = desk.organism("run", "--timeout", seconds)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"--timeout {seconds}: must be a number of seconds above 0\n"


def test_a_message_that_no_limit_bears_is_said(desk: Desk) -> None:
    ran = desk.organism(
        "run", "--json", "--set", "ceiling.messages=1", "--set", "start.1={to: shouter, payload: {Job: {text: x}}}"
    )
    assert ran.code == 3, ran.err
    assert ran.object["outcome"] == "completed"
    assert "error: Job could not be sent to 'shouter': messages of the organism: " in ran.err


def test_the_same_seed_names_the_same_threads(desk: Desk) -> None:
    once, again, other = (desk.organism("run", "--json", "--seed", seed).object["thread"] for seed in ("7", "7", "8"))
    assert once == again != other


def test_what_is_set_goes_over_the_file_the_last_one_wins(desk: Desk) -> None:
    ran = desk.organism(
        "run", "--quiet", "--set", "start.0.payload.Job.text=bob", "--set", "start.0.payload.Job.text=eve"
    )
    assert ran.out == "shouter: Done\n  text: EVE\n  parts: none\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--set", "budget.tokens"), "--set budget.tokens: is not KEY=VALUE\n"),
        (("--label", "=x"), "--label =x: is not KEY=VALUE\n"),
        (("--account", "tenant:a"), "imported\n--account tenant:a: is not KIND=NAME, as in tenant=acme\n"),
        (("--label", "a", "--label", "b"), "--label a: is not KEY=VALUE\n--label b: is not KEY=VALUE\n"),
        (
            ("--journal", "sqlite:"),
            "imported\n--journal: 'sqlite:' names no path: write it as in 'sqlite:organism.db'\n",
        ),
        (
            ("--set", "journal=nowhere"),
            "imported\n--set journal: 'nowhere' is not a journal; use 'memory:', 'sqlite:PATH' or 'jsonl:DIR'\n",
        ),
        (("gone.yaml",), "gone.yaml: there is no such file; 'organism init DIR' makes a project\n"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_runs(desk: Desk, arguments: tuple[str, ...], said: str) -> None:
    ran = desk.organism("run", *arguments)
    assert (ran.code, ran.out, ran.err) == (2, "", said)


def test_mistakes_in_the_file_are_all_said(desk: Desk) -> None:
    desk.write("organism.yaml", "organism: Demo\nbudget: {tokens: -1}\n")
    ran = desk.organism("run")
    assert (ran.code, ran.out) == (2, "")
    assert [line[:18] for line in ran.err.splitlines()] == ["organism.yaml:1:11", "organism.yaml:2:18"]


def test_the_only_journal_there_is_may_be_named(desk: Desk) -> None:
    assert desk.organism("run", "--journal", "memory:").code == 0


def test_threads_that_end_are_logged_where_it_is_asked_for(desk: Desk) -> None:
    before = logging.getLogger("organism").level, list(logging.getLogger().handlers)
    plain, verbose = desk.organism("run"), desk.organism("run", "-v")
    assert "info:" not in plain.err
    assert re.search(r"^info: thread [0-9a-f]{16} ended completed: 0 tokens, ", verbose.err, re.MULTILINE)
    assert (logging.getLogger("organism").level, logging.getLogger().handlers) == before


def test_a_crash_has_its_traceback_where_it_is_asked_for(desk: Desk) -> None:
    ran = desk.organism("run", "--to", "crasher", "--send", "x", "--debug")
    assert ran.code == 1
    assert "Traceback (most recent call last):\n" in ran.err
    assert 'raise ValueError("bo\\x1b[31mom\\nin two lines")' in ran.err
    assert "\x1b" not in ran.err


@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_cancels_in_order(desk: Desk, runtime: str, number: signal.Signals, code: int) -> None:
    before = signal.getsignal(number)
    sent = ["--to", "sleeper", "--send", number.name, "--set", f"runtime={runtime}"]
    ran = desk.organism("run", "--json", "--grace", "0", *sent)
    assert ran.code == code
    assert (ran.object["outcome"], ran.object["error"]) == ("cancelled", "interrupted")
    assert "interrupted: cancelling running work; interrupt again to end at once\n" in ran.err
    assert signal.getsignal(number) is before
