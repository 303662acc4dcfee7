"""What the tests of the pump share: payloads, two handlers, a short way to name handlers, and a step of the virtual clock."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anyio
import trio

from organism import Context, Reply, payload

if TYPE_CHECKING:
    from collections.abc import Callable


@payload
class Go:
    """A task."""

    text: str = ""
    n: int = 0


@payload
class Said:
    """An answer."""

    text: str = ""


@payload
class Odd:
    """What none of the handlers here takes."""

    text: str = ""


@payload
class Pile:
    """Something that holds others."""

    items: list[str]


async def echo(message: Go, ctx: Context) -> Reply[Said]:
    """Says it again."""
    return Reply(Said(message.text))


async def slow(message: Go, ctx: Context) -> Reply[Said]:
    """Says it again after a second."""
    await anyio.sleep(1)
    return Reply(Said(message.text))


def code(function: Callable[..., Any], *peers: str, **keys: Any) -> dict[str, Any]:
    """The entry of a handler in ``handlers``."""
    return {"code": function, "description": "One of a test's.", "peers": list(peers), **keys}


def pass_time(seconds: float) -> None:
    """Lets the virtual clock go on while nothing is awaited, as a handler that only computes would."""
    if trio.lowlevel.in_trio_run():
        clock: Any = trio.lowlevel.current_clock()
        clock.jump(seconds)
        return
    loop: Any = asyncio.get_running_loop()
    loop._jumping.now += seconds
