"""Prompts and wordings: Jinja2 text, inline or in a file of its own, read and parsed now (by ``templates``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from organism.config.paths import is_file, located
from organism.config.places import shown
from organism.config.scalars import Wrong
from organism.config.shapes import BROKEN, Reading, Text, one_of

if TYPE_CHECKING:
    from pathlib import Path

    from organism.config.tree import Node

MAX_BYTES: Final = 256 * 1024
"""How long a file of text may be."""

_SUFFIXES: Final = (".md", ".txt", ".j2")


@frozen
class Wording(Text):
    """A text in Jinja2.

    One line that names a file, or ends in .md, .txt or .j2, is the path of a file, relative to the configuration; any
    other text is the wording itself.
    """

    wanted: str = "a text or the path of a file"
    names: tuple[str, ...] = field(kw_only=True)
    """What it may name."""

    def before_line(self, node: Node, reading: Reading) -> str:
        """What is written before the number of a line of this wording: its file, where it has one."""
        text = super().read(node, reading)
        path = _path(text, reading.folder) if isinstance(text, str) else None
        return f"{path}:" if path else "line "

    def read(self, node: Node, reading: Reading) -> Any:
        """The text: of the file, where one is named. BROKEN where nothing can be said of it."""
        text = super().read(node, reading)
        if not isinstance(text, str):
            return text
        path = _path(text, reading.folder)
        if path is not None:
            found = _content(path)
            if isinstance(found, Wrong):
                return reading.wrong(node, f"{shown(text)} {found.problem}")
            text = found
        from organism.config.templates import wrong_in

        problems, understood = wrong_in(text, self.names, f"{path}:" if path else "line ")
        for problem in problems:
            reading.wrong(node, problem)
        return text if understood else BROKEN


def _path(text: str, folder: Path | None) -> Path | None:
    """The file that a text names, or ``None`` where it is a wording itself."""
    if "\n" in text or "{{" in text or "{%" in text:
        return None
    path = located(text.strip(), folder)
    return path if text.strip().endswith(_SUFFIXES) or is_file(path) else None


def _content(path: Path) -> str | Wrong:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            return Wrong(f"is longer than {MAX_BYTES} bytes")
        return data.decode("utf-8-sig")
    except FileNotFoundError:
        return Wrong(f"is not a file that is there; a line that ends in {one_of(_SUFFIXES)} is a path")
    except UnicodeDecodeError as error:
        return Wrong(f"is not UTF-8 at byte {error.start}")
    except (OSError, ValueError) as error:
        return Wrong(f"cannot be read: {getattr(error, 'strerror', None) or error}")
