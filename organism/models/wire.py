"""What every provider over HTTP needs beside its protocol: how long to wait, what a refusal costs, why a connection broke."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final, TypedDict

import anyio
import httpx2

from organism.models.allowances import allowance_in
from organism.models.chat import kind_of
from organism.models.contract import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from organism.models.contract import Request

SECONDS_TO_CONNECT: Final = 10.0
"""A host that does not even take the connection costs nothing, and that is told apart from a slow answer by this."""
SECONDS_FOR_LEFTOVERS: Final = 0.2
"""What comes behind the end of a stream is waited for as long, so that its connection can serve the next call."""
_SECONDS_FOR_REASONS: Final = 1.0
"""A refusal is known by its status; longer than this its text is not waited for."""
_NEVER_SENT: Final = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
)


async def hear_reasons(response: httpx2.Response) -> None:
    """Reads the text of a refusal where it can be had: the status alone says that nothing is billed, also where the text is
    cut or never comes. Raises BackendError then. A hook for responses.
    """
    status = response.status_code
    if status < 400:
        return
    text = "it said no more"
    try:
        with anyio.move_on_after(_SECONDS_FOR_REASONS):
            await response.aread()
            return
    except httpx2.HTTPError:
        text = "what it said was cut off"
    headers = response.headers
    raise BackendError(
        kind_of(status, "", ""), f"{status}: {text}", retry_after=retry_after(headers), allowance=allowance_in(headers)
    )


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


def content_of(answer: httpx2.Response) -> object:
    """The document of an answer, or its text where it says that it is none. Raises ValueError for JSON that is broken."""
    kind, *_ = answer.headers.get("content-type", "*").split(";")
    return answer.json() if kind.endswith("json") else answer.text


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that a server asks to wait. A date counts from the server's own ``Date``, so no clock is needed."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
    try:
        then, now = (parsedate_to_datetime(headers[name]) for name in ("retry-after", "date"))
        return max(0.0, (then - now).total_seconds())
    except (KeyError, ValueError, TypeError):
        return None


def lost(cause: BaseException, said: str, server: object, *, late: bool) -> BackendError:
    """The error of a request that did not get its answer from ``server``: ``late`` where it only took too long."""
    if isinstance(cause, _NEVER_SENT):
        return BackendError("connection", f"no connection to {server}: {said}")
    if isinstance(cause, httpx2.TooManyRedirects):
        return BackendError("rejected", f"{server} sends its callers in a circle: {said}")
    return BackendError("timeout" if late else "cut", f"the connection to {server} broke: {said}")
