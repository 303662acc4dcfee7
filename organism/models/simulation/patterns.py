"""Texts that match a regular expression: the shortest ones, made by reading the expression.

What a JSON Schema ``pattern`` usually holds is read: characters, classes, groups, alternatives, repetitions, anchors.
Look-arounds and back-references are skipped, so every text is checked before it is given away.
"""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING, Final

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

_CLASSES: Final = {"d": string.digits, "w": string.ascii_lowercase + string.digits + "_", "s": " "}
_PRINTABLE: Final = string.ascii_lowercase + string.digits + string.ascii_uppercase + " " + string.punctuation
_CONTROLS: Final = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "0": "\0"}
_UNBOUNDED: Final = 1 << 30
_LONGEST: Final = 4096
_VARIANTS: Final = 12
_DEEPEST: Final = 50
_PAD: Final = "x"


@frozen
class _Chars:
    """One of these signs."""

    among: str

    def text(self, extra: int, variant: int) -> str:
        """The first sign, or another one by the variant."""
        del extra
        return self.among[variant % len(self.among)] if self.among else ""


@frozen
class _Chain:
    """One after another."""

    parts: tuple[_Node, ...]

    def text(self, extra: int, variant: int) -> str:
        return "".join(part.text(extra, variant) for part in self.parts)


@frozen
class _Choice:
    """One of several."""

    options: tuple[_Node, ...]

    def text(self, extra: int, variant: int) -> str:
        count = len(self.options)
        return self.options[variant % count].text(extra, variant // count)


@frozen
class _Repeat:
    """Something several times."""

    part: _Node
    least: int
    most: int

    def text(self, extra: int, variant: int) -> str:
        times = min(self.most, self.least + extra, _LONGEST)
        # Only the outermost repetition grows: nested ones would multiply.
        return self.part.text(extra if self.most == 1 else 0, variant) * times


_Node = _Chars | _Chain | _Choice | _Repeat


class _Reader:
    """Reads an expression; whatever it does not know stands for itself."""

    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0
        self._depth = 0

    def choice(self) -> _Node:
        options = [self._chain()]
        while self._take("|"):
            options.append(self._chain())
        return options[0] if len(options) == 1 else _Choice(tuple(options))

    def _take(self, mark: str) -> bool:
        if self._text.startswith(mark, self._at):
            self._at += len(mark)
            return True
        return False

    def _chain(self) -> _Node:
        parts: list[_Node] = []
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            part = self._atom()
            if part is not None:
                parts.append(self._repeated(part))
        return _Chain(tuple(parts))

    def _atom(self) -> _Node | None:
        sign = self._text[self._at]
        self._at += 1
        if sign in "^$":
            return None
        if sign == "(":
            return self._group()
        if sign == "[":
            return self._class()
        if sign == "\\":
            return self._escape()
        return _Chars(_PRINTABLE if sign == "." else sign)

    def _group(self) -> _Node | None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ValueError("groups nest too deep")
        looks = any(self._take(mark) for mark in ("?=", "?!", "?<=", "?<!"))
        if not looks and self._take("?"):
            named = re.compile(r"P?<\w+>|[a-zA-Z-]*:").match(self._text, self._at)
            self._at = named.end() if named else self._at
        inner = self.choice()
        self._take(")")
        self._depth -= 1
        return None if looks else inner

    def _escape(self) -> _Node | None:
        if self._at >= len(self._text):
            return None
        sign = self._text[self._at]
        self._at += 1
        if sign in "bBAZz":
            return None
        if sign in "ux":
            size = 4 if sign == "u" else 2
            code, self._at = self._text[self._at : self._at + size], self._at + size
            return _Chars(chr(int(code, 16)))
        if sign.lower() in _CLASSES:
            members = _CLASSES[sign.lower()]
            return _Chars(members if sign.islower() else "".join(c for c in _PRINTABLE if c not in members))
        return _Chars(_CONTROLS.get(sign, sign))

    def _class(self) -> _Node:
        negated = self._take("^")
        members: list[str] = []
        first = True
        while self._at < len(self._text) and (first or self._text[self._at] != "]"):
            first = False
            low = self._member()
            if (
                len(low) == 1
                and self._text[self._at : self._at + 1] == "-"
                and self._text[self._at + 1 : self._at + 2] != "]"
            ):
                self._at += 1
                high = self._member()
                low = "".join(map(chr, range(ord(low), min(ord(high or low), ord(low) + 255) + 1)))
            members.append(low)
        self._take("]")
        found = "".join(members)
        return _Chars("".join(c for c in _PRINTABLE if c not in found) if negated else found)

    def _member(self) -> str:
        sign = self._text[self._at : self._at + 1]
        self._at += 1
        if sign != "\\":
            return sign
        node = self._escape()
        return node.among if isinstance(node, _Chars) else ""

    def _repeated(self, part: _Node) -> _Node:
        match = _TIMES.match(self._text, self._at)
        if match is None:
            return part
        self._at = match.end()
        mark = match.group()[0]
        if mark in "*+?":
            return _Repeat(part, 1 if mark == "+" else 0, 1 if mark == "?" else _UNBOUNDED)
        least = int(match.group(1) or 0)
        most = least if match.group(2) is None else int(match.group(3) or _UNBOUNDED)
        return _Repeat(part, least, most)


_TIMES: Final = re.compile(r"(?:[*+?]|\{(\d{0,6})(,(\d{0,6}))?\})[?+]?")


def matching(pattern: str, least: int, most: int) -> Iterator[str]:
    """Texts from ``least`` to ``most`` characters that match a pattern, shortest first; none where it cannot be read."""
    try:
        node = _Reader(pattern).choice()
        compiled = re.compile(pattern)
    except (ValueError, re.error, OverflowError):
        return
    seen: set[str] = set()
    for variant in range(_VARIANTS):
        for extra in (*range(min(least, 64) + 3), least, least - len(node.text(0, variant))):
            text = node.text(max(0, extra), variant)
            for whole in (text, text.ljust(least, _PAD)):  # a pattern that says nothing of the end takes any end
                if whole not in seen and least <= len(whole) <= most and compiled.search(whole):
                    seen.add(whole)
                    yield whole
