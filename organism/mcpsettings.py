"""MCP servers and what agents use of them, as they were declared: frozen values, as in ``settings``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from attrs import field, frozen

NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


def _names(env: Mapping[str, str]) -> str:
    """What variables say of themselves: their names."""
    return f"{{{', '.join(f'{name!r}: ...' for name in env)}}}"


@frozen(kw_only=True)
class McpServer:
    """A server of the Model Context Protocol: a ``command`` that is started, or the ``url`` of one that runs.

    ``env`` are variables that a command gets, ``pass_env`` the names of those that it gets from the organism's own environment, ``cwd`` is
    the folder that it runs in. ``api_key_env`` or ``api_key_file`` say where the key is that a ``url`` is sent. ``timeout`` is the seconds
    that it may take to start, and each call of its tools; ``None``: 30 to start, and a call as long as any function. ``backoff`` is
    (first, longest) in seconds: how long one is left alone that could not be started. ``place`` is where it stands in the file.
    """

    name: str
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default=NOTHING, repr=_names)
    pass_env: tuple[str, ...] = ()
    cwd: Path | None = None
    url: str | None = None
    api_key_env: str | None = None
    api_key_file: Path | None = None
    timeout: float | None = None
    backoff: tuple[float, float] = (0.5, 30.0)
    place: str = ""


@frozen(kw_only=True)
class McpTools:
    """Tools of the ``server`` of this name that an agent may use: the one called ``tool`` there, ``None``: all. Each call may run for
    ``timeout`` seconds. ``place`` is where it stands in the file.
    """

    server: str
    tool: str | None = None
    timeout: float | None = None
    place: str = ""

    def __str__(self) -> str:
        return f"mcp:{self.server}" if self.tool is None else f"mcp:{self.server}/{self.tool}"
