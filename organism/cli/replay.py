"""``organism replay``: a thread's handlers run again with the answers that they had, and the first difference."""

from __future__ import annotations

from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from organism.cli.arguments import DEFAULT_FILE, Debug, Given, Sets, pairs
from organism.cli.check import checked
from organism.cli.codes import DAMAGED, FAILED
from organism.cli.journals import OfFile, OfJournal, OfThread, opened
from organism.cli.logs import logging_to
from organism.cli.reading import meant
from organism.cli.tables import counted
from organism.cli.text import harmless, one_line
from organism.payloads import Vocabulary
from organism.replay import replay as replayed
from organism.works.vocabulary import payload_classes

if TYPE_CHECKING:
    from organism.cli.streams import Streams
    from organism.replay import Difference, Replayed


def replay(
    thread: OfThread,
    /,
    file: OfFile = DEFAULT_FILE,
    *,
    set: Sets = (),  # noqa: A002 - the option's name
    journal: OfJournal = None,
    debug: Debug = False,
    streams: Given,
) -> int:
    """Runs the handlers of a thread again, as they are now, with the answers that the journal holds; writes nothing, calls no model.

    Says the first thing that a handler asks or answers otherwise, and exits with 1; with 0 where there is none. What a handler
    does to the world by itself, it does again.
    """
    settings = checked(file, pairs("--set", set), streams)
    with opened(file, journal) as found:
        chain = meant(found, thread).chain
        problem = found.verify(chain.root)
        if problem is not None:
            return _damaged(chain.root, problem, streams)
        documents = list(found.documents(chain.root))
    with logging_to(streams, verbose=False, debug=debug), redirect_stdout(streams.err):
        result = replayed(documents, settings, Vocabulary(payload_classes(settings)))
    for handler, why in result.unsure:
        streams.note(f"note: a delivery to '{handler}' came out otherwise, and could not be compared: {one_line(why)}")
    compared = f"{counted(result.deliveries, 'delivery')} and {counted(result.calls, 'model call')} compared"
    if not result.differences:
        streams.result(f"the same: {compared}")
        return 0
    streams.result("\n".join(_told(result, compared)))
    return FAILED


def _damaged(root: str, problem: str, streams: Streams) -> int:
    streams.note(f"error: thread {one_line(root)}: {one_line(problem)}")
    return DAMAGED


def _told(result: Replayed, compared: str) -> list[str]:
    first: Difference = result.differences[0]
    where = f"entry {first.entry}, message {first.message} of thread {one_line(first.thread)}"
    return [
        f"different: {counted(len(result.differences), 'delivery')} of {compared}; the first:",
        f"'{first.handler}' ({where}): {first.what}",
        f"  recorded: {one_line(harmless(first.recorded))}",
        f"  now:      {one_line(harmless(first.now))}",
    ]
