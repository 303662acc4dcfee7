"""Damaged threads: a command that reads many leaves them out, names them below what it prints, and exits with 5."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from organism.cli.codes import COMPLETED, DAMAGED
from organism.cli.text import one_line
from organism.errors import JournalError

if TYPE_CHECKING:
    from organism.cli.streams import Streams


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
        """Names what is damaged; gives the exit code."""
        for problem in self.problems:
            streams.note(f"error: {one_line(problem)}")
        return DAMAGED if self.problems else COMPLETED
