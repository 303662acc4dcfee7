"""What the tests of replays and forks share: threads that run into a journal, and the journal read and replayed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import trio.testing

from organism import payload
from organism.durable import payload_classes
from organism.journal import open_journal
from organism.payloads import Vocabulary
from organism.replay import replay
from tests.durable.inline import Inline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from organism import Organism
    from organism.replay import Replayed

URL = "sqlite:organism.db"


@payload
class Task:
    """Something to be found out."""

    text: str


@payload
class Note:
    """What was found out."""

    text: str


class Recorded:
    """An organism on a journal in ``folder``; ``keys`` are those of organism.yaml."""

    def __init__(self, folder: Path, **keys: Any) -> None:
        self.folder = folder
        self.keys: dict[str, Any] = {"name": "test", "journal": URL, "folder": folder, **keys}

    def organism(self, **keys: Any) -> Organism:
        return Inline(**{**self.keys, **keys})

    def run(self, work: Callable[[Organism], Awaitable[Any]], **keys: Any) -> Any:
        """Does ``work`` with the organism running, on a clock that jumps."""

        async def main() -> Any:
            async with self.organism(**keys) as organism:
                return await work(organism)

        return anyio.run(
            main, backend="trio", backend_options={"clock": trio.testing.MockClock(autojump_threshold=0.0)}
        )

    def send(self, to: str, payload: Any, id_: str = "t", **keys: Any) -> Any:
        """Sends a message and waits for the result of its thread."""

        async def work(organism: Organism) -> Any:
            return await (await organism.send(to, payload, id=id_)).result()

        return self.run(work, **keys)

    def replay(self, root: str = "t", **keys: Any) -> Replayed:
        """The journal's thread replayed, with other keys of organism.yaml."""
        settings = self.organism(**keys).settings
        return replay(self.documents(root), settings, Vocabulary(payload_classes(settings)), patience=0.001)

    def documents(self, root: str = "t") -> list[Mapping[str, Any]]:
        journal = open_journal(URL, folder=self.folder, readonly=True)
        try:
            return list(journal.documents(root))
        finally:
            journal.close()
