"""Commands on a file with MCP servers: ``organism check`` starts them only where it is told to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.waiting import LONG, wait_until

if TYPE_CHECKING:
    from tests.cli.conftest import Desk

pytestmark = pytest.mark.real_clocks

SERVER = '''
    from pathlib import Path
    from mcp.server.mcpserver import MCPServer

    Path("started").touch()
    server = MCPServer("notes")

    @server.tool()
    def lookup(word: str) -> str:
        """Looks it up."""
        return word

    server.run("stdio")
'''
FILE = f"""
    organism: demo
    mcp:
      notes: {{command: ['{sys.executable}', server.py]}}
      unused: {{url: "http://127.0.0.1:9/mcp"}}
    handlers:
      clerk:
        description: Works.
        agent: {{accepts: organism:Text, replies: organism:Text, tools: [mcp:notes]}}
"""


def test_servers_are_told_of_and_not_started(desk: Desk) -> None:
    desk.write("server.py", SERVER)
    desk.write("organism.yaml", FILE)
    ran = desk.organism("check")
    assert ran.code == 0, ran.out
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert "handler clerk agent, takes Text, replies Text, model default; tools mcp:notes" in lines
    assert f"mcp notes {sys.executable} server.py" in lines
    assert "mcp unused http://127.0.0.1:9/mcp" in lines
    assert not (desk.folder / "started").exists()


def test_a_probe_lists_the_tools_of_those_that_are_used(desk: Desk) -> None:
    desk.write("server.py", SERVER)
    desk.write("organism.yaml", FILE)
    ran = desk.organism("check", "--probe")
    assert ran.code == 0, ran.out + ran.err
    assert ran.out.splitlines()[-1] == "mcp notes: 1 tool: notes_lookup"
    assert (desk.folder / "started").exists()


def test_a_probe_says_which_server_cannot_be_used_and_why(desk: Desk) -> None:
    desk.write("server.py", "raise SystemExit('no database here')")
    desk.write("organism.yaml", FILE)
    ran = desk.organism("check", "--probe")
    assert ran.code == 2
    (line,) = ran.out.splitlines()
    assert line.startswith("organism.yaml:3:10 mcp.notes: MCP server 'notes': it could not be started: ")
    assert line.endswith("it has ended; its last words: no database here")
    assert "Traceback" not in ran.out + ran.err


def test_the_graph_has_what_an_agent_uses_of_a_server(desk: Desk) -> None:
    desk.write("organism.yaml", FILE)
    ran = desk.organism("graph", "--json")
    nodes = [(each["name"], each["kind"]) for each in json.loads(ran.out)["nodes"]]
    assert nodes == [("clerk", "agent"), ("clerk.mcp:notes", "tool")]


@pytest.mark.parametrize("words", [("run", "--send", "x"), ("chat",)], ids=lambda words: words[0])
def test_a_signal_ends_what_waits_for_servers_that_have_not_started(desk: Desk, words: tuple[str, ...]) -> None:
    slow = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(600)"
    desk.write("server.py", slow)
    desk.write("organism.yaml", FILE.replace("server.py]", f"server.py], timeout: {9 * LONG}"))
    command = [sys.executable, "-m", "organism", *words]
    run = subprocess.Popen(  # noqa: S603 - our own
        command, stdin=subprocess.PIPE, cwd=desk.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    pid = desk.folder / "pid"
    wait_until(lambda: pid.exists() and pid.read_text("utf-8"))
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=LONG)  # its server has longer, where nobody heeds the signal
    assert run.returncode == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text("utf-8")), 0)
