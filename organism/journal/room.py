"""Folders of a journal: made where they are missing, but not the whole way to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.errors import JournalError

if TYPE_CHECKING:
    from pathlib import Path


def make_room(path: Path) -> None:
    """Makes the folder in which the journal at ``path`` stands, where it is missing.

    Raises JournalError where the folder that it would be made in is missing as well: that path was hardly meant. OSError is as it comes.
    """
    try:
        path.parent.mkdir(exist_ok=True)
    except FileNotFoundError:
        missing = path.parent.parent
        raise JournalError(
            f"{path} cannot be made: there is no folder {missing}; create it, or choose another place for the journal"
        ) from None


def make_folder(path: Path) -> None:
    """Makes the folder ``path`` that a journal is, and the one in which it stands. Raises as :func:`make_room`."""
    if path.is_dir():
        return
    path = path.resolve()  # a symbolic link may lead to a folder that is not there yet
    try:
        path.mkdir(exist_ok=True)
    except FileNotFoundError:
        make_room(path)
        path.mkdir(exist_ok=True)
