"""Commands that read a journal, on all kinds of it: threads, show, log, usage, verify."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
from contextlib import closing
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve

from organism.cli.log import documents_of
from organism.cli.main import execute
from organism.cli.reading import meant
from organism.cli.streams import Streams
from organism.journal import open_journal
from organism.record.calls import COLUMNS
from organism.record.facts import CallSettled, ConversationOpened, Ended, ThreadOpened
from organism.replay.forking import fork_in
from organism.settings import BudgetSettings
from organism.works.rows import rows_in
from tests.cli.journal_world import URLS, record, written

if TYPE_CHECKING:
    from organism.record.facts import Fact
    from tests.cli.conftest import Desk


@pytest.fixture(params=URLS)
def desk(desk: Desk, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A journal, and a file whose handlers nobody can import: reading needs none."""
    desk.write(
        "organism.yaml", f"organism: demo\nhandlers: {{x: {{code: 'no.such:thing'}}}}\njournal: {request.param}\n"
    )
    written(desk.folder, request.param)
    monkeypatch.setenv("COLUMNS", "100")
    return desk


def url_of(desk: Desk) -> str:
    return (desk.folder / "organism.yaml").read_text("utf-8").partition("journal: ")[2].strip()


# threads


def test_threads_are_listed_with_how_they_ended(desk: Desk) -> None:
    ran = desk.organism("threads")
    assert (ran.code, ran.err) == (0, "")
    head, _, *rows = ran.out.splitlines()
    assert head.split() == ["thread", "outcome", "began", "(UTC)", "handler", "tokens", "cost", "USD", "labels"]
    assert [row.split() for row in rows] == [
        ["apple", "completed", "2026-05-28", "20:26:40", "desk", "150", "0.0002", "arm=a"],
        ["apricot", "cancelled", "2026-05-28", "20:26:41", "sleeper", "0", "0.00", "arm=b"],
        ["berry", "unfinished", "2026-05-28", "21:26:41", "sleeper", "0", "0.00"],
    ]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--label", "arm"), ["apple", "apricot"]),
        (("--label", "arm=b"), ["apricot"]),
        (("--label", "arm=b", "--outcome", "completed"), []),
        (("--label", "arm", "--label", "arm=a"), ["apple"]),
        (("--label", "arm="), []),
        (("--outcome", "cancelled", "--outcome", "unfinished"), ["apricot", "berry"]),
    ],
)
def test_threads_can_be_asked_for_by_label_and_outcome(desk: Desk, words: tuple[str, ...], found: list[str]) -> None:
    every = {each["thread"]: each for each in desk.organism("threads", "--json").objects}
    assert desk.organism("threads", "--json", *words).objects == [every[name] for name in found]
    rows = list(csv.DictReader(desk.organism("threads", "--csv", *words).out.splitlines()))
    assert [each["thread"] for each in rows] == found
    ran = desk.organism("threads", *words)
    assert [line.split()[0] for line in ran.out.splitlines()[2:]] == found
    assert (ran.code, ran.err) == (0, "" if found else "no thread matches; the journal holds 3 threads\n")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--limit", "2"), ["apricot", "berry"]),
        (("--limit", "9"), ["apple", "apricot", "berry"]),
        (("--limit", "1", "--label", "arm"), ["apricot"]),
        (("--limit", "1", "--outcome", "completed"), ["apple"]),
        (("--since", "2026-05-28T20:26:41"), ["apricot", "berry"]),
        (("--since", "2026-05-28T20:26:41", "--outcome", "cancelled", "--limit", "1"), ["apricot"]),
    ],
)
def test_the_last_threads_can_be_asked_for(desk: Desk, words: tuple[str, ...], found: list[str]) -> None:
    every = {each["thread"]: each for each in desk.organism("threads", "--json").objects}
    assert desk.organism("threads", "--json", *words).objects == [every[name] for name in found]
    assert [line.split()[0] for line in desk.organism("threads", *words).out.splitlines()[2:]] == found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--since", "2026-06-01"), "the journal holds no threads that began since then\n"),
        (
            ("--since", "2026-05-28", "--label", "no"),
            "no thread matches; the journal holds 3 threads that began since then\n",
        ),
        (("--limit", "1", "--label", "no"), "no thread matches; the journal holds 3 threads\n"),
    ],
)
def test_it_is_said_where_no_thread_is_among_the_last(desk: Desk, words: tuple[str, ...], said: str) -> None:
    ran = desk.organism("threads", *words)
    assert (ran.code, ran.out, ran.err) == (0, "", said)


def test_a_number_of_threads_that_is_none_is_a_mistake(desk: Desk) -> None:
    ran = desk.organism("threads", "--limit", "0")
    assert (ran.code, ran.out, ran.err) == (2, "", "--limit 0: must be a number of threads, 1 or more\n")


def test_a_label_without_a_name_and_an_unknown_outcome_are_mistakes(desk: Desk) -> None:
    ran = desk.organism("threads", "--label", "=a", "--outcome", "canceled")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines() == [
        "--label =a: names no label: write KEY or KEY=VALUE",
        (
            "--outcome canceled: is not an outcome; did you mean 'cancelled'?; there are: "
            "completed, exhausted, failed, stopped, cancelled, paused, running, unfinished"
        ),
    ]


def test_threads_as_json_are_what_run_printed(desk: Desk) -> None:
    apple, apricot, berry = desk.organism("threads", "--json").objects
    kept = {"began_at", "ended_at", "limits", "accounts", "forked_from"}
    printed = [{key: value for key, value in each.items() if key not in kept} for each in (apple, apricot)]
    assert dict(zip(("apple", "apricot"), printed, strict=True)) == record().results
    assert (berry["outcome"], berry["usage"]["messages"], berry["replies"]) == ("unfinished", 1, [])
    assert berry.keys() == apple.keys()


