"""Paths in a configuration: relative to its file, and looked at before anything is started."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from organism.config.places import shown
from organism.config.shapes import BROKEN, Broken, Reading, Text
from organism.names import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from organism.config.tree import Node

_LONGEST: Final = 500
"""Characters of a path that are told: its end says which it is."""


@frozen
class FilePath(Text):
    """The path of a file that is there; relative to the configuration. It is not read."""

    wanted: str = "the path of a file"

    def read(self, node: Node, reading: Reading) -> Path | Broken | None:
        """The path."""
        text = super().read(node, reading)
        if text is None or text is BROKEN:
            return text
        path = located(text, reading.folder)
        return path if is_file(path) else reading.wrong(node, f"there is no file {shown(text)}")


@frozen
class FolderPath(Text):
    """The path of a folder, which need not be there yet; relative to the configuration."""

    wanted: str = "the path of a folder"

    def read(self, node: Node, reading: Reading) -> Path | Broken | None:
        """The path."""
        return _yet_to_be(super().read(node, reading), node, reading, is_file, "is a file, not a folder")


@frozen
class NewFilePath(Text):
    """The path of a file, which need not be there yet, as its folder must; relative to the configuration."""

    wanted: str = "the path of a file"

    def read(self, node: Node, reading: Reading) -> Path | Broken | None:
        """The path."""
        path = _yet_to_be(super().read(node, reading), node, reading, is_folder, "is a folder, not a file")
        if isinstance(path, Path) and not is_folder(path.parent):
            return reading.wrong(
                node,
                f"there is no folder '{printable(str(path.parent), at_most=_LONGEST)}': make it, or name another file",
            )
        return path


def _yet_to_be(
    text: Any, node: Node, reading: Reading, is_other: Callable[[Path], bool], problem: str
) -> Path | Broken | None:
    """The path of what may be made there, but for what is there already and something else."""
    if text is None or text is BROKEN:
        return text
    if "\0" in text:
        return reading.wrong(node, f"{shown(text)} holds a zero byte, which no path can")
    path = located(text, reading.folder)
    return reading.wrong(node, f"{shown(text)} {problem}") if is_other(path) else path


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
