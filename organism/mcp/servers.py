"""The MCP servers of one organism: asked for their tools when it starts, called while it runs, and ended when it closes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
from attrs import field, frozen

from organism.errors import ConfigurationError
from organism.mcp.connection import Connection, Unreachable
from organism.mcp.keys import env_of, key_of
from organism.mcp.tools import listed, with_tools
from organism.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from organism.mcp.tools import Definition
    from organism.mcpsettings import McpServer


@frozen
class Found:
    """The ``settings`` of an organism with the tools of its servers, and a line for each server, with what models call its tools."""

    settings: Settings = field(repr=False)
    lines: tuple[str, ...]


class Servers:
    """Connections to those servers whose tools an agent wants. ``environ`` has their keys, ``left_out`` takes secrets out of what they say."""

    def __init__(self, settings: Settings, *, environ: Mapping[str, str], left_out: Callable[[str], str]) -> None:
        self._settings = settings
        self._environ = environ
        self._left_out = left_out
        agents = [each.agent for each in settings.handlers.values() if each.agent is not None]
        wanted = {each.server for agent in agents for each in agent.mcp}
        self._servers = {name: each for name, each in settings.mcp.items() if name in wanted}
        self._connections: dict[str, Connection] = {}

    async def open(self) -> Found:
        """Starts them all at once, and asks for their tools.

        Raises ConfigurationError with a placed line for each that cannot be used; then none is left running.
        """
        problems: dict[str, list[str]] = {}
        found: dict[str, Sequence[Definition]] = {}

        async def ask(name: str, server: McpServer) -> None:
            try:
                env, key = env_of(server, self._environ), key_of(server, self._environ)
                self._connections[name] = connection = Connection(server, env=env, key=key, left_out=self._left_out)
                found[name] = await connection.definitions()
            except Unreachable as error:
                problems[name] = [f"{server.place}: MCP server '{name}': {error}"]
            except ConfigurationError as error:
                problems[name] = [f"{server.place}: {line}" for line in error.mistakes]

        try:
            async with anyio.create_task_group() as group:
                for name, server in self._servers.items():
                    group.start_soon(ask, name, server)
            ordered = {name: found[name] for name in self._servers if name in found}
            settings = with_tools(self._settings, ordered, self, [line for each in problems.values() for line in each])
            return Found(settings, tuple(listed(ordered)))
        except BaseException:
            await self.close()
            raise

    async def call(self, tool: Definition, arguments: dict[str, Any]) -> str:
        """See :class:`~organism.mcp.tools.Calls`."""
        return await self._connections[tool.server].call(tool, arguments)

    async def close(self) -> None:
        """Ends them all, and waits for that for a while."""
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as group:
                for connection in self._connections.values():
                    group.start_soon(connection.close)
