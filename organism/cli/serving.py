"""Serves until Ctrl-C: what is behind ``organism simulate``, with the libraries that it alone needs."""

from __future__ import annotations

import errno
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import anyio

from organism.cli.interrupts import Interrupts
from organism.cli.signals import exit_code
from organism.cli.text import one_line
from organism.errors import ConfigurationError, reason_of
from organism.server.http import listening
from organism.server.simulated import SimulatedProvider

if TYPE_CHECKING:
    from organism.cli.streams import Streams
    from organism.server.http import Server

KEY: Final = "SIMULATED_KEY"
"""The variable that callers have the key in, where one is asked for."""
_SECONDS_TO_END: Final = 2.0
"""What is being answered when Ctrl-C is typed may take so long."""


def serve(host: str, port: int, streams: Streams, **model: Any) -> int:
    """Serves a simulated provider, made with the arguments that ``model`` has, until Ctrl-C; returns the exit code.

    Raises ConfigurationError, in one line, where it cannot listen there.
    """
    provider = SimulatedProvider(wall=time.time, **model)
    with Interrupts(lambda: None) as interrupts:
        anyio.run(_serve, provider, host, port, streams, interrupts, backend="trio")
    streams.note(f"requests answered: {provider.answered:,}; {provider.cancelled:,} given up by clients")
    return 0 if interrupts.number is None else exit_code(interrupts.number)


async def _serve(provider: SimulatedProvider, host: str, port: int, streams: Streams, interrupts: Interrupts) -> None:
    async with AsyncExitStack() as stack:
        try:
            server = await stack.enter_async_context(listening(provider, host=host, port=port))
        except OSError as error:
            raise ConfigurationError([_cannot_listen(host, port, error)]) from error
        streams.result("\n".join(_how_to_use(server, provider)))
        await interrupts.wait()
        await server.drain(_SECONDS_TO_END)


def _cannot_listen(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"--port {port}: something else listens on it at {one_line(host)}; name another one, or 0 for one that is free"
    if error.errno == errno.EACCES:
        return f"--port {port}: you may not listen on it; name one from 1024 on, or 0 for one that is free"
    return f"--host {one_line(host)}: cannot be listened on: {one_line(reason_of(error))}; name an address of this host"


def _how_to_use(server: Server, provider: SimulatedProvider) -> list[str]:
    """Where it is, and what to write into organism.yaml."""
    host = f"[{server.host}]" if ":" in server.host else server.host
    url = f"http://{host}:{server.port}"
    key, name = "null" if provider.key is None else KEY, one_line(provider.models[0])
    usual = f"api_key_env: {key}, context_window: {provider.options.context_window}, price: {{input: 0, output: 0}}"
    return [
        f"the simulated model answers at {url}; Ctrl-C ends it",
        "in organism.yaml, by either protocol:",
        "",
        "models:",
        "  default:",
        "    backends:",
        f'      - {{provider: openai, model: {name}, base_url: "{url}/v1", {usual}}}',
        f'      # {{provider: anthropic, model: {name}, base_url: "{url}", {usual}}}',
        *([] if provider.key is None else ["", f"the key is expected in the environment: export {KEY}=..."]),
    ]