def test_threads_as_json_say_who_worked_when_and_within_which_limits(desk: Desk) -> None:
    apple, apricot, berry = desk.organism("threads", "--json").objects
    limits = {"tokens": 1000, "cost_usd": "0.5", "messages": 300, "depth": 50}
    assert [each["limits"] for each in (apple, apricot, berry)] == [limits] * 3
    assert [each["handler"] for each in (apple, *apple["threads"])] == ["desk", "reader"]
    assert (apricot["outcome"], apricot["code"], apple["code"]) == ("cancelled", "cancelled", None)
    assert apricot["ended_at"] - apricot["began_at"] == pytest.approx(3600)
    assert (berry["began_at"], berry["ended_at"]) == (apricot["ended_at"], None)


def test_threads_as_comma_separated_values_have_a_row_each(desk: Desk) -> None:
    rows = list(csv.DictReader(desk.organism("threads", "--csv").out.splitlines()))
    assert [(each["thread"], each["outcome"], each["handler"]) for each in rows] == [
        ("apple", "completed", "desk"), ("apricot", "cancelled", "sleeper"), ("berry", "unfinished", "sleeper"),
    ]  # fmt: skip
    apple, _, berry = rows
    assert (apple["tokens"], apple["tokens_limit"], apple["seconds_limit"], apple["sub_threads"]) == (
        "150", "1000", "", "1",
    )  # fmt: skip
    assert (json.loads(apple["warnings"]), json.loads(apple["labels"]), berry["ended_at"]) == ([], {"arm": "a"}, "")
    both = desk.organism("threads", "--csv", "--json")
    assert (both.code, both.err) == (2, "organism threads: --json and --csv cannot go together\n")


def test_threads_say_where_a_fork_comes_from_and_which_limits_it_has_since(desk: Desk) -> None:
    journal = open_journal(url_of(desk), folder=desk.folder)
    fork_in(journal, "apple", "a-fork", budget=lambda base: evolve(base, limits=evolve(base.limits, tokens=7)))
    journal.close()
    forked = next(each for each in desk.organism("threads", "--json").objects if each["thread"] == "a-fork")
    assert (forked["forked_from"], forked["limits"]["tokens"]) == ("apple", 7)
    head, _, *rows = desk.organism("threads").out.splitlines()
    assert head.endswith("labels  forked from")
    assert [row.split()[-1] for row in rows] == ["arm=a", "apple", "arm=b", "0.00"]
    (row,) = [
        each for each in csv.DictReader(desk.organism("threads", "--csv").out.splitlines()) if each["forked_from"]
    ]
    assert (row["thread"], row["tokens_limit"]) == ("a-fork", "7")


def test_accounts_are_told_of_threads_that_are_under_some(desk: Desk) -> None:
    under = {"apple": ("tenant:a", "team:b")}
    facts = [(root, _under(fact, under.get(root, ()))) for root, fact in record().facts]
    kind, _, _ = url_of(desk).partition(":")
    written(desk.folder, f"{kind}:paid", facts)
    journal = ("--journal", f"{kind}:paid")
    head, _, *rows = desk.organism("threads", *journal).out.splitlines()
    assert head.endswith("labels  accounts")
    assert [row.split()[-2:] for row in rows] == [["tenant:a", "team:b"], ["0.00", "arm=b"], ["0", "0.00"]]
    assert [each["accounts"] for each in desk.organism("threads", "--json", *journal).objects] == [
        ["tenant:a", "team:b"], [], [],
    ]  # fmt: skip
    assert "; accounts tenant:a, team:b; labels arm=a\n" in desk.organism("show", "apple", *journal).out
    assert "accounts" not in desk.organism("show", "apricot", *journal).out


def _under(fact: Fact, accounts: tuple[str, ...]) -> Fact:
    """The fact; where it opens a root thread, that is under these accounts."""
    steps = [
        evolve(each, accounts=accounts) if isinstance(each, ThreadOpened) and each.owner is None else each
        for each in fact.steps
    ]
    return evolve(fact, steps=tuple(steps))


def test_a_journal_without_threads_is_said(desk: Desk) -> None:
    kind, _, _ = url_of(desk).partition(":")
    written(desk.folder, f"{kind}:empty", [])
    if kind == "jsonl":  # as an organism leaves it that has written nothing
        (desk.folder / "empty").mkdir(exist_ok=True)
        (desk.folder / "empty.lock").touch()
    ran = desk.organism("threads", "--journal", f"{kind}:empty")
    assert (ran.code, ran.out, ran.err) == (0, "", "the journal holds no threads\n")
    ran = desk.organism("show", "x", "--journal", f"{kind}:empty")
    assert (ran.code, ran.err) == (2, "there is no thread 'x': the journal holds none\n")


# show


def told(out: str) -> list[str]:
    """The lines of a story without their times."""
    return [line[9:] for line in out.splitlines() if line[:9].strip().replace(".", "").isdigit()]


