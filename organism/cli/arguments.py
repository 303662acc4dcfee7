"""What several commands take on their command line, and what it means."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from organism.cli.streams import Streams
from organism.cli.text import one_line
from organism.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cyclopts import Token

DEFAULT_FILE: Final = Path("organism.yaml")

File = Annotated[Path, Parameter(name="FILE", show_default=True, help="The organism's file.")]
Sets = Annotated[
    tuple[str, ...],
    Parameter(
        name="--set",
        allow_leading_hyphen=True,
        json_list=False,
        metavar="KEY=VALUE",
        help="Overrides a key of the file, as in budget.tokens=500; may be repeated.",
    ),
]
Labels = Annotated[
    tuple[str, ...],
    Parameter(
        allow_leading_hyphen=True, json_list=False, metavar="KEY=VALUE", help="A label of the threads; may be repeated."
    ),
]
Debug = Annotated[bool, Parameter(name="--debug", help="Show tracebacks.")]
Given = Annotated[Streams, Parameter(parse=False)]
"""What ``main`` passes to a command; it is no argument of the command line."""


def _whole(_type: object, tokens: Sequence[Token]) -> int:
    """A whole number as it was typed. Raises ValueError for any other: rounded, it would be another one than was meant."""
    return int(tokens[0].value)


_AGE: Final = re.compile(r"([0-9]{1,6})([dh])")
WHOLE: Final = Parameter(metavar="N", converter=_whole)


def pairs(option: str, texts: Iterable[str], *, form: str = "KEY=VALUE") -> dict[str, str]:
    """``KEY=VALUE`` texts as a mapping, the last of one key wins. Raises ConfigurationError for every text that is none; ``form`` is
    what it is called there.
    """
    found: dict[str, str] = {}
    wrong: list[str] = []
    for text in texts:
        key, equals, value = text.partition("=")
        if equals and key:
            found[key] = value
        else:
            wrong.append(f"{option} {one_line(text)}: is no {form}")
    if wrong:
        raise ConfigurationError(wrong)
    return found


def moment(option: str, text: str, *, now: datetime) -> float:
    """An instant in seconds since 1970: a date, with a time or without (UTC), or so many days (``30d``) or hours (``12h``) before ``now``.

    Raises ConfigurationError for what is neither.
    """
    age = _AGE.fullmatch(text)
    try:
        if age is not None:
            found = now - timedelta(**{"days" if age[2] == "d" else "hours": int(age[1])})
        else:
            found = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        ways = "write it as in 2026-11-01 or 2026-11-01T12:00, or an age as in 30d or 12h"
        raise ConfigurationError([f"{option} {one_line(text)}: is no date; {ways}"]) from None
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
