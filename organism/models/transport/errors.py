"""What breaks on the way to a server and back, as BackendError: why, and so what it costs."""

from __future__ import annotations

import codecs
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx2

from organism.models.contract import BackendError
from organism.models.redaction import Hiding, server_shown
from organism.models.transport.headers import allowance_in, retry_after
from organism.models.transport.refusals import heard_in, kind_of
from organism.names import excerpt

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

_SECONDS_FOR_REASONS: Final = 1.0
"""A refusal is known by its status; longer than this its text is not waited for."""
_SAID: Final = 200
"""Characters of a refusal that are told where it is not written as its format has it."""
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
    raise _refusal(response, text, "", "")


def _read_text(response: httpx2.Response) -> None:
    """Reads the text as the SDKs do, in whatever encoding the server names. Raises what encodings raise."""
    name = response.charset_encoding
    if name is not None and codecs.lookup(name).name in _SLOW:
        raise LookupError(name)
    str(response.text)


def _refusal(response: httpx2.Response, text: str, codes: str, heard: str) -> BackendError:
    status, headers = response.status_code, response.headers
    return BackendError(
        kind_of(status, codes, heard),
        f"{status}: {text}",
        retry_after=retry_after(headers),
        allowance=allowance_in(headers),
    )


class WireErrors:
    """What may go wrong between a backend and its ``server``, told without the key and without what the options send beside a request."""

    def __init__(self, key: str | None, server: object, options: Mapping[str, Any]) -> None:
        self.hiding = Hiding(key, options)
        self._server = server_shown(server)

    @contextmanager
    def told(self) -> Generator[None]:
        """Tells what goes wrong in the block, as BackendError. What is left behind may quote the key."""
        try:
            yield
        except BackendError as error:
            error.args = (self.hiding.clean(str(error)),)
            raise
        except httpx2.HTTPError as error:  # what an SDK lets through, such as an error whose body is cut
            raise self.lost(error) from None
        except (ValueError, RecursionError) as error:
            raise BackendError("broken", f"the answer is not JSON: {self.hiding.clean(str(error))}") from None

    def refusal(self, response: httpx2.Response, message: object) -> BackendError:
        """The error of a status of 300 or more; ``message`` is its text, where it is written as its format has it."""
        # Cleaned before it is cut: half a key would not be known as one.
        said = excerpt(" ".join(self.hiding.clean(response.text).split()), _SAID) or "it said no more"
        if response.status_code == 401:
            said = "the key was refused"  # OpenAI quotes most of a wrong key in its answer to it
        elif isinstance(message, str) and message:
            said = self.hiding.clean(message)
        return _refusal(response, said, *heard_in(response.text))

    def lost(self, cause: BaseException) -> BackendError:
        """The error of a request that did not get its answer."""
        if isinstance(cause, BackendError):  # a refusal whose reason could not be heard
            return cause
        said = self.hiding.clean(str(cause) or type(cause).__name__)
        if isinstance(cause, _NEVER_SENT):
            return BackendError("connection", f"no connection to {self._server}: {said}")
        if isinstance(cause, httpx2.TooManyRedirects):
            return BackendError("rejected", f"{self._server} sends its callers in a circle: {said}")
        late = isinstance(cause, httpx2.TimeoutException)
        return BackendError("timeout" if late else "cut", f"the connection to {self._server} broke: {said}")


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
            raise BackendError("broken", f"the answer is not JSON: {error}", received=text) from None
        return text
