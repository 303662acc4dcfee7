"""How much of everything there is in an organism at one instant, and how much was spent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.kernel.sums import ALL
from organism.results import Statistics
from organism.usage import sums_by

if TYPE_CHECKING:
    from organism.kernel.state import State
    from organism.pump.pump import Pump
    from organism.usage import Usage


def statistics_of(state: State, pump: Pump | None) -> Statistics:
    """The counts of an organism's state, and of its pump where it has one."""
    return Statistics(
        threads=len(state.threads),
        queued=state.schedule.queued,
        running=state.schedule.running,
        held=len(state.holds),
        waiting_for_budget=len(state.line),
        timers=0 if pump is None else len(pump.timers),
        workers=0 if pump is None else len(pump.workers),
    )


def usage_of(state: State, by: str | None) -> Usage | dict[str, Usage]:
    """See :meth:`organism.organism.Organism.usage`."""
    return state.sums.tally(*ALL).usage() if by is None else sums_by(state.sums.totals, by)
