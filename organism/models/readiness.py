"""What the backends of an organism need before they can be called: looked at, and loaded, when it starts."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from organism.errors import ConfigurationError
from organism.models.background import BackgroundWork
from organism.models.context_windows import look_up_all
from organism.models.factories import check_backend, check_backends, is_checked_quickly
from organism.models.prices import list_is_loaded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from organism.settings import ModelSettings


async def made_ready(models: Mapping[str, ModelSettings], *, environ: Mapping[str, str], at: datetime) -> None:
    """Loads the SDKs and the prices that calls will need at ``at`` (aware), and reads recordings, while the event loop goes on.

    Raises ConfigurationError with a placed line for each mistake that would keep a backend from being made; none is.
    """
    backends = [backend for model in models.values() for backend in model.backends]
    listed = any(backend.provider != "simulated" or backend.factory is not None for backend in backends)
    known: Mapping[int, Sequence[str]] = {}
    if not (all(map(is_checked_quickly, backends)) and (list_is_loaded() or not listed)):
        checking = BackgroundWork(partial(_checked, models, environ, at))
        await checking.wait()
        known = checking.result()
    if problems := check_backends(models, environ=environ, known=known):
        raise ConfigurationError(problems)
    look_up_all(models, at)


def _checked(
    models: Mapping[str, ModelSettings], environ: Mapping[str, str], at: datetime
) -> Mapping[int, Sequence[str]]:
    """The mistakes of those that are not the user's own, which are checked on the event loop; prices are loaded with them."""
    with suppress(Exception):  # what keeps them from being looked up is told where they are needed
        look_up_all(models, at)
    return {
        id(backend): tuple(check_backend(backend, environ=environ))
        for model in models.values()
        for backend in model.backends
        if backend.factory is None
    }
