"""One tidy row for each model call: what it needed and took, how the budget stood, and what its handler had been told of it.

A pure fold over the facts of a chain, so that it is there after a restart, and for journals of before as far as their facts go.
:class:`CallRow` says what a row holds; ``docs/reference/calls.md`` tells it column by column.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field, fields, frozen

from organism.budget.caps import figure
from organism.budget.claims import COST, INPUT, MESSAGES, NOTHING, OUTPUT, TOKENS, VECTOR
from organism.budget.levels import URGENCY
from organism.record import facts
from organism.record.images import Nearest
from organism.settings import Limits
from organism.usage import pico, usd

if TYPE_CHECKING:
    from collections.abc import Iterable

    from organism.budget.claims import Charge, Vector
    from organism.record.facts import Fact, Step


@frozen(kw_only=True)
class CallRow:
    """One ``complete`` or ``stream``, over all its attempts. ``docs/reference/calls.md`` explains each column. Figures are in the unit itself,
    money in USD (Decimal); what is not known, or not limited, is ``None``.
    """

    seq: int
    thread: str
    conversation: str | None
    handler: str
    message: int
    model: str
    backend: str | None
    at: float
    latency: float | None
    attempts: int
    outcome: str
    clamped: bool
    grace: bool
    streamed: bool
    estimated: bool
    need_tokens: int | None
    need_input_tokens: int | None
    need_output_tokens: int | None
    need_cost_usd: Decimal | None
    tokens: int
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal | None
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    tokens_before: int | None
    tokens_after: int | None
    tokens_limit: int | None
    input_tokens_before: int | None
    input_tokens_after: int | None
    input_tokens_limit: int | None
    output_tokens_before: int | None
    output_tokens_after: int | None
    output_tokens_limit: int | None
    cost_usd_before: Decimal | None
    cost_usd_after: Decimal | None
    cost_usd_limit: Decimal | None
    model_calls_before: int | None
    model_calls_after: int | None
    model_calls_limit: int | None
    messages_before: int | None
    messages_after: int | None
    messages_limit: int | None
    nearest_scope: str | None
    nearest_unit: str | None
    nearest_remaining: int | Decimal | None
    nearest_limit: int | Decimal | None
    told_level: str | None
    told_unit: str | None
    told_seq: int | None
    told_calls_ago: int | None
    tags: tuple[str, ...]
    labels: Mapping[str, str]
    accounts: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """A JSON object of the fields, in their order; money as a string."""
        return {name: _plain(getattr(self, name)) for name in COLUMNS}


COLUMNS: Final = tuple(each.name for each in fields(CallRow))
"""The names of a row's fields, in order."""


def call_rows(chain: Iterable[tuple[int, Fact]]) -> tuple[CallRow, ...]:
    """The calls of a chain that are over, in the order in which they began, by its facts with their numbers from the first on.

    Calls of a fork that were copied from its origin are not among them: that one has them.
    """
    folding = _Rows()
    for number, fact in chain:
        folding.take(number, fact)
    return folding.rows()


@define(eq=False)
class _Thread:
    """What is known of a thread: who is above it, its limits, and what it has spent with all below it."""

    root: str
    above: _Thread | None = None
    handler: str = ""
    limits: Limits = field(factory=Limits)
    conversation: str | None = None
    labels: Mapping[str, str] = field(factory=dict[str, str])
    accounts: tuple[str, ...] = ()
    used: list[int] = field(factory=lambda: list(NOTHING))


@frozen
class _Told:
    """A warning that a handler was told, and how many calls it had made by then."""

    level: str
    unit: str
    seq: int
    after: int


@define(eq=False)
class _Hearer:
    """A handler in a thread, or over all turns of a conversation: how many calls it has made, and what it was told last."""

    calls: int = 0
    told: _Told | None = None
    last: _Call | None = None


