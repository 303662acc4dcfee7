r"""Texts in XML: the markup, and the characters that XML 1.0 has no form for.

XML 1.0 cannot hold U+0000 to U+001F (but tab, line feed and carriage return), U+FFFE and U+FFFF, not even as character
references. They are written as ``_xHHHH_`` with four upper-case hexadecimal digits, as SQL/XML and Office Open XML do:
U+0000 is ``_x0000_``. A text that already looks like such an escape gets ``x005F_`` (the code of the underscore) after
its underscore, so ``_x0000_`` is written ``_x005F_x0000_``; and each ``_x005F`` that stands before either is written twice, so
``_x005F`` and U+0000 are ``_x005F_x005F_x0000_``. Nothing else is touched: ``_x0041_`` and ``snake_case`` stay as they are. So every text
has one written form, and no two have the same; dict keys that differ therefore still differ in XML.
"""

from __future__ import annotations

import re
from typing import Final

_UNHOLDABLE: Final = "\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff"
_CODE: Final = "x(?:00(?:0[0-8BCEF]|1[0-9A-F])|FFF[EF])"
_LOOK_ALIKE: Final = re.compile(f"_(?={_CODE}[_{_UNHOLDABLE}])")
_BEFORE: Final = re.compile(f"(?<!_x005F)((?:_x005F)++)(?=_{_CODE}[_{_UNHOLDABLE}]|[{_UNHOLDABLE}])")
"""All that stand before what is, or looks like, an escape; looked for from the first of them alone, or many would take for ever."""
_TO_SHOW: Final = re.compile(
    f"(?<!_x005F)((?:_x005F_x005F)*+)_x005F(_{_CODE})(?=_)|(?:(?<!_x005F)((?:_x005F_x005F)++))?(_{_CODE}_)"
)
"""An odd number of them before a look-alike; an even number, or none, before an escape."""

_CONTROLS: Final = bytes(byte for byte in range(32) if byte not in b"\t\n\r")
_ESCAPES: Final = {code: f"_x{code:04X}_" for code in (*_CONTROLS, 0xFFFE, 0xFFFF)}
_SHOWN: Final = {escape: chr(code) for code, escape in _ESCAPES.items()}
"""What each escape stands for."""
_WIDTH: Final = len("_x0000_")
_NOTHING: Final = 0xFF
"""A byte that UTF-8 has none of."""
_COLUMNS: Final = tuple(
    bytes(ord(_ESCAPES[byte][at]) if byte in _CONTROLS else _NOTHING if at else byte for byte in range(256))
    for at in range(_WIDTH)
)
"""What stands for each byte of UTF-8 at each place of an escape; behind a byte that needs none there is nothing."""
_SHORT: Final = 100
"""Bytes up to which a text is written character by character; a longer one is written faster column by column."""
_PART: Final = 4096
"""Bytes that are looked at together: an escape or two must not make all of a long text wide."""

# Bytes of UTF-8 that may need something done. 0xEF begins U+FFFE and U+FFFF, and U+F000 to U+FFFD with them.
_NOTABLE: Final = _CONTROLS + b'\r&<>_"\xef'
_NOTABLE_IN_ATTRIBUTES: Final = _NOTABLE + b"\t\n"


def hidden(text: str) -> str:
    """The text with escapes for what XML cannot hold."""
    if "_x" in text:
        if "_x005F" in text:
            parts = _BEFORE.split(text)
            parts[1::2] = [each + each for each in parts[1::2]]
            text = "".join(parts)
        text = _LOOK_ALIKE.sub("_x005F_", text)
    raw = text.encode("utf-8", "surrogatepass")
    if raw.translate(None, _CONTROLS) != raw:
        if len(raw) <= _SHORT:
            text = text.translate(_ESCAPES)
        else:
            pieces = (raw[at : at + _PART] for at in range(0, len(raw), _PART))
            text = b"".join(map(_spelled, pieces)).decode("utf-8", "surrogatepass")
    if "\ufffe" in text or "\uffff" in text:
        text = text.replace("\ufffe", "_xFFFE_").replace("\uffff", "_xFFFF_")
    return text


def _spelled(raw: bytes) -> bytes:
    """UTF-8 with escapes for its control characters, written column by column."""
    if raw.translate(None, _CONTROLS) == raw:
        return raw
    wide = bytearray(len(raw) * _WIDTH)
    for at, column in enumerate(_COLUMNS):
        wide[at::_WIDTH] = raw.translate(column)
    return bytes(wide.translate(None, bytes([_NOTHING])))


def revealed(text: str) -> str:
    """The text that was :func:`hidden`."""
    return _TO_SHOW.sub(_shown, text) if "_x" in text else text


def _shown(match: re.Match[str]) -> str:
    before, look_alike, doubled, escape = match.groups()
    if look_alike is not None:
        return before[: len(before) // 2] + look_alike
    return (doubled or "")[: len(doubled or "") // 2] + _SHOWN[escape]


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
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")


def marked_up_attribute(text: str) -> str:
    """The text with references for what would be markup in an attribute, or be lost there."""
    return marked_up(text).replace('"', "&quot;").replace("\n", "&#10;").replace("\t", "&#9;")
