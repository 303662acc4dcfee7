"""Which journal a command means, and opening it: the file's key ``journal``, or what ``--journal`` says.

Of the file only that key is read: whoever reads a journal needs neither the handlers nor the payloads of the organism.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Annotated, Final

import yaml
from attrs import define, field, frozen
from cyclopts import Parameter

from organism.cli.arguments import DEFAULT_FILE, Debug, File, OfJournal
from organism.cli.exit_codes import COMPLETED, DAMAGED
from organism.cli.text import one_line
from organism.config.yamlloader import Loader, unreadable
from organism.errors import ConfigurationError, JournalError
from organism.files import is_there
from organism.journal import Lock, open_journal, owner_of
from organism.journal.lock import identity

if TYPE_CHECKING:
    from collections.abc import Generator

    from organism.cli.streams import Streams
    from organism.journal import Journal


@define(eq=False)
class Damage:
    """What of a journal could not be read: a line each in ``problems``. As a block, it takes what is raised in there as one."""

    problems: list[str] = field(factory=list[str])

    def __bool__(self) -> bool:
        return bool(self.problems)

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if not isinstance(error, JournalError):
            return False
        self.problems.append(str(error))
        return True

    def told(self, streams: Streams) -> int:
        """Names what is damaged; returns the exit code."""
        for problem in self.problems:
            streams.note(f"error: {one_line(problem)}")
        return DAMAGED if self.problems else COMPLETED


OfThread = Annotated[
    str,
    Parameter(
        name="THREAD",
        help="A thread's id or a unique prefix of it, the name of a conversation, or 'latest': the one in which something happened last.",
    ),
]
OrLatest = Annotated[
    str | None,
    Parameter(
        name="THREAD",
        help="A thread's id or a unique prefix of it, or the name of a conversation; by default the one in which something happened last.",
    ),
]

_KEY: Final = "journal"
_VARIABLE: Final = "ORGANISM_JOURNAL"
_MOST_BYTES: Final = 256 * 1024
_MEMORY: Final = "memory:"


@frozen
class Place:
    """Where a journal is: its URL as it was written, the folder its path is relative to, and who said so."""

    url: str
    folder: Path
    said: str

    @property
    def path(self) -> Path:
        """The file of ``sqlite:``, the folder of ``jsonl:``."""
        return self.folder / self.url.partition(":")[2]

    def __str__(self) -> str:
        return one_line(self.url)


@frozen(kw_only=True)
class Where:
    """How the command line names a journal: the options of every command that reads one."""

    file: File = DEFAULT_FILE
    journal: OfJournal = None
    debug: Debug = False

    @property
    def place(self) -> Place:
        """The journal that is meant. Raises ConfigurationError where the file cannot be read, or is no YAML."""
        if self.journal is not None:
            return Place(self.journal, self.file.parent, "--journal")
        variable = os.environ.get(_VARIABLE)
        if variable is not None:
            return Place(variable, self.file.parent, _VARIABLE)
        written = _written(self.file)
        return Place(_MEMORY if written is None else written, self.file.parent, str(self.file))

    @property
    def is_owned(self) -> bool:
        """Whether a process works on the journal."""
        return owner_of(self.place.path) is not None

    @contextmanager
    def opened(self, *, readonly: bool = True) -> Generator[Journal]:
        """The journal, open while the block is; owned meanwhile where it is to be changed.

        Raises ConfigurationError where there is none, JournalError where it cannot be opened, or another process owns it.
        """
        place = self.place
        _check(place, new=not readonly)
        with ExitStack() as stack:
            lock = None if readonly else Lock(place.path, identity(time()))
            if lock is not None:
                lock.take()
                stack.callback(lock.release)
            try:
                found = open_journal(place.url, folder=place.folder, readonly=readonly)
            except BaseException:
                if lock is not None:
                    lock.give_up()
                raise
            stack.callback(found.close)
            yield found

    def check_there(self) -> None:
        """Raises what is wrong with a journal that is not there, does not last, or cannot be read. For commands that take the file
        without an option.
        """
        if self.journal is None and _VARIABLE not in os.environ and not may_be_there(self.file):
            problem = "there is no such file: name another one, or a journal with --journal"
            raise ConfigurationError([f"{self.file}: {problem}"])
        with self.opened():
            pass


InJournal = Annotated[Where, Parameter(name="*")]
"""These options among those of a command."""
HERE: Final = Where()


def _check(place: Place, *, new: bool) -> None:
    kind, _, path = place.url.partition(":")
    if place.url == _MEMORY:
        problem = (
            f"journal '{place}' ends with its process, so there is nothing to read: give the file a journal that lasts, as in "
            "'journal: sqlite:organism.db', or name one with --journal"
        )
    elif kind not in {"sqlite", "jsonl"} or not path:
        problem = f"'{place}' is not a journal that lasts; use 'sqlite:PATH' or 'jsonl:DIR'"
    elif new or may_be_there(place.path):
        return
    else:
        problem = (
            f"journal '{place}' does not exist yet: {one_line(str(place.path))} is missing; 'organism run' creates it"
        )
    raise ConfigurationError([f"{one_line(place.said)}: {problem}"])


def may_be_there(path: Path) -> bool:
    """Whether anything is there, or nobody may look: opening it says so."""
    try:
        return is_there(path)
    except OSError:
        return True


def _written(file: Path) -> str | None:
    """What the file says under its key ``journal``; ``None`` where it says nothing."""
    try:
        with file.open("rb") as stream:
            text = stream.read(_MOST_BYTES).decode("utf-8-sig")
        root = Loader(text).get_single_node()
    except FileNotFoundError:
        raise ConfigurationError(
            [f"{file}: there is no such file: name the organism's file with --file, or its journal with --journal"]
        ) from None
    except (OSError, ValueError, OverflowError) as error:  # OverflowError: an escape beyond Unicode
        raise ConfigurationError([f"{file}: {unreadable(file, error)}"]) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}:{mark.column + 1}" if isinstance(mark, yaml.Mark) else ""
        about = getattr(error, "problem", None) or "is not YAML"
        raise ConfigurationError([f"{file}{where}: {about}; 'organism check' says more"]) from None
    for key, value in root.value if isinstance(root, yaml.MappingNode) else ():
        if key.value == _KEY and isinstance(value, yaml.ScalarNode):
            return str(value.value)
    return None
