"""Facts of every kind, made from the forms of their fields: whatever a fact may hold, some example will have."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, assert_never

from hypothesis import strategies as st

from organism import payload
from organism.journal import forms
from organism.journal.codec import FACTS
from organism.payloads import Vocabulary
from organism.primitives import BudgetWarning
from organism.record.facts import Ended
from organism.threads.outcomes import Failure
from organism.usage import Usage


@payload
class Inner:
    """Part of a greeting."""

    amount: Decimal
    data: bytes = b""


@payload
class Greeting:
    """Someone to be greeted."""

    name: str
    weight: float = 0.5
    parts: list[Inner] | None = None
    notes: dict[str, int] | None = None
    either: Inner | None = None


WORDS = Vocabulary([Greeting])

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
half_texts = st.text(st.sampled_from('a\ud800\n\0é\u2028\U0001f600\\"'), max_size=4).filter(
    lambda text: text == text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
)
"""Half characters too, but no two halves that make a whole one: these are read as that."""
decimals = st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**9), max_value=10**9)
floats = st.floats(allow_nan=False)
inners = st.builds(Inner, amount=decimals, data=st.binary(max_size=4))
payloads: st.SearchStrategy[Any] = st.one_of(
    st.builds(
        Greeting,
        name=texts,
        weight=st.floats(allow_nan=False, allow_infinity=False),
        parts=st.lists(inners, max_size=2),
        notes=st.dictionaries(texts, st.integers(-5, 5), max_size=2),
        either=st.none() | inners,
    ),
    st.just(
        BudgetWarning(
            unit="tokens", level="final", threshold=Decimal("0.95"), used=Decimal(5), held=Decimal(0), limit=Decimal(6),
            remaining=Decimal(1), calls_left=None, scope="thread", text="Nearly done.",
        )
    ),
)  # fmt: skip
instants = st.floats(-1e9, 4e9)
numbers = st.one_of(st.integers(-(2**70), 2**70), floats, decimals)
open_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(), st.booleans(), numbers, half_texts, payloads, st.builds(Failure, st.sampled_from(["crashed"]), texts)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=2).map(tuple),
        st.dictionaries(st.one_of(texts, st.sampled_from(["$xml", "$float", "$", "Greeting"])), inner, max_size=3),
    ),
    max_leaves=6,
)

_PLAIN: dict[type, st.SearchStrategy[Any]] = {
    str: texts | half_texts,
    int: st.integers(-(2**70), 2**70),
    bool: st.booleans(),
}


def values(form: forms.Form, depth: int = 0) -> st.SearchStrategy[Any]:  # noqa: PLR0911, PLR0912 - a case for each form
    """Values that a form has to carry."""
    match form:
        case forms.Plain(cls=cls):
            return _PLAIN[cls]
        case forms.Amount(instant=True):
            return instants
        case forms.Amount(decimals=wants_decimals, numbers=wants_numbers):
            return (numbers if wants_decimals else floats) if wants_numbers else decimals
        case forms.Word(words=words):
            return st.sampled_from(words)
        case forms.Maybe(inner=inner):
            return st.none() | values(inner, depth)
        case forms.Many(item=forms.Object(cls=cls)) if cls is Ended and depth:
            return st.just(())
        case forms.Many(item=item):
            return st.lists(values(item, depth + 1), max_size=2).map(tuple)
        case forms.Row(places=places):
            return st.tuples(*(values(place, depth) for place in places))
        case forms.Table(item=item):
            return st.dictionaries(texts, values(item, depth), max_size=2)
        case forms.PayloadForm():
            return payloads
        case forms.AnswerForm():
            return payloads | objects(Failure)
        case forms.OpenForm():
            return open_values
        case forms.Object(cls=cls):
            return objects(cls, depth)
        case forms.Tagged(classes=classes):
            return st.one_of(*(objects(cls, depth) for cls in classes))
        case _:
            assert_never(form)  # type: ignore[arg-type]


def objects(cls: type, depth: int = 0) -> st.SearchStrategy[Any]:
    """Values of an attrs class."""
    return st.builds(cls, **{slot.name: values(slot.form, depth) for slot in forms.slots(cls)})


def facts_of(cls: type) -> st.SearchStrategy[Any]:
    """Facts of one kind."""
    return objects(cls)


facts = st.one_of(*(facts_of(cls) for cls in FACTS))


def ended(root: str) -> Ended:
    """The fact that a thread ended."""
    return Ended(
        at=9.0, thread=root, kind="root", handler="h", outcome="completed", unit=None, replies=(), partial=None,
        usage=Usage(), own=Usage(), warnings=(), labels={}, error=None, code=None, threads=(),
    )  # fmt: skip
