"""The running sums: what messages and calls came to, by handler, model, backend, account, tag and label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from organism.budget.claims import MESSAGES
from organism.usage import Tally

if TYPE_CHECKING:
    from organism.frames import Message

ALL: Final = ("all", "")
"""The sum of everything, among those by handler, model, backend, account, tag and label."""


class Sums:
    """The sums by (kind, name). ``totals`` may be put away and brought back, as while a record is folded."""

    def __init__(self) -> None:
        self._totals: dict[tuple[str, str], Tally] = {}
        self._of: dict[str, list[int]] = {}
        """The amounts of each handler's sum, and under the empty name those of everything: every message looks them up."""

    @property
    def totals(self) -> dict[tuple[str, str], Tally]:
        """All sums."""
        return self._totals

    @totals.setter
    def totals(self, totals: dict[tuple[str, str], Tally]) -> None:
        self._totals = totals
        self._of = {}

    def tally(self, kind: str, name: str) -> Tally:
        """The running sum for one name of a kind."""
        key = (kind, name)
        found = self._totals.get(key)
        if found is None:
            found = self._totals[key] = Tally()
        return found

    def count(self, message: Message) -> None:
        """A message is charged."""
        to, of, thread = message.to, self._of, message.thread
        if to not in of:
            of[""], of[to] = self.tally(*ALL).amounts, self.tally("handler", to).amounts
        of[""][MESSAGES] += 1
        of[to][MESSAGES] += 1
        if thread.labels:
            for label in thread.labels.items():
                self.tally("label", "=".join(label)).amounts[MESSAGES] += 1
        if thread.accounts:
            for account in thread.accounts:
                self.tally("account", account).amounts[MESSAGES] += 1
