"""People at the terminal: they are shown what they are asked, and type what they answer."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

import anyio

from organism.cli.input_lines import InputLines
from organism.cli.phrases import asker_text, question_lines
from organism.cli.sending import text_in
from organism.cli.text import one_line
from organism.errors import ConfigurationError, NoQuestionError, NotRunningError, OrganismError
from organism.payloads import takes_lines, takes_text
from organism.threads.routing import answers_to, known_of
from organism.works import inbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from organism.cli.streams import Streams
    from organism.organism import Organism
    from organism.results import Question

REFUSE: Final = "/refuse"
GONE: Final = "nobody can answer it any more: the journal is 'memory:', which ends with this process"
_HOW: Final = f"JSON or XML, or @FILE; '{REFUSE} WHY' refuses to answer; an empty line leaves the question in the inbox"


class People:
    """Asks whoever sits at the terminal what an organism's people are asked, one question at a time.

    ``lines`` are what is typed there. What somebody leaves (by an empty line, or all of it by Ctrl-D) waits in the inbox. ``there``:
    whether anybody sits there; nobody does where there is no terminal.
    """

    def __init__(
        self, organism: Organism, streams: Streams, lines: InputLines | None = None, *, there: bool = True
    ) -> None:
        self._organism = organism
        self._streams = streams
        self._lines = lines or InputLines(streams.input)
        self._left: set[str] = set()
        self.there = there and streams.input.isatty() and streams.err.isatty()
        self.change = anyio.Event()
        """Set when the next thing has happened."""
        self._prompts = False
        """A prompt stands on the terminal, and nothing behind it yet."""

    def next(self, thread: str | None = None) -> Question | None:
        """The oldest question that somebody at the terminal is still to be asked, of one thread where that is named."""
        if not self.there:
            return None
        asked = (each for each in asked_now(self._organism) if each.id not in self._left)
        return next((each for each in asked if thread in {None, each.thread}), None)

    def changed(self) -> None:
        """Something has happened: there may be another question, or the one that is asked was answered elsewhere."""
        self.change.set()
        self.change = anyio.Event()

    def note_aside(self, text: str) -> None:
        """Writes a line that is not about what is asked: below a prompt, where one stands there."""
        self._streams.note(f"\n{text}" if self._prompts else text)
        self._prompts = False

    async def ask(self, question: Question) -> None:
        """Asks until there is an answer, or the question is left, or waits no more."""
        display = self._streams.display
        with display.aside() if display is not None else nullcontext():
            self._streams.note("\n".join(_shown(question, self._organism, self._streams.width)))
            while (line := await self._typed(question)) is not None:
                if line and await self._taken(question, line):
                    break
        self.changed()

    async def _typed(self, question: Question) -> str | None:
        """The next line that is typed, empty where it is no text; ``None`` where the question waits no more, or is left."""
        self._streams.err.write(f"{question.handler}> ")
        self._streams.err.flush()
        line: str | None = None
        came = garbled = False
        self._prompts = True
        async with anyio.create_task_group() as beside:
            beside.start_soon(self._watch, question, beside.cancel_scope)
            try:
                line = await self._lines.next()
            except UnicodeDecodeError as error:
                garbled = True
                self._streams.note(f"not taken: the line is not UTF-8: {error.reason}")
            came, self._prompts = True, False
            beside.cancel_scope.cancel()
        if not came:
            self.note_aside(f"question {one_line(question.id)} no longer waits for an answer")
            return None
        if garbled:
            return ""
        if line is None:
            self.there = False
            self._streams.note("")
        elif not line.strip():
            self._left.add(question.id)
        return line if line and line.strip() else None

    async def _watch(self, question: Question, scope: anyio.CancelScope) -> None:
        while any(each.id == question.id for each in asked_now(self._organism)):
            await self.change.wait()
        scope.cancel()

    async def _taken(self, question: Question, line: str) -> bool:
        """Answers with what was typed. False where it is no answer: it is said what is taken, and may be typed again."""
        word, _, why = line.strip().partition(" ")
        try:
            if word == REFUSE:
                await self._organism.answer(question.id, refuse=why.strip() or "refused")
                return True
            handler = self._organism.settings.handlers[question.handler]
            text = text_in(line, said="not taken:") if line.startswith("@") else line
            await self._organism.answer(question.id, inbox.read(handler, question.payload, text, said="not taken"))
        except NoQuestionError as error:
            self._streams.note(one_line(str(error)))
        except OrganismError as error:
            self._streams.wrong(error)
            return not isinstance(error, ConfigurationError)
        return True


def asked_now(organism: Organism) -> tuple[Question, ...]:
    """What people are asked; nothing by an organism whose pump has crashed: closing it says of what."""
    try:
        return organism.inbox()
    except NotRunningError:
        return ()


def _shown(question: Question, organism: Organism, width: int) -> Iterator[str]:
    """A question, and what an answer to it looks like."""
    yield from question_lines(question, width)
    human = organism.settings.handlers[question.handler].human
    if human is not None:
        answers = answers_to(question.payload, human.replies)
        yield "the answer:"
        yield from takes_lines(answers, known_of(question.payload))
        yield f"type it as {'plain text, ' if takes_text(answers) else ''}{_HOW}"


def waits(question: Question) -> str:
    """A line about a question that nobody is there to answer."""
    by = f"by {asker_text(question)}" if question.sender else "from outside"
    return f"{question.handler} is asked {by} [question {one_line(question.id)}]"
