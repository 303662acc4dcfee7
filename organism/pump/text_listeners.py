"""Listeners to the text that agents are writing, piece by piece. It is never recorded, and where nobody listens it is not even produced."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from attrs import frozen

from organism.names import told

if TYPE_CHECKING:
    from collections.abc import Callable

_log: Final = logging.getLogger("organism")


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
    """The listeners of one organism."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[TextDelta], object]] = []

    def __bool__(self) -> bool:
        return bool(self._callbacks)

    def listen(self, callback: Callable[[TextDelta], object]) -> Callable[[], None]:
        """Adds a listener, which must not block, and gives what removes it. What it raises is logged, and changes nothing else."""
        check_callback(callback)
        self._callbacks.append(callback)

        def leave() -> None:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

        return leave

    def tell(self, spoken: TextDelta) -> None:
        """Calls every listener with a piece."""
        for callback in tuple(self._callbacks):
            try:
                callback(spoken)
            except Exception:  # noqa: BLE001 - whatever it is, it is the listener's; it is logged
                _log.exception("a callback of `overhear` raised an exception; it is called again with the next piece")
