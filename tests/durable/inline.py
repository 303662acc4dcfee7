"""Organisms that write their journals in place, for tests whose clock is virtual."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from organism.organism import Organism
from organism.pump.writer import in_place
from organism.works.works import Works

if TYPE_CHECKING:
    from collections.abc import Callable


class InlineWorks(Works):
    """The parts of an organism that writes on the event loop."""

    async def _offload(self, work: Callable[[], Any]) -> Any:
        return work()

    def _hand_over(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        in_place(work, done)


class Inline(Organism):
    """An organism that writes on the event loop: a worker thread would let the virtual clock jump while the disk is busy."""

    _parts = InlineWorks
