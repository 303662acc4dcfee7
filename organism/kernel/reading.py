"""Reading what a chain comes to by its facts alone: they are folded as a restart does it, without the organism that wrote them."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from organism.kernel.fold import Fold
from organism.record import facts
from organism.settings import Settings
from organism.threads.routing import Route

if TYPE_CHECKING:
    from collections.abc import Mapping

    from organism.kernel.state import State
    from organism.record.facts import Fact
    from organism.record.images import Ref
    from organism.threads.frames import Thread


@final
class Reading:
    """The state that the facts of one chain come to. Of handlers it is known what facts say: those whose messages are questions are people."""

    def __init__(self) -> None:
        self._fold = Fold(Settings(name="reader"))
        self._asked: dict[Ref, tuple[str, ...]] = {}
        """All questions to people, with what they may answer."""

    @property
    def state(self) -> State:
        """The state after the last fact; its instant is that of the fact."""
        return self._fold.state

    @property
    def unsaid(self) -> Mapping[str, Thread]:
        """Threads that have ended and whose final record was not written: a restart writes it."""
        return self._fold.unsaid

    @property
    def asked(self) -> Mapping[Ref, tuple[str, ...]]:
        """The questions that people were asked, each with the names of the payloads that they may answer with."""
        return self._asked

    def take(self, fact: Fact) -> None:
        """Takes in the next fact. Raises JournalError where it does not follow from those before it: then the state must not be used."""
        for step in fact.steps:
            if isinstance(step, facts.Posted) and step.answers:
                self._asked[step.thread, step.seq] = step.answers
                routes = self.state.routes
                if step.to not in routes:
                    routes[step.to] = Route(step.to, answers=(object,))
        self._fold.apply(fact)
