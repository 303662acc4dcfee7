"""What of a backend no text may show: its key, and what its options send beside a request.

Servers and SDKs quote what they were sent, in refusals and in their own logs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote, quote_plus, unquote, urlsplit

from organism.names import sounds_secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

INSTEAD: Final = "[key]"
BESIDE: Final = ("extra_headers", "extra_query")
"""The options that are sent beside the body, where keys are sent."""
SHORTEST: Final = 6
"""Characters of what is left out of texts: less stands in too much that is no secret. Keys are left out whatever their length."""
_PUBLIC: Final = frozenset({"accept", "content-type", "http-referer", "referer", "user-agent", "x-title"})


def sent_beside(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The headers and the parts of the query that options name, with their values."""
    for kind in BESIDE:
        given: Any = options.get(kind)
        if isinstance(given, Mapping):
            named = cast("Mapping[object, object]", given)
            yield from ((str(name), str(value)) for name, value in named.items())


def secrets_beside(options: Mapping[str, Any]) -> Iterator[str]:
    """The values that are secrets by what they are called, also without the word in front of them (``Bearer ...``)."""
    for name, value in sent_beside(options):
        if sounds_secret(name):
            yield value
            yield value.rpartition(" ")[2]


class Hiding:
    """The secrets of one backend, and texts without them."""

    def __init__(self, key: str | None, options: Mapping[str, Any]) -> None:
        values = [value for name, value in sent_beside(options) if name.lower() not in _PUBLIC]
        spoken = {part for value in values for part in (value, value.rpartition(" ")[2]) if len(part) >= SHORTEST}
        self._secrets = {*spoken, key} if key else spoken
        self._forms = forms_of(self._secrets)

    def __bool__(self) -> bool:
        return bool(self._forms)

    def add(self, key: str) -> None:
        """Another key; the one before is left out of texts as well, since calls under way still have it."""
        self._secrets.add(key)
        self._forms = forms_of(self._secrets)

    def clean(self, text: str) -> str:
        """A text without them."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, INSTEAD)
        return text


def forms_of(secrets: Iterable[str]) -> tuple[str, ...]:
    """How secrets stand in texts: as they are, in addresses, and escaped as in JSON and in what Python shows. Longer ones first."""
    forms = {
        form
        for secret in secrets
        for form in (
            secret,
            quote(secret),
            quote(secret, safe=""),
            quote_plus(secret),
            unquote(secret),
            repr(secret)[1:-1],
            *_in_json(secret),
        )
    }
    return tuple(sorted((form for form in forms if form), key=len, reverse=True))


def _in_json(text: str) -> Iterator[str]:
    """How a text stands in JSON. Some servers write what is not ASCII as it is, and some escape each slash."""
    for form in (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]):
        yield from (form, form.replace("/", "\\/"))


def server_shown(address: object) -> str:
    """The address of a server as it stands in messages: without what stands before an ``@`` and behind a ``?``."""
    text = str(address)
    try:
        parts = urlsplit(text)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return text.rpartition("@")[2].partition("?")[0]
    return parts._replace(netloc=host, query="", fragment="").geturl()
