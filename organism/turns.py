"""Lines that take turns: however long one of them is, it delays the first of another by one item a round."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Key = TypeVar("Key")
Item = TypeVar("Item")


class Turns(Generic[Key, Item]):
    """Items in lines, a line for each key. A line whose turn has come gives its first item and stands behind the others again."""

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines: OrderedDict[Key, tuple[Item] | deque[Item]] = OrderedDict()
        """Most lines are one item long: those are tuples, since a deque takes 600 bytes."""

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def __bool__(self) -> bool:
        return bool(self._lines)

    def put(self, key: Key, item: Item) -> None:
        """Adds an item behind those of its line."""
        line = self._lines.get(key)
        if line is None:
            self._lines[key] = (item,)
        elif isinstance(line, tuple):
            self._lines[key] = deque((*line, item))
        else:
            line.append(item)

    def remove(self, key: Key, item: Item) -> bool:
        """Takes an item out. Whether it was there."""
        line = self._lines.get(key)
        if line is None or item not in line:
            return False
        self._take(key, line, item)
        return True

    def next(self, may_go: Callable[[Item], bool]) -> Item | None:
        """Takes out the first item that may go of the first line that has one; ``None`` where there is none."""
        for key, line in self._lines.items():
            for item in line:
                if may_go(item):
                    self._take(key, line, item)
                    if key in self._lines:
                        self._lines.move_to_end(key)
                    return item
        return None

    def _take(self, key: Key, line: tuple[Item] | deque[Item], item: Item) -> None:
        """Takes an item out of its line, which goes with its last."""
        if isinstance(line, tuple) or len(line) == 1:
            del self._lines[key]
        else:
            line.remove(item)


__all__ = ["Turns"]
