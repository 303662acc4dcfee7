"""Keys and tokens that are known by their looks, wherever in a text they stand."""

from __future__ import annotations

import re
from typing import Final

INSTEAD: Final = "[secret]"

_MARKS: Final = (
    ("-", ("sk-", "xox", "PRIVATE KEY")),
    ("_", ("ghp_", "github_pat_", "hf_")),
    ("K", ("AKIA",)),
    ("I", ("AIza",)),
)
"""What stands in every text that a pattern matches, under a character of it: to look for one character takes a tenth of the time
that a word takes, and every record is looked through. The last mark is ``earer ``, whose characters stand everywhere.
"""

_FREE: Final = r"(?<![A-Za-z0-9_-])"
_MIXED: Final = r"(?=[A-Za-z0-9_-]*[0-9])(?=[A-Za-z0-9_-]*[A-Z])"
"""Keys are drawn at random; names that begin like one are not."""

_SECRETS: Final = re.compile(
    "|".join(
        (
            rf"{_FREE}sk-{_MIXED}[A-Za-z0-9_-]{{20,}}",
            rf"{_FREE}AKIA[0-9A-Z]{{16}}(?![0-9A-Za-z])",
            rf"{_FREE}ghp_[A-Za-z0-9]{{36,}}",
            rf"{_FREE}github_pat_[A-Za-z0-9_]{{22,}}",
            rf"{_FREE}xox[abeprs]-{_MIXED}[A-Za-z0-9-]{{10,}}",
            rf"{_FREE}AIza[A-Za-z0-9_-]{{35}}",
            rf"{_FREE}hf_[A-Za-z0-9]{{30,}}",
            r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----[^\"]*?-----END (?:[A-Z]+ )*PRIVATE KEY-----",
            r"(?<=[Bb]earer )(?=[A-Za-z0-9._~+/-]*[0-9])[A-Za-z0-9._~+/-]{20,}=*",
        )
    )
)


def without_secrets(text: str) -> str:
    """A JSON text with every secret replaced. No pattern crosses the end of a string in it."""
    for character, marks in _MARKS:
        if character in text:
            for mark in marks:
                if mark in text:
                    return _SECRETS.sub(INSTEAD, text)
    # From the end a search takes two thirds of the time.
    return text if text.rfind("earer ") < 0 else _SECRETS.sub(INSTEAD, text)
