"""Recovery: resuming what an earlier process left. Its facts are folded, then calls that were under way are charged in full (R20 to R22)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from organism.kernel.charges import abandoned_charge
from organism.kernel.fold import Fold
from organism.kernel.prompts import reports_of
from organism.kernel.sums import ALL, Sums
from organism.record import facts
from organism.threads.frames import Conversation, Thread
from organism.threads.lineage import descendants
from organism.threads.outcomes import Failure
from organism.threads.restart import Past

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from organism.kernel.kernel import Kernel
    from organism.kernel.state import State
    from organism.record.facts import Fact
    from organism.record.images import Report
    from organism.threads.frames import Message
    from organism.usage import Spending, Tally


def begin(kernel: Kernel, spendings: Sequence[Spending], at: float) -> None:
    """Starts the organism at this instant, with all that earlier processes spent."""
    state = kernel.state
    state.come_to(at)
    state.pools.begin(state.settings, spendings, at)
    for each in spendings:
        if each.tells is not None:
            continue
        for tally in _tallies(state, each):
            tally.add(each.amounts, each.details, estimated=each.estimated, unpriced=each.unpriced)


def _tallies(state: State, spent: Spending) -> list[Tally]:
    names = [ALL, ("handler", spent.handler), *(("label", f"{key}={value}") for key, value in spent.labels.items())]
    names += [("account", name) for name in spent.accounts]
    names += [("tag", name) for name in spent.tags]
    names += [(kind, name) for kind, name in (("model", spent.model), ("backend", spent.backend)) if name]
    return [state.sums.tally(*name) for name in names]


def recover(kernel: Kernel, chain: str, record: Iterable[Fact], at: float, *, since: float) -> list[Thread]:
    """Takes up a chain from its record, and returns its unfinished root threads: one, or the turns of a conversation. Deliveries that were
    under way are run again.

    Totals are not changed: :func:`begin` has counted what the record says. ``since`` is the last instant at which the earlier process is known
    to have lived: what has passed from then on is no running time. Calls that were under way are charged in full (R22).
    """
    state, book = kernel.state, kernel.book
    book.rolled += state.come_to(at)
    state.pools.come_to(at)
    state.pools.expect_no_more(chain)
    folding = _folded(kernel, record)
    book.rolled += state.come_to(at)
    for gone in folding.unsaid.values():
        book.say_end(gone)
    holds = [hold for hold in state.holds.values() if hold.chain == chain]
    roots = _roots(state, chain)
    for thread in roots:
        if thread.paused_at is None:
            book.begin(at)
            state.resume(thread, since)
            book.write(facts.Resumed, thread, since=since, crashed=True)
    for hold in holds:
        charge = abandoned_charge(hold)
        kernel.calls.settle(hold, charge, at)
        state.pools.charge_ahead(hold, charge.amounts)
    for thread in roots:
        state.inbox.take_up(thread)
        if thread.handler:
            _take_up(kernel, thread, at)
        else:
            kernel.ends.stop(thread, Failure("cancelled", "the program that opened it has ended"), at)
            kernel.ends.close_bare(thread, at)  # where it had been stopped already, while its last call was open
    return unfinished(kernel, chain)


def unfinished(kernel: Kernel, chain: str) -> list[Thread]:
    """The root threads of a chain that live here and have not ended."""
    return [thread for thread in _roots(kernel.state, chain) if not thread.ended]


def reports(kernel: Kernel, chain: str) -> Iterator[Report]:
    """What backends first and last reported for the calls of a chain that was taken up: estimates of input begin with that."""
    whole = kernel.state.chain(chain)
    if isinstance(whole, Conversation):
        yield from reports_of(whole)
    for root in _roots(kernel.state, chain):
        for thread in descendants(root):
            yield from reports_of(thread)


def _roots(state: State, chain: str) -> list[Thread]:
    whole = state.chain(chain)
    if whole is None:
        return []
    return [whole] if isinstance(whole, Thread) else list(whole.turns)


def _folded(kernel: Kernel, record: Iterable[Fact]) -> Fold:
    """Folds a record into the live state. Totals and shared budgets stay as they are: they count it already."""
    state = kernel.state
    sums, timed, woken = state.sums, state.timed, state.woken
    state.sums, state.timed, state.woken = Sums(), [], []
    folding = Fold(state.settings, state)
    state.pools.begin_fold()
    for fact in record:
        folding.apply(fact)
    state.pools.end_fold()
    state.index = None
    state.sums, state.timed, state.woken = sums, timed, woken
    return folding


def _take_up(kernel: Kernel, thread: Thread, at: float) -> None:
    """Readies the open messages of a thread: cancelled ones are dropped, those that wait for asks get their mailbox back, those that wait
    for their next attempt are timed.
    """
    state, book = kernel.state, kernel.book
    every: list[Message] = [each for below in descendants(thread) for each in state.open_messages(below)]
    for message in every:
        if kernel.is_void(message) and not message.thread.ended:
            book.begin(at)
            state.drop(message)
            book.write(facts.Dropped, message.thread, seq=message.seq)
            continue
        message.past = evolve(message.past or Past(), old=True, rerun=bool(message.known))
        if message.asks:
            kernel.suspended(message)
        if message in state.retries:
            kernel.retries.take_up(message, at)
