"""Orders to a thread: to the process that works on its journal, or written into the journal where none does."""

from __future__ import annotations

import os
import time
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any, Final

import anyio

from organism import config
from organism.cli.journals import opened, place_of
from organism.cli.reading import meant
from organism.cli.text import one_line
from organism.errors import ConfigurationError, JournalError, JournalHeldError
from organism.journal import owner_of, socket_path
from organism.journal.lock import spoken
from organism.kernel import Kernel
from organism.names import CONVERSATION
from organism.payloads import Vocabulary
from organism.pump.writer import in_place
from organism.settings import Settings
from organism.works.control import Order, tell, too_late, written_down
from organism.works.dead import retry_written_down
from organism.works.durable import Durable
from organism.works.vocabulary import payload_classes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from organism.cli.journals import Place
    from organism.cli.streams import Streams

_TRIES: Final = 40
_PAUSE: Final = 0.05
"""Seconds between two tries: a process that has just taken a journal does not listen yet."""
_WITHOUT_FILE: Final = frozenset({"pause", "cancel", "add-budget"})
"""Orders that change what the journal says of a thread, and need nothing else of the organism: its file need not be there, nor its code run."""


def ordered(
    do: str, thread: str, file: Path, journal: str | None, streams: Streams, units: Mapping[str, Any] | None = None
) -> int:
    """Carries an order out, and says what was done; gives the exit code.

    Raises ConfigurationError where there is no such thread, or it has ended, and JournalError.
    """
    with opened(file, journal) as found:
        means = meant(found, thread)
    order = Order(do=do, thread=means.thread.removeprefix(CONVERSATION), units=units)
    return carried_out(order, means.chain.root, file, journal, streams)


def carried_out(order: Order, chain: str, file: Path, journal: str | None, streams: Streams) -> int:
    """Carries an order to a thread in ``chain`` out, and says what was done; gives the exit code. Raises as :func:`ordered`."""
    place = place_of(file, journal)
    said = told(place, order)
    while said is None:
        try:
            said = anyio.run(_write, _durable(order, place, file, journal, streams), chain, order, backend="trio")
        except JournalHeldError:
            said = told(place, order)
    streams.result(said)
    return 0


def told(place: Place, order: Order) -> str | None:
    """What the process says that works on the journal, in words; otherwise as :func:`asked`."""
    found = asked(place, order)
    return None if found is None else str(found.get("said", "done"))


def asked(place: Place, order: Order) -> Mapping[str, Any] | None:
    """What the process says that works on the journal; ``None`` where there is none. Raises JournalError where it does not listen."""
    who, problem = "another process", ""
    for _ in range(_TRIES):
        owner = owner_of(place.path)
        if owner is None:
            return None
        try:
            return anyio.run(tell, socket_path(place.path), order, backend="trio")
        except OSError as error:
            who, problem = spoken(owner), str(error)
            time.sleep(_PAUSE)
    raise JournalError(
        f"journal '{place}' is held by {who}, which takes no orders ({problem}); try again once it has ended"
    )


def _settings(file: Path, journal: str | None, streams: Streams) -> Settings:
    with redirect_stdout(streams.err):
        over = {} if journal is None else {"journal": journal}
        return config.load(file, set=over, environ=dict(os.environ), written=lambda _: "--journal")


def _durable(order: Order, place: Place, file: Path, journal: str | None, streams: Streams) -> Durable:
    """The journal, with as much of the organism as an order needs."""
    if order.do in _WITHOUT_FILE:
        settings, vocabulary = Settings(name="", journal=place.url, folder=place.folder), None
    else:
        settings = _settings(file, journal, streams)
        vocabulary = Vocabulary(payload_classes(settings))
    return Durable(settings, Kernel(settings), vocabulary, now=time.time, offload=_in_place, hand_over=in_place)


async def _write(durable: Durable, chain: str, order: Order) -> str:
    await durable.open(failed=_told_by_who_waits, moved=_nothing_waits)
    try:
        if order.do == "retry":
            return await retry_written_down(durable, order.question or "")
        thread = order.thread or ""
        of_conversation = chain == f"{CONVERSATION}{thread}"
        if not durable.left(chain) and not (of_conversation and order.do == "add-budget"):
            if of_conversation:
                raise ConfigurationError([f"no turn of conversation {one_line(thread)} is under way"])
            raise ConfigurationError([await too_late(durable, thread, order)])
        return await written_down(durable, chain, thread, order)
    finally:
        await durable.close()


async def _in_place(work: Callable[[], Any]) -> Any:
    """There is nobody who would have to go on meanwhile."""
    return work()


def _nothing_waits() -> None:
    """Nothing leaves, so nothing waits for what is written."""


def _told_by_who_waits(_chain: str, _error: JournalError) -> None:
    """The error is raised where the facts are waited for."""


__all__ = ["asked", "carried_out", "ordered", "told"]
