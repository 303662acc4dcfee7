"""A key that is changed in its file while the organism runs: the server refuses the old one, and no call may suffer for it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

from organism.errors import ModelError
from organism.models.contract import BackendError, BackendFactory, Response
from organism.record.facts import CallSettled
from organism.testing import running
from tests.server.provider_world import PROTOCOLS, served

if TYPE_CHECKING:
    from pathlib import Path

    from organism.testing import Watched

OLD: Final = "sk-old-0123456789abcdef"
NEW: Final = "sk-new-0123456789abcdef"
OTHER: Final = "key-of-nobody-0123456789"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text(f"{OLD}\n", "utf-8")
    return file


def write(file: Path, text: str | None) -> None:
    if text is None:
        file.unlink()
    else:
        file.write_text(text, "utf-8")


def models(backend: dict[str, Any]) -> dict[str, Any]:
    # No retries: what is asked again for a new key is no further attempt at a backend that fails.
    return {"default": {"retries": 0, "backends": [backend]}}


def refusals(organism: Watched) -> list[str]:
    settled = [fact for fact in organism.watch.facts if isinstance(fact, CallSettled)]
    return [fact.missed.kind for fact in settled if fact.missed is not None]


@pytest.mark.sockets
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_calls_go_on_with_the_new_key(protocol: str, key_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with served(key=OLD) as server:
        said = models(server.backend(protocol, api_key_env=None, api_key_file=str(key_file)))
        async with running(models=said, budget={"tokens": 100_000, "model_calls": 100}) as organism:
            async with organism.thread() as thread:
                await thread.complete("one")
                server.model.key = NEW
                write(key_file, f"{NEW}\n")
                # All of them were made with the old key; only the first finds the new one in the file.
                async with anyio.create_task_group() as calls:
                    for each in range(5):
                        calls.start_soon(thread.complete, f"two {each}")
                again = len(refusals(organism))
                async with thread.stream("three") as stream:
                    assert "".join([piece async for piece in stream])
                assert stream.completion.attempts == 1
                assert 1 <= again == len(refusals(organism)) <= 5
                # The refused ones cost nothing, and are no calls of their own.
                assert thread.budget.model_calls.used == 7
        assert server.model.answered == 7
    assert "holds another key now" in caplog.text
    assert OLD not in caplog.text
    assert NEW not in caplog.text


@pytest.mark.sockets
async def test_a_stream_begins_with_the_new_key(key_file: Path) -> None:
    async with served(key=NEW) as server:
        said = models(server.backend("openai", api_key_env=None, api_key_file=str(key_file)))
        async with running(models=said) as organism, organism.thread() as thread:
            await _made(thread, server)
            write(key_file, NEW)
            async with thread.stream("one") as stream:
                assert "".join([piece async for piece in stream])
            assert stream.completion.attempts == 2


async def _made(thread: Any, server: Any) -> None:
    """A call that fails for its key: the backend is made by then, with the old one."""
    with pytest.raises(ModelError, match="401: the key was refused; check the key"):
        await thread.complete("zero")
    assert server.model.answered == 0


@pytest.mark.sockets
@pytest.mark.parametrize("written", ["", "two words", None])
async def test_a_file_without_a_key_changes_nothing(written: str | None, key_file: Path) -> None:
    async with served(key=NEW) as server:
        said = models(server.backend("openai", api_key_env=None, api_key_file=str(key_file)))
        async with running(models=said) as organism, organism.thread() as thread:
            await _made(thread, server)
            write(key_file, written)
            await _made(thread, server)
            write(key_file, NEW)
            await thread.complete("one")
        assert server.model.answered == 1


@pytest.mark.sockets
async def test_a_key_that_is_refused_is_an_error_in_the_log_once_for_each_key(
    key_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(key=NEW) as server:
        refused = server.backend("openai", api_key_env=None, api_key_file=str(key_file), priority=1)
        said = {"default": {"backends": [refused, {"provider": "simulated", "model": "sim-1", "priority": 2}]}}
        async with running(models=said) as organism, organism.thread() as thread:
            for key in (OLD, OTHER, NEW):
                write(key_file, key)
                for _ in range(3):  # which the other backend answers, and nobody else hears of
                    await thread.complete("one")
        assert server.model.answered == 3
    lines = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
    assert len(lines) == 2
    assert all("401: the key was refused; check the key (" in each for each in lines)
    assert not any(key in line for key in (OLD, NEW, OTHER) for line in lines)


class Refusing:
    """A provider of one's own that takes one key."""

    takes = NEW

    def __init__(self, key: str | None) -> None:
        self.key = key
        self.asked: list[str | None] = []

    async def complete(self, request: Any) -> Response:
        self.asked.append(self.key)
        if self.key != self.takes:
            raise BackendError("rejected", f"400: no such key: {self.key}")
        text = f"asked {len(request.messages)}"
        return Response(text=text, message={"role": "assistant", "content": text})

    def stream(self, request: Any) -> Any:
        raise NotImplementedError(request)

    async def aclose(self) -> None:
        pass


