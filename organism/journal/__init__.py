"""Journals: the append-only record of facts, of which the state is a fold.

The rooms, in the order to read them: ``contract`` (what a journal does) and ``check`` (the proof of it), ``memory``; ``values``,
``forms`` and ``codec`` (facts as JSON objects and back), ``chain`` (what makes every change show); ``filenames``, ``disk`` and
``lines`` (a file of JSON lines a root thread), ``session_log`` (the same lines for people, beside any journal).
"""

from organism.journal.contract import Journal
from organism.journal.lines import LinesJournal
from organism.journal.memory import MemoryJournal
from organism.journal.session_log import SessionLog
from organism.journal.values import PlainPayload

__all__ = ["Journal", "LinesJournal", "MemoryJournal", "PlainPayload", "SessionLog"]
