"""``organism chat``: one conversation, one turn per line."""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Final

import anyio
from cyclopts import Parameter

from organism.cli.arguments import DEFAULT_FILE, AsFile, Given
from organism.cli.interrupts import Interrupts
from organism.cli.journals import Where, may_be_there
from organism.cli.log_lines import logging_to
from organism.cli.options import Options
from organism.cli.running import Accounts, accounts_of, telling
from organism.cli.sending import handler_of
from organism.cli.talking import Chat, Talk
from organism.cli.text import one_line
from organism.errors import ConfigurationError
from organism.journal.codec import decode_entry
from organism.names import CONVERSATION, names_nothing
from organism.organism import Organism
from organism.record.facts import ThreadOpened
from organism.works.ordered import successor_in

if TYPE_CHECKING:
    from pathlib import Path

    from organism.journal import Journal
    from organism.settings import HandlerSettings, Settings

_PLAIN: Final = Options()


def chat(
    file: AsFile = DEFAULT_FILE,
    *,
    to: Annotated[
        str | None,
        Parameter(
            metavar="HANDLER",
            help="The handler to talk to; by default the one that the conversation began with, else the only one, or that of 'start:'.",
        ),
    ] = None,
    conversation: Annotated[
        str | None,
        Parameter(
            allow_leading_hyphen=True, metavar="ID", help="The conversation to continue or begin; by default a new one."
        ),
    ] = None,
    account: Accounts = (),
    options: Annotated[Options, Parameter(name="*")] = _PLAIN,
    streams: Given,
) -> int:
    """Talks to a handler in one conversation: each line is a turn, as plain text, XML or JSON.

    Replies go to standard output, everything else to standard error. Ctrl-D ends the chat; Ctrl-C cancels the turn under way, or
    ends the chat if there is none; SIGTERM and SIGHUP give it the grace time, leave it in a journal on a disk, and end the chat.
    Exits with 0; 1 if a turn failed; else 3 if one was exhausted, or the conversation takes no further turn; else 4 if a turn
    still waits for a person; 2 if the file or the command line is wrong; 130 on Ctrl-C, 143 on SIGTERM, 129 on SIGHUP.

    Example: organism chat --to guide --conversation c-42
    """
    settings = options.checked(file, streams)
    if conversation is not None and names_nothing(conversation):
        raise ConfigurationError(["--conversation: is empty; give it an id, or leave it out for a new one"])
    handler = _handler(settings, to, conversation, file)
    talk = Talk(
        file=file,
        options=options,
        handler=handler,
        conversation=secrets.token_hex(8) if conversation is None else conversation,
        accounts=accounts_of(account, settings),
    )
    organism = Organism.of(settings)
    with logging_to(streams, verbose=options.verbose, debug=options.debug), ExitStack() as stack:
        talk.board = stack.enter_context(telling(organism, streams, quiet=options.quiet, drafts=True))
        # A second Ctrl-C ends the process as it is: what is in the journal stays there, and nothing on the terminal.
        interrupts = stack.enter_context(Interrupts(streams.clear))
        return anyio.run(Chat(organism, talk, streams).hold, interrupts, backend=settings.runtime)


def _handler(settings: Settings, to: str | None, conversation: str | None, file: Path) -> HandlerSettings:
    """Who is talked to. Raises ConfigurationError where neither the command line, the journal nor the file tells that."""
    begun_with = None if to is not None or conversation is None else _begun_with(settings, conversation, file)
    if begun_with is not None and begun_with not in settings.handlers:
        begun = f"conversation {one_line(conversation or '')} was begun with '{one_line(begun_with)}', which is not a handler any more"
        there = ", ".join(settings.handlers)
        raise ConfigurationError([f"{begun}: name one with --to; there are: {there}"])
    try:
        return handler_of(settings, begun_with if to is None else to)
    except ConfigurationError as error:
        if to is not None or conversation is None:
            raise
        raise ConfigurationError(
            [f"conversation {one_line(conversation)} has not begun yet: {each}" for each in error.mistakes]
        ) from None


def _begun_with(settings: Settings, conversation: str, file: Path) -> str | None:
    """The handler of the first turn of a conversation, or of the one in which it goes on where only that is left; ``None`` where the
    journal has neither.
    """
    where = Where(file=file, journal=settings.journal)
    if settings.journal == "memory:" or not may_be_there(where.place.path):
        return None
    with where.opened() as journal:
        names = (conversation, successor_in(journal, conversation))
        return next((handler for name in names if name is not None and (handler := _first_in(journal, name))), None)


def _first_in(journal: Journal, conversation: str) -> str | None:
    begun = map(decode_entry, journal.documents(f"{CONVERSATION}{conversation}", kinds=("Accepted",)))
    steps = (step for fact in begun for step in fact.steps)
    return next((step.handler for step in steps if isinstance(step, ThreadOpened) and step.owner is None), None)
