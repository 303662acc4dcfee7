"""Which facts begin and end a span: a thread, a delivery in it, a model call below that. The rest are events of one of them.

A delivery's span begins as its message is posted, so that it shows how long that waited, and lies below the delivery that sent it. A thread
that is taken up after a restart gets a span of its own, which begins there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import define, field
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from organism.record import facts
from organism.telemetry import names
from organism.threads.lineage import descendants

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from opentelemetry.context import Context
    from opentelemetry.trace import Tracer

    from organism.record.facts import Fact, Step
    from organism.record.images import Ref
    from organism.telemetry.names import Attribute
    from organism.threads.frames import Thread

CARRIED: Final = ("traceparent", "tracestate")
"""The labels of a thread that say below which span it lies, as W3C's Trace Context writes them."""
_PROPAGATOR: Final = TraceContextTextMapPropagator()
_ERRORS: Final = {"failed", "stopped"}
"""Outcomes of threads that are errors. To have used up a budget is none."""


@define(eq=False)
class _Thread:
    """A thread that has not ended: the spans of its deliveries by their numbers, of its calls by the holds of their first attempts, and
    again those of its calls by the holds of all attempts that are out.
    """

    span: Span
    began: int
    deliveries: dict[int, Span] = field(factory=dict[int, Span])
    calls: dict[int, Span] = field(factory=dict[int, Span])
    attempts: dict[int, Span] = field(factory=dict[int, Span])


