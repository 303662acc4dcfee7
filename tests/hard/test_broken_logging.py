"""A program whose logging is broken: what it raises is said on standard error, and the work goes on."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from organism import Context, Reply
from organism.testing import running
from tests.hard.pump_world import Go, Said, code, echo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio


class Broken(logging.Handler):
    """Raises where logging's own would say what is wrong."""

    def emit(self, record: logging.LogRecord) -> None:
        raise ValueError(f"nowhere to write '{record.getMessage()}'")


class Cancelled(logging.Handler):
    """Raises what is no Exception."""

    def emit(self, record: logging.LogRecord) -> None:
        raise asyncio.CancelledError(f"no time for '{record.getMessage()}'")


class Undecided(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        raise ValueError(f"is '{record.getMessage()}' worth a line?")


@pytest.fixture(params=["handler", "cancelled", "filter"])
def broken(request: pytest.FixtureRequest) -> Iterator[None]:
    handlers = {"handler": Broken, "cancelled": Cancelled, "filter": logging.StreamHandler}
    handler: logging.Handler = handlers[request.param]()
    if request.param == "filter":
        handler.addFilter(Undecided())
    root, ours = logging.getLogger(), logging.getLogger("organism")
    root.addHandler(handler)
    ours.setLevel(logging.DEBUG)
    yield
    ours.setLevel(logging.NOTSET)
    root.removeHandler(handler)


async def talks(message: Go, ctx: Context) -> Reply[Said]:
    ctx.log.info("it is my turn")
    if message.n:
        raise KeyError("of its own")
    return Reply(Said(message.text))


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("journal", ["memory:", "sqlite:j.db"])
async def test_an_organism_works_on_where_the_programs_logging_raises(
    journal: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    handlers: dict[str, Any] = {"talks": code(talks), "echo": code(echo)}
    async with running(handlers=handlers, journal=journal) as organism:
        assert (await organism.ask("talks", Go("said"))).text == "said"
        result = await (await organism.send("talks", Go(n=1))).result()
        assert (result.outcome, result.error) == ("failed", "KeyError: 'of its own'")
        assert (await organism.ask("echo", Go("still here"))).text == "still here"
    said = capfd.readouterr().err
    assert "--- Logging error ---" in said
    assert "it is my turn" in said
