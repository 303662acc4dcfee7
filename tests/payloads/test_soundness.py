"""Values that went around their constructor: whatever is wrong with them, at whatever depth, is found before they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from organism.errors import InvalidPayloadError
from organism.payloads import decode_fields, describe, encode_xml, flaw, is_payload, payload
from organism.payloads.soundness import check_alone
from tests.payloads.payload_classes import payload_values

if TYPE_CHECKING:
    from collections.abc import Iterator

few = settings(max_examples=25)
"""Each example declares classes."""


@payload
class Leaf:
    n: int = 0


@payload
class Tree:
    one: Leaf | None = None
    more: list[Leaf] = []  # noqa: RUF012 - it becomes a tuple
    named: dict[str, list[Leaf]] = {}  # noqa: RUF012 - and so it is with dicts


@payload
class Chain:
    next: Chain | Leaf | None = None


@payload
class Nest:
    inner: Nest | None = None


def parts(value: Any) -> Iterator[Any]:
    """A payload, and every one that is inside of it."""
    if is_payload(type(value)):
        yield value
        for field in describe(type(value)).fields:
            yield from parts(getattr(value, field.attribute))
    elif isinstance(value, (tuple, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from parts(each)


def bent(value: Any, /, **fields: Any) -> Any:
    for name, field in fields.items():
        object.__setattr__(value, name, field)
    return value


@few
@given(payload_values())
def test_what_was_made_by_its_constructor_is_sound_and_stays_as_it_is(value: Any) -> None:
    written = encode_xml(value)
    assert flaw(value) is None
    assert encode_xml(value) == written


@few
@given(payload_values(), st.data())
def test_a_field_that_is_no_value_at_all_is_found_wherever_it_stands(value: Any, data: st.DataObject) -> None:
    places = [(part, field.attribute) for part in parts(value) for field in describe(type(part)).fields]
    assume(places)
    part, name = data.draw(st.sampled_from(places))
    before = getattr(part, name)
    assert flaw(value) is None
    object.__setattr__(part, name, object())
    try:
        assert f"{type(part).__name__}.{name}" in (flaw(value) or "")
    finally:
        object.__setattr__(part, name, before)  # a default is part of many values


def test_a_payload_without_its_fields_is_found_wherever_it_stands() -> None:
    hollow: Any = object.__new__(Leaf)
    for tree in (Tree(), Tree(one=Leaf())):
        assert flaw(tree) is None
    whole = "is not a whole value: AttributeError"
    assert flaw(hollow) == f"Leaf {whole}"
    assert flaw(bent(Tree(), one=hollow)) == f"Tree {whole}"
    assert flaw(bent(Tree(), more=(Leaf(), hollow))) == f"Tree {whole}"
    assert flaw(Tree(named={"a": [Leaf()], "b": [hollow]})) == f"Tree {whole}"


def test_lists_that_were_put_into_it_become_what_the_constructor_makes_of_them() -> None:
    tree = bent(Tree(), more=[Leaf(1)], named={"a": [Leaf(2)]})
    assert flaw(tree) is None
    assert tree == Tree(more=[Leaf(1)], named={"a": [Leaf(2)]})
    assert hash(tree) == hash(Tree(more=[Leaf(1)], named={"a": [Leaf(2)]}))


def chain(length: int) -> Chain:
    made = Chain()
    for _ in range(length):
        made = Chain(made)
    return made


def test_a_chain_may_be_two_hundred_long_and_not_longer() -> None:
    assert flaw(chain(200)) is None
    assert flaw(chain(201)) == "Chain: holds payloads more than 200 deep, or itself"


@pytest.mark.parametrize("as_one_of_several", [False, True])
def test_what_is_read_is_as_deep_as_may_be_sent(as_one_of_several: bool) -> None:
    def fields(length: int) -> Any:
        made: Any = {}
        for _ in range(length):
            made = {"next": {"Chain": made}} if as_one_of_several else {"inner": made}
        return made

    kind: type[Any] = Chain if as_one_of_several else Nest
    assert flaw(decode_fields(kind, fields(200))) is None
    with pytest.raises(InvalidPayloadError, match="holds payloads more than 200 deep"):
        decode_fields(kind, fields(201))


def test_a_payload_that_holds_itself_is_found() -> None:
    ring = Chain()
    assert flaw(bent(ring, next=Chain(ring))) == "Chain: holds payloads more than 200 deep, or itself"


def test_the_check_of_a_class_alone_is_enough_where_it_holds_no_payloads() -> None:
    assert check_alone(Tree) is check_alone(Chain) is None
    check = check_alone(Leaf)
    assert check is not None
    check(Leaf(1))
    with pytest.raises(InvalidPayloadError):
        check(bent(Leaf(), n="one"))
