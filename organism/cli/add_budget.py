"""``organism add-budget``: higher limits for a thread that has not ended."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from organism.cli.arguments import DEFAULT_FILE, Debug, Given, pairs
from organism.cli.journals import OfFile, OfJournal, OfThread  # noqa: TC001 - cyclopts reads annotations
from organism.cli.orders import ordered

if TYPE_CHECKING:
    from collections.abc import Iterable


def add_budget(
    thread: OfThread,
    /,
    *units: Annotated[
        str, Parameter(name="UNIT=AMOUNT", help="How much more of what, as in tokens=1000 cost_usd=0.5.")
    ],
    file: OfFile = DEFAULT_FILE,
    journal: OfJournal = None,
    debug: Debug = False,  # noqa: ARG001 - main reads it
    streams: Given,
) -> int:
    """Raises limits of a thread by these amounts, and says what they are now.

    A process that works on the journal does it; where there is none, it is written into the journal.
    """
    return ordered("add-budget", thread, file, journal, streams, _amounts(units))


def _amounts(units: Iterable[str]) -> dict[str, int | float | str]:
    """``tokens=1000`` as amounts by unit; money stays a text, since it is exact."""
    return {unit: text if unit == "cost_usd" else _number(text) for unit, text in pairs("add-budget", units).items()}


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text.replace(",", ""))
    return text
