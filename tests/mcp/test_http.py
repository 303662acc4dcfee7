"""Tools of MCP servers that run already, and are reached by HTTP."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.mcp.notes_world import SERVER, Notes, answer, calls
from tests.ports import kept_port
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

pytestmark = [
    pytest.mark.real_clocks,
    # The SDK leaves the streams of its sessions so where a server has gone.
    pytest.mark.filterwarnings("ignore:Async generator .* was garbage collected before it:ResourceWarning"),
]
KEY = "a1b2-c3d4-e5f6-g7h8"


@contextmanager
def served(notes: Notes, port: int, *how: str) -> Generator[str]:
    """A server of HTTP in a process of its own, until it is killed."""
    environ = {**os.environ, "NOTES": str(notes.log)}
    server = subprocess.Popen([sys.executable, str(SERVER), "http", *how, str(port)], env=environ)  # noqa: S603 - our own
    try:
        wait_until(lambda: listens(port) or server.poll() is not None)
        assert server.poll() is None, "it has ended"
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        server.kill()
        server.wait()


def listens(port: int) -> bool:
    """Whether somebody does there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def port() -> Generator[int]:
    with kept_port() as port:
        yield port


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path)


async def test_it_is_called_with_its_key_which_is_not_written_down(
    notes: Notes, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTES_KEY", KEY)
    model = calls(("notes_lookup", {"word": "tea"}), ("notes_headers", {}))
    journal = notes.folder / "o.db"
    with served(notes, port) as url:
        server = {"url": url, "api_key_env": "NOTES_KEY"}
        async with notes.organism(model, server=server, journal=f"sqlite:{journal}") as organism:
            lines = await answer(organism)
    assert lines == ["tea: 3 notes", f"Bearer {KEY}"]
    written = b"".join(path.read_bytes() for path in notes.folder.glob("o.db*"))
    assert b"tea: 3 notes" in written
    assert KEY.encode() not in written


@pytest.mark.by_turns
async def test_one_that_goes_away_is_told_of_and_one_that_comes_back_is_used_again(notes: Notes, port: int) -> None:
    model = calls(("notes_lookup", {"word": "a"}), ("notes_lookup", {"word": "b"}))
    with served(notes, port) as url:
        organism = notes.organism(model, server={"url": url, "backoff": [0, 0]})
        await organism.start()
    try:
        lines = await answer(organism)
        failed = [json.loads(line)["HandlerFailed"]["text"] for line in lines]
        assert "it could not be reached" in failed[-1]
        with served(notes, port):
            assert await answer(organism) == ["a: 3 notes", "b: 3 notes"]
    finally:
        await organism.close()
    assert notes.noted == ["start", "start", "lookup a", "lookup b"]


@pytest.mark.by_turns
async def test_one_that_has_forgotten_its_session_is_reached_anew(notes: Notes, port: int) -> None:
    model = calls(("notes_write", {"text": "x"}))
    with served(notes, port, "before") as url:
        organism = notes.organism(model, server={"url": url})
        await organism.start()
    try:
        with served(notes, port, "before"):
            assert await answer(organism) == ["written"]
    finally:
        await organism.close()
    assert notes.noted == ["start", "start", "write x"]
