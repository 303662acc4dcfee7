"""A backend's place in the router: what all calls to it share, and how its failures are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import anyio
from attrs import define

from organism.models.background import BackgroundWork
from organism.models.contract import Backend
from organism.models.prices import Rates
from organism.models.routing.circuit_breaker import Circuit
from organism.models.routing.rate_limits import Bell, Pace
from organism.models.tokens.estimates import Estimates
from organism.names import counted, excerpt
from organism.settings import BackendSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from organism.models.contract import BackendError, Failure

_TOO_LONG: Final = 400
"""Characters of what a provider says that go into one line."""

_WAYS_OUT: Final[Mapping[Failure, str]] = {
    "auth": "check the key ({key})",
    "rejected": "check `model` ('{model}'), `base_url` and `options`",
    "context": "send less, or use a model with a longer context",
    "connection": "is {server} reachable?",
    "timeout": "a longer `timeout` may help (now {timeout:g} s)",
    "rate_limited": "`requests_per_minute`, `tokens_per_minute`, a lower `max_concurrent` or a second backend may help",
    "server": "a second backend may help",
    "cut": "a second backend may help",
    "broken": "a second backend may help",
    "declined": "a backend behind it is asked, where there is one",
    "unrecorded": "record it again, or say `on_missing: fallthrough` and name a backend behind it",
}


@define(kw_only=True, eq=False)
class Deployment:
    """One backend. ``name`` is ``provider/model`` and its server; ``place`` is where it stands in the configuration."""

    settings: BackendSettings
    name: str
    place: str
    make: Callable[[], Backend]
    """Makes the backend, once."""
    begin: Callable[[], BackgroundWork[Backend] | None]
    """Begins to make one that takes long; ``None`` where it can be had at once, or as soon as that is over."""
    renew: Callable[[], bool]
    """Has the backend use the key that its file holds by now; whether that is another one."""
    estimates: Estimates
    slots: anyio.Semaphore
    pace: Pace
    circuit: Circuit
    bell: Bell
    """It rings for all who wait for a circuit, whichever has changed."""
    excess: int = 0
    """The most tokens that the provider charged beyond the bound of a strict budget; while it did not, strict calls may come."""

    backend: Backend | None = None
    """There once it was made."""

    renewals: int = 0
    """How often it was given another key."""

    rates: Rates | None = None
    """Its prices, where they are always the same."""
    said_unpriced: bool = False
    """It was said that nobody knows its price."""
    said_refused: int = -1
    """The renewals that there were when it was last said that its key is refused."""

    @property
    def most(self) -> int:
        """How many places it has."""
        return self.settings.max_concurrent

    @property
    def closed(self) -> str:
        """Why strict calls are refused here; empty while they are not."""
        if not self.excess:
            return ""
        return (
            f"it charged {counted(self.excess, 'token')} more than the bound of a strict budget, and is closed to strict calls; "
            f"raise its `overhead` to {self.settings.overhead + self.excess} or more (now {self.settings.overhead})"
        )

    @property
    def load(self) -> float:
        """Calls that are there or wait for a place, for each place that there is."""
        most = self.settings.max_concurrent
        return (most - self.slots.value + self.slots.statistics().tasks_waiting) / most

    def close(self, excess: int) -> None:
        """Bars strict calls: the provider charged ``excess`` tokens more than the bound that strict calls hold (R13)."""
        self.excess = max(excess, self.excess)

    def has_other_key(self, since: int) -> bool:
        """Whether it has another key than when there had been ``since`` renewals. Looks into the file of the key if it must."""
        if self.renewals == since and self.settings.api_key_file is not None and self.renew():
            self.renewals += 1
        return self.renewals != since

    def told(self, error: BackendError, *, renewed: bool = False) -> str:
        """What happened and the way out, in one line. ``renewed``: it was given another key for it."""
        if renewed:
            return f"{one_line(str(error))}; {self.settings.api_key_file} holds another key now, which is used from here on"
        key = self.settings.api_key_file or self.settings.api_key_env or "`api_key_env`"
        way_out = _WAYS_OUT[error.kind].format(
            key=key,
            model=self.settings.model,
            server=self.settings.base_url or "the network",
            timeout=self.settings.timeout,
        )
        return f"{one_line(str(error))}; {way_out}"


def one_line(text: str) -> str:
    """On one line, and not too long."""
    return excerpt(" ".join(text.split()), _TOO_LONG)
