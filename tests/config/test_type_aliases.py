"""Names for types, as ``type X = ...`` of Python 3.12 makes them: handlers may be annotated with them as fields of payloads are."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import pytest

from organism import Organism
from organism.errors import ConfigurationError, PayloadTypeError
from organism.loader import accepts_of, load_object, replies_of
from organism.payloads import describe

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
    with pytest.raises(PayloadTypeError, match=r"Cup\.of: the annotation Lost names 'Nowhere', which does not exist"):
        describe(lost("Cup"))
