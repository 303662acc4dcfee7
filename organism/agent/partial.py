"""The texts of a JSON object, read while the object is being written."""

from __future__ import annotations

import json
from string import hexdigits
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Container

_LONGEST_NAME: Final = 256
"""Characters of a field's name that are kept: what is longer is not the one that is looked for."""
_SHORT: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_LOST: Final = "\ufffd"


class Texts:
    """The texts of the top-level fields ``names``, as far as they have come, in the order in which they come, each in a line of
    its own. What is no JSON object has none; whether it is a sound one is for those to say who have it whole.
    """

    def __init__(self, names: Container[str]) -> None:
        self._names = names
        self._said: str | None = None
        """The field of what was said last."""
        self._depth = 0
        self._string: _String | None = None
        self._key = ""
        self._after_colon = False
        self.over = False
        """Whether there is nothing more to come of it."""

    def add(self, piece: str) -> str:
        """Takes a piece of the object in; what it brought of the text."""
        came: list[str] = []
        for sign in piece:
            if self.over:
                break
            came.append(self._in_string(self._string, sign) if self._string is not None else self._between(sign))
        return "".join(came)

    def _in_string(self, string: _String, sign: str) -> str:
        text = string.add(sign)
        wanted = self._wanted
        if string.over:
            self._string = None
            if self._depth == 1 and not self._after_colon:
                self._key = string.text
        return self._parted(text) if wanted else ""

    def _parted(self, text: str) -> str:
        """A piece of a text, in a new line where it is the first of another one."""
        if not text:
            return ""
        parted = f"\n{text}" if self._said is not None and self._said != self._key else text
        self._said = self._key
        return parted

    @property
    def _wanted(self) -> bool:
        return self._depth == 1 and self._after_colon and self._key in self._names

    def _between(self, sign: str) -> str:
        match sign:
            case '"' if self._depth:
                self._string = _String(keeps=self._depth == 1 and not self._after_colon)
            case "{" | "[":
                self.over = sign == "[" and not self._depth
                self._depth += 1
            case "}" | "]":
                self._depth -= 1
                self.over = self._depth <= 0
            case ":" if self._depth == 1:
                self._after_colon = True
            case "," if self._depth == 1:
                self._after_colon = False
            case _:
                self.over = not self._depth and not sign.isspace()
        return ""


class _String:
    """A string of JSON, behind its first quote. ``text`` is its beginning, where it ``keeps`` it."""

    def __init__(self, *, keeps: bool) -> None:
        self.over = False
        self.text = ""
        self._keeps = keeps
        self._escape = ""
        self._high = ""
        """The first half of a character that is written as two."""

    def add(self, sign: str) -> str:
        """Takes one character in; what it stands for."""
        came = self._read(sign)
        if self._keeps and len(self.text) < _LONGEST_NAME:
            self.text += came
        return came

    def _read(self, sign: str) -> str:
        if self._escape:
            return self._escaped(sign)
        if sign == "\\":
            self._escape = sign
            return ""
        lost, self._high = _LOST if self._high else "", ""
        if sign == '"':
            self.over = True
            return lost
        return lost + sign

    def _escaped(self, sign: str) -> str:
        self._escape += sign
        if self._escape[1] != "u":
            lost, self._high, self._escape = _LOST if self._high else "", "", ""
            return lost + _SHORT.get(sign, sign)
        if len(self._escape) < 6:
            return ""
        written, self._escape = self._escape, ""
        return self._unit(written)

    def _unit(self, written: str) -> str:
        """What an escape of a code unit stands for; half a character waits for its other half."""
        digits = written.removeprefix("\\u")
        code = int(f"0x{digits}", 0) if all(each in hexdigits for each in digits) else ord(_LOST)
        high, self._high = self._high, ""
        if 0xDC00 <= code < 0xE000:
            return str(json.loads(f'"{high}{written}"')) if high else _LOST
        lost = _LOST if high else ""
        if 0xD800 <= code < 0xDC00:
            self._high = written
            return lost
        return lost + chr(code)
