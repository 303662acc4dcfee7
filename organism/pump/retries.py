"""Timers of further attempts, and the circuit breakers of handlers that keep failing (R9)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from organism.pump.wakeups import take_all
from organism.threads.lineage import root_of
from organism.threads.outcomes import Failure
from organism.threads.restart import Circuit, counts

if TYPE_CHECKING:
    from collections.abc import Callable

    from organism.kernel import Kernel
    from organism.pump.delivery import Delivery
    from organism.pump.timers import Timers
    from organism.threads.frames import Message


class Retries:
    """Looks after what failed. Circuits are kept by each process for itself; the record only has the failures that they cause."""

    def __init__(self, kernel: Kernel, timers: Timers, now: Callable[[], float], carry_out: Callable[[], None]) -> None:
        self._retries = kernel.retries
        self._timers = timers
        self._now = now
        self._carry_out = carry_out
        self.circuits: dict[str, Circuit] = {}
        """The circuits of handlers that have failed, by name."""
        self._probes: set[Message] = set()

    def look(self) -> None:
        """Sets the timers of attempts that wait."""
        for message in take_all(self._retries.waiting):
            due = self._retries.due(message)
            if due is not None:
                self._timers.add(due, partial(self._begin, message))

    def _begin(self, message: Message) -> None:
        self._retries.begin(message)
        self._carry_out()

    # Circuit breakers

    def barred(self, message: Message) -> Failure | None:
        """The failure of a message that is not delivered, since its handler keeps failing; ``None``: it is delivered, perhaps as a probe."""
        circuit = self.circuits.get(message.to)
        if circuit is None or circuit.state == "closed":
            return None
        if circuit.lets_through(self._now()):
            self._probes.add(message)
            return None
        return Failure("crashed", circuit.says(), retry=True, undelivered=True)

    def ended(self, delivery: Delivery, failure: Failure | None, *, void: bool) -> None:
        """A delivery has ended, with this failure or well. ``void``: it was cancelled, which says nothing about its handler."""
        message = delivery.message
        probe = message in self._probes
        self._probes.discard(message)
        circuit = self.circuits.get(message.to)
        if void:
            if circuit is not None and probe:
                circuit.left()
        elif failure is not None and counts(failure.code) and not delivery.passed_on:
            if circuit is None:
                circuit = self.circuits[message.to] = Circuit(name=message.to)
            if probe or circuit.state != "half-open":
                circuit.failed(root_of(message.thread).id, self._now())
        elif circuit is not None and (probe or circuit.state == "closed"):
            circuit.succeeded()