def test_show_tells_who_said_what_to_whom(desk: Desk) -> None:
    ran = desk.organism("show", "apple")
    assert (ran.code, ran.err) == (0, "")
    head = ran.out.splitlines()[:2]
    assert head[0] == "thread apple, began 2026-05-28 20:26:40 UTC"
    assert head[1].startswith("desk; limits: tokens 1,000, cost_usd 0.5")
    assert head[1].endswith("labels arm=a")
    lines = told(ran.out)
    assert lines.pop(1).startswith("    desk calls default (ScriptedModel.backend/scripted), call 1")
    assert lines == [
        "  outside to desk, #1: Go: text=apple, n=0",
        "    call 1 answers [100 in, 50 out, 0.0002 USD, 0.00 s]: About apples.",
        "    desk asks reader in sub-thread .2, .2#1: Go: text=apple, n=2",
        "      reader answers desk, .2#1: Said: read apple",
        "      reader keeps seen",
        "      sub-thread .2: ended completed after 0.00 s",
        "    desk asks refuser, #3: Go: text=?, n=0",
        r"      refuser fails: refused: not\x1b[31m today; desk hears it",
        "    desk replies: Said: READ APPLE",
        "  ended completed after 1.00 s",
    ]
    rows = ran.out.splitlines()[-4:]
    assert rows[0].split() == [
        "thread",
        "outcome",
        "calls",
        "tokens",
        "in",
        "out",
        "cost",
        "USD",
        "messages",
        "seconds",
    ]
    assert rows[2].split()[:3] == ["desk", "apple", "completed"]
    assert rows[3].split()[:2] == ["reader", "completed"]


def test_show_says_why_a_thread_did_not_complete(desk: Desk) -> None:
    ran = desk.organism("show", "apricot")
    assert told(ran.out) == [
        "  outside to sleeper, #1: Go: text=apricot, n=0",
        "  cancelled: enough",
        "    sleeper is stopped",
        "  ended cancelled after 1 h: enough",
    ]
    assert ran.out.splitlines()[-1] == "cancelled: sleeper: enough [thread apricot]"


def test_show_says_what_an_unfinished_thread_waits_for(desk: Desk) -> None:
    ran = desk.organism("show", "berry")
    assert "\nunfinished: berry\n  sleeper has #1: Go: text=berry, n=0\n" in ran.out
    assert ran.out.splitlines()[-1].split()[:3] == ["sleeper", "berry", "unfinished"]


def test_show_of_a_sub_thread_tells_of_that_alone(desk: Desk) -> None:
    ran = desk.organism("show", "apple.2")
    assert ran.out.splitlines()[0].startswith("thread apple.2, began")
    assert [line.strip() for line in told(ran.out)] == [
        "desk asks reader, #1: Go: text=apple, n=2",
        "reader answers desk, #1: Said: read apple",
        "reader keeps seen",
        "ended completed after 0.00 s",
    ]


def test_show_tells_payloads_whole_where_that_is_asked(desk: Desk) -> None:
    full = desk.organism("show", "apple", "--full").out
    assert "outside to desk, #1: Go\n               text: apple\n               n: 0\n" in full
    xml = desk.organism("show", "apple", "--xml").out
    assert '<Said xmlns="urn:organism:payloads"><text>READ APPLE</text></Said>' in xml


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ap", "'ap' is the beginning of 2 threads: apple, apricot; write more of it"),
        ("aple", "there is no thread 'aple'; did you mean 'apple'?; 'organism threads' lists all"),
        ("zz\x1b", "there is no thread 'zz\\x1b'; 'organism threads' lists all"),
        ("", "there is no thread ''; 'organism threads' lists all"),
    ],
)
def test_which_thread_is_meant_must_be_clear(desk: Desk, text: str, said: str) -> None:
    for command in ("show", "log"):
        ran = desk.organism(command, text)
        assert (ran.code, ran.out, ran.err) == (2, "", f"{said}\n")


def test_the_beginning_of_an_id_is_enough(desk: Desk) -> None:
    assert desk.organism("show", "b").out.startswith("thread berry,")


# the latest


def test_the_latest_thread_is_shown_where_none_is_named(desk: Desk) -> None:
    named = desk.organism("show", "berry")
    for command in (("show",), ("show", "latest")):
        ran = desk.organism(*command)
        assert (ran.code, ran.out, ran.err) == (0, named.out, "")
        assert ran.out.startswith("thread berry,"), "its first line says which it is"


def test_the_log_of_the_latest_thread_is_that_alone_and_which_it_is_stands_beside(desk: Desk) -> None:
    for options in ((), ("--jsonl",)):
        ran = desk.organism("log", *options)
        assert (ran.code, ran.out, ran.err) == (
            0,
            desk.organism("log", "berry", *options).out,
            "latest: thread berry\n",
        )


def test_the_latest_is_where_something_happened_last_and_not_what_began_last(desk: Desk) -> None:
    facts = [
        (root, evolve(fact, at=fact.at + 9e6) if root == "apple" and isinstance(fact, Ended) else fact)
        for root, fact in record().facts
    ]
    journal = ("--journal", f"{url_of(desk).partition(':')[0]}:late")
    written(desk.folder, journal[1], facts)
    assert desk.organism("show", *journal).out.startswith("thread apple,")
    ran = desk.organism("usage", "--calls", "latest", "--json", *journal)
    assert (ran.code, ran.object["thread"], ran.err) == (0, "apple", "latest: thread apple\n")
    assert desk.organism("export", "latest", *journal).err.startswith("latest: thread apple\n")


@pytest.mark.parametrize("id_", ["latest", "latest-report"])
def test_a_thread_whose_name_begins_so_is_meant_first(desk: Desk, id_: str) -> None:
    journal = open_journal(url_of(desk), folder=desk.folder)
    fork_in(journal, "apple", id_)
    journal.close()
    ran = desk.organism("log", "latest")
    assert (ran.code, ran.err) == (0, "")
    assert f"  {id_}  Forked" in ran.out
    assert desk.organism("log").err == "latest: thread berry\n"


def test_an_empty_name_is_no_word_for_the_latest(desk: Desk) -> None:
    """As of a variable of a script that was never set."""
    assert desk.organism("show", "").code == 2


