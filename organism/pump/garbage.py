"""How often Python looks for garbage while organisms run.

A handler that waits has some dozens of objects, with its task and its message. With a thousand of them as many objects come every few
milliseconds as Python takes for a reason to look among them; none is garbage, and looking takes up to a third of the time.
"""

from __future__ import annotations

import gc
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import TracebackType

OBJECTS: Final = 50_000
"""How many objects may have come before garbage is looked for among them."""
USUAL: Final = frozenset({700, 2000})
"""The same where nobody has said otherwise, by the version of Python."""


class Seldom:
    """While a block is open, garbage is looked for once in :data:`OBJECTS`, unless the process has said how often. Blocks may be open in
    several threads; the last one that is left sets back what was, unless somebody has said otherwise meanwhile.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0
        self._before: int | None = None

    def __enter__(self) -> None:
        with self._lock:
            self._open += 1
            first, *others = gc.get_threshold()
            if first in USUAL:
                self._before = first
                gc.set_threshold(OBJECTS, *others)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._open -= 1
            first, *others = gc.get_threshold()
            if not self._open and self._before is not None and first == OBJECTS:
                gc.set_threshold(self._before, *others)
            if not self._open:
                self._before = None


SELDOM: Final = Seldom()
"""For all organisms of the process."""
