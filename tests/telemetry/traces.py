"""What the tests of telemetry share: OpenTelemetry's SDK, and the spans that it was told of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pytest
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import Span


class Begun(SpanProcessor):
    """Keeps spans, as they begin."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002 - the SDK gives both
        self.spans.append(span)

    @property
    def ended(self) -> list[Span]:
        """Those that have ended."""
        return [span for span in self.spans if span.end_time is not None]


def keeper() -> tuple[TracerProvider, Begun]:
    """A provider, and what it keeps."""
    provider, begun = TracerProvider(), Begun()
    provider.add_span_processor(begun)
    return provider, begun


class Traces:
    """The spans that have ended, and what was counted, since it was made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        provider, self._begun = keeper()
        self._reader = InMemoryMetricReader()
        meters = MeterProvider([self._reader])
        # A process is set up once, for good: what is set up is replaced.
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
        monkeypatch.setattr(metrics, "get_meter_provider", lambda: meters)

    @property
    def ended(self) -> list[Span]:
        """The spans that have ended, as they began."""
        return self._begun.ended

    def named(self, name: str) -> Span:
        """The only span that is called so."""
        (span,) = [each for each in self.ended if each.name == name]
        return span

    def above(self, span: Span) -> str | None:
        """What the span above is called; ``None`` where there is none here."""
        names = {each.get_span_context().span_id: each.name for each in self.ended}
        return None if span.parent is None else names.get(span.parent.span_id)

    def tree(self) -> list[tuple[str, str | None]]:
        """Each span with what is above it."""
        return [(each.name, self.above(each)) for each in self.ended]

    def counted(self) -> dict[str, dict[tuple[tuple[str, Any], ...], float]]:
        """The sums of what was counted, by name and by what is told with it."""
        found: dict[str, dict[tuple[tuple[str, Any], ...], float]] = {}
        for name, point in self._points():
            told = tuple(sorted((point.attributes or {}).items()))
            found.setdefault(name, {})[told] = getattr(point, "sum", getattr(point, "value", 0))
        return found

    def bounds(self, histogram: str) -> tuple[float, ...]:
        """Between what figures its values are counted."""
        return next(tuple(point.explicit_bounds) for name, point in self._points() if name == histogram)

    def _points(self) -> Iterator[tuple[str, Any]]:
        data = self._reader.get_metrics_data()
        for scope in () if data is None else (each for of in data.resource_metrics for each in of.scope_metrics):
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    yield metric.name, point


def told(span: Span) -> Mapping[str, Any]:
    """The attributes of a span."""
    return span.attributes or {}


def events(span: Span) -> list[str]:
    """The names of a span's events, without ours before them."""
    return [each.name.removeprefix("organism.") for each in span.events]
