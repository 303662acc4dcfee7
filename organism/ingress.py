"""What comes from outside: messages in new threads, and threads that an earlier process left."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import anyio

from organism import config
from organism.errors import JournalError, QueueFullError, RoutingError
from organism.pump.handles import ThreadHandle
from organism.settings import laid_over

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from organism.durable import Durable
    from organism.frames import Thread
    from organism.pump.pump import Pump
    from organism.settings import BudgetSettings, Settings

_log: Final = logging.getLogger("organism.journal")


class Ingress:
    """Takes messages in for a running organism. ``new_id`` names threads, ``taking_in`` raises once nothing more is taken in.

    ``handles`` are those of the threads that live.
    """

    def __init__(
        self,
        settings: Settings,
        pump: Pump,
        durable: Durable | None,
        *,
        new_id: Callable[[], str],
        taking_in: Callable[[], object],
        handles: dict[Thread, ThreadHandle],
    ) -> None:
        self._settings = settings
        self._pump = pump
        self._durable = durable
        self._new_id = new_id
        self._taking_in = taking_in
        self._looking = anyio.Lock()
        self.handles = handles

    async def send(
        self, to: str, payload: Any, *, budget: Mapping[str, Any] | None, labels: Mapping[str, str], id_: str | None
    ) -> ThreadHandle:
        """See :meth:`organism.organism.Organism.send`."""
        settings = self.budget(budget)
        known = await self._known(id_)
        if known is not None:
            return known
        if self._settings.on_full == "wait":
            await self._pump.room()
        elif self._pump.kernel.schedule.queued >= self._settings.queue:
            raise QueueFullError(f"{self._settings.queue} messages wait already (`queue`), and `on_full` is refuse")
        self._taking_in()  # while it waited, the organism may have been closed, or another have sent it
        live = self._live(id_)
        if live is not None:
            return live
        thread, handle = self._accept(to, payload, settings, labels, id_)
        self._pump.carry_out()
        await self._pump.settled(thread)
        return handle

    async def send_all(self, messages: Iterable[tuple[str, Any]], *, labels: Mapping[str, str]) -> list[ThreadHandle]:
        """Takes several messages in at once, each in a thread of its own: all of them, before any is delivered (R23)."""
        opened = [self._accept(to, payload, self._settings.budget, labels, None) for to, payload in messages]
        self._pump.carry_out()
        for thread, _ in opened:
            await self._pump.settled(thread)
        return [handle for _, handle in opened]

    def _accept(
        self, to: str, payload: Any, budget: BudgetSettings, labels: Mapping[str, str], id_: str | None
    ) -> tuple[Thread, ThreadHandle]:
        pump = self._pump
        thread = pump.kernel.accept(id_ or self._new_id(), to, payload, budget, labels, pump.now())
        return thread, self.handle(thread)

    def budget(self, over: Mapping[str, Any] | None) -> BudgetSettings:
        """The budget of a thread, with what was given for it over what the file says."""
        return self._settings.budget if over is None else laid_over(self._settings.budget, config.budget(over), over)

    def handle(self, thread: Thread) -> ThreadHandle:
        """The handle of a live thread."""
        handle = self.handles.get(thread)
        if handle is None:
            handle = self.handles[thread] = ThreadHandle(self._pump, thread)
        return handle

    async def _known(self, id_: str | None) -> ThreadHandle | None:
        """The thread that was sent under this id before: alive, left by an earlier process, or ended in the journal."""
        live = self._live(id_)
        if live is not None or id_ is None or self._durable is None:
            return live
        async with self._looking:
            if (live := self._live(id_)) is not None:
                return live
            if self._durable.left(id_) and (taken := await self._take_up(id_)) is not None:
                return taken
            record = await self._durable.end_of(id_)
        return None if record is None else ThreadHandle.of_record(self._pump, record)

    def _live(self, id_: str | None) -> ThreadHandle | None:
        """The live thread that was sent under this id; raises RoutingError where the id is that of a sub-thread."""
        given: Any = id_
        if given is not None and not isinstance(given, str):
            raise TypeError(f"id is a text, not {given!r}")
        found = None if id_ is None else self._pump.kernel.state.threads.get(id_)
        if found is None:
            return None
        if found.owner is not None:
            raise RoutingError(f"thread id {id_!r} is that of a sub-thread that runs: choose another one")
        return self.handles.get(found)

    async def resume(self) -> list[ThreadHandle]:
        """See :meth:`organism.organism.Organism.resume`."""
        taken: list[ThreadHandle] = []
        durable = self._durable
        for chain in () if durable is None else durable.unfinished:
            async with self._looking:
                if durable is None or not durable.left(chain.root):
                    continue
                try:
                    handle = await self._take_up(chain.root)
                except JournalError as error:
                    _log.error("thread %s cannot be taken up: %s", chain.root, error)
                    continue
            if handle is not None:
                taken.append(handle)
        return taken

    async def _take_up(self, root: str) -> ThreadHandle | None:
        if self._durable is None:
            return None
        thread = await self._durable.recover(root)
        handle = None if thread is None else self.handle(thread)
        self._pump.carry_out()
        if thread is not None and thread.paused_at is not None:
            self._pump.pauses.pause(thread)
        return handle


def checked_labels(labels: Mapping[str, str] | None) -> dict[str, str]:
    """Labels as a dict of their own; raises TypeError for what is no text."""
    given: Mapping[Any, Any] = labels or {}
    for key, value in given.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"labels are texts by name, not {key!r}: {value!r}")
    return dict(given)
