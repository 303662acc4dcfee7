"""One delivery that is run again: its handler, and what it asks while it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import anyio
from attrs import define, field, frozen

from organism.kernel.prompts import Prompt
from organism.pump import runtime
from organism.pump.failures import failure_of
from organism.pump.outgoing import outgoing_of
from organism.replay.course import Course
from organism.replay.script import REFUSED
from organism.threads.outcomes import Failure

if TYPE_CHECKING:
    from organism.message import Outgoing
    from organism.replay.script import Part
    from organism.threads.frames import Message


ALIKE: Final = "tasks of it asked the same side by side, and the record does not say which of the answers was whose"


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
    task: object = None
    """Which task of its handler asks it."""

    @property
    def given(self) -> Any:
        """Its answer, once its event is set."""
        assert self.answer is not None  # noqa: S101 - set before its event
        return self.answer[0]


class Player:
    """Runs a handler in a task of its own; a Delivery to its context. ``result`` is what came of it once it is ``over``."""

    def __init__(
        self,
        part: Part,
        message: Message,
        *,
        again: bool = False,
        cut: frozenset[str] = frozenset(),
        course: Course | None = None,
    ) -> None:
        self.part = part
        self.message = message
        self.again = again
        """Its process had ended while it was under way."""
        self.cut = cut
        """What it had asked then, and did not wait for any more."""
        self.course = Course() if course is None else course
        self.over = False
        self.result: tuple[Outgoing, ...] | Failure | None = None
        self.context: Any = None
        self.odd: Odd | None = None
        self.interrupted = False
        """It raised KeyboardInterrupt: it did so then as well, or a person has stopped the replay."""
        self.unsure: str | None = None
        """Why what it does may differ from the record without anything being wrong."""
        self.disturbed = False
        """Time passed for it while another delivery was waited for, which did not come on."""
        self.asked: set[str] = set()
        self._tasks = set[object]()
        """Those that have asked anything."""
        self._let_go = False
        """It asked what the record does not know, and another task of it ended that before it was answered."""
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
        task = runtime.current_task()
        self._tasks.add(task)
        for each in asked:
            each.task = task
            if any(other.task is not task and _are_alike(other.key, each.key) for other in self.waiting_for):
                self.unsure = self.unsure or ALIKE
            self.waiting_for.append(each)
            self.comes_to(each.key)
        try:
            for each in asked:
                # One wait, as in the pump: whoever is answered goes on, though others are ended.
                if not each.event.is_set():
                    await each.event.wait()
        finally:
            self._let_go = self._let_go or any(each in asked for each in self.unknown)
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

    @property
    def ended_by_one(self) -> bool:
        """Whether one of several tasks has failed, and ended the others by that."""
        return isinstance(self.result, Failure) and (self._let_go or len(self._tasks) > 1)

    def is_at(self, key: str) -> bool:
        """Whether it has come to this place of its record."""
        if self.over or key in self.asked:
            return True
        return key == REFUSED and bool(self.unknown)

    def refuse(self, suits: Callable[[Asking], bool]) -> Asking | None:
        """What a limit refused: of what one task asks, the oldest; of several tasks that of any. ``suits``: it is of the kind that was."""
        tasks = _by_task([each for each in self.unknown if suits(each)] or self.unknown)
        return tasks[self.course.pick(len(tasks))][0] if tasks else None

    def hand(self) -> bool:
        """Gives the answers that the record has come to, to all tasks at once or to one of them; whether there were any."""
        for asking in self.waiting_for:
            asking.answer = asking.look()
        tasks = _by_task([each for each in self.waiting_for if each.answer is not None])
        picked = self.course.pick(len(tasks) + 1) if len(tasks) > 1 else 0
        for task in tasks[picked - 1 : picked] if picked else tasks:
            for asking in task:
                self.waiting_for.remove(asking)
                asking.event.set()
        return bool(tasks)

    async def moved(self, patience: float) -> bool:
        """Waits until it asks something or is over; False where it does neither."""
        with anyio.move_on_after(patience):
            await self._moved.wait()
            return True
        return False

    def _move(self) -> None:
        self._moved.set()
        self._moved = anyio.Event()


def _by_task(asked: Sequence[Asking]) -> list[list[Asking]]:
    """What each task asks."""
    found: dict[object, list[Asking]] = {}
    for each in asked:
        found.setdefault(each.task, []).append(each)
    # Loops begin tasks in any order: what they ask tells them apart each time.
    return sorted(found.values(), key=lambda each: (each[0].key, each[0].says))


def _are_alike(one: str, other: str) -> bool:
    """Whether two keys are of the same question, asked twice."""
    question = one.rpartition(":")[0]
    return bool(question) and question == other.rpartition(":")[0]
