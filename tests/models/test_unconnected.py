"""Calls to a host that never takes the connection: nothing of them was sent, so that nothing is charged but the call itself (R18)."""

from __future__ import annotations

import socket
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

from organism import ModelError
from organism.record.facts import CallSettled
from organism.testing import running

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

PATIENCE: Final = 0.2
"""Seconds; nothing depends on how many they are, as the host never answers."""

pytestmark = pytest.mark.sockets


@pytest.fixture(autouse=True)
def loaded() -> None:
    """The libraries, which take seconds to load: their loading is no part of an attempt."""
    for sdk in ("openai", "anthropic"):
        import_module(sdk)


@contextmanager
def full_host() -> Generator[str]:
    """The address of a host whose queue of connections is full: another one waits for ever."""
    with ExitStack() as open_sockets:
        listener = open_sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = open_sockets.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def models(address: str, *, provider: str = "openai", **backend: Any) -> dict[str, Any]:
    usual = {"provider": provider, "model": "m", "base_url": address, "api_key_env": None}
    return {"default": {"retries": 0, "max_output_tokens": 50, "backends": [usual | backend]}}


def charged(organism: Any) -> list[tuple[int, int, int]]:
    charges = [fact.charge for fact in organism.watch.of(CallSettled)]
    return [(charge.model_calls, charge.input_tokens, charge.output_tokens) for charge in charges]


async def called(thread: Any, *, streamed: bool) -> None:
    if streamed:
        async with thread.stream("Say hello."):
            pass
    else:
        await thread.complete("Say hello.")


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_a_connection_that_is_not_taken_in_time_costs_nothing(provider: str, *, streamed: bool) -> None:
    with full_host() as address:
        async with (
            running(models=models(address, provider=provider, timeout=PATIENCE)) as organism,
            organism.thread() as thread,
        ):
            with pytest.raises(ModelError, match=f"no connection within {PATIENCE} s"):
                await called(thread, streamed=streamed)
            assert charged(organism) == [(1, 0, 0)]


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_call_that_is_given_up_while_it_connects_costs_nothing(*, streamed: bool) -> None:
    with full_host() as address:
        async with running(models=models(address)) as organism, organism.thread() as thread:
            with anyio.move_on_after(PATIENCE) as scope:
                await called(thread, streamed=streamed)
            assert scope.cancelled_caught
            assert charged(organism) == [(1, 0, 0)]


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_recording_of_it_costs_nothing_either(tmp_path: Path, *, streamed: bool) -> None:
    tape = tmp_path / "tape.jsonl"
    said = f"no connection within {PATIENCE} s"
    with full_host() as address:
        document = models(address, timeout=PATIENCE)
        async with running(models=document, record=str(tape)) as organism, organism.thread() as thread:
            with pytest.raises(ModelError, match=said):
                await called(thread, streamed=streamed)
    played = models(address, provider="recorded", options={"file": str(tape)})
    async with running(models=played) as organism, organism.thread() as thread:
        with pytest.raises(ModelError, match=said):
            await called(thread, streamed=streamed)
        assert charged(organism) == [(1, 0, 0)]
