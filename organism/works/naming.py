"""Names for threads that are sent without one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import anyio
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Collection, Sequence

_MOST: Final = 256
"""Names that are looked for at once."""


@frozen
class Names:
    """Names as they are drawn. ``may_be_taken``: an earlier process may have drawn the same, since dice of one seed fall alike."""

    draw: Callable[[], str]
    may_be_taken: bool


class Naming:
    """Gives names that no thread has or had. ``recorded`` gives those of some names that the journal has already;
    ``None`` where there is none that outlives a process.

    To look for each name alone took a turn of the disk's thread for each message; so some are looked for ahead, and of those only what
    this process itself gives to a thread may be taken since.
    """

    def __init__(self, names: Names, recorded: Callable[[Sequence[str]], Awaitable[Collection[str]]] | None) -> None:
        self._draw = names.draw
        self._recorded = recorded if names.may_be_taken else None
        self._ahead: deque[str] = deque()
        """Names that may be given. What is given by hand meanwhile is taken out, also while they are looked for."""
        self._sought: set[str] = set()
        self._together = 1
        self._looking = anyio.Lock()

    async def next(self, count: int) -> list[str]:
        """So many names, all of them at once: nobody else is given one meanwhile. Raises what looking for them in the journal raises."""
        if self._recorded is None:
            return [self._draw() for _ in range(count)]
        while len(self._ahead) < count:
            async with self._looking:
                if len(self._ahead) < count:
                    await self._look_ahead(self._recorded)
        return [self._ahead.popleft() for _ in range(count)]

    def given(self, name: str) -> None:
        """A thread was sent under this name by hand: it is nobody else's any more."""
        self._sought.discard(name)
        if name in self._ahead:
            self._ahead.remove(name)

    async def _look_ahead(self, recorded: Callable[[Sequence[str]], Awaitable[Collection[str]]]) -> None:
        names = [self._draw() for _ in range(self._together)]
        self._sought = {*names}
        found = {*await recorded(names)}
        self._ahead.extend(name for name in names if name in self._sought and name not in found)
        self._together = min(_MOST, 2 * self._together)
