"""Tools of agents, as the command line tells of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Desk

TOOLS = """
    async def search(query: str) -> str:
        '''Looks things up.'''
        return f"found {query}"
"""
FILE = """
    organism: demo
    journal: sqlite:organism.db
    handlers:
      desk:
        agent: {accepts: work:Job, replies: work:Done, tools: [tools:search]}
        description: Has it done.
"""


def test_tools_are_told_of_and_are_no_handlers_to_send_to(desk: Desk) -> None:
    desk.write("tools.py", TOOLS)
    desk.write("organism.yaml", FILE)
    check = desk.organism("check").out
    assert "1 handler" in check
    assert "agent, takes Job, replies Done, model default; tools search\n" in check
    graph = desk.organism("graph").out
    assert 'h2[["desk.search<br/>tool"]]' in graph
    assert "h1 --> h2" in graph
    assert desk.organism("run", "--to", "desk.search", "--send", "x").code == 2
    assert desk.organism("run", "--send", "pumps").code == 0
    assert "desk.search" in desk.organism("usage", "--by", "handler").out
    (thread,) = desk.organism("threads", "--json").objects
    shown = desk.organism("show", str(thread["thread"])).out
    assert "desk asks desk.search, #2: FunctionCall: {" in shown
    assert "desk.search answers desk, #2: FunctionResult: found " in shown
    assert desk.organism("replay", str(thread["thread"])).code == 0
