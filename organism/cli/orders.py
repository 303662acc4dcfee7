"""Orders to a thread (``organism pause``, ``cancel``, ``add-budget`` and others): to the process that works on its journal, or written into the
journal where none does.
"""

from __future__ import annotations

import math
import os
import re
import time
from contextlib import asynccontextmanager, redirect_stdout
from typing import TYPE_CHECKING, Annotated, Any, Final

import anyio
from cyclopts import Parameter

from organism import config
from organism.cli.arguments import Given, pairs
from organism.cli.journals import HERE, InJournal, OfThread, Where, is_there
from organism.cli.reading import meant
from organism.cli.text import one_line
from organism.errors import ConfigurationError, JournalError, JournalHeldError
from organism.journal import owner_of, socket_path
from organism.journal.lock import spoken
from organism.kernel import Kernel
from organism.names import CONVERSATION
from organism.payloads import Vocabulary
from organism.pump.accounts import CEILING
from organism.pump.writer import in_place
from organism.settings import Settings
from organism.works.control import Order, given_more_in, tell, too_late, written_down
from organism.works.dead import retry_written_down
from organism.works.durable import Durable
from organism.works.vocabulary import payload_classes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping

    from organism.cli.journals import Place
    from organism.cli.streams import Streams

_TRIES: Final = 40
_PAUSE: Final = 0.05
"""Seconds between two tries: a process that has just taken a journal does not listen yet."""
_WITHOUT_FILE: Final = frozenset({"pause", "cancel", "add-budget"})
"""Orders that change what the journal says of a thread, and need nothing else of the organism: its file need not be there, nor its code run."""


def ordered(do: str, thread: str, where: Where, streams: Streams, units: Mapping[str, Any] | None = None) -> int:
    """Carries an order out, and says what was done; gives the exit code.

    Raises ConfigurationError where there is no such thread, or it has ended, and JournalError.
    """
    with where.opened() as found:
        means = meant(found, thread).told(streams)
    order = Order(do=do, thread=means.thread.removeprefix(CONVERSATION), units=units)
    return carried_out(order, means.chain.root, where, streams)


def carried_out(order: Order, chain: str, where: Where, streams: Streams) -> int:
    """Carries an order to a thread in ``chain`` out, and says what was done; gives the exit code. Raises as :func:`ordered`."""
    return _told_or_written(order, where, streams, lambda: _write(_durable(order, where, streams), chain, order))


def _told_or_written(order: Order, where: Where, streams: Streams, write: Callable[[], Awaitable[str]]) -> int:
    """Has an order carried out by the process that works on the journal, or by ``write`` where there is none; gives the exit code."""
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


def _durable(order: Order, where: Where, streams: Streams) -> Durable:
    """The journal, with as much of the organism as an order needs."""
    if order.do in _WITHOUT_FILE:
        place = where.place
        settings, vocabulary = Settings(name="", journal=place.url, folder=place.folder), None
    else:
        with redirect_stdout(streams.err):
            over = {} if where.journal is None else {"journal": where.journal}
            settings = config.load(where.file, set=over, environ=dict(os.environ), written=lambda _: "--journal")
        vocabulary = Vocabulary(payload_classes(settings))
    return _journal_of(settings, Kernel(settings), vocabulary)


def _journal_of(settings: Settings, kernel: Kernel, vocabulary: Vocabulary | None = None) -> Durable:
    return Durable(settings, kernel, vocabulary, now=time.time, offload=_in_place, hand_over=in_place)


@asynccontextmanager
async def _opened(durable: Durable) -> AsyncGenerator[None]:
    await durable.open(failed=_told_by_who_waits, moved=_nothing_waits)
    try:
        yield
    finally:
        await durable.close()


async def _write(durable: Durable, chain: str, order: Order) -> str:
    async with _opened(durable):
        if order.do == "retry":
            return await retry_written_down(durable, order.question or "")
        thread = order.thread or ""
        of_conversation = chain == f"{CONVERSATION}{thread}"
        if not durable.left(chain) and not (of_conversation and order.do == "add-budget"):
            if of_conversation:
                raise ConfigurationError([f"no turn of conversation {one_line(thread)} is under way"])
            raise ConfigurationError([await too_late(durable, thread, order)])
        return await written_down(durable, chain, thread, order)


