"""The one event loop that an organism belongs to. Calls from other loops or threads are refused: they could interrupt a change half-way. What
comes from the loop's own thread in the middle of a change, as from a signal handler or a finalizer, is put off until behind it.
"""

from __future__ import annotations

import logging
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Final

from organism.errors import OrganismError
from organism.pump import runtime

if TYPE_CHECKING:
    from collections.abc import Callable

    from organism.kernel.book import Book

_log: Final = logging.getLogger("organism")


class OwnLoop:
    """The running event loop and its ``thread`` (an identifier), to which the organism of this name belongs. ``deserted``: nothing runs there
    any more, and anybody may ask. An asyncio loop may be stopped, and go on in another thread. ``book`` knows whether a change is under way.
    """

    def __init__(self, name: str, book: Book) -> None:
        self.thread = get_ident()
        self.deserted = False
        self._name = name
        self._loop, self._at_home = runtime.loop(), runtime.at_home()
        self._book = book
        self._call = runtime.caller()

    def check(self) -> None:
        """Raises OrganismError in another thread, or on another event loop."""
        if self._at_home() or self.deserted or (get_ident() == self.thread and runtime.loop() is None):
            return
        raise self.error()

    def puts_off(self, change: Callable[[], object]) -> bool:
        """Has ``change`` made behind the one that is under way, if there is one; returns whether it did so. Raises as :meth:`check`."""
        self.check()
        return self._book.half_done and not self.deserted and self._call(partial(_made, change))

    def follow(self) -> None:
        """Raises OrganismError in another thread, unless the event loop goes on in that one now."""
        if runtime.loop() is not self._loop:
            raise self.error()
        self.thread = get_ident()

    def error(self) -> OrganismError:
        """The error for whoever asks from elsewhere."""
        return OrganismError(
            f"organism '{self._name}' belongs to another event loop than this: have it asked there, as by asyncio.run_coroutine_threadsafe, "
            "anyio.from_thread or trio.from_thread; in a thread that the organism gave to a function, by ctx.run"
        )


def _made(change: Callable[[], object]) -> None:
    """Makes a change that was put off. Whoever asked for it hears no more of what it raises."""
    try:
        change()
    except OrganismError as error:
        _log.error("a call that came in the middle of a change was refused behind it: %s", error)
