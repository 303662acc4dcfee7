"""Instants as people write them in options: dates, and ages."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from organism.cli.text import one_line
from organism.errors import ConfigurationError

_AGE: Final = re.compile(r"([0-9]{1,6})([dh])")


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
        raise ConfigurationError(
            [
                f"{option} {one_line(text)}: is no date; write it as in 2026-11-01 or 2026-11-01T12:00, or an age as in 30d or 12h"
            ]
        ) from None
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()


__all__ = ["moment"]
