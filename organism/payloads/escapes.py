r"""Texts in XML: the markup, and the characters that XML 1.0 has no form for.

XML 1.0 cannot hold U+0000 to U+001F (but tab, line feed and carriage return), U+FFFE and U+FFFF, not even as character
references. They are written as ``_xHHHH_`` with four upper-case hexadecimal digits, as SQL/XML and Office Open XML do:
U+0000 is ``_x0000_``. A text that already looks like such an escape gets ``x005F_`` (the code of the underscore) after
its underscore, so ``_x0000_`` is written ``_x005F_x0000_``, and that again ``_x005F_x005F_x0000_``. Nothing else is
touched: ``_x0041_`` and ``snake_case`` stay as they are. So every text has one written form, and every written form is
one text; dict keys that differ therefore still differ in XML.
"""

from __future__ import annotations

import re
from typing import Final

_UNHOLDABLE: Final = "\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff"
_CODE: Final = "x(?:00(?:0[0-8BCEF]|1[0-9A-F])|FFF[EF])"
# A chain is taken as a whole, also where it turns out to be no look-alike: so the time is linear in the text's length.
_TO_HIDE: Final = re.compile(f"_(?=x)((?:x005F_)*+)({_CODE}(?=[_{_UNHOLDABLE}]))?|([{_UNHOLDABLE}])")
# An escaped look-alike leaves its last underscore to the text behind it, where another may begin.
_TO_SHOW: Final = re.compile(f"_({_CODE})_|_((?:x005F_)++)({_CODE}(?=_))?")

_MARKUP: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"})
_IN_ATTRIBUTES: Final = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}
)
# Bytes of UTF-8 that may need something done. 0xEF begins U+FFFE and U+FFFF, and U+F000 to U+FFFD with them.
_NOTABLE: Final = bytes(byte for byte in range(32) if byte not in b"\t\n") + b'&<>_"\xef'
_NOTABLE_IN_ATTRIBUTES: Final = _NOTABLE + b"\t\n"


def hidden(text: str) -> str:
    """The text with escapes for what XML cannot hold."""
    return _TO_HIDE.sub(_hide, text)


def _hide(match: re.Match[str]) -> str:
    chain, code, unholdable = match.groups()
    if unholdable:
        return f"_x{ord(unholdable):04X}_"
    return f"_x005F_{chain}{code}" if code else match[0]


def revealed(text: str) -> str:
    """The text that was :func:`hidden`."""
    return _TO_SHOW.sub(_show, text) if "_x" in text else text


def _show(match: re.Match[str]) -> str:
    unholdable, chain, code = match.groups()
    if unholdable:
        return chr(int(unholdable[1:], 16))
    return f"_{chain.removeprefix('x005F_')}{code}" if code else match[0]


def element_text(text: str) -> str:
    """The text as it stands between tags. It must hold no lone surrogate."""
    raw = text.encode()
    if raw.translate(None, _NOTABLE) == raw:
        return text
    return marked_up(hidden(text))


def attribute_text(text: str) -> str:
    """The text as it stands between the double quotes of an attribute. It must hold no lone surrogate."""
    raw = text.encode()
    if raw.translate(None, _NOTABLE_IN_ATTRIBUTES) == raw:
        return text
    return marked_up_attribute(hidden(text))


def marked_up(text: str) -> str:
    """The text with references for what would be markup between tags, or be lost there."""
    return text.translate(_MARKUP)


def marked_up_attribute(text: str) -> str:
    """The text with references for what would be markup in an attribute, or be lost there."""
    return text.translate(_IN_ATTRIBUTES)
