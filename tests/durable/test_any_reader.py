"""Generated programs, killed anywhere: what a reader of the journal is told of a thread is what a restart takes it to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from organism.journal import MemoryJournal
from organism.kernel.fold import Fold
from organism.kernel.times import so_far
from organism.record import facts
from organism.record.calls import call_rows
from organism.threads.lineage import descendants
from organism.works.rows import threads_of
from tests.durable.cut_world import Recovered
from tests.durable.test_any_cut import CHECKS, kept, lasting, program_of, programs
from tests.kernel.test_kernel_laws import Dice, organisms

if TYPE_CHECKING:
    from organism.settings import Settings
    from organism.threads.frames import Thread
    from organism.works.rows import ThreadRow


@settings(max_examples=40, suppress_health_check=CHECKS)
@given(organism=organisms().map(lasting), dice=programs, share=st.floats(0.5, 1))
def test_readers_say_of_every_thread_what_a_fresh_kernel_says(
    organism: Settings, dice: list[Dice], share: float
) -> None:
    before = kept(program_of(organism, dice))
    written = before.written[: round(share * len(before.written))]
    journal = MemoryJournal()
    journal.write(written)
    fresh = Recovered(before, len(written))
    for chain in journal.chains():
        record = [fact for root, fact in written if root == chain.root]
        (row,) = threads_of(journal, chain, owned=False)
        fold = Fold(organism)  # with all that is known of the handlers
        for fact in record:
            fold.apply(fact)
        thread = fold.state.threads.get(chain.root)
        if thread is None:
            end = next((each for each in record if isinstance(each, facts.Ended) and each.thread == chain.root), None)
            assert (row.ended_at is None) is (end is None)
            assert end is None or row.result.usage == end.usage
        else:
            check_open(row, fold, thread, record[-1].at)
            check_calls(record, thread)
            check_taken_up(fresh, thread)


def check_open(row: ThreadRow, fold: Fold, thread: Thread, last: float) -> None:
    """An open thread has come to what its facts fold to."""
    told = so_far(fold.state, thread, last)
    assert row.ended_at is None
    assert row.result.usage == told.usage
    assert row.result.warnings == told.warnings
    assert [sender for sender, _ in row.result.replies] == [sender for sender, _ in told.replies]
    assert [each.usage for each in row.result.threads] == [each.usage for each in told.threads]
    assert row.result.outcome == ("paused" if thread.paused_at is not None else "unfinished")


def check_calls(record: list[facts.Fact], thread: Thread) -> None:
    """The calls of a thread and of those below it, and the messages, are all that it has used."""
    rows = call_rows(enumerate(record, 1))
    spent = [fact.charge for fact in record if isinstance(fact, facts.CallSettled)]
    assert sum(charge.amounts[0] for charge in spent) == thread.node.used[0]
    assert sum(row.tokens for row in rows) <= thread.node.used[0]
    posted = [step for fact in record for step in fact.steps if isinstance(step, facts.Posted)]
    assert sum(step.charged for step in posted) == thread.node.used[-1]


def check_taken_up(fresh: Recovered, thread: Thread) -> None:
    """What was under way is charged in full by the restart: that is all that it changes."""
    live = fresh.kernel.state.threads.get(thread.id)
    if live is not None:
        below = {each.id for each in descendants(thread)}
        lost = [fact.charge for fact in fresh.settled if isinstance(fact, facts.CallSettled) and fact.thread in below]
        used = list(thread.node.used)
        for charge in lost:
            used = [have + more for have, more in zip(used, charge.amounts, strict=True)]
        assert list(live.node.used) == used
