"""The key ``journal``: where facts are kept, as a kind and a path."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from organism.config.paths import is_file, is_folder, located
from organism.config.places import shown
from organism.config.scalars import Wrong
from organism.config.shapes import Text, one_of
from organism.names import suggestion

if TYPE_CHECKING:
    from pathlib import Path

    from organism.config.sections import Section
    from organism.config.shapes import Reading
    from organism.config.tree import Scalar

_MEMORY: Final = "memory:"
_LINES: Final = "jsonl:"
_PATHS: Final = {"sqlite:": "organism.db", _LINES: "journal"}
"""The kinds that need a path, with an example of one."""
_KINDS: Final = (_MEMORY, *_PATHS)


@frozen
class JournalUrl(Text):
    """``memory:``, ``sqlite:PATH`` or ``jsonl:DIR``. What is at the path is not opened, and need not be there yet."""

    wanted: str = "a journal, as in 'sqlite:organism.db'"
    form: str = field(init=False, default=f"^({_MEMORY}$|({'|'.join(_PATHS)}).)")

    def _said(self, text: str, _: Scalar, reading: Reading, /) -> str | Wrong:
        """The text as it was written: a relative path in it is relative to the configuration."""
        problem = _problem(text, reading.folder)
        return text if problem is None else Wrong(problem)


def check_session_log(top: Section) -> None:
    """Notes a session log in the folder of the journal: each would write every fact into the other's files."""
    log, journal = top.values.get("session_log"), top.values.get("journal", _MEMORY)
    if log is not None and journal.startswith(_LINES):
        place = located(journal.removeprefix(_LINES), top.reading.folder)
        if os.path.realpath(log) == os.path.realpath(place):  # which raises nothing, whatever stands there
            top.wrong("session_log", f"is the folder of the journal {shown(journal)}: name another one for either")


def _problem(text: str, folder: Path | None) -> str | None:
    name, colon, path = text.partition(":")
    kind = name + colon
    if kind == _MEMORY:
        return f"{shown(text)} names a path, and memory has none: use {shown(_MEMORY)}" if path else None
    if kind not in _PATHS:
        use = one_of([_MEMORY, "sqlite:PATH", "jsonl:DIR"])
        return f"{shown(text)} is not a journal{suggestion(kind, _KINDS)}; use {use}"
    return _path_problem(text, kind, path) or _place_problem(text, kind, located(path, folder))


def _path_problem(text: str, kind: str, path: str) -> str | None:
    """What is wrong with a path as a text."""
    example = shown(kind + _PATHS[kind])
    if not path.strip():
        return f"{shown(text)} names no path: write it as in {example}"
    if path in {_MEMORY, f":{_MEMORY}"}:
        return f"{shown(text)} would keep nothing: use {shown(_MEMORY)}"
    if path.startswith("//"):
        # Elsewhere three slashes mean a relative path, and four an absolute one.
        plain = path.lstrip("/")
        hint = one_of([kind + plain, f"{kind}/{plain}"]) if plain else example
        return f"{shown(text)} may mean two paths: write {hint}"
    if "\0" in path:
        return f"{shown(text)} holds a zero byte, which no path can"
    return None


def _place_problem(text: str, kind: str, place: Path) -> str | None:
    """What is wrong with what is there already."""
    if kind == "sqlite:" and is_folder(place):
        inside = shown(f"{text.rstrip('/')}/{_PATHS[kind]}")
        return f"{shown(text)} is a folder, and this journal is one file: name a file in it, as in {inside}"
    if kind == _LINES and is_file(place):
        return f"{shown(text)} is a file, and this journal is a folder: name one, as in {shown(kind + _PATHS[kind])}"
    return None
