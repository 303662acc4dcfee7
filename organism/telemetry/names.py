"""The names of attributes, as OpenTelemetry's conventions for generative AI have them; what those do not know is called ``organism.*``.

The conventions' own package has them no more, since they are still in the making: the strings are what others look for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from organism.names import TOOL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from organism.settings import ModelSettings
    from organism.usage import Usage

OPERATION: Final = "gen_ai.operation.name"
AGENT: Final = "gen_ai.agent.name"
TOOL_NAME: Final = "gen_ai.tool.name"
CONVERSATION: Final = "gen_ai.conversation.id"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHE_READ: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE: Final = "gen_ai.usage.cache_creation.input_tokens"
KIND_OF_TOKENS: Final = "gen_ai.token.type"
ERROR: Final = "error.type"

THREAD: Final = "organism.thread"
HANDLER: Final = "organism.handler"
OUTCOME: Final = "organism.outcome"
COST: Final = "organism.cost_usd"
ALIAS: Final = "organism.model"

Attribute = str | bool | int | float | tuple[str, ...]


def summed(usage: Usage) -> dict[str, Attribute]:
    """The attributes that tell what a thread has come to, with all below it. They are called otherwise than those of calls: whoever adds those up
    counts no call twice.
    """
    return {
        "organism.thread.tokens": usage.tokens,
        "organism.thread.cost_usd": float(usage.cost_usd),
        "organism.thread.model_calls": usage.model_calls,
        "organism.thread.messages": usage.messages,
        "organism.thread.seconds": usage.seconds,
        **_unpriced(usage),
    }


def spent(usage: Usage) -> dict[str, Attribute]:
    """The attributes that tell what a call did cost."""
    return {
        INPUT_TOKENS: usage.input_tokens,
        OUTPUT_TOKENS: usage.output_tokens,
        CACHE_READ: usage.cache_read_tokens,
        CACHE_WRITE: usage.cache_write_tokens,
        COST: float(usage.cost_usd),
        **_unpriced(usage),
    }


def _unpriced(usage: Usage) -> dict[str, Attribute]:
    """Says of a cost that it leaves out what nobody knew the price of."""
    return {"organism.unpriced": True} if usage.unpriced else {}


def backends_of(models: Mapping[str, ModelSettings]) -> dict[str, dict[str, Attribute]]:
    """The attributes that tell which model of which provider a backend asks, by the backends' names."""
    backends = (backend for model in models.values() for backend in model.backends)
    return {each.name: {PROVIDER: each.provider, REQUEST_MODEL: each.model} for each in backends}


def operation(handler: str, agents: frozenset[str]) -> tuple[str, dict[str, Attribute]]:
    """What the span of a delivery to a handler is called, and the attributes that say what it is."""
    if handler in agents:
        return f"invoke_agent {handler}", {OPERATION: "invoke_agent", AGENT: handler}
    agent, dot, tool = handler.partition(TOOL)
    if dot:
        return f"execute_tool {tool}", {OPERATION: "execute_tool", TOOL_NAME: tool, AGENT: agent}
    return f"handle {handler}", {}
