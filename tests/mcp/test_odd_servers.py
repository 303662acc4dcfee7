"""Servers that answer what no server should: the organism and its agents go on, and say in plain words what is wrong."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from organism import ConfigurationError
from organism.testing import ScriptedModel
from tests.mcp.notes_world import Notes, answer, calls

pytestmark = pytest.mark.real_clocks
SERVER: Final = str(Path(__file__).with_name("odd_server.py"))


def odd(oddity: str) -> dict[str, Any]:
    return {"command": [sys.executable, SERVER, oddity]}


CALLED = [
    ("no list", "'notes_look' was called, and what it answered cannot be read: "),
    ("another kind", "'notes_look' was called, and what it answered cannot be read: "),
    ("unfit", "'notes_look' was called, and what it answered cannot be read: "),
]


@pytest.mark.by_turns
@pytest.mark.parametrize(("oddity", "said"), CALLED)
async def test_an_answer_that_is_none_is_told_to_the_model(tmp_path: Path, oddity: str, said: str) -> None:
    async with Notes(tmp_path).organism(calls(("notes_look", {})), server=odd(oddity)) as organism:
        (line,) = await answer(organism)
    failed = json.loads(line)["HandlerFailed"]
    assert failed["code"] == "refused"
    assert failed["text"].startswith(said)
    assert "\n" not in failed["text"]
    assert len(failed["text"]) < 1200


@pytest.mark.by_turns
async def test_a_text_that_is_too_long_is_cut_and_an_empty_one_is_one(tmp_path: Path) -> None:
    model = calls(("notes_look", {}))
    long = {"tool_output": {"max_bytes": 3 * 1024 * 1024}}
    async with Notes(tmp_path).organism(model, server=odd("too much"), agent=long) as organism:
        *text, cut = await answer(organism)
    assert (len("".join(text)), cut) == (2 * 1024 * 1024, "[cut: 5 of 2097157 characters left out]")
    for oddity, whole in (("nothing", ""), ("structured", '{"n": 1}')):
        async with Notes(tmp_path).organism(model, server=odd(oddity)) as organism:
            assert await answer(organism) == [whole]


@pytest.mark.by_turns
@pytest.mark.parametrize("oddity", ["no result", "half a character"])
async def test_what_is_no_message_is_logged_and_its_call_is_not_answered(
    tmp_path: Path, oddity: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = calls(("notes_look", {}))
    async with Notes(tmp_path).organism(model, server=odd(oddity), defaults={"timeout": 2}) as organism:
        (line,) = await answer(organism)
    assert json.loads(line)["HandlerFailed"]["code"] == "timeout"
    noise = "MCP server 'notes': it writes to its standard output what is no message, and nothing else may stand there"
    assert [each.getMessage() for each in caplog.records if each.name == "organism.mcp"] == [noise]
    assert not [each for each in caplog.records if each.name.startswith("mcp.")]


LISTED = [
    ("large", r"its tool 'look' has a definition of 70\d\d\d characters; 65536 are the most"),
    ("endless", r"has more than 500 tools, or tells them without end"),
    ("many", r"has more than 500 tools, or tells them without end"),
    ("not a list", r"did not tell its tools: "),
]


@pytest.mark.by_turns
@pytest.mark.parametrize(("oddity", "problem"), LISTED)
async def test_a_list_of_tools_that_is_none_keeps_the_organism_from_starting(
    tmp_path: Path, oddity: str, problem: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await Notes(tmp_path).organism(ScriptedModel([]), server=odd(oddity)).start()
    (mistake,) = caught.value.mistakes
    assert re.search(rf"mcp\.notes: MCP server 'notes': .*{problem}", mistake), mistake
