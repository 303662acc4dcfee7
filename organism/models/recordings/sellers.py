"""Whom recorded models were bought from: their prices are those of then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from organism.settings import with_backends

if TYPE_CHECKING:
    from organism.settings import BackendSettings, Settings


def with_sellers(settings: Settings) -> Settings:
    """The settings, with whom the recorded models were bought from: their prices are those of then. What cannot be read has
    no sellers.
    """
    if not any(backend.recording for model in settings.models.values() for backend in model.backends):
        return settings
    return evolve(settings, models=with_backends(settings.models, with_seller))


def with_seller(backend: BackendSettings) -> BackendSettings:
    """A backend, with whom it was bought from where it is a recorded one; as :func:`with_sellers`."""
    if backend.recording is None:
        return backend
    from organism.models.recordings.playback import first_seller

    return evolve(backend, seller=first_seller(backend.recording, backend.model))
