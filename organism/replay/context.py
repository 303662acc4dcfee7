"""What a handler sees while it is run again: the same, but that all it asks of the world is answered from the record."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from organism.agent import AgentContext
from organism.budget.levels import level_of
from organism.context.delivery import DeliveryContext, payload_of, timed_out
from organism.errors import BudgetExhaustedError, HandlerFailedError, ModelError, UnexpectedReplyError, pairs_of
from organism.kernel.answers import Refusal, refusal_error
from organism.kernel.asks import note_at_work
from organism.kernel.calls import no_grace
from organism.kernel.pools import SCOPE
from organism.models.prices import least_window
from organism.models.routing.failover import downgraded
from organism.names import ORGANISM, excerpt, same_up_to
from organism.pump import runtime
from organism.pump.keys import GRACE, completion_of, question
from organism.pump.streaming import ContextStream, KeptStream
from organism.replay.player import Asking, Odd
from organism.replay.verdict import both

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Sequence
    from random import Random

    from organism.kernel import Kernel
    from organism.kernel.prompts import Prompt
    from organism.models.completion import Call, Completion
    from organism.pump.handles import ThreadHandle
    from organism.record.images import CutShort
    from organism.replay.player import Player
    from organism.replay.script import Part, Question
    from organism.settings import BudgetSettings, Settings
    from organism.threads.frames import Ask
    from organism.threads.outcomes import Failure, Warned

_LONGEST: Final = 300
DRAWN: Final = (
    "tasks of it read ctx.random or ctx.now() side by side, and the record does not say which of them read what"
)


class World(Protocol):
    """What a context needs of the run: the record as far as it has come. To its contexts it is the pump."""

    settings: Settings
    kernel: Kernel
    place: int
    at: float

    def name_of(self, thread: str, part: Part) -> str:
        """What a thread was called when a delivery ran."""
        ...

    def handle_of(self, id_: str) -> ThreadHandle | None:
        """The handle of a thread that was spawned; ``None``: the record is about to say how it ended."""
        ...


class Recorded(DeliveryContext):
    """A context whose questions are answered by ``stage`` from its record."""

    def __init__(self, stage: World, player: Player) -> None:
        world: Any = stage
        super().__init__(world, cast("Any", player))
        self._stage = stage
        self._player = player
        self._begun = stage.place
        self._clock = iter(player.part.times)
        self._drawing = set[object]()
        """The tasks that have drawn from what all of them share."""
        self._last: Asking | None = None
        """What it asked of a handler last."""

    @property
    def thread(self) -> str:
        """The id that the thread had: before a fork, it was that of its origin."""
        return self._stage.name_of(self._message.thread.id, self._player.part)

    @property
    def message_id(self) -> str:
        """As in the thread that it was then."""
        return f"{self.thread}/{self._message.seq}"

    @property
    def idempotency_key(self) -> str:
        """As it was."""
        return self._message.idempotency or self.message_id

    @property
    def random(self) -> Random:
        """The same numbers as then, in the same order."""
        self._draws()
        return super().random

    def now(self) -> datetime:
        """What was read then."""
        self._draws()
        at = next(self._clock, None)
        return datetime.fromtimestamp(self._stage.at if at is None else at, UTC)

    def _draws(self) -> None:
        """Tasks that run side by side may draw in another order than then: loops let them go on in this one or that, by chance, and what is
        drawn says nothing by which it could be told for whom it was.
        """
        with suppress(RuntimeError):  # a plain function, in a thread: it does one thing after the other
            self._drawing.add(runtime.current_task())
        if len(self._drawing) > 1:
            self._player.unsure = self._player.unsure or DRAWN

    def unasked(self) -> tuple[str, ...]:
        """What models had answered it before its process ended, and it has not asked for yet since."""
        questions, asked = self._player.part.questions, self._player.asked
        answered = [
            key for key, each in questions.items() if each.answered is not None and each.answered <= self._begun
        ]
        return tuple(key for key in answered if key not in asked)

    # Models

    async def _called(
        self, call: Call, prompt: Prompt | None, tells: Sequence[Warned], *, grace: bool, wait: bool
    ) -> Completion:
        """The completion that the record holds."""
        del tells, wait
        return await self._completion(call, prompt, grace=grace)

    async def _note(self, call: Call, prompt: Prompt, completion: Completion) -> None:
        """It was written down then."""
        del call, completion
        self._player.comes_to(prompt.key)

    async def _completion(self, call: Call, prompt: Prompt | None, *, grace: bool) -> Completion:
        assert prompt is not None  # noqa: S101 - the stage's kernel writes its facts down
        player = self._player
        known = player.part.questions.get(prompt.key)
        if known is None or (known.hooked and known.asked > self._begun):
            # That there was no grace for it is not written down.
            refused = no_grace(self._message.thread, self._message) if grace else None
            if refused is not None:
                raise refused
            says = f"asks model '{call.model}': {_short(_plain(prompt.messages)[-1:])}"
            if call.model not in self._stage.settings.models:
                player.unsure = f"it asked model '{call.model}', which is not an alias any more"
            return cast("Completion", await player.ask(Asking("", says, lambda: None, prompt=prompt)))
        self._compare(known, prompt)
        asking = Asking(prompt.key, f"asks model '{call.model}'", lambda: self._answer(known, call))
        return cast("Completion", await player.ask(asking))

    def _answer(self, known: Question, call: Call) -> tuple[Any] | None:
        place = self._stage.place
        if known.answer is not None and known.answered is not None:
            return (completion_of(*known.answer),) if place >= known.answered else None
        if known.failed is not None and place >= known.failed[0]:
            # Its text is all that is known of the error.
            self._player.unsure = (
                f"a call to model '{call.model}' failed, and of its error the record has the text alone"
            )
            return (ModelError(call.model, [known.failed[1].removeprefix(f"model '{call.model}' failed: ")]),)
        if known.failed is not None or known.settled is None or place < known.settled:
            return None
        self._player.unsure = f"a call to model '{call.model}' was not answered, and the record does not say of what"
        return (ModelError(call.model, ["the record holds no answer of this call"]),)

    def _compare(self, known: Question, prompt: Prompt) -> None:
        """Whether the model is asked what it was asked then, word for word."""
        now = _plain(prompt.messages)
        before = [_plain(each.messages) for each in known.prompts]
        # One that it had asked before a crash is known by its key: what it was told of its budget this time, nobody was sent.
        if before and now not in before and known.asked > self._begun:
            old, new = _first_difference(before[0], now)
            self._player.differs(Odd("a model was asked", old, new, known.asked))

    @asynccontextmanager
    async def _streamed(
        self, call: Call, prompt: Prompt | None, *, grace: bool, wait: bool
    ) -> AsyncGenerator[ContextStream]:
        """The recorded answer, in one piece."""
        del wait
        self._player.unsure = self._player.unsure or "it read a stream, whose pieces are not in the record"
        completion = await self._completion(call, prompt, grace=grace)
        yield ContextStream(KeptStream(completion), cast("Any", self._player))

    # Handlers

    async def ask(self, to: str, payload: Any, *, expect: Any = None, timeout: float | None = None) -> Any:
        """What the peer answered then."""
        if self._delivery.over:
            await self._turned_away()
        asked = self._asks(to, payload, timeout)
        if isinstance(asked, Asking):
            asked = await self._player.ask(asked)
        return _heard(asked, expect)

    async def ask_all(self, asks: Iterable[tuple[str, Any]], *, expect: Any = None) -> list[Any]:
        """What the peers answered then."""
        if self._delivery.over:
            await self._turned_away()
        # Named in this order, as then: it tells those apart that are equal.
        asked = [self._asks(to, payload, None) for to, payload in pairs_of("ask_all", asks)]
        await self._player.ask_all([each for each in asked if isinstance(each, Asking)])
        answers: list[Any] = []
        for each in asked:
            try:
                answers.append(_heard(each.given if isinstance(each, Asking) else each, expect))
            except (HandlerFailedError, BudgetExhaustedError, UnexpectedReplyError) as error:
                answers.append(error)
        return answers

    def _asks(self, to: str, payload: Any, timeout: float | None) -> Any:
        """The question, or the answer to it where that is known without waiting."""
        key = self._key("ask", question(to, payload))
        known = self._player.part.questions.get(key)
        if known is None:
            return self._refused_or_odd(key, to, payload)
        if timeout is not None and key in self._player.cut:
            self._player.asked.add(key)
            return timed_out(to, timeout)
        late = None if timeout is None else timed_out(to, timeout)
        return self._known(Asking(key, _says("asks", to, payload), lambda: self._reply(key, known, late)), known)

    def _known(self, asking: Asking, question: Question) -> Asking:
        asking.asked, self._last = question.asked, asking
        return asking

    def _reply(self, key: str, known: Question, late: Failure | None) -> tuple[Any] | None:
        ask: Ask | None = (self._message.known or {}).get(key)
        if self._stage.place < known.asked or ask is None or not ask.done:
            return None
        # One that was cut off without a timeout of its own was cancelled by the handler itself.
        answer = late if ask.answer is None else ask.answer
        return None if answer is None else (answer,)

    async def _spawn(self, to: str, payload: Any, settings: BudgetSettings, key: str) -> ThreadHandle:
        """The handle of the thread that was spawned then."""
        known = self._player.part.questions.get(key)
        if known is None:
            asked = self._refused_or_odd(key, to, payload, opens=settings)
            if isinstance(asked, Exception):
                raise asked
            return cast("ThreadHandle", await self._player.ask(asked))
        asked = self._known(Asking(key, _says("spawns", to, payload), lambda: self._spawned_then(key)), known)
        return cast("ThreadHandle", await self._player.ask(asked))

    def _spawned_then(self, key: str) -> tuple[ThreadHandle] | None:
        id_ = (self._message.known or {}).get(key)
        handle = None if id_ is None else self._stage.handle_of(id_)
        return None if handle is None else (handle,)

    def _refused_or_odd(
        self, key: str, to: str, payload: Any, *, opens: BudgetSettings | None = None
    ) -> Asking | Exception:
        """A question that may not be asked leaves no trace in the record; one that no limit refused is new. ``opens``: it is to open a
        sub-thread with this budget.

        What may be asked depends on what was asked just before, of which the record may tell later: until then it is not known.
        """
        message, kernel = self._message, self._stage.kernel
        ahead = self._last if key else None  # what has no key is refused whatever was asked before

        def refused() -> Exception | None:
            # It runs, which the record says of none: whoever asks itself waits for itself.
            note_at_work(kernel.state, message)
            found = kernel.asks.check(message, to, payload, budget=opens, asks=opens is None)
            return refusal_error(found) if isinstance(found, Refusal) else None

        def look() -> tuple[Any] | None:
            if asking.asked is None and asking.untold is None and self._is_past(ahead):
                error = refused()
                if error is None or isinstance(error, BudgetExhaustedError):
                    asking.look = lambda: None
                    return None
                asking.untold, asking.asked = error, self._stage.place
            return None if asking.untold is None else (asking.untold,)

        asking = Asking("", "", look, refused=refused)
        look()
        if asking.untold is not None:
            return asking.untold
        asking.says, self._last = _says("asks" if opens is None else "spawns", to, payload), asking
        return asking

    def _is_past(self, asking: Asking | None) -> bool:
        """Whether the record has come past something that was asked of a handler, so that what it changed is known."""
        return asking is None or (asking.asked is not None and asking.asked <= self._stage.place)


class RecordedAgent(Recorded, AgentContext):
    """The context of an agent that is run again."""

    def unheard(self) -> tuple[Warned, ...]:
        """As then. How many calls are left depends on all limits above, also on those that count other threads."""
        found = super().unheard()
        shared = any(each.scope in {ORGANISM, SCOPE} and each.caps.limited for each in self._message.thread.node.path)
        if any(not each.node or (shared and each.calls_left is not None) for each in found):
            self._player.unsure = "it was told of limits that count other threads too"
        return found

    def recall(self, key: str) -> Any:
        """The call on grace that it made before its process ended; all else is known by what it asks."""
        known = self._player.part.questions.get(key) if key == GRACE else None
        if known is None or known.answered is None or known.answered > self._begun:
            return None
        self._player.asked.add(key)
        return known.answer

    def fits_grace(self, call: Call, *, answer: float = 0.0) -> bool:
        """Whether a prompt is a part of the one that was made then: the record says how much of it did fit."""
        known = self._player.part.questions.get(GRACE)
        prompts = () if known is None else known.prompts
        fits = any(_is_part(_plain(call.messages), _plain(each.messages)) for each in prompts)
        if not (fits or answer) and self.hooks is not None:  # not even the shortest does
            self._player.unsure = "a hook may have changed or refused its last call, and the record does not say how"
        return fits

    def window(self, alias: str) -> int | None:
        """What the settings say of it: summaries are asked for in its measure."""
        level = level_of(self._message.thread.node.path)
        at = datetime.fromtimestamp(self._stage.at, UTC)
        model = downgraded(self._stage.settings.models, alias, lambda: level)
        return None if model is None else least_window(model, at)

    def cut_before(self, key: str) -> CutShort | None:
        """How the history was cut short then."""
        return self._player.part.cuts.get(key)

    @property
    def is_replayed(self) -> bool:
        """All of it was done then."""
        return True

    def was_too_long(self, error: ModelError, key: str) -> bool:
        """Whether the history was cut short for it then."""
        del error
        if key not in self._player.part.cuts:
            return False
        self._player.unsure = None  # why there is no answer is known after all
        return True

    def note_cut(self, key: str, cut: CutShort) -> None:
        """It was written down then."""


def _heard(answer: Any, expect: Any) -> Any:
    """The payload of an answer of the record. Raises what is none."""
    if isinstance(answer, Exception):
        raise answer
    return payload_of(answer, expect)


def _is_part(some: Sequence[Any], whole: Sequence[Any]) -> bool:
    """Whether these messages stand among those, in their order."""
    left = iter(whole)
    return all(any(each == other for other in left) for each in some)


def _first_difference(before: Sequence[Any], now: Sequence[Any]) -> tuple[str, str]:
    """The first message that is another one, in both prompts."""
    number = same_up_to(before, now)
    texts = [json.dumps(each[number : number + 1], ensure_ascii=False) for each in (before, now)]
    return both(texts[0], texts[1])


def _plain(messages: Any) -> list[Any]:
    """Messages as JSON has them."""
    return cast("list[Any]", json.loads(json.dumps(list(messages), default=dict)))


def _says(verb: str, to: str, payload: Any) -> str:
    """What is asked, in words. Only for what is a payload: what is none is refused before."""
    return f"{verb} '{to}': {_short(question(to, payload)()[1])}"


def _short(value: Any) -> str:
    return excerpt(json.dumps(value, ensure_ascii=False), _LONGEST)
