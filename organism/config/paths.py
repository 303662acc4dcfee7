"""Paths in a configuration: relative to its file, and looked at before anything is started."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import frozen

from organism.config.places import shown
from organism.config.scalars import Wrong
from organism.config.shapes import Text
from organism.names import printable

if TYPE_CHECKING:
    from organism.config.shapes import Reading
    from organism.config.tree import Scalar

_LONGEST: Final = 500
"""Characters of a path that are told: its end says which it is."""


@frozen
class FilePath(Text):
    """The path of a file that is there; relative to the configuration. It is not read."""

    wanted: str = "the path of a file"

    def _said(self, text: str, _: Scalar, reading: Reading, /) -> Path | Wrong:
        path = located(text, reading.folder)
        return path if is_file(path) else Wrong(f"there is no file {shown(text)}")


@frozen
class FolderPath(Text):
    """The path of a folder, which need not be there yet; relative to the configuration."""

    wanted: str = "the path of a folder"

    def _said(self, text: str, _: Scalar, reading: Reading, /) -> Path | Wrong:
        path = located(text, reading.folder)
        return Wrong(f"{shown(text)} is a file, not a folder") if is_file(path) else possible(text, path)


@frozen
class NewFilePath(Text):
    """The path of a file, which need not be there yet, as its folder must; relative to the configuration."""

    wanted: str = "the path of a file"

    def _said(self, text: str, _: Scalar, reading: Reading, /) -> Path | Wrong:
        path = located(text, reading.folder)
        if is_folder(path):
            return Wrong(f"{shown(text)} is a folder, not a file")
        if "\0" in text or is_folder(path.parent):
            return possible(text, path)
        return Wrong(
            f"there is no folder '{printable(str(path.parent), at_most=_LONGEST)}': make it, or name another file"
        )


def possible(text: str, path: Path) -> Path | Wrong:
    """The path that a text names; not of one that no path can be."""
    return Wrong(f"{shown(text)} holds a zero byte, which no path can") if "\0" in text else path


def located(text: str, folder: Path | None) -> Path:
    """A path of the configuration: relative to its folder, where it has one."""
    return Path(text) if folder is None else folder / text


def is_file(path: Path) -> bool:
    """Whether there is a file; what can be no path is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # longer than a path may be, or with a zero byte
        return False


def is_folder(path: Path) -> bool:
    """Whether there is a folder; what can be no path is none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):  # as above
        return False
