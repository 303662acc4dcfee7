"""Takes the facts of one organism, and tells OpenTelemetry of them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from opentelemetry import metrics, trace

from organism.telemetry.figures import Figures
from organism.telemetry.names import backends_of
from organism.telemetry.spans import Spans

if TYPE_CHECKING:
    from collections.abc import Iterable

    from organism.record.facts import Fact
    from organism.settings import Settings
    from organism.threads.frames import Thread

_log: Final = logging.getLogger("organism")
SCOPE: Final = "organism"
"""What OpenTelemetry calls the instrumentation scope of all of this."""


class Telemetry:
    """Spans and metrics of the organism with these settings, for what the program has set up; where it has set up nothing, that is logged,
    and nobody is told anything.
    """

    def __init__(self, settings: Settings) -> None:
        traced, metered = trace.get_tracer_provider(), metrics.get_meter_provider()
        # The provider of a program that has set up none is the API's own; for metrics its class has no public name.
        if isinstance(traced, trace.ProxyTracerProvider) and type(metered).__module__.startswith(
            f"{metrics.__name__}."
        ):
            _log.warning(
                "telemetry is on, and OpenTelemetry is not set up: call `opentelemetry.trace.set_tracer_provider`, "
                "`opentelemetry.metrics.set_meter_provider` or both before the organism starts, or run the command by `opentelemetry-instrument`"
            )
        agents = frozenset(name for name, handler in settings.handlers.items() if handler.agent is not None)
        backends = backends_of(settings.models)
        self._spans = Spans(traced.get_tracer(SCOPE), agents, backends)
        self._figures = Figures(metered.get_meter(SCOPE), backends)

    def take_up(self, roots: Iterable[Thread], at: float) -> None:
        """These root threads, which began in an earlier process, go on from this instant, in seconds since 1970."""
        self._spans.take_up(roots, at)

    def take(self, fact: Fact) -> None:
        """Takes in the next fact, as a subscriber of the organism."""
        self._spans.take(fact)
        self._figures.take(fact)

    def close(self, at: float) -> None:
        """Ends the spans of what is still open at this instant, in seconds since 1970."""
        self._spans.close(at)
