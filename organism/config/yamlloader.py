"""YAML as it is read everywhere here: nodes with their places, a bound on depth, and texts as YAML 1.2 has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import yaml
from yaml.composer import ComposerError

from organism.errors import reason_of

if TYPE_CHECKING:
    from pathlib import Path


def unreadable(path: Path, error: Exception) -> str:
    """Why a file cannot be read; of a folder, which file may be meant."""
    if isinstance(error, IsADirectoryError):
        return f"is a folder: name the file in it, as in {path / 'organism.yaml'}"
    return f"cannot be read: {reason_of(error)}"


class Loader(yaml.SafeLoader):
    """Composes nodes, remembers tags, and stops where they are nested deeper than ``most_deep``, before the recursion of pyyaml
    gets too deep.
    """

    def __init__(self, stream: str, *, most_deep: int = 64) -> None:
        self._most_deep = most_deep
        self._plain = False
        super().__init__(stream)
        self.tagged: list[yaml.Mark] = []
        self._depth = 0

    def scan_plain(self) -> Any:
        """Reads an unquoted text, of which a question mark is a part, as YAML 1.2 has it: ``{text: Why?}``."""
        self._plain = True
        try:
            return super().scan_plain()
        finally:
            self._plain = False

    def peek(self, index: int = 0) -> str:
        """The character to come. To pyyaml a ``?`` ends a text in braces; hidden while one is read, it does not."""
        character = cast("str", super().peek(index))  # pyright: ignore[reportUnknownMemberType] - pyyaml has no types
        return "x" if self._plain and character == "?" else character

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """The node to come. Raises ComposerError where it is nested too deep."""
        event = cast("Any", self.peek_event())  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            self.tagged.append(event.start_mark)
        if self._depth >= self._most_deep:
            raise ComposerError(problem=f"is nested more than {self._most_deep} deep", problem_mark=event.start_mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node