@define(eq=False)
class _Call:
    """A call, as far as it has come."""

    seq: int
    thread: str
    message: int
    model: str
    at: float
    handler: str
    number: int
    before: tuple[int, ...]
    limits: Limits
    key: str = ""
    told: _Told | None = None
    nearest: Nearest | None = None
    tags: tuple[str, ...] = ()
    backend: str | None = None
    attempts: int = 0
    latency: float | None = None
    clamped: bool = False
    grace: bool = False
    streamed: bool = False
    estimated: bool = False
    unpriced: bool = False
    lost: bool = False
    needs: tuple[int | None, ...] = (None,) * len(VECTOR)
    spent: list[int] = field(factory=lambda: list(NOTHING))
    details: list[int] = field(factory=lambda: [0, 0, 0])
    open: set[int] = field(factory=set[int])
    after: tuple[int, ...] = NOTHING
    outcome: str | None = None

    def hold(self, fact: facts.CallHeld) -> None:
        """One more attempt."""
        self.open.add(fact.hold)
        self.attempts += 1
        self.backend = fact.backend
        self.clamped = self.clamped or bool(fact.clamped)
        self.grace, self.streamed = fact.grace, fact.streamed
        self.needs = tuple((have or 0) + more for have, more in zip(self.needs, fact.need, strict=True))

    def settle(self, fact: facts.CallSettled, used: list[int]) -> None:
        """What an attempt did cost."""
        charge: Charge = fact.charge
        self.open.discard(fact.hold)
        self.spent = [have + more for have, more in zip(self.spent, charge.amounts, strict=True)]
        self.details = [have + more for have, more in zip(self.details, charge.details, strict=True)]
        self.estimated = self.estimated or charge.estimated
        self.unpriced = self.unpriced or bool(charge.unpriced)
        self.latency = max(0.0, fact.at - fact.held_at)
        self.after = tuple(used)

    def row(self, of: _Thread) -> CallRow:
        """The row of a call that is over."""
        units: dict[str, Any] = {}
        for unit, name in enumerate(VECTOR):
            limit = getattr(self.limits, name)
            for when, amount in (("before", self.before[unit]), ("after", self.after[unit])):
                units[f"{name}_{when}"] = None if limit is None else figure(unit, amount)
            units[f"{name}_limit"] = limit
        near, told = self.nearest, self.told
        cost = self.needs[COST]
        return CallRow(
            seq=self.seq, thread=self.thread, conversation=of.conversation, handler=self.handler, message=self.message,
            model=self.model, backend=self.backend, at=self.at, latency=self.latency, attempts=self.attempts,
            outcome=self.outcome or "", clamped=self.clamped, grace=self.grace, streamed=self.streamed, estimated=self.estimated,
            need_tokens=self.needs[TOKENS], need_input_tokens=self.needs[INPUT], need_output_tokens=self.needs[OUTPUT],
            need_cost_usd=None if cost is None or self.unpriced else usd(cost),
            tokens=self.spent[TOKENS], input_tokens=self.spent[INPUT], output_tokens=self.spent[OUTPUT],
            cost_usd=None if self.unpriced else usd(self.spent[COST]),
            cache_read_tokens=self.details[0], cache_write_tokens=self.details[1], reasoning_tokens=self.details[2],
            **units,
            nearest_scope=None if near is None else near.scope, nearest_unit=None if near is None else near.unit,
            nearest_remaining=None if near is None else near.remaining, nearest_limit=None if near is None else near.limit,
            told_level=None if told is None else told.level, told_unit=None if told is None else told.unit,
            told_seq=None if told is None else told.seq,
            told_calls_ago=None if told is None else self.number - 1 - told.after,
            tags=self.tags, labels=dict(of.labels), accounts=of.accounts,
        )  # fmt: skip


