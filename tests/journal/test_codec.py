"""Facts as JSON and back: nothing is lost, nothing is guessed, and what is not known is refused by name."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve, frozen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError, validators  # type: ignore[import-untyped]

from organism import payload
from organism.errors import JournalError
from organism.journal import PlainPayload, codec, forms
from organism.journal.chain import Head, canonical, seal
from organism.journal.codec import FACTS, STEPS, content, decode, encode, encode_lost
from organism.payloads import Vocabulary, encode_xml
from organism.primitives import BudgetEstimate
from organism.record.facts import (
    Accepted,
    Answered,
    CallRefused,
    Dropped,
    Exhausted,
    Fact,
    Failed,
    Left,
    LimitsSet,
    Posted,
    Unhandled,
)
from organism.settings import BudgetSettings, Limits
from organism.threads.outcomes import Failure
from tests.journal.fact_values import WORDS, Greeting, Inner, decimals, facts_of

if TYPE_CHECKING:
    from collections.abc import Iterator


SCHEMA = codec.schema()


def names_another(branch: Any, instance: Any) -> bool:
    """Whether a member that stands for the kind says another one: then nothing else in this branch needs to be looked at."""
    members = SCHEMA["$defs"][branch["$ref"].rpartition("/")[2]].get("properties", {})
    return isinstance(instance, dict) and any(
        "const" in member and instance.get(name, member["const"]) != member["const"] for name, member in members.items()
    )


def one_of(validator: Any, branches: list[Any], instance: Any, _schema: Any) -> Iterator[Any]:
    """Exactly one branch is right: what ``oneOf`` says, without a list of all that is wrong in each of forty others."""
    possible = [branch for branch in branches if not names_another(branch, instance)]
    right = sum(validator.evolve(schema=branch).is_valid(instance) for branch in possible)
    if right != 1:
        yield ValidationError(f"{right} branches are right for {instance!r}")


VALIDATOR = validators.extend(Draft202012Validator, {"oneOf": one_of})(SCHEMA)


def through_a_file(document: Any) -> Any:
    return json.loads(canonical(document))


def line_with(document: Any) -> Any:
    return json.loads(seal(canonical(document), Head())[0])


@pytest.mark.parametrize("cls", FACTS, ids=lambda cls: cls.__name__)
def test_every_fact_comes_back_as_it_was(cls: type[Fact]) -> None:
    @settings(max_examples=25, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(facts_of(cls))
    def law(fact: Fact) -> None:
        document = encode(fact, "root")
        written = through_a_file(document)
        assert content(fact, "root") == canonical(document), "what is written is canonical"
        assert decode(written, WORDS) == fact
        plain = decode(written)
        assert type(plain) is cls
        assert through_a_file(encode(plain, "root")) == written, "what reads without classes loses nothing"
        assert not [error.message for error in VALIDATOR.iter_errors(line_with(document))]

    law()


def test_all_facts_and_steps_are_known() -> None:
    assert {Accepted, LimitsSet, Dropped} < set(FACTS)
    assert Fact not in FACTS
    assert {Posted, Left} < set(STEPS)
    names = [cls.__name__ for cls in (*FACTS, *STEPS)]
    assert len(names) == len(set(names))


def test_no_field_of_a_fact_has_the_name_of_a_key_of_its_line() -> None:
    taken = {"format", "root", "fact", "step", "lost", "n", "prev", "hash"}
    for cls in (*FACTS, *STEPS):
        assert not taken & {slot.name for slot in forms.slots(cls)}, cls


def test_a_payload_stands_there_with_its_name_and_its_xml() -> None:
    posted = Left(thread="t", sender="h", payload=Greeting(name="Ada", either=Inner(Decimal("0.50"))))
    (step,) = encode(Answered(at=1.0, thread="t", seq=1, handler="h", steps=(posted,)), "t")["steps"]
    assert step["step"] == "Left"
    assert step["payload"]["Greeting"]["name"] == "Ada"
    assert step["payload"]["$xml"].startswith('<Greeting xmlns="urn:organism:payloads"><name>Ada</name>')


def test_without_classes_a_payload_is_plain_data() -> None:
    left = Left(thread="t", sender="h", payload=Inner(Decimal("1.5"), b"x"))
    fact = decode(encode(Answered(at=1.0, thread="t", seq=1, handler="h", steps=(left,)), "t"))
    (step,) = fact.steps
    assert isinstance(step, Left)
    assert step.payload == PlainPayload("Inner", {"amount": "1.5", "data": "eA=="}, step.payload.xml)


def test_what_is_left_out_is_nothing() -> None:
    document = encode(LimitsSet(at=1.0, thread="t", budget=BudgetSettings(limits=Limits(tokens=0))), "r")
    assert document == {
        "format": 2, "root": "r", "fact": "LimitsSet", "at": 1.0, "thread": "t", "budget": {"limits": {"tokens": 0}},
    }  # fmt: skip


FACT = encode(
    Failed(
        at=1.0, thread="t", seq=1, handler="h", failure=Failure("crashed", "it did"),
        steps=(Unhandled(thread="t", failure=Failure("crashed", "it did"), at_root=True),),
    ),
    "t",
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 3}, "was written by a newer version of organism (format 3, and this one has 2); use that one"),
        ({"format": 1}, "format 1 is not known; this version reads format 2"),
        ({"format": None}, "format None is not known"),
        ({"format": True}, "format True is not known"),
        ({"fact": "Vanished"}, "there is no fact 'Vanished' in this format"),
        ({"fact": None}, "there is no fact None"),
        ({"steps": [{"step": "Jumped"}]}, "Failed: steps[0]: there is no step 'Jumped' in this format"),
        ({"steps": {}}, "Failed: steps: is not a list: {}"),
        ({"seq": "1"}, "Failed: seq: is not of type integer: '1'"),
        ({"seq": True}, "Failed: seq: is not of type integer: True"),
        ({"at": "soon"}, "Failed: at: is not a number: 'soon'"),
        ({"mood": 1}, "Failed has no field 'mood'"),
        ({"steps": [{"step": "Handed", "frame": ["t"]}]}, "Failed: steps[0].frame: has 1 item, and not 2"),
        (
            {"steps": [{"step": "Handed", "frame": ["t", "1"]}]},
            "Failed: steps[0].frame[1]: is not of type integer: '1'",
        ),
        ({"failure": {"code": "bored", "text": "", "retry": False}}, "Failed: failure.code: is none of 'routing', "),
        ({"failure": {"code": "crashed"}}, "Failed: failure: Failure lacks its field 'text'"),
    ],
)
def test_what_is_not_known_is_refused_by_name(change: dict[str, Any], said: str) -> None:
    with pytest.raises(JournalError) as caught:
        decode({**FACT, **change})
    assert said in str(caught.value)


def test_a_field_that_is_missing_is_named() -> None:
    with pytest.raises(JournalError, match="Failed lacks its field 'handler'"):
        decode({key: value for key, value in FACT.items() if key != "handler"})


def test_that_a_thread_ran_out_is_read_where_nothing_was_written_of_those_below() -> None:
    failure = Failure("exhausted", "it did", unit="seconds", scope="thread")
    fact = Exhausted(at=1.0, thread="t", failure=failure, last=True, dropped=(), alone=True)
    before = {key: value for key, value in encode(fact, "t").items() if key != "alone"}
    assert decode(before) == evolve(fact, alone=None)


def test_an_unknown_payload_class_is_named_and_can_be_read_plainly() -> None:
    document = encode(
        Answered(at=1.0, thread="t", seq=1, handler="h", steps=(Left(thread="t", sender="h", payload=Inner(Decimal(1))),)),
        "t",
    )  # fmt: skip
    with pytest.raises(
        JournalError, match=r"Answered: steps\[0\].payload: .*Inner.*; resume it with the payload classes that it"
    ):
        decode(document, Vocabulary())
    assert decode(document).steps[0].payload.name == "Inner"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"$xml": 1, "Inner": {}}, "is not a payload, as"),
        ({"$xml": "<a/>", "Inner": {}, "Other": {}}, "is not a payload, as"),
        ({"$float": "12"}, "'$float' does not say what it should: '12'"),
        ({"$decimal": "much"}, "'$decimal' does not say what it should"),
        ({"$failure": {"mood": 1}}, "'$failure' does not say what it should"),
        ({"$later": 1}, "'$later' does not say what it should"),
        ({"$tuple": [], "more": 1}, "has the key '$tuple' beside others"),
    ],
)
def test_a_kept_value_that_cannot_be_read_is_refused(value: Any, said: str) -> None:
    fact = encode(Answered(at=1.0, thread="t", seq=1, handler="h", state={"k": (1,)}), "t")
    with pytest.raises(JournalError) as caught:
        decode({**fact, "state": {"k": [value]}}, WORDS)
    assert f"state.k[0]: {said}" in str(caught.value)


def deep() -> Any:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize("value", [{1: 2}, object(), deep()], ids=["a key that is not a text", "an object", "too deep"])
def test_what_cannot_be_written_is_refused_with_its_thread(value: Any) -> None:
    fact = Answered(at=1.0, thread="t", seq=1, handler="h", state={"k": (value,)})
    with pytest.raises(JournalError, match="thread 'r': Answered cannot be written: "):
        encode(fact, "r")


def test_a_text_that_is_no_amount_is_refused() -> None:
    refused = CallRefused(at=1.0, thread="t", seq=1, handler="h", unit="tokens", scope="thread", need=5)
    with pytest.raises(JournalError, match="CallRefused: need: is not a number: 'many'"):
        decode({**encode(refused, "t"), "need": "many"})


def test_what_is_nested_too_deep_is_refused() -> None:
    fact = encode(Answered(at=1.0, thread="t", seq=1, handler="h", state={"k": (1,)}), "t")
    with pytest.raises(JournalError, match="Answered: is nested too deep to be read"):
        decode({**fact, "state": {"k": [deep()]}})


def test_a_kept_failure_comes_back() -> None:
    fact = Answered(at=1.0, thread="t", seq=1, handler="h", state={"k": ([Failure("crashed", "it did", retry=True)],)})
    assert decode(through_a_file(encode(fact, "t"))) == fact


def test_amounts_keep_their_kind() -> None:
    refused = CallRefused(at=1.0, thread="t", seq=1, handler="h", unit="cost_usd", scope="thread", need=Decimal("0.10"))
    for need in (Decimal("0.10"), 7, 0.5, float("inf")):
        back = decode(through_a_file(encode(evolve(refused, need=need), "t")))
        assert isinstance(back, CallRefused)
        assert (type(back.need), back.need) == (type(need), need)


def test_a_word_of_missing_facts_is_no_fact() -> None:
    document = encode_lost("r", 3, 2.5)
    assert document == {"format": 2, "root": "r", "at": 2.5, "lost": 3}
    assert VALIDATOR.is_valid(line_with(document))
    with pytest.raises(JournalError, match="3 facts are missing here"):
        decode(document)


def test_the_schema_is_sound_and_refuses_what_is_none() -> None:
    Draft202012Validator.check_schema(codec.schema())
    line = line_with(FACT)
    assert VALIDATOR.is_valid(line)
    wrongs: list[dict[str, Any]] = [
        {"format": 3},
        {"fact": "Vanished"},
        {"at": None},
        {"mood": 1},
        {"hash": "abc"},
        {"steps": [{}]},
    ]
    for wrong in wrongs:
        assert not VALIDATOR.is_valid({**line, **wrong}), wrong
    for key in line:
        if key != "steps":
            assert not VALIDATOR.is_valid({name: value for name, value in line.items() if name != key}), key


def test_a_type_without_a_form_is_refused_when_its_class_is_first_looked_at() -> None:
    @frozen
    class Strange:
        when: complex

    with pytest.raises(TypeError, match="field 'when' is annotated <class 'complex'>; the journal has no form"):
        forms.slots(Strange)


def test_a_default_that_says_something_is_written() -> None:
    document = encode(
        Answered(
            at=1.0, thread="t", seq=1, handler="h",
            steps=(Posted(thread="t", seq=1, to="h", payload=BudgetEstimate(unit="tokens", low=Decimal(0), high=Decimal(1)),
                          sender="", kind="send", frame=("t", 1), opens=False),),
        ),
        "t",
    )  # fmt: skip
    (step,) = document["steps"]
    assert (step["charged"], step["depth"], "parent" in step) == (True, 0, False)


@payload
class Flat:
    """A payload of each kind of scalar."""

    text: str
    whole: int
    number: float
    sure: bool
    exact: Decimal
    when: datetime
    data: bytes
    maybe: str | None = None
    other: int | None = None


long_texts = st.text(st.sampled_from('abc <&>"\\_x0\n\r\x00\ufeff\uffff\u00e9'), max_size=60) | st.sampled_from(
    ["a_b " * 20, "_x0041_ " * 10, "_x0000_ " * 10, "\uff01" * 40, "\ufffe" * 40, "plain " * 10]
)


@given(
    st.builds(
        Flat, text=long_texts, whole=st.integers(), number=st.floats(allow_nan=False, allow_infinity=False), sure=st.booleans(),
        exact=decimals, when=st.datetimes(timezones=st.just(UTC)), data=st.binary(max_size=40), maybe=st.none() | long_texts,
        other=st.none() | st.integers(),
    )
)  # fmt: skip
def test_the_xml_in_an_entry_is_the_payloads_own(value: Flat) -> None:
    (step,) = encode(
        Answered(at=1.0, thread="t", seq=1, handler="h", steps=(Left(thread="t", sender="h", payload=value),)), "t"
    )["steps"]
    assert step["payload"]["$xml"] == encode_xml(value).decode()
    assert step["payload"]["Flat"]["text"] == value.text