async def _in_place(work: Callable[[], Any]) -> Any:
    """There is nobody who would have to go on meanwhile."""
    return work()


def _nothing_waits() -> None:
    """Nothing leaves, so nothing waits for what is written."""


def _told_by_who_waits(_chain: str, _error: JournalError) -> None:
    """The error is raised where the facts are waited for."""


_GROUPED: Final = re.compile(r"[1-9][0-9]{0,2}(,[0-9]{3})+")


def pause(
    thread: OfThread,
    /,
    *,
    where: InJournal = HERE,
    streams: Given,
) -> int:
    """Pauses a thread and all below it: running handlers finish, nothing more is delivered, and its clock stops.

    A process that works on the journal does it; if there is none, the pause is written into the journal, and lasts until 'organism resume'.
    """
    return ordered("pause", thread, where, streams)


def cancel(
    thread: OfThread,
    /,
    *,
    where: InJournal = HERE,
    streams: Given,
) -> int:
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
    where: InJournal = HERE,
    streams: Given,
) -> int:
    """Raises limits of a thread by these amounts, and prints the old and new limits.

    A process that works on the journal does it; if there is none, it is written into the journal.

    Example: organism add-budget 8315 tokens=1000 cost_usd=0.5
    """
    shared = _shared(account, ceiling=ceiling)
    if shared is not None:
        return _quota_raised(Order(do="add-budget", account=shared, units=_amounts(words)), where, streams)
    if not words:
        raise ConfigurationError(["organism add-budget: name a thread, or an account with --account KIND=NAME"])
    return ordered("add-budget", words[0], where, streams, _amounts(words[1:]))


def _shared(account: str | None, *, ceiling: bool) -> str | None:
    """The name of the limits that many threads share, where those are meant."""
    if account is None:
        return CEILING if ceiling else None
    if ceiling:
        raise ConfigurationError([f"--account {one_line(account)} and --ceiling: raise one after the other"])
    ((kind, name),) = pairs("--account", [account], form="KIND=NAME").items()
    return f"{kind}:{name}"


def _quota_raised(order: Order, where: Where, streams: Streams) -> int:
    """Raises limits that many threads share, and says what was done; gives the exit code."""
    where.check_there()
    return _told_or_written(order, where, streams, lambda: _raise_quota(where, order))


async def _raise_quota(where: Where, order: Order) -> str:
    """Of the organism's file, what it says of limits alone is read: the rest need not be right, nor its code run."""
    if not is_there(where.file):
        raise ConfigurationError(
            [f"{where.file}: there is no such file, and the limits are in it: name it with --file"]
        )
    ceiling, accounts = config.quotas(where.file, environ=os.environ)
    place = where.place
    settings = Settings(name="", journal=place.url, folder=place.folder, ceiling=ceiling, accounts=accounts)
    kernel = Kernel(settings)
    durable = _journal_of(settings, kernel)
    async with _opened(durable):
        return await given_more_in(kernel, durable, order, time.time())


def _amounts(units: Iterable[str]) -> dict[str, int | float | str]:
    """``tokens=1000`` as amounts by unit; money stays a text, since it is exact. Raises ConfigurationError for what is no amount."""
    typed = pairs("add-budget", units, form="UNIT=AMOUNT")
    given = {unit: text if unit == "cost_usd" else _ungrouped(text) for unit, text in typed.items()}
    wrong = [
        f"add-budget {one_line(unit)}={one_line(text)}: is not an amount; write a number, as in {one_line(unit)}=1000"
        for unit, text in given.items()
        if not _is_number(text)
    ]
    if wrong:
        raise ConfigurationError(wrong)
    return {unit: text if unit == "cost_usd" else _number(text) for unit, text in given.items()}


def _ungrouped(text: str) -> str:
    """The text without the commas of thousands; any other comma may be meant as a point, as each may in an amount of money."""
    return text.replace(",", "") if _GROUPED.fullmatch(text) else text


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)
