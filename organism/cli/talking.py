"""A conversation with whoever sits at a terminal, or with a program at a pipe: turns in, replies out."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
from attrs import define

from organism.cli.board import Board
from organism.cli.conduct import interrupted, keep_drawing
from organism.cli.exit_codes import EXHAUSTED, FAILED, PAUSED
from organism.cli.input_lines import InputLines
from organism.cli.interrupts import end_now
from organism.cli.live import LiveAnswer
from organism.cli.options import ANSWERED, Options
from organism.cli.people import GONE, People, waits
from organism.cli.report import partial_text, problem_line, reply_text
from organism.cli.sending import payload_of
from organism.cli.signals import exit_code
from organism.cli.starting import started
from organism.cli.text import harmless, one_line
from organism.errors import BudgetExhaustedError, ConfigurationError, NotRunningError, OrganismError
from organism.names import excerpt
from organism.payloads import encode_fields
from organism.record.facts import Ended
from organism.results import result_of
from organism.settings import HandlerSettings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from organism.cli.interrupts import Interrupts
    from organism.cli.streams import Streams
    from organism.organism import Organism
    from organism.pump.handles import ThreadHandle
    from organism.record.facts import Fact
    from organism.results import ThreadResult

PROMPT: Final = "> "
_REASON: Final = "Ctrl-C"
_SHOWN: Final = 60
"""Characters of a line that was not sent."""


@define(eq=False, kw_only=True)
class Talk:
    """What a chat is: with whom, and in which conversation. ``board`` is what is drawn while a turn runs; ``None``: nothing is."""

    file: Path
    options: Options
    handler: HandlerSettings
    conversation: str
    accounts: Mapping[str, str]
    board: Board | None = None

    @property
    def again(self) -> str:
        """The command that comes back to it."""
        return self.options.typed("chat", self.file, "--to", self.handler.name, "--conversation", self.conversation)


class Chat:
    """A conversation that somebody has at a terminal, or a program at a pipe."""

    def __init__(self, organism: Organism, talk: Talk, streams: Streams) -> None:
        self._organism = organism
        self._talk = talk
        self._streams = streams
        self._lasts = organism.settings.journal != "memory:"
        """Whether a journal keeps the conversation."""
        self._lines = InputLines(streams.input)
        self._people = People(organism, streams, self._lines)
        self._asks = self._people.there
        self._over = False
        """A turn waits for people who are not here: those behind it would wait with it."""
        self._code = 0
        self._taken = False
        """Whether the last line has become a turn."""
        self._begun = False
        """Whether what an earlier process left was taken up."""
        self._ended: dict[str, Ended] = {}
        """Turns that have ended and were not waited for: those that an earlier process left may be quick."""
        self._awaited: set[str] = set()
        self._left: ThreadHandle | None = None
        """The turn that a signal left, unless it has ended since."""

    async def hold(self, interrupts: Interrupts) -> int:
        """Takes turns until there are no more lines, or the conversation takes no more turns; returns the exit code."""
        async with started(self._organism, interrupts) as ended_by:
            if ended_by is not None:
                return exit_code(ended_by)
            if self._people.there:
                self._organism.subscribe(lambda _: self._people.changed())
            self._organism.subscribe(self._note_end)
            self._say_where()
            while (line := await self._next_line(interrupts)) is not None:
                if line.strip() and not await self._turn(line, interrupts):
                    if not self._asks:
                        self._say_unsent(line)
                    break
        if self._left is not None and self._left.ended:
            self._say(await self._left.result(), by_hand=True)
        elif self._left is not None and self._lasts:
            self._streams.note(f"the turn is left in the journal; to continue it: {self._talk.again}")
        code = self._code if interrupts.number is None else exit_code(interrupts.number)
        if self._organism.left_behind:
            end_now(code, self._streams)
        return code

    def _say_where(self) -> None:
        talk = self._talk
        if talk.options.quiet:
            return
        name = one_line(talk.conversation)
        if not self._lasts:
            self._streams.note(f"conversation {name}, which ends with this chat: the journal is 'memory:'")
        else:
            self._streams.note(f"conversation {name}; to continue it later: {talk.again}")
        if f"conversation:{talk.conversation}" in self._organism.unfinished:
            self._streams.note("an earlier process left turns of it unfinished: they run first")

    def _say_unsent(self, last: str) -> None:
        """Of a file, or of what a program says, what the chat has not sent is nowhere to be seen, and not in the journal."""
        number = self._lines.number  # of the last one; looking ahead reads on
        unsent = [*([] if self._taken else [(number, last)]), *islice(self._lines.ahead(), 2)]
        if unsent:
            number, line = unsent[0]
            behind = ", and the lines after it" if unsent[1:] else ""
            self._streams.note(f"not sent: line {number}, '{excerpt(one_line(line), _SHOWN)}'{behind}")

    async def _next_line(self, interrupts: Interrupts) -> str | None:
        if self._asks:
            self._streams.err.write(PROMPT)
            self._streams.err.flush()
        line: str | None = None
        async with anyio.create_task_group() as beside:
            beside.start_soon(_cancel_on, interrupts, beside.cancel_scope)
            try:
                line = await self._lines.next()
            except UnicodeDecodeError as error:
                self._code, line = FAILED, ""
                self._streams.note(f"not sent: the line is not UTF-8: {error.reason}")
            beside.cancel_scope.cancel()
        if interrupts.number is not None:
            line = None
        if self._asks and line is None:
            self._streams.note("")  # what follows does not stand behind the prompt
        return line

    async def _turn(self, line: str, interrupts: Interrupts) -> bool:
        """Takes one turn. False where it was the last one."""
        self._taken = False
        try:
            payload = payload_of(self._talk.handler, line, said="not sent")
        except ConfigurationError as error:
            self._code = FAILED
            self._streams.wrong(error)
            return True
        goes_on = await self._sent(payload, interrupts)
        if interrupts.number == signal.SIGINT:
            interrupts.again()
        return goes_on and interrupts.number is None

    def _note_end(self, fact: Fact) -> None:
        # Not what the organism opens beside them, such as for a dead letter: nobody here has said anything to that.
        if not isinstance(fact, Ended) or fact.kind != "root" or fact.conversation is None:
            return
        if fact.thread not in self._awaited:
            self._ended[fact.thread] = fact

    async def _begin(self, interrupts: Interrupts) -> None:
        """Takes the conversation up. Where it has no message left, the turns that an earlier process left have to end before it
        goes on in a fresh one: else the next one would wait for theirs, and nobody would be asked what they ask.
        """
        self._begun = True
        found = await self._organism.conversation_of(self._talk.conversation)
        if found is not None and found.budget.messages.remaining == 0:
            await self._all_answered(self._turns(found.id), interrupts)

    async def _sent(self, payload: Any, interrupts: Interrupts) -> bool:
        try:
            if not self._begun:
                await self._begin(interrupts)
            if self._over:
                return False
            handle = await self._organism.send(
                self._talk.handler.name, payload, conversation=self._talk.conversation, accounts=self._talk.accounts
            )
        except BudgetExhaustedError as error:
            self._code = self._code or EXHAUSTED
            name = one_line(self._talk.conversation)
            whose = (
                f"conversation {name} takes no further turn"
                if error.scope == "conversation"
                else "no more messages are accepted"
            )
            self._streams.note(f"exhausted: {whose}: {one_line(str(error))}")
            return False
        except NotRunningError:
            return False  # the pump has crashed; closing the organism says of what
        except OrganismError as error:
            self._code = FAILED
            self._streams.note(f"error: not sent: {one_line(str(error))}")
            return True
        self._taken = True
        await self._all_answered([*self._before(handle), handle], interrupts)
        return not self._over

    async def _all_answered(self, turns: Iterable[ThreadHandle], interrupts: Interrupts) -> None:
        awaited = list(turns)
        for each in awaited:
            self._awaited.add(each.id)
            self._ended.pop(each.id, None)
        self._say_ended()
        for each in awaited:
            if not self._over:
                await self._answered(each, interrupts)

    def _before(self, handle: ThreadHandle) -> Iterable[ThreadHandle]:
        """The turns that an earlier process left, and that run before this one."""
        for name in self._organism.kernel.state.conversations:
            turns = self._turns(name)
            ids = [each.id for each in turns]
            if handle.id in ids:
                return turns[: ids.index(handle.id)]
        return ()

    def _turns(self, conversation: str) -> list[ThreadHandle]:
        turns = self._organism.kernel.state.conversations[conversation].turns
        handles = (self._organism.thread_of(turn.id) for turn in turns)
        return [each for each in handles if each is not None]

    def _say_ended(self) -> None:
        """Says what came of turns that had ended before anybody waited for them."""
        for id_ in list(self._ended):
            self._say(result_of(self._ended.pop(id_)), by_hand=False)

    async def _answered(self, handle: ThreadHandle, interrupts: Interrupts) -> None:
        """Waits for a turn and says what came of it; Ctrl-C cancels it."""
        result: ThreadResult | None = None
        board = self._talk.board
        with nullcontext() if board is None else LiveAnswer(board, self._streams, handler=self._talk.handler.name):
            async with anyio.create_task_group() as beside:
                beside.start_soon(self._stop_turn_on, interrupts, handle, beside.cancel_scope)
                if self._streams.display is not None:
                    beside.start_soon(keep_drawing, self._streams.display)
                result = await self._result(handle)
                beside.cancel_scope.cancel()
        self._say_ended()
        if result is None and interrupts.number is not None:
            self._left = handle
        if result is not None and result.outcome == "paused":
            self._over = True
        elif result is not None:
            self._say(result, by_hand=interrupts.number is not None)

    async def _stop_turn_on(self, interrupts: Interrupts, handle: ThreadHandle, waiting: anyio.CancelScope) -> None:
        """Ctrl-C cancels the turn. What ends the process gives it the grace time, and leaves it where the journal has it."""
        await interrupts.wait()
        if interrupts.number == signal.SIGINT:
            handle.cancel(_REASON)
            return
        self._people.note_aside(interrupted(self._talk.options.grace, lasts=self._lasts))
        await self._organism.drain(self._talk.options.grace)
        if self._lasts:
            waiting.cancel()
        else:
            handle.cancel("interrupted")

    async def _result(self, handle: ThreadHandle) -> ThreadResult | None:
        """What a turn comes to; ``None`` where that cannot be had."""
        try:
            while (result := await handle.result()).outcome == "paused":
                if handle.waits_for_people:
                    if not await self._people_answer(handle):
                        break
                    continue
                typed = self._talk.options.typed("resume", self._talk.file)
                resume = f"'{typed}' continues it, " if self._lasts else ""
                self._streams.note(f"paused: {resume}Ctrl-C cancels it [thread {handle.id}]")
                await handle.goes_on()
        except OrganismError as error:
            self._code = FAILED
            self._streams.wrong(error)
            return None
        return result

    async def _people_answer(self, handle: ThreadHandle) -> bool:
        """A turn waits for people: whoever sits here is asked. False where nobody answers here."""
        question = self._people.next(handle.id)
        if question is not None:
            await self._people.ask(question)
            return True
        for each in self._organism.inbox():
            if each.thread == handle.id:
                self._streams.note(waits(each))
        self._code = self._code or PAUSED
        if not self._lasts:
            self._streams.note(GONE)
        else:
            answer = self._talk.options.typed("answer", self._talk.file, *ANSWERED)
            self._streams.note(f"answer with '{answer}', then continue: {self._talk.again}")
        return False

    def _say(self, result: ThreadResult, *, by_hand: bool) -> None:
        """Replies to standard output; how a turn ended that did not complete, and that the conversation goes on elsewhere, beside."""
        text = _said(result, self._streams.width) or partial_text(result, width=self._streams.width)
        if text:
            self._streams.result(text)
        problem = problem_line(result)
        if problem is not None:
            self._streams.note(problem)
            if result.outcome == "exhausted":
                self._code = self._code or EXHAUSTED
            elif not by_hand:
                self._code = FAILED
        if result.conversation not in {None, self._talk.conversation}:
            before, now = self._talk.conversation, str(result.conversation)
            self._talk.conversation = now
            self._streams.note(f"conversation {one_line(before)} has ended and continues in {one_line(now)}")


async def _cancel_on(interrupts: Interrupts, scope: anyio.CancelScope) -> None:
    await interrupts.wait()
    scope.cancel()


def _said(result: ThreadResult, width: int) -> str:
    """The replies: the text alone where that is all there is to them."""
    every = [list(encode_fields(payload).values()) for _, payload in result.replies]
    texts = [values[0] for values in every if len(values) == 1 and isinstance(values[0], str)]
    return "\n".join(map(harmless, texts)) if len(texts) == len(every) else reply_text(result, width=width)
