"""Names for types, as ``type X = ...`` of Python 3.12 makes them: handlers may be annotated with them as fields of payloads are, and replies
expected."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import pytest

from organism import Context, Organism, Reply
from organism.errors import ConfigurationError, InvalidPayloadError, PayloadTypeError, UnexpectedReplyError
from organism.loader import accepts_of, load_object, replies_of
from organism.payloads import describe
from organism.payloads.expected import check_expect

if TYPE_CHECKING:
    from tests.config.conftest import Project

LAZY: Final = sys.version_info >= (3, 12)
"""Whether Python has the statement; what stands in for it before knows at once what it names."""


def named(name: str, value: str) -> str:
    return f"type {name} = {value}" if LAZY else f"{name} = TypeAliasType('{name}', {value})"


WORK: Final = f"""
from typing import Any

from organism import Reply, payload
from typing_extensions import TypeAliasType

@payload
class Tea:
    leaves: int

@payload
class Water:
    litres: int

{named("Drink", "Tea | Water")}
{named("Asked", "Drink")}
{named("Poured", "Reply[Asked]")}
{named("Maybe", "Poured | None")}

async def pour(message: Asked, ctx: Any) -> Maybe:
    '''Pours it.'''
    return Reply(message)
"""


async def test_a_handler_is_annotated_with_them(project: Project) -> None:
    project.write("drinks.py", WORK)
    pour, tea, water = (load_object(f"drinks:{name}", project.folder) for name in ("pour", "Tea", "Water"))
    assert accepts_of(pour) == (tea, water)
    assert replies_of(pour) == (tea, water)
    async with Organism(name="drinks", handlers={"pourer": {"code": pour}}) as organism:
        assert await organism.ask("pourer", tea(3), expect=tea) == tea(3)
        assert await organism.ask("pourer", water(1), expect=water) == water(1)


def generic(name: str, value: str) -> str:
    return f"type {name}[T] = {value}" if LAZY else f"{name} = TypeAliasType('{name}', {value}, type_params=(T,))"


EXPECTED: Final = (
    WORK
    + f"""
from typing import NewType, Optional, TypeVar, Union

T = TypeVar("T")
{generic("Or", "Tea | T")}
{generic("Same", "T")}
{generic("Within", "Or[T] | None")}
{generic("Several", "list[T]")}
{named("Numbers", "Several[int]")}
{named("Many", "Tea | list[Tea]")}
Cold = NewType("Cold", Water)

async def pour_either(message: Or[Water], ctx: Any) -> Reply[Or[Water]]:
    '''Pours it.'''
    return Reply(message)

async def pour_any(message: Or, ctx: Any) -> None: ...

@payload
class Tray:
    of: Or[Water]
    numbers: Numbers
    amount: Same[int]
