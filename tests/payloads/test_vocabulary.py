"""The payload classes of one organism, and what a person types for them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from organism import primitives
from organism.errors import InvalidPayloadError, PayloadTypeError
from organism.payloads import Vocabulary, describe, encode_json, encode_xml, payload
from organism.payloads.primitives import ALL


@payload
class Question:
    text: str
    folder: str = "docs"
    limit: int | None = None


@payload
class Answer:
    text: str
    sources: list[str]


@payload
class Wrapped:
    question: Question | None


words = Vocabulary([Wrapped, Answer])


def test_it_knows_classes_those_inside_and_the_primitives() -> None:
    assert words.get("Question") is Question
    assert words.get("HandlerFailed") is primitives.HandlerFailed
    assert words.get("Nothing") is None
    assert Question in words
    assert int not in words
    assert "Question" not in words
    assert set(words) == {Question, Answer, Wrapped, *ALL}
    assert len(words) == len(ALL) + 3
    assert len(Vocabulary()) == len(ALL)


def test_names_are_unique() -> None:
    @payload
    class HandlerFailed:
        pass

    with pytest.raises(
        PayloadTypeError, match=r"two payload classes are named HandlerFailed: organism\.payloads\.primitives\."
    ):
        Vocabulary([HandlerFailed])
    assert len(Vocabulary([Answer, Answer])) == len(ALL) + 1
    with pytest.raises(PayloadTypeError, match=r"builtins\.int is not a payload"):
        Vocabulary([int])


def test_a_person_types_xml_json_or_a_text() -> None:
    question = Question("What is it?")
    assert words.decode_text("What is it?", [Question]) == question
    assert words.decode_text("What is it?", [Question, Answer]) == question
    assert words.decode_text(' {"Question": {"text": "What is it?"}}\n', [Question]) == question
    assert words.decode_text(" <Question><text>What is it?</text></Question>", [Question]) == question
    assert words.decode_text("", [Question]) == Question("")
    assert words.decode_text("  spaces stay ", [Question]) == Question("  spaces stay ")


def test_a_text_that_could_be_several_payloads_or_none_is_refused() -> None:
    @payload
    class Note:
        text: str

    both = Vocabulary([Question, Note])
    with pytest.raises(
        InvalidPayloadError, match="plain text cannot become Note or Question: more than one of them takes one"
    ):
        both.decode_text("hello", [Question, Note])
    with pytest.raises(
        InvalidPayloadError,
        match=r"^plain text cannot become Answer: it does not take one text alone; write XML or JSON",
    ):
        words.decode_text("hello", [Answer])
    with pytest.raises(InvalidPayloadError, match="cannot become no payload"):
        words.decode_text("hello", [])
    with pytest.raises(InvalidPayloadError, match="is not JSON"):
        words.decode_text("{hello", [Question])
    with pytest.raises(InvalidPayloadError, match="expected Question, got 'Answer'"):
        words.decode_text('{"Answer": {"text": "", "sources": []}}', [Question])
    with pytest.raises(InvalidPayloadError, match=r"^Question\.text: holds a lone surrogate"):
        words.decode_text("\ud800", [Question])


def test_primitives_are_payloads_of_their_own_namespace() -> None:
    warning = primitives.BudgetWarning(
        unit="tokens",
        level="warning",
        threshold=Decimal("0.75"),
        used=Decimal(750),
        held=Decimal(0),
        limit=Decimal(1000),
        remaining=Decimal(250),
        calls_left=2,
        scope="thread",
        text="3/4 used",
    )
    failed = primitives.HandlerFailed("timeout", "30 seconds")
    for value in (warning, failed, primitives.BudgetQuery(), primitives.BudgetReport({"tokens": Decimal(5)})):
        assert describe(type(value)).namespace == "urn:organism:primitives:1"
        assert words.decode_xml(encode_xml(value)) == value
        assert words.decode_json(encode_json(value)) == value
    assert encode_xml(primitives.BudgetQuery()) == b'<BudgetQuery xmlns="urn:organism:primitives:1"></BudgetQuery>'
    with pytest.raises(InvalidPayloadError, match=r"^HandlerFailed\.code: expected 'routing' \| 'validation' \| "):
        primitives.HandlerFailed("broken", "")  # type: ignore[arg-type]


def test_what_only_the_organism_may_send() -> None:
    names = {cls.__name__ for cls in primitives.ORGANISM_ONLY}
    assert names == {
        *("BudgetWarning", "BudgetExhausted", "BudgetReport", "BudgetGranted", "BudgetRefused"),
        *("HandlerFailed", "InvalidPayload", "DeadLetter"),
    }
    free = {cls.__name__ for cls in ALL} - names
    assert free == {"BudgetQuery", "BudgetRequest", "BudgetDecision", "BudgetEstimate"}
    assert {getattr(primitives, cls.__name__) for cls in ALL} == set(ALL)
