"""Whose a journal is: one process owns it, says who it is in a file beside it, and no longer than it lives."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import stat
import sys
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Final, cast
from weakref import WeakSet

from organism.errors import JournalError, JournalHeldError, reason_of
from organism.journal.room import make_room

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST: Final = 100
"""Bytes of a path that every system takes for a socket."""
_SUFFIX: Final = ".lock"
_TRIES: Final = 5
_PAUSE: Final = 0.002
"""Seconds between two tries: a reader that asks whose it is holds the lock for an instant."""


class Lock:
    """The right to write the journal at ``path``: a lock of the system on ``PATH.lock``, which ends with the process.

    ``identity`` is what others are told of the owner, as :func:`identity` makes it.
    """

    def __init__(self, path: Path, identity: Mapping[str, str]) -> None:
        self._journal = path
        self._path = lock_path(path)
        self._name = str(self._path)
        self._identity = dict(identity)
        self._handle: int | None = None
        self._made = False
        """Whether there was no file before it was taken."""
        self.found = False
        """Whether somebody had taken it before: its file was there. Set when it is taken."""

    def take(self) -> None:
        """Takes the journal; raises JournalHeldError where another process has it, with its identity, and JournalError where the
        lock cannot be written.
        """
        if self._handle is not None:
            return
        for tried in range(_TRIES):
            handle = self._file()
            self.found = self.found or not (self._made or tried)
            try:
                if self._claimed(handle):
                    self._handle = handle
                    _taken.add(self)
                    return
            except OSError as error:
                self._remove_if_made()
                raise JournalError(f"{self._path} cannot be locked: {reason_of(error)}") from error
            finally:
                if self._handle is None:
                    os.close(handle)
            _wait()
        raise JournalHeldError(str(self._journal), spoken(_identity(self._path)))

    @property
    def path(self) -> Path:
        """The file of the lock."""
        return self._path

    def holds(self) -> bool:
        """Whether the journal is still ours: it is not where it was given back, in a child of this process, or where the lock's
        file was removed or replaced, since another process may have taken a new one.
        """
        return self._handle is not None and self._is_there(self._handle)

    def _is_there(self, handle: int) -> bool:
        """Whether the open file is the one that stands there by now."""
        try:
            there, ours = os.stat(self._name), os.fstat(handle)  # noqa: PTH116 - every write asks for it
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def _file(self) -> int:
        """The open file of the lock, made where there is none."""
        try:
            _check_links(self._journal)
            make_room(self._path.with_name(self._path.name.removesuffix(_SUFFIX)))
            try:
                handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
                self._made = True
            except FileExistsError:
                handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
                self._made = False
        except OSError as error:
            raise JournalError(f"{self._path} cannot be written: {reason_of(error)}") from error
        return handle

    def _claimed(self, handle: int) -> bool:
        """Locks the open file and writes down who we are; not where another process has it, or has removed it just now."""
        if not _locked(handle, shared=False) or not self._is_there(handle):
            return False
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(self._identity).encode(), 0)
        return True

    def give_up(self) -> None:
        """Gives it back where there was no journal to open after all: a file that was made for the lock goes, too."""
        if self.holds():
            self._remove_if_made()
        self.release()

    def _remove_if_made(self) -> None:
        if self._made:
            with suppress(OSError):
                self._path.unlink()

    def release(self) -> None:
        """Gives it back; once is enough. The file stays, empty, for the next process that takes the journal."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            _taken.discard(self)
            with suppress(OSError):  # it tells of an owner by then, but nobody reads it while none has the lock
                os.ftruncate(handle, 0)
            _unlocked(handle)
            os.close(handle)

    def leave_to_parent(self) -> None:
        """In a child of the process that has it: nothing is unlocked, the parent goes on."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            os.close(handle)


_taken: Final[WeakSet[Lock]] = WeakSet()
"""The locks of this process: a child would share them, and keep them when the process has died."""


def _forked() -> None:
    for lock in list(_taken):
        lock.leave_to_parent()
    _taken.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def owner_of(path: Path) -> Mapping[str, str] | None:
    """The identity of the process that owns a journal; ``None`` where none lives that does. Takes nothing for longer than an
    instant. Raises JournalError.
    """
    lock = lock_path(path)
    try:
        handle = os.open(lock, os.O_RDONLY)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise JournalError(f"{lock} cannot be read: {reason_of(error)}") from error
    try:
        return None if _locked(handle, shared=True) else _identity(lock)
    except OSError as error:
        raise JournalError(f"{lock} cannot be locked: {reason_of(error)}") from error
    finally:
        os.close(handle)


def lock_path(path: Path) -> Path:
    """The file that says whose a journal is: ``PATH.lock``, beside the journal itself where ``path`` is a link to it."""
    real = _real(path)
    return real.with_name(f"{real.name}{_SUFFIX}")


def socket_path(path: Path) -> Path:
    """Where the owner of a journal listens: ``PATH.sock``; where that is too long for a socket, a name made of it in the folder
    for temporary files.
    """
    full = _real(path)
    beside = full.with_name(f"{full.name}.sock")
    if len(os.fsencode(beside)) <= _LONGEST:
        return beside
    name = hashlib.sha256(os.fsencode(full)).hexdigest()[:24]
    return Path(tempfile.gettempdir()) / f"organism-{name}.sock"


def _real(path: Path) -> Path:
    """A journal has one name, whatever links lead to it."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # links that lead in a circle; opening it says so
        return path.absolute()


