"""What is never written: keys and tokens that are known by their looks (:mod:`organism.likeness`), wherever in a text they stand, the keys
that the organism was given, and what hooks have marked.

A message that holds one is delivered as it is. Read back from a journal, after a crash, it has :data:`INSTEAD` in its place.
"""

from __future__ import annotations

import html
import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from organism.likeness import INSTEAD, without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_escape: Final = partial(html.escape, quote=False)
"""As XML escapes text."""
_STRUCTURE: Final = frozenset({"fact", "step", "root", "format"})
"""Keys whose values say what an entry is: they are never taken for a secret."""
_DRAWN: Final = 12
"""Characters of a key that was drawn at random, at least."""
SHORTEST: Final = 6
"""Characters of a text that may be marked: shorter ones occur in too many other texts."""


class Marked:
    """Texts that are secrets since a hook said so: they are written as :data:`INSTEAD` from then on.

    Marked on the event loop, looked for by the threads that write.
    """

    def __init__(self) -> None:
        self._texts: tuple[str, ...] = ()
        self.forms: tuple[str, ...] = ()
        """How they stand in JSON and XML."""
        self._spoken: tuple[str, ...] = ()

    def mark(self, texts: Iterable[str]) -> None:
        """These are secrets. Raises ValueError for one that is too short to be told from other text."""
        new = {text for text in texts if text not in self._texts}
        if not new:
            return
        if any(len(text) < SHORTEST for text in new):
            raise ValueError(f"a secret has {SHORTEST} characters at least: shorter ones occur in too many other texts")
        self._add(new)

    def know(self, keys: Iterable[str]) -> None:
        """These are keys that the organism was given. Those that are no more than a word stand in too much that is no secret, such
        as the name of a server that wants no key.
        """
        new = {key for key in keys if key not in self._texts and len(key) >= _DRAWN and not key.isalpha()}
        if new:
            self._add(new)

    def _add(self, new: Iterable[str]) -> None:
        # A secret that holds another one is looked for first.
        known = sorted({*self._texts, *new}, key=len, reverse=True)
        self.forms = tuple(dict.fromkeys(form for text in known for form in _forms(text)))
        spoken = {
            form
            for text in known
            for form in (*_forms(text), text, _escape(text), quote(text), quote(text, safe=""), repr(text)[1:-1])
        }
        self._spoken = tuple(sorted(spoken, key=len, reverse=True))
        self._texts = tuple(known)

    def left_out(self, text: str) -> str:
        """A text for people without any of them, as they stand in such texts, and without what looks like a key."""
        for form in self._spoken:
            if form in text:
                text = text.replace(form, INSTEAD)
        return without_secrets(text)

    def in_texts(self, texts: Iterable[str]) -> bool:
        """Whether one of them stands in one of these, as JSON and XML write it."""
        if not self.forms:
            return False
        texts = tuple(texts)
        for form in self.forms:  # written out, since every record passes here
            for text in texts:
                if form in text:
                    return True
        return False

    def hide(self, document: str) -> str:
        """A JSON object with every one of them replaced, wherever it stands in a value."""
        if not self.in_texts((document,)):
            return document
        return json.dumps(self._hidden(json.loads(document)), ensure_ascii=False, sort_keys=True, separators=(",", ":"))

    def _hidden(self, value: Any) -> Any:
        given: Any = value
        if isinstance(value, str):
            for text in self._texts:
                for form in _in_a_value(text):
                    value = value.replace(form, INSTEAD)
            return value
        if isinstance(value, list):
            return [self._hidden(each) for each in given]
        if isinstance(value, dict):
            return {key: each if key in _STRUCTURE else self._hidden(each) for key, each in given.items()}
        return given


def _forms(text: str) -> Iterator[str]:
    """How a text stands in JSON, and in XML and JSON that stand in JSON."""
    for form in _in_a_value(text):
        yield from _in_json(form)


def _in_a_value(text: str) -> Iterable[str]:
    """How a text stands in a value: as it is, in XML, and in JSON that is itself a text, as the arguments of calls are."""
    return dict.fromkeys((text, _escape(text), *_in_json(text)))


def _in_json(text: str) -> tuple[str, str]:
    return json.dumps(text, ensure_ascii=False)[1:-1], json.dumps(text)[1:-1]
