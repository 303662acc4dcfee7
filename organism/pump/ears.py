"""Who hears what agents write while they write it. Nothing of it is ever written down, and where nobody listens nothing is said."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable

_log: Final = logging.getLogger("organism")


@frozen(kw_only=True)
class Spoken:
    """More of the reply that ``handler`` writes to a message, told by its ``thread`` and its number there (``seq``).

    ``anew``: what came before it of that reply is void. It may be a turn's that became no reply, or an attempt's that failed.
    """

    thread: str
    seq: int
    handler: str
    text: str = ""
    anew: bool = False


def checked(callback: object) -> None:
    """Raises TypeError for what cannot be called: it would be found, and logged, anew with everything that there is to tell."""
    if not callable(callback):
        raise TypeError(f"a callback is a function of what it is told, not {callback!r:.80}")


class Ears:
    """Those who listen."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[Spoken], object]] = []

    def __bool__(self) -> bool:
        return bool(self._callbacks)

    def listen(self, callback: Callable[[Spoken], object]) -> Callable[[], None]:
        """Adds a listener, which must not wait; gives what takes it out again. One that raises does no harm."""
        checked(callback)
        self._callbacks.append(callback)

        def leave() -> None:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

        return leave

    def tell(self, spoken: Spoken) -> None:
        """Tells everybody."""
        for callback in tuple(self._callbacks):
            try:
                callback(spoken)
            except Exception:  # noqa: BLE001 - whatever it is, it is the listener's; it is logged
                _log.exception("a listener to what agents write raised; it is called again with the next piece")
