"""``organism verify`` and ``organism prune``: whether a journal is as it was written, and removing finished threads. The ledger stays."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

from cyclopts import Parameter

from organism.cli.arguments import Given, moment
from organism.cli.exit_codes import DAMAGED
from organism.cli.journals import HERE, InJournal, Where
from organism.cli.orders import asked
from organism.cli.tables import cell, instant, size, table
from organism.cli.text import one_line
from organism.errors import ConfigurationError, JournalError, JournalHeldError
from organism.journal.pruning import Mark, Pruned, chosen, outcome
from organism.names import counted, is_of_limits
from organism.works.control import Order

if TYPE_CHECKING:
    from collections.abc import Mapping

    from organism.cli.streams import Streams


def verify(
    *,
    where: InJournal = HERE,
    streams: Given,
) -> int:
    """Checks the entries of a journal and what it keeps beside them, and names the first flaw of each damaged thread.

    Reads all of it, and says on a terminal how far it is. Exits with 0 if all is sound, else with 5. What removed threads spent cannot be checked: their entries are gone.
    """
    with where.opened() as found:
        with _Progress(streams) as progress:
            flaws = found.flaws(progress.step)
        damaged = {root for root, _ in flaws if root is not None}
        sound = {chain.root: chain.entries for chain in found.chains() if chain.root not in damaged}
    for root, problem in flaws:
        streams.result(one_line(problem) if root is None else f"thread {one_line(root)}: {one_line(problem)}")
    threads = sum(not is_of_limits(root) for root in sound)
    limits = f" and {counted(len(sound) - threads, 'record')} of raised limits" if len(sound) > threads else ""
    about = f"{counted(threads, 'thread')}{limits} with {counted(sum(sound.values()), 'entry')}"
    if flaws:
        streams.result(f"{counted(len(damaged), 'thread') + ' ' if damaged else ''}damaged; sound: {about}")
        return DAMAGED
    streams.result(f"sound: {about}")
    return 0


class _Progress:
    """Says on a terminal, in one line that goes again, how many threads were looked at."""

    def __init__(self, streams: Streams) -> None:
        self._err = streams.err if streams.err.isatty() else None
        self._threads = 0
        self._said = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._write("")

    def step(self) -> None:
        """Another one is looked at."""
        self._threads += 1
        if self._err is not None and time.monotonic() - self._said >= _PAUSE:
            self._write(f"reads all entries: thread {self._threads:,} ...")
            self._said = time.monotonic()

    def _write(self, text: str) -> None:
        if self._err is not None:
            with suppress(OSError):
                self._err.write(f"\r{text}\x1b[K")
                self._err.flush()


_PAUSE: Final = 0.2
"""Seconds between two times that it is said how far a command is."""
_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kMGT]?)i?B?", re.IGNORECASE)
_POWERS: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_AT_ONCE: Final = 500
"""Threads that are removed together: each time waits for the disk once."""


def prune(
    *,
    before: Annotated[
        str | None,
        Parameter(
            allow_leading_hyphen=True,
            metavar="DATE",
            help="Remove threads whose last entry is older: 2026-11-01, with a time (UTC), or an age: 30d, 12h.",
        ),
    ] = None,
    keep_size: Annotated[
        str | None, Parameter(metavar="SIZE", help="Remove the oldest until the rest takes no more than this: 100MB.")
    ] = None,
    dry_run: Annotated[bool, Parameter(help="Say what would be removed, and remove nothing.")] = False,
    where: InJournal = HERE,
    streams: Given,
) -> int:
    """Removes finished threads from a journal for good. 'organism usage' still counts what they spent.

    With both options, removes what either selects. Threads that have not ended stay, and conversations go by age alone.

    Example: organism prune --before 30d --dry-run
    """
    if before is None and keep_size is None:
        raise ConfigurationError(["organism prune: say which threads: --before DATE, or --keep-size SIZE"])
    mark = Mark(
        until=None if before is None else moment("--before", before, now=datetime.now(UTC)),
        room=None if keep_size is None else _bytes(keep_size),
    )
    pruned = _here(where, mark, dry_run=True) if dry_run else _removed(where, mark)
    streams.result("\n".join(_said(pruned, dry_run=dry_run)))
    if mark.room is not None and pruned.stay_size > mark.room:
        streams.note(_too_large(pruned, mark.room))
    return 0


def _removed(where: Where, mark: Mark) -> Pruned:
    """Removes them here, or has the process do it that works on the journal."""
    order = Order(do="prune", until=mark.until, room=mark.room)
    while True:
        try:
            return _here(where, mark)
        except JournalHeldError as held:
            done = asked(where.place, order)
            if done is not None:
                return _understood(done, held)


def _here(where: Where, mark: Mark, *, dry_run: bool = False) -> Pruned:
    where.check_there()  # to be changed, it would be made
    with where.opened(readonly=dry_run) as found:
        chains = found.chains()
        going = chosen(chains, mark)
        for start in range(0, 0 if dry_run else len(going), _AT_ONCE):
            found.remove(*(chain.root for chain in going[start : start + _AT_ONCE]))
    return outcome(going, set(chains).difference(going))


def _understood(done: Mapping[str, Any], held: JournalHeldError) -> Pruned:
    try:
        return Pruned.of_json({key: value for key, value in done.items() if key != "ok"})
    except (TypeError, ValueError):
        raise JournalError(f"{held}; what it says cannot be understood") from None


def _said(pruned: Pruned, *, dry_run: bool) -> list[str]:
    lines: list[str] = []
    if pruned.first:
        rows = [(cell(root), instant(last), size(much)) for root, last, much in pruned.first]
        lines = table([("thread", "last written (UTC)", "size"), *rows], right=(2,))
        if pruned.gone > len(rows):
            lines.append(f"and {pruned.gone - len(rows):,} more")
    did = "would remove" if dry_run else "removed"
    stay = "stays" if pruned.stay == 1 else "stay"
    gone = f"{counted(pruned.gone, 'thread')} of {size(pruned.gone_size)}"
    if pruned.records:
        gone += f" and {counted(pruned.records, 'record')} of raised limits"
    return [*lines, f"{did} {gone}; {counted(pruned.stay, 'thread')} of {size(pruned.stay_size)} {stay}"]


def _too_large(pruned: Pruned, room: int) -> str:
    """Why the journal is larger than was asked for."""
    why = {"conversations, which go by --before alone": pruned.lasting, "threads that have not ended": pruned.open}
    said = "; ".join(f"{what}: {count:,}" for what, count in why.items() if count)
    return f"note: what stays takes more than {size(room)}; it holds {said}"


def _bytes(text: str) -> int:
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ConfigurationError([f"--keep-size {one_line(text)}: is not a size; write it as in 100MB"])
    return int(Decimal(found[1]) * _POWERS[found[2].lower()])
