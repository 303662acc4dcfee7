"""The socket beside a journal fails once, at its first call, its second, and so on: whoever asked hears of it, and nothing else happens."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism.errors import JournalError
from organism.journal import socket_path
from organism.testing import FailAfter
from organism.works.control import Order, tell
from tests.control.test_control import made
from tests.durable.turns_world import Heard, Say

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self


class Failing:
    """A connection that may fail whatever is asked of it."""

    def __init__(self, inner: Any, fail: FailAfter) -> None:
        self._inner = inner
        self._fail = fail

    async def receive(self) -> bytes:
        self._fail()
        data: bytes = await self._inner.receive()
        return data

    async def send(self, data: bytes) -> None:
        self._fail()
        await self._inner.send(data)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._inner.aclose()
        self._fail()


class FailingListener:
    """A listener that may fail to accept."""

    def __init__(self, inner: Any, fail: FailAfter) -> None:
        self._inner = inner
        self._fail = fail

    async def accept(self) -> Failing:
        try:
            self._fail()
        except Exception as error:
            raise OSError(errno.EMFILE, "too many files") from error
        return Failing(await self._inner.accept(), self._fail)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._inner.aclose()


async def told(path: Path, do: str) -> str:
    """What is heard of an order; why nothing is, where the connection breaks."""
    try:
        return str((await tell(path, Order(do=do, thread="apple")))["said"])
    except JournalError as error:
        assert "does not answer" in str(error)  # noqa: PT017 - else nothing is raised
        return "nothing"


@pytest.mark.parametrize(
    "error", [OSError(errno.ECONNRESET, "reset"), anyio.BrokenResourceError(), anyio.ClosedResourceError()], ids=repr
)
@pytest.mark.by_turns
async def test_a_socket_that_fails_at_any_call_harms_only_whoever_asked(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listen = anyio.create_unix_listener
    for number in range(100):
        fail, up = FailAfter(number, error), anyio.Event()

        async def failing(*how: Any, **more: Any) -> Any:
            listener = FailingListener(await listen(*how, **more), fail)  # noqa: B023 - called in this round
            up.set()  # noqa: B023
            return listener

        monkeypatch.setattr(anyio, "create_unix_listener", failing)
        folder = tmp_path / f"{number}"
        folder.mkdir()
        path = socket_path(folder / "organism.db")
        async with made(folder) as organism:
            await up.wait()
            thread = await organism.send("walker", Say("a"), id="apple")
            heard = [await told(path, do) for do in ("pause", "resume", "resume")]
            assert heard.count("nothing") <= 1, number
            assert (await thread.result()).reply == Heard("A0 A1 A2")
            if "nothing" in heard:
                assert (await tell(path, Order(do="status")))["threads"] == []
        assert not path.exists()
        if fail.made <= number:
            break
    assert number >= 12
    assert heard == [
        "thread apple is paused: what runs finishes, and nothing more is delivered", "thread apple goes on",
        "thread apple is not paused",
    ]  # fmt: skip
