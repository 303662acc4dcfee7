"""The ``openai`` provider: any server that speaks chat completions, through the official SDK."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

import openai

from organism.models.contract import BackendFactory, RawUsage
from organism.models.formats import mapping
from organism.models.openai.request import RULES, body_of
from organism.models.openai.response import Assembler, usage_of
from organism.models.reasoning import OPENAI_SERVER, keeps_for
from organism.models.transport.sdk import SDKBackend
from organism.models.transport.sse import EventReader
from organism.settings import PROVIDERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.models.contract import Request
    from organism.settings import BackendSettings


class _Chunks(openai.AsyncStream[object]):
    """The chunks of a stream."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.events = EventReader(self.response, self._decoder.aiter_bytes, is_last=_is_last, report_in=_report_in)

    def _iter_events(self) -> EventReader:
        return self.events


def _is_last(event: Any) -> bool:
    return bool(event.data.startswith("[DONE]"))


def _report_in(event: Any) -> RawUsage | None:
    try:
        return usage_of(mapping(event.json()))
    except (ValueError, RecursionError):
        return None


class OpenAIBackend(SDKBackend):
    """One backend."""

    sdk: ClassVar[Any] = openai
    path = "/chat/completions"
    reader: ClassVar[type[Any]] = _Chunks
    streamed: ClassVar[dict[str, Any]] = {"stream": True, "stream_options": {"include_usage": True}}
    beside: ClassVar[dict[str, Any]] = {"security": {"bearer_auth": True}}

    def __init__(self, settings: BackendSettings, key: str | None) -> None:
        super().__init__(openai.AsyncOpenAI, settings, key, server=settings.base_url or OPENAI_SERVER)
        # The SDK takes these from the environment by itself; another company's server must not get to see them.
        self._client.organization = None
        self._client.project = None
        # Only OpenAI's own server is sure to know the new name; most others know the old one only.
        usual = "max_completion_tokens" if settings.base_url is None else "max_tokens"
        self._limit = str(settings.options.get("max_tokens_parameter", usual))
        self._server = keeps_for(settings)

    def body(self, request: Request) -> dict[str, Any]:
        """See :func:`~organism.models.openai.request.body_of`."""
        return body_of(request, limit=self._limit, server=self._server)

    def assembler(self, request: Request) -> Assembler:  # noqa: ARG002 - the shape of all formats
        """See :class:`~organism.models.openai.response.Assembler`."""
        return Assembler(self._server)


def check(settings: BackendSettings) -> Sequence[str]:
    """What is wrong with the options, one line each."""
    wrong = RULES.problems(settings.options)
    if not isinstance(settings.options.get("max_tokens_parameter", ""), str):
        wrong.append("options.max_tokens_parameter: must be the name of a parameter, such as max_completion_tokens")
    if not isinstance(settings.options.get("send_thoughts_back", True), bool):
        wrong.append("options.send_thoughts_back: must be true or false")
    return wrong


PROVIDER: Final = BackendFactory(make=OpenAIBackend, key_env=PROVIDERS["openai"], needs_key=True, check=check)
"""See :mod:`organism.models.providers`."""