class Spans:
    """Begins and ends spans as the facts come in. ``agents`` are the handlers that are agents, ``backends`` the attributes of each backend, by its
    name.
    """

    def __init__(
        self,
        tracer: Tracer,
        agents: frozenset[str],
        backends: Mapping[str, Mapping[str, Attribute]],
    ) -> None:
        self._tracer = tracer
        self._agents = agents
        self._backends = backends
        self._threads: dict[str, _Thread] = {}

    def take_up(self, roots: Iterable[Thread], at: float) -> None:
        """These threads, and those below them, began in an earlier process, and go on from here."""
        for root in roots:
            for thread in descendants(root):
                if thread.id not in self._threads:  # else its journal had failed, and it goes on in this process
                    self._taken_up(thread, _nanoseconds(at))

    def take(self, fact: Fact) -> None:
        """Takes in the next fact. What comes when its thread has ended, and what is no thread's, is passed over."""
        at = _nanoseconds(fact.at)
        sender = self._of(fact)
        for step in fact.steps:
            self._step(step, sender, at)
        thread = self._threads.get(fact.thread)
        if thread is None:
            return
        if isinstance(fact, facts.Ended):
            self._end(fact, thread, at)
        else:
            self._go_on(fact, thread, self._of(fact) or thread.span, at)

    def close(self, at: float) -> None:
        """Ends what is open: its process ends."""
        end = _nanoseconds(at)
        for thread in reversed(self._threads.values()):
            _leave(thread, end)
            thread.span.set_attribute(names.OUTCOME, "unfinished")
            thread.span.end(end)
        self._threads.clear()

    def _of(self, fact: Fact) -> Span | None:
        """The span of the delivery that a fact tells of, else that of its thread."""
        thread = self._threads.get(fact.thread)
        return None if thread is None else thread.deliveries.get(getattr(fact, "seq", 0), thread.span)

    def _step(self, step: Step, sender: Span | None, at: int) -> None:
        match step:
            case facts.ThreadOpened():
                self._open(step, sender, at)
            case facts.Posted():
                self._post(step, sender, at)
            case facts.Cut(dropped=dropped):
                self._drop(dropped, at)
            case facts.WarningRaised(thread=id_) if id_ in self._threads:
                warned: dict[str, Attribute] = {
                    "organism.unit": step.unit, "organism.level": step.level, "organism.scope": step.scope,
                    "organism.used": float(step.used), "organism.limit": float(step.limit),
                }  # fmt: skip
                self._threads[id_].span.add_event("organism.budget_warning", warned, at)
            case _:
                pass

    def _open(self, step: facts.ThreadOpened, sender: Span | None, at: int) -> None:
        above = None if step.owner is None or sender is None else _below(sender)
        self._thread(step.thread, step.handler, step.labels, step.accounts, step.conversation, above, at, {})

    def _thread(
        self,
        id_: str,
        handler: str,
        labels: Mapping[str, str],
        accounts: tuple[str, ...],
        conversation: str | None,
        above: Context | None,
        at: int,
        more: Mapping[str, Attribute],
    ) -> None:
        """A thread's span, below another one, or below what its labels name."""
        attributes: dict[str, Attribute] = {
            names.THREAD: id_,
            names.HANDLER: handler,
            names.CONVERSATION: conversation or id_,
            **_labels(labels),
            **({"organism.accounts": accounts} if accounts else {}),
            **more,
        }
        context = _PROPAGATOR.extract(dict(labels)) if above is None else above
        span = self._tracer.start_span(f"thread {handler}", context, attributes=attributes, start_time=at)
        self._threads[id_] = _Thread(span, at)

    def _post(self, step: facts.Posted, sender: Span | None, at: int) -> None:
        thread = self._threads.get(step.thread)
        if thread is not None:
            first = not thread.deliveries and step.opens
            above = thread.span if first or sender is None else sender
            thread.deliveries[step.seq] = self._delivery(step.to, step.thread, step.seq, above, at, {
                "organism.kind": step.kind, "organism.sender": step.sender, "organism.payload": type(step.payload).__name__,
            })  # fmt: skip

    def _delivery(
        self, handler: str, thread: str, seq: int, above: Span, at: int, more: Mapping[str, Attribute]
    ) -> Span:
        name, attributes = names.operation(handler, self._agents)
        attributes |= {names.THREAD: thread, names.HANDLER: handler, "organism.message": seq, **more}
        return self._tracer.start_span(name, _below(above), attributes=attributes, start_time=at)

    def _taken_up(self, thread: Thread, at: int) -> None:
        """The span of a thread that began in an earlier process, below the one that opened it."""
        above = None if thread.owner is None else _below(self._threads[thread.owner.thread.id].span)
        conversation = None if thread.conversation is None else thread.conversation.id
        taken_up: dict[str, Attribute] = {"organism.taken_up": True}
        self._thread(thread.id, thread.handler, thread.labels, thread.accounts, conversation, above, at, taken_up)

    def _go_on(self, fact: Fact, thread: _Thread, span: Span, at: int) -> None:
        match fact:
            case facts.CallHeld() | facts.CallSettled() | facts.CallCompleted() | facts.CallFailed():
                self._call(fact, thread, span, at)
            case facts.CallRefused(unit=unit, scope=scope):
                span.add_event("organism.call_refused", {"organism.unit": unit, "organism.scope": scope}, at)
            case facts.Retried(failure=failure):
                span.add_event("organism.retried", {names.ERROR: failure.code, "organism.why": failure.text}, at)
            case facts.Answered(seq=seq, handler=handler) | facts.Failed(seq=seq, handler=handler):
                self._done(fact, thread, seq, handler, at)
                self._drop(getattr(fact, "dropped", ()), at)
            case facts.Dropped(seq=seq):
                self._drop([(fact.thread, seq)], at)
            case facts.Exhausted(failure=failure, dropped=dropped) | facts.Stopped(failure=failure, dropped=dropped):
                thread.span.add_event(f"organism.{type(fact).__name__.lower()}", {"organism.why": failure.text}, at)
                self._drop(dropped, at)
            case facts.Granted(unit=unit, amount=amount, by=by):
                granted: dict[str, Attribute] = {
                    "organism.unit": unit,
                    "organism.amount": float(amount),
                    "organism.by": by,
                }
                span.add_event("organism.granted", granted, at)
            case facts.Compacted():
                span.add_event("organism.compacted", None, at)
            case facts.Paused() | facts.Resumed() | facts.StoodStill() | facts.WentOn():
                thread.span.add_event(_EVENTS[type(fact)], None, at)
            case _:
                pass

    def _done(self, fact: Fact, thread: _Thread, seq: int, handler: str, at: int) -> None:
        """A delivery has ended."""
        span = thread.deliveries.pop(seq, None)
        if span is None:  # it was posted before anybody listened
            span = self._delivery(handler, fact.thread, seq, thread.span, thread.began, {})
        if isinstance(fact, facts.Failed):
            _fail(span, fact.failure.code, fact.failure.text)
        span.end(at)

    def _call(
        self,
        fact: facts.CallHeld | facts.CallSettled | facts.CallCompleted | facts.CallFailed,
        thread: _Thread,
        below: Span,
        at: int,
    ) -> None:
        match fact:
            case facts.CallHeld(hold=hold, call=None):
                attributes: dict[str, Attribute] = {
                    names.OPERATION: "chat", names.ALIAS: fact.alias, **self._backends.get(fact.backend, {}), "organism.grace": fact.grace,
                }  # fmt: skip
                thread.calls[hold] = thread.attempts[hold] = self._tracer.start_span(
                    f"chat {fact.alias}", _below(below), SpanKind.CLIENT, attributes, start_time=at
                )
            case facts.CallHeld(hold=hold, call=int(first)) if first in thread.calls:
                span = thread.attempts[hold] = thread.calls[first]
                span.add_event(
                    "organism.attempt", {"organism.attempt": fact.attempt, **self._backends.get(fact.backend, {})}, at
                )
            case facts.CallSettled(hold=hold, missed=missed) if hold in thread.attempts:
                span = thread.attempts.pop(hold)
                if missed is not None:
                    said = {
                        names.ERROR: missed.kind,
                        "organism.why": missed.text,
                        **self._backends.get(fact.backend, {}),
                    }
                    span.add_event("organism.attempt_failed", said, at)
            case facts.CallCompleted(call=int(first), kept=kept) if first in thread.calls:
                span = thread.calls.pop(first)
                if kept is not None:
                    span.set_attributes({
                        **names.spent(kept.usage), names.RESPONSE_MODEL: kept.model,
                        names.FINISH_REASONS: (kept.finish_reason,), **self._backends.get(kept.backend, {}),
                    })  # fmt: skip
                span.end(at)
            case facts.CallFailed(call=int(first)) if first in thread.calls:
                span = thread.calls.pop(first)
                span.set_attributes(names.spent(fact.usage))
                _fail(span, fact.outcome, fact.text)
                span.end(at)
            case _:
                pass

    def _drop(self, messages: Iterable[Ref], at: int) -> None:
        """Messages that nobody handles, or that were being handled in vain."""
        for thread, seq in messages:
            span = self._threads[thread].deliveries.pop(seq, None) if thread in self._threads else None
            if span is not None:
                span.set_attribute("organism.dropped", value=True)
                span.end(at)

    def _end(self, fact: facts.Ended, thread: _Thread, at: int) -> None:
        del self._threads[fact.thread]
        _leave(thread, at)
        thread.span.set_attributes(
            {
                names.HANDLER: fact.handler,
                names.OUTCOME: fact.outcome,
                **_labels(fact.labels),
                **names.summed(fact.usage),
            }
        )
        if fact.unit is not None:
            thread.span.set_attribute("organism.unit", fact.unit)
        if fact.outcome in _ERRORS:
            _fail(thread.span, fact.code or fact.outcome, fact.error or fact.outcome)
        thread.span.end(at)


_EVENTS: Final[Mapping[type[Any], str]] = {
    facts.Paused: "organism.paused",
    facts.Resumed: "organism.resumed",
    facts.StoodStill: "organism.waits_for_people",
    facts.WentOn: "organism.went_on",
}


def _labels(labels: Mapping[str, str]) -> dict[str, Attribute]:
    return {f"organism.label.{key}": value for key, value in labels.items() if key not in CARRIED}


def _leave(thread: _Thread, at: int) -> None:
    """Ends what is open below a thread."""
    for span in (*thread.calls.values(), *thread.deliveries.values()):
        span.set_attribute("organism.dropped", value=True)
        span.end(at)


def _fail(span: Span, code: str, text: str) -> None:
    span.set_attribute(names.ERROR, code)
    span.set_status(StatusCode.ERROR, text)


def _below(span: Span) -> Context:
    return set_span_in_context(span)


def _nanoseconds(at: float) -> int:
    return int(at * 1e9)
