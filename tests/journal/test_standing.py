"""How a chain stands: what is open of it, when it is over, and what it spent."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve

from organism.budget.claims import Charge
from organism.journal import forms, open_journal
from organism.journal.check import _blank, _thread_image
from organism.journal.standing import Ledger, Standing
from organism.record.facts import (
    Accepted,
    Answered,
    CallHeld,
    CallSettled,
    Closed,
    ConversationOpened,
    Dropped,
    Forked,
    Posted,
    Snapshot,
    ThreadOpened,
)
from organism.record.images import ConversationImage, HoldImage, Image, NodeImage
from organism.settings import BudgetSettings
from organism.usage import Spending
from tests.journal.fact_values import Inner, ended

if TYPE_CHECKING:
    from pathlib import Path

    from organism.record.facts import Fact

HOUR = 3600.0


def opened(thread: str, **labels: str) -> Any:
    return ThreadOpened(thread=thread, kind="root", handler="h", budget=BudgetSettings(), owner=None, labels=labels)


def posted(thread: str, *, charged: bool = True) -> Any:
    return Posted(thread=thread, seq=1, to="h", payload=Inner(Decimal(1)), sender="", kind="send", frame=(thread, 1),
                  opens=True, charged=charged)  # fmt: skip


def accepted(*steps: Any, at: float = 1.0) -> Fact:
    return Accepted(at=at, thread="r", steps=steps)


def held(hold: int, thread: str = "r") -> Fact:
    return CallHeld(at=1.0, thread=thread, hold=hold, seq=1, need=(1, 1, 0, 0, 1, 0), output=0, alias="m", backend="b",
                    attempt=1, grace=False, streamed=False)  # fmt: skip


def settled(hold: int, tokens: int, thread: str = "r", *, held_at: float = 1.0, **more: Any) -> Fact:
    return CallSettled(at=9 * HOUR, thread=thread, hold=hold, seq=1, handler="h", alias="m", backend="b", held_at=held_at,
                       charge=Charge(input_tokens=tokens, reasoning_tokens=2 * tokens, estimated=tokens > 5), **more)  # fmt: skip


def after(*facts: Fact, root: str = "r") -> Standing:
    standing = Standing(root)
    for fact in facts:
        standing.apply(fact)
    return standing


def spent(hour: int, tokens: int, messages: int = 0, **labels: str) -> Spending:
    model, backend = ("m", "b") if tokens else ("", "")
    return Spending(hour=hour, handler="h", model=model, backend=backend, labels=labels,
                    amounts=(tokens, tokens, 0, 0, 0, messages), details=(0, 0, 2 * tokens), estimated=tokens > 5)  # fmt: skip


def test_a_chain_is_over_when_its_threads_ended_and_its_holds_are_settled() -> None:
    story = [accepted(opened("r")), held(1), ended("r"), settled(1, 3)]
    assert [after(*story[:count]).over for count in range(5)] == [False, False, False, False, True]


def test_threads_below_keep_it_open() -> None:
    begun = [accepted(opened("r"), opened("r.2"))]
    assert not after(*begun, ended("r")).over
    assert after(*begun, ended("r"), ended("r.2")).over
    assert after(*begun, evolve(ended("r"), threads=(ended("r.2"),))).over
    assert list(after(*begun).threads) == ["r.2"]


def test_what_begins_without_a_thread_is_open_until_that_thread_ends() -> None:
    assert not after(Dropped(at=1.0, thread="r", seq=1)).over
    assert after(Dropped(at=1.0, thread="r", seq=1), ended("r")).over
    assert not after(Closed(at=1.0, thread="r")).over


def test_a_conversation_is_over_between_its_turns() -> None:
    root = "conversation:c"
    story = [
        Accepted(at=1.0, thread=root, steps=(opened(root), opened("one"))),
        held(1, "one"),
        ended("one"),
        settled(1, 2),
    ]
    story += [accepted(opened("two")), ended("two"), ended(root)]
    over = [after(*story[:count], root=root).over for count in range(len(story) + 1)]
    assert over == [False, False, False, False, True, False, True, True]
    assert not after(*story[:1], root="r").over


def test_what_was_spent_is_told_by_the_hour_of_its_hold_and_by_its_labels() -> None:
    standing = after(
        accepted(
            opened("r", team="a"), opened("r.2", team="b"), posted("r"), posted("r.2"), posted("r", charged=False)
        ),
        held(1),
        held(2, "r.2"),
        ended("r.2"),
        settled(1, 3, held_at=2 * HOUR - 1),
        settled(2, 7, "r.2", held_at=2 * HOUR),
        accepted(posted("r"), at=3 * HOUR),
        held(3),
        settled(3, 0),
    )
    assert standing.spent.rows() == (
        spent(0, 0, 1, team="a"), spent(0, 0, 1, team="b"), spent(1, 3, team="a"), spent(2, 7, team="b"),
        spent(3, 0, 1, team="a"),
    )  # fmt: skip
    assert Ledger.from_json(standing.spent.as_json()).rows() == standing.spent.rows()
    with pytest.raises(ValueError, match="has 1 sum, and not 10"):
        Ledger.from_json([[1, "h", "m", "b", "{}", 1]])


def test_a_snapshot_says_how_it_stood() -> None:
    image = Image(
        threads=(evolve(_thread_image("r"), labels={"team": "a"}), _thread_image("r.3")),
        frames=(),
        messages=(),
        holds=(evolve(_blank(forms.Object(HoldImage)), hold=7, thread="r"),),
    )
    standing = after(Snapshot(at=1.0, thread="r", image=image))
    assert (list(standing.open), list(standing.holds), standing.over) == (["r", "r.3"], [7], False)
    for fact in (ended("r.3"), ended("r"), settled(7, 3)):
        standing.apply(fact)
    assert standing.over
    assert standing.spent.rows() == (spent(0, 3, team="a"),)


def test_what_a_fork_copied_is_not_spent_again() -> None:
    copied = [accepted(opened("r"), posted("r")), held(1), settled(1, 3)]
    forked = Forked(at=9.0, thread="r", origin="origin", entries=3)
    own = [Answered(at=9.0, thread="r", seq=1, handler="h", steps=(posted("r"),)), held(2), settled(2, 4)]
    for story in ([*copied, forked, *own], [forked, *copied, *own]):
        assert after(*story).spent.rows() == (spent(0, 0, 1), spent(0, 4))


# Accounts and tags


def under(thread: str, *accounts: str, owner: str | None = None, conversation: str | None = None) -> Any:
    """A thread that was opened under accounts of its own, or under those of what it belongs to."""
    return evolve(
        opened(thread, team="a"),
        accounts=accounts,
        owner=None if owner is None else (owner, 1),
        conversation=conversation,
    )


def rows(standing: Standing) -> set[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """What was spent under: model, accounts, tags."""
    return {(row.model, row.accounts, row.tags) for row in standing.spent.rows()}


def test_what_is_below_a_thread_is_under_its_accounts() -> None:
    standing = after(
        accepted(under("r", "tenant:x", "team:y"), under("r.2", owner="r"), posted("r.2")),
        held(1, "r.2"),
        settled(1, 3, "r.2", tags=("b", "a")),
    )
    both = ("tenant:x", "team:y")
    assert rows(standing) == {("", both, ()), ("m", both, ("a", "b"))}
    assert Ledger.from_json(standing.spent.as_json()).rows() == standing.spent.rows()
    assert {row.labels["team"] for row in standing.spent.rows()} == {"a"}


def test_a_turn_is_under_the_accounts_of_its_conversation_also_behind_a_snapshot() -> None:
    root = "conversation:c"
    begun = ConversationOpened(conversation="c", budget=BudgetSettings(), before=None, state={}, accounts=("tenant:x",))
    first = Accepted(at=1.0, thread=root, steps=(begun, under("one", conversation="c"), posted("one")))
    standing = after(first, ended("one"), accepted(under("two", conversation="c"), posted("two")), root=root)
    assert rows(standing) == {("", ("tenant:x",), ())}
    kept = ConversationImage(
        conversation="c", budget=BudgetSettings(), before=None, node=_blank(forms.form_of(NodeImage, "node")), state={}, calls=0, seconds=0.0,
        turns=("one",), accounts=("tenant:x",),
    )  # fmt: skip
    image = Image(threads=(_thread_image("one"),), frames=(), messages=(), holds=(), conversation=kept)
    behind = after(Snapshot(at=2.0, thread=root, image=image), held(1, "one"), settled(1, 2, "one"), root=root)
    assert rows(behind) == {("m", ("tenant:x",), ())}


def test_a_hold_that_outlives_its_thread_stays_under_its_accounts_behind_a_snapshot() -> None:
    below = HoldImage(
        hold=3, thread="r.2", under="r", seq=1, need=(1, 1, 0, 0, 1, 0), output=0, alias="m", backend="b", attempt=1,
        grace=False, streamed=False, held_at=1.0, tags=("t",),
    )  # fmt: skip
    root = evolve(_thread_image("r"), accounts=("tenant:x",), labels={"team": "a"})
    image = Image(threads=(root,), frames=(), messages=(), holds=(below,))
    (row,) = after(Snapshot(at=2.0, thread="r", image=image), settled(3, 2, "r.2", tags=("t",))).spent.rows()
    assert (row.accounts, row.tags, row.labels) == (("tenant:x",), ("t",), {"team": "a"})


def test_what_nobody_knew_the_price_of_is_marked_and_stays_so_in_sums() -> None:
    standing = after(accepted(opened("r")))
    for hold, unpriced in ((1, None), (2, True), (3, None)):
        standing.apply(held(hold))
        fact: Any = settled(hold, 9)
        standing.apply(evolve(fact, charge=evolve(fact.charge, unpriced=unpriced)))
    (row,) = standing.spent.rows()
    assert (row.unpriced, row.estimated, row.amounts[0]) == (True, True, 27)


@pytest.mark.parametrize("flawed", ["[]", "7", '[{}, [], "x"]', "[[], [], []]"])
def test_what_says_nothing_of_labels_accounts_and_tags_is_refused(flawed: str) -> None:
    with pytest.raises(TypeError, match="says nothing of labels, accounts and tags"):
        Ledger.from_json([[1, "h", "m", "b", flawed, *[0] * 10]]).rows()


@pytest.mark.parametrize("url", ["sqlite:x.db", "jsonl:x", "memory:"])
def test_journals_keep_accounts_and_tags_of_what_was_spent(tmp_path: Path, url: str) -> None:
    """Also of chains that were exported and imported, and of those that were removed."""
    story = [accepted(under("r", "tenant:x"), posted("r")), held(1), settled(1, 3, tags=("b", "a")), ended("r")]
    told = {("", ("tenant:x",), ()), ("m", ("tenant:x",), ("a", "b"))}
    journal = open_journal(url, folder=tmp_path)
    assert not journal.write([("r", fact) for fact in story])
    assert {(row.model, row.accounts, row.tags) for row in journal.spendings()} == told
    if journal.lasting:
        other = open_journal(url.replace("x", "y"), folder=tmp_path)
        other.put("r", list(journal.documents("r")))
        journal.remove("r")
        for each in (journal, other):
            assert {(row.model, row.accounts, row.tags) for row in each.spendings()} == told
            each.close()
        journal = open_journal(url, folder=tmp_path, readonly=True)
        assert {(row.model, row.accounts, row.tags) for row in journal.spendings()} == told
    journal.close()


def test_sums_of_before_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Files of before know labels alone: a row of theirs is under no account and no tag."""
    journal = open_journal("sqlite:x.db", folder=tmp_path)
    journal.close()
    with closing(sqlite3.connect(tmp_path / "x.db")) as db, db:
        row = (1, b"h", b"m", b"b", b'{"team":"a"}', 5, 5, 0, 0, 1, 0, 0, 0, 0, 1)
        db.execute(f"INSERT INTO ledger VALUES ({', '.join('?' * 15)})", row)  # noqa: S608 - question marks
    db.close()
    journal = open_journal("sqlite:x.db", folder=tmp_path, readonly=True)
    (read,) = journal.spendings()
    journal.close()
    assert (read.labels, read.accounts, read.tags, read.estimated, read.unpriced) == (
        {"team": "a"},
        (),
        (),
        True,
        False,
    )
    assert Ledger.from_json([[1, "h", "m", "b", '{"team":"a"}', 5, 5, 0, 0, 1, 0, 0, 0, 0, 1]]).rows() == (read,)