def _check_links(path: Path) -> None:
    """Raises JournalError for a file with several names: each would have a lock of its own, and SQLite a log of its own."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return
    if stat.S_ISREG(there.st_mode) and there.st_nlink > 1:
        raise JournalError(
            f"{path} has {there.st_nlink} names (hard links), and two processes could write it by two of them; remove the others"
            f" ('find DIR -samefile {path}' lists them), or work on a copy"
        )


def _identity(lock: Path) -> dict[str, str]:
    """Who says that it owns a journal; nothing where that is being written."""
    try:
        found = json.loads(lock.read_bytes() or b"{}")
    except (OSError, ValueError, RecursionError):
        return {}
    return (
        {str(key): str(value) for key, value in cast("dict[object, object]", found).items()}
        if isinstance(found, dict)
        else {}
    )


def identity(since: float, *, organism: str = "") -> dict[str, str]:
    """Who this process is, for others that find a journal taken: its number, its host, the ``organism`` that it runs, where it runs one,
    and the instant ``since`` which it has it.
    """
    began = f"{datetime.fromtimestamp(since, UTC):%Y-%m-%dT%H:%M:%SZ}"
    named = {"organism": organism} if organism else {}
    return {"pid": str(os.getpid()), "host": platform.node(), **named, "since": began}


def since(identity: Mapping[str, str]) -> float:
    """The instant since which an owner has the journal, in seconds since 1970; 0 where it does not say so."""
    try:
        return datetime.fromisoformat(identity.get("since", "")).timestamp()
    except ValueError:
        return 0.0


def spoken(identity: Mapping[str, str]) -> str:
    """An owner in words: ``process 4711 on mars (organism demo, since 2026-11-21T06:00:00Z)``."""
    if not identity:
        return "another process"
    who = f"process {identity.get('pid', '?')} on {identity.get('host', '?')}"
    more = [
        *([f"organism {identity['organism']}"] if identity.get("organism") else []),
        *([f"since {identity['since']}"] if identity.get("since") else []),
    ]
    return f"{who} ({', '.join(more)})" if more else who


def _wait() -> None:
    Event().wait(_PAUSE)


if sys.platform == "win32":

    def _locked(handle: int, *, shared: bool) -> bool:
        """Tells that there is no such lock here."""
        del handle, shared
        raise OSError(errno.ENOSYS, "journals on a disk need file locks of POSIX; use journal: memory: here")

    def _unlocked(handle: int) -> None:
        """There is none."""
        del handle

else:
    import fcntl

    def _locked(handle: int, *, shared: bool) -> bool:
        """Takes the lock where nobody else has it; whether it did."""
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlocked(handle: int) -> None:
        """Gives the lock back, also where a child of this process has a copy of the handle."""
        fcntl.flock(handle, fcntl.LOCK_UN)
