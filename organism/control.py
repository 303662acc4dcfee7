"""What other processes ask of the one that works on a journal: pause, resume, cancel, add budget, answer for a person (R24).

The owner listens on a socket beside its journal; a request is a line of JSON, and so is what it says to it. Where nobody works on the
journal, the same changes are written behind its threads, and whoever goes on with them finds them made.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
from attrs import frozen

from organism import inbox
from organism.errors import ConfigurationError, JournalError, OrganismError
from organism.frames import Conversation, Failure, root_of
from organism.journal import place_of, socket_path
from organism.kernel.calls import abandoned_charge
from organism.names import CONVERSATION, suggestion
from organism.pump.handles import raised
from organism.settings import UNITS

if TYPE_CHECKING:
    from pathlib import Path

    from anyio.abc import ByteStream

    from organism.durable import Durable
    from organism.frames import Thread
    from organism.ingress import Ingress
    from organism.kernel import Kernel
    from organism.pump.pump import Pump
    from organism.settings import BudgetSettings, Settings

DO: Final = ("pause", "resume", "cancel", "add-budget", "answer", "status")
REASON: Final = "cancelled by hand"
_LONGEST: Final = 4 * 1024 * 1024
"""Bytes of a request."""
_TEXTS: Final = ("do", "thread", "question", "text", "refuse")
"""What is a text in a request."""
_PATIENCE: Final = 5.0
"""Seconds in which a request must have come, and in which what is said to it must have been read."""
_ANSWERED_IN: Final = 60.0
"""Seconds that a request waits for what is said to it: the owner may be writing much to a slow disk."""
_TALKS: Final = 32
"""Requests at a time."""
_SHOWN: Final = 5
_GO_ON: Final = "'organism resume' lets it go on"
_log: Final = logging.getLogger("organism.journal")


@frozen(kw_only=True)
class Order:
    """What is asked for: ``do`` is one of DO. ``thread`` is the id of a root thread, or as much of its beginning as tells it;
    ``units`` are amounts by unit. ``question`` is the one in that thread that is answered: by ``text``, as a person types it,
    or not at all, for the reason in ``refuse``.
    """

    do: str
    thread: str | None = None
    units: Mapping[str, Any] | None = None
    question: str | None = None
    text: str | None = None
    refuse: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.do not in DO:
            raise ConfigurationError([f"{self.do!r:.80} cannot be done; there are: {', '.join(DO)}"])
        if self.thread is None and self.do not in {"resume", "status"}:
            raise ConfigurationError([f"{self.do}: name the thread"])
        if self.do == "add-budget":
            _check_units(self.units)
        if self.do == "answer" and (self.question is None or (self.text is None) == (self.refuse is None)):
            raise ConfigurationError(["answer: name the question, and what its answer is, or why there is none"])

    def as_line(self) -> bytes:
        """The line of JSON that is sent."""
        given = {key: getattr(self, key) for key in _TEXTS} | {
            "units": None if self.units is None else dict(self.units)
        }
        line = json.dumps({key: value for key, value in given.items() if value is not None}).encode() + b"\n"
        if len(line) > _LONGEST:
            raise ConfigurationError([f"{self.do}: {len(line):,} bytes are too long, {_LONGEST:,} are taken"])
        return line

    @classmethod
    def of_line(cls, line: bytes) -> Order:
        """The order in a line; raises ConfigurationError for one that holds none."""
        try:
            given: Any = json.loads(line)
        except (ValueError, RecursionError):
            given = None
        if not isinstance(given, dict):
            raise ConfigurationError(['a request is a line with a JSON object, as {"do": "status"}'])
        fields = cast("dict[str, Any]", given)
        texts, units = {key: fields[key] for key in _TEXTS if fields.get(key) is not None}, fields.get("units")
        if (
            "do" not in texts
            or not all(isinstance(each, str) for each in texts.values())
            or not isinstance(units, dict | None)
        ):
            raise ConfigurationError(["a request has the texts `do` and `thread`, and amounts by unit in `units`"])
        return cls(**texts, units=cast("dict[str, Any] | None", units))


def _check_units(units: Mapping[str, Any] | None) -> None:
    if not units:
        raise ConfigurationError(["add-budget: say how much of what, as in tokens=1000"])
    for unit, amount in units.items():
        if unit not in UNITS:
            known = suggestion(unit, UNITS) or f"; there are: {', '.join(UNITS)}"
            raise ConfigurationError([f"add-budget: {unit!r:.80} is no unit{known}"])
        if isinstance(amount, bool) or not isinstance(amount, int | float | str):
            raise ConfigurationError([f"add-budget: {unit} is a number"])
        if not isinstance(amount, str) and not 0 < amount < math.inf:
            raise ConfigurationError([f"add-budget: {unit}: {amount:g} must be above 0"])


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

    async def serve(self) -> None:
        """Listens until it is cancelled. One that cannot listen says so, and the organism works on."""
        try:
            listener = await anyio.create_unix_listener(self._path, mode=0o600)
        except (OSError, NotImplementedError, ValueError) as error:
            _log.warning(
                "no other process can pause or cancel threads: %s cannot be listened on: %s", self._path, error
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
                line = await _line_of(stream)
                if line is None:
                    return
                said = json.dumps(await self._answer(line)).encode() + b"\n"
                with anyio.move_on_after(_PATIENCE):
                    await stream.send(said)
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            _log.debug("whoever asked on %s has gone", self._path)
        finally:
            self._talking -= 1

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            return {"ok": True, **await self._do(Order.of_line(line))}
        except OrganismError as error:
            return {"ok": False, "error": str(error)}
        except Exception as error:  # noqa: BLE001 - whatever was asked, the organism works on
            _log.exception("a request could not be carried out")
            return {"ok": False, "error": f"unexpected {type(error).__name__}"}

    async def _do(self, order: Order) -> dict[str, Any]:
        if order.do == "status":
            return self._status()
        if order.thread is None:
            return await self._resume_all()
        if order.do == "add-budget" and (raised_to := await self._add_to_conversation(order)) is not None:
            return raised_to
        id_ = await self._meant(order.thread)
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
        found.add_budget(**_more(_named(conversation), before, order.units or {}))
        await self._durable.flush()
        return {"thread": found.id, "said": _raised(_named(conversation), before, conversation.budget)}

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
                handle.add_budget(**_more(_named(thread), before, order.units or {}))
                return _raised(_named(thread), before, thread.budget)

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
        chain = await self._durable.chain_of(id_)
        if chain is None or not self._durable.left(chain):
            raise ConfigurationError([await _over(self._durable, id_)])
        if order.do != "resume":
            return await written_down(self._durable, chain, id_, order)
        for handle in await self._ingress.take_up(chain):
            handle.resume()
        return f"thread {id_} goes on"

    async def _resume_all(self) -> dict[str, Any]:
        await self._ingress.resume()
        paused = [each for each in self._live().values() if each.paused_at is not None and not each.waits_turn]
        for thread in paused:
            self._ingress.handle(thread).resume()
        threads = list(self._live())
        return {"threads": threads, "said": f"{len(threads)} {'thread goes' if len(threads) == 1 else 'threads go'} on"}

    def _status(self) -> dict[str, Any]:
        threads = [
            {"thread": id_, "handler": each.handler, "paused": each.paused_at is not None}
            for id_, each in self._live().items()
        ]
        return {"threads": threads, "unfinished": list(self._durable.unfinished)}

    def _live(self) -> dict[str, Thread]:
        """The root threads that live here."""
        return {id_: each for id_, each in self._pump.kernel.state.threads.items() if each.owner is None}

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
                raise ConfigurationError([_sub_thread(text, root_of(found).id)])
            return text
        begun = [id_ for id_ in known if text and id_.startswith(text)]
        if len(begun) == 1:
            return begun[0]
        if begun:
            raise ConfigurationError(
                [
                    f"'{text:.80}' is the beginning of {len(begun)} threads: {', '.join(begun[:_SHOWN])}; write more of it"
                ]
            )
        raise ConfigurationError([f"there is no thread '{text:.80}' that has not ended"])


async def written_down(durable: Durable, chain: str, id_: str, order: Order) -> str:
    """Writes an order behind what an earlier process left of a thread, and says what was done. Nothing is delivered.

    Raises ConfigurationError where there is nothing to do it to, and JournalError.
    """
    said: list[str] = []

    def change(kernel: Kernel, at: float) -> None:
        whole = kernel.state.chain(chain)
        if order.do == "add-budget" and isinstance(whole, Conversation) and whole.id == id_:
            before = whole.budget
            budget = raised(before, _more(_named(whole), before, order.units or {}))
            kernel.calls.set_conversation_limits(whole, budget, at)
            said.append(_raised(_named(whole), before, budget))
            return
        thread = _thread_in(kernel, chain, id_)
        if order.do == "answer":
            done = inbox.typed(kernel, durable.settings.handlers, order.question, order.text, order.refuse, at)
            inbox.unrest(kernel, thread, at)
            said.append(f"{done}; {_GO_ON}")
        else:
            said.append(_changed(kernel, thread, order, at))

    try:
        await durable.note(chain, change)
    except LookupError:
        raise ConfigurationError([await _over(durable, id_)]) from None
    return said[0]


def _thread_in(kernel: Kernel, chain: str, id_: str) -> Thread:
    """The root thread that is meant; raises LookupError where it is over."""
    state = kernel.state
    whole = state.chain(chain)
    if isinstance(whole, Conversation) and whole.id == id_ and whole.turns:
        return whole.turns[0]
    thread = state.threads[id_]
    if thread.owner is not None:
        raise ConfigurationError([_sub_thread(id_, root_of(thread).id)])
    return thread


def _changed(kernel: Kernel, thread: Thread, order: Order, at: float) -> str:
    """Makes the change to a thread of which nothing runs."""
    match order.do:
        case "pause" if thread.paused_at is not None:
            return f"thread {thread.id} is paused already; {_GO_ON}"
        case "pause":
            kernel.ends.pause(thread, at)
            return f"thread {thread.id} is paused; {_GO_ON}"
        case "cancel":
            for hold in [each for each in kernel.state.holds.values() if root_of(each.thread) is thread]:
                kernel.calls.settle(hold, abandoned_charge(hold), at)
            kernel.ends.stop(thread, Failure("cancelled", REASON), at)
            return f"thread {thread.id} is cancelled"
        case _:
            before = thread.budget
            kernel.calls.set_limits(thread, raised(before, _more(_named(thread), before, order.units or {})), at)
            return _raised(_named(thread), before, thread.budget)


def _named(whole: Thread | Conversation) -> str:
    return f"conversation {whole.id}" if isinstance(whole, Conversation) else f"thread {whole.id}"


def _more(name: str, budget: BudgetSettings, units: Mapping[str, Any]) -> dict[str, Any]:
    """The amounts; raises ConfigurationError for a unit that is not limited."""
    wrong = [unit for unit in units if getattr(budget.limits, unit) is None]
    if wrong:
        raise ConfigurationError([f"{name} has no limit of {wrong[0]}: there is nothing to add to"])
    return dict(units)


def _raised(name: str, before: BudgetSettings, after: BudgetSettings) -> str:
    pairs = ((unit, getattr(before.limits, unit), getattr(after.limits, unit)) for unit in UNITS)
    changes = [f"{unit} {_figure(old)} -> {_figure(new)}" for unit, old, new in pairs if old != new]
    return f"{name}: {', '.join(changes) or 'its limits stay as they are'}"


def _figure(value: Any) -> str:
    return f"{value:,}".removesuffix(".0")


async def _over(durable: Durable, id_: str) -> str:
    end = await durable.end_of(id_)
    return f"thread {id_} has ended" + ("" if end is None else f" ({end.outcome})")


def _sub_thread(id_: str, root: str) -> str:
    return f"{id_} is a sub-thread: only a whole thread can be paused, cancelled or given more; that is {root}"


async def tell(path: Path, order: Order) -> Mapping[str, Any]:
    """Sends an order to the process that listens at ``path``, and gives what it says: ``said``, and more by what was asked.

    Raises ConfigurationError with what it says where it does not do it, ConnectionError where nobody listens there, and
    JournalError where it says nothing that can be understood.
    """
    try:
        with anyio.fail_after(_ANSWERED_IN):
            async with await anyio.connect_unix(path) as stream:
                await stream.send(order.as_line())
                answer = await _whole_line(stream)
    except (anyio.BrokenResourceError, anyio.EndOfStream, TimeoutError, ConnectionResetError) as error:
        raise JournalError(f"the process that works on the journal says nothing ({path})") from error
    try:
        said: Any = json.loads(answer)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise JournalError(f"what listens at {path} says nothing that can be understood")
    found = cast("dict[str, Any]", said)
    if found.get("ok") is not True:
        raise ConfigurationError([str(found.get("error", "it was not done"))])
    return found


async def _line_of(stream: ByteStream) -> bytes | None:
    """The line that somebody sends; ``None`` where it does not come whole, or not in time, or is too long."""
    with anyio.move_on_after(_PATIENCE), suppress(anyio.EndOfStream):
        return await _whole_line(stream, most=_LONGEST)
    return None


async def _whole_line(stream: ByteStream, *, most: int | None = None) -> bytes:
    found = bytearray()
    while b"\n" not in found:
        if most is not None and len(found) > most:
            raise anyio.EndOfStream
        found += await stream.receive()
    return bytes(found.partition(b"\n")[0])


def _removed(path: Path) -> None:
    with suppress(OSError):
        os.unlink(path)  # noqa: PTH108 - a pathlib call would count as one that waits, and this is none


__all__ = ["DO", "Control", "Order", "tell", "written_down"]
