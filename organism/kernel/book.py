"""Writing facts: one for each change, followed by the final records of threads that ended by it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, final

from organism.kernel.outcome import final_of
from organism.names import chain_of_limits
from organism.quick import maker
from organism.record import facts
from organism.threads.frames import Conversation
from organism.threads.lineage import chain_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from organism.budget.node import Node
    from organism.kernel.state import State
    from organism.record.facts import Fact
    from organism.threads.frames import Thread


@cache
def _maker_of(fact: Callable[..., Fact]) -> Callable[..., Fact]:
    """A fast constructor for facts of a class, made with the first of them."""
    return maker(fact)


@final
class Book:
    """What the kernel writes facts to. A change is ``begin``, changes of the state, then ``write`` (or ``unheard``, or ``give_up``).

    ``record`` gets the name of the chain and the fact; ``None``: nobody listens, and no fact is built. ``ended`` is called for every
    thread that ended.
    """

    def __init__(
        self, state: State, record: Callable[[str, Fact], None] | None, ended: Callable[[Thread], None]
    ) -> None:
        self._state = state
        self._ended = ended
        self.listen(record)
        self.half_done = False
        """A change was begun and is neither written nor given up. If that is so between two changes, a change has raised half-way; if somebody
        calls from outside meanwhile, it was interrupted, as by a signal handler.
        """
        self.rolled: list[Node] = []
        """Nodes for which a new window has begun: calls in line there are to be tried."""

    def give_up(self) -> None:
        """Ends a change that was begun and has changed nothing."""
        self.half_done, self._state.steps = False, None

    def listen(self, record: Callable[[str, Fact], None] | None) -> None:
        """Sets what is told of facts from the next change on; ``None``: nobody."""
        self._record = record
        if record is None:
            self._state.steps = None
        self.listening = self._state.schedule.lists = record is not None
        """Whether facts are wanted."""

    def begin(self, at: float) -> None:
        """Starts a change at this instant."""
        state = self._state
        state.now = at
        if at >= state.pools.rolls_at:
            self.rolled += state.come_to(at)
        self.half_done = True
        if self._record is not None:
            self._state.steps = []

    def write(self, fact: Callable[..., Fact], thread: Thread | Conversation, **fields: Any) -> None:
        """Ends a change: writes its fact with the steps that were made, then the final records of threads that ended by it."""
        state = self._state
        if self._record is not None and state.steps is not None:
            steps = tuple(state.steps)
            state.steps = None
            chain = thread.chain if isinstance(thread, Conversation) else chain_of(thread)
            id_ = chain if isinstance(thread, Conversation) else thread.id
            self._record(chain, _maker_of(fact)(at=state.now, thread=id_, steps=steps, **fields))
        self.unheard(thread)

    def write_limits(self, node: Node, **fields: Any) -> None:
        """Ends a change that raised the limits of a node which many threads share."""
        if self._record is not None:
            chain = chain_of_limits(node.thread)
            self._record(chain, facts.QuotaRaised(at=self._state.now, thread=chain, **fields))
        self.give_up()

    def unheard(self, thread: Thread | Conversation) -> None:
        """Ends a change of which no fact is wanted: does what :meth:`write` does beside writing the fact."""
        state = self._state
        if state.inbox.watched and not isinstance(thread, Conversation):
            state.inbox.stir(thread)
        if state.ended:
            over, state.ended = state.ended, []
            for gone in over:
                self.say_end(gone)
        self.half_done = False

    def say_end(self, gone: Thread) -> None:
        """Writes the final record of a thread that has ended, and tells ``ended``."""
        if self._record is not None:
            self._record(chain_of(gone), final_of(gone))
        self._ended(gone)
