"""How often Python looks for garbage is changed while organisms run, where nobody has said how often, and set back."""

from __future__ import annotations

import gc
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from organism import Organism
from organism.pump.garbage import OBJECTS

if TYPE_CHECKING:
    from collections.abc import Generator

USUAL = 700


@pytest.fixture(autouse=True)
def usual() -> Generator[None]:
    before = gc.get_threshold()
    gc.set_threshold(USUAL, *before[1:])
    yield
    gc.set_threshold(*before)


def often() -> int:
    return gc.get_threshold()[0]


async def test_while_an_organism_runs_garbage_is_looked_for_seldom() -> None:
    async with Organism():
        assert often() == OBJECTS
    assert often() == USUAL


def test_how_often_this_python_looks_is_known() -> None:
    """A Python that has another usual number would look as often as ever."""
    code = "import gc; from organism.pump.garbage import USUAL; print(gc.get_threshold()[0] in USUAL)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout == "True\n"


async def test_the_last_of_several_sets_it_back() -> None:
    first, second = Organism(), Organism()
    await first.start()
    async with second:
        await first.close()
        assert often() == OBJECTS
    assert often() == USUAL


async def test_what_the_process_has_said_before_stays() -> None:
    for said in (5000, 0, OBJECTS):
        gc.set_threshold(said)
        async with Organism():
            assert often() == said
        assert often() == said


async def test_what_the_process_says_meanwhile_stays() -> None:
    async with Organism():
        gc.set_threshold(9000)
    assert often() == 9000


async def test_it_is_set_back_where_an_organism_breaks_off() -> None:
    with pytest.raises(ZeroDivisionError):
        async with Organism():
            raise ZeroDivisionError
    assert often() == USUAL
