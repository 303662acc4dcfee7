"""Who hears of facts: the journal first, then subscribers, the session log, and a history in memory for whoever asks for one."""

from __future__ import annotations

import logging
from collections import deque
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

import anyio

from organism.journal import MemoryJournal, SessionLog
from organism.journal.secrets import Marked
from organism.pump.text_listeners import TextListeners, check_callback
from organism.record.metering import Meter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from organism.pump.writer import Writer
    from organism.record.facts import Fact
    from organism.record.metering import Metered

_log: Final = logging.getLogger("organism")
SLOW: Final = 0.1
"""Seconds from which on a subscriber is said to be slow."""


class Audience:
    """Those who hear of an organism's facts. ``changed`` is called when the first of them comes, or one goes; ``clock`` says how long
    subscribers take.
    """

    def __init__(self, changed: Callable[[], None], *, clock: Callable[[], float]) -> None:
        self._changed = changed
        self._clock = clock
        self._meters: list[Meter] = []
        self._slow: set[int] = set()
        self._history: MemoryJournal | None = None
        self._session_log: SessionLog | None = None
        self.marked = Marked()
        """What hooks have said are secrets."""
        self.text_listeners = TextListeners()
        """Those who hear what agents write while they write it: no facts, and written down nowhere."""
        self._subscribers: dict[str | None, dict[object, Callable[[Fact], object]]] = {}
        """Those who hear of facts as they come, by the chain whose facts these are; ``None``: all. Each has a key of its own."""
        self._untold: deque[tuple[str, Fact]] = deque()
        """What subscribers are yet to be told; the first is being told."""
        self.writer: Writer | None = None
        """Writes the journal, where it stands on a disk."""

    @property
    def listener(self) -> Callable[[str, Fact], None] | None:
        """Who is to be told of facts; ``None`` where nobody listens. Where only the journal does, it hears them itself."""
        others = self._history is not None or self._session_log is not None or bool(self._subscribers)
        return self.record if others else None if self.writer is None else self.writer.record

    def subscribe(self, callback: Callable[[Fact], object], *, of: str | None = None) -> Callable[[], None]:
        """Adds a subscriber, to all facts or to those ``of`` one chain; returns a function that takes it out again."""
        check_callback(callback)
        subscriber = object()
        self._subscribers.setdefault(of, {})[subscriber] = callback
        self._changed()

        def unsubscribe() -> None:
            others = self._subscribers.get(of, {})
            if others.pop(subscriber, None) is not None and not others:
                del self._subscribers[of]
            self._changed()

        return unsubscribe

    def meter(self, listener: Callable[[Metered], object]) -> Callable[[], None]:
        """Tells ``listener`` what attempts and calls cost, in a thread of its own; returns a function that ends that."""
        check_callback(listener)
        meter = Meter(listener)
        self._meters = [*(each for each in self._meters if not each.over), meter]
        unsubscribe = self.subscribe(meter.hear)

        def stop() -> None:
            unsubscribe()
            meter.end()

        return stop

    @property
    def history(self) -> MemoryJournal | None:
        """The facts of live threads, where somebody asked for them."""
        return self._history

    def keep_history(self) -> MemoryJournal:
        """Keeps the facts of live threads from now on, and gives the journal that holds them."""
        if self._history is None:
            self._history = MemoryJournal(marked=self.marked)
            self._changed()
        return self._history

    def write_session_log(self, folder: Path) -> None:
        """Writes every fact into files for people, as well as it goes."""
        self._session_log = SessionLog(folder, marked=self.marked)
        self._session_log.start()
        self._changed()

    def record(self, root: str, fact: Fact) -> None:
        """Takes a fact down for the journal and for people; subscribers hear of it once it is durable."""
        writer = self.writer
        if writer is not None:
            writer.record(root, fact)
        if self._history is not None:
            self._history.write([(root, fact)])
        if self._session_log is not None:
            self._session_log.record(root, fact)
        if not self._subscribers:
            return
        if writer is None:
            self.tell(root, fact)
        else:
            writer.when_durable(root, partial(self.tell, root, fact))

    def yet_to_be_told(self, root: str) -> int:
        """How many facts in the chain ``root`` whoever subscribes now will hear of though they have happened: a subscriber, by which they
        came, is being told of an earlier one.
        """
        return sum(chain == root for chain, _ in islice(self._untold, 1, None))

    def tell(self, root: str, fact: Fact) -> None:
        """Tells the subscribers of a fact in the chain ``root``; one that raises does no harm."""
        self._untold.append((root, fact))
        if len(self._untold) > 1:
            return  # a subscriber caused it: the others first hear of what came before
        while self._untold:
            chain, first = self._untold[0]
            try:
                hear = [each for of in (None, chain) for each in self._subscribers.get(of, {}).values()]
                for callback in hear:  # whoever subscribes meanwhile begins with what comes next
                    self._call(callback, first)
            finally:
                self._untold.popleft()

    def _call(self, callback: Callable[[Fact], object], fact: Fact) -> None:
        began = self._clock()
        try:
            callback(fact)
        except Exception:  # noqa: BLE001 - whatever it is, it is the subscriber's; it is logged
            _log.exception("a callback of `subscribe` raised an exception; it is called again with the next fact")
        took = self._clock() - began
        if took > SLOW and id(callback) not in self._slow:
            self._slow.add(id(callback))
            _log.warning(
                "a callback of `subscribe` took %.1f s, and everything else waited: read `organism.events()` in a task of your own, or use "
                "`organism.meter()`, which has a thread of its own",
                took,
            )

    async def close(self) -> None:
        """Writes what is left to be written, and tells meters what they have not heard yet."""
        meters, self._meters = self._meters, []
        for meter in meters:
            meter.end()
        for meter in meters:
            await anyio.to_thread.run_sync(meter.join)
        if self._session_log is not None:
            await anyio.to_thread.run_sync(self._session_log.close)
