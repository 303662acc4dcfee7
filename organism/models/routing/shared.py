"""What the provider sees the sum of: the rate limits and places of backends, for one router or for those of several organisms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
from attrs import define, field

from organism.models.routing.rate_limits import Pace

if TYPE_CHECKING:
    from organism.settings import BackendSettings


@define(eq=False)
class SharedLimits:
    """Rate limits and places of backends, each made when it is first asked for. All who keep them together run on one event loop."""

    _slots: dict[tuple[object, ...], anyio.Semaphore] = field(factory=dict[tuple[object, ...], anyio.Semaphore])
    _paces: dict[tuple[object, ...], Pace] = field(factory=dict[tuple[object, ...], Pace])

    def of(self, settings: BackendSettings, place: str) -> tuple[anyio.Semaphore, Pace]:
        """Those of a backend, which stands at this ``place`` below ``models``. Where it is the same provider, server, model and key, with the
        same figures, it is the same backend for all who share these limits, whatever else is set.
        """
        of = (place, settings.provider, settings.base_url, settings.model, settings.api_key_env, settings.api_key_file)
        most, requests, tokens = settings.max_concurrent, settings.requests_per_minute, settings.tokens_per_minute
        slots = self._slots.setdefault((*of, most), anyio.Semaphore(most, fast_acquire=True))
        pace = self._paces.setdefault(
            (*of, requests, tokens), Pace(requests_per_minute=requests, tokens_per_minute=tokens)
        )
        return slots, pace
