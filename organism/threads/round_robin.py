"""A round-robin queue: one line per key. However long a line is, it delays the first of another by one item a round."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Key = TypeVar("Key")
Item = TypeVar("Item")


class RoundRobin(Generic[Key, Item]):
    """Items in lines, one line for each key. A line whose turn has come gives its first item, and goes behind the other lines."""

    __slots__ = ("_behind", "_first")

    def __init__(self) -> None:
        self._first: OrderedDict[Key, Item] = OrderedDict()
        self._behind: dict[Key, deque[Item]] = {}
        """The items behind the first of their line. Most lines are one item long, and a deque takes 600 bytes."""

    def __len__(self) -> int:
        return len(self._first) + sum(map(len, self._behind.values()))

    def __bool__(self) -> bool:
        return bool(self._first)

    def put(self, key: Key, item: Item) -> None:
        """Adds an item behind those of its line."""
        if key not in self._first:
            self._first[key] = item
        elif key in self._behind:
            self._behind[key].append(item)
        else:
            self._behind[key] = deque((item,))

    def remove(self, key: Key, item: Item) -> bool:
        """Takes an item out; returns whether it was there."""
        if item not in self._line(key):
            return False
        self._take(key, item)
        return True

    def next(self, may_go: Callable[[Item], bool]) -> Item | None:
        """Takes out the first item that ``may_go``, of the first line that has one; ``None`` where there is none."""
        for key in self._first:
            for item in self._line(key):
                if may_go(item):
                    self._take(key, item)
                    if key in self._first:
                        self._first.move_to_end(key)
                    return item
        return None

    def _line(self, key: Key) -> Iterator[Item]:
        if key in self._first:
            yield self._first[key]
            yield from self._behind.get(key, ())

    def _take(self, key: Key, item: Item) -> None:
        """Takes an item out of its line, which goes with its last."""
        behind = self._behind.get(key)
        if behind is None:
            del self._first[key]
            return
        if self._first[key] == item:
            self._first[key] = behind.popleft()
        else:
            behind.remove(item)
        if not behind:
            del self._behind[key]
