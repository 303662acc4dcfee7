"""Results in words, and the table of what was spent."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from organism import Usage, payload
from organism.cli.budget_warnings import warning_lines
from organism.cli.report import SHOWN_THREADS, partial_text, problem_line, reply_text, usage_table
from organism.cli.tables import money
from organism.record.facts import WarningRaised
from organism.results import ThreadResult


@payload
class Source:
    name: str
    pages: tuple[int, ...] = ()


@payload
class Report:
    """Everything that a payload can hold."""

    title: str
    body: str = ""
    final: bool = False
    price: Decimal | None = None
    sources: tuple[Source, ...] = ()
    notes: dict[str, str] | None = None
    best: Source | None = None


def result(**fields: Any) -> ThreadResult:
    given: dict[str, Any] = {
        "thread": "t1", "outcome": "completed", "unit": None, "replies": (), "partial": None, "usage": Usage(),
        "warnings": (), "threads": (), "error": None, "code": None, "labels": {}, "handler": "writer",
    }  # fmt: skip
    return ThreadResult(**(given | fields))


def test_a_reply_is_told_field_by_field() -> None:
    report = Report(
        title="On bees",
        body="one two three four five six\n\nseven",
        final=True,
        price=Decimal("0.10"),
        sources=(Source(name="a", pages=(1, 2)), Source(name="b")),
        notes={"k\x1b": "v"},
        best=Source(name="c"),
    )
    assert reply_text(result(replies=(("editor", report),)), width=24).splitlines() == [
        "editor: Report",
        "  title: On bees",
        "  body:",
        "    one two three four",
        "    five six",
        "",
        "    seven",
        "  final: yes",
        "  price: 0.10",
        "  sources:",
        "    - name: a",
        "      pages:",
        "        - 1",
        "        - 2",
        "    - name: b",
        "      pages: none",
        "  notes:",
        "    k\\x1b: v",
        "  best:",
        "    name: c",
        "    pages: none",
    ]


def test_several_replies_are_told_apart() -> None:
    replies = (("a", Source(name="x")), ("b", Source(name="y")))
    assert reply_text(result(replies=replies), width=80) == (
        "a: Source\n  name: x\n  pages: none\n\nb: Source\n  name: y\n  pages: none"
    )
    assert reply_text(result(), width=80) == ""


def test_an_unfinished_text_is_told_as_such() -> None:
    assert partial_text(result(partial="so far\x07"), width=80) == "writer, unfinished\n  so far\\x07"
    assert partial_text(result(), width=80) == ""


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"outcome": "completed"}, None),
        (
            {"outcome": "failed", "error": "a\nb\x1b", "code": "timeout"},
            "failed: writer (timeout): a b\\x1b [thread t1]",
        ),
        ({"outcome": "cancelled", "error": "why", "code": "cancelled"}, "cancelled: writer: why [thread t1]"),
        ({"outcome": "stopped", "code": "stopped"}, "stopped: writer [thread t1]"),
        (
            {"outcome": "exhausted", "error": "tokens", "unit": "tokens", "code": "exhausted"},
            "exhausted: writer ended without an answer: tokens [thread t1]",
        ),
        (
            {"outcome": "exhausted", "error": "tokens", "replies": (("writer", Source(name="x")),)},
            "exhausted: writer answered with what it had: tokens [thread t1]",
        ),
        (
            {
                "outcome": "exhausted",
                "error": "answered on what was left: tokens",
                "replies": (("writer", Source(name="x")),),
            },
            "exhausted: writer answered on what was left: tokens [thread t1]",
        ),
    ],
)
def test_what_did_not_complete_is_told_in_a_line(fields: dict[str, Any], line: str | None) -> None:
    assert problem_line(result(**fields)) == line


def usage(tokens: int, **fields: Any) -> Usage:
    return Usage(input_tokens=tokens, output_tokens=1, model_calls=2, messages=3, **fields)


def test_the_table_has_a_row_a_thread() -> None:
    sub = result(thread="t1.2", handler="reader", outcome="exhausted", unit="tokens", usage=usage(1500, seconds=0.5))
    deeper = result(thread="t1.3", handler="sub", threads=(sub,), usage=usage(2000))
    top = result(threads=(deeper,), usage=usage(12345, cost_usd=Decimal("0.25"), seconds=2.0))
    assert usage_table([top]).splitlines() == [
        "thread      outcome             calls  tokens in  out  cost USD  messages  seconds",
        "-" * 82,
        "writer t1   completed               2     12,345    1      0.25         3     2.00",
        "  sub       completed               2      2,000    1      0.00         3     0.00",
        "    reader  exhausted (tokens)      2      1,500    1      0.00         3     0.50",
    ]


def test_the_sum_of_several_threads_is_the_last_row() -> None:
    one = result(usage=usage(10, cost_usd=Decimal("0.1"), seconds=1.0))
    other = result(outcome="failed", usage=usage(20, cost_usd=Decimal("0.2"), seconds=3.0))
    last = usage_table([one, other]).splitlines()[-1]
    assert " ".join(last.split()) == "all 2 threads 1 completed, 1 failed 4 30 2 0.3 6 3.00"


def test_seconds_are_added_where_turns_of_a_conversation_ran_one_after_the_other() -> None:
    turns = [result(conversation="c", usage=usage(1, seconds=seconds)) for seconds in (1.0, 2.5)]
    assert usage_table(turns).splitlines()[-1].split()[-1] == "3.50"
    beside = [*turns, result(usage=usage(1, seconds=3.0)), result(conversation="d", usage=usage(1, seconds=2.0))]
    assert usage_table(beside).splitlines()[-1].split()[-1] == "3.50"
    assert usage_table([*beside, result(usage=usage(1, seconds=4.0))]).splitlines()[-1].split()[-1] == "4.00"


def test_sub_threads_without_end_share_a_row() -> None:
    subs = tuple(result(handler="reader", usage=usage(1)) for _ in range(SHOWN_THREADS + 5))
    *_, before, last = usage_table([result(threads=subs)]).splitlines()
    assert " ".join(before.split()) == "reader completed 2 1 1 0.00 3 0.00"
    assert " ".join(last.split()) == "5 more completed 10 5 5 0.00 15 0.00"


def test_estimates_are_marked() -> None:
    table = usage_table([result(usage=usage(10, estimated=True))])
    assert "~10" in table
    assert table.endswith(
        "~ is partly an estimate: a provider did not report its usage, or the process ended before it did"
    )
    assert "~" not in usage_table([result(usage=usage(10))])


@pytest.mark.parametrize(
    ("usd", "shown"),
    [
        ("0", "0.00"),
        ("0.5", "0.5"),
        ("0.123456", "0.123456"),
        ("0.00000001", "<0.000001"),
        ("12", "12.00"),
        ("1E+2", "100.00"),
    ],
)
def test_money_is_shown_to_the_millionth(usd: str, shown: str) -> None:
    assert money(Decimal(usd)) == shown


def warning(**fields: Any) -> WarningRaised:
    given: dict[str, Any] = {
        "thread": "t1.2", "seq": 4, "node": "t1.2", "unit": "tokens", "level": "critical", "threshold": Decimal("0.9"),
        "used": 1830, "held": 50, "limit": 2000, "remaining": 20, "scope": "sub-thread", "calls_left": 1, "to": "reader",
    }  # fmt: skip
    return WarningRaised(**(given | fields))


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (
            {},
            "reader: tokens critical, 1,830 of 2,000 used, 50 held, 100 kept back, 20 left (about 1 call like the last), of the sub-thread",
        ),
        # Where nothing is left to work with, what was kept back may be used in part as well.
        (
            {"used": 1950, "held": 0, "remaining": 0, "calls_left": 0},
            "reader: tokens critical, 1,950 of 2,000 used, 0 left (not one more call like the last), of the sub-thread",
        ),
        (
            {"to": None, "pending_for": "agent", "held": 0, "calls_left": None, "level": "runway"},
            "agent: tokens runway, 1,830 of 2,000 used, 150 kept back, 20 left, of the sub-thread",
        ),
        (
            {
                "to": None, "unit": "cost_usd", "used": Decimal("0.75"), "held": Decimal(0), "limit": Decimal(1),
                "remaining": Decimal("0.15"), "calls_left": 3, "scope": "organism",
            },
            "boss: cost_usd critical, 0.75 USD of 1.00 USD used, 0.1 USD kept back, 0.15 USD left (about 3 calls like the last), of the organism",
        ),
        (
            {"unit": "seconds", "used": 7.5, "held": 0, "limit": 10.0, "remaining": 2.5, "calls_left": None},
            "reader: seconds critical, 7.5 s of 10.0 s used, 2.5 s left, of the sub-thread",
        ),
        (
            {"thread": "t1.2.5", "held": 0, "remaining": 170, "calls_left": None},
            "reader: tokens critical, 1,830 of 2,000 used, 170 left, of the sub-thread t1.2",
        ),
        (
            {"scope": "account", "node": "account:tenant:acme", "held": 0, "remaining": 170, "calls_left": None},
            "reader: tokens critical, 1,830 of 2,000 used, 170 left, of the account tenant:acme",
        ),
    ],
)  # fmt: skip
def test_a_warning_says_who_is_near_which_limit(fields: dict[str, Any], line: str) -> None:
    assert list(warning_lines([warning(**fields)], lambda _: "boss")) == [
        f"budget warning: {line} [thread {fields.get('thread', 't1.2')}]"
    ]


def test_the_levels_of_one_limit_that_are_reached_at_once_share_a_line() -> None:
    def reached(level: str, **fields: Any) -> WarningRaised:
        return warning(level=level, held=0, remaining=170, calls_left=None, **fields)

    account: dict[str, Any] = {"scope": "account", "node": "account:tenant:acme"}
    steps = [
        reached("warning"), reached("critical"), reached("critical", unit="input_tokens"), reached("final"),
        reached("warning", **account), reached("runway", **account), reached("warning", scope="thread", node="t1"),
    ]  # fmt: skip
    figures = "1,830 of 2,000 used, 170 left"
    assert list(warning_lines(steps, lambda _: "boss")) == [
        f"budget warning: reader: {line} [thread t1.2]"
        for line in (
            f"tokens warning, critical and final, {figures}, of the sub-thread",
            f"input_tokens critical, {figures}, of the sub-thread",
            f"tokens warning and runway, {figures}, of the account tenant:acme",
            f"tokens warning, {figures}, of the thread",
        )
    ]
