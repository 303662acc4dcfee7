"""Prompts and wordings: Jinja2 text, inline or in a file of its own, read and parsed now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen
from jinja2 import TemplateSyntaxError, meta, nodes
from jinja2.sandbox import SandboxedEnvironment

from organism.config.places import shown
from organism.config.shapes import BROKEN, Broken, Reading, Text, one_of
from organism.names import suggestion

if TYPE_CHECKING:
    from collections.abc import Callable

    from organism.config.tree import Node

MAX_BYTES: Final = 256 * 1024
"""How long a file of text may be."""

_GUARDS: Final = {"defined", "undefined", "default", "d"}
"""Tests and filters that bear a name that is not there."""
_SUFFIXES: Final = (".md", ".txt", ".j2")
_SYNTAX: Final = SandboxedEnvironment()
"""Only parses; it holds no state of an organism."""


@frozen
class Wording(Text):
    """A text in Jinja2.

    One line that names a file, or ends in .md, .txt or .j2, is the path of a file, relative to the configuration; any
    other text is the wording itself.
    """

    wanted: str = "a text or the path of a file"
    names: tuple[str, ...] = ()
    """What it may name; nothing is said of names where this is empty."""

    def before_line(self, node: Node, reading: Reading) -> str:
        """What is written before the number of a line of this wording: its file, where it has one."""
        text = super().read(node, reading)
        path = _path(text, reading.folder) if isinstance(text, str) else None
        return f"{path}:" if path else "line "

    def read(self, node: Node, reading: Reading) -> Any:
        """The text: of the file, where one is named."""
        text = super().read(node, reading)
        if not isinstance(text, str):
            return text
        path = _path(text, reading.folder)
        if path is not None:
            found = _content(path)
            if isinstance(found, _Unreadable):
                return reading.wrong(node, f"{shown(text)} {found.problem}")
            text = found
        line = f"{path}:" if path else "line "
        problem = _mistake(text, line) or (_unknown_name(text, self.names, line) if self.names else None)
        return text if problem is None else reading.wrong(node, problem)


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
        return _yet_to_be(super().read(node, reading), node, reading, is_file, "is a file, and no folder")


@frozen
class NewFilePath(Text):
    """The path of a file, which need not be there yet; relative to the configuration."""

    wanted: str = "the path of a file"

    def read(self, node: Node, reading: Reading) -> Path | Broken | None:
        """The path."""
        return _yet_to_be(super().read(node, reading), node, reading, is_folder, "is a folder, and no file")


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


@frozen
class _Unreadable:
    problem: str


def _path(text: str, folder: Path | None) -> Path | None:
    """The file that a text names, or ``None`` where it is a wording itself."""
    if "\n" in text or "{{" in text or "{%" in text:
        return None
    path = located(text.strip(), folder)
    return path if text.strip().endswith(_SUFFIXES) or is_file(path) else None


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


def _content(path: Path) -> str | _Unreadable:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            return _Unreadable(f"is longer than {MAX_BYTES} bytes")
        return data.decode("utf-8-sig")
    except FileNotFoundError:
        return _Unreadable(f"is no file that is there; a line that ends in {one_of(_SUFFIXES)} is a path")
    except UnicodeDecodeError as error:
        return _Unreadable(f"is no UTF-8 at byte {error.start}")
    except (OSError, ValueError) as error:
        return _Unreadable(f"cannot be read: {getattr(error, 'strerror', None) or error}")


def _mistake(text: str, line: str) -> str | None:
    """What is wrong with the Jinja2 syntax of a text; names that nothing defines show when it is rendered.

    ``line`` is what is written before a line's number.
    """
    try:
        tree = _SYNTAX.parse(text)
        for node in tree.find_all(
            (nodes.Filter, nodes.Test, nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)
        ):
            problem = _unknown(node)
            if problem is not None:
                return f"{line}{node.lineno}: {problem}"
    except TemplateSyntaxError as error:
        return f"{line}{error.lineno}: {(error.message or '').rstrip('.')}"
    except RecursionError:
        return f"{line}1: nested too deep for Jinja2"
    return None


def line_of(name: str, text: str) -> int | None:
    """The first line of a wording that needs this name; ``None`` where it gets by without, as by ``is defined``."""
    tree = _SYNTAX.parse(text)
    if name not in meta.find_undeclared_variables(tree):
        return None
    guards = [each for each in tree.find_all((nodes.Test, nodes.Filter)) if each.name in _GUARDS]
    if any(isinstance(each.node, nodes.Name) and each.node.name == name for each in guards):
        return None
    return min(
        (each.lineno for each in tree.find_all(nodes.Name) if each.name == name and each.ctx == "load"), default=1
    )


def _unknown_name(text: str, names: tuple[str, ...], line: str) -> str | None:
    """The first name in a wording that nothing defines."""
    undefined = meta.find_undeclared_variables(_SYNTAX.parse(text)) - set(names) - set(_SYNTAX.globals)
    needed = [(at, name) for name in undefined if (at := line_of(name, text)) is not None]
    if not needed:
        return None
    at, name = min(needed)
    return f"{line}{at}: nothing is called {shown(name)} here{suggestion(name, names)}; there is {one_of(names)}"


def _unknown(node: nodes.Node) -> str | None:
    """What would fail only when the text is rendered: filters and tests that there are not, and other files."""
    match node:
        case nodes.Filter(name=name):
            return (
                None
                if name in _SYNTAX.filters
                else f"there is no filter {shown(name)}{suggestion(name, _SYNTAX.filters)}"
            )
        case nodes.Test(name=name):
            return None if name in _SYNTAX.tests else f"there is no test {shown(name)}{suggestion(name, _SYNTAX.tests)}"
        case _:
            return "it cannot take in another file: write it in one"
