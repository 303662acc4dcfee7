"""Prompts and wordings: Jinja2 text, inline or in a file of its own, read and parsed now (by ``templates``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from organism.config.paths import is_file, located
from organism.config.places import shown
from organism.config.scalars import Wrong
from organism.config.shapes import Text, one_of
from organism.errors import reason_of

if TYPE_CHECKING:
    from pathlib import Path

    from organism.config.shapes import Reading
    from organism.config.tree import Scalar

MAX_BYTES: Final = 256 * 1024
"""How long a file of text may be."""

_SUFFIXES: Final = (".md", ".txt", ".j2")


@frozen
class Template:
    """A text in Jinja2. ``line`` is what is written before the number of one of its lines: the path of its file, where it has one."""

    text: str
    line: str
    sound: bool
    """Whether all that it names is there: else it needs no trial."""

    def line_of(self, name: str) -> str | None:
        """The first line that needs this name, as it is told; ``None`` where the text gets by without it."""
        from organism.config.templates import line_of

        at = line_of(name, self.text)
        return None if at is None else f"{self.line}{at}"


@frozen
class Wording(Text):
    """A text in Jinja2, as a :class:`Template`. ``names`` is what it may name; ``prompt``: it is an agent's, whose names have parts.

    One line that names a file, or ends in .md, .txt or .j2, is the path of a file, relative to the configuration; any
    other text is the wording itself.
    """

    wanted: str = "a text or the path of a file"
    names: tuple[str, ...] = field(kw_only=True)
    prompt: bool = field(default=False, kw_only=True)

    def _said(self, text: str, scalar: Scalar, reading: Reading, /) -> Any:
        """The template; a Wrong where nothing can be made of it."""
        path = _path(text, reading.folder)
        content = text if path is None else _content(path)
        if isinstance(content, Wrong):
            return Wrong(f"{shown(text)} {content.problem}")
        from organism.config.templates import wrong_in

        line = f"{path}:" if path else "line "
        problems = wrong_in(content, self.names, line, prompt=self.prompt)
        if isinstance(problems, Wrong):
            return problems
        for problem in problems:
            reading.wrong(scalar, problem)
        return Template(content, line, sound=not problems)


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
        return Wrong(f"cannot be read: {reason_of(error)}")
