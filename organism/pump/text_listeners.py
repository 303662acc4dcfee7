"""Listeners to the text that agents are writing, piece by piece. It is never recorded, and where nobody listens it is not even produced."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from attrs import frozen

from organism.names import told
from organism.pump.outlet import call

if TYPE_CHECKING:
    from collections.abc import Callable

    from organism.pump.outlet import Outlet


@frozen(kw_only=True)
class TextDelta:
    """The next piece of the reply that ``handler`` is writing to a message, which is named by its ``thread`` and ``seq``.

    ``anew``: the pieces before it are void. They may be of a turn that became no reply, or of an attempt that failed.
    """

    thread: str
    seq: int
    handler: str
    text: str = ""
    anew: bool = False


def check_callback(callback: object) -> None:
    """Raises TypeError for what cannot be called: otherwise that would only be found, and logged, with each call."""
    if not callable(callback):
        raise TypeError(f"a callback must be a function with one argument, not {told(callback)}")


class TextListeners:
    """The listeners of one organism, who hear by its ``outlet``."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._callbacks: list[Callable[[TextDelta], object]] = []

    def __bool__(self) -> bool:
        return bool(self._callbacks)

    def listen(self, callback: Callable[[TextDelta], object]) -> Callable[[], None]:
        """Adds a listener, which must not block, and returns what removes it. What it raises is logged, and changes nothing else."""
        check_callback(callback)
        self._callbacks.append(callback)

        def leave() -> None:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

        return leave

    def tell(self, spoken: TextDelta) -> None:
        """Has every listener told of a piece."""
        if self._callbacks:
            self._outlet.put(partial(self._tell, spoken))

    def _tell(self, spoken: TextDelta) -> None:
        for callback in tuple(self._callbacks):
            if callback in self._callbacks:
                call(callback, spoken, of="overhear", again="piece")
