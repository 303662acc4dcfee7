"""``organism export`` and ``organism import``: chains as JSON lines, with all that is kept of them, and nothing of what is kept beside them."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack, contextmanager
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

from attrs import define
from cyclopts import Parameter

from organism.cli.arguments import Given  # noqa: TC001 - cyclopts reads annotations
from organism.cli.journals import HERE, Damage, InJournal
from organism.cli.reading import meant
from organism.cli.text import one_line
from organism.errors import ConfigurationError, JournalError, reason_of
from organism.journal.chain import verify as first_flaw
from organism.journal.codec import decode_entry
from organism.journal.standing import opens_nothing
from organism.names import counted, is_of_limits, told
from organism.usage import Raised

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping
    from typing import TextIO

    from organism.cli.streams import Streams
    from organism.journal import Journal

_STDIN: Final = "-"


def export(
    *threads: Annotated[
        str,
        Parameter(
            name="THREAD",
            help="Ids of threads, unique prefixes of them, names of conversations, or 'latest'; by default all threads.",
        ),
    ],
    where: InJournal = HERE,
    streams: Given,
) -> int:
    """Prints threads with all that is kept of them, as JSON lines that 'organism import' reads.

    A damaged thread is named instead of printed, and the exit code is then 5.

    Example: organism export 8315 > thread.jsonl
    """
    damage = Damage()
    with where.opened() as found:
        # What was given to accounts stays with the journal that it was given in.
        every = [] if threads else [chain.root for chain in found.chains()]
        those = [meant(found, text).told(streams).chain.root for text in threads] or [
            root for root in every if not is_of_limits(root)
        ]
        stays = [] if threads else _stays(found, raised=len(every) > len(those))
        count = entries = 0
        for root in dict.fromkeys(those):
            problem = found.verify(root)
            if problem is not None:
                damage.problems.append(f"thread {root}: {problem}; it is not exported")
                continue
            before = entries
            with damage:  # it may be removed meanwhile
                for document in found.documents(root):
                    streams.result(json.dumps(document))
                    if streams.unread:
                        return 0
                    entries += 1
            count += entries > before
    code = damage.told(streams)
    streams.note(f"exported: {counted(count, 'thread')} with {counted(entries, 'entry')}")
    if stays:
        streams.note(f"note: not exported: {' and '.join(stays)}; a copy of the journal itself has all")
    return code


def _stays(journal: Journal, *, raised: bool) -> list[str]:
    """What counts for limits in the journal, and is in none of its threads. ``raised``: there are records of limits that were raised."""
    removed = journal.removed()
    spent = any(each.tells is None and any(each.amounts) for each in removed)
    raised = raised or any(isinstance(each.tells, Raised) for each in removed)
    both = (("what removed threads have spent", spent), ("raised limits of accounts or of the ceiling", raised))
    return [what for what, there in both if there]


def import_(
    source: Annotated[
        str,
        Parameter(
            name="SOURCE",
            allow_leading_hyphen=True,
            help="The file that 'organism export' wrote; - for standard input.",
        ),
    ],
    /,
    *,
    where: InJournal = HERE,
    streams: Given,
) -> int:
    """Puts exported threads into the journal. All are checked first: if one is damaged, or is there already with other
    entries, nothing is imported. A thread that is there already with the same entries is skipped.

    Example: organism import thread.jsonl --journal sqlite:other.db
    """
    with _source(source, streams) as lines:
        try:
            given = _sound(lines, source)  # before there is a journal: of what cannot be imported none is left behind
        except JournalError as error:
            raise JournalError(f"{error}; nothing was imported") from None
        with where.opened(readonly=False) as found:
            new = _new(given, source, found)
            for root, documents in _chains(lines, source):
                if root in new:
                    found.put(root, documents)
    known = len(given) - len(new)
    there = f"; {counted(known, 'thread')} {'is' if known == 1 else 'are'} there already" if known else ""
    entries = sum(given[root].number for root in new)
    streams.result(f"imported: {counted(len(new), 'thread')} with {counted(entries, 'entry')}{there}")
    return 0


@contextmanager
def _source(source: str, streams: Streams) -> Generator[TextIO]:
    """The lines of the file, which can be read twice. Raises ConfigurationError where there is none."""
    with ExitStack() as stack:
        lines = streams.input
        if source != _STDIN:
            try:
                lines = stack.enter_context(Path(source).open(encoding="utf-8", errors="surrogateescape"))
            except (OSError, ValueError) as error:
                reason = reason_of(error)
                raise ConfigurationError([f"{one_line(source)}: cannot be read: {reason}"]) from None
        if source == _STDIN or not lines.seekable():  # it comes once, as from a pipe or a shell's <(...)
            reconfigure = getattr(lines, "reconfigure", None)
            if reconfigure is not None:  # as a file is read: what is no UTF-8 is told of with its line
                reconfigure(encoding="utf-8", errors="surrogateescape")
            came, lines = lines, stack.enter_context(TemporaryFile("w+", encoding="utf-8", errors="surrogateescape"))
            shutil.copyfileobj(came, lines)
        yield lines


@define(eq=False)
class _Given:
    """A chain in the file: how many entries it has, and the hash of the last."""

    number: int = 0
    hash: Any = None

    def counting(self, documents: Iterator[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """The documents, counted on their way. Raises JournalError for one that is as it was written, and cannot be read."""
        for document in documents:
            self.number, self.hash = self.number + 1, document.get("hash")
            yield document
            fact = decode_entry(document)
            odd = opens_nothing(fact) if self.number == 1 else None
            if odd is not None:
                raise JournalError(f"thread {told(document['root'])}: {odd}")


def _sound(lines: TextIO, source: str) -> dict[str, _Given]:
    """The chains in the file. Raises JournalError where one is damaged, or of another version."""
    chains: dict[str, _Given] = {}
    for root, documents in _chains(lines, source):
        given = _Given()
        try:
            flaw = first_flaw(given.counting(documents), root)
        except _NoEntryError:
            raise
        except JournalError as error:
            raise JournalError(f"{one_line(source)}: {error}") from None
        if flaw is not None or root in chains:
            raise JournalError(f"{one_line(source)}: thread {told(root)}: {flaw or 'stands in two places'}")
        chains[root] = given
    return chains


def _new(chains: Mapping[str, _Given], source: str, journal: Journal) -> set[str]:
    """Those that the journal does not have. Raises ConfigurationError for one that is there with other entries."""
    there = {chain.root: chain for chain in journal.chains()}
    for root, given in chains.items():
        known = there.get(root)
        if known is None:
            continue
        # It may have gone on since: then what is there begins with all that is given.
        last = next(journal.documents(root, after=given.number - 1), None)
        if last is None or last["hash"] != given.hash:
            about = (
                f"{one_line(source)}: thread {one_line(root)} is there already, with {counted(known.entries, 'entry')}"
            )
            raise ConfigurationError([f"{about} of its own; nothing was imported"])
    return chains.keys() - there.keys()


def _chains(lines: TextIO, source: str) -> Iterator[tuple[str, Iterator[Mapping[str, Any]]]]:
    """Every chain in the file with its documents, in the order they stand there."""
    lines.seek(0)
    return groupby(_documents(lines, source), key=lambda document: str(document["root"]))


class _NoEntryError(JournalError):
    """A line is no entry; it says which."""


def _documents(lines: TextIO, source: str) -> Iterator[Mapping[str, Any]]:
    """The entries. Raises JournalError for a line that is none, and ConfigurationError where that is the first: then it is no export."""
    begun = False
    for number, line in enumerate(lines, 1):
        if line.strip():
            document = _document(line)
            if isinstance(document, str):
                problem = f"{one_line(source)}:{number}: {document}"
                if not begun:
                    raise ConfigurationError([f"{problem}; nothing was imported"])
                short = "" if line.endswith("\n") else ": the file was cut short; export it again, whole"
                raise _NoEntryError(f"{problem}{short}")
            begun = True
            yield document


def _document(line: str) -> Mapping[str, Any] | str:
    """The entry, or why a line is none."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"is not JSON ({error})"
    if not isinstance(document, dict) or not isinstance(cast("dict[str, Any]", document).get("root"), str):
        return "is not an entry of a journal"
    return cast("dict[str, Any]", document)