def test_a_journal_without_threads_has_no_latest(desk: Desk) -> None:
    written(desk.folder, "sqlite:empty.db", [])
    for command in (("show",), ("log", "latest")):
        ran = desk.organism(*command, "--journal", "sqlite:empty.db")
        assert (ran.code, ran.out, ran.err) == (2, "", "there is no latest thread: the journal holds none\n")


# log


def test_log_prints_a_fact_a_line(desk: Desk) -> None:
    ran = desk.organism("log", "apricot")
    assert (ran.code, ran.err) == (0, "")
    first, *_, last = ran.out.splitlines()
    assert first.split()[:5] == ["1", "2026-05-28", "20:26:41.000", "apricot", "Accepted;"]
    assert "Posted seq=1 to=sleeper kind=ingress payload=" in first
    assert "$xml" not in first
    assert last.split()[4:8] == ["Ended", "handler=sleeper", "kind=root", "outcome=cancelled"]


def test_log_as_json_lines_is_what_the_journal_holds(desk: Desk) -> None:
    journal = open_journal(url_of(desk), folder=desk.folder, readonly=True)
    held = list(journal.documents("apple"))
    assert desk.organism("log", "apple", "--jsonl").objects == held
    part = desk.organism("log", "apple.2", "--jsonl").objects
    assert part == [document for document in held if document["thread"] == "apple.2"]
    journal.close()


def test_log_follows_a_thread_until_it_has_ended(desk: Desk) -> None:
    """Each look but the first finds what came since the one before."""
    url = "sqlite:live.db" if url_of(desk).startswith("sqlite") else "jsonl:live"
    facts = [pair for pair in record().facts if pair[0] == "apple"]
    later = iter(facts[3:])
    written(desk.folder, url, facts[:3])
    journal = open_journal(url, folder=desk.folder, readonly=True)
    seen = [
        document["fact"]
        for document in documents_of(
            journal, meant(journal, "apple"), pause=lambda: written(desk.folder, url, [next(later)])
        )
    ]
    assert seen == [type(fact).__name__ for _, fact in facts]
    assert isinstance(facts[-1][1], Ended)
    journal.close()
    assert len(desk.organism("log", "apple", "--follow", "--journal", url).out.splitlines()) == len(facts)


def removed(desk: Desk, url: str, *roots: str) -> None:
    """What another process does: it removes threads."""
    with closing(open_journal(url, folder=desk.folder)) as journal:
        journal.remove(*roots)


def test_log_follows_a_thread_until_it_is_removed(desk: Desk) -> None:
    """It may end and be removed between two looks."""
    looks = 0

    def pause() -> None:
        nonlocal looks
        looks += 1
        assert looks == 1, "it is followed for ever"
        written(desk.folder, url, facts[3:])
        removed(desk, url, "apple")

    url = "sqlite:live.db" if url_of(desk).startswith("sqlite") else "jsonl:live"
    facts = [pair for pair in record().facts if pair[0] == "apple"]
    written(desk.folder, url, facts[:3])
    with closing(open_journal(url, folder=desk.folder, readonly=True)) as journal:
        assert len(list(documents_of(journal, meant(journal, "apple"), pause=pause))) == 3


@pytest.mark.parametrize(
    ("command", "module", "name"),
    [("threads --json", "threads", "rows_in"), ("export", "transfer", "_stays")],
    ids=["threads", "export"],
)
def test_a_thread_that_is_removed_meanwhile_is_left_out(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, command: str, module: str, name: str
) -> None:
    """Once it is known which threads there are, another process removes one of them."""
    whole: Any = getattr(import_module(f"organism.cli.{module}"), name)

    def then_removed(*given: Any, **how: Any) -> Any:
        found = list(whole(*given, **how))
        removed(desk, url_of(desk), "apricot")
        return found

    monkeypatch.setattr(f"organism.cli.{module}.{name}", then_removed)
    ran = desk.organism(*command.split())
    assert ran.code == 0, ran.err
    assert {each.get("root") or each["thread"] for each in ran.objects} == {"apple", "berry"}
    assert command != "export" or "exported: 2 threads" in ran.err


# usage


@pytest.mark.parametrize(
    ("by", "rows"),
    [
        ("handler", {"desk": (1, 1), "reader": (0, 1), "refuser": (0, 1), "sleeper": (0, 2), "all": (1, 5)}),
        ("thread", {"apple": (1, 3), "apricot": (0, 1), "berry": (0, 1), "all": (1, 5)}),
        ("day", {"2026-05-28": (1, 5), "all": (1, 5)}),
        ("label:arm", {"-": (0, 1), "a": (1, 3), "b": (0, 1), "all": (1, 5)}),
        ("model", {"-": (0, 5), "default": (1, 0), "all": (1, 5)}),
        ("backend", {"-": (0, 5), "ScriptedModel.backend/scripted": (1, 0), "all": (1, 5)}),
        ("account", {"-": (1, 5), "all": (1, 5)}),
        ("tag", {"-": (1, 5), "all": (1, 5)}),
    ],
)
def test_usage_adds_up_by_anything(desk: Desk, by: str, rows: dict[str, tuple[int, int]]) -> None:
    ran = desk.organism("usage", "--by", by)
    assert (ran.code, ran.err) == (0, "")
    head, _, *lines = ran.out.splitlines()
    assert head.split() == [by, "calls", "tokens", "in", "out", "cost", "USD", "messages"]
    cells = {line.rsplit(maxsplit=5)[0].strip(): line.rsplit(maxsplit=5)[1:] for line in lines}
    assert {name: (int(calls), int(messages)) for name, (calls, *_, messages) in cells.items()} == rows
    assert cells["all"] == ["1", "100", "50", "0.0002", "5"]
    objects = desk.organism("usage", "--by", by, "--json").objects
    assert [each[by] for each in objects] == [None if name == "-" else name for name in rows if name != "all"]
    assert sum(each["usage"]["tokens"] for each in objects) == 150


