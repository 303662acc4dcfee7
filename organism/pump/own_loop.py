"""The one event loop that an organism belongs to. Calls from other loops or threads are refused: they could interrupt a change half-way."""

from __future__ import annotations

from threading import get_ident

from organism.errors import OrganismError
from organism.pump import runtime


class OwnLoop:
    """The running event loop and its ``thread`` (an identifier), to which the organism of this name belongs. ``deserted``: nothing runs there
    any more, and anybody may ask. An asyncio loop may be stopped, and go on in another thread.
    """

    def __init__(self, name: str) -> None:
        self.thread = get_ident()
        self.deserted = False
        self._name = name
        self._loop = runtime.loop()

    def check(self) -> None:
        """Raises OrganismError in another thread, or on another event loop."""
        here = runtime.loop()
        if not (here is self._loop or self.deserted or (here is None and get_ident() == self.thread)):
            raise self.error()

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
