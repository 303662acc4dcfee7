"""How much a backend's model takes at once: its own ``context_window:``, else what the simulated model or the bundled list says.

Unknown is ``None``: then only a provider that refuses a prompt tells that it is too long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import evolve, fields

from organism.models.prices import context_window, lasting_rates, rates
from organism.models.simulation.options import Options

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from organism.settings import BackendSettings, ModelSettings


def look_up_all(models: Mapping[str, ModelSettings], at: datetime) -> None:
    """Looks every backend's price and window up, as calls will at ``at`` (aware).

    The bundled list takes a good part of a second to load, and more on a slow machine. In the middle of a call it would keep the event
    loop for so long, and the handler that made the call would be named for it.
    """
    for model in models.values():
        for backend in model.backends:
            window_of(backend, at)
            if lasting_rates(backend) is None:
                rates(backend, at)


def least_window(alias: ModelSettings, at: datetime) -> int | None:
    """The least window that is known of the backends of an alias, since a call may go to each."""
    windows = [window_of(backend, at) for backend in alias.backends]
    return min((window for window in windows if window is not None), default=None)


def window_of(settings: BackendSettings, at: datetime) -> int | None:
    """The tokens of prompt and answer that a backend takes at once, as far as it is known at ``at`` (aware)."""
    if settings.context_window is not None:
        return settings.context_window
    seller = settings.seller
    if seller is not None:
        # What was recorded was asked of that one: the same prompts are asked again only if they are cut in the same way.
        settings = evolve(
            settings, provider=seller.provider, base_url=seller.base_url, factory=seller if seller.own else None
        )
    if settings.provider == "simulated" and settings.factory is None:
        given: Any = settings.options.get("context_window", fields(Options).context_window.default)
        return given if isinstance(given, int) else None
    return context_window(settings, at)
