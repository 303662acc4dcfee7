"""The process that is killed: it goes on with what its journal holds, sends what is missing, and waits for all of it.

    python driver.py '{"journal": URL, "model": URL, "results": FILE, "threads": 50, "known": [IDS]}'

Prints ``loaded`` before it opens its journal, and at the end the organism's statistics as JSON. Each result that it hears of is a line
of ``results``, written at once. ``known`` are the threads that the journal holds already.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
from attrs import asdict

from organism import Organism

WORLD: Final = Path(__file__).parent / "world"
sys.path.insert(0, str(WORLD))  # the payloads are those that the organism loads

from chores import Count, Job  # type: ignore[import-not-found]  # noqa: E402 - after its folder was put on the path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from organism.pump.handles import ThreadHandle

KINDS: Final = ("desk", "fan", "gather", "chief", "counter")


class Driver:
    """One run. Every tenth thread is paused as soon as it is there, another tenth a little later; both go on soon."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self._told = told
        self._results = os.open(told["results"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.organism = Organism.load(
            WORLD / "organism.yaml",
            set={"journal": told["journal"], "models.default.backends.0.base_url": told["model"]},
        )

    async def run(self) -> None:
        """Runs until every thread has ended."""
        async with self.organism as organism:
            async with anyio.create_task_group() as group:
                handles = {handle.id: handle for handle in await organism.resume()}
                for handle in handles.values():
                    group.start_soon(self._hear, handle)
                for number in range(self._told["threads"]):
                    thread = f"t{number:03}"
                    if thread in handles:
                        continue
                    # Sent again, as a webhook would: what has ended already gives its end, and nothing is done.
                    handle = handles[thread] = await organism.send(*work(number), id=thread)
                    if thread not in self._told["known"]:
                        group.start_soon(self._hear, handle)
                    elif not handle.ended:
                        raise RuntimeError(f"{thread} was known, and neither went on nor had ended")
                for number in range(3, self._told["threads"], 5):
                    group.start_soon(self._rest, handles[f"t{number:03}"], 0.05 * (number % 10 > 5))
            statistics = organism.statistics()
        say(json.dumps(asdict(statistics)))

    async def _hear(self, handle: ThreadHandle) -> None:
        while (result := await handle.result()).outcome == "paused":  # noqa: ASYNC110 - another task resumes it
            await anyio.sleep(0.01)
        os.write(self._results, json.dumps(result.as_json()).encode() + b"\n")

    async def _rest(self, handle: ThreadHandle, after: float) -> None:
        """Pauses a thread for a while; one that a killed process left paused only goes on."""
        await anyio.sleep(after)
        if not handle.ended:
            handle.pause()
        await anyio.sleep(0.1)
        if not handle.ended:
            handle.resume()


def work(number: int) -> tuple[str, Any]:
    """To whom a thread is sent, and with what."""
    to, text = KINDS[number % len(KINDS)], f"errand {number}"
    return to, Count(text, 2) if to == "counter" else Job(text)


def say(line: str) -> None:
    """Tells whoever started this process."""
    print(line, flush=True)  # noqa: T201 - it is read from there


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    driver = Driver(json.loads(sys.argv[1]))
    say("loaded")
    anyio.run(driver.run, backend="trio")
