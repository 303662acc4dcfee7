"""Journals: the append-only record of facts, of which the state is a fold."""

from organism.journal.memory import MemoryJournal

__all__ = ["MemoryJournal"]
