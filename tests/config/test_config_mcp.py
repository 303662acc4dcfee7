"""``mcp`` in organism.yaml: servers that are checked and not started, and what agents may name of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from attrs import evolve

from organism.mcpsettings import McpServer, McpTools

if TYPE_CHECKING:
    from tests.config.conftest import Project

FILE = """
organism: demo
mcp:
  files: {server}
handlers:
  writer:
    description: Writes.
    agent: {accepts: organism:Text, replies: organism:Text, {agent}}
"""


def document(server: str = "{command: [serve]}", agent: str = "tools: [mcp:files]") -> str:
    return FILE.replace("{server}", server).replace("{agent}", agent)


def test_a_server_and_what_an_agent_wants_of_it_are_kept_for_the_start(project: Project) -> None:
    server = "{command: [serve, --all], env: {LANG: C}, pass_env: [TOKEN], cwd: data, timeout: 5, backoff: [1, 2]}"
    settings = project.load(document(server, "tools: [mcp:files, mcp:files/read]"))
    assert evolve(settings.mcp["files"], place="") == McpServer(
        name="files", command=("serve", "--all"), env={"LANG": "C"}, pass_env=("TOKEN",), cwd=project.folder / "data",
        timeout=5, backoff=(1, 2),
    )  # fmt: skip
    assert settings.mcp["files"].place.endswith("organism.yaml:3:10 mcp.files")
    agent = settings.handlers["writer"].agent
    assert agent is not None
    every, one = agent.mcp
    assert (evolve(every, place=""), evolve(one, place="")) == (
        McpTools(server="files", timeout=30),
        McpTools(server="files", tool="read", timeout=30),
    )
    assert one.place.endswith("handlers.writer.agent.tools[1]")
    assert agent.tools == ()


def test_a_server_runs_beside_its_file_where_nothing_else_is_said(project: Project) -> None:
    assert project.load(document()).mcp["files"].cwd == project.folder


MISTAKES = [
    ("{}", "mcp.files: needs 'command: [program, argument]' or 'url: http://...'"),
    ("{command: serve}", "mcp.files.command: must be a list and not 'serve'"),
    ("{command: []}", "mcp.files.command: is an empty list: name one item at least"),
    ("{command: [a], url: http://b}", "mcp.files.url: is there beside 'command': a server is started, or runs already"),
    ("{url: http://b, cwd: x}", "mcp.files.cwd: says nothing of a 'url': leave it out"),
    ("{command: [a], api_key_env: K}", "mcp.files.api_key_env: says nothing of a 'command': leave it out"),
    ("{url: b}", "mcp.files.url: 'b' is not the address of a server, as in 'http://localhost:9000/mcp'"),
    (
        "{url: 'http://me:pw@b'}",
        "mcp.files.url: a key does not belong here: name the environment variable that holds it (api_key_env) or a file (api_key_file)",
    ),
    (
        "{command: [a], env: {API_TOKEN: abc}}",
        "mcp.files.env.API_TOKEN: a secret does not belong here: set API_TOKEN in the environment of the organism, and name it in 'pass_env'",
    ),
    ("{command: [a], env: {A B: c}}", "mcp.files.env.'A B': 'A B' is not the name of an environment variable"),
    ("{command: [a], args: [b]}", "mcp.files.args: arguments stand behind the program: `command: [program, argument]`"),
    ("{command: [a], timeout: 0}", "mcp.files.timeout: 0 is not above 0"),
    ("{command: [a], backoff: [3, 1]}", "mcp.files.backoff: the first wait (3) is longer than the longest (1)"),
]


@pytest.mark.parametrize(("server", "problem"), MISTAKES)
def test_a_wrong_server_is_a_mistake_with_its_place(project: Project, server: str, problem: str) -> None:
    (mistake,) = project.mistakes(document(server))
    assert mistake.startswith("organism.yaml:3:")
    assert mistake.partition(" ")[2] == problem


WANTED = [
    ("tools: [mcp:file]", "tools[0]: 'file' is not an MCP server; did you mean 'files'?"),
    (
        "tools: ['mcp:']",
        "tools[0]: 'mcp:' names no tools: write 'mcp:SERVER' for all of a server, or 'mcp:SERVER/TOOL'",
    ),
    ("tools: [mcp:files, mcp:files]", "tools[1]: is in the list twice"),
    (
        "tools: [mcp:files/read], tool_calls: {files_rad: 1}",
        "tool_calls.files_rad: 'files_rad' is not a tool of 'writer'; did you mean 'files_read'?",
    ),
    (
        "tools: [mcp:files], tool_calls: {file_read: 1, files_read: 1}",
        "tool_calls.file_read: 'file_read' is not a tool of 'writer'; use one that begins with 'files_'",
    ),
]


@pytest.mark.parametrize(("agent", "problem"), WANTED)
def test_what_an_agent_cannot_want_is_a_mistake_with_its_place(project: Project, agent: str, problem: str) -> None:
    (mistake,) = project.mistakes(document(agent=agent))
    assert mistake.startswith("organism.yaml:7:")
    assert mistake.endswith(f" handlers.writer.agent.{problem}")


def test_a_server_needs_its_library(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("organism.config.mcp.is_installed", {"mcp": False}.get)
    (mistake,) = project.mistakes(document())
    assert mistake.endswith("mcp: needs 'mcp', which is not installed; install organism with its extra 'mcp'")
