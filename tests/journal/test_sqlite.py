"""The journal in a SQLite file: what is in its way, who else is there, and damage that is found with its place."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from organism import payload
from organism.budget.claims import MESSAGES
from organism.errors import JournalError
from organism.journal import Lock, SqliteJournal, open_journal
from organism.journal.codec import content
from organism.journal.sqlite_file import SCHEMA, long, short
from organism.journal.texts import root_mark
from organism.record.facts import Accepted, Answered, Dropped, Posted, Snapshot, ThreadOpened
from organism.record.images import Image
from organism.settings import BudgetSettings
from organism.testing import FailAfter
from tests.journal.fact_values import ended
from tests.journal.test_cut_tails import opened
from tests.journal.test_standing import held as a_hold
from tests.journal.test_standing import settled as a_settlement

if TYPE_CHECKING:
    from organism.record.facts import Fact


@payload
class Paid:
    text: str


PAID = Paid("for")


def fact(number: int, root: str = "r") -> Fact:
    return Dropped(at=float(number), thread=root, seq=number)


def written(path: Path, count: int = 3) -> list[Fact]:
    """A file with so many facts of a chain, beside those of another."""
    facts = [fact(number) for number in range(count)]
    journal = SqliteJournal(path, durable=False)
    for each in facts:
        assert not journal.write([("r", each), ("other", fact(1, "other"))])
    journal.close()
    return facts


class _Failing(SqliteJournal):
    """Fails the Nth statement of a write."""

    fail: FailAfter

    def _insert(self, work: Any) -> None:
        if not isinstance(self._db, _Watched):
            self._db = _Watched(self._db, self.fail)  # type: ignore[assignment]
        super()._insert(work)


class _Watched:
    def __init__(self, db: sqlite3.Connection, fail: FailAfter) -> None:
        self.db = db
        self.fail = fail

    def execute(self, sql: str, *values: Any) -> Any:
        if sql == "COMMIT" or sql.startswith("INSERT INTO entries"):
            self.fail()
        return self.db.execute(sql, *values)

    def executemany(self, sql: str, rows: Any) -> Any:
        rows = list(rows)
        try:
            self.fail()
        except sqlite3.Error:
            self.db.executemany(sql, rows[: len(rows) // 2])
            raise
        return self.db.executemany(sql, rows)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.db, name)


def test_every_statement_of_a_write_fails_once(tmp_path: Path) -> None:
    for calls in range(200):
        path = tmp_path / f"{calls}.db"
        journal = _Failing(path, durable=False)
        journal.fail = FailAfter(calls, sqlite3.OperationalError("disk I/O error"))
        there: list[Fact] = []
        refused: list[str] = []
        while len(there) < 3:
            following = opened("r") if not there else fact(len(there))
            failed = journal.write([("r", following)])
            refused += map(str, failed.values())
            there += [following] if not failed else []
            assert list(journal.read("r")) == there
            assert journal.verify("r") is None
        written = journal.fail.made
        journal.close()
        again = SqliteJournal(path, durable=False)
        assert list(again.read("r")) == there
        assert [(chain.entries, chain.last) for chain in again.chains()] == [(3, there[-1].at)]
        again.close()
        assert refused == ([f"{path} cannot be used: disk I/O error"] if written > calls else [])
        if journal.fail.made <= calls:
            return
    pytest.fail("it never came to an end")


def test_only_the_chains_fail_that_cannot_be_written(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "x.db", durable=False)
    bad = Answered(at=1.0, thread="b", seq=1, handler="h", state={"k": (object(),)})
    huge = fact(1, "huge")
    late = Dropped(at=float("nan"), thread="late", seq=1)
    failed = journal.write([("a", fact(1)), ("b", fact(1)), ("b", bad), ("late", late), ("huge", huge), ("c", fact(1))])
    assert set(failed) == {"b", "late"}
    assert "thread 'b': Answered cannot be written" in str(failed["b"])
    assert [chain.root for chain in journal.chains()] == ["a", "huge", "c"]
    assert not journal.write([("b", fact(1))])
    journal.close()


def test_a_full_disk_is_said_and_harms_nothing_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    facts = written(path)
    journal = SqliteJournal(path, durable=False)
    journal._db.execute("PRAGMA max_page_count = 1").fetchall()
    big = Answered(at=1.0, thread="r", seq=1, handler="h", state={"k": ("x" * 100_000,)})
    failed = journal.write([("r", big), ("new", fact(1, "new"))])
    assert str(failed["r"]) == f"{path} cannot be written: there is no space left"
    assert list(journal.read("r")) == facts
    journal._db.execute("PRAGMA max_page_count = 100000").fetchall()
    assert not journal.write([("r", big)])
    assert list(journal.read("r")) == [*facts, big]
    journal.close()


def test_another_process_that_writes_is_waited_for_and_then_said(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    facts = written(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    journal = SqliteJournal(path, durable=False, patience=0.001)
    failed = journal.write([("r", fact(7)), ("new", fact(1, "new"))])
    assert {str(error) for error in failed.values()} == {f"{path} is locked by another process that writes it"}
    other.execute("ROLLBACK")
    other.close()
    assert not journal.write([("r", fact(7))])
    assert list(journal.read("r")) == [*facts, fact(7)]
    journal.close()


def test_chains_of_two_writers_never_interleave(tmp_path: Path) -> None:
    one, other = (SqliteJournal(tmp_path / "x.db", durable=False) for _ in range(2))
    assert not one.write([("r", fact(1))])
    assert not other.write([("r", fact(2))])
    failed = one.write([("r", fact(3)), ("mine", fact(1, "mine"))])
    assert str(failed["r"]) == f"{tmp_path / 'x.db'} was written by another process meanwhile"
    assert list(failed) == ["r"]
    assert not one.write([("r", fact(3))])
    assert list(other.read("r")) == [fact(1), fact(2), fact(3)]
    assert other.verify("r") is None
    one.close()
    other.close()


def charged(number: int, root: str, payload: Any = PAID) -> Fact:
    """A delivery that sends one message on."""
    posted = Posted(
        thread=root,
        seq=number + 1,
        to="pong",
        payload=payload,
        sender="ping",
        kind="send",
        frame=(root, 1),
        opens=False,
    )
    return Answered(at=float(number), thread=root, seq=number, handler="ping", steps=(posted,))


def messages_of(journal: SqliteJournal) -> int:
    return sum(each.amounts[MESSAGES] for each in journal.spendings())


def test_what_a_chain_would_have_spent_that_cannot_be_written_is_not_in_the_sums(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "x.db", durable=False)
    batch = [
        ("r", charged(1, "r")),
        ("bad", charged(1, "bad")),
        ("bad", charged(2, "bad", object())),
        ("s", charged(1, "s")),
    ]
    assert list(journal.write([*batch, ("bad", charged(3, "bad")), ("r", charged(2, "r"))])) == ["bad"]
    assert messages_of(journal) == 3
    assert [each.root for each in journal.chains()] == ["r", "s"]
    assert not journal.write([("bad", charged(1, "bad"))])
    assert messages_of(journal) == 4
    journal.close()


def test_where_chains_are_written_each_alone_the_sums_are_of_those_that_were(tmp_path: Path) -> None:
    one, other = (SqliteJournal(tmp_path / "x.db", durable=False) for _ in range(2))
    labelled = ThreadOpened(
        thread="mine", kind="root", handler="h", budget=BudgetSettings(), owner=None, labels={"team": "a"}
    )
    opening = Accepted(at=1.0, thread="mine", steps=(labelled,))
    assert not one.write([("r", charged(1, "r")), ("mine", opening), ("mine", charged(1, "mine"))])
    assert not other.write([("r", charged(2, "r"))])
    assert list(one.write([("r", charged(2, "r")), ("mine", charged(2, "mine")), ("new", charged(1, "new"))])) == ["r"]
    assert messages_of(one) == 5
    assert sorted(each.labels.get("team", "") for each in one.spendings()) == ["", "a"]
    assert one.verify("mine") is None
    one.close()
    other.close()


READS = """
import sys
from pathlib import Path
from organism.journal import SqliteJournal
print(len(SqliteJournal(Path(sys.argv[1]), readonly=True).read("r")))
"""


def test_readers_see_whole_writes_while_the_owner_writes(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with pytest.raises(JournalError, match=r"x.db does not exist"):
        SqliteJournal(path, readonly=True)
    owner = SqliteJournal(path)
    reader = SqliteJournal(path, readonly=True)
    for number in range(3):
        assert not owner.write([("r", fact(number))])
        assert len(reader.read("r")) == number + 1
        there = next(iter(reader.documents("r")))
        if number == 1:
            command = [sys.executable, "-c", READS, str(path)]
            said = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own program
            assert said.stdout == "2\n"
        assert there["n"] == 1
    refused = reader.write([("r", fact(9))])
    assert str(refused["r"]) == f"{path} is open for reading only"
    with pytest.raises(JournalError, match="open for reading only"):
        reader.put("x", [])
    reader.close()
    owner.close()


def test_a_file_that_a_run_has_only_begun_to_make_is_not_said_to_be_anothers(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.touch()
    begun = sqlite3.connect(path, isolation_level=None)
    # First nothing at all, then a database without a table.
    for step in ("PRAGMA journal_mode = WAL", "BEGIN IMMEDIATE", "ROLLBACK"):
        with pytest.raises(JournalError, match=r"x.db is empty: the run that creates it has only begun"):
            SqliteJournal(path, readonly=True)
        begun.execute(step)
    SqliteJournal(path).close()
    begun.close()
    SqliteJournal(path, readonly=True).close()


def test_a_new_file_that_was_copied_without_its_log_is_not_taken_for_one_that_is_empty(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    whole, alone = tmp_path / "x.db", tmp_path / "copy" / "x.db"
    journal = SqliteJournal(whole)
    assert not journal.write([("r", fact(1))])
    alone.write_bytes(whole.read_bytes())
    said = "x.db holds nothing, and x.db-wal, which holds what is written first, is not beside it; copy both, or delete x.db"
    empty = "has only begun, or was ended at that point, or it was copied without x.db-wal, which holds what is written first"
    for _ in range(2):
        for readonly, what in ((False, said), (True, empty)):
            with pytest.raises(JournalError, match=what):
                SqliteJournal(alone, readonly=readonly)
    (tmp_path / "copy" / "x.db-wal").write_bytes((tmp_path / "x.db-wal").read_bytes())
    with closing(SqliteJournal(alone)) as copy:
        assert copy.read("r") == journal.read("r")
    journal.close()
    alone.unlink()
    with closing(SqliteJournal(alone)) as fresh:
        assert not fresh.write([("r", fact(1))])


def test_files_that_are_none_of_ours_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with pytest.raises(JournalError, match="is a folder; a sqlite journal is a file"):
        SqliteJournal(tmp_path)
    path.write_bytes(b"my own notes\n" * 100)
    for readonly in (False, True):
        with pytest.raises(JournalError, match=r"x.db is not a SQLite database"):
            SqliteJournal(path, readonly=readonly)
    assert path.read_bytes() == b"my own notes\n" * 100
    path.unlink()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE mine (a)")
    other.close()
    for readonly in (False, True):
        with pytest.raises(JournalError, match="is not a journal of an organism; it is a SQLite database of another"):
            SqliteJournal(path, readonly=readonly)
    with pytest.raises(JournalError, match="Not a directory"):
        SqliteJournal(path / "below" / "y.db")


@pytest.mark.parametrize(("version", "said"), [(SCHEMA + 1, "a newer version of organism"), (0, "an older version")])
def test_other_versions_of_the_tables_are_refused_by_name(tmp_path: Path, version: int, said: str) -> None:
    path = tmp_path / "x.db"
    written(path)
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {version}")
    db.close()
    with pytest.raises(JournalError, match=said):
        SqliteJournal(path)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("UPDATE entries SET body = replace(body, '1.0', '2.0') WHERE chain = 1 AND n = 2", "entry 2: was changed"),
        ("UPDATE entries SET hash = zeroblob(32) WHERE chain = 1 AND n = 1", "entry 1: was changed"),
        ("DELETE FROM entries WHERE chain = 1 AND n = 2", "entry 2: is missing; the chain has 3"),
        ("DELETE FROM entries WHERE chain = 1 AND n = 3", "entry 3: is missing; the chain has 3"),
        ("UPDATE entries SET n = -n WHERE chain = 1", "entry 1: is missing"),
        ("UPDATE chains SET entries = 2 WHERE id = 1", "entry 2: was changed"),
        ("UPDATE entries SET body = (SELECT body FROM entries WHERE chain = 2 AND n = 2) WHERE chain = 1 AND n = 3", "entry 3"),
    ],
)  # fmt: skip
def test_what_was_changed_is_reported_with_its_place(tmp_path: Path, sql: str, said: str) -> None:
    path = tmp_path / "x.db"
    written(path)
    db = sqlite3.connect(path)
    db.execute(sql)
    db.commit()
    db.close()
    journal = SqliteJournal(path, durable=False)
    found = journal.verify("r")
    assert found is not None
    assert found.startswith(f"{path}: thread 'r', {said}")
    with pytest.raises(JournalError) as caught:
        journal.read("r")
    assert str(caught.value) == found
    failed = journal.write([("r", fact(7)), ("other", fact(7, "other"))])
    assert {root: str(error) for root, error in failed.items()} == {"r": found}, "nothing is written behind damage"
    assert journal.verify("other") is None
    journal.close()


def test_a_damaged_page_is_told_without_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    written(path, 200)
    whole = path.read_bytes()
    for page in range(1, len(whole) // 4096):
        path.write_bytes(whole[: page * 4096] + b"\xff" * 4096 + whole[(page + 1) * 4096 :])
        try:
            journal = SqliteJournal(path, durable=False)
        except JournalError as error:
            assert str(path) in str(error)  # noqa: PT017 - either is right: it depends on what the page held
            continue
        for root in ("r", "other"):
            assert str(path) in (journal.verify(root) or str(path))
            for refused in journal.write([(root, fact(999, root))]).values():
                assert str(path) in str(refused)
        journal.close()


def test_a_chain_is_recalled_without_what_is_before_its_last_snapshot(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    facts = written(path)
    journal = SqliteJournal(path, durable=False)
    snapshot = Snapshot(at=3.0, thread="r", image=Image(threads=(), frames=(), messages=(), holds=()))
    assert not journal.write([("r", snapshot), ("r", opened("r")), ("r", fact(5))])
    journal.close()
    db = sqlite3.connect(path)
    db.execute("UPDATE entries SET body = 'damaged' WHERE n = 1")
    db.commit()
    db.close()
    journal = SqliteJournal(path, durable=False)
    assert journal.recall("r") == (snapshot, opened("r"), fact(5))
    assert not journal.write([("r", fact(6))])
    assert (facts, journal.size_since_snapshot("r")[0]) == ([fact(0), fact(1), fact(2)], 3)
    assert "entry 1: was changed" in str(journal.verify("r"))
    journal.close()


def test_what_is_over_takes_no_memory_and_gives_its_room_back(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    journal = SqliteJournal(path, durable=False)
    roots = [f"r{number}" for number in range(50)]
    big = Answered(at=1.0, thread="r", seq=1, handler="h", state={"k": ("x" * 10_000,)})
    assert not journal.write([(root, each) for root in roots for each in (opened(root), big, ended(root))])
    assert journal._ends == {}
    with pytest.raises(JournalError, match="thread 'nobody' is not there"):
        journal.remove("nobody")
    for root in roots:
        journal.remove(root)
    journal.close()
    assert path.stat().st_size < 100_000


def test_a_chain_that_is_removed_while_it_is_read_is_not_said_to_be_damaged(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    journal = SqliteJournal(path, durable=False)
    assert not journal.write([("r", each) for each in (opened("r"), *map(fact, range(1000)), ended("r"))])
    reader = SqliteJournal(path, readonly=True)
    found = reader.documents("r")
    assert next(found)["n"] == 1
    journal.remove("r")
    with pytest.raises(JournalError, match=r"x\.db: thread 'r' was removed while it was read"):
        list(found)
    assert list(reader.documents("r")) == []
    reader.close()
    journal.close()


def test_parts_that_are_common_are_short_in_the_file() -> None:
    for root in ("", "r", 'a"b\\', "é\ud800", "\0", "4164d8399f767c45"):
        for each in (opened(root), fact(1, root)):
            raw = content(each, root)
            body = short(raw, root_mark(root))
            assert len(body) <= len(raw)
            assert long(body, root_mark(root)) == raw


def test_many_chains_wait_once_for_another_process(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    written(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    journal = SqliteJournal(path, durable=False, patience=0.001)
    tries: list[str] = []
    journal._db.set_trace_callback(lambda sql: tries.append(sql) if sql == "BEGIN IMMEDIATE" else None)
    assert len(journal.write([(f"r{number}", fact(1)) for number in range(50)])) == 50
    assert len(tries) == 1
    journal.close()
    other.close()


@pytest.mark.parametrize("instead", [None, "a copy"])
def test_a_file_that_was_removed_or_replaced_while_it_was_open_is_not_written(
    tmp_path: Path, instead: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.db"
    written(path)
    whole = path.read_bytes()
    monkeypatch.chdir(tmp_path)
    journal = SqliteJournal(Path("x.db"), durable=False)
    monkeypatch.chdir("/")
    assert not journal.write([("r", fact(7))])
    path.rename(tmp_path / "y.db")
    if instead:
        path.write_bytes(whole)
    refused = journal.write([("r", fact(8)), ("new", fact(1, "new"))])
    assert sorted(refused) == ["new", "r"]
    assert f"{path} was removed or replaced while it was open; nothing more is written" in str(refused["r"])
    journal.close()
    assert path.exists() is bool(instead)


def test_a_journal_is_not_written_once_its_lock_may_be_anothers(tmp_path: Path) -> None:
    for url in ("sqlite:x.db", "jsonl:log"):
        place = tmp_path / url.partition(":")[2]
        lock = Lock(place, {"pid": "1"})
        lock.take()
        journal = open_journal(url, folder=tmp_path, durable=False, lock=lock)
        assert not journal.write([("r", fact(1)), ("over", fact(1, "over")), ("over", ended("over"))])
        documents = list(journal.documents("over"))
        lock.path.unlink()
        assert "its lock" in str(journal.write([("r", fact(2))])["r"])
        with pytest.raises(JournalError, match="its lock"):
            journal.remove("over")
        with pytest.raises(JournalError, match="its lock"):
            journal.put("over", documents)
        other = Lock(place, {"pid": "2"})
        other.take()
        assert "was removed or replaced" in str(journal.write([("r", fact(2))])["r"])
        assert journal.read("r") == (fact(1),)
        journal.close()
        lock.release()
        assert other.holds()
        other.release()


@pytest.mark.parametrize(
    "change",
    [
        "labels = x'7b'",
        "handler = x'ff'",
        "handler = 'h'",
        "tokens = 'many'",
        "hour = 1000000000000",
        "hour = -10000000000",
    ],
)
def test_a_damaged_row_of_what_was_spent_is_named(tmp_path: Path, change: str) -> None:
    path = tmp_path / "x.db"
    journal = SqliteJournal(path, durable=False)
    accepted = opened("r")
    assert not journal.write([("r", accepted), ("r", a_hold(1)), ("r", a_settlement(1, 3))])
    journal.close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(f"UPDATE ledger SET {change}")  # noqa: S608 - from the line above
    db.close()
    again = SqliteJournal(path, readonly=True)
    with pytest.raises(JournalError, match=r"x\.db: row 1 of the table ledger: was changed.*'organism export'"):
        again.spendings()
    assert len(again.read("r")) == 3
    again.close()


def test_a_name_of_a_chain_that_is_no_text_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    written(path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE chains SET root = x'ff' WHERE id = 1")
    db.close()
    again = SqliteJournal(path, readonly=True)
    with pytest.raises(JournalError, match="is damaged: the name of a chain cannot be read"):
        again.chains()
    again.close()


def test_what_a_write_hands_to_sqlite_is_not_sought_an_adapter_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To seek one for each value took nearly as long as SQLite itself. An adapter that is there would be called."""
    sought: list[bytes] = []
    adapters: dict[Any, Any] = sqlite3.adapters

    def adapter(value: bytes) -> bytes:
        sought.append(value)
        return value

    below = ThreadOpened(thread="r/1", kind="call", handler="h", budget=BudgetSettings(), owner=("r", 1), labels={})
    posted = Posted(thread="r", seq=1, to="h", payload=PAID, sender="", kind="ingress", frame=("r", 1), opens=True)
    began: list[tuple[str, Fact]] = [("r", opened("r")), ("s", opened("s"))]
    further: list[tuple[str, Fact]] = [
        ("r", Answered(at=2.0, thread="r", seq=1, handler="h", steps=(posted, below))),
        ("s", ended("s")),
    ]
    with closing(SqliteJournal(tmp_path / "journal.db", durable=False)) as journal:
        monkeypatch.setitem(adapters, (bytes, sqlite3.PrepareProtocol), adapter)
        assert not journal.write(began)
        assert not journal.write(further)
        assert not sought
        assert [len(journal.read(root)) for root in ("r", "s")] == [2, 2]
        assert sought
