"""The order in which trio runs what is ready at once: a test has its own, wherever and whenever it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    import pytest


async def _order() -> tuple[int, ...]:
    """The order in which eight tasks run that are started at once."""
    ran: list[int] = []

    async def run(number: int) -> None:
        ran.append(number)
        await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(run, number)
    return tuple(ran)


def test_tasks_run_in_an_order_that_is_the_tests_own(request: pytest.FixtureRequest) -> None:
    first = [trio.run(_order) for _ in range(9)]
    conftest: Any = request.config.pluginmanager.get_plugin(str(Path(__file__).with_name("conftest.py")))
    conftest.pytest_runtest_setup(request.node)
    assert [trio.run(_order) for _ in range(9)] == first
    assert len({*first}) > 1
