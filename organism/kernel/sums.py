"""The running sums: what messages and calls came to, by handler, model, backend, account, tag and label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from organism.budget.claims import MESSAGES
from organism.usage import Tally

if TYPE_CHECKING:
    from organism.budget.claims import Charge, Vector
    from organism.kernel.holds import Hold
    from organism.threads.frames import Message, Thread

ALL: Final = ("all", "")
"""The sum of everything, among those by handler, model, backend, account, tag and label."""


class Sums:
    """The sums by (kind, name). ``totals`` may be put away and brought back, as while a record is folded.

    A call counts in four of them at least: it is added once, beside those of the same handler, model and backend, and to each of the four
    when the sums are next read. So are messages, which count in two.
    """

    def __init__(self) -> None:
        self._totals: dict[tuple[str, str], Tally] = {}
        self._sent: dict[str, int] = {}
        """How many messages came to each handler since the sums were read."""
        self._calls: dict[tuple[str, str, str], Tally] = {}
        """What calls came to since the sums were read, by handler, model and backend."""

    @property
    def totals(self) -> dict[tuple[str, str], Tally]:
        """All sums."""
        self._gather()
        return self._totals

    @totals.setter
    def totals(self, totals: dict[tuple[str, str], Tally]) -> None:
        self._totals = totals
        self._sent, self._calls = {}, {}

    def tally(self, kind: str, name: str) -> Tally:
        """The running sum for one name of a kind."""
        self._gather()
        return self._sum(kind, name)

    def _sum(self, kind: str, name: str) -> Tally:
        key = (kind, name)
        found = self._totals.get(key)
        if found is None:
            found = self._totals[key] = Tally()
        return found

    def _gather(self) -> None:
        """Adds what messages and calls came to where it belongs."""
        sent, self._sent = self._sent, {}
        for handler, count in sent.items():
            for name in (ALL, ("handler", handler)):
                self._sum(*name).amounts[MESSAGES] += count
        if not self._calls:
            return
        calls, self._calls = self._calls, {}
        for (handler, model, backend), came in calls.items():
            for name in (ALL, ("handler", handler), ("model", model), ("backend", backend)):
                self._sum(*name).take_in(came)

    def spend(self, hold: Hold, charge: Charge, amounts: Vector) -> None:
        """A call is charged these ``amounts`` of its charge."""
        message, thread = hold.message, hold.thread
        of = ("" if message is None else message.to, hold.alias, hold.backend)
        tally = self._calls.get(of)
        if tally is None:
            tally = self._calls[of] = Tally()
        details, estimated, unpriced = charge.details, charge.estimated, bool(charge.unpriced)
        tally.add(amounts, details, estimated=estimated, unpriced=unpriced)
        if thread.accounts or hold.tags or thread.labels:
            tallies = [self._sum("account", account) for account in thread.accounts]
            tallies += [self._sum("tag", tag) for tag in hold.tags]
            tallies += [self._sum("label", "=".join(label)) for label in thread.labels.items()]
            for each in tallies:
                each.add(amounts, details, estimated=estimated, unpriced=unpriced)

    def count(self, message: Message) -> None:
        """A message is charged."""
        sent, to, thread = self._sent, message.to, message.thread
        sent[to] = sent.get(to, 0) + 1
        if thread.labels or thread.accounts:
            self._count_named(thread)

    def _count_named(self, thread: Thread) -> None:
        for label in thread.labels.items():
            self._sum("label", "=".join(label)).amounts[MESSAGES] += 1
        for account in thread.accounts:
            self._sum("account", account).amounts[MESSAGES] += 1
