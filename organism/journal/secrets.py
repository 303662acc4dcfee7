"""What is never written: keys and tokens that are known by their looks, wherever in a text they stand, and what hooks have marked.

A message that holds one is delivered as it is. Read back from a journal, after a crash, it has :data:`INSTEAD` in its place.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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


_STRUCTURE: Final = frozenset({"fact", "step", "root", "format"})
"""Keys whose values say what an entry is: they are never taken for a secret."""
SHORTEST: Final = 6
"""Characters of a text that may be marked: shorter ones stand in too much that is none."""


class Marked:
    """Texts that are secrets since a hook said so: they are written as :data:`INSTEAD` from then on.

    Marked on the event loop, looked for by the threads that write.
    """

    def __init__(self) -> None:
        self._texts: tuple[str, ...] = ()
        self._forms: tuple[str, ...] = ()

    def mark(self, texts: Iterable[str]) -> None:
        """These are secrets. Raises ValueError for one that is too short to be told from other text."""
        new = {text for text in texts if text not in self._texts}
        if not new:
            return
        if any(len(text) < SHORTEST for text in new):
            raise ValueError(
                f"a secret has {SHORTEST} characters at least: shorter ones stand in too much that is none"
            )
        # A secret that holds another one is looked for first.
        known = sorted({*self._texts, *new}, key=len, reverse=True)
        self._forms = tuple(dict.fromkeys(form for text in known for form in _forms(text)))
        self._texts = tuple(known)

    def in_texts(self, texts: Iterable[str]) -> bool:
        """Whether one of them stands in one of these, as JSON and XML write it."""
        return bool(self._forms) and any(form in text for text in texts for form in self._forms)

    def hide(self, document: str) -> str:
        """A JSON object with every one of them replaced, wherever it stands in a value."""
        if not self.in_texts((document,)):
            return document
        return json.dumps(self._hidden(json.loads(document)), ensure_ascii=False, sort_keys=True, separators=(",", ":"))

    def _hidden(self, value: Any) -> Any:
        given: Any = value
        if isinstance(value, str):
            for text in self._texts:
                for form in dict.fromkeys((text, escape(text))):
                    value = value.replace(form, INSTEAD)
            return value
        if isinstance(value, list):
            return [self._hidden(each) for each in given]
        if isinstance(value, dict):
            return {key: each if key in _STRUCTURE else self._hidden(each) for key, each in given.items()}
        return given


def _forms(text: str) -> Iterator[str]:
    """How a text stands in JSON, and in XML that stands in JSON."""
    for form in (text, escape(text)):
        yield json.dumps(form, ensure_ascii=False)[1:-1]
        yield json.dumps(form)[1:-1]


def without_secrets(text: str) -> str:
    """A JSON text with every secret replaced. No pattern crosses the end of a string in it."""
    for character, marks in _MARKS:
        if character in text:
            for mark in marks:
                if mark in text:
                    return _SECRETS.sub(INSTEAD, text)
    return _SECRETS.sub(INSTEAD, text) if "earer " in text else text
