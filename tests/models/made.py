"""Backends as an organism makes them: their settings are looked at first, and then they are made."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from organism.errors import ConfigurationError
from organism.models.factories import check_backend
from organism.models.providers import Providers
from organism.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from organism.models.contract import Backend
    from organism.settings import BackendSettings

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def made(settings: BackendSettings, environ: Mapping[str, str] | None = None) -> Backend:
    """The backend of these settings. Raises ConfigurationError with what is wrong with them, each mistake behind their place."""
    known = environ or {}
    if problems := list(check_backend(settings, environ=known)):
        raise ConfigurationError([f"{settings.place}: {problem}" for problem in problems])
    return Providers(Settings(name="made"), environ=known, clock=lambda: NOW)(settings)