"""
)


@pytest.fixture
def drinks(project: Project) -> Any:
    """A module with names that stand for two payload classes, or for one of them."""
    project.write("drinks.py", EXPECTED)
    pour = load_object("drinks:pour", project.folder)
    return SimpleNamespace(**pour.__globals__)


@pytest.mark.parametrize(
    "expect",
    [
        "Asked",
        "Cold",
        "Or[Water]",
        "Same[Water]",
        "Within[Water]",
        "Optional[Water]",
        "Union[Asked, None]",
        "(Tea, Cold)",
    ],
)
async def test_a_reply_is_expected_by_them(drinks: Any, expect: str) -> None:
    expected: Any = eval(expect, vars(drinks))  # noqa: S307 - one of those above

    async def ask(message: Any, ctx: Context) -> Reply[Any]:
        """Asks for it, both ways."""
        asked = await ctx.ask("pourer", message, expect=expected)
        return Reply((await ctx.ask_all([("pourer", asked)], expect=expected))[0])

    ask.__annotations__["message"] = drinks.Water
    code = {"pourer": {"code": drinks.pour}, "asker": {"code": ask, "peers": ["pourer"]}}
    async with Organism(name="drinks", handlers=code) as organism:
        assert await organism.ask("asker", drinks.Water(1), expect=expected) == drinks.Water(1)
        result = await (await organism.send("pourer", drinks.Water(2))).result()
        assert result.reply_as(expected) == drinks.Water(2)


@pytest.mark.parametrize(
    ("expect", "said"),
    [
        ("TypeAliasType('Named', Tea)", "expected Named, got Water"),
        ("Same[Tea]", r"expected (drinks\.)?Same\[drinks\.Tea\], got Water"),
        ("NewType('Hot', Tea)", r"expected .*Hot, got Water"),
        ("Tea", "expected Tea, got Water"),
    ],
)
async def test_another_reply_is_told_by_the_name_that_was_expected(drinks: Any, expect: str, said: str) -> None:
    expected: Any = eval(expect, vars(drinks))  # noqa: S307 - one of those above
    async with Organism(name="drinks", handlers={"pourer": {"code": drinks.pour}}) as organism:
        with pytest.raises(UnexpectedReplyError, match=f"^{said}$"):
            await organism.ask("pourer", drinks.Water(1), expect=expected)


@pytest.mark.parametrize(
    ("expect", "said"),
    [
        ("Or", r"expect must name its payload classes: Or leaves ~?T open; write Or\[SomePayload\]"),
        (
            "Or[T]",
            r"expect must name its payload classes: (drinks\.)?Or\[~?T\] leaves ~?T open; write Or\[SomePayload\]",
        ),
        ("Any", r"expect must be a payload class, or a union of them, not typing\.Any"),
        ("Or[Water, Tea]", r"expect must be a payload class, or a union of them, not (drinks\.)?Or\[.*\]"),
        ("Many", r"expect must be a payload class, or a union of them, not Many, which holds list\[drinks\.Tea\]"),
        ("Numbers", r"expect must be a payload class, or a union of them, not Numbers, which holds list\[int\]"),
    ],
)
async def test_what_stands_for_no_class_is_refused_before_anything_is_asked(
    drinks: Any, expect: str, said: str
) -> None:
    expected: Any = eval(expect, vars(drinks))  # noqa: S307 - one of those above
    async with Organism(name="drinks", handlers={"pourer": {"code": drinks.pour}}) as organism:
        with pytest.raises(TypeError, match=f"^{said}$"):
            await organism.ask("pourer", drinks.Water(1), expect=expected)
        assert organism.statistics().threads == 0


def test_names_with_parameters_annotate_handlers_and_fields(drinks: Any) -> None:
    assert accepts_of(drinks.pour_either) == (drinks.Tea, drinks.Water)
    assert replies_of(drinks.pour_either) == (drinks.Tea, drinks.Water)
    with pytest.raises(
        ConfigurationError, match=r"'pour_any' takes '~?T', which is not a payload class: write which one"
    ):
        accepts_of(drinks.pour_any)
    tray = drinks.Tray(of=drinks.Water(1), numbers=[1, 2], amount=3)
    assert (tray.of, tray.numbers, tray.amount) == (drinks.Water(1), (1, 2), 3)
    with pytest.raises(InvalidPayloadError, match="of: expected Tea or Water"):
        drinks.Tray(of=tray, numbers=[], amount=3)


@pytest.fixture
def lost(project: Project) -> Any:
    """A module with names that only type checkers know, and one that names itself."""
    lines = ("", "type Lost = Nowhere", "type Ring = Ring", "type Both = Tea | Both", "")
    handlers = "\n".join(
        f"async def of_{name.lower()}(message: {name}, ctx: Any) -> Reply[{name}]: ..."
        for name in ("Lost", "Ring", "Both")
    )
    field = "\n\n@payload\nclass Cup:\n    of: Lost\n"
    project.write("lost.py", WORK + "\n".join(lines) + handlers + field)
    return lambda name: load_object(f"lost:{name}", project.folder)


@pytest.mark.skipif(not LAZY, reason="there is no statement of which Python looks at the names later")
def test_one_that_names_nothing_is_told_of(lost: Any) -> None:
    with pytest.raises(
        ConfigurationError, match=r"'message' cannot be resolved \(NameError: name 'Nowhere' is not def"
    ):
        accepts_of(lost("of_lost"))
    with pytest.raises(ConfigurationError, match="'of_ring' takes 'Ring', which is not a payload class"):
        accepts_of(lost("of_ring"))
    assert accepts_of(lost("of_both")) == (lost("Tea"),)
    assert [replies_of(lost(f"of_{name}")) for name in ("lost", "ring", "both")] == [None, None, (lost("Tea"),)]
    with pytest.raises(TypeError, match=r"^expect: Lost cannot be resolved \(NameError: name 'Nowhere' is not defined"):
        check_expect(lost("Lost"))
    with pytest.raises(PayloadTypeError, match=r"Cup\.of: the annotation Lost names 'Nowhere', which does not exist"):
        describe(lost("Cup"))
