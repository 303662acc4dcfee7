"""One process owns a journal; who it is can be read, and it is free when that one has died."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from organism.errors import JournalError, JournalHeldError
from organism.journal import Lock, owner_of, socket_path

ME = {"pid": "4711", "host": "mars", "organism": "demo", "since": "2026-11-21T06:00:00Z"}


def test_a_second_owner_is_refused_with_the_name_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.db"
    one, other = Lock(path, ME), Lock(path, {"pid": "2"})
    assert owner_of(path) is None
    one.take()
    one.take()
    assert owner_of(path) == ME
    with pytest.raises(JournalHeldError) as caught:
        other.take()
    assert str(caught.value) == (
        f"{path} is held by process 4711 on mars (organism demo, since 2026-11-21T06:00:00Z);"
        " one process owns a journal: stop that one, or use another journal"
    )
    assert owner_of(path) == ME
    one.release()
    one.release()
    assert owner_of(path) is None
    other.take()
    assert owner_of(path) == {"pid": "2"}
    other.release()


@pytest.mark.skipif(os.name == "nt", reason="there are no such locks")
def test_a_process_that_was_killed_owns_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from organism.journal import Lock;"
        "Lock(Path(sys.argv[1]), {'pid': 'x'}).take(); print('mine', flush=True); sys.stdin.read()"
    )
    path = tmp_path / "x.db"
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=-1, stdout=-1) as child:  # noqa: S603 - our own program
        assert child.stdout is not None
        assert child.stdout.readline() == b"mine\n"
        assert owner_of(path) == {"pid": "x"}
        with pytest.raises(JournalHeldError, match="is held by process x on "):
            Lock(path, ME).take()
        child.kill()
    assert owner_of(path) is None
    lock = Lock(path, ME)
    lock.take()
    lock.release()


def test_an_owner_that_has_not_said_who_it_is_is_another_process(tmp_path: Path) -> None:
    for text in ("", "[]", "{"):
        one = Lock(tmp_path / "x", {})
        one.take()
        (tmp_path / "x.lock").write_text(text)
        with pytest.raises(JournalHeldError, match="is held by another process; one process owns"):
            Lock(tmp_path / "x", ME).take()
        assert owner_of(tmp_path / "x") == {}
        one.release()


def test_a_place_where_no_lock_can_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot be written: "):
        Lock(tmp_path / "file" / "x", ME).take()
    with pytest.raises(JournalError, match="cannot be read: "):
        owner_of(tmp_path / "file" / "x")


def test_the_socket_stands_beside_the_journal_where_its_name_is_short_enough(tmp_path: Path) -> None:
    assert socket_path(Path("/a/x.db")) == Path("/a/x.db.sock")
    long = tmp_path / ("x" * 100) / "x.db"
    assert len(os.fsencode(socket_path(long))) <= 100
    assert socket_path(long) == socket_path(long.parent / ".." / ("x" * 100) / "x.db")
    assert socket_path(long) != socket_path(long.with_name("y.db"))


@pytest.mark.skipif(os.name == "nt", reason="there are no such locks")
def test_a_journal_has_one_owner_whatever_links_lead_to_it(tmp_path: Path) -> None:
    real, link = tmp_path / "x.db", tmp_path / "other" / "y.db"
    link.parent.mkdir()
    real.touch()
    link.symlink_to(real)
    one = Lock(link, ME)
    one.take()
    assert (owner_of(real), owner_of(link)) == (ME, ME)
    assert socket_path(link) == socket_path(real)
    with pytest.raises(JournalHeldError):
        Lock(real, ME).take()
    one.release()


def test_a_lock_whose_file_was_removed_or_replaced_does_not_hold(tmp_path: Path) -> None:
    one, other = Lock(tmp_path / "x", ME), Lock(tmp_path / "x", ME)
    assert not one.holds()
    one.take()
    assert one.holds()
    one.path.unlink()
    assert not one.holds()
    other.take()
    assert (one.holds(), other.holds()) == (False, True)
    one.release()
    assert other.holds()
    other.release()
    assert not other.holds()


def test_a_lock_that_is_given_up_leaves_no_file_that_it_made(tmp_path: Path) -> None:
    for there in (False, True):
        lock = Lock(tmp_path / "x", ME)
        if there:
            lock.path.touch()
        lock.take()
        lock.give_up()
        assert lock.path.exists() is there
        assert not lock.holds()
    # Nor one that another process has taken meanwhile.
    lock.path.unlink()
    lock.take()
    lock.path.unlink()
    other = Lock(tmp_path / "x", ME)
    other.take()
    lock.give_up()
    assert other.holds()
    other.release()


def test_a_lock_is_given_back_on_a_disk_that_takes_no_writes_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.db"
    lock, next_ = Lock(path, ME), Lock(path, {"pid": "2"})
    lock.take()

    def refuse(handle: int, size: int) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", refuse)
        lock.release()
    assert owner_of(path) is None
    next_.take()
    assert owner_of(path) == {"pid": "2"}
    next_.release()


def test_a_lock_that_was_removed_as_it_was_taken_is_taken_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")
    lock, flock = Lock(tmp_path / "x", ME), fcntl.flock
    gone: list[str] = []

    def as_another_gives_up(handle: int, how: int) -> None:
        if not gone:
            gone.append(lock.path.name)
            lock.path.unlink()
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", as_another_gives_up)
    lock.take()
    assert (gone, lock.holds(), owner_of(tmp_path / "x")) == (["x.lock"], True, ME)
    lock.release()


def test_a_file_system_without_locks_is_said_and_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(handle: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    for there in (False, True):
        lock = Lock(tmp_path / "x", ME)
        if there:
            lock.path.touch()
        with pytest.raises(JournalError, match=r"x\.lock cannot be locked: No locks available"):
            lock.take()
        assert lock.path.exists() is there
    with pytest.raises(JournalError, match=r"x\.lock cannot be locked: No locks available"):
        owner_of(tmp_path / "x")


def test_a_lock_is_given_back_while_a_process_that_is_being_started_has_a_copy_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")
    lock, flock = Lock(tmp_path / "x", ME), fcntl.flock
    copies: list[int] = []

    def copied(handle: int, how: int) -> None:
        flock(handle, how)
        copies.append(os.dup(handle))

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", copied)
        lock.take()
    lock.release()
    assert owner_of(tmp_path / "x") is None
    for copy in copies:
        os.close(copy)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes have no copies")
def test_a_forked_child_has_no_part_in_the_lock(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from organism.journal import Lock\n"
        "lock = Lock(Path(sys.argv[1]), {'pid': 'x'}); lock.take()\n"
        "if not os.fork():\n"
        "    print(lock.holds(), flush=True); sys.stdin.read(); os._exit(0)\n"
        "sys.stdin.read()"
    )
    path = tmp_path / "x.db"
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=-1, stdout=-1) as child:  # noqa: S603 - our own program
        assert child.stdout is not None
        assert child.stdout.readline() == b"False\n"
        assert owner_of(path) == {"pid": "x"}
        child.kill()
        child.wait()
        # Its child still lives, and waits for what is never said.
        assert owner_of(path) is None
        lock = Lock(path, ME)
        lock.take()
        lock.release()
