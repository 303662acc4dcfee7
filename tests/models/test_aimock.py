"""Both protocols as somebody else wrote their server: npm's @copilotkit/aimock, started here on a free port.

``make test`` installs it once where npm is. Where it is not, or nothing can be fetched, these tests are skipped and say so.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from organism import payload
from organism.errors import ModelError
from organism.testing import running

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PROGRAM: Final = Path(sys.prefix) / "aimock/node_modules/@copilotkit/aimock/dist/cli.js"
NODE: Final = shutil.which("node")
PROTOCOLS: Final = ("openai", "anthropic")
LONG: Final = "This answer is long enough to come in several pieces of a stream, one behind the other."
SLOW_DOWN: Final = {"message": "slow down", "type": "rate_limit_error", "code": "rate_limit_exceeded"}
CALL: Final = {"name": "LookUp", "arguments": '{"text":"frames"}'}
FIXTURES: Final = [
    {"match": {"userMessage": "hello"}, "response": {"content": LONG}},
    {"match": {"userMessage": "look"}, "response": {"toolCalls": [CALL]}},
    {"match": {"userMessage": "limited"}, "response": {"error": SLOW_DOWN, "status": 429}},
    {"match": {"userMessage": "cut"}, "response": {"content": LONG * 9}, "truncateAfterChunks": 4},
    *(
        answer
        for protocol in PROTOCOLS
        for backend in ("trio", "asyncio")
        for answer in (
            {"match": {"userMessage": f"once {protocol} {backend}", "sequenceIndex": 0}, "response": {"error": SLOW_DOWN, "status": 429}},
            {"match": {"userMessage": f"once {protocol} {backend}", "sequenceIndex": 1}, "response": {"content": "At last."}},
        )
    ),
]  # fmt: skip

pytestmark = [
    pytest.mark.real_clocks,
    pytest.mark.skipif(NODE is None, reason="node is not here: aimock cannot be run"),
    pytest.mark.skipif(
        not PROGRAM.exists(), reason="aimock is not installed: `make test` does it where npm can fetch it"
    ),
]


@pytest.fixture(scope="module")
def aimock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address."""
    fixtures = tmp_path_factory.mktemp("aimock") / "fixtures.json"
    fixtures.write_text(json.dumps({"fixtures": FIXTURES}), "utf-8")
    command = [str(NODE), str(PROGRAM), "--port", "0", "--fixtures", str(fixtures), "--strict"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:  # noqa: S603 - this very program
        assert process.stdout is not None
        try:
            said = ""
            while (found := re.search(r"listening on (http://\S+)", said)) is None:
                line = process.stdout.readline()
                assert line, f"aimock did not start: {said}"
                said += line
            yield found[1]
        finally:
            process.kill()


def models(aimock: str, protocol: str, *, retries: int = 0) -> dict[str, Any]:
    url = f"{aimock}/v1" if protocol == "openai" else aimock
    backend = {
        "provider": protocol,
        "model": "m-1",
        "base_url": url,
        "api_key_env": None,
        "price": {"input": 1, "output": 2},
    }
    return {"default": {"retries": retries, "backoff": [0, 0.01], "max_output_tokens": 500, "backends": [backend]}}


@payload
class LookUp:
    """Looks something up."""

    text: str


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_an_answer_whole_and_streamed(aimock: str, protocol: str) -> None:
    async with running(models=models(aimock, protocol)) as organism, organism.thread() as thread:
        done = await thread.complete("hello")
        async with thread.stream("hello") as stream:
            pieces = [piece async for piece in stream]
    assert done.text == stream.completion.text == "".join(pieces) == LONG
    assert len(pieces) > 1
    assert done.finish_reason == stream.completion.finish_reason == "stop"
    assert not done.usage.estimated
    if protocol == "openai":  # in the other one aimock reports that nothing was used
        assert done.usage.output_tokens == stream.completion.usage.output_tokens > 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_call_of_a_tool(aimock: str, protocol: str) -> None:
    async with running(models=models(aimock, protocol)) as organism, organism.thread() as thread:
        done = await thread.complete("look", tools=[LookUp])
    (call,) = done.tool_calls
    assert (call.name, json.loads(call.arguments), done.finish_reason) == ("LookUp", {"text": "frames"}, "tool_calls")


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_429_is_waited_for_and_costs_nothing(
    aimock: str, protocol: str, anyio_backend: tuple[str, Mapping[str, Any]]
) -> None:
    async with running(models=models(aimock, protocol, retries=2)) as organism, organism.thread() as thread:
        done = await thread.complete(f"once {protocol} {anyio_backend[0]}")
    assert (done.text, done.attempts, done.usage.estimated) == ("At last.", 2, False)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_429_that_stays_is_a_line_an_attempt(aimock: str, protocol: str, stream: bool) -> None:
    async with running(models=models(aimock, protocol, retries=1)) as organism, organism.thread() as thread:
        with pytest.raises(ModelError) as caught:
            if stream:
                async with thread.stream("limited"):
                    pass
            else:
                await thread.complete("limited")
        assert thread.budget.tokens.used == 0
    assert ["429: slow down" in cause for cause in caught.value.causes] == [True, True]


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_stream_that_is_cut_is_charged_for_what_came(aimock: str, protocol: str) -> None:
    async with running(models=models(aimock, protocol)) as organism, organism.thread() as thread:
        with pytest.raises(ModelError):
            async with thread.stream("cut") as stream:
                async for _ in stream:
                    pass
        assert thread.budget.tokens.used > 0
        assert thread.budget.tokens.held == 0
