"""An organism that a command starts, and that a signal keeps from starting."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from organism.cli.interrupts import Interrupts
    from organism.organism import Organism

T = TypeVar("T")


@asynccontextmanager
async def started(organism: Organism, interrupts: Interrupts) -> AsyncGenerator[int | None]:
    """The organism runs within the block. Yields the signal that came before it had started, if one did: MCP servers may take long to start.
    Then it does not run. Raises what keeps it from starting.
    """
    ended_by = interrupts.number if interrupts.number is not None else await _start(organism, interrupts)
    try:
        yield ended_by
    finally:
        if ended_by is None:
            await organism.close()


async def _start(organism: Organism, interrupts: Interrupts) -> int | None:
    async def start() -> bool:
        await organism.start()
        return True

    return None if await unless_interrupted(start, interrupts) else interrupts.number


async def unless_interrupted(
    work: Callable[[], Awaitable[T]], interrupts: Interrupts, *, came: Callable[[], object] = lambda: None
) -> T | None:
    """What the work gives; ``None`` where a signal came before it was done. Then ``came`` is called, and the work cancelled. Raises what it
    raises.
    """
    done: T | None = None
    problem: Exception | None = None
    with anyio.CancelScope() as working:
        async with anyio.create_task_group() as beside:

            async def give_up() -> None:
                await interrupts.wait()
                came()
                working.cancel()

            beside.start_soon(give_up)
            try:
                done = await work()
            except Exception as error:  # noqa: BLE001 - raised below: what leaves the block would be a group
                problem = error
            beside.cancel_scope.cancel()
    if problem is not None:
        raise problem
    return done
