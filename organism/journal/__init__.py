"""Journals: the append-only record of facts, of which the state is a fold.

The rooms, in the order to read them: ``contract`` (what a journal does) and ``check`` (the proof of it), ``standing`` (what the facts
of a chain come to) and ``memory``; ``values``, ``forms``, ``texts``, ``writers`` and ``codec`` (facts as JSON objects and back), ``chain``
(what makes every change show); ``sqlite_file``, ``sqlite_reader``, ``sqlite_flaws`` and ``sqlite`` (one file); ``filenames``, ``disk``, ``lines``,
``folder_index``, ``folder_known``, ``folder_roll``, ``folder_gone``, ``folder_flaws``, ``folder_reader`` and ``folder`` (a file of JSON lines a root
thread), ``session_log`` (the same lines for people, beside any journal);
``pruning`` (which finished chains go where it is made smaller); ``opening`` and ``lock`` (which journal, and whose).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.late import late

if TYPE_CHECKING:
    from organism.journal.contract import Chain, Journal
    from organism.journal.folder import LinesJournal
    from organism.journal.lock import Lock, owner_of, socket_path
    from organism.journal.memory import MemoryJournal
    from organism.journal.opening import open_journal, place_of
    from organism.journal.session_log import SessionLog
    from organism.journal.sqlite import SqliteJournal
    from organism.journal.values import PlainPayload

__all__ = [
    "Chain",
    "Journal",
    "LinesJournal",
    "Lock",
    "MemoryJournal",
    "PlainPayload",
    "SessionLog",
    "SqliteJournal",
    "open_journal",
    "owner_of",
    "place_of",
    "socket_path",
]

__getattr__ = late(
    __name__,
    {
        "Chain": "organism.journal.contract",
        "Journal": "organism.journal.contract",
        "LinesJournal": "organism.journal.folder",
        "Lock": "organism.journal.lock",
        "MemoryJournal": "organism.journal.memory",
        "PlainPayload": "organism.journal.values",
        "SessionLog": "organism.journal.session_log",
        "SqliteJournal": "organism.journal.sqlite",
        "open_journal": "organism.journal.opening",
        "owner_of": "organism.journal.lock",
        "place_of": "organism.journal.opening",
        "socket_path": "organism.journal.lock",
    },
)
# Who only wants to know what a secret looks like opens no journal.
