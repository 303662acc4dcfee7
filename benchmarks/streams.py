"""Streams that are cancelled over the wire, and what stays open: python benchmarks/streams.py [STREAMS] [AT_ONCE]

Both protocols, on trio and asyncio, against the simulated model served in this process. Prints how long it takes, the
connections that are left at the server, the sockets that are left in the process, and what is still held of the budget.
"""

from __future__ import annotations

import gc
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

sys.path.append(str(Path(__file__).resolve().parent.parent))

from benchmarks.given import given
from organism import Organism
from organism.models.simulation.options import Options
from organism.server.http import listening
from organism.server.simulated import SimulatedProvider

if TYPE_CHECKING:
    from organism.pump.bare import BareThread

QUESTION = "What is a frame? " + "A frame is one call, and it closes when nothing of it is left. " * 5


def sockets() -> int:
    """How many sockets this process has open."""
    found = 0
    for entry in Path("/proc/self/fd").glob("*"):
        try:
            found += str(entry.readlink()).startswith("socket:")
        except OSError:
            continue
    return found


async def cancel(thread: BareThread) -> None:
    with anyio.CancelScope() as scope:
        async with thread.stream(QUESTION) as stream:
            async for _ in stream:
                scope.cancel()


async def measure(protocol: str, runtime: str, streams: int, at_once: int) -> None:
    model = SimulatedProvider(models=["sim-1"], options=Options(token_latency=0.01), wall=time.time)
    async with listening(model) as server:
        url = f"http://127.0.0.1:{server.port}" + ("/v1" if protocol == "openai" else "")
        backend = {
            "provider": protocol,
            "model": "sim-1",
            "base_url": url,
            "api_key_env": None,
            "max_concurrent": at_once,
        }
        made = {"default": {"backends": [backend | {"price": {"input": 0, "output": 0}}]}}
        async with Organism(name="streams", models=made) as organism, organism.thread() as thread:
            before, began = sockets(), time.perf_counter()
            for _ in range(streams // at_once):
                async with anyio.create_task_group() as tasks:
                    for _ in range(at_once):
                        tasks.start_soon(cancel, thread)
            seconds = time.perf_counter() - began
            with anyio.move_on_after(10):
                await server.until(lambda: not server.open)
            print(
                f"{protocol:10} {runtime:8} {model.cancelled:6,} cancelled in {seconds:5.1f} s; left: {len(server.open)} connections,"
                f" {sockets() - before} sockets, {thread.budget.tokens.held} tokens held"
            )
    gc.collect()


def main() -> None:
    streams, at_once = given(__doc__, 1_000, 50)
    for protocol in ("openai", "anthropic"):
        for runtime in ("trio", "asyncio"):
            anyio.run(measure, protocol, runtime, streams, at_once, backend=runtime)


if __name__ == "__main__":
    main()
