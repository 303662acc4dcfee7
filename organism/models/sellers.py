"""Whom recorded models were bought from: their prices are those of then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

if TYPE_CHECKING:
    from organism.settings import ModelSettings, Settings


def with_sellers(settings: Settings) -> Settings:
    """The settings, with whom the recorded models were bought from: their prices are those of then. What cannot be read has
    no sellers.
    """
    if not any(backend.recording for model in settings.models.values() for backend in model.backends):
        return settings
    models = {name: _with_sellers(model) for name, model in settings.models.items()}
    return evolve(settings, models=models)


def _with_sellers(model: ModelSettings) -> ModelSettings:
    from organism.models.recorded import first_seller

    return evolve(
        model,
        backends=tuple(
            backend
            if backend.recording is None
            else evolve(backend, seller=first_seller(backend.recording, backend.model))
            for backend in model.backends
        ),
    )
