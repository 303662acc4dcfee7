"""``organism pause``, ``cancel`` and ``add-budget``: what is done to a thread from outside."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from organism.cli.arguments import DEFAULT_FILE, Debug, Given, pairs
from organism.cli.journals import OfFile, OfJournal, OfThread  # noqa: TC001 - cyclopts reads annotations
from organism.cli.orders import ordered
from organism.cli.text import one_line
from organism.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

_GROUPED: Final = re.compile(r"[1-9][0-9]{0,2}(,[0-9]{3})+")


def pause(
    thread: OfThread,
    /,
    *,
    file: OfFile = DEFAULT_FILE,
    journal: OfJournal = None,
    debug: Debug = False,  # noqa: ARG001 - main reads it
    streams: Given,
) -> int:
    """Pauses a thread and all below it: running handlers finish, nothing more is delivered, and its clock stops.

    A process that works on the journal does it; if there is none, the pause is written into the journal, and lasts until the thread is resumed.
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
    """Cancels a thread and all below it: calls under way are settled, then it ends 'cancelled'.

    A process that works on the journal does it; if there is none, it is written into the journal.
    """
    return ordered("cancel", thread, file, journal, streams)


def add_budget(
    thread: OfThread,
    /,
    *units: Annotated[
        str, Parameter(name="UNIT=AMOUNT", help="What to add to which limit, as in tokens=1000 cost_usd=0.5.")
    ],
    file: OfFile = DEFAULT_FILE,
    journal: OfJournal = None,
    debug: Debug = False,  # noqa: ARG001 - main reads it
    streams: Given,
) -> int:
    """Raises limits of a thread by these amounts, and prints the old and new limits.

    A process that works on the journal does it; if there is none, it is written into the journal.
    """
    return ordered("add-budget", thread, file, journal, streams, _amounts(units))


def _amounts(units: Iterable[str]) -> dict[str, int | float | str]:
    """``tokens=1000`` as amounts by unit; money stays a text, since it is exact. Raises ConfigurationError for what is no amount."""
    typed = pairs("add-budget", units, form="UNIT=AMOUNT")
    given = {unit: text if unit == "cost_usd" else _ungrouped(text) for unit, text in typed.items()}
    wrong = [
        f"add-budget {one_line(unit)}={one_line(text)}: is no amount; write a number, as in {one_line(unit)}=1000"
        for unit, text in given.items()
        if not _is_number(text)
    ]
    if wrong:
        raise ConfigurationError(wrong)
    return {unit: text if unit == "cost_usd" else _number(text) for unit, text in given.items()}


def _ungrouped(text: str) -> str:
    """The text without the commas of thousands; any other comma may be meant as a point, as each may in an amount of money."""
    return text.replace(",", "") if _GROUPED.fullmatch(text) else text


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)
