"""The model calls of a story: what models were asked, attempt by attempt, what it cost, and what they said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define

from organism.cli.phrases import charge_text, failure_text, message_text, prompt_lines, said
from organism.cli.text import one_line, wrapped
from organism.durations import duration
from organism.names import counted
from organism.record import facts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from organism.cli.story.page import How, Page
    from organism.journal.prompts import Prompt
    from organism.record.facts import Fact
    from organism.record.images import Ref


@define(eq=False)
class _Call:
    """A model call that is out, or whose answer is yet to be told. ``line`` is the number of the line that says what it ``cost``,
    and ``why`` it failed; ``lost`` that it was out when its process ended.
    """

    held: facts.CallHeld
    line: int | None = None
    cost: str = ""
    why: str = ""
    settled: bool = False
    lost: bool = False


class ModelCalls:
    """Writes the lines of model calls on the ``page`` of a story. ``prompts`` are what models were asked, by the number of the hold;
    ``handler_of`` says who handles a message.
    """

    def __init__(self, page: Page, prompts: Mapping[int, Prompt], how: How, handler_of: Callable[[Ref], str]) -> None:
        self._page = page
        self._prompts = prompts
        self._how = how
        self._handler_of = handler_of
        self._calls: dict[int, _Call] = {}
        self._settled_at: dict[int, float] = {}
        """When the last attempt of a call was over, by the hold of its first."""

    def take(self, fact: Fact, depth: int) -> None:
        """Takes in what has happened, as deep as it stands."""
        match fact:
            case facts.Resumed(crashed=True):
                for call in self._calls.values():
                    call.lost = not call.settled
            case facts.CallHeld():
                self._calls[fact.hold] = _Call(fact)
                self._asks_model(fact, depth)
            case facts.CallSettled():
                self._settles(fact, depth)
            case facts.CallCompleted():
                self._completes(fact, depth)
            case _:
                pass

    def _asks_model(self, held: facts.CallHeld, depth: int) -> None:
        prompt = self._prompts.get(held.hold)
        who = self._handler_of((held.thread, held.seq)) if held.seq else "the thread"
        again = self._waited(held) if held.attempt > 1 else ""
        grace = ", on grace" if held.grace else ""
        text = f"{who} calls {one_line(held.alias)} ({one_line(held.backend)}), {call_named(held)}{again}{grace}"
        if prompt is None:
            self._page.add(held.at, depth, text)
            return
        if self._how.prompts:
            whole = [part for line in prompt_lines(prompt) for part in wrapped(line, self._how.width - 2 * depth)]
            self._page.add(held.at, depth, f"{text}:", whole)
            return
        new = prompt.said.added
        last = f": {message_text(new[-1])}" if new and held.attempt == 1 else ""
        self._page.add(held.at, depth, f"{text}: {counted(prompt.said.count, 'message')}, {len(new)} new{last}")

    def _waited(self, held: facts.CallHeld) -> str:
        """How long after the attempt before it a further one was made."""
        before = self._settled_at.get(held.call or 0)
        return "" if before is None else f" after {duration(max(0.0, held.at - before), '.2f')}"

    def _settles(self, fact: facts.CallSettled, depth: int) -> None:
        """Says what a call cost, as one without an answer: the line is another one once that has come."""
        cost = f"{charge_text(fact.charge)}, {duration(max(0.0, fact.at - fact.held_at), '.2f')}"
        call = self._calls.get(fact.hold)
        why = "" if fact.missed is None else f": {failure_text(fact.missed)}"
        if call is not None:
            call.line, call.cost, call.why, call.settled = len(self._page.lines), cost, why, True
            self._settled_at[call.held.call or fact.hold] = fact.at
        what = "was under way when its process ended" if call is not None and call.lost else "gets no answer"
        name = f"call {fact.hold}" if call is None else call_named(call.held)
        self._page.add(fact.at, depth, f"{name} {what} [{cost}]{why}")

    def _completes(self, fact: facts.CallCompleted, depth: int) -> None:
        """Says in the line of what it cost what the model said."""
        if self._page.muted:
            return
        told = [said(fact.text, whole=self._how.full)] if fact.text else []
        if fact.kept is not None:
            told += [f"uses {name} {said(given, whole=self._how.full)}" for _, name, given in fact.kept.tool_calls]
        answer = f": {'; '.join(told)}" if told else ""
        call = self._settled(fact)
        if call is None or call.line is None or call.line >= len(self._page.lines):
            self._page.add(fact.at, depth, f"the model answers{answer}")
            return
        does = f"breaks off [{call.cost}]{call.why}; it said" if call.why else f"answers [{call.cost}]"
        text = f"{call_named(call.held)} {does}{answer}"
        self._page.rewrite(call.line, text)
        del self._calls[call.held.hold]

    def _settled(self, fact: facts.CallCompleted) -> _Call | None:
        """The call that was answered: of its delivery, settled, and of its key where that was written down."""
        mine = [
            call
            for call in self._calls.values()
            if call.settled and (call.held.thread, call.held.seq) == (fact.thread, fact.seq)
        ]
        named = [
            call for call in mine if call.held.hold in self._prompts and self._prompts[call.held.hold].key == fact.key
        ]
        return next(reversed(named or mine), None)

    def out(self) -> Iterator[facts.CallHeld]:
        """The calls that are out."""
        return (call.held for call in self._calls.values() if not call.settled)


def call_named(held: facts.CallHeld) -> str:
    """What a call is called, or a further attempt at it, which is no call of its own: by the hold of the first, as the log has it."""
    return f"call {held.hold}" if held.call is None else f"attempt {held.attempt} of call {held.call}"
