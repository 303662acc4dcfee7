"""Messages that are on their way in: nothing else comes in under the id of one, and handlers wait neither with them nor for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import anyio

from organism.pump.inside import check_waits_outside

if TYPE_CHECKING:
    from contextvars import Context


@final
class Arrival:
    """A message on its way in. ``news`` is set when that is over, and when it begins to wait for others (``waits`` is then what for)."""

    __slots__ = ("news", "waits")

    def __init__(self) -> None:
        self.news = anyio.Event()
        self.waits = ""


class Arrivals:
    """What is on its way in, by the id of the thread that it is to open. ``variables`` are the context variables of handlers."""

    def __init__(self, variables: Context) -> None:
        self._variables = variables
        self._coming: dict[str, Arrival] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._coming

    async def alone(self, name: str) -> Arrival:
        """Begins under an id once nothing else is on its way under it: what that comes to is to be known before, also where it ends at once.
        Raises OrganismError in a handler, where that waits for others.
        """
        while (other := self._coming.get(name)) is not None:
            if other.waits:
                check_waits_outside(self._variables, other.waits)
            await other.news.wait()
        return self.begin(name)

    def begin(self, name: str) -> Arrival:
        """Begins under an id that nobody else has, or goes on under it."""
        return self._coming.setdefault(name, Arrival())

    def wait(self, coming: Arrival, verb: str) -> None:
        """What is coming waits from now on until others make room for it. Raises OrganismError in a handler, which may not ``verb`` it; those that
        wait behind it hear so as well.
        """
        check_waits_outside(self._variables, verb)
        if not coming.waits:
            coming.waits = verb
            news, coming.news = coming.news, anyio.Event()
            news.set()

    def end(self, name: str) -> None:
        """What was on its way in under this id is in, or will not be."""
        if (coming := self._coming.pop(name, None)) is not None:
            coming.news.set()
