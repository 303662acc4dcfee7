"""For tests of organisms: a model that follows a script, failures on demand, and checks of the organism's invariants.

Only the outside world is faked: handlers, budgets, warnings and ends are the real ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
from attrs import define, field, frozen

from organism.budget.claims import MESSAGES
from organism.journal.check import check_journal
from organism.kernel.comparable import comparable
from organism.kernel.fold import Fold
from organism.models.conformance import Scenario, Stand, check_backend
from organism.models.contract import Backend, BackendError, Piece, RawUsage, Request, Response, ToolCall
from organism.names import excerpt
from organism.organism import Organism
from organism.payloads import encode_json
from organism.record.facts import (
    Accepted,
    Answered,
    CallCompleted,
    CallSettled,
    Dropped,
    Ended,
    Failed,
    Posted,
    Resumed,
    Retried,
    ThreadOpened,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence

    from organism.models.routing.shared import SharedLimits
    from organism.pump.handles import ThreadHandle
    from organism.record.facts import Fact
    from organism.settings import BackendSettings, Settings

NO_USAGE: Final = RawUsage()
"""For ``Says(usage=NO_USAGE)``: the provider reports none."""


@frozen(kw_only=True)
class Says:
    """One scripted answer.

    ``text`` is what the model says, ``calls`` are its tool calls: (tool name, payload or arguments). ``usage`` is (input, output) in
    tokens, a RawUsage as the provider would report it, or ``None`` to count one token for four characters. ``seconds`` is how long
    it takes; ``error`` is raised instead of an answer.
    """

    text: str = ""
    calls: tuple[tuple[str, Any], ...] = ()
    usage: tuple[int, int] | RawUsage | None = None
    seconds: float = 0.0
    error: BackendError | None = None
    finish_reason: str | None = None
    call_id: str | None = None
    """One id for all its tool calls, as some models give; ``None``: each has its own."""


Script = Callable[[Request], Says] | list[Says]


@define(eq=False)
class ScriptedModel:
    """A model that follows a script: a list of answers, one for each call (the last one is repeated), or a function from the request
    to the answer. An empty list is for a model that must not be called: a call fails.

    Pass it as ``models=model.models()``, or as a provider: ``models={"default": {"backends": [{"provider": model.backend, "model":
    "scripted"}]}}``. ``requests`` are the requests that it got.
    """

    script: Script
    requests: list[Request] = field(factory=list[Request])
    finished: int = 0
    """How many calls it has answered."""

    def __attrs_post_init__(self) -> None:
        given: Any = self.script
        if not callable(given) and not _all_says(given):
            wanted = "a list of Says, or a function from a request to one"
            raise TypeError(f"a script is {wanted}, not {excerpt(repr(given), 80)}")

    def models(self, **settings: Any) -> dict[str, Any]:
        """A ``models:`` section with this model as ``default``, at 1 and 2 USD per million tokens of input and output; ``settings`` are
        further keys of the backend.
        """
        backend = {"provider": self.backend, "model": "scripted", "price": {"input": "1", "output": "2"}, **settings}
        return {"default": {"backends": [backend]}}

    def backend(self, _settings: BackendSettings) -> Backend:
        """Makes the provider."""
        return _ScriptedBackend(self)

    def next(self, request: Request) -> Says:
        """Notes a request, and returns the answer to it."""
        self.requests.append(request)
        if not callable(self.script):
            if not self.script:
                raise AssertionError("a model whose script has no answers was called")
            return self.script[min(len(self.requests), len(self.script)) - 1]
        says = self.script(request)
        if not _all_says([says]):
            given = excerpt(repr(says), 80)
            getattr(says, "close", str)()  # a coroutine, which nobody awaits
            raise TypeError(f"a script gives Says, and is not an async function; this one gave {given}")
        return says


def _all_says(given: object) -> bool:
    """Whether it is a list of answers, and of nothing else."""
    return isinstance(given, (list, tuple)) and all(isinstance(each, Says) for each in cast("Sequence[object]", given))


class _ScriptedBackend:
    def __init__(self, model: ScriptedModel) -> None:
        self._model = model

    async def complete(self, request: Request) -> Response:
        says = self._model.next(request)
        await anyio.sleep(says.seconds)
        if says.error is not None:
            raise says.error
        self._model.finished += 1
        return _response(says, request)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[_ScriptedStream]:
        says = self._model.next(request)
        yield _ScriptedStream(says, _response(says, request))
        self._model.finished += 1

    async def aclose(self) -> None:
        """Nothing is open."""


_PIECE: Final = 7
"""Characters of a tool call's arguments that come at once in a stream: escapes are broken anywhere."""


