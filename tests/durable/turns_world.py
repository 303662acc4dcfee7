"""Organisms whose conversations last: handlers that remember, journals on a disk, and a process that is killed between two writes."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from organism import Context, Reply, payload
from organism.journal import open_journal
from organism.journal.pruning import Mark
from organism.kernel import Kernel
from organism.kernel.comparable import comparable
from organism.kernel.fold import Fold
from organism.payloads import Vocabulary
from organism.testing import Watched, differences
from tests.durable.inline import Inline

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from organism import ThreadResult
    from organism.record.facts import Fact
    from organism.threads.frames import Conversation


@payload
class Say:
    """A turn."""

    text: str = ""
    n: int = 0


@payload
class Heard:
    """What came of it."""

    text: str = ""


class Talking(Inline, Watched):
    """An organism whose laws are looked after, and whose record can be read while it runs."""

    async def prune(self) -> int:
        """Removes every finished thread; gives how many there were."""
        assert self._works is not None
        assert self._works.ingress is not None
        return (await self._works.ingress.prune(Mark(room=0))).gone

    async def record(self, id_: str = "c", *, whole: bool = False) -> Sequence[Fact]:
        """The facts of a conversation that are read to go on with it; ``whole``: all of them."""
        assert self._works is not None
        assert self._works.durable is not None
        await self._works.durable.flush()
        journal = open_journal(
            self.settings.journal, folder=self.settings.folder, vocabulary=Vocabulary([Say, Heard]), readonly=True
        )
        facts = (journal.read if whole else journal.recall)(f"conversation:{id_}")
        journal.close()
        return facts


async def count(say: Say, ctx: Context) -> Reply[Heard]:
    """Counts the turns of its conversation."""
    turns = ctx.state["turns"] = ctx.state.get("turns", 0) + 1
    return Reply(Heard(f"{turns} {say.text}"))


def code(function: Callable[..., Any], *peers: str, **keys: Any) -> dict[str, Any]:
    """The entry of a handler in ``handlers``."""
    return {"code": function, "description": "One of a test's.", "peers": list(peers), **keys}


COUNTER: Mapping[str, Any] = {"counter": code(count)}


async def turn(organism: Watched, to: str, text: str = "", conversation: str = "c", **how: Any) -> ThreadResult:
    """How a turn ends."""
    return await (await organism.send(to, Say(text), conversation=conversation, **how)).result()


def sqlite(folder: Path, **document: Any) -> Talking:
    """An organism with its journal in this folder."""
    folder.mkdir(exist_ok=True)
    return Talking(name="test", folder=folder, journal="sqlite:organism.db", **document)


def killed(folder: Path, name: str) -> Path:
    """What a process that is killed now leaves on the disk, in a folder beside."""
    left = folder.parent / name
    left.mkdir()
    for file in folder.glob("organism.db*"):
        if not file.name.endswith((".lock", ".sock")):
            shutil.copy(file, left / file.name)
    return left


def conversation_of(organism: Watched, id_: str = "c") -> Conversation:
    """A conversation that is in memory."""
    return organism.kernel.state.conversations[id_]


async def recorded(organism: Watched, id_: str = "c", *, whole: bool = False) -> Sequence[Fact]:
    """See :meth:`Talking.record`."""
    assert isinstance(organism, Talking)
    return await organism.record(id_, whole=whole)


async def check_record(organism: Watched, id_: str = "c") -> None:
    """What the journal has of a conversation folds to what is live of it."""
    folding = Fold(organism.settings, Kernel(organism.settings).state)
    for fact in await recorded(organism, id_):
        folding.apply(fact)
    live, folded = comparable(organism.kernel.state), comparable(folding.state)
    assert differences(live["conversations"][id_], folded["conversations"][id_]) == []
    turns = {each.id for each in conversation_of(organism, id_).turns}
    assert (
        differences({key: live["threads"][key] for key in turns}, {key: folded["threads"][key] for key in turns}) == []
    )


def size_of(folder: Path) -> int:
    """Bytes of the journal in a folder."""
    return sum(file.stat().st_size for file in folder.glob("organism.db*"))
