"""Running totals of messages and model calls, by handler, model, backend, account, tag and label (R19)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from organism.budget.claims import MESSAGES
from organism.usage import Tally

if TYPE_CHECKING:
    from organism.budget.claims import Charge, Vector
    from organism.kernel.holds import Hold
    from organism.threads.frames import Message, Thread

ALL: Final = ("all", "")
"""The key of the total of everything, beside those by (kind, name)."""
MOST: Final = 10_000
"""Tags with a total of their own, and labels: whoever gives each request another one would fill the memory."""
OTHERS: Final = "(others)"
"""What those count under that come later, those of one label (``KEY=VALUE``) under ``KEY=(others)``. What has a total has all of it there."""


class Sums:
    """The totals by (kind, name).

    A call counts in four totals at least. To save work it is added to one tally, that of its handler, model and backend, and from there to
    the four when totals are next read. The same goes for messages, which count in two.
    """

    def __init__(self) -> None:
        self._totals: dict[tuple[str, str], Tally] = {}
        self._sent: dict[str, int] = {}
        """How many messages came to each handler since totals were last read."""
        self._calls: dict[tuple[str, str, str], Tally] = {}
        """The calls since totals were last read, by handler, model and backend."""
        self._named = {"tag": 0, "label": 0}
        """How many there are of the kinds that have no end."""

    @property
    def totals(self) -> dict[tuple[str, str], Tally]:
        """All totals, up to date."""
        self._gather()
        return self._totals

    def tally(self, kind: str, name: str) -> Tally:
        """The running total that one name of a kind counts in, up to date."""
        self._gather()
        return self._sum(kind, name)

    def _sum(self, kind: str, name: str) -> Tally:
        key = (kind, name)
        found = self._totals.get(key)
        if found is None:
            count = self._named.get(kind)
            if count is not None and count >= MOST:
                key = self._others(kind, name)
                found = self._totals.get(key)
        if found is None:
            found = self._totals[key] = Tally()
            if kind in self._named:
                self._named[kind] += 1
        return found

    def _others(self, kind: str, name: str) -> tuple[str, str]:
        """What a tag or a label counts under that has no total of its own. There may be no end of what labels are called, either."""
        label = name.partition("=")[0] if kind == "label" else ""
        key = (kind, f"{label}={OTHERS}")
        return key if label and (key in self._totals or self._named[kind] < 2 * MOST) else (kind, OTHERS)

    def _gather(self) -> None:
        """Adds the messages and calls since the last time to the totals that they count in."""
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