class _Rows:
    """The fold: threads with what they spent, calls, and who was told what."""

    def __init__(self) -> None:
        self._threads: dict[str, _Thread] = {}
        self._conversation: tuple[str, ...] = ()
        """The accounts of the conversation that the chain holds."""
        self._to: dict[tuple[str, int], str] = {}
        """The handlers of open messages."""
        self._raised: dict[tuple[str, int], facts.WarningRaised] = {}
        """By root thread and number."""
        self._left: dict[int, facts.WarningRaised] = {}
        """By number alone: a turn may be told what an earlier one was not."""
        self._hearers: dict[tuple[str, str], _Hearer] = {}
        self._calls: list[_Call] = []
        self._unfinished: dict[str, list[_Call]] = {}
        """Those whose end has not come, by thread."""
        self._by_first: dict[int, _Call] = {}
        self._by_hold: dict[int, _Call] = {}
        self._copied = 0

    def rows(self) -> tuple[CallRow, ...]:
        """The calls that are over."""
        over = (call for call in self._calls if call.outcome is not None and call.seq > self._copied)
        return tuple(call.row(self._of(call.thread)) for call in over)

    def take(self, number: int, fact: Fact) -> None:
        """Takes in the next fact."""
        for step in fact.steps:
            self._step(step)
        match fact:
            case facts.CallHeld():
                self._held(number, fact)
            case facts.CallSettled():
                self._settled(fact)
            case facts.CallCompleted(kept=kept):
                call = self._by_first.get(fact.call or 0) or self._found(fact.thread, fact.seq, fact.key)
                if call is not None:
                    call.latency = call.latency if kept is None else kept.latency
                    call.outcome = "ok" if kept is None else kept.outcome
                    call.attempts = call.attempts if kept is None else kept.attempts
            case facts.CallFailed():
                call = self._by_first.get(fact.call or 0) or self._begun(number, fact, fact.alias, fact.key)
                call.outcome, call.tags, call.attempts = fact.outcome, fact.tags, fact.attempts
            case facts.CallRefused() if fact.unit in VECTOR[:MESSAGES]:
                self._refused(number, fact)
            case _:
                self._rest(number, fact)
        self._tell(fact)

    def _rest(self, number: int, fact: Fact) -> None:
        match fact:
            case facts.Answered(seq=seq) | facts.Failed(seq=seq) | facts.Dropped(seq=seq):
                self._to.pop((fact.thread, seq), None)
                # Journals of before do not say how a call ended that has no answer.
                for call in self._open_calls(fact.thread):
                    if call.message == seq and not call.open:
                        call.outcome = "cut" if isinstance(fact, facts.Dropped) else "failed"
            case facts.LimitsSet(thread=node, budget=budget) | facts.Granted(node=node, budget=budget):
                self._of(node).limits = budget.limits
            case facts.Ended():
                self._lose(fact.thread)
            case facts.Resumed(crashed=True):
                for thread in [*self._unfinished]:
                    if self._of(thread).root == fact.thread:
                        self._lose(thread)
            case facts.Forked(entries=entries):
                self._copied = entries + 1 if number == 1 else number
            case _:
                pass

    def _step(self, step: Step) -> None:
        match step:
            case facts.ThreadOpened():
                above = None if step.owner is None else self._of(step.owner[0])
                turn = self._conversation if step.conversation is not None else ()
                self._threads[step.thread] = _Thread(
                    step.thread if above is None else above.root,
                    above,
                    handler=step.handler,
                    limits=step.budget.limits,
                    conversation=step.conversation if above is None else above.conversation,
                    labels=step.labels,
                    accounts=step.accounts or (turn if above is None else above.accounts),
                )
            case facts.ConversationOpened(accounts=accounts):
                self._conversation = accounts
            case facts.Posted():
                self._to[step.thread, step.seq] = step.to
                if step.charged:
                    self._spend(step.thread, (0, 0, 0, 0, 0, 1))
            case facts.WarningRaised():
                self._raised[self._of(step.thread).root, step.seq] = self._left[step.seq] = step
            case _:
                pass

    def _of(self, thread: str) -> _Thread:
        return self._threads.setdefault(thread, _Thread(thread))

    def _spend(self, thread: str, amounts: Vector) -> None:
        node: _Thread | None = self._of(thread)
        while node is not None:
            node.used = [have + more for have, more in zip(node.used, amounts, strict=True)]
            node = node.above

    # Calls

    def _begun(self, number: int, fact: Any, model: str, key: str = "") -> _Call:
        """A call begins with this fact."""
        of = self._of(fact.thread)
        handler = self._to.get((fact.thread, fact.seq), of.handler) if fact.seq else ""
        hearer = self._hearer(fact.thread, handler)
        hearer.calls += 1
        call = _Call(
            number, fact.thread, fact.seq, model, fact.at, handler, hearer.calls, tuple(of.used), of.limits,
            key=key, told=hearer.told, after=tuple(of.used),
        )  # fmt: skip
        hearer.last = call
        self._calls.append(call)
        self._unfinished.setdefault(fact.thread, []).append(call)
        return call

    def _held(self, number: int, fact: facts.CallHeld) -> None:
        call = self._by_first.get(fact.call or 0)
        if call is None and fact.attempt > 1:
            call = self._found(fact.thread, fact.seq, fact.key)
        if call is None:
            call = self._by_first[fact.hold] = self._begun(number, fact, fact.alias, fact.key)
            call.nearest, call.tags = fact.nearest, fact.tags
        self._by_hold[fact.hold] = call
        call.hold(fact)

    def _settled(self, fact: facts.CallSettled) -> None:
        self._spend(fact.thread, fact.charge.amounts)
        call = self._by_hold.pop(fact.hold, None)
        if call is not None:
            call.settle(fact, self._of(fact.thread).used)
            if call.lost and not call.open:
                call.outcome = call.outcome or "cut"

    def _refused(self, number: int, fact: facts.CallRefused) -> None:
        call = self._by_first.get(fact.call or 0)
        if call is None:
            call = self._begun(number, fact, fact.alias or "")
            call.backend, call.tags, call.nearest = fact.backend, fact.tags, fact.nearest
            needs: list[int | None] = [None] * len(VECTOR)
            needs[VECTOR.index(fact.unit)] = pico(Decimal(fact.need)) if fact.unit == VECTOR[COST] else int(fact.need)
            call.needs = tuple(needs)
        call.outcome = "refused"

    def _found(self, thread: str, message: int, key: str) -> _Call | None:
        """The last call of a delivery under this key that has no answer yet and no attempt under way."""
        for call in reversed(self._open_calls(thread)):
            if (call.message, call.key) == (message, key) and not call.open:
                return call
        return None

    def _open_calls(self, thread: str) -> list[_Call]:
        found = [call for call in self._unfinished.get(thread, ()) if call.outcome is None]
        if found:
            self._unfinished[thread] = found
        else:
            self._unfinished.pop(thread, None)
        return found

    def _lose(self, thread: str) -> None:
        """Nobody waits for the calls of a thread any more: they are over once they are settled."""
        for call in self._open_calls(thread):
            call.lost = True
            if not call.open:
                call.outcome = "cut"

    # Who was told

    def _hearer(self, thread: str, handler: str) -> _Hearer:
        of = self._of(thread)
        turn = of.above is None and of.conversation is not None
        return self._hearers.setdefault((f"turns of {of.conversation}" if turn else thread, handler), _Hearer())

    def _tell(self, fact: Fact) -> None:
        """Notes who was told by this fact; by a prompt it was told in it, and knows it from this call on."""
        heard: dict[tuple[str, str], list[facts.WarningRaised]] = {}
        for step in fact.steps:
            if isinstance(step, facts.WarningTold):
                raised_by = self._raised.get((self._of(step.thread).root, step.seq), self._left.get(step.seq))
                if raised_by is not None:
                    heard.setdefault((step.thread, step.to), []).append(raised_by)
            elif isinstance(step, facts.WarningRaised) and step.to is not None:
                heard.setdefault((step.thread, step.to), []).append(step)
        for (thread, handler), raised in heard.items():
            hearer = self._hearer(thread, handler)
            top = max(raised, key=lambda each: URGENCY.index(each.level) if each.level in URGENCY else -1)
            prompted = isinstance(fact, facts.Noticed)
            hearer.told = _Told(top.level, top.unit, top.seq, hearer.calls - prompted)
            if prompted and hearer.last is not None:
                hearer.last.told = hearer.told


def _plain(value: Any) -> Any:
    """A field as a JSON value."""
    given: Any = value
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, tuple):
        return list[Any](given)
    return dict[str, Any](given) if isinstance(value, Mapping) else value
