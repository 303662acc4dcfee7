"""``organism run``: sends what it is told to, or what ``start:`` says, and runs until every thread has ended or paused."""

from __future__ import annotations

import math
import shlex
import time
from contextlib import ExitStack, redirect_stdout
from typing import TYPE_CHECKING, Annotated

import anyio
from cyclopts import Parameter

from organism.cli.arguments import DEFAULT_FILE, Debug, File, Given, Sets, pairs
from organism.cli.board import Board
from organism.cli.check import checked
from organism.cli.conduct import Orders, conduct
from organism.cli.crossings import warning_line
from organism.cli.live import LiveBoard
from organism.cli.logs import logging_to
from organism.cli.sending import messages
from organism.cli.text import one_line
from organism.errors import ConfigurationError
from organism.facts import WarningRaised
from organism.organism import Organism

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from organism.cli.streams import Streams
    from organism.facts import Fact
    from organism.settings import Settings


OfRun = Annotated[str | None, Parameter(metavar="URL", help="As --set journal=URL.")]
Timeout = Annotated[float | None, Parameter(metavar="SECONDS", help="Cancel what still runs after that.")]
Quiet = Annotated[bool, Parameter(help="Only the replies.")]
Json = Annotated[bool, Parameter(help="One JSON object a root thread, in a line.")]
Verbose = Annotated[bool, Parameter(name=("--verbose", "-v"), help="Log every thread that ends.")]


def run(
    file: File = DEFAULT_FILE,
    /,
    *,
    to: Annotated[str | None, Parameter(metavar="HANDLER", help="The handler that is sent to.")] = None,
    send: Annotated[
        str | None,
        Parameter(
            allow_leading_hyphen=True,
            metavar="X",
            help="What is sent: XML, JSON, @FILE, - for standard input, or plain text where one required text takes it. "
            "Without it, what the file's 'start:' says is sent.",
        ),
    ] = None,
    set: Sets = (),  # noqa: A002 - the option's name
    label: Annotated[
        tuple[str, ...],
        Parameter(
            allow_leading_hyphen=True,
            json_list=False,
            metavar="KEY=VALUE",
            help="A label of the threads; may be repeated.",
        ),
    ] = (),
    journal: OfRun = None,
    resume: Annotated[bool, Parameter(help="First go on with what earlier runs left in the journal.")] = False,
    timeout: Timeout = None,
    seed: Annotated[
        int | None, Parameter(metavar="N", help="Names threads and spreads retries the same each time.")
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
    verbose: Verbose = False,
    debug: Debug = False,
    streams: Given,
) -> int:
    """Runs the organism until every thread has ended or paused.

    Replies and a table of what was spent go to standard output, progress, warnings and logs to standard error.
    Exits with 0; 1 if a thread failed, was cancelled or stopped, or the timeout was reached; else 3 if one was exhausted;
    else 4 if one is paused; 2 if the file or the command line is wrong; 5 if the journal is damaged or another process holds
    it; 130 on Ctrl-C. What is not over then stays in a journal on a disk, and 'organism resume' goes on with it.
    """
    check_timeout(timeout)
    labels = pairs("--label", label)
    settings = settings_of(file, pairs("--set", set), journal, streams)
    orders = Orders(
        messages=messages(settings, to=to, send=send, stdin=streams.input),
        labels=labels,
        again=command_again(file, set, journal),
        resume=resume,
        timeout=timeout,
        json=json,
        quiet=quiet,
    )
    organism = Organism.of(settings, seed=seed)
    with logging_to(streams, verbose=verbose, debug=debug):
        return watched(organism, orders, streams)


def check_timeout(timeout: float | None) -> None:
    """Raises ConfigurationError for what is no number of seconds."""
    if timeout is not None and not 0 < timeout < math.inf:
        raise ConfigurationError([f"--timeout {timeout:g}: must be a number of seconds above 0"])


def journal_of(sets: Iterable[str], journal: str | None) -> str | None:
    """The journal that the command line names, if any: by ``--journal``, or by ``--set journal=``."""
    return journal or pairs("--set", sets).get("journal")


def command_again(file: Path, sets: Iterable[str], journal: str | None) -> str:
    """The command that goes on with what a run has left."""
    named = journal_of(sets, journal)
    words = ["organism", "resume", *([] if file == DEFAULT_FILE else [str(file)])]
    return one_line(shlex.join([*words, *(["--journal", named] if named else [])]))


def settings_of(file: Path, sets: Mapping[str, str], journal: str | None, streams: Streams) -> Settings:
    """The settings of a file with what the command line says over it. Raises ConfigurationError with every mistake."""
    if journal is None:
        return checked(file, sets, streams)
    try:
        return checked(file, {**sets, "journal": journal}, streams)
    except ConfigurationError as error:
        raise ConfigurationError([_as_typed(mistake) for mistake in error.mistakes]) from error


def _as_typed(mistake: str) -> str:
    return f"--journal{rest}" if (rest := mistake.removeprefix("--set journal")) != mistake else mistake


def watched(organism: Organism, orders: Orders, streams: Streams) -> int:
    """Runs it, with its progress and its warnings on standard error unless it is to be quiet."""
    with ExitStack() as stack:
        # What handlers print is no result.
        stack.enter_context(redirect_stdout(streams.err))
        display = None
        if not orders.quiet:
            board = Board()
            for note in organism.settings.notes:
                streams.note(f"note: {note}")
            stack.callback(organism.subscribe(teller(board, streams)))
            if streams.err.isatty():
                display = stack.enter_context(LiveBoard(board, streams.err, now=time.time))
                streams.display = display
                stack.callback(setattr, streams, "display", None)
        return anyio.run(conduct, organism, orders, streams, display, backend=organism.settings.runtime)


def teller(board: Board, streams: Streams) -> Callable[[Fact], None]:
    """Keeps a board by the facts it is told, and says warnings as they come."""

    def tell(fact: Fact) -> None:
        board.apply(fact)
        for step in fact.steps:
            if isinstance(step, WarningRaised):
                streams.note(warning_line(step, board.handler_of(step.thread)))

    return tell
