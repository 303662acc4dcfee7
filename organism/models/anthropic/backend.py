"""The ``anthropic`` provider: any server that speaks Messages, through the official SDK."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

import anthropic

from organism.models.anthropic.request import RULES, answer_tool, body_of
from organism.models.anthropic.response import Assembler
from organism.models.contract import BackendFactory
from organism.models.formats import mapping
from organism.models.transport.sdk import SDKBackend
from organism.models.transport.sse import EventReader
from organism.settings import PROVIDERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.models.contract import Request
    from organism.settings import BackendSettings

log: Final = logging.getLogger("organism.models")

_SERVER: Final = "https://api.anthropic.com"


class _Client(anthropic.AsyncAnthropic):
    """The SDK's client, without the headers that it takes from the environment: they may be meant for another server."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._custom_headers = {}


class _Events(anthropic.AsyncStream[object]):
    """The events of a stream."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.events = EventReader(self.response, self._decoder.aiter_bytes, is_last=_is_last)

    def _iter_events(self) -> EventReader:
        return self.events


def _is_last(event: Any) -> bool:
    # By what it is, not by its name: most events hold no such word, and are not read twice.
    with suppress(ValueError, RecursionError):
        return '"message_stop"' in event.data and mapping(event.json()).get("type") == "message_stop"
    return False  # the SDK says what is wrong with it


class AnthropicBackend(SDKBackend):
    """One backend. Traces of the SDK are off."""

    sdk: ClassVar[Any] = anthropic
    path = "/v1/messages"
    reader: ClassVar[type[Any]] = _Events

    def __init__(self, settings: BackendSettings, key: str | None) -> None:
        # The path of this format has its version in it; addresses of the other format end with theirs.
        server = (settings.base_url or _SERVER).rstrip("/").removesuffix("/v1")
        super().__init__(partial(_Client, open_telemetry=False), settings, key, server=server)
        self._model = settings.model
        self._prompt_cache = settings.prompt_cache
        self._seed_said = False

    def body(self, request: Request) -> dict[str, Any]:
        """See :func:`~organism.models.anthropic.request.body_of`."""
        if request.seed is not None and not self._seed_said:
            self._seed_said = True
            log.warning(
                "anthropic/%s: a seed is not sent; this protocol has none, and answers will differ", self._model
            )
        return body_of(request, prompt_cache=self._prompt_cache)

    def assembler(self, request: Request) -> Assembler:
        """See :class:`~organism.models.anthropic.response.Assembler`."""
        return Assembler(answer_tool(request))


def check(settings: BackendSettings) -> Sequence[str]:
    """What is wrong with the options, one line each."""
    seed = ["options.seed: this protocol has no seed; leave it out"] if "seed" in settings.options else []
    return [*RULES.problems(settings.options), *seed]


PROVIDER: Final = BackendFactory(make=AnthropicBackend, key_env=PROVIDERS["anthropic"], needs_key=True, check=check)
"""See :mod:`organism.models.providers`."""
