"""Some of the tools of ``notes_server``, by hand: this one has started in a thirtieth of the time, and so is what most tests start."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

LOG = Path(os.environ["NOTES"])


def tool(name: str, says: str, *, reads: bool = False, again: bool = False, **takes: str) -> dict[str, Any]:
    """As a server lists it. It requires the first of what it takes."""
    schema = {"type": "object", "properties": {each: {"type": of} for each, of in takes.items()}}
    required = {"required": [*takes][:1]} if takes else {}
    return {
        "name": name,
        "description": says,
        "inputSchema": schema | required,
        "annotations": {"readOnlyHint": reads, "idempotentHint": again},
    }


TOOLS = [
    tool("lookup", "Looks a word up in the notes.", reads=True, word="string", most="integer"),
    tool("write", "Writes a note.", text="string"),
    tool("read_slowly", "Reads, and takes its time: nothing else is answered meanwhile.", reads=True, seconds="number"),
    tool("put_slowly", "Puts a note in its place, where it may be.", again=True, seconds="number"),
    tool("write_slowly", "Writes a note that is never done.", text="string"),
    tool("die", "Ends the server."),
    tool("environment", "Tells what it was given."),
]


def note(text: str) -> None:
    with LOG.open("a") as file:
        file.write(f"{text}\n")


def called(name: str, arguments: dict[str, Any]) -> list[str] | None:
    """The texts that it answers; ``None`` where it never does."""
    match name:
        case "lookup":
            note(f"lookup {arguments['word']}")
            return [f"{arguments['word']}: {arguments.get('most', 3)} notes"]
        case "write":
            note(f"write {arguments['text']}")
            return ["written"]
        case "read_slowly":
            note("read slowly")
            time.sleep(arguments["seconds"])
            return ["read"]
        case "put_slowly":
            note("put slowly")
            time.sleep(arguments["seconds"])
            return ["put"]
        case "write_slowly":
            note(f"write {arguments['text']}")
            return None
        case "die":
            note("die")
            os._exit(3)
    return sorted(os.environ)


def result(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    if method == "initialize":
        info = {"name": "notes", "version": "1"}
        return {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}
    if method == "tools/list":
        return {"tools": TOOLS}
    texts = called(params["name"], params.get("arguments") or {})
    return None if texts is None else {"content": [{"type": "text", "text": text} for text in texts]}


def answer(asked: dict[str, Any]) -> dict[str, Any] | None:
    if asked["method"] not in {"initialize", "tools/list", "tools/call"}:
        return {"error": {"code": -32601, "message": "no such method"}}
    found = result(asked["method"], asked.get("params", {}))
    return None if found is None else {"result": found}


note("start")
sys.stderr.write("notes are kept here\n")
if "BROKEN" in os.environ:
    time.sleep(float(os.environ["BROKEN"]))
    sys.exit("no such database")
if (LOG.parent / "no more").exists():
    sys.exit("closed for today")
for line in sys.stdin:
    message = json.loads(line)
    said = answer(message) if "id" in message else None
    if said is not None:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], **said}) + "\n")
        sys.stdout.flush()
