"""The files of root threads: any text may be the id of a thread, none leaves the folder, and no two share a file.

Small letters, digits and ``-`` stand for themselves, every other byte of the id's UTF-8 is ``_`` and two hex digits; so two
names never differ by case alone, which some file systems do not tell apart.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

SUFFIX: Final = ".jsonl"
_LONGEST: Final = 160
"""Characters of an encoded id; file systems take names of 255 bytes."""
_KEPT: Final = 64
"""Characters of a longer one that stay readable, before its hash."""
_CUT: Final = "__"
"""Stands before the hash of a long id, and nowhere else: after ``_`` come hex digits."""

_SAFE: Final = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-")
_WRITTEN: Final = {byte: chr(byte) if byte in _SAFE else f"_{byte:02x}" for byte in range(256)}
_RESERVED: Final = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])")
"""What Windows takes for a device, whatever the suffix."""
_ENCODED: Final = re.compile(r"(?:[a-z0-9-]|_[0-9a-f]{2})+")
_HASHED: Final = re.compile(rf"[a-z0-9_-]{{{_KEPT}}}{_CUT}[0-9a-f]{{64}}")


def file_name(root: str) -> str:
    """The name of the file that holds the chain of a root thread: ``a_2fb.jsonl`` for ``a/b``."""
    data = root.encode("utf-8", "surrogatepass")
    text = data.decode("latin-1").translate(_WRITTEN)  # a folder has many names
    if not text:
        text = "_"
    elif _RESERVED.fullmatch(text):
        text = f"_{data[0]:02x}{text[1:]}"
    elif len(text) > _LONGEST:
        text = f"{text[:_KEPT]}{_CUT}{hashlib.sha256(data).hexdigest()}"
    return text + SUFFIX


def is_file_name(name: str) -> bool:
    """Whether a file of this name may be one of ours."""
    stem = name.removesuffix(SUFFIX)
    return stem != name and (stem == "_" or bool(_ENCODED.fullmatch(stem) or _HASHED.fullmatch(stem)))


def root_of_name(name: str) -> str | None:
    """The root thread that a file of this name holds; ``None`` where the id was too long to stand in it."""
    stem = name.removesuffix(SUFFIX)
    if _CUT in stem:
        return None
    if stem == "_":
        return ""
    data = re.sub(rb"_([0-9a-f]{2})", lambda found: bytes.fromhex(found[1].decode()), stem.encode())
    return data.decode("utf-8", "surrogatepass")
