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
        self._lines: OrderedDict[Key, deque[Item]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def __bool__(self) -> bool:
        return bool(self._lines)

    def put(self, key: Key, item: Item) -> None:
        """Adds an item behind those of its line."""
        line = self._lines.get(key)
        if line is None:
            self._lines[key] = deque((item,))
        else:
            line.append(item)

    def remove(self, key: Key, item: Item) -> bool:
        """Takes an item out. Whether it was there."""
        line = self._lines.get(key)
        if line is None or item not in line:
            return False
        line.remove(item)
        if not line:
            del self._lines[key]
        return True

    def next(self, may_go: Callable[[Item], bool]) -> Item | None:
        """Takes out the first item that may go of the first line that has one; ``None`` where there is none."""
        for key, line in self._lines.items():
            for item in line:
                if may_go(item):
                    line.remove(item)
                    if line:
                        self._lines.move_to_end(key)
                    else:
                        del self._lines[key]
                    return item
        return None


__all__ = ["Turns"]
