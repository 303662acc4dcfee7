"""``add-budget`` for an account, and for the ceiling: where no process works on the journal, and what other commands then say."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.cli.journal_world import URLS
from tests.hard.time_of_day import let_it_be_noon

if TYPE_CHECKING:
    from tests.cli.conftest import Desk

FILE = """
    organism: demo
    journal: {url}
    accounts:
      tenant: {{model_calls: 1, window: total}}
      team: {{tokens: 100}}
    ceiling: {{cost_usd: 20, window: month}}
    handlers:
      spender: {{code: "work:spend"}}
"""
SPEND = ("run", "--to", "spender", "--send", '{"Job": {"text": "it"}}', "--account", "tenant=acme", "--quiet")


@pytest.fixture(autouse=True)
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    let_it_be_noon(monkeypatch)


@pytest.fixture(params=URLS)
def journal(request: pytest.FixtureRequest, desk: Desk) -> str:
    desk.write("organism.yaml", FILE.format(url=request.param))
    return str(request.param)


def calls(desk: Desk) -> int:
    rows = desk.organism("usage", "--by", "account", "--json").objects
    return next((int(each["usage"]["model_calls"]) for each in rows if each["account"] == "tenant:acme"), 0)


@pytest.mark.usefixtures("journal")
def test_an_account_is_given_more_and_the_next_process_spends_it(desk: Desk) -> None:
    assert desk.organism(*SPEND).code == 3
    assert calls(desk) == 1
    for figures in ("1 -> 2", "2 -> 3"):
        ran = desk.organism("add-budget", "--account", "tenant=acme", "model_calls=1")
        assert (ran.code, ran.out, ran.err) == (0, f"account tenant:acme: model_calls {figures}; for good\n", "")
    assert desk.organism(*SPEND).code == 3
    assert calls(desk) == 3
    ran = desk.organism("usage", "--by", "account")
    assert ["tenant:acme", "model_calls", "3", "3", "0", "total"] in [line.split() for line in ran.out.splitlines()]


@pytest.mark.usefixtures("journal")
def test_the_ceiling_is_given_more_until_its_window_ends(desk: Desk) -> None:
    desk.organism(*SPEND)
    ran = desk.organism("add-budget", "--ceiling", "cost_usd=0.5")
    assert re.fullmatch(r"ceiling: cost_usd 20 -> 20\.5; its month ends \d{4}-\d\d-01 00:00 UTC\n", ran.out), ran.err
    ran = desk.organism("usage", "--by", "account")
    assert re.search(r"^all +cost_usd .* 20\.50? USD +month$", ran.out, re.MULTILINE)


@pytest.mark.usefixtures("journal")
def test_what_was_given_is_in_the_log_and_no_thread(desk: Desk) -> None:
    desk.organism(*SPEND)
    (thread,) = [row["thread"] for row in desk.organism("threads", "--json").objects]
    desk.organism("add-budget", "--account", "tenant=acme", "model_calls=7")
    (line,) = desk.organism("log", "account:tenant:acme").out.splitlines()
    assert "account:tenant:acme  QuotaRaised amounts=[0,0,0,0,7,0]" in line
    assert [row["thread"] for row in desk.organism("threads", "--json").objects] == [thread]
    assert desk.organism("verify").out.startswith("sound: 1 thread and 1 record of raised limits with ")
    ran = desk.organism("export")
    assert {json.loads(line)["root"] for line in ran.out.splitlines()} == {thread}
    note = "note: not exported: raised limits of accounts or of the ceiling; a copy of the journal itself has all\n"
    assert ran.err.endswith(note)
    assert note not in desk.organism("export", thread).err
    for command in ("show", "pause", "cancel", "fork", "replay", "export"):
        ran = desk.organism(command, "account:tenant:acme")
        assert (ran.code, ran.err.splitlines()[-1]) == (
            2, "there is no thread 'account:tenant:acme'; 'organism threads' lists all",
        ), command  # fmt: skip
    assert desk.organism("log", "acc").code == 2
    # What is removed is the story of it: the limit stays.
    ran = desk.organism("prune", "--before", "2999-01-01")
    assert (ran.code, "account:" in ran.out) == (0, False)
    assert re.search(
        r"\nremoved 1 thread of [\d.]+ kB and 1 record of raised limits; 0 threads of 0 B stay\n$", ran.out
    )
    assert "what removed threads have spent and raised limits of accounts" in desk.organism("export").err
    assert desk.organism("log", "account:tenant:acme").code == 2
    ran = desk.organism("add-budget", "--account", "tenant=acme", "model_calls=1")
    assert ran.out == "account tenant:acme: model_calls 8 -> 9; for good\n"
    assert desk.organism("verify").code == 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--account", "tenant=acme"), "add-budget: name a unit and an amount, as in tokens=1000"),
        (("--account", "tenant=acme", "tokens=5"), "account tenant:acme has no limit of tokens that could be raised"),
        (("--account", "tenant=acme", "model_calls=-5"), "add-budget: model_calls: -5 must be above 0"),
        (("--account", "tenat=acme", "model_calls=5"), "did you mean 'tenant'?"),
        (("--account", "acme", "model_calls=5"), "--account acme: is not KIND=NAME"),
        (("--account", "team=x", "tokens=5"), "counts what one process spends (window: run), and none works on"),
        (("--account", "tenant=a", "--ceiling", "tokens=5"), "raise one after the other"),
        (("--ceiling", "seconds=5"), "'seconds' is not a unit that can be raised here"),
        ((), "organism add-budget: name a thread, or an account with --account KIND=NAME"),
        (("--ceiling", "--file", "none.yaml", "cost_usd=5"), "none.yaml: there is no such file"),
        (("--ceiling", "--file", "none.yaml", "--journal", "jsonl:journal", "cost_usd=5"), "the limits are in it"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(desk: Desk, arguments: tuple[str, ...], problem: str) -> None:
    desk.write("organism.yaml", FILE.format(url="jsonl:journal"))
    assert desk.organism(*SPEND).code == 3
    ran = desk.organism("add-budget", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert problem in ran.err
    assert "Traceback" not in ran.err


def test_an_order_without_a_process_reads_the_limits_of_the_file_alone(desk: Desk) -> None:
    desk.write("organism.yaml", FILE.format(url="jsonl:journal"))
    assert desk.organism(*SPEND).code == 3
    desk.write("organism.yaml", FILE.format(url="jsonl:journal").replace("work:spend", "gone:spend"))
    assert desk.organism("add-budget", "--account", "tenant=acme", "model_calls=1").code == 0
