"""Instants as people write them in options."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from organism.cli.arguments import moment
from organism.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2026, 11, 22, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T12:00", datetime(2026, 11, 1, 12, tzinfo=UTC)),
        ("2026-11-01T12:00+02:00", datetime(2026, 11, 1, 10, tzinfo=UTC)),
        ("30d", NOW - timedelta(days=30)),
        ("12h", NOW - timedelta(hours=12)),
        ("0d", NOW),
    ],
)
def test_a_date_or_an_age_is_an_instant(text: str, at: datetime) -> None:
    assert moment("--since", text, now=NOW) == at.timestamp()


@pytest.fixture
def far_east() -> Iterator[None]:
    """A machine whose clock is nine hours ahead of UTC."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "JST-9")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("far_east")
def test_a_date_is_one_of_utc_wherever_the_machine_is() -> None:
    assert datetime.fromtimestamp(0).hour == 9  # noqa: DTZ006 - it is the machine's
    assert moment("--since", "2026-11-01T12:00", now=NOW) == datetime(2026, 11, 1, 12, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("text", ["soon", "", "30", "-1d", "1.5d", "3m", "999999d", "9999999d", "2026-13-01", "٣d"])
def test_what_is_neither_is_refused(text: str) -> None:
    with pytest.raises(
        ConfigurationError, match="is not a date; write it as in 2026-11-01 or 2026-11-01T12:00, or an age"
    ):
        moment("--since", text, now=NOW)
