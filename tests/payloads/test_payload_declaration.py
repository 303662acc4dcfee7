"""What can be a payload, what cannot, and what the error says about it."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from datetime import date, timedelta
from enum import Enum, Flag
from typing import Annotated, Any, ClassVar, Final, Generic, Literal, NewType, TypeVar
from uuid import UUID

import attrs
import pytest
import typing_extensions

from organism.errors import InvalidPayloadError, PayloadTypeError
from organism.payloads import (
    Field,
    Vocabulary,
    describe,
    encode_json,
    encode_xml,
    is_payload,
    payload,
)
from organism.payloads.types import MADE, Choice, Many, Maybe, Nested, OneOf, Scalar, Table, spelled
from tests.payloads import typing_api

T = TypeVar("T")
UserId = NewType("UserId", str)


@payload
class Leaf:
    """Something small."""

    name: str


@payload
class Tree:
    children: list[Tree]
    other: Later | None = None


@payload
class Later:
    tree: Tree | Leaf


def told(error: pytest.ExceptionInfo[BaseException]) -> str:
    return str(error.value)


def test_declaring_payloads_loads_no_xml_library() -> None:
    code = "import sys, organism.payloads; sys.exit('lxml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603 - our own code


def test_the_typing_examples_run() -> None:
    assert typing_api.everything.real == 1.0
    assert typing_api.vocabulary.decode_xml(encode_xml(typing_api.everything)) == typing_api.everything


def test_a_plain_class_becomes_a_frozen_value_with_slots() -> None:
    leaf = Leaf("oak")
    assert leaf == Leaf(name="oak")
    assert hash(leaf) == hash(Leaf("oak"))
    assert repr(leaf) == "Leaf(name='oak')"
    assert not hasattr(leaf, "__dict__")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        leaf.name = "elm"  # type: ignore[misc]
    evolve: Any = attrs.evolve
    assert evolve(leaf, name="elm") == Leaf("elm")
    with pytest.raises(InvalidPayloadError):
        evolve(leaf, name=3)


def test_what_a_class_is_can_be_asked() -> None:
    class Colour(Enum):
        RED = "red"

    @payload(namespace="urn:example:all")
    class All:
        """All of it.

        In two lines.
        """

        text: Annotated[str, "Some", "words."]
        colour: Colour
        level: Literal["low", 2] | None
        leaves: list[Annotated[Leaf, "Leaves."]]
        table: dict[str, Leaf | Tree | None]
        user: UserId = UserId("ada")
        from_: tuple[int, ...] = (1,)
        made: list[int] = attrs.field(factory=list[int], kw_only=True)

    described = describe(All)
    assert (described.cls, described.name, described.namespace) == (All, "All", "urn:example:all")
    assert described.doc == "All of it.\n\nIn two lines."
    text, colour, level, leaves, table, user, from_, made = described.fields
    assert text == Field(
        name="text", attribute="text", argument="text", type=Scalar.TEXT, default=attrs.NOTHING, doc="Some words."
    )
    assert colour.type == Choice((("red", Colour.RED),), Colour)
    assert level.type == Maybe(Choice((("low", "low"), ("2", 2))))
    assert (leaves.type, leaves.doc) == (Many(Nested(Leaf)), "Leaves.")
    assert table.type == Table(Maybe(OneOf((Leaf, Tree))))
    assert (user.type, user.default, user.required) == (Scalar.TEXT, "ada", False)
    assert (from_.name, from_.attribute, from_.default) == ("from", "from_", (1,))
    assert (made.default, made.keyword_only) == (MADE, True)
    assert [field.required for field in described.fields[:5]] == [True, True, False, True, True]
    assert [spelled(field.type) for field in described.fields[1:5]] == [
        "'red'",
        "'low' | 2 | None",
        "list[Leaf]",
        "dict[str, Leaf | Tree | None]",
    ]


def test_names_for_types_are_looked_through() -> None:
    alias: Any = typing_extensions.TypeAliasType("Alias", Leaf | None)
    annotations = {
        "alias": alias,
        "either": alias | Annotated[Tree | Later, "Anything."],
        "user": list[UserId],
        "twice": Annotated[Annotated[str, "Once."], "Twice."],
    }
    cls: type = payload(type("Named", (), {"__annotations__": annotations, "__module__": __name__}))
    assert [spelled(field.type) for field in describe(cls).fields] == [
        "Leaf | None",
        "Leaf | Tree | Later | None",
        "list[str]",
        "str",
    ]
    assert [field.doc for field in describe(cls).fields] == ["", "Anything.", "", "Once. Twice."]


def test_class_variables_methods_and_unannotated_names_are_no_fields() -> None:
    @payload
    class Counted:
        LIMIT: ClassVar[int] = 3
        plain = 4
        number: int

        @property
        def double(self) -> int:
            return self.number * 2

    assert [field.name for field in describe(Counted).fields] == ["number"]
    assert Counted(2).double == 4


def test_payloads_hold_themselves_and_each_other() -> None:
    tree = Tree([Tree([]), Tree([Tree([])])], Later(Leaf("oak")))
    assert Vocabulary([Tree]).decode_xml(encode_xml(tree)) == tree
    assert [cls.__name__ for cls in Vocabulary([Tree])][-3:] == ["Tree", "Later", "Leaf"]
    with pytest.raises(InvalidPayloadError, match=r"^Tree\.children\[0\]: expected Tree, got Leaf Leaf\(name='a'\)$"):
        Tree([Leaf("a")])  # type: ignore[list-item]


def test_a_class_in_a_function_sees_the_names_around_it() -> None:
    class Size(Enum):
        BIG = 1

    @payload
    class Local:
        size: Size
        inner: Local | None = None

    assert Local(Size.BIG, Local(Size.BIG)).inner == Local(Size.BIG)


def test_a_name_that_does_not_exist_yet_is_looked_up_on_first_use() -> None:
    @payload
    class Early:
        late: Missing  # type: ignore[name-defined] # noqa: F821

    assert is_payload(Early)
    with pytest.raises(
        PayloadTypeError, match=r"Early\.late: the annotation 'Missing' names 'Missing', which does not exist"
    ):
        describe(Early)
    with pytest.raises(PayloadTypeError, match="names 'Missing'"):
        Early(late=1)
    globals()["Missing"] = Leaf
    try:
        assert Early(Leaf("a")).late == Leaf("a")
        with pytest.raises(InvalidPayloadError):
            Early(late=1)
    finally:
        del globals()["Missing"]


def test_a_field_of_a_base_is_read_with_the_names_of_the_bases_own_module() -> None:
    @payload
    class Derived(typing_api.Named):
        more: int

    assert "OnlyHere" not in globals()
    assert Derived(typing_api.OnlyHere("a"), 1).name.text == "a"


def test_a_ready_made_class_may_also_wait_for_a_name() -> None:
    @payload
    @dataclasses.dataclass(frozen=True)
    class Early:
        late: Missing  # type: ignore[name-defined] # noqa: F821

    globals()["Missing"] = Leaf
    try:
        with pytest.raises(InvalidPayloadError, match=r"^Early\.late: expected Leaf, got int 1$"):
            Early(late=1)
        assert Early(Leaf("a")).late == Leaf("a")
    finally:
        del globals()["Missing"]


def test_payloads_derive_from_payloads() -> None:
    @payload
    class Oak(Leaf):
        age: int

        def __attrs_post_init__(self) -> None:
            if self.age < 0:
                raise ValueError("not born yet")

    @payload
    class BigOak(Oak):
        height: float

    assert encode_json(BigOak("a", 3, 2)) == {"BigOak": {"name": "a", "age": 3, "height": 2.0}}
    with pytest.raises(InvalidPayloadError, match=r"^BigOak\.name: "):
        BigOak(1, 3, 2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not born yet"):
        BigOak("a", -3, 2)
    with pytest.raises(InvalidPayloadError, match=r"^Oak: is refused by the class itself: not born yet$"):
        Vocabulary([Oak]).decode_xml("<Oak><name>a</name><age>-1</age></Oak>")

    class Undecorated(Oak):
        pass

    assert is_payload(Oak("a", 1))
    assert not is_payload(Undecorated("a", 1))
    with pytest.raises(PayloadTypeError, match="Undecorated is not a payload; decorate"):
        describe(Undecorated)


def test_ready_made_classes_are_taken_as_they_are() -> None:
    @attrs.frozen(kw_only=True)
    class Made:
        name: str
        tags: list[str] = attrs.field(factory=list[str], converter=list)

        def __attrs_post_init__(self) -> None:
            seen.append(self.name)

    @dataclasses.dataclass(frozen=True, slots=True)
    class Data:
        name: str
        tags: list[str] = dataclasses.field(default_factory=list[str])

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Named(Data):
        more: str = ""

    seen: list[str] = []
    assert payload(Made) is Made
    assert payload(Data) is Data
    assert payload(Named) is Named
    classes: list[Any] = [Made, Data, Named]
    for cls in classes:
        assert cls(name="a", tags=["x"]).tags == ("x",)
        assert cls(name="a") == cls(name="a", tags=[])
        assert describe(cls).doc == ""
        with pytest.raises(InvalidPayloadError, match=r"\.name: expected str, got int 1$"):
            cls(name=1)
        assert Vocabulary([cls]).decode_xml(encode_xml(cls(name="a", tags=["x"]))) == cls(name="a", tags=["x"])
    assert seen[0] == "a"


def test_validators_of_attrs_refuse_values_and_documents() -> None:
    @payload
    class Aged:
        age: int = attrs.field(validator=attrs.validators.ge(0))

    with pytest.raises(ValueError, match="must be >= 0"):
        Aged(-1)
    with pytest.raises(InvalidPayloadError, match=r"^Aged: is refused by the class itself: 'age' must be >= 0: -1$"):
        Vocabulary([Aged]).decode_json({"Aged": {"age": -1}})


@dataclasses.dataclass
class Thawed:
    name: str


@attrs.define
class Melted:
    name: str


@attrs.frozen(eq=False)
class Unequal:
    name: str


@dataclasses.dataclass(frozen=True)
class WithInit:
    name: str
    more: dataclasses.InitVar[int]


@attrs.frozen
class Partial:
    name: str
    rest: str = attrs.field(init=False, default="")


class OwnInit:
    name: str

    def __init__(self) -> None: ...


class Box(Generic[T]):
    inner: T


class Backwards:
    first: int = 1
    second: int


class Bare:
    name = attrs.field()


class AnError(ValueError):
    name: str


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Thawed, "Thawed can be changed, and receivers share it; use @attrs.frozen"),
        (Melted, "Melted can be changed"),
        (Unequal, "Unequal has no equality of its own; leave out eq=False"),
        (WithInit, "the constructor takes name, more, the fields are name; leave out init=False, InitVar"),
        (Partial, "the constructor takes name, the fields are name, rest"),
        (OwnInit, "OwnInit has an __init__ of its own; write __attrs_post_init__ instead"),
        (Box, "Box is generic: a document could not say which type it holds; write one payload for each type"),
        (Backwards, "Backwards: No mandatory attributes allowed after an attribute with a default value"),
        (Bare, "Bare.name: has no type"),
        (AnError, "AnError derives from ValueError; a payload has fields only"),
        (Leaf, "Leaf is a payload already; decorate it once"),
        (3, "@payload is for classes, not for 3"),
        (type("Größe", (), {}), "must be of ASCII letters"),
    ],
)
def test_classes_that_cannot_be_payloads(cls: Any, message: str) -> None:
    with pytest.raises(PayloadTypeError) as caught:
        payload(cls)
    assert message in told(caught)


def test_a_class_of_another_kind_than_its_base_would_lose_fields() -> None:
    @payload
    @dataclasses.dataclass(frozen=True)
    class Base:
        name: str

    with pytest.raises(
        PayloadTypeError, match=r"derives from Base, whose fields it would not have; put @dataclass\(frozen=True\)"
    ):

        @payload
        class Derived(Base):
            age: int


class Permission(Flag):
    READ = 1


class Nothing(Enum):
    pass


@attrs.frozen
class NoPayload:
    name: str


FORMS: Final = (
    "list[inner]",
    "tuple[inner, ...]",
    "dict[str, inner]",
    "list[Annotated[inner, 'x']]",
    "list[inner | None]",
    "list[NewType('Inner', inner)]",
)


def nested(form: str) -> Any:
    """What is of this form sixty times over."""
    annotation: Any = str
    for _ in range(60):
        annotation = eval(form, globals(), {"inner": annotation})  # noqa: S307 - one of those above
    return annotation


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (date, "Bad.field: date cannot be sent; use datetime with an offset, or str"),
        (timedelta, "timedelta cannot be sent; use float seconds"),
        (UUID, "UUID cannot be sent; use str"),
        (set[str], "set[str] cannot be sent; use list[X]"),
        (list, "list does not say what it holds; write for example list[str]"),
        (dict[int, str], "dict[int, str] has keys of int; keys must be str"),
        (tuple[int, str], "has places of different meaning; make it a payload with named fields, or tuple[X, ...]"),
        (int | str, "is a union of other things than payloads, which texts could not tell apart; make each a payload"),
        (NoPayload, "NoPayload is not a payload; decorate the class with @payload"),
        (list[NoPayload], "Bad.field: NoPayload is not a payload"),
        (object, "object cannot be sent; make it a payload, or use what can"),
        (Any, "Any cannot be sent"),
        (None, "has no type, or None alone; write one"),
        (T, "is a type variable; payloads are not generic, name the type itself"),
        (list[T], "is a type variable"),  # type: ignore[valid-type]
        (Box[int], "cannot be sent"),
        (Permission, "is an Enum without members of its own, or a Flag"),
        (Nothing, "is an Enum without members of its own, or a Flag"),
        (Literal[b"x"], "holds b'x'; a Literal may hold str, int, bool and None"),
        (Literal["1", 1], "has two values that are both written '1'"),
        (Literal[True, "true"], "has two values that are both written 'true'"),
        (Literal[None], "can only be None; leave the field out"),  # noqa: PYI061 - that is what is refused
        (Literal["\ud800"], "which holds a lone surrogate (U+D800)"),
        (Annotated[int, 3], "is annotated with 3, which nothing would read"),
        (Final[int], "cannot be sent"),
        ("list[", "the annotation 'list[' cannot be evaluated"),
        ("str.nothing", "cannot be evaluated"),
        (list[3], "3 cannot be sent; fields may be str"),  # type: ignore[valid-type]
        (list[None], "None alone says nothing; leave the field out"),
        *((nested(form), "nests too deep, or without end") for form in FORMS),
        (type("MyStr", (str,), {}), "MyStr cannot be sent; use str, values are converted"),
    ],
)
def test_fields_that_cannot_be_sent(annotation: Any, message: str) -> None:
    with pytest.raises(PayloadTypeError) as caught:
        payload(type("Bad", (), {"__annotations__": {"field": annotation}, "__module__": __name__}))
    assert told(caught).startswith("Bad.field: ")
    assert message in told(caught)


@pytest.mark.parametrize("name", ["_private", "größe"])
def test_field_names_that_cannot_be_sent(name: str) -> None:
    with pytest.raises(PayloadTypeError, match=rf"^Bad\.{name}: the name of a field must be"):
        payload(type("Bad", (), {"__annotations__": {name: int}, "__module__": __name__}))


def test_a_field_cannot_have_the_name_of_the_object_itself() -> None:
    with pytest.raises(PayloadTypeError, match=r"^Odd: duplicate (argument|parameter) 'self' in function definition$"):
        payload(type("Odd", (), {"__annotations__": {"self": str}}))


def test_a_default_is_checked_with_the_class() -> None:
    with pytest.raises(PayloadTypeError, match=r"Bad\.tags\[1\]: the default does not fit: expected str, got int 2$"):

        @payload
        class Bad:
            tags: list[str] = ["a", 2]  # type: ignore[list-item] # noqa: RUF012


def test_two_classes_of_one_name_cannot_meet() -> None:
    def other() -> type:
        @payload
        class Leaf:
            size: int

        return Leaf

    another: Any = other()
    with pytest.raises(
        PayloadTypeError, match=r"two payload classes are named Leaf: .*\.Leaf and .*other\.<locals>\.Leaf"
    ):
        payload(type("Both", (), {"__annotations__": {"a": Leaf | another}, "__module__": __name__}))
    both: type = payload(type("Pair", (), {"__annotations__": {"a": Leaf, "b": another}, "__module__": __name__}))
    with pytest.raises(PayloadTypeError, match="two payload classes are named Leaf"):
        Vocabulary([both])


@pytest.mark.parametrize("namespace", ["", "no uri", "relative", 'urn:x"y', "urn:x y"])
def test_a_namespace_is_an_absolute_uri(namespace: str) -> None:
    with pytest.raises(PayloadTypeError, match="is not an absolute URI"):
        payload(namespace=namespace)
