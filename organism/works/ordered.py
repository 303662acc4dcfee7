"""What is ordered again under an id: it is done once, and whoever orders it again hears so (as what is sent again, in ``repeats``)."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from organism.errors import IdTakenError, JournalError
from organism.journal.codec import decode_entry
from organism.names import CONVERSATION, is_of_limits, successor_of, told
from organism.record import facts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from organism.journal import Journal
    from organism.record.images import Ordered

_RAISING: Final = frozenset({"LimitsSet", "QuotaRaised"})


def done_before(journal: Journal, name: str, order: Ordered) -> bool:
    """Whether the limits of this thread or conversation, or of the account or ceiling whose chain has this name, were raised by this very order.

    Raises IdTakenError where another order that raised some of the same chain has its id, and JournalError.
    """
    for chain, whose in _places(journal, name):
        for document in journal.documents(chain, kinds=_RAISING):
            known = _order_of(document)
            if known is None or known.id != order.id:
                continue
            other = _other(known, order, None if document["thread"] == whose else str(document["thread"]))
            if other is not None:
                raise IdTakenError(order.id, f"is that of another order: {other}; give this one another id", of="order")
            return True
    return False


def _places(journal: Journal, name: str) -> Iterator[tuple[str, str]]:
    """The chains that may tell of an order, each with the name that what is ordered has in there."""
    if is_of_limits(name):
        if journal.chain(name) is not None:
            yield name, name
        return
    for chain in turns_of(journal, name):
        yield chain, chain
    root = journal.root_of(name)
    if root is not None:
        yield root, name


def turns_of(journal: Journal, conversation: str) -> Iterator[str]:
    """The chains of a conversation and of those in which it has gone on, as far as they are there."""
    name: str | None = conversation
    while name is not None:
        if journal.chain(CONVERSATION + name) is not None:
            yield CONVERSATION + name
        name = successor_in(journal, name)


def _order_of(document: Mapping[str, object]) -> Ordered | None:
    if document.get("order") is None:
        return None
    fact = decode_entry(document, None)
    return fact.order if isinstance(fact, (facts.LimitsSet, facts.QuotaRaised)) else None


def _other(known: Ordered, order: Ordered, whose: str | None) -> str | None:
    """How one differs from the other. ``whose`` is what the known one was for, where that is something else."""
    if whose is not None:
        return f"that one is for {told(whose.removeprefix(CONVERSATION))}"
    if known.units == order.units:
        return None
    return f"that one adds {amounts(known)}, this one {amounts(order)}"


def amounts(order: Ordered) -> str:
    """What an order adds, in words."""
    return ", ".join(f"{unit}={amount}" for unit, amount in order.units.items())


def successor_in(journal: Journal, conversation: str) -> str | None:
    """The conversation that one goes on in, also where that one itself was removed; ``None`` where there is none."""
    name = conversation
    while journal.chain(CONVERSATION + (name := successor_of(name))) is not None:
        # One of that name may be no successor.
        with suppress(JournalError):
            for document in journal.documents(CONVERSATION + name, kinds=("Accepted",)):
                if any(step.get("before") == conversation for step in document.get("steps", ())):
                    return name
    return None
