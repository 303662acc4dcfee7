"""Facts that were encoded where they happened: what is written of them, and what they count, is that of the facts."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from organism.facts import Accepted, Answered, CallCompleted
from organism.journal.codec import contents
from organism.journal.drafts import Draft, contents_of, draft_of
from organism.journal.secrets import INSTEAD, Marked
from organism.journal.standing import Standing
from organism.journal.texts import root_mark
from organism.settings import BudgetSettings
from organism.steps import ConversationOpened, Handed, Left, Posted, Resolved, ThreadOpened
from tests.journal.fact_values import Inner, ended, facts, facts_of, objects, texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.facts import Fact

KEY = "sk-4Tq9ZpLmX2vB7nRk1WcY"
step_lists = st.lists(st.one_of(*map(objects, (Posted, ThreadOpened, Handed, Resolved, Left))), max_size=4)


@st.composite
def sayings(draw: st.DrawFn) -> Fact:
    """A fact that says what was sent, and opened."""
    fact: Any = draw(facts_of(draw(st.sampled_from((Answered, Accepted)))))
    said: Fact = evolve(fact, steps=tuple(draw(step_lists)))
    return said


chains: st.SearchStrategy[list[Fact]] = st.lists(st.one_of(sayings(), sayings(), facts), max_size=4)


def standing(root: str, entries: Sequence[Fact | Draft]) -> dict[str, Any]:
    """What a chain of these comes to."""
    made = Standing(root)
    for each in entries:
        made.apply(each)
    return {
        "over": made.over,
        "open": made.open,
        "holds": made.holds,
        "threads": made.threads,
        "spent": made.spent.sums,
    }


def posted(payload: Any, *, charged: bool = True) -> Posted:
    return Posted(
        thread="r", seq=2, to="h", payload=payload, sender="", kind="send", frame=("r", 1), opens=True, charged=charged
    )


def answered(*steps: Any, **state: Any) -> Answered:
    return Answered(at=7200.0, thread="r", seq=1, handler="h", steps=steps, state=state or None)


@given(texts, chains)
def test_a_draft_is_written_and_counted_as_its_fact_is(root: str, chain: list[Fact]) -> None:
    drafts = [draft_of(root, fact, None) for fact in chain]
    mark = root_mark(root)
    assert [contents_of(each, root, mark, None) for each in drafts] == [contents(each, root, mark) for each in chain]
    assert standing(root, drafts) == standing(root, chain)


def test_what_a_delivery_sends_is_let_go_and_what_ends_or_begins_a_conversation_is_kept() -> None:
    told: Any = CallCompleted(at=1.0, thread="r", seq=1, handler="h", text="so")
    for fact in (answered(), answered(posted(Inner(Decimal(1)))), told):
        assert isinstance(draft_of("r", fact, None), Draft)
    begun = ConversationOpened(conversation="c", budget=BudgetSettings(), before=None, state={})
    for fact in (ended("r"), Accepted(at=1.0, thread="r", steps=(begun,))):
        assert draft_of("r", fact, None) is fact


def test_messages_that_are_not_charged_are_not_counted() -> None:
    draft = draft_of("r", answered(posted(None, charged=False), posted(None)), None)
    assert not isinstance(draft, Draft), "no payload can be written, and whoever writes it says so"
    payload: Any = Inner(Decimal(1))
    draft = draft_of("r", answered(posted(payload, charged=False), posted(payload)), None)
    assert isinstance(draft, Draft)
    assert draft.counts == (("h", "r"),)


def test_a_draft_holds_no_secret() -> None:
    marked = Marked()
    marked.mark(["swordfish"])
    draft = draft_of("r", answered(said=("the swordfish",), key=(f"it is {KEY}",)), marked)
    assert isinstance(draft, Draft)
    for text in draft.contents("r", root_mark("r")):
        assert b"swordfish" not in text
        assert KEY.encode() not in text
        assert text.count(INSTEAD.encode()) == 2


def test_what_cannot_be_encoded_stays_a_fact() -> None:
    fact = answered(no_json=(object(),))
    assert draft_of("r", fact, None) is fact
