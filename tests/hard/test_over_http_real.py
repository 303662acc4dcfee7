"""The scenarios of ``test_over_http`` on the real APIs: ``pytest -m real``, with a key in the environment. They cost some cents.

``REAL_OPENAI_MODEL`` and ``REAL_ANTHROPIC_MODEL`` name other models.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from organism import payload
from organism.errors import ModelError
from organism.testing import Watched, running

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE: Final = Path(__file__).parents[2] / "organism.yaml"
BUDGET: Final = {"cost_usd": "0.10"}
USUAL: Final = {"openai": "gpt-4.1-mini", "anthropic": "claude-haiku-4-5"}
QUESTION: Final = "Say hello in one short sentence."

pytestmark = [pytest.mark.real, pytest.mark.real_clocks]


@pytest.fixture(params=USUAL)
def backend(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A backend of each provider whose key is there."""
    key, name = f"{request.param.upper()}_API_KEY", f"REAL_{request.param.upper()}_MODEL"
    if not os.environ.get(key):
        pytest.skip(f"{key} is not set")
    return {"provider": request.param, "model": os.environ.get(name) or USUAL[request.param]}


def models(backend: Mapping[str, Any]) -> dict[str, Any]:
    return {"default": {"max_output_tokens": 400, "backends": [backend]}}


@payload
class Verdict:
    """A judgement."""

    text: str
    points: int


async def test_the_default_organism_answers(backend: dict[str, Any]) -> None:
    said = {"journal": "memory:", "models": models(backend), "budget.cost_usd": "0.20"}
    async with running(Watched.load(FILE, set=said)) as organism:
        result = await (await organism.send("desk", organism.settings.start[0].payload)).result()
    assert result.outcome in {"completed", "exhausted"}
    assert result.reply is not None
    assert result.usage.cost_usd > 0


async def test_an_answer_whole_and_streamed(backend: dict[str, Any]) -> None:
    async with running(models=models(backend), budget=BUDGET) as organism, organism.thread() as thread:
        done = await thread.complete(QUESTION)
        async with thread.stream(QUESTION) as stream:
            assert "".join([piece async for piece in stream]) == stream.completion.text
        for each in (done, stream.completion):
            assert each.text
            assert (each.finish_reason, each.usage.estimated) == ("stop", False)


async def test_a_stream_that_is_left(backend: dict[str, Any]) -> None:
    async with running(models=models(backend), budget=BUDGET) as organism, organism.thread() as thread:
        async with thread.stream("Count from 1 to 100, one number a line.") as stream:
            async for _ in stream:
                break
        assert stream.completion.finish_reason == "left"
        assert thread.budget.tokens.held == 0


async def test_an_answer_of_a_payload(backend: dict[str, Any]) -> None:
    async with running(models=models(backend), budget=BUDGET) as organism, organism.thread() as thread:
        done = await thread.complete("Judge the word 'organism': a text, and points from 1 to 5.", returns=Verdict)
    assert isinstance(done.value, Verdict)


async def test_a_wrong_key_and_an_unknown_model(backend: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    priced = {"price": {"input": 1, "output": 1}}
    async with running(models=models(backend | priced | {"model": "no-such-model"}), budget=BUDGET) as organism:
        async with organism.thread() as thread:
            with pytest.raises(ModelError, match="404"):
                await thread.complete(QUESTION)
    monkeypatch.setenv("WRONG_KEY", "sk-wrong")
    async with running(models=models(backend | {"api_key_env": "WRONG_KEY"}), budget=BUDGET) as organism:
        async with organism.thread() as thread:
            with pytest.raises(ModelError, match="the key was refused"):
                await thread.complete(QUESTION)
