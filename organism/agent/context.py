"""What an agent sees besides what every handler sees: its warnings, and whether a last call on grace would fit."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve

from organism.budget.claims import VECTOR
from organism.budget.levels import level_of
from organism.budget.tree import lack, output_room
from organism.context.delivery import DeliveryContext
from organism.kernel.notices import exhausted_payload, live
from organism.kernel.recall import CLOCK, is_counted
from organism.models.contract import BackendError
from organism.pump.failures import failure_of
from organism.pump.keys import ASKS, GRACE, completion_of
from organism.pump.thread_budget import is_strict, needs_price
from organism.record.images import CutShort

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from organism.budget.claims import Claim
    from organism.errors import BudgetExhaustedError, ModelError
    from organism.models.completion import Call, Completion
    from organism.models.routing.streams import Hearer
    from organism.payloads.primitives import BudgetExhausted
    from organism.pump.hooking import Hooks
    from organism.pump.text_listeners import TextListeners
    from organism.settings import Level
    from organism.threads.frames import Thread
    from organism.threads.outcomes import Failure, Warned

_OF_CUTS: Final = ("cut:", "prune:", "summary:", CLOCK)
"""With what keys begin that say nothing of how far a delivery had come, since what they stand for comes before a call."""


class AgentContext(DeliveryContext):
    """The context of a handler that is an agent."""

    def unheard(self) -> tuple[Warned, ...]:
        """The warnings that this agent is to be told in its next prompt."""
        return self._pump.kernel.unheard(self._message)

    def with_live_figures(self, warned: Warned) -> Warned:
        """A warning with the figures of now."""
        return live(self._pump.kernel.state.threads, self._message.thread, warned)

    def exhaustion(self, error: BudgetExhaustedError) -> BudgetExhausted:
        """The refusal of a call after which one last answer is possible."""
        return exhausted_payload(self._message.thread.node, failure_of(error))

    @property
    def hooks(self) -> Hooks | None:
        """Who is asked at the points of its turns; ``None``: nobody is."""
        return self._pump.hooks

    @property
    def scope(self) -> str:
        """What its thread is: ``thread`` or ``sub-thread``."""
        return self._message.thread.node.scope

    @property
    def ran_out(self) -> bool:
        """Whether messages or time of its thread ran out: it hands in what it has. Where an earlier run was answered before they did, that
        is still to come.
        """
        return self._message.thread.closing and not any(key.startswith(f"{ASKS}:") for key in self.unasked())

    def refusal(self, failure: Failure) -> BudgetExhausted:
        """The refusal of a call to a peer, after which the agent goes on."""
        return exhausted_payload(self._message.thread.node, failure, grace=False)

    @property
    def may_ask(self) -> bool:
        """Whether somebody else decides on requests for more, of its thread's limits or of those that called it."""
        thread: Thread | None = self._message.thread
        while thread is not None:
            if thread.node.policy.grants_by not in {"", self.name}:
                return True
            thread = None if thread.owner is None else thread.owner.thread
        return False

    @property
    def has_grace(self) -> bool:
        """Whether this agent handles its thread's root frame and has not made the one call on grace, or is about to make it again."""
        thread, message = self._message.thread, self._message
        again = GRACE in (message.known or ()) or is_counted(message, GRACE)
        return thread.handler == self.name and (again or not thread.graced)

    async def recalled_grace(self, call: Callable[[], Call]) -> Completion | None:
        """What the call on grace was answered that this delivery made before its process ended. ``call`` makes one like it, for hooks:
        what it was is known no more, since its prompt was cut to what there was just then.
        """
        kept = self.recall(GRACE)
        if kept is None:
            return None
        completion, hooks = completion_of(*kept), self._pump.hooks
        return completion if hooks is None else await hooks.again(call(), completion, self)

    async def call_on_grace(self, call: Call, *, tells: Sequence[Warned]) -> Completion:
        """Makes the thread's one call on grace, or one within what is left where grace is another's."""
        return await self.call_model(call, grace=self.has_grace, tells=tells, kind=GRACE)

    @property
    def text_listeners(self) -> TextListeners:
        """Those who hear what agents write while they write it."""
        return self._pump.text_listeners

    @property
    def seq(self) -> int:
        """The number of its message in the thread."""
        return self._message.seq

    @contextmanager
    def heard_by(self, hearer: Hearer | None) -> Generator[None]:
        """Calls that are made in the block are asked for as streams, which ``hearer`` hears of; ``None``: as always."""
        self._hearer = hearer
        try:
            yield
        finally:
            self._hearer = None

    def fits_grace(self, call: Call, *, answer: float = 0.0) -> bool:
        """Whether a call could be made on what is kept back, with ``answer`` of the room left for what it answers."""
        path, claim = self._message.thread.node.path, self._claim(call)
        if claim is None:
            return False
        if is_counted(self._message, GRACE):
            claim = evolve(claim, model_calls=0)
        room = output_room(path, claim, grace=True)
        wanted = min(claim.wish, int(answer * (room + claim.input_tokens)))
        output = max(min(claim.min_output, claim.wish), wanted)
        return lack(path, claim.need(output), grace=True) is None

    # Room in the window

    def window(self, alias: str) -> int | None:
        """The tokens of prompt and answer that an alias takes at once; ``None`` where that is not known."""
        return self._pump.router.window(alias, level=self._level)

    def _claim(self, call: Call) -> Claim | None:
        """What a call would hold if it were made now; ``None`` where no backend would be asked."""
        node = self._message.thread.node
        return self._pump.router.claim(call, strict=is_strict(node), needs_price=needs_price(node), level=self._level)

    def _level(self) -> Level | None:
        """The highest level that was reached on its thread's path."""
        return level_of(self._message.thread.node.path)

    def measured(self, call: Call) -> tuple[int, int]:
        """The tokens of a call's prompt, as it would be held, and those that it wishes for as its answer."""
        claim = self._pump.router.claim(call, strict=False, level=self._level)
        return (0, 0) if claim is None else (claim.input_tokens, claim.wish)

    def lacks_for(self, call: Call) -> str:
        """Why a call is better not made, where the thread could not pay it and as much again; empty where it can.

        Nothing is refused by that, and nobody warned: it is asked for what can be done without.
        """
        path, claim = self._message.thread.node.path, self._claim(call)
        if claim is None:
            return f"no backend of model '{call.model}' may be asked"
        need: Any = tuple(2 * amount for amount in claim.need(claim.wish))
        missing = lack(path, need)
        if missing is None:
            return ""
        return f"{VECTOR[missing.unit]} of the {missing.node.title} cannot cover it and the next turn"

    def cut_before(self, key: str) -> CutShort | None:
        """How this delivery cut its history short at this place before its process ended."""
        known = None if self._unasked is None else self.recall(key)
        return known if isinstance(known, CutShort) else None

    @property
    def repeats(self) -> bool:
        """Whether what comes next was done before, so that nothing is to be decided anew: an earlier run was answered more than this one
        has asked for.
        """
        unasked = self._unasked
        return unasked is not None and any(not key.startswith(_OF_CUTS) for key in unasked)

    @property
    def has_summary(self) -> bool:
        """Whether a summary was paid for by an earlier run whose history was not yet cut short."""
        return not self.repeats and any(key.startswith("summary:") for key in self._unasked or ())

    @property
    def is_replayed(self) -> bool:
        """Whether all of it was done before, also what failed."""
        return False

    def was_too_long(self, error: ModelError, key: str) -> bool:
        """Whether a call failed since its prompt was too long for the model. ``key``: of what is cut short for it."""
        del key
        cause = error.__cause__
        return isinstance(cause, BackendError) and cause.kind == "context"

    def note_cut(self, key: str, cut: CutShort) -> None:
        """Writes down how the history was cut short."""
        kernel = self._pump.kernel
        if kernel.book.listening:
            kernel.compacted(self._message, cut, self._pump.now(), key=key)

    def limits(self) -> dict[str, Any]:
        """The limits of the thread's own budget by unit, as prompts may name them."""
        node = self._message.thread.node
        found = {unit: node.figures(index)[2] for index, unit in enumerate(VECTOR)}
        return {unit: limit for unit, limit in found.items() if limit is not None}
