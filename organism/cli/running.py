"""What the commands share that run an organism: the accounts that pay, and a run that people can watch."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Annotated

import anyio
from cyclopts import Parameter

from organism.cli.arguments import pairs
from organism.cli.board import Board
from organism.cli.budget_warnings import warning_lines
from organism.cli.conduct import LAST, conduct
from organism.cli.interrupts import Interrupts
from organism.cli.live import LiveBoard
from organism.cli.log_lines import logging_to
from organism.cli.text import one_line
from organism.config import account_names
from organism.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Generator

    from organism.cli.conduct import Job
    from organism.cli.streams import Streams
    from organism.organism import Organism
    from organism.record.facts import Fact
    from organism.settings import Settings


Accounts = Annotated[
    tuple[str, ...],
    Parameter(
        allow_leading_hyphen=True,
        metavar="KIND=NAME",
        help="An account that the threads are charged to; may be repeated.",
    ),
]


def accounts_of(given: tuple[str, ...], settings: Settings) -> dict[str, str]:
    """The accounts that ``--account`` names. Raises ConfigurationError for those that the file does not have, and for two of a kind:
    which of them pays is not to be guessed.
    """
    accounts = pairs("--account", given, form="KIND=NAME, as in tenant=acme")
    kinds = [text.partition("=")[0] for text in given]
    twice = [kind for kind in accounts if kinds.count(kind) > 1]
    if twice:
        raise ConfigurationError(
            [
                f"--account {one_line(kind)}: is named {kinds.count(kind)} times: a thread is under one of a kind"
                for kind in twice
            ]
        )
    account_names(accounts, settings, place="--account:")
    return accounts


def run_of(organism: Organism, job: Job, streams: Streams) -> int:
    """Runs it, with its progress, warnings and logs on standard error; returns the exit code."""
    options = job.options
    with ExitStack() as stack:
        stack.enter_context(logging_to(streams, verbose=options.verbose, debug=options.debug))
        board = stack.enter_context(telling(organism, streams, quiet=options.quiet, drafts=not options.json))
        if board is not None:
            stack.enter_context(LiveBoard(board, streams, now=time.time))
        interrupts = stack.enter_context(Interrupts(streams.clear, at_most=options.grace + LAST))
        code = anyio.run(conduct, organism, job, streams, interrupts, backend=organism.settings.runtime)
    if streams.failed and organism.settings.journal != "memory:":
        streams.note("the results are in the journal: 'organism threads' lists all, and 'organism show' shows one")
    return code


@contextmanager
def telling(organism: Organism, streams: Streams, *, quiet: bool, drafts: bool) -> Generator[Board | None]:
    """While the block is open, tells on standard error what was assumed and what is warned of, unless it is to be ``quiet``, and what
    handlers print in any case. Gives the board, where there is a terminal to draw it on; with ``drafts`` it has what agents are writing.
    """
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(streams.err))  # what handlers print is no result
        if quiet:
            yield None
            return
        for note in organism.settings.notes:
            streams.note(f"note: {note}")
        board = Board(organism.kernel)

        def tell(fact: Fact) -> None:
            board.apply(fact)
            caller = getattr(fact, "handler", "")
            for line in warning_lines(fact.steps, lambda thread: board.handler_of(thread) or caller):
                streams.note(line)

        stack.callback(organism.subscribe(tell))
        drawn = streams.err.isatty()
        if drawn and drafts:
            stack.callback(organism.overhear(board.hear))
        yield board if drawn else None
