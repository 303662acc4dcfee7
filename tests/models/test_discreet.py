"""A provider of somebody's own that quotes its key in whatever fails: nobody reads it there."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest

from organism import ModelError, Organism
from organism.models.contract import BackendError, BackendFactory, Piece, RawUsage, Response

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from organism.models.contract import Request
    from organism.settings import BackendSettings

KEY: Final = "k3y-of-somebody-0123456789"
FAILURES: Final = {
    "opening": "before the first word",
    "reading": "after the first word",
    "closing": "when it is left",
}


class Pieces:
    """A stream of one word, which may fail behind it."""

    def __init__(self, fails: str) -> None:
        self.response: Response | None = None
        self.usage: RawUsage | None = None
        self._fails = fails
        self._read = 0
        self.closed = False

    def __aiter__(self) -> Pieces:
        return self

    async def __anext__(self) -> Piece:
        self._read += 1
        if self._read == 1:
            return Piece(text="Hello")
        if self._fails == "reading":
            raise BackendError("cut", f"{KEY} is out of breath")
        self.usage = RawUsage(input_tokens=3, output_tokens=1)
        self.response = Response(
            text="Hello", message={"role": "assistant", "content": "Hello"}, finish_reason="stop", usage=self.usage
        )
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed = True


class Own:
    """The provider."""

    def __init__(self, settings: BackendSettings, key: str | None) -> None:
        self._key = key
        self._fails = str(settings.options.get("fails"))
        self.streams: list[Pieces] = []

    async def complete(self, request: Request) -> Response:  # noqa: ARG002 - the protocol's
        raise BackendError("rejected", f"{self._key} has no access")

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[Pieces]:  # noqa: ARG002 - the protocol's
        if self._fails == "opening":
            raise BackendError("rejected", f"{self._key} has no access")
        self.streams.append(Pieces(self._fails))
        yield self.streams[-1]

    async def aclose(self) -> None:
        if self._fails == "closing":
            raise BackendError("broken", f"{self._key} cannot hang up")


made: list[Own] = []


def make(settings: BackendSettings, key: str | None) -> Own:
    made.append(Own(settings, key))
    return made[-1]


PROVIDER: Final = BackendFactory(make=make, needs_key=True)


def organism_with(fails: str, monkeypatch: pytest.MonkeyPatch) -> Organism:
    monkeypatch.setenv("OWN_KEY", KEY)
    backend: dict[str, Any] = {
        "provider": f"{__name__}:PROVIDER", "model": "m", "api_key_env": "OWN_KEY", "options": {"fails": fails},
        "price": {"input": 0, "output": 0},
    }  # fmt: skip
    return Organism(name="test", models={"default": {"retries": 0, "backends": [backend]}})


@pytest.mark.parametrize("fails", ["opening", "reading"])
async def test_a_stream_that_fails_quotes_no_key(
    fails: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []
    async with organism_with(fails, monkeypatch) as organism, organism.thread() as thread:
        with pytest.raises(ModelError) as failed:
            async with thread.stream("Say hello.", max_output_tokens=5) as stream:
                async for text in stream:
                    heard.append(text)  # noqa: PERF401 - what came before it failed counts
    assert heard == ([] if fails == "opening" else ["Hello"])
    assert ("has no access" if fails == "opening" else "is out of breath") in str(failed.value)
    seen, error = "", failed.value
    while error is not None:
        seen, error = f"{seen}{error!r}", error.__cause__ or error.__context__  # type: ignore[assignment]
    assert KEY not in seen + caplog.text


async def test_a_stream_that_is_read_or_left_comes_through_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    made.clear()
    async with organism_with("never", monkeypatch) as organism, organism.thread() as thread:
        async with thread.stream("Say hello.", max_output_tokens=5) as stream:
            assert [text async for text in stream] == ["Hello"]
        assert stream.completion is not None
        assert (stream.completion.text, stream.completion.usage.input_tokens) == ("Hello", 3)
        async with thread.stream("Say hello.", max_output_tokens=5) as stream:
            async for _ in stream:
                break
        assert [each.closed for each in made[0].streams] == [True, True]


async def test_closing_quotes_no_key(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    async with organism_with("closing", monkeypatch) as organism, organism.thread() as thread:
        with pytest.raises(ModelError, match="has no access"):
            await thread.complete("Say hello.")
    assert "cannot hang up" in caplog.text
    assert KEY not in caplog.text
