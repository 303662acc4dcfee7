"""Replays of what the journal of an organism holds, whether the organism runs or not."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from organism import replay
from organism.errors import ConfigurationError, JournalError, check_text
from organism.journal import open_journal
from organism.mcp.loading import as_recorded
from organism.names import is_of_limits, told
from organism.payloads import Vocabulary
from organism.pump import runtime
from organism.works.vocabulary import payload_classes

if TYPE_CHECKING:
    from organism.results import Replayed
    from organism.settings import Settings


def replayed(settings: Settings, thread: str) -> Replayed:
    """See :meth:`organism.organism.Organism.replay`."""
    check_text("thread", thread)
    runtime.check_none_runs(
        "a replay", "call it in a thread, as in `await anyio.to_thread.run_sync(organism.replay, thread)`"
    )
    with closing(open_journal(settings.journal, folder=settings.folder, readonly=True)) as journal:
        if not journal.lasting:
            raise ConfigurationError([not_lasting("replay", settings.journal)])
        root = journal.root_of(thread)
        if root is None or is_of_limits(root):
            raise ConfigurationError([f"replay: there is no thread {told(thread)} in the journal"])
        problem = journal.verify(root)
        if problem is not None:
            raise JournalError(f"thread {root}: {problem}")
        documents = list(journal.documents(root))
    vocabulary = Vocabulary(payload_classes(settings))
    return replay.replay(documents, as_recorded(settings, documents, vocabulary), vocabulary)


def not_lasting(what: str, journal: str) -> str:
    """What is said of a journal that ends with its process to whoever needs one that lasts."""
    return f"{what}: journal '{journal}' keeps no finished threads: give the organism one that lasts, as in journal='sqlite:organism.db'"
