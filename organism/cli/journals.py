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
from attrs import frozen
from cyclopts import Parameter

from organism.cli.text import one_line
from organism.config.yamlloader import Loader, unreadable
from organism.errors import ConfigurationError
from organism.journal import Lock, open_journal, owner_of
from organism.journal.lock import identity

if TYPE_CHECKING:
    from collections.abc import Generator

    from organism.journal import Journal

OfFile = Annotated[
    Path, Parameter(name="--file", metavar="FILE", help="The organism's file; organism.yaml by default.")
]
OfJournal = Annotated[
    str | None,
    Parameter(
        name="--journal",
        metavar="URL",
        help="The journal, as in sqlite:organism.db; by default the one that ORGANISM_JOURNAL or the file names.",
    ),
]
OfThread = Annotated[
    str,
    Parameter(name="THREAD", help="A thread's id or a unique prefix of it, or the name of a conversation."),
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


def place_of(file: Path, journal: str | None) -> Place:
    """The journal that is meant. Raises ConfigurationError where the file cannot be read, or is no YAML."""
    if journal is not None:
        return Place(journal, file.parent, "--journal")
    variable = os.environ.get(_VARIABLE)
    if variable is not None:
        return Place(variable, file.parent, _VARIABLE)
    written = _written(file)
    return Place(_MEMORY if written is None else written, file.parent, str(file))


@contextmanager
def opened(file: Path, journal: str | None, *, readonly: bool = True) -> Generator[Journal]:
    """The journal that is meant, open while the block is; owned meanwhile where it is to be changed.

    Raises ConfigurationError where there is none, JournalError where it cannot be opened, or another process owns it.
    """
    place = place_of(file, journal)
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


def check_there(file: Path, journal: str | None) -> None:
    """Raises what is wrong with a journal that is not there, does not last, or cannot be read. For commands that take the file without
    an option.
    """
    if journal is None and _VARIABLE not in os.environ and not is_there(file):
        raise ConfigurationError([f"{file}: there is no such file: name another one, or a journal with --journal"])
    with opened(file, journal):
        pass


def is_owned(file: Path, journal: str | None) -> bool:
    """Whether a process works on the journal that is meant."""
    return owner_of(place_of(file, journal).path) is not None


def _check(place: Place, *, new: bool) -> None:
    kind, _, path = place.url.partition(":")
    if place.url == _MEMORY:
        problem = (
            "ends with the process that keeps it, so there is nothing to read: give the file a journal that lasts, as in "
            "'journal: sqlite:organism.db', or name one with --journal"
        )
    elif kind not in {"sqlite", "jsonl"} or not path:
        problem = "is no journal; there are sqlite:PATH and jsonl:DIR"
    elif new or is_there(place.path):
        return
    else:
        problem = f"is not there yet: {one_line(str(place.path))} is missing; 'organism run' makes it"
    raise ConfigurationError([f"{one_line(place.said)}: journal '{place}' {problem}"])


def is_there(path: Path) -> bool:
    """Whether anything is there, or nobody may look: opening it says so."""
    try:
        return path.exists()
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
        about = getattr(error, "problem", None) or "is no YAML"
        raise ConfigurationError([f"{file}{where}: {about}; 'organism check' says more"]) from None
    for key, value in root.value if isinstance(root, yaml.MappingNode) else ():
        if key.value == _KEY and isinstance(value, yaml.ScalarNode):
            return str(value.value)
    return None
