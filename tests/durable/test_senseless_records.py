"""Journals whose hashes are sound and whose facts make no sense: somebody made them by hand, or lost a part and sealed the rest anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from organism import Context, Reply, payload
from organism.budget.claims import Charge
from organism.errors import JournalError
from organism.journal import open_journal
from organism.kernel.fold import Fold
from organism.kernel.state import State
from organism.record.facts import (
    Accepted,
    Answered,
    Asked,
    CallSettled,
    Dropped,
    LimitsSet,
    Paused,
    Posted,
    Resolved,
    Snapshot,
    Spawned,
    Stopped,
    ThreadOpened,
)
from organism.record.images import Image
from organism.settings import BudgetSettings, Settings
from organism.testing import running
from organism.threads.outcomes import Failure
from tests.compiled import interpreted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from organism.record.facts import Fact
    from organism.threads.frames import Thread

pytestmark = pytest.mark.parametrize("kind", ["sqlite", "jsonl"])


@payload
class Text:
    text: str


async def greet(message: Text, ctx: Context) -> Reply[Text]:
    """Greets somebody."""
    return Reply(Text(f"Hello, {message.text}!"))


def accepted(root: str) -> Accepted:
    opened = ThreadOpened(
        thread=root,
        kind="root",
        handler="greeter",
        budget=BudgetSettings(),
        owner=None,
        labels={},
        accounts=("of:all",),
    )
    first = Posted(
        thread=root, seq=1, to="greeter", payload=Text("you"), sender="", kind="ingress", frame=(root, 1), opens=True
    )
    return Accepted(at=1.0, thread=root, steps=(opened, first))


def stopped(root: str) -> Stopped:
    return Stopped(at=2.0, thread=root, failure=Failure("cancelled", "no more"), dropped=((root, 7),))


ORPHANS: Final[Sequence[Fact]] = (
    Answered(at=1.0, thread="t", seq=1, handler="greeter", state={}),
    Dropped(at=1.0, thread="t", seq=1),
    Paused(at=1.0, thread="t"),
    Answered(at=1.0, thread="t", seq=1, handler="greeter", state={}, steps=(Resolved(ask=("t", 1), answer=Text("x")),)),
)
"""Facts that open nothing."""


def journal_of(folder: Path, kind: str, *facts: tuple[str, Fact]) -> str:
    url = f"{kind}:{folder / 'journal'}"
    journal = open_journal(url)
    assert not journal.write(list(facts))
    journal.close()
    return url


HANDLERS: Final = {"greeter": {"code": greet}}


@pytest.mark.parametrize("orphan", ORPHANS)
async def test_a_chain_that_opens_nothing_is_named_and_others_are_taken_up(
    tmp_path: Path, kind: str, orphan: Fact, caplog: pytest.LogCaptureFixture
) -> None:
    url = journal_of(tmp_path, kind, ("t", orphan), ("good", accepted("good")))
    # With a ceiling the calls that were out are looked for when the journal is opened.
    async with running(handlers=HANDLERS, journal=url, ceiling={"tokens": 5000}, check=False) as organism:
        (handle,) = await organism.resume()
        assert (await handle.result()).reply == Text("Hello, you!")
        assert organism.unfinished == ("t",)
        said = f"thread 't': entry 1, {type(orphan).__name__}: "
        assert f"t cannot be taken up: {said}" in caplog.text
        assert await organism.ask("greeter", Text("me")) == Text("Hello, me!")
        assert organism.statistics().threads == 0


async def test_a_fact_of_what_is_not_there_is_named_and_leaves_nothing_behind(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = journal_of(tmp_path, kind, ("t", accepted("t")), ("t", stopped("t")))
    async with running(handlers=HANDLERS, journal=url, check=False) as organism:
        before = organism.statistics()
        assert await organism.resume() == []
        assert organism.statistics() == before
        assert (
            "t cannot be taken up: thread 't': entry 2, Stopped: does not follow from the entries before it: "
            "it refers to message 7 of thread 't', which is not open\n" in caplog.text
        )
        assert organism.unfinished == ("t",)


@pytest.mark.parametrize("orphan", ORPHANS)
def test_looking_for_flaws_names_it(tmp_path: Path, kind: str, orphan: Fact) -> None:
    url = journal_of(tmp_path, kind, ("t", orphan), ("good", accepted("good")))
    journal = open_journal(url, readonly=True)
    ((root, flaw),) = journal.flaws()
    journal.close()
    assert root == "t"
    assert f"thread 't': entry 1, {type(orphan).__name__}: opens neither a thread nor a conversation" in flaw


def test_a_fold_says_how_far_from_its_snapshot_it_came(kind: str) -> None:
    fold = Fold(Settings(name="test"))
    fold.apply(Snapshot(at=1.0, thread="t", image=Image(threads=(), frames=(), messages=(), holds=())))
    with pytest.raises(JournalError, match="entry 2 from its last snapshot on, Paused: does not follow"):
        fold.apply(Paused(at=2.0, thread="t"))


def settled(hold: int) -> CallSettled:
    return CallSettled(
        at=2.0, thread="t", hold=hold, seq=1, handler="greeter", alias="a", backend="b", held_at=1.0, charge=Charge()
    )


@pytest.mark.parametrize(
    ("fact", "said"),
    [
        (accepted("t"), "it opens thread 't', which is open already"),
        (settled(3), "it settles call 3, which is not open"),
        (Paused(at=2.0, thread="u"), "it refers to thread 'u', which is not open"),
        (LimitsSet(at=2.0, thread="conversation:c", budget=BudgetSettings()), "it refers to conversation 'c', which"),
        (
            Answered(at=2.0, thread="t", seq=1, handler="greeter", steps=(Resolved(ask=("t", 9), answer=Text("x")),)),
            "it refers to the frame of message 9 of thread 't', which is not open",
        ),
        (
            Answered(at=2.0, thread="t", seq=1, handler="greeter", steps=(Resolved(ask=("t", 1), answer=Text("x")),)),
            "it answers message 1 of thread 't', which nobody asked",
        ),
        (Asked(at=2.0, thread="t", seq=1, to="greeter", key="k"), "it asks, and posts no message"),
        (Spawned(at=2.0, thread="t", seq=1, to="greeter", key="k"), "it spawns, and opens no thread"),
    ],
)
def test_what_is_not_there_is_named(kind: str, fact: Fact, said: str) -> None:
    fold = Fold(Settings(name="test"))
    fold.apply(accepted("t"))
    with pytest.raises(JournalError, match=f"does not follow from the entries before it: {said}"):
        fold.apply(fact)


@interpreted
def test_what_may_be_a_fault_of_this_version_is_not_laid_to_the_record_alone(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold = Fold(Settings(name="test"))
    fold.apply(accepted("t"))

    def wrong(_state: State, _thread: Thread) -> None:
        raise KeyError("ours")

    monkeypatch.setattr(State, "pause", wrong)
    said = r"entry 2, Paused: cannot be applied \(KeyError\('ours'\)\): it does not follow .* or this version of organism is wrong there"
    with pytest.raises(JournalError, match=said):
        fold.apply(Paused(at=2.0, thread="t"))
