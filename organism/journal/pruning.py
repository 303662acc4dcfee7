"""Which finished chains of a journal go where it is made smaller, and what is said of it: rules alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from attrs import asdict, frozen

from organism.names import CONVERSATION, is_of_limits

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from organism.journal.contract import Chain

_LISTED: Final = 20


@frozen(kw_only=True)
class Mark:
    """How far it goes: ``until`` is an instant in seconds since 1970, ``room`` bytes that all that stay may take together."""

    until: float | None = None
    room: int | None = None


@frozen(kw_only=True)
class Pruned:
    """What went (``gone`` chains of ``gone_size`` bytes), and what stays, of which some ``lasting`` are conversations between two
    turns and some are ``open``. ``first`` are the first that went: (root, instant of the last entry, bytes) each. ``records`` of raised limits went
    beside them.
    """

    first: Sequence[tuple[str, float, int]]
    gone: int
    gone_size: int
    stay: int
    stay_size: int
    lasting: int
    open: int
    records: int = 0

    def as_json(self) -> dict[str, Any]:
        """As JSON has it, and as earlier versions did where nothing is new in it."""
        return {key: value for key, value in asdict(self).items() if key != "records" or value}

    @classmethod
    def of_json(cls, given: Mapping[str, Any]) -> Pruned:
        """What :meth:`as_json` gave; raises TypeError or ValueError for anything else."""
        counts = {key: int(value) for key, value in given.items() if key != "first"}
        rows: Iterable[Any] = given.get("first", ())
        return cls(first=[(str(root), float(last), int(size)) for root, last, size in rows], **counts)


def chosen(chains: Iterable[Chain], mark: Mark) -> list[Chain]:
    """The finished chains that go, the oldest first: those that were last written to before ``until``, and as many more as it takes for
    all that stay to need no more than ``room``. A conversation between two turns may go on, so it goes by age alone.
    """
    those = list(chains)
    left = size_of(those)
    going: list[Chain] = []
    for chain in sorted((chain for chain in those if not chain.open), key=lambda chain: chain.last):
        old = mark.until is not None and chain.last < mark.until
        if old or (mark.room is not None and left > mark.room and not _lasts(chain)):
            going.append(chain)
            left -= chain.size
    return going


def outcome(going: Sequence[Chain], staying: Collection[Chain]) -> Pruned:
    """What is said of it. The story of raised limits is no thread; they hold without it."""
    records = sum(is_of_limits(chain.root) for chain in going)
    going = [chain for chain in going if not is_of_limits(chain.root)]
    staying = [chain for chain in staying if not is_of_limits(chain.root)]
    return Pruned(
        first=[(chain.root, chain.last, chain.size) for chain in going[:_LISTED]],
        gone=len(going),
        gone_size=size_of(going),
        stay=len(staying),
        stay_size=size_of(staying),
        lasting=sum(_lasts(chain) and not chain.open for chain in staying),
        open=sum(chain.open for chain in staying),
        records=records,
    )


def size_of(chains: Iterable[Chain]) -> int:
    """Bytes that these take together."""
    return sum(chain.size for chain in chains)


def _lasts(chain: Chain) -> bool:
    return chain.root.startswith(CONVERSATION)
