"""Help as plain text in two columns: for pipes, files, and whoever reads with a machine. A terminal is shown boxes."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from organism.cli.text import wrapped

if TYPE_CHECKING:
    from cyclopts.help import HelpPanel
    from rich.console import Console, ConsoleOptions

_INDENT: Final = 2
_COMMANDS: Final = 14
_OPTIONS: Final = 24
_GAP: Final = 2
_LEAST: Final = 24
"""Columns that are left to what is said, however narrow it is: names then take fewer, or a line of their own."""


class Columns:
    """What is said of a name stands behind it, and below itself where it is long. Names that are longer than the column have a line.

    It is what cyclopts takes as a formatter of help; its own is loaded, with all that draws, only where boxes are drawn.
    """

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:  # noqa: ARG002 - the name is of the protocol
        """Prints one block: the arguments, the options, or the commands."""
        if not panel.entries:
            return
        column = _OPTIONS if panel.format == "parameter" else _COMMANDS
        _print(console, f"{panel.title}:")
        for entry in panel.entries:
            names = entry.display_labels_with_metavar if panel.format == "parameter" else entry.display_labels
            about = _plain(console, entry.description)
            default = "" if entry.default is None else f" [default: {entry.default}]"
            _print(console, "\n".join(_entry(", ".join(names), about + default, column, console.width)))
        _print(console, "")

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:  # noqa: ARG002 - as above
        """Prints what stands behind the command."""
        said = _plain(console, usage).removeprefix("Usage: ")
        _print(console, "\n".join(wrapped(f"Usage: {said}", console.width)))
        _print(console, "")

    def render_description(self, console: Console, options: ConsoleOptions, description: Any) -> None:  # noqa: ARG002 - as above
        """Prints what it does."""
        for said in _paragraphs(console, description):
            _print(console, "\n".join(wrapped(said, console.width)))
            _print(console, "")


def _entry(name: str, about: str, column: int, width: int) -> list[str]:
    column = max(_GAP, min(column, width - _INDENT - _LEAST))
    behind = " " * (_INDENT + column)
    lines = wrapped(about, width - len(behind)) if about else []
    if len(name) > column - _GAP or not lines:
        lines = ["", *lines]
    first, *rest = lines
    return [f"{' ' * _INDENT}{name:<{column}}{first}".rstrip(), *(f"{behind}{line}" for line in rest)]


def _plain(console: Console, said: Any) -> str:
    """What is to be printed, as text in one line."""
    return " ".join(_paragraphs(console, said))


def _paragraphs(console: Console, said: Any) -> list[str]:
    """What is to be printed, a line for each paragraph: it comes in lines of the whole width."""
    if said is None:
        return []
    with console.capture() as captured:
        console.print(said, highlight=False, markup=False)
    lines = (line.strip() for line in captured.get().splitlines())
    return [" ".join(those) for there, those in groupby(lines, key=bool) if there]


def _print(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False)
