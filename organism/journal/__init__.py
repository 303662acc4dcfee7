"""Journals: the append-only record of facts, of which the state is a fold.

The rooms, in the order to read them: ``contract`` (what a journal does) and ``check`` (the proof of it), ``standing`` (what the facts
of a chain come to) and ``memory``; ``values``, ``forms``, ``texts``, ``writers`` and ``codec`` (facts as JSON objects and back), ``chain``
(what makes every change show); ``sqlite_file``, ``sqlite_reader`` and ``sqlite`` (one file); ``filenames``, ``disk``, ``lines``,
``folder_index`` and ``folder`` (a file of JSON lines a root thread), ``session_log`` (the same lines for people, beside any journal);
``opening`` and ``lock`` (which journal, and whose).
"""

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
