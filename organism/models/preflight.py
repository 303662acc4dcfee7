"""What is looked at beside a file: whether the backends that it names can be made, and have a price where they need one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.models.factories import check_backend
from organism.models.prices import check_price
from organism.models.recordings.sellers import with_seller

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from datetime import datetime

    from organism.settings import BackendSettings


class BackendChecks:
    """What is wrong with single backends, at one moment and in one environment; nothing is started.

    ``late``: whether who starts the organism looks again at what keeps backends from being made, so that here it is worth a line only
    beside other mistakes.
    """

    def __init__(self, environ: Mapping[str, str], at: datetime, *, late: bool = False) -> None:
        self._environ = environ
        self._at = at
        self.late = late

    def making(self, settings: BackendSettings, wrong: Collection[str]) -> Iterator[str]:
        """See :func:`~organism.models.factories.check_backend`."""
        return check_backend(settings, wrong, environ=self._environ)

    def price(self, settings: BackendSettings, wrong: Collection[str]) -> Iterator[str]:
        """See :func:`~organism.models.prices.check_price`."""
        return check_price(with_seller(settings), wrong, at=self._at)
