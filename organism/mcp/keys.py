"""What servers are given of the environment: variables and keys."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from organism.errors import ConfigurationError
from organism.models.factories import read_key
from organism.names import sounds_secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from organism.mcpsettings import McpServer
    from organism.settings import Settings


def env_of(server: McpServer, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of a command. Raises ConfigurationError, in lines without a place, for those that are missing."""
    missing = [name for name in server.pass_env if name not in environ]
    if missing:
        way_out = "which is not set: set it, or leave it out of 'pass_env'"
        raise ConfigurationError([f"MCP server '{server.name}' is to get {name}, {way_out}" for name in missing])
    return {**server.env, **{name: environ[name] for name in server.pass_env}}


def key_of(server: McpServer, environ: Mapping[str, str]) -> str | None:
    """The key that an address is sent, ``None`` where none is named. Raises ConfigurationError, in a line without a place, for one that is
    missing, cannot be read, or is none.
    """
    key = read_key(server.api_key_env, server.api_key_file, environ)
    if not key and server.api_key_env is not None:
        variable = server.api_key_env
        way_out = "set it, or leave 'api_key_env' out"
        raise ConfigurationError([f"no key for MCP server '{server.name}': {variable} is not set; {way_out}"])
    return key or None


def secrets_of(settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """What servers are given that no text may show. What cannot be read is none."""
    found: list[str] = []
    for server in settings.mcp.values():
        found += [environ.get(name, "") for name in server.pass_env if sounds_secret(name)]
        with suppress(ConfigurationError):
            found.append(key_of(server, environ) or "")
    return found
