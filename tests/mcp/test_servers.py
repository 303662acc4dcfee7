"""Tools of MCP servers: real servers, which are started, called, killed, hung and asked in vain."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import ConfigurationError, Organism
from organism.errors import JournalHeldError
from organism.names import mcp_tool
from organism.testing import ScriptedModel
from tests.hard.pump_world import Go, code, echo
from tests.mcp.notes_world import QUICK, SERVER, Notes, answer, calls

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.real_clocks


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path)


async def test_a_call_is_a_message_to_a_handler_of_its_agent(notes: Notes, caplog: pytest.LogCaptureFixture) -> None:
    model = calls(
        [("notes_lookup", {"word": "tea"}), ("notes_lookup", {"word": "cup", "most": 1})], ("notes_write", {})
    )
    async with notes.organism(model, server=notes.server(SERVER)) as organism:
        result = await (await organism.send("clerk", Go())).result()
        by_handler = {name: used.messages for name, used in organism.usage(by="handler").items()}
    lines = result.reply.text.split("\n")
    assert lines[:2] == ["tea: 3 notes", "cup: 1 notes"]
    assert json.loads(lines[2]) == {"InvalidPayload": {"error": "'text' is a required property", "attempt": 1}}
    assert sorted(notes.noted) == ["lookup cup", "lookup tea", "start"]  # calls of one turn go side by side
    assert (by_handler["clerk.notes_lookup"], result.usage.messages) == (2, 3)
    assert [each.getMessage() for each in caplog.records if each.name == "organism.mcp"] == []
    names = [each.name for each in model.requests[0].tools if each.name.startswith("notes_")]
    assert names == sorted(names)  # the same prompt whatever order a server tells them in
    spec = next(each for each in model.requests[0].tools if each.name == "notes_lookup")
    assert spec.description == "Looks a word up in the notes."
    assert spec.parameters["required"] == ["word"]


@pytest.mark.by_turns
async def test_what_a_server_answers_is_read_as_text(notes: Notes) -> None:
    odd = mcp_tool("notes", "odd.name/that goes on")
    assert odd.startswith("notes_odd_name_that_goes_on_")
    model = calls(("notes_picture", {}), ("notes_refuse", {"why": "not today"}), (odd, {"n": 4}))
    async with notes.organism(model, server=notes.server(SERVER)) as organism:
        lines = await answer(organism)
    assert lines[:2] == ["drawn", "[image/png, 30 bytes: not shown, only texts are]"]
    assert json.loads(lines[2])["HandlerFailed"]["text"] == "not today"
    assert json.loads("".join(lines[3:])) == {"double": 8}


@pytest.mark.by_turns
async def test_a_server_that_dies_is_started_again_and_its_call_is_not_made_again(notes: Notes) -> None:
    model = calls(("notes_die", {}), ("notes_lookup", {"word": "tea"}))
    async with notes.organism(model) as organism:
        lines = await answer(organism)
    failed = json.loads(lines[0])["HandlerFailed"]
    assert (failed["code"], failed["retry"]) == ("refused", False)
    assert failed["text"].startswith("the server ended while 'notes_die' was under way, and whether it was carried out")
    assert lines[1] == "tea: 3 notes"
    assert notes.noted == ["start", "die", "start", "lookup tea"]


@pytest.mark.by_turns
async def test_one_that_cannot_be_started_again_is_left_alone_for_a_while(notes: Notes) -> None:
    model = calls(("notes_die", {}), *[("notes_lookup", {"word": "tea"})] * 3)
    (notes.folder / "no more").touch()
    with pytest.raises(ConfigurationError, match=r"mcp\.notes: MCP server 'notes': it could not be started: .*closed"):
        await notes.organism(model).start()
    (notes.folder / "no more").unlink()
    async with notes.organism(model, server=notes.server(backoff=[50, 60])) as organism:
        (notes.folder / "no more").touch()
        lines = await answer(organism)
    texts = [json.loads(line)["HandlerFailed"]["text"] for line in lines]
    assert texts[1] == "'notes_lookup' cannot be called now: it could not be started"
    # To be asked in vain is no further failure.
    waits = [re.fullmatch(r".*it could not be started, and is tried again in ([\d.]+) s", text) for text in texts[2:]]
    assert all(wait is not None and float(wait[1]) <= 50 for wait in waits)
    assert notes.noted == ["start", "start", "die", "start"]


@pytest.mark.by_turns
async def test_one_that_hangs_is_told_of_and_started_anew(notes: Notes) -> None:
    slow, quick = ("notes_read_slowly", {"seconds": 600}), ("notes_lookup", {"word": "tea"})
    model = calls(slow, *[quick] * 18)  # it may take many of them until it has started
    async with notes.organism(model, defaults={"timeout": 2}) as organism:
        lines = await answer(organism)
    failed = json.loads(lines[0])["HandlerFailed"]
    assert (failed["code"], "2 s" in failed["text"]) == ("timeout", True)
    assert lines[-1] == "tea: 3 notes"
    assert notes.noted[:4] == ["start", "read slowly", "start", "lookup tea"]


@pytest.mark.by_turns
async def test_a_server_says_how_long_its_calls_may_take(notes: Notes) -> None:
    model = calls(("notes_write_slowly", {"text": "x"}), ("notes_lookup", {"word": "tea"}))
    async with notes.organism(model, server=notes.server(timeout=5), defaults={"timeout": 900}) as organism:
        lines = await answer(organism)
    assert "5 s" in json.loads(lines[0])["HandlerFailed"]["text"]
    assert lines[1] == "tea: 3 notes"
    assert notes.noted == ["start", "write x", "lookup tea"]  # it lives, and was not started anew


BROKEN = [
    ({"env": {"BROKEN": "0"}}, r"could not be started: it has ended; its last words: no such database$"),
    ({"env": {"BROKEN": "600"}, "timeout": 1}, r"could not be started within 1 s"),
    ({"command": ["no-such-program-anywhere"]}, r"could not be started: .*no-such-program-anywhere"),
    ({"command": [sys.executable, "-c", "print('hello')"]}, r"has ended; it writes to its standard output what is no"),
    ({"pass_env": ["NO_SUCH_VARIABLE"]}, r"is to get NO_SUCH_VARIABLE, which is not set: set it"),
    ({"url": "http://127.0.0.1:9/mcp"}, r"could not be reached: All connection attempts failed"),
]


@pytest.mark.by_turns
@pytest.mark.parametrize(("keys", "problem"), BROKEN)
async def test_an_organism_does_not_start_without_its_servers(notes: Notes, keys: dict[str, Any], problem: str) -> None:
    given = {**keys, "env": {"NOTES": str(notes.log), **keys.get("env", {})}}
    server = keys if "url" in keys else {**notes.server(), **given}
    organism = notes.organism(ScriptedModel([]), server=server, agent={"tool_calls": {"notes_lookup": 1}})
    with pytest.raises(ConfigurationError) as caught:
        await organism.start()
    (mistake,) = caught.value.mistakes  # and none of its tools, which nobody knows
    assert re.search(rf"mcp\.notes: .*{problem}", mistake), mistake
    await organism.close()
    assert children() == []


@pytest.mark.by_turns
async def test_what_an_agent_names_must_be_there_and_be_told_from_its_other_tools(notes: Notes) -> None:
    limits = {"tool_calls": {"notes_luck": 1, "notes_lookup": 1}}
    peer = {"notes_write": code(echo)}
    document = notes.document(ScriptedModel([]), "mcp:notes", "mcp:notes/lock", agent=limits, handlers=peer)
    document["handlers"]["clerk"]["peers"] = [*peer]
    with pytest.raises(ConfigurationError) as caught:
        await Organism(**document).start()
    assert [
        each.removeprefix("Organism(handlers=...) handlers.clerk.agent.tools") for each in caught.value.mistakes
    ] == [
        "[1]: MCP server 'notes' has no tool 'lock'; did you mean 'lookup'?",
        "[0]: 'notes_write' is the name of two tools of 'clerk': leave one out, or rename the server",
        "[0]: 'notes_luck' in 'tool_calls' is not a tool of 'clerk'; did you mean 'notes_lookup'?",
    ]


@pytest.mark.by_turns
async def test_a_server_learns_nothing_that_it_was_not_given_and_its_secret_is_not_written_down(
    notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "a1b2-c3d4-e5f6-g7h8"  # noqa: S105 - of this test alone
    monkeypatch.setenv("NOTES_TOKEN", secret)
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    model = calls(("notes_environment", {}), ("notes_write", {"text": secret}))
    journal = notes.folder / "o.db"
    server = notes.server(pass_env=["NOTES_TOKEN"])
    async with notes.organism(model, server=server, journal=f"sqlite:{journal}") as organism:
        lines = await answer(organism)
    assert {"NOTES_TOKEN", "NOTES", "PATH"} <= {*lines}
    assert "OPENAI_API_KEY" not in lines
    assert f"write {secret}" in notes.noted  # it was called with what the model said
    written = b"".join(path.read_bytes() for path in notes.folder.glob("o.db*"))
    assert b"NOTES_TOKEN" in written
    assert secret.encode() not in written


async def left(notes: Notes, tool: str, **arguments: Any) -> dict[str, Any]:
    """The document of an organism that was closed while a call was under way."""
    document = notes.document(calls((tool, arguments)), journal=f"sqlite:{notes.folder / 'o.db'}")
    async with Organism(**document) as organism:
        await organism.send("clerk", Go(), id="one")
        with anyio.fail_after(60):
            while len(notes.noted) < 2:  # noqa: ASYNC110 - another process writes it
                await anyio.sleep(0.01)
    return document


@pytest.mark.by_turns
@pytest.mark.parametrize("tool", ["notes_write_slowly", "notes_read_slowly", "notes_put_slowly"])
async def test_a_call_that_was_under_way_is_made_again_only_where_that_is_safe(notes: Notes, tool: str) -> None:
    document = await left(notes, tool, **({"text": "x"} if "write" in tool else {"seconds": 3}))
    async with Organism(**document) as organism:
        (handle,) = await organism.resume()
        result = await handle.result()
    if "write" in tool:
        text = json.loads(result.reply.text)["HandlerFailed"]["text"]
        assert "whether it was carried out is not known, and it was not made again; look before" in text
        assert notes.noted == ["start", "write x", "start"]
    else:
        does = tool.split("_")[1]
        assert result.reply.text == does
        assert notes.noted == ["start", f"{does} slowly", "start", f"{does} slowly"]


@pytest.mark.by_turns
async def test_a_replay_takes_what_was_answered_and_needs_no_server(notes: Notes) -> None:
    model = calls(("notes_write", {"text": "x"}), ("notes_nothing", {}), ("notes_lookup", {}))
    document = notes.document(model, "mcp:notes/write", "mcp:notes/lookup", journal=f"sqlite:{notes.folder / 'o.db'}")
    async with Organism(**document) as organism:
        await (await organism.send("clerk", Go(), id="two")).result()
    noted = notes.noted
    document["mcp"]["notes"]["command"] = ["no-such-program-anywhere"]
    replayed = await anyio.to_thread.run_sync(Organism(**document).replay, "two")
    assert (replayed.deliveries, replayed.calls, replayed.differences, replayed.unsure) == (1, 4, (), ())
    assert notes.noted == noted


@pytest.mark.by_turns
async def test_servers_end_where_the_rest_cannot_be_opened(notes: Notes) -> None:
    document = notes.document(ScriptedModel([]), journal=f"sqlite:{notes.folder / 'o.db'}")
    async with Organism(**document):
        with pytest.raises(JournalHeldError):
            await Organism(**document).start()
        assert len(children()) == 1
    assert children() == []


def children() -> list[str]:
    """The servers that run."""
    listing = ["ps", "-ww", "-o", "args=", "--ppid", str(os.getpid())]  # not cut at the width of a terminal
    found = subprocess.run(listing, capture_output=True, text=True, check=False)  # noqa: S603 - a listing
    return [line for line in found.stdout.splitlines() if QUICK.name in line]
