"""Journals that somebody else wrote, with the hashes that they need: what is in them is read, or refused with its place."""

from __future__ import annotations

import json
import re
import sqlite3
import tracemalloc
from contextlib import closing
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import pytest
from attrs import has

from organism.errors import JournalError
from organism.journal import codec, forms, open_journal
from organism.journal.chain import Head, canonical, seal, sealed_hash
from organism.journal.codec import content, decode
from organism.journal.filenames import file_name
from organism.journal.sqlite import SqliteJournal
from organism.journal.sqlite_file import long
from organism.journal.texts import root_mark
from organism.journal.values import Misread, opened
from organism.record import facts, images
from organism.record.facts import Accepted, Fact, QuotaRaised

if TYPE_CHECKING:
    from pathlib import Path

ROOT: Final = "r"
FACT: Final[dict[str, Any]] = json.loads(content(Accepted(at=1.0, thread=ROOT), ROOT))


def forged(folder: Path, *bodies: bytes) -> Path:
    """A SQLite journal with these entries, each as the file holds it."""
    path = folder / "organism.db"
    SqliteJournal(path).close()
    with closing(sqlite3.connect(path)) as db:
        head = Head()
        for number, body in enumerate(bodies, 1):
            sealed = sealed_hash(long(body, root_mark(ROOT)), number, head.hash)
            head = Head(number, sealed.hex())
            db.execute("INSERT INTO entries VALUES (NULL, 1, ?, ?, ?)", [number, sealed, body])
        row = [ROOT.encode(), len(bodies), bytes.fromhex(head.hash or "")]
        db.execute("INSERT INTO chains VALUES (1, ?, 0, ?, 9, 1.0, 1.0, ?, 0, 0, 0, NULL)", row)
        db.commit()
    return path


def error_of(folder: Path) -> str:
    """What reading the chain says; as documents and as facts."""
    journal = open_journal("sqlite:organism.db", folder=folder, readonly=True)
    with closing(journal):
        with pytest.raises(JournalError) as caught:
            journal.read(ROOT)
        with pytest.raises(JournalError):
            list(journal.documents(ROOT))
    return str(caught.value)


IS_TIME: Final = re.compile("(?!warn_)(.*_)?at|(.*_)?since|began|times").fullmatch
MARKS: Final = tuple(bytes([mark]) for mark in range(14, 32))
BOMBS: Final = [
    b'{"a":">\x0e' + b"x" * 1_000_000 + b'<","b":"' + b"\x0e" * 1_000_000 + b'"}',
    b"".join(b">" + one + other * 10 + b"<" for one, other in pairwise(MARKS)),
    b">" + b"x" * 1_000_000 + b"</" + b"\x0e" * 1_000_000,
    b">\x0eab<" * 100_000,
]


@pytest.mark.parametrize("body", BOMBS, ids=["one long text", "texts of texts", "of version 1", "one mark for many"])
def test_a_few_bytes_do_not_stand_for_all_the_memory(tmp_path: Path, body: bytes) -> None:
    tracemalloc.start()
    try:
        forged(tmp_path, body)
        assert ", entry 1: was changed" in error_of(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


def test_many_marks_of_a_long_name_are_not_either(tmp_path: Path) -> None:
    body = b'{"a":' + b"\x01" * 1_000_000
    assert long(body, b'"' + b"r" * 1_000) == body
    assert long(b"\x01" * 10, b"rr") == b"rr" * 10


@pytest.mark.parametrize(
    "body", [b"{", b"[1]", b'"text"', b"", b"[" * 100_000, b'{"a":' + b"9" * 5_000 + b"}", b"\xff"]
)
def test_an_entry_that_is_no_json_object_is_told_with_its_place(tmp_path: Path, body: bytes) -> None:
    forged(tmp_path, canonical(FACT), body)
    assert error_of(tmp_path).startswith(f"{tmp_path}/organism.db: thread 'r', entry 2: was changed: it is not JSON (")


@pytest.mark.parametrize(
    "change",
    [
        "entries = 'many'", "began = 9e999", "last = -1e300", "began = 'today'", "size = X'00'", "head = 'abc'", "snapshot = 'x'",
        "id = 1, snapshot_end = 1.5", "open = 'yes'",
    ],
)  # fmt: skip
def test_a_row_of_a_chain_that_says_something_else_is_told(tmp_path: Path, change: str) -> None:
    path = forged(tmp_path, canonical(FACT))
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"UPDATE chains SET {change}")  # noqa: S608 - from the list above
        db.commit()
    with closing(open_journal("sqlite:organism.db", folder=tmp_path, readonly=True)) as journal:
        for ask in (journal.chains, lambda: journal.read(ROOT), lambda: journal.size_since_snapshot(ROOT)):
            with pytest.raises(JournalError, match="row 1 of the table chains: was changed: "):
                ask()


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ({"$float": "inf"}, "Accepted: at: is not an instant, in seconds since 1970: {'$float': 'inf'}"),
        ({"$float": "nan"}, "Accepted: at: is not an instant"),
        (1e300, "Accepted: at: is not an instant"),
        (-1e12, "Accepted: at: is not an instant"),
        (10**300, "Accepted: at: is not an instant"),
        ({"$tuple": [1]}, "Accepted: at: is not a number: {'$tuple': [1]}"),
        ({"$decimal": "1"}, "Accepted: at: is not a number"),
        ({"a": 1}, "Accepted: at: is not a number"),
        (True, "Accepted: at: is not a number"),
    ],
)
def test_an_instant_that_no_calendar_has_is_refused_before_anybody_counts_hours(at: Any, said: str) -> None:
    with pytest.raises(JournalError) as caught:
        decode({**FACT, "at": at})
    assert str(caught.value).startswith(said)