ACCOUNTS = """
    organism: demo
    accounts:
      tenant: {tokens: 200, cost_usd: 0.5, window: total}
      "tenant:idle": {messages: 7, window: day}
      team: {model_calls: 3}
      group: {window: day}
    ceiling: {model_calls: 9, window: total}
"""


def under(*accounts: str) -> list[tuple[str, Fact]]:
    """The record, with the thread that called its model under these accounts."""

    def opened(fact: Fact) -> Fact:
        steps = tuple(
            evolve(step, accounts=accounts) if isinstance(step, ThreadOpened) and step.thread == "apple" else step
            for step in fact.steps
        )
        fact = evolve(fact, accounts=accounts) if isinstance(fact, CallSettled) else fact
        return evolve(fact, steps=steps)

    return [(root, opened(fact)) for root, fact in record().facts]


def test_usage_by_account_says_what_is_left_of_its_limits(desk: Desk) -> None:
    desk.write("organism.yaml", ACCOUNTS)
    journal = ("--journal", "sqlite:under.db")
    written(desk.folder, "sqlite:under.db", under("group:g", "team:x", "tenant:a"))
    ran = desk.organism("usage", "--by", "account", *journal)
    assert (ran.code, ran.err) == (0, "")
    _, _, *lines, note = ran.out.partition("\n\n")[2].splitlines()
    assert [line.split() for line in lines] == [
        ["team:x", "model_calls", "?", "3", "?", "run"],
        ["tenant:a", "tokens", "150", "200", "50", "total"],
        ["tenant:a", "cost_usd", "0.0002", "USD", "0.5", "USD", "0.4998", "USD", "total"],
        ["tenant:idle", "messages", "0", "7", "7", "day"],
        ["all", "model_calls", "1", "9", "8", "total"],
    ]
    assert note == "? is not in the journal: a limit whose window is 'run' is counted by the process that runs"
    rows = {each["account"]: each for each in desk.organism("usage", "--by", "account", "--json", *journal).objects}
    assert set(rows) == {None, "group:g", "team:x", "tenant:a", "tenant:idle"}
    assert rows["tenant:a"]["limits"] == {
        "tokens": {"used": 150, "limit": 200, "left": 50},
        "cost_usd": {"used": "0.0002", "limit": "0.5", "left": "0.4998"},
    }
    assert (rows["tenant:a"]["window"], rows["tenant:a"]["ends"]) == ("total", None)
    assert rows["team:x"]["limits"] == {"model_calls": {"used": None, "limit": 3, "left": None}}
    idle = rows["tenant:idle"]
    assert (idle["window"], idle["usage"]["tokens"], idle["limits"]["messages"]["left"]) == ("day", 0, 7)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT00:00:00Z", idle["ends"])
    assert rows["group:g"].keys() == rows[None].keys() == {"account", "usage"}
    assert "limits" not in desk.organism("usage", "--by", "handler", "--json", *journal).out


def test_the_sums_of_usage_are_cells_as_well(desk: Desk) -> None:
    for by in ("handler", "thread", "day", "label:arm"):
        rows = list(csv.DictReader(desk.organism("usage", "--by", by, "--csv").out.splitlines()))
        objects = desk.organism("usage", "--by", by, "--json").objects
        assert [each.pop(by) or None for each in rows] == [each[by] for each in objects]
        said = [each["usage"] for each in objects]
        assert rows == [{key: str(int(v) if isinstance(v, bool) else v) for key, v in each.items()} for each in said]
        assert sum(int(each["tokens"]) for each in rows) == 150


