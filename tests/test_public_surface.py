"""What users are given: a program that type checkers have read runs, and nothing stands there that the reference does not name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import anyio.to_thread
import attrs
import pytest

import organism
from organism.budget.view import BudgetView, Gauge, UnitView
from organism.config.document import TOP
from organism.config.keywords import Keywords
from organism.pump.bare import BareThread
from organism.testing import Says, ScriptedModel
from tests import typed_program

REFERENCE: Final = Path(__file__).parent.parent / "docs/reference/python.md"
GIVEN: Final = (*(getattr(organism, name) for name in organism.__all__), BareThread, BudgetView, Gauge, UnitView)
"""What users import, and what they are given besides."""
INSIDE: Final = {"of": "the command line makes organisms of settings that it has read"}
"""What stands on these classes for other rooms, each with its reason."""


@pytest.mark.real_clocks
async def test_the_program_that_type_checkers_read_runs(tmp_path: Path) -> None:
    model = ScriptedModel(lambda _: Says(text='{"steps": ["oak"], "weight": 2}', usage=(5, 5)))
    await typed_program.used(tmp_path, model)
    replayed = await anyio.to_thread.run_sync(typed_program.replayed, tmp_path, model)
    assert (replayed.deliveries, replayed.differences) == (3, ())


def test_every_key_of_the_file_is_a_keyword() -> None:
    assert {*Keywords.__annotations__, "organism"} == set(TOP.keys)


@pytest.mark.parametrize("given", [each for each in GIVEN if isinstance(each, type)], ids=lambda each: each.__name__)
def test_the_reference_names_every_attribute_of_what_users_are_given(given: type) -> None:
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`[^`\n]+`", REFERENCE.read_text("utf-8")))))
    there = {name for name in dir(given) if not name.startswith("_")} - set(dir(Exception))
    if attrs.has(given):
        there |= {field.name for field in attrs.fields(given)}
    assert there - named - set(INSIDE) == set()


async def test_a_handle_has_what_the_reference_names_and_nothing_else() -> None:
    """Of objects as well, not only of their classes."""
    _, _, text = REFERENCE.read_text("utf-8").partition("A handle (`ThreadHandle`):")
    named = set(re.findall(r"handle\.(\w+)", text.partition("A conversation (")[0]))
    async with typed_program.made(ScriptedModel(lambda _: Says(text=""))) as organism_:
        handle = await organism_.send("finder", typed_program.Plan())
        assert {name for name in dir(handle) if not name.startswith("_")} == named
        handle.cancel()


def test_the_reference_has_every_logger_and_no_other() -> None:
    modules = (path.read_text("utf-8") for path in (REFERENCE.parent.parent.parent / "organism").rglob("*.py"))
    named = {name for text in modules for name in re.findall(r'getLogger\(f?"(organism[^"]*)"\)', text)}
    named = {name.replace("{self.name}", "NAME") for name in named}
    table = REFERENCE.read_text("utf-8").partition("## Loggers\n")[2].partition("\n## ")[0]
    assert {
        f"organism{name.removeprefix('organism')}" for name in re.findall(r"^\| `([\w.]+)` \|", table, re.MULTILINE)
    } == named


def test_typing_extensions_are_for_type_checkers_alone() -> None:
    """Nothing that is installed with the package brings them along on every Python."""
    modules = [path.read_text("utf-8") for path in (REFERENCE.parent.parent.parent / "organism").rglob("*.py")]
    assert any("    from typing_extensions import" in text for text in modules)
    assert not any(re.search(r"^(from|import) typing_extensions", text, re.MULTILINE) for text in modules)
