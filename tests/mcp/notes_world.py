"""An organism whose agent uses the tools of a server of notes, and what came of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from organism import Organism
from organism.testing import Says, ScriptedModel
from tests.hard.pump_world import Go, Said

if TYPE_CHECKING:
    from collections.abc import Mapping

    from organism.models.contract import Request

SERVER: Final = Path(__file__).with_name("notes_server.py")
QUICK: Final = SERVER.with_name("quick_server.py")


def calls(*turns: Any) -> ScriptedModel:
    """A model that makes these calls, a turn after the other, and answers with all that it was told."""

    def says(request: Request) -> Says:
        turn = sum(message["role"] == "assistant" for message in request.messages)
        if turn < len(turns):
            said: Any = turns[turn]
            return Says(calls=tuple(said) if isinstance(said, list) else (said,))
        return Says(calls=(("reply", {"text": "\n".join(told(request))}),))

    return ScriptedModel(says)


def told(request: Request) -> list[str]:
    return [str(message["content"]) for message in request.messages if message["role"] == "tool"]


class Notes:
    """A server's settings, and what it has noted."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "noted"
        self.folder = folder

    @property
    def noted(self) -> list[str]:
        return self.log.read_text("utf-8").split("\n")[:-1] if self.log.exists() else []

    def server(self, program: Path = QUICK, **keys: Any) -> dict[str, Any]:
        env = {"NOTES": str(self.log), **keys.pop("env", {})}
        return {"command": [sys.executable, str(program)], "env": env, **keys}

    def document(
        self,
        model: ScriptedModel,
        *tools: str,
        server: Mapping[str, Any] | None = None,
        agent: Mapping[str, Any] | None = None,
        **keys: Any,
    ) -> dict[str, Any]:
        of_agent = {"accepts": Go, "replies": Said, "tools": [*(tools or ("mcp:notes",))], **(agent or {})}
        handlers = {"clerk": {"description": "Works.", "agent": of_agent}, **keys.pop("handlers", {})}
        servers = {"notes": self.server() if server is None else server}
        return {"name": "test", "mcp": servers, "handlers": handlers, "models": model.models(), **keys}

    def organism(self, model: ScriptedModel, *tools: str, **keys: Any) -> Organism:
        return Organism(**self.document(model, *tools, **keys))


async def answer(organism: Organism) -> list[str]:
    """What the agent was told, a line for each."""
    reply = await organism.ask("clerk", Go(), expect=Said)
    return reply.text.split("\n")
