"""Constructors that are written for frozen classes, and functions that are written in their place, do what those of attrs do."""

from __future__ import annotations

import inspect
import pickle
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import pytest
from attrs import Factory, define, field, frozen

from organism import payload
from organism.message import Forward, Reply, Send
from organism.quick import maker, quick
from organism.record import facts
from organism.results import ThreadResult
from organism.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Callable


def is_quick(cls: Any) -> bool:
    """Whether its constructor is one of ours."""
    file: str = cls.__init__.__code__.co_filename
    return file.startswith("<constructor of ")


def classes(wrap: Callable[[type[Any]], type[Any]]) -> tuple[Any, Any]:
    """A class and one that derives from it, each wrapped."""

    @wrap
    @frozen
    class Base:
        one: int
        _two: str = "two"

    @wrap
    @frozen(kw_only=True)
    class All(Base):
        three: list[int] = Factory(list[int])
        c0: int = 0
        c1: int = 1
        self_: str = "me"
        shown: ClassVar[list[Any]] = []

        def __attrs_post_init__(self) -> None:
            self.shown.append(self)

    return Base, All


Base, All = classes(lambda made: made)
QuickBase, QuickAll = classes(quick)


@quick
@frozen
class Pair:
    one: int
    two: str = "two"


GIVEN = [
    ((1,), {}),
    ((1, "b"), {"three": [4], "c0": 5, "c1": 6, "self_": "you"}),
    ((), {"one": 1, "two": "c"}),
    ((), {}),
    ((1,), {"one": 1}),
    ((1,), {"four": 4}),
    ((1, "b", [4]), {}),
    ((1,), {"_two": "b"}),
]


def outcome(make: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    try:
        return attrs.astuple(make(*args, **named))
    except TypeError as error:
        return str(error)


@pytest.mark.parametrize(("args", "named"), GIVEN)
def test_it_takes_what_the_one_of_attrs_takes(args: tuple[Any, ...], named: dict[str, Any]) -> None:
    assert is_quick(QuickAll)
    assert not is_quick(All)
    assert outcome(QuickAll, args, named) == outcome(All, args, named)
    assert outcome(QuickBase, args, named) == outcome(Base, args, named)


@pytest.mark.parametrize(("args", "named"), GIVEN)
def test_a_maker_takes_what_its_class_takes(args: tuple[Any, ...], named: dict[str, Any]) -> None:
    for cls in (Base, All):
        made: Any = maker(cls)
        assert made is not cls
        told = outcome(made, args, named)
        assert told == outcome(cls, args, named) or "made()" in told
        assert isinstance(told, str) == isinstance(outcome(cls, args, named), str)


def test_what_is_made_is_as_frozen_and_equal_as_before() -> None:
    one = Pair(1)
    assert one == Pair(1)
    assert hash(one) == hash(Pair(1))
    assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301 - it was made here
    assert attrs.evolve(one, one=2) == Pair(2)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        one.one = 2  # type: ignore[misc]
    assert inspect.signature(QuickAll) == inspect.signature(All)


@define(kw_only=True)
class Open:
    one: int
    two: list[int] = Factory(list[int])


def test_what_a_maker_makes_is_of_its_class_and_as_frozen() -> None:
    new = maker(Pair)
    one = new(1, two="b")
    assert type(one) is Pair
    assert one == Pair(1, "b")
    assert hash(one) == hash(Pair(1, "b"))
    assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301 - as above
    for each in (one, Pair(1)):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            each.one = 2  # type: ignore[misc]
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            del each.two


def test_a_maker_of_what_is_not_frozen_makes_that() -> None:
    new = maker(Open)
    first, second = new(one=1), new(one=1)
    first.one = 2
    assert (type(first), first, second) == (Open, Open(one=2), Open(one=1))
    assert first.two is not second.two


def test_a_maker_calls_what_follows_the_constructor_once_it_is_frozen() -> None:
    All.shown.clear()
    made: Any = maker(All)(one=1)
    assert [each is made for each in All.shown] == [True]
    assert type(All.shown[0]) is All


def test_each_default_is_made_anew_and_what_follows_the_constructor_is_called() -> None:
    QuickAll.shown.clear()
    first, second = QuickAll(one=1), QuickAll(one=1)
    assert first.three is not second.three
    assert QuickAll.shown == [first, second]


@quick
@frozen
class Converts:
    value: int = field(converter=int)


@quick
@frozen
class Validates:
    value: int = field(validator=attrs.validators.instance_of(int))


@quick
@frozen
class Derives:
    value: int
    twice: int = Factory(lambda self: self.value * 2, takes_self=True)


@quick
@frozen
class LeavesOut:
    value: int
    other: int = field(init=False, default=3)


@quick
@frozen(slots=False)
class HasDict:
    value: int


@quick
@frozen
class Begins:
    value: int
    began: ClassVar[list[Any]] = []

    def __attrs_pre_init__(self) -> None:
        self.began.append(self)


@quick
@frozen
class Itself:
    value: int

    def __init__(self, value: int) -> None:
        self.__attrs_init__(value)  # type: ignore[attr-defined]


@pytest.mark.parametrize("made", [Converts, Validates, Derives, LeavesOut, HasDict, Begins, Itself])
def test_a_constructor_that_does_more_stays(made: Any) -> None:
    assert not is_quick(made)
    assert maker(made) is made
    assert made(4).value == 4


def test_those_of_every_message_are_quick() -> None:
    @payload
    class Plain:
        text: str
        c0: int = 5

    everything = [each for each in vars(facts).values() if isinstance(each, type) and issubclass(each, facts.Fact)]
    assert [
        each.__name__ for each in (*everything, Plain, Reply, Send, Forward, ThreadResult, Usage) if not is_quick(each)
    ] == []
    assert (Plain("a").c0, Plain("a", 6).c0) == (5, 6)