def test_the_limits_of_accounts_are_cells_behind_their_sums(desk: Desk) -> None:
    desk.write("organism.yaml", ACCOUNTS)
    written(desk.folder, "sqlite:under.db", under("group:g", "team:x", "tenant:a"))
    ran = desk.organism("usage", "--by", "account", "--csv", "--journal", "sqlite:under.db")
    rows = {each["account"]: each for each in csv.DictReader(ran.out.splitlines())}
    assert set(rows) == {"", "group:g", "team:x", "tenant:a", "tenant:idle"}
    tenant, idle = rows["tenant:a"], rows["tenant:idle"]
    assert [tenant[key] for key in ("window", "ends", "tokens", "tokens_used", "tokens_limit", "tokens_left")] == [
        "total", "", "150", "150", "200", "50",
    ]  # fmt: skip
    assert [tenant[key] for key in ("cost_usd_left", "messages_limit", "messages_left")] == ["0.4998", "", ""]
    assert [idle[key] for key in ("window", "tokens", "messages_used", "messages_left")] == ["day", "0", "0", "7"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT00:00:00Z", idle["ends"])
    assert [rows["team:x"][key] for key in ("model_calls_used", "model_calls_limit")] == ["", "3"]
    assert (rows["group:g"]["window"], rows["group:g"]["tokens_limit"]) == ("", "")


def test_what_is_left_is_of_the_window_of_now_whatever_since_says(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.write("organism.yaml", ACCOUNTS)
    journal = ("--journal", "sqlite:under.db", "--json")
    written(desk.folder, "sqlite:under.db", under("tenant:a"))

    def left(*more: str) -> dict[str, Any]:
        rows = desk.organism("usage", "--by", "account", *journal, *more).objects
        found: dict[str, Any] = next(each for each in rows if each["account"] == "tenant:a")
        return found

    assert left("--since", "2999-01-01")["usage"]["tokens"] == 0
    assert left("--since", "2999-01-01")["limits"]["tokens"]["left"] == 50
    monkeypatch.setenv("ORGANISM_ACCOUNTS__TENANT__WINDOW", "hour")
    monkeypatch.setenv("ORGANISM_ACCOUNTS__TENANT__TOKENS", "100")
    assert left()["limits"]["tokens"] == {"used": 0, "limit": 100, "left": 100}


def test_usage_by_account_does_without_a_file_and_says_where_it_cannot_be_read(desk: Desk) -> None:
    written(desk.folder, "sqlite:under.db", under("tenant:a"))
    those = ("usage", "--by", "account", "--journal", "sqlite:under.db")
    plain = desk.organism(*those, "--file", "none.yaml")
    assert (plain.code, plain.err) == (0, "")
    desk.write("organism.yaml", ACCOUNTS.replace("200", "many"))
    ran = desk.organism(*those)
    assert (ran.code, ran.out) == (0, plain.out)
    assert re.fullmatch(
        r"note: limits are not shown, since they cannot be read: organism.yaml:\d+:\d+ accounts.tenant.tokens: 'many' is not a whole number.*\n",
        ran.err,
    )


def test_usage_by_what_is_not_known_is_refused(desk: Desk) -> None:
    ran = desk.organism("usage", "--by", "modle")
    assert ran.code == 2
    assert ran.err == (
        "--by modle: is not known; did you mean 'model'?; there are: thread, conversation, handler, model, backend, account, tag, day, label:KEY\n"
    )
    ran = desk.organism("usage", "--by", "label:")
    assert (ran.code, ran.err.partition(";")[2].partition(";")[0]) == (2, " name its key")
    assert desk.organism("usage", "--by", "label:\x1b[31m").out.startswith("label:\\x1b[31m ")


def test_usage_counts_what_has_several_tags_under_each_and_says_so(desk: Desk) -> None:
    tagged = [
        (root, evolve(fact, tags=("b", "a"), charge=evolve(fact.charge, unpriced=True)) if isinstance(fact, CallSettled) else fact)
        for root, fact in record().facts
    ]  # fmt: skip
    written(desk.folder, "sqlite:tagged.db", tagged)
    ran = desk.organism("usage", "--by", "tag", "--journal", "sqlite:tagged.db")
    assert [line.split() for line in ran.out.splitlines()[2:6]] == [
        ["-", "0", "0", "0", "0.00", "5"], ["a", "1", "100", "50", "0.0002?", "0"], ["b", "1", "100", "50", "0.0002?", "0"],
        ["all", "1", "100", "50", "0.0002?", "5"],
    ]  # fmt: skip
    assert ran.out.splitlines()[6:] == [
        "what has several tags counts under each of them, so the rows add up to more than 'all'",
        "? leaves out calls whose price is unknown: give the backend a 'price'",
    ]
    first, second, _ = desk.organism("usage", "--by", "tag", "--json", "--journal", "sqlite:tagged.db").objects
    assert (first["usage"]["unpriced"], second["tag"], second["usage"]["unpriced"]) == (False, "a", True)


def test_usage_since_an_hour_is_what_was_spent_from_then_on(desk: Desk) -> None:
    whole = desk.organism("usage").out
    for since in ("2026-05-28", "2026-05-28T20:59", "9999d"):
        assert desk.organism("usage", "--since", since).out == whole
    (_, _, *rows) = desk.organism("usage", "--since", "2026-05-28T21:00").out.splitlines()
    assert [row.split() for row in rows] == [
        ["sleeper", "0", "0", "0", "0.00", "1"],
        ["all", "0", "0", "0", "0.00", "1"],
    ]


def test_no_thread_has_spent_more_than_all_of_them_while_they_spend(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process writes as soon as anything was read."""

    def written_first(journal: Any, *given: Any, **how: Any) -> Any:
        written(desk.folder, url, later)
        later.clear()
        return rows_in(journal, *given, **how)

    facts = [pair for pair in record().facts if pair[0] == "apple"]
    url = "sqlite:live.db" if url_of(desk).startswith("sqlite") else "jsonl:live"
    settled = next(place for place, (_, fact) in enumerate(facts) if isinstance(fact, CallSettled))
    written(desk.folder, url, facts[:settled])
    later = facts[settled : settled + 1]
    monkeypatch.setattr("organism.cli.usage.rows_in", written_first)
    rows = [row.split() for row in desk.organism("usage", "--by", "thread", "--journal", url).out.splitlines()[2:]]
    assert [row[:4] for row in rows] == [["apple", "1", "100", "50"], ["all", "1", "100", "50"]]


def test_what_a_fork_copied_is_counted_with_its_origin_alone(desk: Desk) -> None:
    before = desk.organism("usage", "--by", "thread").out.splitlines()
    journal = open_journal(url_of(desk), folder=desk.folder)
    fork_in(journal, "apple", "fork")
    journal.close()
    rows = [row.split() for row in desk.organism("usage", "--by", "thread").out.splitlines()[2:]]
    assert ["fork", "0", "0", "0", "0.00", "0"] in rows
    assert [row for row in rows if row[0] != "fork"] == [row.split() for row in before[2:]]


def test_usage_has_a_row_a_call(desk: Desk) -> None:
    ran = desk.organism("usage", "--calls")
    assert (ran.code, ran.err) == (0, "")
    head, _, *rows = ran.out.splitlines()
    assert head.split() == [
        "thread", "handler", "model", "outcome", "need", "tokens", "cost", "USD", "nearest", "limit", "was", "told",
    ]  # fmt: skip
    (row,) = rows
    assert row.split()[:4] == ["apple", "desk", "default", "ok"]
    (made,) = desk.organism("usage", "--calls", "--json").objects
    assert (made["thread"], made["handler"], made["outcome"], made["tokens"], made["tokens_limit"]) == (
        "apple", "desk", "ok", 150, 1000,
    )  # fmt: skip
    assert tuple(made) == COLUMNS
    names, values = csv.reader(desk.organism("usage", "--calls", "--csv").out.splitlines())
    assert tuple(names) == COLUMNS
    cells = dict(zip(names, values, strict=True))
    assert (cells["tokens"], cells["told_level"], cells["labels"], cells["grace"]) == ("150", "", '{"arm": "a"}', "0")


def test_usage_has_the_calls_of_one_thread(desk: Desk) -> None:
    assert [each["thread"] for each in desk.organism("usage", "appl", "--calls", "--json").objects] == ["apple"]
    assert desk.organism("usage", "--calls", "berry").out == "no model calls\n"
    assert desk.organism("usage", "--calls", "--json", "berry").out == ""
    nobody = desk.organism("usage", "--calls", "nobody")
    assert (nobody.code, nobody.err) == (2, "there is no thread 'nobody'; 'organism threads' lists all\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("apple",), "organism usage apple: THREAD needs --calls; for a sum of each thread use --by thread\n"),
        (("--csv", "--json"), "organism usage: --json and --csv cannot go together\n"),
        (("--calls", "--csv", "--json"), "organism usage: --json and --csv cannot go together\n"),
        (("--calls", "--by", "day"), "organism usage --by day: cannot go with --calls, which lists single calls\n"),
        (
            ("--calls", "--since", "1h"),
            "organism usage --since 1h: cannot go with --calls\n",
        ),
        (
            ("--by", "thread", "--since", "1h"),
            "organism usage --since 1h: cannot go with --by thread\n",
        ),
        (
            ("--since", "-1d"),
            "--since -1d: is not a date; write it as in 2026-11-01 or 2026-11-01T12:00, or an age as in 30d or 12h\n",
        ),
    ],
)
def test_usage_says_what_does_not_go_together(desk: Desk, arguments: tuple[str, ...], said: str) -> None:
    ran = desk.organism("usage", *arguments)
    assert (ran.code, ran.out, ran.err) == (2, "", said)


# verify


def test_verify_says_that_all_is_sound(desk: Desk) -> None:
    ran = desk.organism("verify")
    entries = len(record().facts)
    assert (ran.code, ran.out, ran.err) == (0, f"sound: 3 threads with {entries} entries\n", "")


def damage(desk: Desk, root: str, number: int) -> None:
    """Changes an entry of a chain that is over."""
    if url_of(desk).startswith("jsonl"):
        path = desk.folder / "journal" / f"{root}.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)
        lines[number - 1] = lines[number - 1].replace(b"2", b"3", 1)
        path.write_bytes(b"".join(lines))
        return
    with closing(sqlite3.connect(desk.folder / "organism.db")) as file, file:
        ((key,),) = file.execute("SELECT id FROM chains WHERE root = ?", [root.encode()]).fetchall()
        query = "UPDATE entries SET hash = zeroblob(32) WHERE chain = ? AND n = ?"
        assert file.execute(query, [key, number]).rowcount == 1
    file.close()


def test_verify_names_the_first_bad_entry_of_each_damaged_chain(desk: Desk) -> None:
    damage(desk, "apple", 3)
    damage(desk, "apricot", 1)
    ran = desk.organism("verify")
    assert (ran.code, ran.err) == (5, "")
    one, two, summary = ran.out.splitlines()
    assert one.startswith("thread apple: ")
    assert "was changed" in one
    assert two.startswith("thread apricot: ")
    assert summary.startswith("2 threads damaged; sound: 1 thread with ")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_verify_says_on_a_terminal_how_far_it_is(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("organism.cli.upkeep._PAUSE", 0.0)
    out, err = io.StringIO(), Terminal()
    assert execute(["verify"], Streams(out=out, err=err, input=io.StringIO())) == 0
    lines = err.getvalue().split("\r")
    assert lines == ["", *(f"reads all entries: thread {n} ...\x1b[K" for n in (1, 2, 3)), "\x1b[K"]
    assert out.getvalue() == desk.organism("verify").out


def test_verify_names_what_is_kept_of_all_threads_and_is_not_what_their_entries_say(desk: Desk) -> None:
    if url_of(desk).startswith("jsonl"):
        said = "journal/_index.jsonl:1: was changed: its checksum does not match its content"
        path = desk.folder / "journal" / "_index.jsonl"
        path.write_bytes(path.read_bytes().replace(b'"desk"', b'"disk"', 1))
    else:
        said = "holds tokens 1000, input 100, output 50, "
        with closing(sqlite3.connect(desk.folder / "organism.db")) as file, file:
            assert file.execute("UPDATE ledger SET tokens = 1000 WHERE tokens").rowcount == 1
        file.close()
    ran = desk.organism("verify")
    told, summary = ran.out.splitlines()
    assert (ran.code, summary) == (5, f"damaged; sound: 3 threads with {len(record().facts)} entries")
    assert said in told


def test_a_damaged_thread_is_said_and_not_told(desk: Desk) -> None:
    damage(desk, "apricot", 1)
    for command in (("show", "apricot"), ("log", "apricot")):
        ran = desk.organism(*command)
        assert (ran.code, ran.out) == (5, "")
        assert ran.err.startswith("error: ")
        assert ran.err.count("\n") == 1
        assert "was changed" in ran.err
    assert desk.organism("show", "apple").code == 0


def test_threads_lists_what_is_not_damaged(desk: Desk) -> None:
    damage(desk, "berry", 1)
    ran = desk.organism("threads")
    assert (ran.code, ran.err.count("\n")) == (5, 1)
    assert ran.err.startswith("error: ")
    assert [line.split()[0] for line in ran.out.splitlines()[2:]] == ["apple", "apricot"]


def test_of_a_thread_that_has_ended_only_what_is_printed_is_read(desk: Desk) -> None:
    before = [desk.organism("threads", *how).out for how in ((), ("--csv",), ("--json",))]
    damage(desk, "apricot", 1)
    assert [desk.organism("threads", *how).out for how in ((), ("--csv",))] == before[:2]
    damage(desk, "apricot", sum(root == "apricot" for root, _ in record().facts))
    assert [desk.organism("threads", *how).out for how in ((), ("--csv",))] == before[:2]
    ran = desk.organism("threads", "--json")
    assert (ran.code, ran.err.count("\n"), "was changed" in ran.err) == (5, 1, True)
    lines = before[2].splitlines()
    assert ran.out.splitlines() == [lines[0], lines[2]]


def test_usage_by_thread_counts_what_is_not_damaged(desk: Desk) -> None:
    whole = [line.split()[0] for line in desk.organism("usage", "--by", "thread").out.splitlines()[2:]]
    assert whole == ["apple", "apricot", "berry", "all"]
    damage(desk, "berry", 1)
    ran = desk.organism("usage", "--by", "thread")
    assert (ran.code, ran.err.count("\n"), "was changed" in ran.err) == (5, 1, True)
    left = [line.split()[0] for line in ran.out.splitlines()[2:]]
    assert left[:2] + left[-1:] == ["apple", "apricot", "all"]
    assert desk.organism("usage", "--by", "handler").code == 0


def test_export_prints_what_is_not_damaged_and_names_the_rest(desk: Desk) -> None:
    damage(desk, "apricot", 1)
    ran = desk.organism("export")
    assert (ran.code, {json.loads(line)["root"] for line in ran.out.splitlines()}) == (5, {"apple", "berry"})
    flaw, summary = ran.err.splitlines()
    assert flaw.startswith("error: thread apricot: ")
    assert flaw.endswith("; it is not exported")
    assert summary.startswith("exported: 2 threads with ")
    alone = desk.organism("export", "apricot")
    assert (alone.code, alone.out, "was changed" in alone.err) == (5, "", True)


# conversations


def test_a_conversation_says_which_one_it_goes_on_in(desk: Desk) -> None:
    url = "sqlite:talk.db" if url_of(desk).startswith("sqlite") else "jsonl:talk"
    facts = [(root, fact) for root, fact in record().facts if root != "berry"]
    begins = {"c": None, "c~2": None, "c~3": "c"}  # somebody has begun one of their own under the first name
    written(
        desk.folder,
        url,
        [(f"conversation:{name}", _begun(name, before, fact)) for name, before in begins.items() for _, fact in facts],
    )
    last = {name: desk.organism("show", name, "--journal", url).out.splitlines()[-1] for name in begins}
    assert last["c"] == "conversation c goes on in c~3"
    assert "apple: desk; " in (shown := desk.organism("show", "c", "--journal", url).out)
    assert shown.count("; accounts tenant:a") == 2
    assert not any("goes on" in last[name] for name in ("c~2", "c~3"))


def _begun(name: str, before: str | None, fact: Fact) -> Fact:
    """The fact; the first of a conversation begins it."""
    if fact is not record().facts[0][1]:
        return fact
    step = ConversationOpened(
        conversation=name, budget=BudgetSettings(), before=before, state={}, accounts=("tenant:a",)
    )
    return evolve(fact, steps=(step, *fact.steps))


def test_a_conversation_is_its_turns(desk: Desk) -> None:
    url = "sqlite:talk.db" if url_of(desk).startswith("sqlite") else "jsonl:talk"
    chain = "conversation:c-42"
    written(desk.folder, url, [(chain, fact) for root, fact in record().facts if root != "berry"])
    journal = ("--journal", url)
    rows = desk.organism("threads", "--json", *journal).objects
    assert [(row["thread"], row["conversation"]) for row in rows] == [("apple", "c-42"), ("apricot", "c-42")]
    head, _, *lines = desk.organism("threads", *journal).out.splitlines()
    assert [line.split()[-1] for line in (head, *lines)] == ["conversation", "c-42", "c-42"]
    ran = desk.organism("show", "c-42", *journal)
    assert ran.out.startswith("conversation c-42, began 2026-05-28 20:26:40 UTC\napple: desk; limits: ")
    assert "turn apple: ended completed" in ran.out
    assert "sub-thread apple:" not in ran.out
    assert "outside to desk, apple#1: Go" in ran.out
    assert "outside to sleeper, apricot#1: Go" in ran.out
    assert "all 2 threads" in ran.out
    turn = desk.organism("show", "apricot", *journal)
    assert turn.out.startswith("thread apricot, began")
    assert "desk" not in turn.out
    assert desk.organism("show", "apr", *journal).out == turn.out
    assert desk.organism("show", "ap", *journal).err.startswith("'ap' is the beginning of 2 threads: apple, apricot")
    assert len(desk.organism("log", "c-42", *journal).out.splitlines()) == len(
        [fact for root, fact in record().facts if root != "berry"]
    )
    assert desk.organism("prune", "--keep-size", "0", *journal).out.startswith("removed 0 threads")
    assert (
        desk.organism("prune", "--before", "2100-01-01", *journal).out.splitlines()[-1].startswith("removed 1 thread ")
    )


def test_results_can_be_piped_as_they_are(desk: Desk) -> None:
    for arguments in (("threads",), ("show", "apple"), ("log", "apple"), ("usage",), ("export",)):
        assert "\x1b" not in json.dumps(desk.organism(*arguments).out.replace("\\u001b", ""))
