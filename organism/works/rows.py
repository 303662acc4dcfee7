"""What a chain tells of its root threads: how they ended, or how far they are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from organism.errors import JournalError
from organism.journal.codec import decode_entry
from organism.journal.endings import TELLING, Ending, Terms
from organism.journal.standing import opens_nothing
from organism.journal.values import PlainPayload
from organism.kernel.outcome import final_of
from organism.kernel.reading import Reading
from organism.kernel.times import so_far
from organism.names import CONVERSATION, told
from organism.payloads import encode_json, encode_xml
from organism.record import facts
from organism.results import ThreadResult, result_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from organism.journal import Chain, Journal
    from organism.kernel.state import State
    from organism.threads.frames import Thread


@frozen(kw_only=True)
class ThreadRow:
    """A root thread as a list shows it. ``result.outcome`` is ``running``, ``paused`` or ``unfinished`` where it has not ended;
    then its figures are those so far, as of the last entry of its chain. ``began`` and ``ended_at`` are instants in seconds since 1970.
    ``limits`` are its last ones by unit, without those that it does not have; ``accounts`` are those that it is under; ``origin`` is the thread that it was forked from.

    Where it is ``short``, ``result`` lacks what may be large: replies, the last text, warnings, forecasts and sub-threads; :func:`whole` reads them.
    """

    result: ThreadResult
    chain: str
    began: float
    ended_at: float | None
    limits: Mapping[str, Any]
    accounts: tuple[str, ...]
    origin: str | None
    short: Ending | None = None

    @property
    def conversation(self) -> str | None:
        """The conversation whose turn it is."""
        return self.chain.removeprefix(CONVERSATION) if self.chain.startswith(CONVERSATION) else None

    @property
    def place(self) -> tuple[float, bool, str]:
        """By which rows are ordered, the oldest first. A journal has them as they came to it: one that was imported began before others. A fork
        began when its origin did, and comes behind that.
        """
        return (self.began, self.origin is not None, self.result.thread)

    def as_json(self) -> dict[str, Any]:
        """The object that ``organism run --json`` prints, and what only the journal knows."""
        return {
            **json_of(self.result),
            "conversation": self.conversation,
            "began_at": self.began,
            "ended_at": self.ended_at,
            "limits": dict(self.limits),
            "accounts": list(self.accounts),
            "forked_from": self.origin,
        }


def json_of(result: ThreadResult) -> dict[str, Any]:
    """The object of a result whose payloads may be without their classes."""
    bare = evolve(result, replies=(), threads=())
    replies = [{"from": sender, **payload_json(payload)} for sender, payload in result.replies]
    return {**bare.as_json(), "replies": replies, "threads": [json_of(each) for each in result.threads]}


def payload_json(payload: Any) -> dict[str, Any]:
    """The JSON and the XML of a payload, with its class or without."""
    if isinstance(payload, PlainPayload):
        return {"payload": {payload.name: payload.fields}, "xml": payload.xml}
    return {"payload": encode_json(payload), "xml": encode_xml(payload).decode()}


def threads_of(journal: Journal, chain: Chain, *, owned: bool) -> list[ThreadRow]:
    """The root threads of a chain in the order they began. ``owned``: a process works on the journal, so that what is open runs.

    Raises JournalError where the chain is damaged.
    """
    terms, began = Terms(), dict[str, float]()
    ended: dict[str, ThreadRow] = {}
    # Where a chain is over, each of its threads says at its end what it came to, and there may be very many.
    reading, kinds = (Reading(), None) if chain.open else (None, [cls.__name__ for cls in TELLING])
    for number, document in enumerate(journal.documents(chain.root, kinds=kinds), 1):
        fact = decode_entry(document)
        odd = opens_nothing(fact) if number == 1 else None
        if odd is not None:
            raise JournalError(f"thread {told(chain.root)}: {odd}")
        if isinstance(fact, facts.Accepted):
            began.setdefault(fact.thread, fact.at)
        ending = terms.take(fact, document["n"])
        if ending is not None and isinstance(fact, facts.Ended):
            ended[ending.id] = evolve(_short(chain.root, ending), result=result_of(fact), short=None)
        if reading is not None:
            reading.take(fact)
    if reading is None:
        return list(ended.values())
    # One whose end was not written any more is finished by a restart, as others are that are open.
    cut = (each for each in reading.unsaid.values() if each.owner is None)
    live = {
        thread.id: _live(reading.state, thread, terms, chain.root, owned=owned)
        for thread in (*reading.state.roots, *cut)
    }
    rows = ended | live
    return [rows[each] for each in {**live, **began} if each in rows]


def _live(state: State, thread: Thread, terms: Terms, chain: str, *, owned: bool) -> ThreadRow:
    """A thread that has not ended."""
    began, limits, accounts = terms.threads.get(thread.id, (thread.opened_at, {}, ()))
    return ThreadRow(
        result=_so_far(state, thread, owned=owned), chain=chain, began=began, ended_at=None,
        limits=limits, accounts=accounts or terms.shared, origin=terms.origin,
    )  # fmt: skip


def _short(chain: str, ending: Ending) -> ThreadRow:
    """A thread that ended, by what is kept of it beside its chain."""
    result = ThreadResult(
        thread=ending.id, outcome=ending.outcome, unit=ending.unit, replies=(), partial=None, usage=ending.usage, warnings=(), threads=(),
        error=ending.error, code=ending.code, labels=ending.labels, handler=ending.handler, conversation=ending.conversation,
        scope=ending.scope, account=ending.account,
    )  # fmt: skip
    return ThreadRow(
        result=result, chain=chain, began=ending.began, ended_at=ending.ended, limits=ending.limits, accounts=ending.accounts,
        origin=ending.origin, short=ending,
    )  # fmt: skip


def rows_in(
    journal: Journal, damage: AbstractContextManager[object], *, owned: bool, since: float = -math.inf
) -> Iterator[ThreadRow]:
    """All root threads that began ``since`` then: first those of chains that must be read, then those that ended, the one that began last
    first, as far as the journal keeps what they came to; these are ``short``.

    ``owned`` is as in :func:`threads_of`; ``damage`` takes what is raised where a chain is damaged.
    """
    untold, endings = journal.endings(since=since)
    for chain in untold:
        if max(chain.began, chain.last) >= since:  # the clock of its first process may have been ahead
            with damage:
                yield from (row for row in threads_of(journal, chain, owned=owned) if row.began >= since)
    read = {chain.root for chain in untold}  # one of these may have ended meanwhile
    turns = set[tuple[str, str]]()
    for root, ending in endings:
        if root in read:
            continue
        if ending is not None:
            if root.startswith(CONVERSATION):
                turns.add((root, ending.id))
            yield _short(root, ending)
            continue
        read.add(root)
        with damage:  # what was changed there is in the entries
            there = journal.chain(root)
            rows = [] if there is None else threads_of(journal, there, owned=owned)
            yield from (row for row in rows if row.began >= since and (root, row.result.thread) not in turns)


def whole(journal: Journal, row: ThreadRow) -> ThreadRow | None:
    """The row with all of its result; ``None`` where its chain was removed since. Raises JournalError where the entry that has it is not what
    it was.
    """
    if row.short is None:
        return row
    fact = next(map(decode_entry, journal.documents(row.chain, after=row.short.entry - 1)), None)
    if fact is None and journal.root_of(row.chain) != row.chain:
        return None
    if not isinstance(fact, facts.Ended) or fact.thread != row.short.id:
        raise JournalError(
            f"thread {told(row.chain)}: entry {row.short.entry} does not say how {told(row.short.id)} ended; 'organism verify' says more"
        )
    return evolve(row, result=result_of(fact), short=None)


def _so_far(state: State, thread: Thread, *, owned: bool) -> ThreadResult:
    """What a thread has come to that has not ended."""
    stands = thread in state.inbox.resting or (thread.paused_at is not None and not thread.waits_turn)
    return evolve(
        result_of(final_of(thread) if thread.ended else so_far(state, thread, state.now)),
        outcome="paused" if stands else "running" if owned else "unfinished",
        unit=None, scope=None, account=None, partial=None, error=None, code=None, estimates=(),
    )  # fmt: skip
