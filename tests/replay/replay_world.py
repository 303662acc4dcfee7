"""What the tests of replays and forks share: threads that run into a journal, and the journal read and replayed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import trio.testing

from organism import payload
from organism.agent import ready
from organism.journal import open_journal
from organism.journal.chain import content_of
from organism.journal.codec import decode
from organism.journal.prompts import requests
from organism.payloads import Vocabulary
from organism.replay import replay
from organism.replay.script import parts_of
from organism.replay.stage import Stage
from organism.works.vocabulary import payload_classes
from tests.durable.inline import Inline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from organism import Organism
    from organism.replay.player import Odd
    from organism.results import Replayed
    from organism.settings import Settings

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


def late(entries: Sequence[Mapping[str, Any]], settings: Settings, words: Vocabulary) -> list[Odd]:
    """What a replay finds odd, and is sure of, when it looks once more: then handlers go on as late as they may."""
    record = [decode(content_of(each), words) for each in entries]
    parts = parts_of(record, requests(entries))
    handlers = {name: ready(each, settings.handlers) for name, each in settings.everyone.items()}
    stage = Stage(settings, handlers, record, parts, only=set(parts), early=False, patience=1.0)
    anyio.run(stage.run, backend="trio", backend_options={"clock": trio.testing.MockClock(autojump_threshold=0.0)})
    return [odd for which, odd in stage.odd.items() if stage.played[which].unsure is None]
