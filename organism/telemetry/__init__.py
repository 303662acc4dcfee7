"""Threads, deliveries and model calls as spans and metrics of OpenTelemetry: facts in, spans out.

The modules, in the order to read them: ``names`` (the attributes that others look for), ``spans`` (which facts begin and end a span),
``figures`` (what is counted), and ``telemetry``, which takes the facts of an organism. Nothing of a payload, a prompt or an answer is told: only
who was asked, how long it took, and what it cost.

What becomes of spans and metrics is settled by OpenTelemetry's SDK, which the program sets up that an organism runs in (or
``opentelemetry-instrument``, for a command); this room knows its API alone, and is loaded where ``telemetry`` is on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.late import late

if TYPE_CHECKING:
    from organism.telemetry.telemetry import Telemetry

__all__ = ["Telemetry"]

__getattr__ = late(__name__, {"Telemetry": "organism.telemetry.telemetry"})
# Its library is an extra, and most who run an organism do without.
