"""What a person types, at its limits: how long it may be, and numbers that nobody can hold."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from organism.errors import InvalidPayloadError
from organism.payloads import Limits, Vocabulary, payload, takes_lines, takes_text


@payload
class Note:
    text: str


@payload
class Price:
    amount: Decimal
    share: float = 0.0


@payload
class Consent:
    note: str = ""


@payload
class Maybe:
    note: str | None = None


@payload
class Perhaps:
    note: str | None


@payload
class Nothing:
    pass


class Tone(Enum):
    LOUD = "loud"


@payload
class Tree:
    """A thing that may hold others of its kind."""

    name: str
    below: list[Tree]
    named: dict[str, Tree]


@payload
class Everything:
    yes: bool
    count: int
    share: float
    when: datetime
    data: bytes
    tone: Tone
    how: Literal[1, 2]
    prices: list[Price]
    tree: Tree
    either: Note | Price
    may: str | None
    left: str = ""


VOCABULARY = Vocabulary([Note, Price, Consent, Maybe, Nothing], limits=Limits(size=100))


def problem(text: str) -> str:
    with pytest.raises(InvalidPayloadError) as caught:
        VOCABULARY.decode_text(text, [Note, Price])
    return str(caught.value)


@given(st.sampled_from("aä潮😀"), st.integers(0, 120))
def test_a_document_is_as_long_as_its_bytes_in_either_form(sign: str, count: int) -> None:
    for typed in (
        json.dumps({"Note": {"text": sign * count}}, ensure_ascii=False),
        f"<Note><text>{sign * count}</text></Note>",
    ):
        if len(typed.encode()) > 100:
            assert problem(typed) == "is longer than 100 bytes"
        else:
            assert VOCABULARY.decode_text(typed, [Note]) == Note(sign * count)


@pytest.mark.parametrize("typed", ["1e99999999999999999999", "1.5E-99999999999999999999"])
@pytest.mark.parametrize("field", ["amount", "share"])
def test_an_exponent_that_nobody_can_hold_is_refused(typed: str, field: str) -> None:
    said = problem(json.dumps({"Price": {"amount": 1} | {field: 0.5}}).replace("0.5", typed))
    assert said == f"is not JSON: '{typed}' has an exponent that is too large"


def test_a_number_that_its_field_cannot_hold_is_refused_with_its_place() -> None:
    said = problem('{"Price": {"amount": 1e10000}}')
    assert said == "Price.amount: has the exponent 10000; it must be within 9999"
    assert problem('{"Price": {"amount": 1, "share": 1e400}}').startswith("Price.share: inf cannot be sent")


def test_a_number_keeps_its_digits() -> None:
    price = VOCABULARY.decode_text('{"Price": {"amount": 0.10000000000000000000000001}}', [Price])
    assert price == Price(Decimal("0.10000000000000000000000001"))


@pytest.mark.parametrize("cls", [Note, Price, Tree, Everything, Consent, Maybe, Nothing])
def test_whoever_is_to_write_a_payload_is_shown_a_document_that_is_one(cls: type) -> None:
    *_, last = takes_lines([cls])
    shown = last.removeprefix("  as in ")
    assert shown.startswith(f'{{"{cls.__name__}": ')
    assert type(Vocabulary([cls, Note]).decode_text(shown, [cls])) is cls


def test_the_document_has_what_must_be_there_and_no_more() -> None:
    assert list(takes_lines([Price])) == [
        "  Price",
        "  - amount (Decimal)",
        "  - share (float, 0.0 if left out)",
        '  as in {"Price": {"amount": "0"}}',
    ]


def test_a_document_that_must_have_nothing_shows_where_its_first_field_stands() -> None:
    shown = [[*takes_lines([cls])][-1] for cls in (Consent, Maybe, Nothing)]
    assert shown == [
        '  as in {"Consent": {"note": "..."}}',
        '  as in {"Maybe": {"note": "..."}}',
        '  as in {"Nothing": {}}',
    ]


def test_what_is_known_of_a_field_stands_in_the_document() -> None:
    *_, last = takes_lines([Price], {"amount": "5", "share": 0.5, "other": 1})
    assert last == '  as in {"Price": {"amount": "5"}}'


def test_plain_text_is_taken_where_one_class_needs_one_text() -> None:
    assert [takes_text(classes) for classes in ([Note], [Note, Price], [Price], [Note, Note], [])] == [
        True,
        True,
        False,
        False,
        False,
    ]
    with pytest.raises(
        InvalidPayloadError, match="plain text cannot become Price: it does not take one text alone; write XML or JSON"
    ):
        VOCABULARY.decode_text("ten", [Price])


@pytest.mark.parametrize("cls", [Consent, Maybe, Perhaps])
def test_plain_text_is_the_only_field_of_the_only_class_whether_it_must_be_there_or_not(cls: type) -> None:
    assert takes_text([cls])
    assert VOCABULARY.decode_text("by all means", [cls]) == cls("by all means")


def test_plain_text_is_no_note_of_a_consent_where_something_else_could_be_meant() -> None:
    assert not takes_text([Consent, Nothing])
    assert VOCABULARY.decode_text("no", [Consent, Note]) == Note("no")
    assert VOCABULARY.decode_text("no", [Perhaps, Note]) == Note("no")
    with pytest.raises(InvalidPayloadError, match="none of them takes one text alone"):
        VOCABULARY.decode_text("no", [Consent, Nothing])


@pytest.mark.parametrize("text", ['{"amount": "5"}', '{"share": 0.5, "amount": "5"}'])
def test_fields_without_the_name_of_their_class_are_told_where_to_put_it(text: str) -> None:
    said = 'has the fields of Price without its name; write them as {"Price": {...}}'
    with pytest.raises(InvalidPayloadError) as told:
        VOCABULARY.decode_text(text, [Price, Note])
    assert str(told.value) == said


@pytest.mark.parametrize("text", ['{"note": "x"}', '{"amount": "5", "note": "x"}', "{}"])
def test_fields_that_may_be_of_several_classes_or_of_none_are_not_said_to_be_of_one(text: str) -> None:
    with pytest.raises(InvalidPayloadError, match=r"^expected "):
        VOCABULARY.decode_text(text, [Consent, Maybe, Price])
