"""One delivery that is run again: its handler, and what it asks while it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import anyio
from attrs import define, field, frozen

from organism.kernel.prompts import Prompt
from organism.pump import runtime
from organism.pump.failures import failure_of
from organism.pump.outgoing import outgoing_of
from organism.replay.script import REFUSED

if TYPE_CHECKING:
    from organism.message import Outgoing
    from organism.replay.script import Part
    from organism.threads.frames import Message
    from organism.threads.outcomes import Failure


@frozen
class Odd:
    """What a delivery did otherwise than the record has it. ``place`` is where in the record."""

    what: str
    recorded: str
    now: str
    place: int


@define(eq=False)
class Asking:
    """A question that waits. ``key`` is that of the record, empty where it does not know it; ``says`` is it in words.

    ``look`` gives its answer once the record has come to it, as a tuple of one. ``prompt`` is what a model is asked by it, and
    ``refused`` says why another handler may not be asked it, as things stand; ``None``: it may. ``asked`` is where in the record a handler
    was asked, or was not; ``None``: that is not known yet.
    """

    key: str
    says: str
    look: Callable[[], tuple[Any] | None]
    answer: tuple[Any] | None = None
    event: anyio.Event = field(factory=anyio.Event)
    prompt: Prompt | None = None
    refused: Callable[[], Exception | None] | None = None
    asked: int | None = None
    untold: Exception | None = None
    """Why it was refused, where the record does not tell of that."""

    @property
    def given(self) -> Any:
        """Its answer, once its event is set."""
        assert self.answer is not None  # noqa: S101 - set before its event
        return self.answer[0]


class Player:
    """Runs a handler in a task of its own; a Delivery to its context. ``result`` is what came of it once it is ``over``."""

    def __init__(self, part: Part, message: Message, *, again: bool = False, cut: frozenset[str] = frozenset()) -> None:
        self.part = part
        self.message = message
        self.again = again
        """Its process had ended while it was under way."""
        self.cut = cut
        """What it had asked then, and did not wait for any more."""
        self.over = False
        self.result: tuple[Outgoing, ...] | Failure | None = None
        self.context: Any = None
        self.odd: Odd | None = None
        self.interrupted = False
        """It raised KeyboardInterrupt: it did so then as well, or a person has stopped the replay."""
        self.unsure: str | None = None
        """Why what it does may differ from the record without anything being wrong."""
        self.asked: set[str] = set()
        self.waiting_for: list[Asking] = []
        self._scope = anyio.CancelScope()
        self._moved = anyio.Event()

    def begin_waiting(self) -> None:
        """It waits for others; nothing here minds how long."""

    def end_waiting(self) -> None:
        """It does not any more, and goes on at once."""

    async def run(self, code: Callable[[Any, Any], Any], most: int) -> None:
        """Calls the handler and keeps what comes of it; an exception of any kind is the failure that the pump makes of it. ``most``:
        how many answers are read.
        """
        try:
            with self._scope:
                self.result = outgoing_of(await code(self.message.payload, self.context), most)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what the handler came to
            self.result = failure_of(error)
        except BaseException as error:
            if runtime.is_cancelled():
                raise
            self.result = failure_of(error)
            self.interrupted = runtime.parted(error)[1] is not None
        finally:
            self.over = True
            self._move()

    def stop(self) -> None:
        """Its record ends here, or it was cancelled."""
        self._scope.cancel()

    def differs(self, odd: Odd) -> None:
        """Keeps the first thing that it did otherwise, and stops it."""
        self.odd = self.odd or odd
        self.stop()

    async def ask(self, asking: Asking) -> Any:
        """Waits for an answer; one that is an exception is raised."""
        await self.ask_all((asking,))
        if isinstance(asking.given, BaseException):
            raise asking.given
        return asking.given

    async def ask_all(self, asked: Sequence[Asking]) -> None:
        """Asks all of it at once, in this order, and waits until all of it is answered."""
        for each in asked:
            self.waiting_for.append(each)
            self.comes_to(each.key)
        try:
            for each in asked:
                await each.event.wait()
        finally:
            self.waiting_for = [each for each in self.waiting_for if each not in asked]

    def comes_to(self, key: str) -> None:
        """It asks this now; the record knows nothing of it where it is empty."""
        if key:
            self.asked.add(key)
        self._move()

    @property
    def unknown(self) -> Sequence[Asking]:
        """What it asks that the record does not know, the oldest first."""
        return [each for each in self.waiting_for if not each.key and each.answer is None and each.untold is None]

    def is_at(self, key: str) -> bool:
        """Whether it has come to this place of its record."""
        if self.over or key in self.asked:
            return True
        return key == REFUSED and bool(self.unknown)

    def hand(self) -> bool:
        """Gives the answers that the record has come to; whether there were any."""
        handed = False
        for asking in list(self.waiting_for):
            asking.answer = asking.look()
            if asking.answer is not None:
                self.waiting_for.remove(asking)
                asking.event.set()
                handed = True
        return handed

    async def moved(self, patience: float) -> bool:
        """Waits until it asks something or is over; False where it does neither."""
        with anyio.move_on_after(patience):
            await self._moved.wait()
            return True
        return False

    def _move(self) -> None:
        self._moved.set()
        self._moved = anyio.Event()
