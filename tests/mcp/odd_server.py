"""A server that speaks the protocol by hand, and says in it what no server should. Its argument names the oddity."""

from __future__ import annotations

import json
import sys
from typing import Any

ODDITY = sys.argv[1]
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
TOOL: dict[str, Any] = {"name": "look", "description": "Looks.", "inputSchema": {"type": "object"}}
CALLED: dict[str, Any] = {
    "no list": {"content": "nope"},
    "no result": [1, 2],
    "another kind": {"content": [{"type": "hologram"}]},
    "unfit": {"content": [{"type": "text", "text": "x"}], "structuredContent": {"n": "x"}},
    "half a character": {"content": [{"type": "text", "text": "a\udc00b\x00"}]},
    "too much": {"content": [{"type": "text", "text": "x" * (2 * 1024 * 1024 + 5)}]},
    "nothing": {"content": []},
    "structured": {"content": [], "structuredContent": {"n": 1}},
}


def listed(cursor: str | None) -> dict[str, Any]:
    if ODDITY == "large":
        return {"tools": [{**TOOL, "description": "x" * 70_000}]}
    if ODDITY == "endless":
        return {"tools": [{**TOOL, "name": f"look{cursor or 0}"}], "nextCursor": str(int(cursor or 0) + 1)}
    if ODDITY == "many":
        return {"tools": [{**TOOL, "name": f"look{n}"} for n in range(501)]}
    if ODDITY == "not a list":
        return {"tools": {"look": 1}}
    return {"tools": [{**TOOL, "outputSchema": SCHEMA} if ODDITY == "unfit" else TOOL]}


def answer(method: str, params: dict[str, Any]) -> Any:
    if method == "initialize":
        info = {"name": "odd", "version": "1"}
        return {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}
    if method == "tools/list":
        return listed(params.get("cursor"))
    return CALLED[ODDITY]


for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    said: dict[str, Any] = {"error": {"code": -32601, "message": "no such method"}}
    if asked["method"] in {"initialize", "tools/list", "tools/call"}:
        said = {"result": answer(asked["method"], asked.get("params", {}))}
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **said}) + "\n")
    sys.stdout.flush()
