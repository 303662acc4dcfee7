"""What every provider over HTTP needs beside its protocol: how long to wait, what a refusal costs, why a connection broke."""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, TypedDict

import anyio
import httpx2
from attrs import evolve

from organism.models.allowances import allowance_in
from organism.models.contract import BackendError
from organism.models.hiding import Hiding, server_shown
from organism.models.refusals import kind_of
from organism.names import excerpt

if TYPE_CHECKING:
    from collections.abc import Generator

    from organism.models.contract import Request

SECONDS_TO_CONNECT: Final = 10.0
"""A host that does not even take the connection costs nothing, and that is told apart from a slow answer by this."""
SECONDS_FOR_LEFTOVERS: Final = 0.2
"""What comes behind the end of a stream is waited for as long, so that its connection can serve the next call."""
_SECONDS_FOR_REASONS: Final = 1.0
"""A refusal is known by its status; longer than this its text is not waited for."""
NO_KEY: Final = "none"
"""What is sent to servers that want no key; without any an SDK insists on one, or looks for one in the environment."""
_SAID: Final = 200
"""Characters of a refusal that are told where it is not written as its dialect has it."""
_SLOW: Final = frozenset({"punycode", "idna"})
"""Encodings of names: one megabyte of them may take minutes, in which nothing else goes on."""
_NEVER_SENT: Final = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
)


async def hear_reasons(response: httpx2.Response) -> None:
    """Reads the text of a refusal where it can be had: the status alone says that nothing is billed, also where the text is
    cut, cannot be read or never comes. Raises BackendError then. A hook for responses.
    """
    status = response.status_code
    if response.is_success or response.has_redirect_location:
        return
    text = "it said no more"
    try:
        with anyio.move_on_after(_SECONDS_FOR_REASONS):
            await response.aread()
            _read_text(response)
            return
    except BackendError as error:
        text = str(error)
    except httpx2.HTTPError:
        text = "what it said was cut off"
    except Exception:  # noqa: BLE001 - encodings of Python that are none of texts raise what they like
        text = "what it said cannot be read"
    headers = response.headers
    raise BackendError(
        kind_of(status, "", ""), f"{status}: {text}", retry_after=retry_after(headers), allowance=allowance_in(headers)
    )


def _read_text(response: httpx2.Response) -> None:
    """Reads the text as the SDKs do, in whatever encoding the server names. Raises what encodings raise."""
    name = response.charset_encoding
    if name is not None and codecs.lookup(name).name in _SLOW:
        raise LookupError(name)
    str(response.text)


class Wired:
    """An adapter's side of the wire: what no text may show, the server, and what may break on the way to it."""

    def __init__(self, key: str | None, server: object, options: Mapping[str, Any]) -> None:
        self._hiding = Hiding(key, options)
        self.server: Final = server_shown(server)
        """Its address, without what may be secret in it."""

    def clean(self, text: str) -> str:
        """The text without the key, and without what the options send beside a request."""
        return self._hiding.clean(text)

    def said_in(self, refusal: httpx2.Response) -> str:
        """What a refusal says that is not written as its dialect has it, in one line."""
        # Cleaned first: half a key would not be known as one.
        text = " ".join(self.clean(refusal.text).split())
        return excerpt(text, _SAID) or "it said no more"

    def lost(self, cause: BaseException, *, late: bool) -> BackendError:
        """The error of a request that did not get its answer: ``late`` where it only took too long."""
        if isinstance(cause, BackendError):  # a refusal whose reason could not be heard
            return cause
        said = self.clean(str(cause) or type(cause).__name__)
        if isinstance(cause, _NEVER_SENT):
            return BackendError("connection", f"no connection to {self.server}: {said}")
        if isinstance(cause, httpx2.TooManyRedirects):
            return BackendError("rejected", f"{self.server} sends its callers in a circle: {said}")
        return BackendError("timeout" if late else "cut", f"the connection to {self.server} broke: {said}")

    @contextmanager
    def failures(self) -> Generator[None]:
        """Tells what went wrong on the way, as BackendError. What is left behind may quote the key."""
        try:
            yield
        except BackendError as error:
            error.args = (self.clean(str(error)),)
            raise
        except httpx2.HTTPError as error:  # what an SDK lets through, such as an error whose body is cut
            raise self.lost(error, late=False) from None
        except UnicodeEncodeError as error:  # half of a surrogate pair, which no encoding of text can carry
            raise BackendError("rejected", f"the request cannot be encoded: {self.clean(str(error))}") from None
        except (ValueError, RecursionError) as error:
            raise BackendError("broken", f"the answer is no JSON: {self.clean(str(error))}") from None


class Beside(TypedDict, total=False):
    """What goes beside the body of a request, under the names of the SDKs."""

    headers: Mapping[str, str]
    params: Mapping[str, object]


def beside_body(request: Request) -> Beside:
    """The ``extra_headers`` and ``extra_query`` that the file and the call have."""
    passed = dict(request.options) | dict(request.extra)
    beside: Beside = {}
    if headers := passed.get("extra_headers"):
        beside["headers"] = headers
    if query := passed.get("extra_query"):
        beside["params"] = query
    return beside


def without(request: Request, beside: frozenset[str]) -> Request:
    """The request less the options that are no part of its body."""
    options, extra = (
        {name: value for name, value in given.items() if name not in beside}
        for given in (request.options, request.extra)
    )
    return evolve(request, options=options, extra=extra)


def said_by_the_router(options: Mapping[str, Any], owned: frozenset[str]) -> list[str]:
    """What is wrong with options that are the router's own, one line each."""
    return [
        f"options.{name}: the router says this itself; `max_output_tokens` of the alias or the call sets the length"
        for name in sorted(owned.intersection(options))
    ]


def no_mappings(options: Mapping[str, Any], *names: str) -> list[str]:
    """What is wrong with those of these options that are there and no mappings, one line each."""
    return [
        f"options.{name}: must be a mapping of names to values"
        for name in names
        if not isinstance(options.get(name, {}), Mapping)
    ]


def content_of(answer: bytes, headers: Mapping[str, str]) -> object:
    """The document of an answer, or its text where it is none and does not say that it is one: some servers do not say what they send.
    Raises BackendError (``broken``) for JSON that is broken, with what came of it: that is output, and billed, whatever was lost.
    """
    try:
        return json.loads(answer)
    except (ValueError, RecursionError) as error:
        text = answer.decode("utf-8", "replace")
        kind, *_ = headers.get("content-type", "").split(";")
        if kind.strip().lower().endswith("json"):
            raise BackendError("broken", f"the answer is no JSON: {error}", received=text) from None
        return text


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that a server asks to wait. A date counts from the server's own ``Date``, so no clock is needed."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
        if seconds >= 0:  # nor is it no number
            return seconds
    try:
        then, now = (parsedate_to_datetime(headers[name]) for name in ("retry-after", "date"))
        return max(0.0, (then - now).total_seconds())
    except (KeyError, ValueError, TypeError, OverflowError):  # the last for a zone that is far out of this world
        return None
