"""Names for threads that are sent without one."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

import anyio
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

_MOST: Final = 256
"""Names that are looked for at once."""
_DRAWN: Final = 64
"""Names that are drawn at once."""


def drawn(token: Callable[[int], str]) -> Iterator[str]:
    """Names of 8 random bytes each. ``token`` gives the hexadecimal digits of so many bytes, and is asked for those of many names at once: that
    takes longer than to make a name.
    """
    while True:
        digits = token(8 * _DRAWN)
        for start in range(0, len(digits), 16):
            yield digits[start : start + 16]


@frozen
class Names:
    """Names as they are drawn. ``may_be_taken``: an earlier process may have drawn the same, since dice of one seed fall alike."""

    draw: Callable[[], str]
    may_be_taken: bool


class Known(Protocol):
    """What a journal that outlives its process knows of names."""

    async def recorded(self, threads: Sequence[str], /) -> Collection[str]:
        """Those of these names that it has already."""
        ...

    async def removed(self) -> str:
        """What stands for all threads that were removed from it, and is another one with each; empty where none was."""
        ...


class Naming:
    """Gives names that no thread has or had. ``known`` is ``None`` where no journal outlives the process; ``taken`` tells of a name whether one
    has it that lives, or is on its way in.

    A name stays with its thread also where that was removed: by the ids of its messages services know what they have done already. Nobody
    knows such names any more, so what is drawn after a removal is told apart by that.

    To look for each name alone took a turn of the disk's thread for each message; so some are looked for ahead, and of those only what
    this process itself gives to a thread may be taken since.
    """

    def __init__(self, names: Names, known: Known | None, taken: Callable[[str], bool]) -> None:
        self._draw = names.draw
        self._taken = taken
        self._known = known if names.may_be_taken else None
        self._removed: str | None = None
        """Before the first name."""
        self._ahead: deque[str] = deque()
        """Names that may be given. What is given by hand meanwhile is taken out, also while they are looked for."""
        self._sought: set[str] = set()
        self._together = 1
        self._looking = anyio.Lock()

    def at_once(self) -> str | None:
        """A name, where none needs to be looked for in the journal first."""
        name = self._draw() if self._known is None else self._ahead.popleft() if self._ahead else None
        return None if name is None or self._taken(name) else name

    async def next(self, count: int) -> list[str]:
        """So many names, all of them at once: nobody else is given one meanwhile. Raises what looking for them in the journal raises."""
        while True:
            names = await self._next(count)
            if not any(map(self._taken, names)):
                return names

    async def _next(self, count: int) -> list[str]:
        if self._known is None:
            return [self._draw() for _ in range(count)]
        while len(self._ahead) < count:
            async with self._looking:
                if len(self._ahead) < count:
                    await self._look_ahead(self._known)
        return [self._ahead.popleft() for _ in range(count)]

    def given(self, name: str) -> None:
        """A thread was sent under this name by hand: it is nobody else's any more."""
        self._sought.discard(name)
        if name in self._ahead:
            self._ahead.remove(name)

    async def _look_ahead(self, known: Known) -> None:
        if self._removed is None:
            self._removed = await known.removed()
        names = [_apart(self._draw(), self._removed) for _ in range(self._together)]
        self._sought = {*names}
        found = {*await known.recorded(names)}
        self._ahead.extend(name for name in names if name in self._sought and name not in found)
        self._together = min(_MOST, 2 * self._together)


def _apart(name: str, removed: str) -> str:
    """A name that is drawn after these removals, as long as it was."""
    return hashlib.sha256(f"{removed}\n{name}".encode()).hexdigest()[: len(name)] if removed else name