class _ScriptedStream:
    def __init__(self, says: Says, response: Response) -> None:
        self._says = says
        self._whole = response
        self.response: Response | None = None
        self.usage: RawUsage | None = None

    async def __aiter__(self) -> AsyncIterator[Piece]:
        words = self._whole.text.split(" ") if self._whole.text else []
        if not words:
            await anyio.sleep(self._says.seconds)
        for index, word in enumerate(words):
            await anyio.sleep(self._says.seconds / len(words))
            yield Piece(text=word if index == len(words) - 1 else f"{word} ")
        for number, call in enumerate(self._whole.tool_calls):
            for at in range(0, len(call.arguments), _PIECE):
                yield Piece(text=call.arguments[at : at + _PIECE], kind="other", tool=call.name, call=number)
        if self._says.error is not None:
            raise self._says.error
        self.response, self.usage = self._whole, self._whole.usage


def _response(says: Says, request: Request) -> Response:
    calls = tuple(
        ToolCall(id=says.call_id or f"call_{number}", name=name, arguments=_arguments(what))
        for number, (name, what) in enumerate(says.calls)
    )
    message: dict[str, Any] = {"role": "assistant", "content": says.text}
    if calls:
        message["tool_calls"] = [call.in_message for call in calls]
    reason: Any = says.finish_reason or ("tool_calls" if calls else "stop")
    return Response(
        text=says.text,
        message=message,
        tool_calls=calls,
        finish_reason=reason,
        usage=_usage(says, request),
        model=request.model,
    )


def _arguments(what: Any) -> str:
    if isinstance(what, str):
        return what
    if isinstance(what, Mapping):
        return json.dumps(what)
    return json.dumps(next(iter(encode_json(what).values())))


