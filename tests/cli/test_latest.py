"""The latest thread in place of one that is named, in the commands that run, change and copy threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Desk

JOURNAL = ("--journal", "sqlite:work.db")


@pytest.fixture
def desk(desk: Desk) -> Desk:
    assert desk.organism("run", *JOURNAL, "--seed", "1", "--to", "shouter", "--send", "first").code == 0
    assert desk.organism("run", *JOURNAL, "--seed", "2", "--to", "shouter", "--send", "second").code == 0
    return desk


def latest(desk: Desk) -> str:
    (*_, last) = desk.organism("threads", "--json", *JOURNAL).objects
    assert last["replies"][0]["payload"]["Done"]["text"] == "SECOND"
    return str(last["thread"])


def test_the_latest_is_replayed_and_forked_only_where_that_is_typed(desk: Desk) -> None:
    thread = latest(desk)
    ran = desk.organism("replay", "latest", *JOURNAL)
    assert (ran.code, ran.out) == (0, "the same: 1 delivery and 0 model calls compared\n")
    assert f"latest: thread {thread}\n" in ran.err
    forked = desk.organism("fork", "latest", *JOURNAL, "--at", "1", "--json")
    assert (forked.code, forked.object["replies"][0]["payload"]["Done"]["text"]) == (0, "SECOND")
    assert f"latest: thread {thread}\n" in forked.err
    for command in ("replay", "fork", "pause", "cancel"):
        ran = desk.organism(command, *JOURNAL)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err == f"organism {command} THREAD: is missing; see 'organism {command} --help'\n"


def test_a_replay_says_that_it_keeps_the_limits_of_the_record(desk: Desk) -> None:
    said = (
        "note: a replay keeps the limits and warnings of the record, whatever {} says; 'organism fork' continues a copy of a thread "
        "with others"
    )
    for keys in (
        ["budget.messages=1", "ceiling.messages=1"],
        ["handlers.shouter.budget.messages=0"],
        ["max_handlers=9"],
    ):
        sets = [word for key in keys for word in ("--set", key)]
        ran = desk.organism("replay", "latest", *JOURNAL, *sets)
        assert (ran.code, ran.out) == (0, "the same: 1 delivery and 0 model calls compared\n")
        named = ", ".join(key.partition("=")[0] for key in keys)
        assert (said.format(named) in ran.err.splitlines()) == ("max_handlers" not in named), ran.err


def test_a_fork_that_has_run_is_the_latest(desk: Desk) -> None:
    (first, _) = desk.organism("threads", "--json", *JOURNAL).objects
    fork = desk.organism("fork", first["thread"], "--at", "1", *JOURNAL, "--json").object["thread"]
    assert desk.organism("show", *JOURNAL).out.startswith(f"thread {fork},")


def test_an_order_to_the_latest_says_which_that_is(desk: Desk) -> None:
    thread = latest(desk)
    ran = desk.organism("cancel", "latest", *JOURNAL)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"latest: thread {thread}\n")
    assert "has ended" in ran.err


def test_a_conversation_is_the_latest_whole_and_cannot_be_forked(desk: Desk) -> None:
    chat = desk.organism("chat", "--to", "shouter", "--conversation", "c-42", *JOURNAL, stdin="one\ntwo\n")
    assert chat.code == 0
    ran = desk.organism("show", *JOURNAL)
    assert (ran.code, ran.out.startswith("conversation c-42,")) == (0, True)
    assert "ONE" in ran.out
    assert "TWO" in ran.out
    ran = desk.organism("fork", "latest", *JOURNAL)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("latest: conversation c-42\n")
