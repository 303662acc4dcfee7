"""The contract of journals as a test, for those who write a journal of their own."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve

from organism.budget.claims import Charge
from organism.errors import JournalError
from organism.journal import forms
from organism.journal.chain import Head, canonical, content_of, seal, verify
from organism.journal.endings import Terms
from organism.journal.standing import Ledger, Standing
from organism.names import told
from organism.primitives import BudgetEstimate
from organism.record.facts import (
    Accepted,
    Answered,
    CallCompleted,
    CallHeld,
    CallSettled,
    Dropped,
    Ended,
    Posted,
    Resolved,
    Snapshot,
    Spawned,
    ThreadOpened,
)
from organism.record.images import Image, Missed, ThreadImage
from organism.settings import BudgetSettings, Limits
from organism.threads.outcomes import Failure
from organism.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from organism.journal.contract import Journal
    from organism.record.facts import Fact

FOREIGN: Final = (
    "", ".", "..", "../up", "a", "A", "a/b", "a_b", "a_2fb", "a\\b", "_", "__", "con", "CON", "nul.jsonl", "a\0b", "a\nb",
    " ", "-", "é", "e\u0301", "İ", "\U0001f600", "x" * 10_000, "x" * 9_999 + "y", "X" * 10_000,
)  # fmt: skip
"""Ids of threads that others have chosen: none may lead out of the journal, no two may meet."""


def check_journal(make: Callable[[], Journal]) -> None:
    """Raises AssertionError if a journal breaks the contract of :class:`organism.journal.Journal`.

    ``make`` opens the journal: an empty one the first time, and the same one again each time after it was closed. The journal needs no
    payload classes but the organism's own.
    """
    _check_empty(make())
    documents = _check_chains(make())
    _check_chains_again(make, documents)
    _check_snapshots(make())
    _check_spendings(make)
    _check_imports(make(), documents)
    _check_removal(make)
    _check_closing(make())


def _check_empty(journal: Journal) -> None:
    _same("chains() of an empty journal", tuple(journal.chains()), ())
    _same("read() of a thread that is not known", tuple(journal.read("nobody")), ())
    _same("recall() of a thread that is not known", tuple(journal.recall("nobody")), ())
    _same("documents() of a thread that is not known", tuple(journal.documents("nobody")), ())
    _same("chain() of a thread that is not known", journal.chain("nobody"), None)
    _same("verify() of a thread that is not known", journal.verify("nobody"), None)
    _same("root_of() a thread that is not known", journal.root_of("nobody"), None)
    _same("flaws() of an empty journal", tuple(journal.flaws()), ())
    _same("spendings() of an empty journal", tuple(journal.spendings()), ())
    _same("write() of nothing", dict(journal.write([])), {})
    _same("chains() after a look at an unknown thread", tuple(journal.chains()), ())
    journal.close()


def _check_chains(journal: Journal) -> dict[str, list[Mapping[str, Any]]]:
    """Chains are apart, in order, and as they were given; returns the documents of each."""
    for at in range(3):
        _write(journal, *((root, _samples(root)[at]) for root in FOREIGN))
    _check_content(journal, 3)
    unwritable = Answered(at=3.5, thread="a", seq=1, handler="h", state={"no JSON value": (object(),)})
    if journal.lasting:
        refused = journal.write([("a", _ended("a")), ("_", _ended("_")), ("a", unwritable)])
        _same("the chains of which write() says that they were not written", list(refused), ["a"])
        _same("read() of a chain that was not written", tuple(journal.read("a")), tuple(_samples("a")[:3]))
    documents = {root: list(journal.documents(root)) for root in FOREIGN}
    _write(journal, *((root, _ended(root)) for root in FOREIGN if not journal.lasting or root != "_"))
    if journal.lasting:
        _same("chains() that are open when all threads ended", tuple(journal.chains(open=True)), ())
        _check_endings(journal)
        documents = {root: list(journal.documents(root)) for root in FOREIGN}
    else:
        for root in FOREIGN:
            _one_of(f"read() of {_short(root)}, which ended", tuple(journal.read(root)), ((), _all(root)))
    journal.close()
    return documents


def _check_chains_again(make: Callable[[], Journal], documents: Mapping[str, list[Mapping[str, Any]]]) -> None:
    """What lasts is there again, and goes on where it ended."""
    journal = make()
    if not journal.lasting:
        journal.close()
        return
    _same(
        "roots in chains() after opening again",
        sorted(each.root for each in journal.chains(open=False)),
        sorted(FOREIGN),
    )
    _same("flaws() after opening again", tuple(journal.flaws()), ())
    for root in FOREIGN:
        _same(f"read() of {_short(root)} after opening again", tuple(journal.read(root)), _all(root))
        _same(f"documents() of {_short(root)} after opening again", list(journal.documents(root)), documents[root])
    first = FOREIGN[0]
    _write(journal, (first, _samples(first)[0]))
    _same("read() after a write to what was there", tuple(journal.read(first)), (*_all(first), _samples(first)[0]))
    _same("verify() after a write to what was there", journal.verify(first), None)
    _same("chains() after a write to one that was over", [each.root for each in journal.chains(open=True)], [first])
    _write(journal, (first, _ended(first)))
    journal.close()


def _check_endings(journal: Journal) -> None:
    """What is kept of threads that ended is what their entries come to; where nothing is, it says so."""
    untold, endings = journal.endings()
    kept = {root: [] if ending is None else [ending] for root, ending in endings}
    _same("roots in endings()", sorted([*kept, *(each.root for each in untold)]), sorted(FOREIGN))
    for root, known in kept.items():
        terms = Terms()
        due = [terms.take(fact, number) for number, fact in enumerate(journal.read(root), 1)]
        _same(f"endings() of {_short(root)}", known, [each for each in due if each is not None])
    _same("endings() since the last instant", list(journal.endings(since=9e9)[1]), [])


def _check_content(journal: Journal, count: int) -> None:
    chains = journal.chains(open=True)
    _same("roots in chains()", sorted(each.root for each in chains), sorted(FOREIGN))
    _same("chains() that are over, while all are open", tuple(journal.chains(open=False)), ())
    for each in chains:
        figures = (each.entries, each.began, each.last)
        _same(f"entries, began and last in chains() of {_short(each.root)}", figures, (count, 1.25, 3.0))
        _same(f"chain() of {_short(each.root)}", journal.chain(each.root), each)
    for root in FOREIGN:
        _same(f"read() of {_short(root)}", tuple(journal.read(root)), tuple(_samples(root)[:count]))
        _same(f"recall() of {_short(root)}", tuple(journal.recall(root)), tuple(_samples(root)[:count]))
        _same(f"verify() of {_short(root)}", journal.verify(root), None)
        documents = list(journal.documents(root))
        _same(f"verify() of the documents of {_short(root)}", verify(documents, root), None)
        _same(f"the number of documents of {_short(root)}", len(documents), count)
        _same(f"documents() of {_short(root)} behind the first", list(journal.documents(root, after=1)), documents[1:])
        some = list(journal.documents(root, kinds={"CallHeld"}))
        _same(f"documents() of one kind of {_short(root)}", some, documents[1:2])
        _same(f"root_of({_short(root)})", journal.root_of(root), root)


def _check_snapshots(journal: Journal) -> None:
    """A chain is recalled from its last snapshot on."""
    root, below = "long", "long.7"
    opened = ThreadOpened(thread=below, kind="spawn", handler="h", budget=BudgetSettings(), owner=(root, 1), labels={})
    _write(journal, (root, _samples(root)[0]), (root, Spawned(at=1.5, thread=root, seq=1, to="h", steps=(opened,))))
    _same("root_of() a sub-thread", journal.root_of(below), root)
    entries, size, snapshot = journal.size_since_snapshot(root)
    _same("size_since_snapshot() without one", (entries, snapshot), (2, 0))
    image = Image(threads=(_thread_image(root), _thread_image(below)), frames=(), messages=(), holds=())
    for at in (2.0, 3.0):
        _write(journal, (root, Snapshot(at=at, thread=root, image=image)), (root, Dropped(at=at, thread=root, seq=1)))
    facts = tuple(journal.read(root))
    _same("the number of facts with two snapshots", len(facts), 6)
    _same("recall() behind two snapshots", tuple(journal.recall(root)), facts[4:])
    entries, after, snapshot = journal.size_since_snapshot(root)
    _same("entries in size_since_snapshot()", entries, 1)
    if journal.lasting and not (0 < after < size and snapshot > 0):
        raise AssertionError(f"size_since_snapshot() is {(entries, after, snapshot)}, and was {size} bytes before")
    _write(journal, (root, _ended(below)))
    documents = list(journal.documents(root))
    _same("documents() of all threads of a chain", list(journal.documents(root, of=root)), documents)
    _same("documents() of a sub-thread", list(journal.documents(root, of=below)), documents[-1:])
    _same("documents() of a sub-thread behind all", list(journal.documents(root, of=below, after=len(documents))), [])
    _same("documents() of a thread that is not there", list(journal.documents(root, of="lon")), [])
    _write(journal, (root, _ended(root)))
    _same("chains() that are open, when the last thread of one ended", tuple(journal.chains(open=True)), ())
    _same("flaws() with snapshots", tuple(journal.flaws()), ())
    journal.close()


def _check_spendings(make: Callable[[], Journal]) -> None:
    """What was spent is known while it is, and after."""
    journal = make()
    before = _spent(journal)
    _write(journal, ("spender", _samples("spender")[0]))
    _same("spendings() of an open chain", _spent(journal) - before, Counter(messages=1))
    _write(journal, *(("spender", fact) for fact in _all("spender")[1:]))
    _same("spendings() of a chain that is over", _spent(journal) - before, Counter(messages=1, tokens=4, cost=7))
    rows = [each for each in journal.spendings() if each.labels == _samples("spender")[0].steps[0].labels]  # type: ignore[union-attr]
    _same("the hours in spendings()", {each.hour for each in rows}, {0})
    _same("the models in spendings()", {(each.model, each.backend) for each in rows}, {("", ""), ("default", "b")})
    under = {(each.model, tuple(each.accounts), tuple(each.tags)) for each in rows}
    both = {("", ("tenant:x", "team:y"), ()), ("default", ("tenant:x", "team:y"), ("draft", "ä\n"))}
    _same("the accounts and tags in spendings()", under, both)
    _same(
        "what is estimated and unpriced in spendings()",
        {(each.estimated, each.unpriced) for each in rows if each.model},
        {(True, True)},
    )
    spent = [each for each in journal.spendings() if each.labels == rows[0].labels]
    journal.close()
    if journal.lasting:
        journal = make()
        _same("spendings() after opening again", _spent(journal) - before, Counter(messages=1, tokens=4, cost=7))
        again = [each for each in journal.spendings() if each.labels == rows[0].labels]
        _same("the rows of spendings() after opening again", again, spent)
        journal.close()


def _spent(journal: Journal) -> Counter[str]:
    sums: Counter[str] = Counter()
    for each in journal.spendings():
        sums.update(tokens=each.amounts[0], cost=each.amounts[3], messages=each.amounts[5])
    return sums


def _check_imports(journal: Journal, documents: Mapping[str, list[Mapping[str, Any]]]) -> None:
    """A chain is taken in whole and sound, or not at all."""
    whole = documents["a"]
    others = [whole[1:], [*whole, whole[-1]], [{**whole[0], "at": 9.0}, *whole[1:]], []]
    for wrong in others:
        _refused("put() of what is not a sound chain", lambda wrong=wrong: journal.put("imported", wrong))  # type: ignore[misc]
    _refused("put() of the chain of another thread", lambda: journal.put("imported", whole))
    _same("read() of what was refused", tuple(journal.read("imported")), ())
    content = {**content_of(whole[0]), "root": "imported"}
    sound = [json.loads(seal(canonical(content), Head())[0])]
    journal.put("imported", sound)
    _same("documents() of what was taken in", list(journal.documents("imported")), sound)
    _refused("put() of a chain that is there", lambda: journal.put("imported", sound))
    _refused("remove() of a chain that is open", lambda: journal.remove("imported"))
    _write(journal, ("imported", _ended("imported")), ("imported", _ended("a")))
    if journal.lasting:
        _same("verify() after a write to what was taken in", journal.verify("imported"), None)
        _same("the number of entries of what was taken in", len(journal.read("imported")), 3)
    journal.close()


def _check_removal(make: Callable[[], Journal]) -> None:
    """What was removed is gone, but for what it spent; and what is told behind its end begins nothing."""
    journal = make()
    spent = _spent(journal)
    _refused("remove() of a chain that is not there", lambda: journal.remove("nobody"))
    if journal.lasting:
        gone, back = Ledger(), list(journal.documents("long"))
        _refused("remove() of several, one of which is not there", lambda: journal.remove("long", "nobody"))
        for roots in (("a",), (FOREIGN[-1], "long")):
            _same("removed() before all were removed", journal.removed(), gone.rows())
            for root in roots:
                standing = Standing(root)
                for fact in journal.read(root):
                    standing.apply(fact)
                gone.take_in(standing.spent)
            journal.remove(*roots)
            _same("what is there of several that were removed", [*filter(None, map(journal.chain, roots))], [])
        for _ in range(2):
            _same("removed()", journal.removed(), gone.rows())
            _same("read() of what was removed", tuple(journal.read("a")), ())
            _same("chains() with what was removed", [each.root for each in journal.chains() if each.root == "a"], [])
            _same("root_of() a sub-thread of what was removed", journal.root_of("long.7"), None)
            _same("spendings() after chains were removed", _spent(journal), spent)
            _same("flaws() after chains were removed", tuple(journal.flaws()), ())
            journal.close()
            journal = make()
        for _ in range(2):
            journal.put("long", back)
            for _ in range(2):
                _same("documents() of what was removed and taken in again", list(journal.documents("long")), back)
                _same("spendings() with what was removed and taken in again", _spent(journal), spent)
                _same("flaws() with what was removed and taken in again", tuple(journal.flaws()), ())
                journal.close()
                journal = make()
            journal.remove("long")
        _write(journal, ("a", late := _answered("a")))
        _same("read() of what was removed, behind its end", tuple(journal.read("a")), ())
        _write(journal, ("a", late), ("a", _samples("a")[0]))
        _write(journal, ("a", late))
        _same("read() of a chain that came again", tuple(journal.read("a")), (_samples("a")[0], late))
    else:
        _write(journal, ("a", _answered("a")))
        _same(
            "chains() with what was over, behind its end", [each for each in journal.chains() if each.root == "a"], []
        )
    journal.close()


def _check_closing(journal: Journal) -> None:
    journal.close()
    journal.close()
    _same("what write() gives after close()", list(journal.write([("late", _samples("late")[0])])), ["late"])


def _write(journal: Journal, *batch: tuple[str, Fact]) -> None:
    _same("what write() gives", dict(journal.write(batch)), {})


def _refused(what: str, call: Callable[[], None]) -> None:
    try:
        call()
    except JournalError:
        return
    raise AssertionError(f"{what} did not raise JournalError")


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
                    thread=root, kind="root", handler="h", budget=budget, owner=None, labels={"of": root, "ä\n": "\u2028"},
                    accounts=("tenant:x", "team:y"),
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
            held_at=1.5,
            at=3.0, thread=root, hold=1, seq=1, handler="h", alias="default", backend="b",
            charge=Charge(input_tokens=4, cost=7, estimated=True, unpriced=True), tags=("ä\n", "draft"),
            missed=Missed(kind="server", text="HTTP 503: \0"), digests=("", "ä"),
            steps=(Resolved(ask=(root, 1), answer=forecast),),
        ),
    )  # fmt: skip


def _answered(root: str) -> Fact:
    """What may come behind the end: a model answered whom a thread had left behind."""
    return CallCompleted(at=5.0, thread=root, seq=1, handler="h", text="late")


def _ended(root: str) -> Fact:
    usage = Usage(tokens=4, cost_usd=Decimal("0.000000000007"), seconds=1.75)
    return Ended(
        at=4.0, thread=root, kind="root", handler="h", outcome="failed", unit=None, partial=None, usage=usage, own=usage,
        replies=(("h", BudgetEstimate(unit="messages", low=Decimal(1), high=Decimal(2))),), warnings=(), labels={},
        error="it did", code="crashed", threads=(),
    )  # fmt: skip


def _thread_image(thread: str) -> ThreadImage:
    blank: ThreadImage = _blank(forms.Object(ThreadImage))
    return evolve(blank, thread=thread)


def _blank(form: forms.Form) -> Any:  # noqa: PLR0911 - a case for each form
    """The plainest value of a form."""
    match form:
        case forms.Object(cls=cls):
            return cls(**{slot.name: _blank(slot.form) for slot in forms.slots(cls) if slot.required})
        case forms.Row(places=places):
            return tuple(map(_blank, places))
        case forms.Plain(cls=cls):
            return cls()
        case forms.Amount(numbers=numbers):
            return 0.0 if numbers else Decimal(0)
        case forms.Word(words=words):
            return words[0]
        case forms.Many():
            return ()
        case forms.Table():
            return {}
        case _:
            return None


def _all(root: str) -> tuple[Fact, ...]:
    return (*_samples(root), _ended(root))


def _same(what: str, found: Any, due: Any) -> None:
    if found != due:
        raise AssertionError(f"{what} is {told(found, 2000)}, and not {told(due, 2000)}")


def _one_of(what: str, found: Any, due: tuple[Any, ...]) -> None:
    if found not in due:
        raise AssertionError(f"{what} is {told(found, 2000)}")


def _short(root: str) -> str:
    return told(root, 40)
