"""What the backends of an organism need before they can be called: looked at beside its file, and loaded when it starts."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from organism.errors import ConfigurationError
from organism.models.background import BackgroundWork
from organism.models.factories import check_backend, is_checked_quickly
from organism.models.prices import check_price, lasting_rates, list_is_loaded, rates, window_of
from organism.models.recordings.sellers import with_seller

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from datetime import datetime

    from organism.settings import BackendSettings, ModelSettings


class BackendChecks:
    """What is wrong with single backends, at one moment and in one environment; nothing is started.

    ``late``: whether who starts the organism looks again at what keeps backends from being made, so that here it is worth a line only
    beside other mistakes.
    """

    def __init__(self, environ: Mapping[str, str], at: datetime, *, late: bool = False) -> None:
        self._environ = environ
        self._at = at
        self.late = late

    def making(self, settings: BackendSettings, wrong: Collection[str]) -> Iterator[str]:
        """See :func:`~organism.models.factories.check_backend`."""
        return check_backend(settings, wrong, environ=self._environ)

    def price(self, settings: BackendSettings, wrong: Collection[str]) -> Iterator[str]:
        """See :func:`~organism.models.prices.check_price`."""
        return check_price(with_seller(settings), wrong, at=self._at)


async def made_ready(models: Mapping[str, ModelSettings], *, environ: Mapping[str, str], at: datetime) -> None:
    """Loads the SDKs and the prices that calls will need at ``at`` (aware), and reads recordings, while the event loop goes on.

    Raises ConfigurationError with a placed line for each mistake that would keep a backend from being made; none is.
    """
    backends = [backend for model in models.values() for backend in model.backends]
    listed = any(backend.built_in != "simulated" for backend in backends)
    known: Mapping[int, Sequence[str]] = {}
    if not (all(map(is_checked_quickly, backends)) and (list_is_loaded() or not listed)):
        checking = BackgroundWork(partial(_checked, backends, environ, at))
        await checking.wait()
        known = checking.result()
    problems = [
        f"{backend.place or backend.name}: {problem}"
        for backend in backends
        for problem in (known[id(backend)] if id(backend) in known else check_backend(backend, environ=environ))
    ]
    if problems:
        raise ConfigurationError(problems)
    _look_up_all(backends, at)


def _checked(
    backends: Sequence[BackendSettings], environ: Mapping[str, str], at: datetime
) -> Mapping[int, Sequence[str]]:
    """The mistakes of those that are not the user's own, which are checked on the event loop; prices are loaded with them."""
    with suppress(Exception):  # what keeps them from being looked up is told where they are needed
        _look_up_all(backends, at)
    return {id(each): tuple(check_backend(each, environ=environ)) for each in backends if each.factory is None}


def _look_up_all(backends: Sequence[BackendSettings], at: datetime) -> None:
    """Looks every backend's price and window up, as calls will at ``at`` (aware).

    The bundled list takes a good part of a second to load, and more on a slow machine. In the middle of a call it would keep the event
    loop for so long, and the handler that made the call would be named for it.
    """
    for backend in backends:
        window_of(backend, at)
        if lasting_rates(backend) is None:
            rates(backend, at)
