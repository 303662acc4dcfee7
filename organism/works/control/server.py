"""The owner of a journal, listening on a socket beside it for what other processes ask."""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import anyio
from attrs import evolve

from organism.errors import ConfigurationError, JournalError, OrganismError
from organism.journal import place_of, socket_path
from organism.journal.pruning import Mark
from organism.names import CONVERSATION, ambiguous, begun, counted, excerpt
from organism.pump.handles import give_more
from organism.threads.lineage import root_of
from organism.works import dead, inbox
from organism.works.control.changes import REASON, done_before, more, raised_from, sub_thread, too_late, written_down
from organism.works.control.lines import PATIENCE, line_of
from organism.works.control.orders import Order
from organism.works.control.quotas import given_more

if TYPE_CHECKING:
    from pathlib import Path

    from anyio.abc import ByteStream

    from organism.pump.pump import Pump
    from organism.settings import Settings
    from organism.threads.frames import Thread
    from organism.works.durable import Durable
    from organism.works.ingress import Ingress

_TALKS: Final = 32
"""Requests at a time."""
_log: Final = logging.getLogger("organism.journal")


class Control:
    """Listens for a running organism on the socket beside its journal, and does what is asked."""

    def __init__(self, settings: Settings, pump: Pump, durable: Durable, ingress: Ingress) -> None:
        place = place_of(settings.journal, folder=settings.folder)
        assert place is not None  # noqa: S101 - only a journal on a disk is durable
        self._path = socket_path(place)
        self._settings = settings
        self._pump = pump
        self._durable = durable
        self._ingress = ingress
        self._talking = 0
        self._once = anyio.Lock()

    async def serve(self) -> None:
        """Listens until it is cancelled. One that cannot listen says so, and the organism works on."""
        try:
            listener = await anyio.create_unix_listener(self._path, mode=0o600)
        except (OSError, NotImplementedError, ValueError) as error:
            _log.warning(
                "other processes cannot pause, cancel or answer threads here: listening on %s failed: %s",
                self._path,
                error,
            )
            return
        try:
            async with listener, anyio.create_task_group() as talks:
                while True:
                    try:
                        stream = await listener.accept()
                    except OSError as error:  # too many files are open, or whoever came has gone again
                        _log.warning("%s: %s", self._path, error)
                        await anyio.sleep(0.1)
                        continue
                    talks.start_soon(self._talk, stream)
        finally:
            _removed(self._path)

    async def _talk(self, stream: ByteStream) -> None:
        """One request. Nothing that is sent does the organism any harm."""
        self._talking += 1
        try:
            async with stream:
                if self._talking > _TALKS:
                    return
                line = await line_of(stream)
                if line is None:
                    return
                said = json.dumps(await self._answer(line)).encode() + b"\n"
                with anyio.move_on_after(PATIENCE):
                    await stream.send(said)
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            _log.debug("the client on %s has gone", self._path)
        finally:
            self._talking -= 1

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            return {"ok": True, **await self.carry_out(Order.of_line(line))}
        except OrganismError as error:
            return {"ok": False, "error": str(error), "journal": isinstance(error, JournalError)}
        except Exception as error:  # noqa: BLE001 - whatever was asked, the organism works on
            _log.exception("a request could not be carried out")
            return {"ok": False, "error": f"unexpected {type(error).__name__}"}

    async def carry_out(self, order: Order) -> dict[str, Any]:
        """Does what is asked, and gives what is said of it. An order with an id that was carried out before changes nothing: ``again`` is said
        then. Raises OrganismError where it cannot be done.
        """
        if order.id is None:
            return await self._do(order)
        async with self._once:  # of two that come together, the second is given again
            if order.account is None and not await self._durable.is_conversation(order.thread or ""):
                order = evolve(order, thread=await self._meant(order.thread or ""))
            before = await done_before(self._durable, order)
            return await self._do(order) if before is None else {"said": before, "again": True}

    async def _do(self, order: Order) -> dict[str, Any]:
        if order.do == "status":
            return self._status()
        if order.do == "prune":
            return (await self._ingress.prune(Mark(until=order.until, room=order.room))).as_json()
        if order.account is not None:
            account, now = self._ingress.account(order.account), self._pump.now()
            return {"said": await given_more(self._pump.kernel, self._durable, account, order, now)}
        return await (self._resume_all() if order.thread is None else self._do_to(order.thread, order))

    async def _do_to(self, thread: str, order: Order) -> dict[str, Any]:
        if order.do == "add-budget" and (done := await self._add_to_conversation(order)) is not None:
            return done
        if order.do == "retry":
            return await self._sent_again(order.question or "")
        id_ = await self._meant(thread)
        live = self._live().get(id_)
        if live is not None:
            said = self._answered(order) if order.do == "answer" else self._done(order, live)
            await self._pump.settled(live)
        else:
            said = await self._done_to_left(order, id_)
        return {"thread": id_, "said": said}

    async def _add_to_conversation(self, order: Order) -> dict[str, Any] | None:
        """Raises the limits of the conversation that is named; ``None`` where there is none of that name."""
        id_ = order.thread or ""
        chain = f"{CONVERSATION}{id_}"
        if self._durable.left(chain):
            return {"thread": id_, "said": await written_down(self._durable, chain, id_, order)}
        found = await self._ingress.conversation(id_)
        if found is None:
            return None
        conversation = self._pump.kernel.state.conversations[found.id]
        before = conversation.budget
        give_more(found, more(conversation, order), order.once)
        await self._durable.settled(conversation.chain)
        return {"thread": found.id, "said": raised_from(before, conversation)}

    async def _sent_again(self, letter: str) -> dict[str, Any]:
        """Sends a dead letter again, unless it was before. Raises RoutingError or ConfigurationError where it cannot be."""
        before = await dead.sent_before(self._durable, letter)
        if before is not None:
            return {"said": before, "again": True}
        handle = await dead.retried(self._pump.kernel, self._durable, self._ingress, letter)
        return {"thread": handle.id, "said": dead.said_of(letter, handle.id)}

    def _done(self, order: Order, thread: Thread) -> str:
        """Does it to a thread that lives here."""
        handle = self._ingress.handle(thread)
        paused = thread.paused_at is not None and not thread.waits_turn
        match order.do:
            case "pause" if paused:
                return f"thread {thread.id} is paused already"
            case "pause":
                handle.pause()
                return f"thread {thread.id} is paused: what runs finishes, and nothing more is delivered"
            case "resume" if not paused:
                return f"thread {thread.id} is not paused"
            case "resume":
                handle.resume()
                return f"thread {thread.id} goes on"
            case "cancel":
                handle.cancel(REASON)
                return f"thread {thread.id} is cancelled"
            case _:
                before = thread.budget
                give_more(handle, more(thread, order), order.once)
                return raised_from(before, thread)

    def _answered(self, order: Order) -> str:
        """Answers a question that waits here."""
        try:
            return inbox.typed(
                self._pump.kernel, self._settings.handlers, order.question, order.text, order.refuse, self._pump.now()
            )
        finally:
            self._pump.carry_out()

    async def _done_to_left(self, order: Order, id_: str) -> str:
        """Does it to a thread that an earlier process left; it is not gone on with, unless that is what is asked."""
        whole = f"{CONVERSATION}{id_}"  # what is left of a conversation may be meant by its own name
        chain = whole if self._durable.left(whole) else await self._durable.chain_of(id_)
        if chain is None or not self._durable.left(chain):
            return await too_late(self._durable, id_, order)
        if order.do != "resume":
            return await written_down(self._durable, chain, id_, order)
        for handle in await self._ingress.take_up(chain):
            handle.resume()
        await self._durable.settled(chain)
        return f"thread {id_} goes on"

    async def _resume_all(self) -> dict[str, Any]:
        await self._ingress.resume(paused=True)
        await self._pump.settled()
        live = self._live()
        still = sum(map(self._waits_for_people, live.values()))
        goes = len(live) - still
        said = f"{counted(goes, 'thread')} {'goes' if goes == 1 else 'go'} on"
        waits = f"; {still:,} {'waits' if still == 1 else 'wait'} for people" if still else ""
        return {"threads": list(live), "said": said + waits}

    def _status(self) -> dict[str, Any]:
        threads = [
            {
                "thread": id_,
                "handler": each.handler,
                "paused": each.paused_at is not None,
                "waits_for_people": self._waits_for_people(each),
            }
            for id_, each in self._live().items()
        ]
        return {"threads": threads, "unfinished": list(self._durable.unfinished)}

    def _waits_for_people(self, thread: Thread) -> bool:
        """Whether nothing of a root thread goes on until a person answers."""
        return thread in self._pump.kernel.state.inbox.resting

    def _live(self) -> dict[str, Thread]:
        """The root threads that live here."""
        return {each.id: each for each in self._pump.kernel.state.roots}

    async def _meant(self, text: str) -> str:
        """The thread with this id, or the only one that begins so. Raises ConfigurationError."""
        live = self._live()
        conversation = self._pump.kernel.state.conversations.get(text)
        if conversation is not None and conversation.turns:
            return conversation.turns[0].id
        known = {**live, **dict.fromkeys(each.removeprefix(CONVERSATION) for each in self._durable.unfinished)}
        if text in known or await self._durable.chain_of(text) is not None:
            found = self._pump.kernel.state.threads.get(text)
            if found is not None and found.owner is not None:
                raise ConfigurationError([sub_thread(text, root_of(found).id)])
            return text
        names = begun(text, known)
        if len(names) == 1:
            return names[0]
        if names:
            raise ConfigurationError([ambiguous(text, names, "threads")])
        raise ConfigurationError([f"there is no thread '{excerpt(text, 80)}' that has not ended"])


def _removed(path: Path) -> None:
    with suppress(OSError):
        os.unlink(path)  # noqa: PTH108 - a pathlib call would count as one that waits, and this is none
