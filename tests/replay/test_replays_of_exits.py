"""Handlers that raise what ends a process: a replay takes it as the pump did, and ends where a person ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from tests.hard.pump_world import Go, Said, code, echo
from tests.replay.replay_world import Recorded

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from organism import Context, Reply


async def exits(message: Go, ctx: Context) -> Reply[Said]:
    raise SystemExit(3)


async def interrupts(message: Go, ctx: Context) -> Reply[Said]:
    raise KeyboardInterrupt


async def interrupts_among_others(message: Go, ctx: Context) -> None:
    async with anyio.create_task_group():
        raise KeyboardInterrupt


@pytest.mark.parametrize("function", [exits, interrupts, interrupts_among_others])
def test_what_a_handler_raised_to_end_its_process_comes_out_the_same(
    tmp_path: Path, function: Callable[..., Any]
) -> None:
    world = Recorded(tmp_path, handlers={"bad": code(function)})
    if function is exits:
        world.send("bad", Go())
    else:
        with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)):
            world.send("bad", Go())
    found = world.replay()
    assert (found.deliveries, found.differences, found.unsure) == (1, (), ())


def test_a_replay_that_a_person_interrupts_ends_and_tells_of_no_difference(tmp_path: Path) -> None:
    world = Recorded(tmp_path, handlers={"echo": code(echo)})
    world.send("echo", Go("x"))
    with pytest.raises(KeyboardInterrupt):
        world.replay(handlers={"echo": code(interrupts)})
