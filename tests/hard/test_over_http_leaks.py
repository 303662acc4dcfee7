"""Streams that are left in every way, through router, SDK and wire: nothing stays open at either end."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any, Final

import anyio
import pytest

from organism.testing import running
from tests.generators import left_half_way
from tests.server.provider_world import PROTOCOLS, served

AT_ONCE: Final = 20
QUESTION: Final = "What is a frame? " + "A frame is one call, and it closes when nothing of it is left. " * 5


pytestmark = pytest.mark.sockets


def sockets() -> int:
    """How many sockets this process has open; 0 where the system does not tell."""
    found = 0
    for entry in Path("/proc/self/fd").glob("*"):
        try:
            found += str(entry.readlink()).startswith("socket:")
        except OSError:
            continue  # closed since it was listed
    return found


class Enough(Exception):  # noqa: N818 - it is none
    """What a reader leaves a stream with."""


async def cancelled(thread: Any) -> None:
    with anyio.CancelScope() as scope:
        async with thread.stream(QUESTION) as stream:
            async for _ in stream:
                scope.cancel()


async def left(thread: Any) -> None:
    async with thread.stream(QUESTION) as stream:
        async for _ in stream:
            break


async def raised(thread: Any) -> None:
    with pytest.raises(Enough):
        async with thread.stream(QUESTION) as stream:
            async for _ in stream:
                raise Enough


@pytest.mark.parametrize(("leave", "streams"), [(cancelled, 100), (left, 20), (raised, 20)])
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.by_turns
async def test_streams_that_are_left_leave_no_connection(protocol: str, leave: Any, streams: int) -> None:
    """``benchmarks/streams.py`` leaves thousands."""
    async with served(options={"token_latency": 0.01}) as model:
        made = model.models(protocol, max_concurrent=AT_ONCE)
        async with running(models=made) as organism, organism.thread() as thread:
            gc.collect()  # what others have left is none of ours
            before, half_way = sockets(), left_half_way()
            for _ in range(streams // AT_ONCE):
                async with anyio.create_task_group() as tasks:
                    for _ in range(AT_ONCE):
                        tasks.start_soon(leave, thread)
            await model.deserted()
            assert sockets() == before
            assert left_half_way() == half_way
            assert (model.model.answered, model.model.cancelled) == (0, streams)
            assert thread.budget.tokens.held == 0
        gc.collect()
