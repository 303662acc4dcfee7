"""Characters that a provider gives in halves: a server that counts in UTF-16 may cut an emoji in two, and no request can carry half of one."""

from __future__ import annotations

from operator import is_not
from typing import Any, Final

from organism.models.frozen_json import Fixed, FixedList

_LONE: Final = "\ufffd"
"""What stands for half a character whose other half never comes, as wherever texts are decoded."""
_OBJECTS: Final[tuple[object, ...]] = (dict, Fixed)
_LISTS: Final[tuple[object, ...]] = (list, FixedList)


def joined(text: str) -> str:
    """The text with halves that belong together put together, and U+FFFD for each that is alone; most texts have none, and stay."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def all_joined(value: Any) -> Any:
    """The same JSON value, each of whose texts is :func:`joined`; it itself where all are. Names in objects stay as they are."""
    if type(value) is str:
        return joined(value)
    if type(value) in _OBJECTS:
        items: dict[str, Any] = {name: all_joined(each) for name, each in value.items()}
        return items if any(items[name] is not each for name, each in value.items()) else value
    if type(value) in _LISTS:
        parts: list[Any] = [all_joined(each) for each in value]
        return parts if any(map(is_not, parts, value)) else value
    return value


class Halves:
    """Puts texts together that come in pieces: half a character at the end of one waits for the next of the same ``key``."""

    def __init__(self) -> None:
        self._waiting: dict[object, str] = {}

    def add(self, key: object, text: str) -> str:
        """The next piece, as far as it is whole."""
        if text.isascii() and not self._waiting:
            return text
        text = self._waiting.pop(key, "") + text
        if "\ud800" <= text[-1:] <= "\udbff":
            self._waiting[key] = text[-1]
            text = text[:-1]
        return joined(text)

    def rest(self, key: object) -> str:
        """What stands for the half that still waits, whose other half does not come."""
        return _LONE if self._waiting.pop(key, None) else ""
