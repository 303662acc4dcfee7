"""``organism run``: sends what it is told to, or what ``start:`` says, and runs until every thread has ended."""

from __future__ import annotations

import math
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
from organism.errors import ConfigurationError
from organism.facts import WarningRaised
from organism.organism import Organism

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from organism.cli.streams import Streams
    from organism.facts import Fact
    from organism.settings import Settings


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
    journal: Annotated[str | None, Parameter(metavar="URL", help="As --set journal=URL.")] = None,
    resume: Annotated[bool, Parameter(show=False)] = False,
    timeout: Annotated[float | None, Parameter(metavar="SECONDS", help="Cancel what still runs after that.")] = None,
    seed: Annotated[
        int | None, Parameter(metavar="N", help="Names threads and spreads retries the same each time.")
    ] = None,
    quiet: Annotated[bool, Parameter(help="Only the replies.")] = False,
    json: Annotated[bool, Parameter(help="One JSON object a root thread, in a line.")] = False,
    verbose: Annotated[bool, Parameter(name=("--verbose", "-v"), help="Log every thread that ends.")] = False,
    debug: Debug = False,
    streams: Given,
) -> int:
    """Runs the organism until every thread has ended.

    Replies and a table of what was spent go to standard output, progress, warnings and logs to standard error.
    Exits with 0; 1 if a thread failed, was cancelled or stopped, or the timeout was reached; else 3 if one was exhausted;
    2 if the file or the command line is wrong; 130 on Ctrl-C.
    """
    if resume:
        raise ConfigurationError(["--resume is not available yet: it needs a journal that outlives the process"])
    if timeout is not None and not 0 < timeout < math.inf:
        raise ConfigurationError([f"--timeout {timeout:g}: must be a number of seconds above 0"])
    labels = pairs("--label", label)
    settings = _settings(file, pairs("--set", set), journal, streams)
    orders = Orders(
        messages=messages(settings, to=to, send=send, stdin=streams.input),
        labels=labels,
        timeout=timeout,
        json=json,
        quiet=quiet,
    )
    organism = Organism.of(settings, seed=seed)
    with logging_to(streams, verbose=verbose, debug=debug):
        return _watched(organism, orders, streams)


def _settings(file: Path, sets: Mapping[str, str], journal: str | None, streams: Streams) -> Settings:
    if journal is None:
        return checked(file, sets, streams)
    try:
        return checked(file, {**sets, "journal": journal}, streams)
    except ConfigurationError as error:
        raise ConfigurationError([_as_typed(mistake) for mistake in error.mistakes]) from error


def _as_typed(mistake: str) -> str:
    return f"--journal{rest}" if (rest := mistake.removeprefix("--set journal")) != mistake else mistake


def _watched(organism: Organism, orders: Orders, streams: Streams) -> int:
    """Runs it, with its progress and its warnings on standard error unless it is to be quiet."""
    with ExitStack() as stack:
        # What handlers print is no result.
        stack.enter_context(redirect_stdout(streams.err))
        display = None
        if not orders.quiet:
            board = Board()
            for note in organism.settings.notes:
                streams.note(f"note: {note}")
            stack.callback(organism.subscribe(_teller(board, streams)))
            if streams.err.isatty():
                display = stack.enter_context(LiveBoard(board, streams.err, now=time.time))
                streams.display = display
                stack.callback(setattr, streams, "display", None)
        return anyio.run(conduct, organism, orders, streams, display, backend=organism.settings.runtime)


def _teller(board: Board, streams: Streams) -> Callable[[Fact], None]:
    def tell(fact: Fact) -> None:
        board.apply(fact)
        for step in fact.steps:
            if isinstance(step, WarningRaised):
                streams.note(warning_line(step, board.handler_of(step.thread)))

    return tell