def _usage(says: Says, request: Request) -> RawUsage | None:
    if isinstance(says.usage, RawUsage):
        return None if says.usage is NO_USAGE else says.usage
    if says.usage is not None:
        return RawUsage(input_tokens=says.usage[0], output_tokens=says.usage[1])
    given = sum(len(str(message.get("content") or "")) for message in request.messages)
    said = len(says.text) + sum(len(_arguments(what)) for _, what in says.calls)
    return RawUsage(input_tokens=given // 4 + 1, output_tokens=said // 4 + 1)


@define(eq=False)
class FailAfter:
    """Raises ``error`` at the call after the first ``calls``: ``fail = FailAfter(3, OSError())``, then the fourth ``fail()`` raises."""

    calls: int
    error: BaseException
    made: int = 0

    def __call__(self) -> None:
        """Counts one call; raises when its turn has come."""
        self.made += 1
        if self.made == self.calls + 1:
            raise self.error


class Watch:
    """Rebuilds an organism's state from its facts as they come, and compares it with the live state; ``broken`` has the differences."""

    def __init__(self, organism: Organism) -> None:
        self.organism = organism
        self._fold = Fold(organism.settings)
        self.facts: list[Fact] = []
        self.broken: list[str] = []
        self._ended: set[str] = set()
        self._looked = 0
        self._begun = False
        self._whole = True
        """Whether it hears all of the record: what a journal held before, and what a fork copies, is told to nobody."""

    def begin(self) -> None:
        """Says that the organism has opened its journal: nothing has happened yet in this process. Once: what differs later is broken."""
        if not self._begun:
            self._begun = True
            self._whole = not (self.organism.unfinished or self._differs())

    def begin_fork(self) -> None:
        """Says that a thread is forked: what it copies is not heard."""
        self._whole = False

    def see(self, fact: Fact) -> None:
        """Takes a fact as it is recorded: told to subscribers it is once it is durable, when the state may have moved on."""
        self.facts.append(fact)
        self._see_ends(fact)
        if not self._whole:
            return
        try:
            self._fold.apply(fact)
        except Exception as error:  # noqa: BLE001 - whatever it is, check() tells it
            self.broken.append(f"fact {len(self.facts)} cannot be folded: {type(error).__name__}: {error}; {fact}")
            return
        # In between, a change may be half recorded: one settlement can let several waiting calls go or be refused, each a fact.
        # Each comparison looks at every live thread: of many at once, only the first are followed so closely.
        if self._looked < 2000 and isinstance(fact, (Accepted, Answered, Failed, Retried, Dropped)):
            self._looked += 1 + len(self.organism.kernel.state.threads)
            self.compare(f"after fact {len(self.facts)}, {type(fact).__name__}")

    def _see_ends(self, fact: Fact) -> None:
        """A thread ends once, and behind its end comes only what became of calls that it left behind (R5, R18)."""
        # A name may come again, and what could not be written down is taken up from before.
        self._ended.difference_update(step.thread for step in fact.steps if isinstance(step, ThreadOpened))
        if isinstance(fact, Resumed) and fact.crashed:
            self._ended.discard(fact.thread)
        if fact.thread in self._ended and not isinstance(fact, (CallSettled, CallCompleted)):
            self.broken.append(f"fact {len(self.facts)} is of a thread that has ended: {fact}")
        if isinstance(fact, Ended):
            self._ended.add(fact.thread)

    def compare(self, when: str) -> None:
        """Compares now."""
        if self._whole and not self.broken:
            self.broken += [f"{when}: {line}" for line in self._differs()]

    def _differs(self) -> list[str]:
        return differences(comparable(self.organism.kernel.state), comparable(self._fold.state))

    def of(self, kind: type[Fact]) -> list[Any]:
        """The facts of one kind, in order."""
        return [fact for fact in self.facts if isinstance(fact, kind)]

    def check(self) -> None:
        """Raises AssertionError if the live state differs from the state rebuilt from the facts, or if figures do not add up."""
        self.compare("at the end")
        self.broken += _sums(self, whole=self._whole)
        if self.broken:
            raise AssertionError("\n".join(self.broken[:10]))


def _sums(watch: Watch, *, whole: bool) -> Iterable[str]:
    """R19: what the record says was spent is what each kind of sum comes to (of a record that is heard ``whole``), and nothing is left held.

    The organism's own node does not tell: it counts over its window, which may have begun since.
    """
    state = watch.organism.kernel.state
    if state.threads:
        return
    if any(state.root.held):
        yield f"the organism still holds {state.root.held}"
    if not whole:
        return
    spent = _spent(watch.facts)
    # Messages have neither model nor backend.
    for kind, units in (("all", 6), ("handler", 6), ("model", 5), ("backend", 5)):
        found = [0] * 6
        for (each, _), tally in state.sums.totals.items():
            if each == kind:
                found = [have + more for have, more in zip(found, tally.amounts, strict=True)]
        if found[:units] != spent[:units]:
            yield f"sums by {kind} are {found[:units]}, the record's {spent[:units]}"


def _spent(record: Iterable[Fact]) -> list[int]:
    """What calls were charged and which messages were counted, as the budgets' vectors have it."""
    found = [0] * 6
    for fact in record:
        if isinstance(fact, CallSettled):
            found = [have + more for have, more in zip(found, fact.charge.amounts, strict=True)]
        found[MESSAGES] += sum(isinstance(step, Posted) and step.charged for step in fact.steps)
    return found


def differences(live: Any, folded: Any, path: str = "") -> list[str]:
    """Where two plain values differ, one line for each place."""
    ours: Any = live
    theirs: Any = folded
    if ours == theirs:
        return []
    if not (isinstance(live, dict) and isinstance(folded, dict)):
        return [f"{path}: live {ours!r}, folded {theirs!r}"]
    keys: dict[Any, Any] = {**ours, **theirs}
    return [line for key in keys for line in differences(ours.get(key), theirs.get(key), f"{path}.{key}")]


class Watched(Organism):
    """An organism whose invariants are checked; ``watch`` has its facts."""

    watch: Watch

    def _setup(self, settings: Settings, seed: int | None, limits: SharedLimits | None = None) -> None:
        super()._setup(settings, seed, limits)
        self.watch = Watch(self)
        self._listen()

    async def fork(self, thread: str, **how: Any) -> ThreadHandle:
        """As of any organism; from then on only that nothing stays held is checked."""
        self.watch.begin_fork()
        return await super().fork(thread, **how)

    def _listen(self) -> None:  # also whenever somebody begins to listen, or ends
        if self._works is not None:
            self.watch.begin()
        self.kernel.book.listen(self._seen)

    def _seen(self, root: str, fact: Fact) -> None:
        self.watch.see(fact)
        self._audience.record(root, fact)


@asynccontextmanager
async def running(organism: Watched | None = None, *, check: bool = True, **document: Any) -> AsyncGenerator[Watched]:
    """A running organism: the one given, or one made from the keys of organism.yaml.

    When its block is left without an error, its invariants are checked, unless ``check`` is false: the state rebuilt from its facts
    equals its live state, nothing stays held, and sums agree. If its journal was not empty, or it forked a thread, only that nothing
    stays held. ``organism.watch`` has the facts.
    """
    if organism is not None and (document or not isinstance(cast("object", organism), Watched)):
        raise TypeError(
            "running takes an organism that is made as Watched(...) or Watched.load(...), or the keys of organism.yaml"
        )
    document.setdefault("name", "test")
    made = organism or Watched(**document)
    async with made:
        yield made
    if check:
        made.watch.check()


__all__ = [
    "NO_USAGE",
    "FailAfter",
    "Says",
    "Scenario",
    "ScriptedModel",
    "Stand",
    "Watch",
    "Watched",
    "check_backend",
    "check_journal",
    "differences",
    "running",
]
