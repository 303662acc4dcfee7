"""Organisms on the anthropic provider: how it is named in a file, and an agent that works through it over HTTP."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import pytest

from organism import ConfigurationError, Context, Reply, config, payload
from organism.models.factories import check_backend
from organism.models.reasoning import THINKING
from organism.settings import BackendSettings
from tests.imports import without_library
from tests.models.anthropic_server import Asked, answer, before_messages, keeping
from tests.models.hostile import says, whole

if TYPE_CHECKING:
    from collections.abc import Mapping


pytestmark = pytest.mark.sockets


@payload
class Question:
    """A question."""

    text: str


@payload
class Found:
    """What was found."""

    text: str


async def look(question: Question, ctx: Context) -> Reply[Found]:
    """Looks things up."""
    return Reply(Found(f"much about {question.text}"))


def writer(**said: Any) -> dict[str, Any]:
    agent = {"accepts": Question, "replies": Found, "prompt": "Be brief.", **said}
    return {"agent": agent, "description": "Writes.", "peers": ["library"]}


def document(*backends: Mapping[str, Any], **said: Any) -> dict[str, Any]:
    made = [{"provider": "anthropic", "model": "claude-x", **backend} for backend in backends]
    handlers = {"writer": writer(**said), "library": {"code": look}}
    return {"organism": "demo", "handlers": handlers, "models": {"default": {"backends": made}}}


def test_the_provider_is_named_and_has_its_usual_key() -> None:
    settings = config.build(document({}, {"api_key_env": None, "prompt_cache": False}))
    first, second = settings.models["default"].backends
    assert (first.api_key_env, first.prompt_cache) == ("ANTHROPIC_API_KEY", True)
    assert (second.api_key_env, second.prompt_cache) == (None, False)
    with pytest.raises(ConfigurationError, match="'yes' is not true or false"):
        config.build(document({"prompt_cache": "yes"}))


def test_a_seed_that_nobody_hears_is_said() -> None:
    said = (
        "its seed is not sent to anthropic/claude-x, whose protocol has none; its answers will differ from run to run"
    )
    assert config.build(document({}, seed=7)).notes == (f"handler 'writer': {said}",)
    assert config.build(document({})).notes == ()
    assert config.build(document({"provider": "openai"}, seed=7)).notes == ()


def _lines(**said: Any) -> list[str]:
    settings = BackendSettings(provider="anthropic", model="claude-x", place="organism.yaml:3:5", **said)
    return [f"{settings.place}: {problem}" for problem in check_backend(settings, environ={})]


def test_a_wrong_option_and_a_missing_key_are_a_line_each() -> None:
    option, key = _lines(api_key_env="ANTHROPIC_API_KEY", options={"seed": 7})
    assert option == "organism.yaml:3:5: options.seed: this protocol has no seed; leave it out"
    assert key.startswith(
        "organism.yaml:3:5: no key for 'claude-x' of provider 'anthropic': ANTHROPIC_API_KEY is not set; set it, or name"
    )


def test_a_missing_extra_says_what_to_install() -> None:
    with without_library("anthropic", "organism.models.anthropic.backend"):
        assert _lines() == [
            "organism.yaml:3:5: provider 'anthropic' needs 'anthropic', which is not installed; install organism with its extra 'anthropic'"
        ]


async def test_an_agent_thinks_asks_its_peer_and_replies() -> None:
    """Its thinking goes back with its calls, what repeats is marked for the cache, and the last turn forces its reply."""
    thinks = {"type": "thinking", "thinking": "I shall look.", "signature": "sig"}
    asks = {"type": "tool_use", "id": "toolu_1", "name": "library", "input": {"text": "ants"}}
    replies = {"type": "tool_use", "id": "toolu_2", "name": "reply", "input": {"text": "Ants are many."}}
    asked: list[Asked] = []
    ways = [
        keeping(asked, says(whole(answer(thinks, "Let me see.", asks, stop="tool_use")))),
        keeping(asked, says(whole(answer(replies, stop="tool_use")))),
    ]
    handlers = {
        "writer": writer(reasoning_effort="medium", max_turns=2, max_output_tokens=4096),
        "library": {"code": look},
    }
    async with before_messages(ways, handlers=handlers) as (organism, _):
        thread = await organism.send("writer", Question("ants?"))
        result = await thread.result()
        assert (result.outcome, result.reply) == ("completed", Found("Ants are many.")), result.error
        assert result.usage.model_calls == 2
    first, second = (one.body for one in asked)
    assert first["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    assert first["system"][-1]["cache_control"] == first["tools"][-1]["cache_control"] == {"type": "ephemeral"}
    assert {tool["name"] for tool in first["tools"]} >= {"library", "reply"}
    turns = second["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert turns[1]["content"] == [thinks, {"type": "text", "text": "Let me see."}, asks]
    (back,) = turns[2]["content"]
    assert back["tool_use_id"] == "toolu_1"
    assert "much about ants" in str(back["content"])
    assert second["tool_choice"] == {"type": "tool", "name": "reply"}
    assert "thinking" not in second, "who is forced to a tool may not think"
    assert THINKING not in str(second)
    gc.collect()
