"""What the commands share that run an organism: their options, its settings, and a run that people can watch."""

from __future__ import annotations

import math
import shlex
import time
from contextlib import ExitStack, contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Annotated, Final

import anyio
from attrs import frozen
from cyclopts import Parameter

from organism.cli.arguments import DEFAULT_FILE, Sets, pairs
from organism.cli.board import Board
from organism.cli.budget_warnings import warning_lines
from organism.cli.check import checked
from organism.cli.conduct import GRACE, LAST, Fork, Orders, conduct
from organism.cli.interrupts import Interrupts
from organism.cli.live import LiveBoard
from organism.cli.log_lines import logging_to
from organism.cli.text import one_line
from organism.config import account_names
from organism.errors import ConfigurationError
from organism.settings import NOTHING

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

    from organism.cli.streams import Streams
    from organism.organism import Organism
    from organism.record.facts import Fact
    from organism.settings import Settings, StartMessage


ANSWERED: Final = ("ID", "--send", "X")
"""What is typed behind ``answer``."""
Accounts = Annotated[
    tuple[str, ...],
    Parameter(
        allow_leading_hyphen=True,
        json_list=False,
        metavar="KIND=NAME",
        help="An account that the threads are charged to; may be repeated.",
    ),
]


@frozen(kw_only=True)
class Options:
    """What the command line says over an organism's file, and how much of a run is shown."""

    set: Sets = ()
    journal: Annotated[str | None, Parameter(metavar="URL", help="The journal; the same as --set journal=URL.")] = None
    quiet: Annotated[bool, Parameter(help="Print only the replies.")] = False
    verbose: Annotated[bool, Parameter(name=("--verbose", "-v"), help="Log every thread that ends.")] = False
    grace: Annotated[
        float,
        Parameter(
            metavar="SECONDS",
            help=f"How long running work may take to finish after Ctrl-C, SIGTERM or SIGHUP; {GRACE:g} by default.",
        ),
    ] = GRACE

    def check(self) -> None:
        """Raises ConfigurationError for a grace time that is no number of seconds."""
        if not 0 <= self.grace < math.inf:
            raise ConfigurationError([f"--grace {self.grace:g}: must be a number of seconds, 0 or more"])

    @property
    def pairs(self) -> dict[str, str]:
        """What ``--set`` says. Raises ConfigurationError for what is no KEY=VALUE."""
        return pairs("--set", self.set)

    @property
    def named(self) -> str | None:
        """The journal that the command line names, if any: by ``--journal``, or by ``--set journal=``."""
        return self.journal or self.pairs.get("journal")

    def settings(self, file: Path, streams: Streams) -> Settings:
        """The settings of a file with what the command line says over it. Raises ConfigurationError with every mistake."""
        if self.journal is None:
            return checked(file, self.pairs, streams)
        return checked(file, {**self.pairs, "journal": self.journal}, streams, written=by_journal)

    def typed(self, command: str, file: Path, *words: str) -> str:
        """A command that runs the same file on the same journal, as somebody would type it."""
        return _typed([command, *([] if file == DEFAULT_FILE else [str(file)]), *words, *self._journal])

    def typed_to_read(self, command: str, file: Path, *words: str) -> str:
        """The same of a command that takes its file by an option, as those do that read a journal."""
        return _typed([command, *words, *([] if file == DEFAULT_FILE else ["--file", str(file)]), *self._journal])

    @property
    def _journal(self) -> tuple[str, ...]:
        return ("--journal", self.named) if self.named else ()


@frozen(kw_only=True)
class RunOptions(Options):
    """The options of a run that comes to an end by itself."""

    timeout: Annotated[float | None, Parameter(metavar="SECONDS", help="Cancel what still runs after this time.")] = (
        None
    )
    json: Annotated[bool, Parameter(help="JSON lines: one object per root thread.")] = False

    def check(self) -> None:
        """Raises ConfigurationError for a timeout or a grace time that is no number of seconds."""
        super().check()
        if self.timeout is not None and not 0 < self.timeout < math.inf:
            raise ConfigurationError([f"--timeout {self.timeout:g}: must be a number of seconds above 0"])

    def orders(
        self,
        file: Path,
        *,
        messages: tuple[StartMessage, ...] = (),
        labels: Mapping[str, str] = NOTHING,
        accounts: Mapping[str, str] = NOTHING,
        resume: bool = False,
        fork: Fork | None = None,
    ) -> Orders:
        """Orders for a run with these options."""
        return Orders(
            messages=messages,
            labels=labels,
            accounts=accounts,
            again=self.typed("resume", file),
            inbox=self.typed_to_read("inbox", file),
            answer=self.typed_to_read("answer", file, *ANSWERED),
            resume=resume,
            fork=fork,
            timeout=self.timeout,
            grace=self.grace,
            json=self.json,
            quiet=self.quiet,
        )

    def run(self, organism: Organism, orders: Orders, streams: Streams, *, debug: bool) -> int:
        """Runs it; gives the exit code. Progress, warnings and logs go to standard error."""
        with logging_to(streams, verbose=self.verbose, debug=debug):
            return _watched(organism, orders, streams)


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


def by_journal(key: str) -> str:
    """How a key stands on a command line that has ``--journal``."""
    return "--journal" if key == "journal" else f"--set {key}"


def _typed(words: Sequence[str]) -> str:
    return one_line(shlex.join(["organism", *words]))


def _watched(organism: Organism, orders: Orders, streams: Streams) -> int:
    """Runs it, with its progress and its warnings on standard error unless it is to be quiet."""
    with ExitStack() as stack:
        board = stack.enter_context(telling(organism, streams, quiet=orders.quiet, drafts=not orders.json))
        display = None
        if board is not None:
            display = stack.enter_context(LiveBoard(board, streams.err, now=time.time))
            streams.display = display
            stack.callback(setattr, streams, "display", None)
        interrupts = stack.enter_context(Interrupts(streams.clear, at_most=orders.grace + LAST))
        code = anyio.run(conduct, organism, orders, streams, display, interrupts, backend=organism.settings.runtime)
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


OfRun = Annotated[RunOptions, Parameter(name="*")]
"""The options of a run among those of a command."""
PLAIN: Final = RunOptions()