def test_every_instant_of_an_entry_is_one_that_a_calendar_has() -> None:
    classes = [each for room in (facts, images) for each in vars(room).values() if isinstance(each, type) and has(each)]
    instants = {slot.name: slot for each in classes for slot in forms.slots(each) if IS_TIME(slot.name)}
    assert instants.keys() >= {"at", "again_at", "asked_at", "paused_at", "stands_since", "times"}
    for name, slot in instants.items():
        with pytest.raises(Misread, match="is not an instant"):
            slot.form.read([1e300] if name == "times" else 1e300, None)


def test_a_raised_limit_counts_in_a_window_that_a_calendar_has() -> None:
    raised = {
        "format": 2,
        "fact": "QuotaRaised",
        "root": "ceiling:",
        "thread": "ceiling:",
        "at": 1.5,
        "amounts": [1] * 6,
    }
    assert decode({**raised, "counts_at": 7200.0}) == QuotaRaised(
        at=1.5, thread="ceiling:", amounts=(1,) * 6, counts_at=7200.0
    )
    with pytest.raises(JournalError, match="QuotaRaised: counts_at: is not an instant"):
        decode({**raised, "counts_at": {"$float": "nan"}})


@pytest.mark.parametrize(
    "text", ["1e999999999", "1e-999999999", "Infinity", "NaN", "sNaN", "1e99999999999999999999", "x", ""]
)
def test_an_amount_that_nobody_can_count_with_is_refused(text: str) -> None:
    form = forms.form_of(Decimal, "amount")
    with pytest.raises(Misread, match="is not a number"):
        form.read(text, None)
    with pytest.raises(Misread, match="is not a number"):
        forms.BY_NAME["used"].read(text, None)


@pytest.mark.parametrize(
    "failure",
    [{}, {"code": [], "text": "x"}, {"code": "crashed", "text": 5}, {"code": "crashed", "text": "x", "retry": "no"},
     {"code": "crashed", "text": "x", "unit": []}, {"code": "exhausted", "text": "x", "account": 1}, {"code": "strange", "text": "x"}, {"code": "crashed", "text": "x", "more": 1}],
)  # fmt: skip
def test_a_kept_failure_is_one_or_is_refused(failure: Any) -> None:
    with pytest.raises(Misread, match=r"^'\$failure' does not say what it should: "):
        opened({"$failure": failure}, None)


def test_a_line_with_a_forged_hash_is_read_no_other_way(tmp_path: Path) -> None:
    lines, head = b"", Head()
    for fact in (FACT, {**FACT, "at": {"$float": "inf"}}):
        line, head = seal(canonical(fact), head)
        lines += line + b"\n"
    (tmp_path / file_name(ROOT)).write_bytes(lines)
    with closing(open_journal("jsonl:.", folder=tmp_path, readonly=True)) as journal:
        assert journal.verify(ROOT) is None  # every hash is that of its line
        with pytest.raises(JournalError, match=r"2: Accepted: at: is not an instant"):
            journal.read(ROOT)
        (chain,) = journal.chains()
        assert (chain.entries, chain.open) == (1, True)


@pytest.mark.parametrize("url", ["sqlite:organism.db", "jsonl:journal"])
def test_what_is_longer_than_an_entry_may_be_is_not_written(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, "LONGEST", 200)
    small: Fact = Accepted(at=1.0, thread=ROOT)
    large: Fact = Accepted(at=1.0, thread="s" * 200)
    with closing(open_journal(url, folder=tmp_path)) as journal:
        failed = journal.write([(ROOT, small), ("s" * 200, large)])
        assert list(failed) == ["s" * 200]
        assert "Accepted comes to " in str(failed["s" * 200])
        assert str(failed["s" * 200]).endswith("bytes; an entry has 200 at most")
        assert journal.read(ROOT) == (small,)
