"""``organism prune``: removes finished threads, by age or until the journal is small enough. The ledger stays."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from organism.cli.arguments import DEFAULT_FILE, Debug, Given
from organism.cli.journals import OfFile, OfJournal, opened
from organism.cli.moments import moment
from organism.cli.tables import counted, instant, size, table
from organism.cli.text import cut, one_line
from organism.errors import ConfigurationError
from organism.journal.standing import CONVERSATION

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from organism.journal.contract import Chain

_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kMGT]?)i?B?", re.IGNORECASE)
_POWERS: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_LISTED: Final = 20
_WIDEST: Final = 60


def prune(
    *,
    before: Annotated[
        str | None,
        Parameter(
            metavar="DATE", help="Those whose last entry is older: 2026-11-01, with a time (UTC), or an age: 30d."
        ),
    ] = None,
    keep_size: Annotated[
        str | None, Parameter(metavar="SIZE", help="The oldest, until the threads take no more than that: 100MB.")
    ] = None,
    dry_run: Annotated[bool, Parameter(help="Say what would be removed, and remove nothing.")] = False,
    file: OfFile = DEFAULT_FILE,
    journal: OfJournal = None,
    debug: Debug = False,  # noqa: ARG001 - main reads it
    streams: Given,
) -> int:
    """Removes finished threads from a journal for good. What they spent is still known to 'organism usage'.

    With both options, those go that either names. One that has not ended is never removed, and a conversation only by its age.
    """
    if before is None and keep_size is None:
        raise ConfigurationError(["organism prune: say which threads: --before DATE, or --keep-size SIZE"])
    until = None if before is None else moment("--before", before, now=datetime.now(UTC))
    room = None if keep_size is None else _bytes(keep_size)
    with opened(file, journal, readonly=dry_run) as found:
        chains = found.chains()
        going = chosen(chains, until=until, room=room)
        staying = set(chains).difference(going)
        if not dry_run:
            for chain in going:
                found.remove(chain.root)
    streams.result("\n".join(_said(going, staying, dry_run=dry_run)))
    if room is not None and _size(staying) > room:
        streams.note(_too_large(staying, room))
    return 0


def chosen(chains: Sequence[Chain], *, until: float | None, room: int | None) -> list[Chain]:
    """The finished chains that go, the oldest first: those that were last written to before ``until`` (seconds since 1970), and
    as many more as it takes for all that stay to need no more than ``room`` bytes. A conversation between two turns may go on,
    so it goes by age alone.
    """
    left = _size(chains)
    going: list[Chain] = []
    for chain in sorted((chain for chain in chains if not chain.open), key=lambda chain: chain.last):
        lasts = chain.root.startswith(CONVERSATION)
        if (until is not None and chain.last < until) or (room is not None and left > room and not lasts):
            going.append(chain)
            left -= chain.size
    return going


def _size(chains: Iterable[Chain]) -> int:
    return sum(chain.size for chain in chains)


def _said(going: Sequence[Chain], staying: Collection[Chain], *, dry_run: bool) -> list[str]:
    lines: list[str] = []
    if going:
        rows = [(cut(one_line(chain.root), _WIDEST), instant(chain.last), size(chain.size)) for chain in going]
        lines = table([("thread", "last written (UTC)", "size"), *rows[:_LISTED]], right=(2,))
        if len(rows) > _LISTED:
            lines.append(f"and {len(rows) - _LISTED:,} more")
    did = "would remove" if dry_run else "removed"
    gone, still = (f"{counted(len(those), 'thread')} of {size(_size(those))}" for those in (going, staying))
    return [*lines, f"{did} {gone}; {still} stay"]


def _too_large(staying: Collection[Chain], room: int) -> str:
    """Why the journal is larger than was asked for."""
    lasting = sum(not chain.open for chain in staying)
    why = {"conversations, which go by --before alone": lasting, "threads that have not ended": len(staying) - lasting}
    told = "; ".join(f"{what}: {count:,}" for what, count in why.items() if count)
    return f"note: what stays is more than {size(room)}; {told}"


def _bytes(text: str) -> int:
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ConfigurationError([f"--keep-size {one_line(text)}: is no size; write it as in 100MB"])
    return int(Decimal(found[1]) * _POWERS[found[2].lower()])
