"""What is counted: tokens and seconds of model calls, as OpenTelemetry's conventions have them, and money, messages, threads and limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from organism.record import facts
from organism.telemetry import names
from organism.usage import usd

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.metrics import Meter

    from organism.record.facts import Fact
    from organism.telemetry.names import Attribute

_TOKENS: Final = (1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304)
_SECONDS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
# Both as the conventions advise.


class Figures:
    """Counts what facts tell. No figure is told by thread, label or account: there may be very many of those. ``backends`` are the attributes
    of each backend, by its name.
    """

    def __init__(self, meter: Meter, backends: Mapping[str, Mapping[str, Attribute]]) -> None:
        self._backends = backends
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage", "{token}", "Tokens of an attempt at a model call",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )  # fmt: skip
        self._seconds = meter.create_histogram(
            "gen_ai.client.operation.duration", "s", "Seconds of an attempt at a model call",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )  # fmt: skip
        self._cost = meter.create_counter("organism.cost", "{USD}", "Dollars that model calls did cost")
        self._unpriced = meter.create_counter(
            "organism.unpriced",
            "{attempt}",
            "Attempts at model calls that organism.cost leaves out: nobody knows their price",
        )
        self._messages = meter.create_counter("organism.messages", "{message}", "Messages put in mailboxes")
        self._failures = meter.create_counter("organism.failures", "{delivery}", "Deliveries that failed")
        self._threads = meter.create_counter("organism.threads", "{thread}", "Threads that ended")
        self._thread_seconds = meter.create_histogram(
            "organism.thread.duration", "s", "Running time of threads that ended"
        )
        self._warnings = meter.create_counter("organism.budget_warnings", "{warning}", "Levels of limits reached")
        self._refusals = meter.create_counter("organism.calls_refused", "{call}", "Model calls that a limit refused")

    def take(self, fact: Fact) -> None:
        """Takes in the next fact."""
        for step in fact.steps:
            match step:
                case facts.Posted(to=to):
                    self._messages.add(1, {names.HANDLER: to})
                case facts.WarningRaised(unit=unit, level=level, scope=scope):
                    self._warnings.add(1, {"organism.unit": unit, "organism.level": level, "organism.scope": scope})
                case _:
                    pass
        match fact:
            case facts.CallSettled():
                self._settled(fact)
            case facts.CallRefused(unit=unit, scope=scope):
                self._refusals.add(1, {"organism.unit": unit, "organism.scope": scope})
            case facts.Failed(handler=handler, failure=failure):
                self._failures.add(1, {names.HANDLER: handler, names.ERROR: failure.code})
            case facts.Ended(kind=kind, handler=handler, outcome=outcome):
                told: dict[str, Attribute] = {"organism.kind": kind, names.HANDLER: handler, names.OUTCOME: outcome}
                self._threads.add(1, told)
                self._thread_seconds.record(fact.usage.seconds, told)
            case _:
                pass

    def _settled(self, fact: facts.CallSettled) -> None:
        told: dict[str, Attribute] = {
            names.OPERATION: "chat", names.ALIAS: fact.alias, **self._backends.get(fact.backend, {}), names.HANDLER: fact.handler,
        }  # fmt: skip
        charge = fact.charge
        for kind, tokens in (("input", charge.input_tokens), ("output", charge.output_tokens)):
            if tokens:
                self._tokens.record(tokens, {**told, names.KIND_OF_TOKENS: kind})
        if charge.cost:
            self._cost.add(float(usd(charge.cost)), told)
        if charge.unpriced:
            self._unpriced.add(1, told)
        if any(charge.amounts) or fact.missed is not None:  # else the hold was given back before the backend was asked
            error = {} if fact.missed is None else {names.ERROR: fact.missed.kind}
            self._seconds.record(max(0.0, fact.at - fact.held_at), {**told, **error})
