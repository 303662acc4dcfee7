"""``organism pause``, ``cancel`` and ``add-budget``: what is done to a thread from outside."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from organism.cli.arguments import DEFAULT_FILE, Debug, Given, pairs
from organism.cli.journals import OfFile, OfJournal, OfThread  # noqa: TC001 - cyclopts reads annotations
from organism.cli.orders import ordered

if TYPE_CHECKING:
    from collections.abc import Iterable


def pause(
    thread: OfThread,
    /,
    *,
    file: OfFile = DEFAULT_FILE,
    journal: OfJournal = None,
    debug: Debug = False,  # noqa: ARG001 - main reads it
    streams: Given,
) -> int:
    """Pauses a thread with all below it: what runs finishes, nothing more is delivered, and its time stands still.

    A process that works on the journal does it; where there is none, it is written into the journal, and holds until the thread is resumed.
    """
    return ordered("pause", thread, file, journal, streams)


def cancel(
    thread: OfThread,
    /,
    *,
    file: OfFile = DEFAULT_FILE,
    journal: OfJournal = None,
    debug: Debug = False,  # noqa: ARG001 - main reads it
    streams: Given,
) -> int:
    """Cancels a thread with all below it: what is out settles, then it ends 'cancelled'.

    A process that works on the journal does it; where there is none, it is written into the journal.
    """
    return ordered("cancel", thread, file, journal, streams)


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


__all__ = ["add_budget", "cancel", "pause"]
