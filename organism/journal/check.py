"""The contract of journals as a check: whoever writes one runs it on their own."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from organism.budget.claims import Charge
from organism.errors import JournalError
from organism.facts import Accepted, CallHeld, CallSettled, Ended, Posted, Resolved, ThreadOpened
from organism.frames import Failure
from organism.primitives import BudgetEstimate
from organism.settings import BudgetSettings, Limits
from organism.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from organism.facts import Fact
    from organism.journal.contract import Journal

FOREIGN: Final = (
    "", ".", "..", "../up", "a", "A", "a/b", "a_b", "a_2fb", "a\\b", "_", "__", "con", "CON", "nul.jsonl", "a\0b", "a\nb",
    " ", "-", "é", "e\u0301", "İ", "\U0001f600", "x" * 10_000, "x" * 9_999 + "y", "X" * 10_000,
)  # fmt: skip
"""Ids of threads that others have chosen: none may lead out of the journal, no two may meet."""


def check_journal(make: Callable[[], Journal]) -> None:
    """Raises AssertionError where a journal breaks the contract of :class:`organism.journal.Journal`.

    ``make`` opens the journal: an empty one the first time, the same one again each time after it was closed. It needs no other
    payload classes than the organism's own.
    """
    _check_empty(make())
    _check_chains(make())
    _check_chains_again(make)
    _check_closing(make())


def _check_empty(journal: Journal) -> None:
    _same("roots() of an empty journal", tuple(journal.roots()), ())
    _same("read() of a thread that is not known", tuple(journal.read("nobody")), ())
    _same("verify() of a thread that is not known", journal.verify("nobody"), None)
    _same("roots() after a look at an unknown thread", tuple(journal.roots()), ())
    journal.close()


def _check_chains(journal: Journal) -> None:
    """Chains are apart, in order, and as they were given."""
    for at in range(3):
        for root in FOREIGN:
            journal.append(root, _samples(root)[at])
    _check_content(journal, 3)
    for root in FOREIGN:
        journal.append(root, _ended(root))
    if not journal.lasting:
        for root in FOREIGN:
            _one_of(f"read() of {_short(root)}, which ended", tuple(journal.read(root)), ((), _all(root)))
    journal.close()


def _check_chains_again(make: Callable[[], Journal]) -> None:
    """What lasts is there again, and goes on where it ended."""
    journal = make()
    if not journal.lasting:
        journal.close()
        return
    for root in FOREIGN:
        _same(f"read() of {_short(root)} after opening again", tuple(journal.read(root)), _all(root))
    first = FOREIGN[0]
    journal.append(first, _samples(first)[0])
    _same("read() after an append to what was there", tuple(journal.read(first)), (*_all(first), _samples(first)[0]))
    _same("verify() after an append to what was there", journal.verify(first), None)
    journal.close()


def _check_content(journal: Journal, count: int) -> None:
    _same("roots()", sorted(journal.roots()), sorted(FOREIGN))
    for root in FOREIGN:
        _same(f"read() of {_short(root)}", tuple(journal.read(root)), tuple(_samples(root)[:count]))
        _same(f"verify() of {_short(root)}", journal.verify(root), None)


def _check_closing(journal: Journal) -> None:
    journal.close()
    journal.close()
    try:
        journal.append("late", _samples("late")[0])
    except JournalError:
        return
    raise AssertionError("append() after close() did not raise JournalError")


def _samples(root: str) -> Sequence[Fact]:
    """Three facts with values of every kind in them."""
    budget = BudgetSettings(limits=Limits(tokens=5, cost_usd=Decimal("0.50"), seconds=1.5), warn_at={"tokens": ()})
    forecast = BudgetEstimate(unit="tokens", low=Decimal("0.1"), high=Decimal(2))
    return (
        Accepted(
            at=1.25,
            thread=root,
            steps=(
                ThreadOpened(
                    thread=root, kind="root", handler="h", budget=budget, owner=None, labels={"of": root, "ä\n": "\u2028"}
                ),
                Posted(
                    thread=root, seq=1, to="h", payload=forecast, sender="", kind="ingress", frame=(root, 1), opens=True
                ),
            ),
        ),
        CallHeld(
            at=2.0, thread=root, hold=1, seq=1, need=(9, 4, 5, 10**13, 1, 0), output=5, alias="default", backend="b", attempt=1,
            grace=False, streamed=True, steps=(Resolved(ask=(root, 1), answer=Failure("crashed", "it\0did")),),
        ),
        CallSettled(
            at=3.0, thread=root, hold=1, seq=1, handler="h", alias="default", backend="b",
            charge=Charge(input_tokens=4, cost=7, estimated=True), steps=(Resolved(ask=(root, 1), answer=forecast),),
        ),
    )  # fmt: skip


def _ended(root: str) -> Fact:
    usage = Usage(tokens=4, cost_usd=Decimal("0.000000000007"), seconds=1.75)
    return Ended(
        at=4.0, thread=root, kind="root", handler="h", outcome="failed", unit=None, partial=None, usage=usage, own=usage,
        replies=(("h", BudgetEstimate(unit="messages", low=Decimal(1), high=Decimal(2))),), warnings=(), labels={},
        error="it did", code="crashed", threads=(),
    )  # fmt: skip


def _all(root: str) -> tuple[Fact, ...]:
    return (*_samples(root), _ended(root))


def _same(what: str, found: Any, due: Any) -> None:
    if found != due:
        raise AssertionError(f"{what} is {found!r:.2000}, and not {due!r:.2000}")


def _one_of(what: str, found: Any, due: tuple[Any, ...]) -> None:
    if found not in due:
        raise AssertionError(f"{what} is {found!r:.2000}")


def _short(root: str) -> str:
    return f"{root!r:.40}"


__all__ = ["FOREIGN", "check_journal"]
