"""Orders to a thread (``organism pause``, ``cancel``, ``add-budget`` and others): to the process that works on its journal, or written into the
journal where none does.
"""

from __future__ import annotations

import math
import os
import re
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

import anyio
from cyclopts import Parameter

from organism import config
from organism.cli.arguments import Given, pairs
from organism.cli.journals import HERE, InJournal, OfThread, Where, may_be_there
from organism.cli.options import OverWithJournal
from organism.cli.reading import meant
from organism.cli.text import one_line
from organism.errors import ConfigurationError, IdTakenError, JournalError, JournalHeldError
from organism.journal import owner_of, socket_path
from organism.journal.lock import since, spoken
from organism.kernel import Kernel
from organism.names import CONVERSATION
from organism.payloads import Vocabulary
from organism.pump.accounts import CEILING
from organism.pump.writer import in_place
from organism.settings import Settings
from organism.works.control import Order, done_before, given_more_in, tell, too_late, written_down
from organism.works.dead import retry_written_down
from organism.works.durable import Durable
from organism.works.vocabulary import payload_classes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager

    from organism.cli.journals import Place
    from organism.cli.streams import Streams

_PAUSE: Final = 0.05
"""Seconds between two tries."""
_ENDING: Final = 2.0
"""Seconds for which a process is tried that does not listen: it may be about to end."""
_STARTING: Final = 10.0
"""Seconds from when a process took a journal, within which it begins to listen: it may have much to read first."""
_WITHOUT_FILE: Final = frozenset({"pause", "cancel", "add-budget"})
"""Orders that change what the journal says of a thread, and need nothing else of the organism: its file need not be there, nor its code run."""


def ordered(
    do: str,
    thread: str,
    where: Where,
    streams: Streams,
    *,
    units: Mapping[str, Any] | None = None,
    id_: str | None = None,
) -> int:
    """Carries an order out, and says what was done; returns the exit code. ``id_`` is that of an order that may be given again.

    Raises ConfigurationError where there is no such thread, or it has ended, and JournalError.
    """
    with where.opened() as found:
        means = meant(found, thread).told(streams, id_=id_)
    order = Order(do=do, thread=means.thread.removeprefix(CONVERSATION), units=units, id=id_)
    return carried_out(order, means.chain.root, where, streams)


def carried_out(order: Order, chain: str, where: Where, streams: Streams) -> int:
    """Carries an order to a thread in ``chain`` out, and says what was done; returns the exit code. Raises as :func:`ordered`."""
    return _told_or_written(order, where, streams, lambda: _write(_needed(order, where, streams), chain, order))


def _told_or_written(order: Order, where: Where, streams: Streams, write: Callable[[], Awaitable[str]]) -> int:
    """Has an order carried out by the process that works on the journal, or by ``write`` where there is none; returns the exit code."""
    said = told(where.place, order)
    while said is None:
        try:
            said = anyio.run(write, backend="trio")
        except JournalHeldError:
            said = told(where.place, order)
    streams.result(said)
    return 0


def told(place: Place, order: Order) -> str | None:
    """What the process says that works on the journal, in words; otherwise as :func:`asked`."""
    found = asked(place, order)
    return None if found is None else str(found.get("said", "done"))


def asked(place: Place, order: Order) -> Mapping[str, Any] | None:
    """What the process says that works on the journal; ``None`` where there is none. Raises JournalError where it does not listen."""
    begun, steady = time.time(), time.monotonic()
    while True:
        owner = owner_of(place.path)
        if owner is None:
            return None
        try:
            return anyio.run(tell, socket_path(place.path), order, backend="trio")
        except OSError as error:
            # Its clock, or the one of now, may have been set meanwhile: it has begun by now, whatever it says.
            if time.monotonic() - steady > max(_ENDING, min(since(owner) - begun, 0) + _STARTING):
                held = f"journal '{place}' is held by {spoken(owner)}, which takes no orders ({error})"
                raise JournalError(f"{held}; try again once it has ended") from None
        time.sleep(_PAUSE)


def _needed(order: Order, where: Where, streams: Streams) -> AbstractAsyncContextManager[Durable]:
    """The journal, with as much of the organism as an order needs."""
    if order.do in _WITHOUT_FILE:
        place = where.place
        settings, vocabulary = Settings(name="", journal=place.url, folder=place.folder), None
    else:
        settings = OverWithJournal(journal=where.journal).settings(where.file, streams)
        vocabulary = Vocabulary(payload_classes(settings))
    return _opened(settings, Kernel(settings), vocabulary)


@asynccontextmanager
async def _opened(settings: Settings, kernel: Kernel, vocabulary: Vocabulary | None = None) -> AsyncGenerator[Durable]:
    """A journal that is written here: there is nobody who would have to go on meanwhile."""

    async def here(work: Callable[[], Any]) -> Any:
        return work()

    durable = Durable(settings, kernel, vocabulary, now=time.time, offload=here, hand_over=in_place)
    # Nothing leaves that would wait for what is written, and an error is raised where the facts are waited for.
    await durable.open(failed=lambda _chain, _error: None, moved=lambda: None)
    try:
        yield durable
    finally:
        await durable.close()


