"""An MCP server, as anybody may write one: started by a command, or with ``http PORT`` as a server of HTTP. What it does, it notes in a file."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.context import Context  # noqa: TC002 - the library reads it
from mcp_types import CallToolResult, ToolAnnotations

server = MCPServer("notes")
LOG = Path(os.environ["NOTES"])


def note(text: str) -> None:
    with LOG.open("a") as file:
        file.write(f"{text}\n")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def lookup(word: str, most: int = 3) -> str:
    """Looks a word up in the notes."""
    note(f"lookup {word}")
    return f"{word}: {most} notes"


@server.tool()
def write(text: str) -> str:
    """Writes a note."""
    note(f"write {text}")
    return "written"


@server.tool()
def refuse(why: str) -> CallToolResult:
    """Refuses."""
    return CallToolResult.model_validate({"content": [{"type": "text", "text": why}], "isError": True})


@server.tool()
def picture() -> CallToolResult:
    """Draws."""
    text = {"type": "text", "text": "drawn"}
    image = {"type": "image", "mimeType": "image/png", "data": "eHh4" * 10}
    return CallToolResult.model_validate({"content": [text, image]})


@server.tool(name="odd.name/that goes on")
def odd(n: int) -> dict[str, int]:
    """Has a name that no provider takes."""
    return {"double": 2 * n}


@server.tool()
def headers(ctx: Context) -> str:
    """Tells what it was sent."""
    request: Any = ctx.request_context.request
    return str(request.headers.get("authorization"))


def of_before(app: Any) -> Any:
    """The same as servers of earlier versions of the protocol, which keep sessions."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        body = await receive() if scope["type"] == "http" else {}
        if b"server/discover" in body.get("body", b""):
            asked = json.loads(body["body"])
            error = {"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32601, "message": "Method not found"}}
            head = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 200, "headers": head})
            await send({"type": "http.response.body", "body": json.dumps(error).encode()})
            return
        first = iter([body] if body else [])

        async def again() -> Any:
            return next(first, None) or await receive()

        await app(scope, again, send)

    return serve


if __name__ == "__main__":
    note("start")
    sys.stderr.write("notes are kept here\n")
    if "http" in sys.argv:
        app: Any = server.streamable_http_app()
        uvicorn.run(of_before(app) if "before" in sys.argv else app, port=int(sys.argv[-1]), log_level="error")
    else:
        server.run("stdio")
