"""Journals: the append-only record of facts, of which the state is a fold.

Reading order:

* ``contract``, ``check`` - what a journal does, and the proof of it
* ``standing``, ``endings`` - what the facts of a chain come to: what is unfinished, what was spent, how its threads ended; all journals keep that
* ``memory`` - the journal that lasts as long as the process
* ``forms``, ``values``, ``writers``, ``literals`` - values as JSON: which form each type has, payloads, and functions made of source that write it
* ``codec`` - facts as JSON and back; ``texts``: marks for what stands there twice; ``secrets``: what is left out; ``prompts``: what models
  were asked, put together again
* ``chain`` - what makes every change show, also in chains of another journal
* ``sqlite_file``, ``sqlite_reader``, ``sqlite_flaws``, ``sqlite_end``, ``sqlite`` - one file; ``sqlite_upgrade``: of an earlier version
* ``filenames``, ``disk``, ``lines`` - a file of JSON lines for each root thread
* ``folder_index``, ``folder_known``, ``folder_roll``, ``folder_gone``, ``folder_flaws``, ``folder_reader``, ``folder`` - a folder of them, with
  what is kept beside so that few are read
* ``session_log`` - the same lines for people, beside any journal
* ``pruning`` - which finished chains go where a journal is made smaller
* ``room``, ``lock``, ``presence``, ``opening`` - its folder; whose it is; whether it is still there; which one is meant
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
    from organism.journal.sqlite_file import OnlyBegunError
    from organism.journal.values import PlainPayload

__all__ = [
    "Chain",
    "Journal",
    "LinesJournal",
    "Lock",
    "MemoryJournal",
    "OnlyBegunError",
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
        "OnlyBegunError": "organism.journal.sqlite_file",
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
