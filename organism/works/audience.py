"""Who hears of facts: the journal first, then subscribers, the session log, and a history in memory for whoever asks for one."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from organism.journal import MemoryJournal, SessionLog
from organism.journal.secrets import Marked
from organism.pump.outlet import Outlet, call
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


class _Subscriber:
    """Whoever hears of facts. ``at_once``: it is our own, and calls nobody; ``slow``: that was said of it; ``gone``: it hears of no more."""

    def __init__(self, callback: Callable[[Fact], object], *, at_once: bool) -> None:
        self.callback = callback
        self.at_once = at_once
        self.slow = self.gone = False


class Audience:
    """Those who hear of an organism's facts. ``changed`` is called when the first of them comes, or one goes; ``clock`` says how long
    subscribers take.
    """

    def __init__(self, changed: Callable[[], None], *, clock: Callable[[], float]) -> None:
        self._changed = changed
        self._clock = clock
        self._meters: list[Meter] = []
        self._history: MemoryJournal | None = None
        self._session_log: SessionLog | None = None
        self.marked = Marked()
        """What hooks have said are secrets."""
        self.outlet = Outlet()
        """By which all who listen hear."""
        self.text_listeners = TextListeners(self.outlet)
        """Those who hear what agents write while they write it: no facts, and written down nowhere."""
        self._subscribers: dict[str | None, dict[_Subscriber, None]] = {}
        """Those who hear of facts as they come, by the chain whose facts these are; ``None``: all."""
        self.writer: Writer | None = None
        """Writes the journal, where it stands on a disk."""

    @property
    def listener(self) -> Callable[[str, Fact], None] | None:
        """Who is to be told of facts; ``None`` where nobody listens. Where only the journal does, it hears them itself."""
        others = self._history is not None or self._session_log is not None or bool(self._subscribers)
        return self.record if others else None if self.writer is None else self.writer.record

    def subscribe(self, callback: Callable[[Fact], object]) -> Callable[[], None]:
        """Adds a subscriber; returns a function that takes it out again."""
        check_callback(callback)
        return self._add(_Subscriber(callback, at_once=False), None)

    def hear(self, callback: Callable[[Fact], object], *, of: str | None = None) -> Callable[[], None]:
        """Adds a reader of our own, of all facts or of those ``of`` one chain: it only takes them down, and so may be told in the middle of a
        change. Returns a function that takes it out again.
        """
        return self._add(_Subscriber(callback, at_once=True), of)

    def _add(self, subscriber: _Subscriber, of: str | None) -> Callable[[], None]:
        self._subscribers.setdefault(of, {})[subscriber] = None
        self._change(subscriber, 1)

        def unsubscribe() -> None:
            if subscriber.gone:
                return
            subscriber.gone = True
            others = self._subscribers[of]
            del others[subscriber]
            if not others:
                del self._subscribers[of]
            self._change(subscriber, -1)

        return unsubscribe

    def _change(self, subscriber: _Subscriber, more: int) -> None:
        if not subscriber.at_once:
            self.outlet.heeded += more
        self._changed()

    def meter(self, listener: Callable[[Metered], object]) -> Callable[[], None]:
        """Tells ``listener`` what attempts and calls cost, in a thread of its own; returns a function that ends that."""
        check_callback(listener)
        meter = Meter(listener)
        self._meters = [*(each for each in self._meters if not each.over), meter]
        unsubscribe = self.hear(meter.hear)

        def stop() -> None:
            unsubscribe()
            meter.end()

        return stop

    @property
    def history(self) -> MemoryJournal | None:
        """The facts of live threads, where somebody asked for them."""
        return self._history

    def keep_history(self) -> MemoryJournal:
        """Keeps the facts of live threads from now on, and returns the journal that holds them."""
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

    def tell(self, root: str, fact: Fact) -> None:
        """Has those who are subscribers by now told of a fact in the chain ``root``."""
        hear: list[_Subscriber] = []
        # A copy: a reader of events may be freed, and so go, at any moment.
        for each in (*self._subscribers.get(None, ()), *self._subscribers.get(root, ())):
            if each.at_once:
                each.callback(fact)
            else:
                hear.append(each)
        if hear:
            self.outlet.put(partial(self._tell, hear, fact))

    def _tell(self, hear: list[_Subscriber], fact: Fact) -> None:
        for each in hear:
            if each.gone:
                continue
            began = self._clock()
            call(each.callback, fact, of="subscribe", again="fact")
            took = self._clock() - began
            if took > SLOW and not each.slow:
                each.slow = True
                _log.warning(
                    "a callback of `subscribe` took %.1f s, and everything else waited: read `organism.events()` in a task of your own, or use "
                    "`organism.meter()`, which has a thread of its own",
                    took,
                )

    async def close(self) -> None:
        """Tells and writes what is left, also to meters."""
        self.outlet.empty()
        meters, self._meters = self._meters, []
        for meter in meters:
            meter.end()
        for meter in meters:
            await anyio.to_thread.run_sync(meter.join)
        if self._session_log is not None:
            await anyio.to_thread.run_sync(self._session_log.close)
