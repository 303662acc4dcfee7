"""Takes the facts of one organism, and tells OpenTelemetry of them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from opentelemetry import metrics, trace

from organism.telemetry.figures import Figures
from organism.telemetry.names import backends_of
from organism.telemetry.spans import Spans

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from organism.record.facts import Fact
    from organism.settings import Settings
    from organism.threads.frames import Thread

_log: Final = logging.getLogger("organism")
SCOPE: Final = "organism"
"""What OpenTelemetry calls the instrumentation scope of all of this."""


class Telemetry:
    """Spans and metrics of the organism with these settings; ``known`` gives a thread of it by its id, as long as that has not ended. Without providers, those that the program has set up for all are used; where it
    has set up none, that is logged, and nobody is told anything.
    """

    def __init__(
        self,
        settings: Settings,
        known: Callable[[str], Thread | None],
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        traced = tracer_provider or trace.get_tracer_provider()
        if isinstance(traced, trace.ProxyTracerProvider):
            _log.warning(
                "telemetry is on, and OpenTelemetry is not set up: call `opentelemetry.trace.set_tracer_provider` before the organism starts, "
                "or run the command by `opentelemetry-instrument`"
            )
        agents = frozenset(name for name, handler in settings.handlers.items() if handler.agent is not None)
        backends = backends_of(settings.models)
        self._spans = Spans(traced.get_tracer(SCOPE), agents, backends, known)
        self._figures = Figures((meter_provider or metrics.get_meter_provider()).get_meter(SCOPE), backends)

    def take(self, fact: Fact) -> None:
        """Takes in the next fact, as a subscriber of the organism."""
        self._spans.take(fact)
        self._figures.take(fact)

    def close(self, at: float) -> None:
        """Ends the spans of what is still open at this instant, in seconds since 1970."""
        self._spans.close(at)