class Changing(Refusing):
    """One that can be given another key."""

    def use_key(self, key: str) -> None:
        self.key = key


def own(made: list[Refusing], kind: type[Refusing], key_file: Path) -> dict[str, Any]:
    def make(_: object, key: str | None) -> Refusing:
        made.append(kind(key))
        return made[-1]

    factory: Any = BackendFactory(make=make)
    price = {"input": 1, "output": 1}
    return models({"provider": factory, "model": "m", "price": price, "api_key_file": str(key_file)})


async def test_providers_of_ones_own_may_take_another_key_too(key_file: Path) -> None:
    made: list[Refusing] = []
    async with running(models=own(made, Changing, key_file)) as organism, organism.thread() as thread:
        with pytest.raises(ModelError, match="no such key"):
            await thread.complete("zero")
        write(key_file, NEW)
        assert (await thread.complete("one")).attempts == 2
        # Once a call, whatever the file holds next.
        Refusing.takes, before = "another", len(made[0].asked)
        try:
            write(key_file, OTHER)
            with pytest.raises(ModelError) as failed:
                await thread.complete("two")
        finally:
            Refusing.takes = NEW
    (backend,) = made
    assert backend.asked[before:] == [NEW, OTHER]
    assert all(key not in str(failed.value) for key in (OLD, NEW, OTHER))


async def test_those_that_take_none_say_what_to_do(key_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    made: list[Refusing] = []
    async with running(models=own(made, Refusing, key_file)) as organism, organism.thread() as thread:
        with pytest.raises(ModelError):
            await thread.complete("zero")
        write(key_file, NEW)
        with caplog.at_level(logging.WARNING), pytest.raises(ModelError):
            await thread.complete("one")
    assert "has no `use_key`; start the organism again" in caplog.text
    assert made[0].asked == [OLD, OLD]


async def test_one_that_fails_to_take_it_fails_no_more_than_the_call(
    key_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Changing):
        def use_key(self, key: str) -> None:
            raise RuntimeError(f"not {key}")

    made: list[Refusing] = []
    async with running(models=own(made, Failing, key_file)) as organism, organism.thread() as thread:
        with pytest.raises(ModelError):
            await thread.complete("zero")
        write(key_file, NEW)
        with pytest.raises(ModelError, match="400: no such key"):
            await thread.complete("one")
    assert "fails to take another key" in caplog.text
    assert NEW not in caplog.text


async def test_a_file_that_holds_another_key_each_time_is_asked_once_a_call(key_file: Path) -> None:
    made: list[Refusing] = []

    class Endless(Changing):
        """The server refuses each key, and the file has a new one by then."""

        async def complete(self, request: Any) -> Response:
            write(key_file, f"{OTHER}{len(self.asked)}")
            return await super().complete(request)

    async with running(models=own(made, Endless, key_file)) as organism, organism.thread() as thread:
        with pytest.raises(ModelError, match=r"(?s)attempt 1: .*attempt 2: "):
            await thread.complete("zero")
    assert made[0].asked == [OLD, f"{OTHER}0"]