async def _write(journal: AbstractAsyncContextManager[Durable], chain: str, order: Order) -> str:
    async with journal as durable:
        before = await _done_before(durable, order)
        if before is not None:
            return before
        if order.do == "retry":
            return await retry_written_down(durable, order.question or "")
        thread = order.thread or ""
        of_conversation = chain == f"{CONVERSATION}{thread}"
        if not durable.left(chain) and not (of_conversation and order.do == "add-budget"):
            if of_conversation:
                raise ConfigurationError([f"no turn of conversation {one_line(thread)} is under way"])
            return await too_late(durable, thread, order)
        return await written_down(durable, chain, thread, order)


_GROUPED: Final = re.compile(r"[1-9][0-9]{0,2}(,[0-9]{3})+")


def pause(thread: OfThread, /, *, where: InJournal = HERE, streams: Given) -> int:
    """Pauses a thread and all below it: running handlers finish, nothing more is delivered, and its clock stops.

    A process that works on the journal does it; if there is none, the pause is written into the journal, and lasts until 'organism resume'.
    """
    return ordered("pause", thread, where, streams)


def cancel(thread: OfThread, /, *, where: InJournal = HERE, streams: Given) -> int:
    """Cancels a thread and all below it: calls under way are settled, then it ends 'cancelled'.

    A process that works on the journal does it; if there is none, it is written into the journal.
    """
    return ordered("cancel", thread, where, streams)


def add_budget(
    *words: Annotated[
        str,
        Parameter(
            name="[THREAD] UNIT=AMOUNT",
            help="A thread's id, a unique prefix of it, the name of a conversation, or 'latest'; then what to add to which limit, as in tokens=1000 cost_usd=0.5.",
        ),
    ],
    account: Annotated[
        str | None,
        Parameter(
            metavar="KIND=NAME", help="Raise the limits of this account, instead of a thread's, until its window ends."
        ),
    ] = None,
    ceiling: Annotated[bool, Parameter(help="The same with the limits of the organism.")] = False,
    id: Annotated[  # noqa: A002 - the option's name
        str | None,
        Parameter(
            metavar="ID", help="A name for this order, of your choice: given again under it, it changes nothing."
        ),
    ] = None,
    where: InJournal = HERE,
    streams: Given,
) -> int:
    """Raises limits of a thread by these amounts, and prints the old and new limits.

    A process that works on the journal does it; if there is none, it is written into the journal.

    Example: organism add-budget 8315 tokens=1000 cost_usd=0.5
    """
    shared = _shared(account, ceiling=ceiling)
    if shared is not None:
        return _quota_raised(Order(do="add-budget", account=shared, units=_amounts(words), id=id), where, streams)
    if not words:
        raise ConfigurationError(["organism add-budget: name a thread, or an account with --account KIND=NAME"])
    return ordered("add-budget", words[0], where, streams, units=_amounts(words[1:]), id_=id)


def _shared(account: str | None, *, ceiling: bool) -> str | None:
    """The name of the limits that many threads share, where those are meant."""
    if account is None:
        return CEILING if ceiling else None
    if ceiling:
        raise ConfigurationError([f"--account {one_line(account)} and --ceiling: raise one after the other"])
    ((kind, name),) = pairs("--account", [account], form="KIND=NAME").items()
    return f"{kind}:{name}"


def _quota_raised(order: Order, where: Where, streams: Streams) -> int:
    """Raises limits that many threads share, and says what was done; returns the exit code."""
    where.check_there()
    return _told_or_written(order, where, streams, lambda: _raise_quota(where, order))


async def _raise_quota(where: Where, order: Order) -> str:
    """Of the organism's file, what it says of limits alone is read: the rest need not be right, nor its code run."""
    if not may_be_there(where.file):
        raise ConfigurationError(
            [f"{where.file}: there is no such file, and the limits are in it: name it with --file"]
        )
    ceiling, accounts = config.quotas(where.file, environ=os.environ)
    place = where.place
    settings = Settings(name="", journal=place.url, folder=place.folder, ceiling=ceiling, accounts=accounts)
    kernel = Kernel(settings)
    async with _opened(settings, kernel) as durable:
        return await _done_before(durable, order) or await given_more_in(kernel, durable, order, kernel.state.now)


async def _done_before(durable: Durable, order: Order) -> str | None:
    """As :func:`organism.works.control.done_before`; another order under the same id is a mistake of whoever gives it."""
    try:
        return await done_before(durable, order)
    except IdTakenError as error:
        raise ConfigurationError([str(error)]) from None


def _amounts(units: Iterable[str]) -> dict[str, int | float | str]:
    """``tokens=1000`` as amounts by unit. Raises ConfigurationError for what is no amount."""
    typed = pairs("add-budget", units, form="UNIT=AMOUNT")
    given = {unit: amount for unit, text in typed.items() if (amount := _amount(unit, text)) is not None}
    wrong = [
        f"add-budget {one_line(unit)}={one_line(text)}: is not an amount; write a number, as in {one_line(unit)}=1000"
        for unit, text in typed.items()
        if unit not in given
    ]
    if wrong:
        raise ConfigurationError(wrong)
    return given


def _amount(unit: str, text: str) -> int | float | str | None:
    """A number, without the commas of thousands; money stays a text, since it is exact. ``None`` for anything else: any other comma may
    be meant as a point, as each may in an amount of money.
    """
    money = unit == "cost_usd"
    plain = text.replace(",", "") if _GROUPED.fullmatch(text) and not money else text
    try:
        number = float(plain)
    except ValueError:
        return None
    whole = plain.removeprefix("-").isdecimal()
    return (text if money else int(plain) if whole else number) if math.isfinite(number) else None
