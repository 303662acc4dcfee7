"""What a conversation has spent over its turns, and what is left of its limits for more of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Desk

FILE = """
    organism: demo
    journal: sqlite:organism.db
    conversation: {tokens: 3000, messages: 9, seconds: 600}
    handlers:
      writer:
        description: Writes.
        agent: {accepts: "organism:Text", replies: "organism:Text"}
"""


@pytest.fixture
def talked(desk: Desk) -> Desk:
    """Two turns of one conversation, one of another, and a message in none."""
    desk.write("organism.yaml", FILE)
    for name, lines in (("a", "one\ntwo\n"), ("b", "three\n")):
        ran = desk.organism("chat", "--to", "writer", "--conversation", name, "--quiet", stdin=lines)
        assert ran.code == 0, ran.err
    assert desk.organism("run", "--to", "writer", "--send", "four", "--quiet").code == 0
    return desk


def test_usage_by_conversation_adds_up_the_turns(talked: Desk) -> None:
    threads = talked.organism("threads", "--json").objects
    spent = {
        name: sum(each["usage"]["tokens"] for each in threads if each["conversation"] == name)
        for name in ("a", "b", None)
    }
    rows = talked.organism("usage", "--by", "conversation", "--json").objects
    assert [(row["conversation"], row["usage"]["tokens"], row["usage"]["messages"]) for row in rows] == [
        ("a", spent["a"], 2),
        ("b", spent["b"], 1),
        (None, spent[None], 1),
    ]
    head, _, *lines = talked.organism("usage", "--by", "conversation").out.splitlines()
    assert head.split()[0] == "conversation"
    assert [line.split()[0] for line in lines] == ["a", "b", "-", "all"]
    assert talked.organism("usage", "--by", "conversation", "--csv").out.splitlines()[1].startswith("a,")


def test_usage_by_conversation_has_what_removed_ones_spent_in_a_row_of_its_own(talked: Desk) -> None:
    before = talked.organism("usage", "--by", "conversation").out.splitlines()[-1]
    assert talked.organism("prune", "--before", "2100-01-01").code == 0
    *_, rest, whole = talked.organism("usage", "--by", "conversation").out.splitlines()
    assert whole.split() == before.split()
    assert rest.startswith("(removed, damaged, or after the end)")


def test_a_sum_by_conversation_knows_no_hours(talked: Desk) -> None:
    ran = talked.organism("usage", "--by", "conversation", "--since", "1h")
    assert (ran.code, ran.err) == (2, "organism usage --since 1h: cannot go with --by conversation\n")


def test_show_says_what_is_left_of_the_limits_of_a_conversation(talked: Desk) -> None:
    spent = json.loads(talked.organism("usage", "--by", "conversation", "--json").out.splitlines()[0])["usage"]
    head, _, tokens, messages, seconds = talked.organism("show", "a").out.splitlines()[-5:]
    assert head.split("  ")[0] == "of the conversation"
    kept = 300
    figures = ("3,000", f"{spent['tokens']:,}", "0", str(kept), f"{3000 - kept - spent['tokens']:,}")
    assert tokens.split() == ["tokens", *figures]
    assert messages.split() == ["messages", "9", "2", "0", "0", "7"]
    assert seconds.split()[:3] == ["seconds", "600.0", "s"]
    turn = talked.organism("threads", "--json").objects[0]["thread"]
    assert "of the conversation" not in talked.organism("show", turn).out


def test_more_for_a_conversation_shows_in_what_is_left(talked: Desk) -> None:
    before = talked.organism("show", "a").out.splitlines()[-2].split()
    assert talked.organism("add-budget", "a", "messages=5").code == 0
    after = talked.organism("show", "a").out.splitlines()[-2].split()
    assert (before[1:3], before[-1], after[1:3], after[-1]) == (["9", "2"], "7", ["14", "2"], "12")


def test_what_has_no_name_is_not_added_to_what_is_called_by_a_dash(desk: Desk) -> None:
    desk.write("organism.yaml", FILE)
    assert desk.organism("chat", "--to", "writer", "--conversation=-", "--quiet", stdin="one\n").code == 0
    for label in ("arm=-", "arm=b", "other=c"):
        assert desk.organism("run", "--to", "writer", "--send", "two", "--label", label, "--quiet").code == 0
    for by, calls in (("conversation", {"-": 1, None: 3}), ("label:arm", {"-": 1, "b": 1, None: 2})):
        rows = desk.organism("usage", "--by", by, "--json").objects
        assert {row[by]: row["usage"]["model_calls"] for row in rows} == calls
        names = [line.split(",")[0] for line in desk.organism("usage", "--by", by, "--csv").out.splitlines()[1:]]
        assert sorted(names) == sorted(each or "" for each in calls)
