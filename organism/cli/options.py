"""What the command line says over an organism's file, and how a run is to go: options that several commands share."""

from __future__ import annotations

import math
import os
import shlex
from contextlib import redirect_stdout
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

from attrs import frozen
from cyclopts import Parameter

from organism import config
from organism.cli.arguments import DEFAULT_FILE, Debug, OfJournal, Sets, pairs
from organism.cli.text import one_line
from organism.errors import ConfigurationError
from organism.models.readiness import BackendChecks

if TYPE_CHECKING:
    from pathlib import Path

    from organism.cli.streams import Streams
    from organism.config.backends import Checks
    from organism.settings import Settings

GRACE: Final = 5.0
"""Seconds that what runs has to end when the process is interrupted, where nobody says otherwise."""
OF_GRACE: Final = Parameter(
    metavar="SECONDS",
    help=f"How long running work may take to finish after Ctrl-C, SIGTERM or SIGHUP; {GRACE:g} by default.",
)
"""What ``--grace`` says of itself."""


ANSWERED: Final = ("ID", "--send", "X")
"""What is typed behind ``answer``."""


@frozen(kw_only=True)
class Over:
    """What the command line says over an organism's file."""

    set: Sets = ()
    debug: Debug = False

    @property
    def pairs(self) -> dict[str, str]:
        """Keys of the file, and what is said over them. Raises ConfigurationError for what is no KEY=VALUE."""
        return pairs("--set", self.set)

    def settings(self, file: Path, streams: Streams, *, checks: Checks | None = None) -> Settings:
        """The settings of a file with this and the environment over it; without ``checks`` its models may lack keys, libraries and prices.

        What the user's modules print while they are imported goes to standard error. Raises ConfigurationError with every mistake.
        """
        with redirect_stdout(streams.err):
            return config.load(file, set=self.pairs, environ=dict(os.environ), written=self._written, checks=checks)

    def checked(self, file: Path, streams: Streams) -> Settings:
        """The same, the models checked as well."""
        return self.settings(file, streams, checks=BackendChecks(dict(os.environ), datetime.now(UTC)))

    def _written(self, key: str) -> str:
        """How a key stands on the command line."""
        return f"--set {key}"


@frozen(kw_only=True)
class OverWithJournal(Over):
    """The same of commands that may be told which journal is meant."""

    journal: OfJournal = None

    @property
    def pairs(self) -> dict[str, str]:
        """The same, with the journal."""
        return super().pairs | ({} if self.journal is None else {"journal": self.journal})

    def _written(self, key: str) -> str:
        return "--journal" if key == "journal" and self.journal is not None else super()._written(key)

    def typed(self, command: str, file: Path, *words: str) -> str:
        """A command for the same file and the same journal, as somebody would type it."""
        journal = self.pairs.get("journal")
        of_file = () if file == DEFAULT_FILE else ("--file", str(file))
        of_journal = ("--journal", journal) if journal else ()
        return one_line(shlex.join(["organism", command, *words, *of_file, *of_journal]))


def check_grace(grace: float) -> None:
    """Raises ConfigurationError for what is no number of seconds."""
    if not 0 <= grace < math.inf:
        raise ConfigurationError([f"--grace {grace:g}: must be a number of seconds, 0 or more"])


@frozen(kw_only=True)
class Options(OverWithJournal):
    """The options of what runs an organism. Raises ConfigurationError for times that are no number of seconds."""

    quiet: Annotated[bool, Parameter(help="Print only the replies.")] = False
    verbose: Annotated[bool, Parameter(name=("--verbose", "-v"), help="Log every thread that ends.")] = False
    grace: Annotated[float, OF_GRACE] = GRACE
    debug: Debug = False  # again: it is the last that help names

    def __attrs_post_init__(self) -> None:
        check_grace(self.grace)


@frozen(kw_only=True)
class RunOptions(Options):
    """The options of a run that comes to an end by itself."""

    timeout: Annotated[float | None, Parameter(metavar="SECONDS", help="Cancel what still runs after this time.")] = (
        None
    )
    json: Annotated[bool, Parameter(help="JSON lines: one object per root thread.")] = False
    debug: Debug = False  # as above

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.timeout is not None and not 0 < self.timeout < math.inf:
            raise ConfigurationError([f"--timeout {self.timeout:g}: must be a number of seconds above 0"])


OfFile = Annotated[Over, Parameter(name="*")]
"""The options of a command among those that it has by itself."""
OfRun = Annotated[RunOptions, Parameter(name="*")]
NOTHING_OVER: Final = Over()
PLAIN: Final = RunOptions()
