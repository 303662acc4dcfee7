"""The keys of ``mcp``: servers of the Model Context Protocol, by name."""

from __future__ import annotations

import re
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from organism.config.backends import NO_KEYS, NO_SECRETS, VARIABLE, Variable, url_problem
from organism.config.failures import WAITS
from organism.config.named import invalid_name
from organism.config.paths import FilePath, FolderPath
from organism.config.places import shown, where
from organism.config.sections import ListOf, MapOf, Record, Section
from organism.config.shapes import Number, Text
from organism.loader import is_installed
from organism.mcpsettings import McpServer
from organism.names import is_handler_name, not_installed, sounds_secret

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MEANS: Final[Mapping[str, tuple[str, str]]] = {
    "command": (
        "",
        "the program that is started, and its arguments: `[python, server.py]`; it speaks MCP by its standard input and output",
    ),
    "env": ("{}", "environment variables for it, beside `PATH`, `HOME` and the like. None that is a secret"),
    "pass_env": ("[]", "names of variables that it gets from the organism's own environment, as those with secrets"),
    "cwd": ("", "the folder that it runs in; that of the file where none is named"),
    "url": ("", "the address of a server that runs already, and speaks MCP by streamable HTTP"),
    "api_key_env": ("", "the environment variable whose value is sent to a `url`, as `Authorization: Bearer ...`"),
    "api_key_file": ("", "a file with that key instead"),
    "timeout": (
        "30",
        "seconds that it may take to start, and each call of its tools (there `defaults.timeout` is the default)",
    ),
    "backoff": (
        "[0.5, 30]",
        "seconds that it is left alone when it could not be started: the first wait, which doubles, and the longest",
    ),
}
"""What the keys of a server mean, by key the default and a sentence."""
_LIBRARY: Final = "mcp"
_OF_COMMANDS: Final = ("env", "pass_env", "cwd")
_OF_URLS: Final = ("api_key_env", "api_key_file")


def server_problem(name: str) -> str | None:
    """What is wrong with the name of a server: the names of its tools begin with it."""
    return None if is_handler_name(name) else invalid_name(name, "server name")


def _env_problem(name: str) -> str | None:
    if not re.fullmatch(VARIABLE, name):
        return f"{shown(name)} is not the name of an environment variable"
    if sounds_secret(name):
        return (
            f"a secret does not belong here: set {name} in the environment of the organism, and name it in 'pass_env'"
        )
    return None


def _server(section: Section) -> Section:
    """A server, as a section, after it was noted what does not go together in it."""
    kinds = [key for key in ("command", "url") if key in section.table.entries]
    if not kinds:
        section.reading.wrong(section.table, "needs 'command: [program, argument]' or 'url: http://...'")
    elif len(kinds) > 1:
        section.wrong("url", "is there beside 'command': a server is started, or runs already")
    elif misplaced := _OF_COMMANDS if kinds == ["url"] else _OF_URLS:
        for key in misplaced:
            if key in section.table.entries:
                section.wrong(key, f"says nothing of a {shown(kinds[0])}: leave it out")
    if section.values.get("api_key_env") and section.values.get("api_key_file"):
        section.wrong("api_key_file", "is there beside 'api_key_env': keep one of them")
    return section


def servers_of(top: Section, folder: Path | None) -> Mapping[str, McpServer]:
    """The settings of the servers, in the order of the file. Only for sections without a mistake."""
    sections: Mapping[str, Section] = top.values.get("mcp", {})
    return MappingProxyType({name: _settings(name, section, folder) for name, section in sections.items()})


def _settings(name: str, section: Section, folder: Path | None) -> McpServer:
    said: dict[str, Any] = {"cwd": folder, **section.values}
    if "env" in said:
        said["env"] = MappingProxyType(said["env"])
    place = where(section.table.place, section.table.path)
    return McpServer(name=name, place=place, **said)


def check_servers(top: Section) -> None:
    """Notes that what servers take is not installed."""
    if top.values.get("mcp") and not is_installed(_LIBRARY):
        top.wrong("mcp", not_installed(_LIBRARY, _LIBRARY))


_SERVER: Final = Record(
    {
        "command": ListOf(Text("a program or an argument"), filled=True),
        "env": MapOf(Text(), _env_problem, form=f"^{VARIABLE}$"),
        "pass_env": ListOf(Variable(), unique=True),
        "cwd": FolderPath(),
        "url": Text(check=partial(url_problem, example="http://localhost:9000/mcp")),
        "api_key_env": Variable(),
        "api_key_file": FilePath(),
        "timeout": Number(above=0),
        "backoff": WAITS,
    },
    named=("mcp",),
    either=("command", "url"),
    make=_server,
    refused={
        **NO_KEYS,
        "args": "arguments stand behind the program: `command: [program, argument]`",
        "headers": f"{NO_SECRETS}; it is sent as 'Authorization: Bearer ...'",
    },
    tolerant=True,
)
MCP: Final = MapOf(_SERVER, server_problem, form="^(?!organism$)[a-z][a-z0-9_-]{0,63}$")
"""All servers, as sections; :func:`servers_of` makes the settings when there is no mistake anywhere."""
