"""Every key that is documented for organism.yaml is read, or refused by name: none is accepted and ignored."""

from __future__ import annotations

from typing import Any

import pytest

from organism import config
from organism.config.document import TOP
from organism.config.sections import ListOf, MapOf, Record
from organism.config.shapes import OrNull, Shape
from organism.hooks import POINTS
from organism.payloads import payload
from organism.primitives import BudgetDecision, BudgetRequest


@payload
class Question:
    text: str


async def look(question: Question, ctx: object) -> None:
    """Looks it up."""


async def search(query: str) -> str:
    """Looks things up."""
    return query


# Every key of the documentation with its example, in its order. What `later` holds is refused.
DOCUMENTED: dict[str, Any] = {
    "organism": "research-desk",
    "runtime": "trio",
    "defaults.timeout": 30,
    "defaults.agent.notices.deliver": False,
    "budget.tokens": 100000,
    "budget.input_tokens": None,
    "budget.output_tokens": None,
    "budget.cost_usd": 0.50,
    "budget.model_calls": 50,
    "budget.messages": 300,
    "budget.seconds": 600,
    "budget.depth": 50,
    "budget.warn_at": [0.75, 0.9, 0.95],
    "budget.runway": 2,
    "budget.grace": {"model_calls": 1, "share": 0.1, "tokens": 2000},
    "budget.accounting": "estimate",
    "budget.on_unpriced": "refuse",
    "budget.notify": ["agent"],
    "budget.grants_by": "boss",
    "budget.grants_up_to": {"tokens": 20000},
    "conversation.messages": 1000,
    "conversation.cost_usd": 2,
    "conversation.on_cap": "end",
    "accounts": {"tenant": {"cost_usd": 5, "window": "day"}},
    "ceiling.cost_usd": 20,
    "ceiling.window": "day",
    "models.default.strategy": "failover",
    "models.default.retries": 3,
    "models.default.backoff": [0.5, 30],
    "models.default.max_output_tokens": 4096,
    "models.default.downgrade": {"at": "critical", "to": "small"},
    "models.default.backends.0.provider": "simulated",
    "models.default.backends.0.model": "sim-1",
    "models.default.backends.0.base_url": None,
    "models.default.backends.0.api_key_env": "OPENAI_API_KEY",
    "models.default.backends.0.api_key_file": None,
    "models.default.backends.0.priority": 1,
    "models.default.backends.0.requests_per_minute": None,
    "models.default.backends.0.tokens_per_minute": None,
    "models.default.backends.0.max_concurrent": 20,
    "models.default.backends.0.timeout": 120,
    "models.default.backends.0.overhead": 16,
    "models.default.backends.0.context_window": 200_000,
    "models.default.backends.0.prompt_cache": True,
    "models.default.backends.0.price": {"input": 3, "output": 15, "cache_read": 0.30, "cache_write": 3.75},
    "models.default.backends.0.options": {},
    "mcp.files.command": ["python", "server.py"],
    "mcp.files.env": {"LANG": "C"},
    "mcp.files.pass_env": ["GITHUB_TOKEN"],
    "mcp.files.cwd": ".",
    "mcp.files.timeout": 30,
    "mcp.files.backoff": [0.5, 30],
    "mcp.search.url": "http://localhost:9000/mcp",
    "mcp.search.api_key_env": "SEARCH_KEY",
    "mcp.search.api_key_file": __file__,
    "handlers.shouter.code": look,
    "handlers.shouter.description": "Says it loudly.",
    "handlers.shouter.peers": [],
    "handlers.shouter.timeout": 30,
    "handlers.shouter.concurrency": None,
    "handlers.shouter.budget": {"tokens": 5000},
    "handlers.shouter.per": "call",
    "handlers.shouter.on_failure.do": "reply",
    "handlers.shouter.on_failure.attempts": 1,
    "handlers.shouter.on_failure.within": 60,
    "handlers.shouter.on_failure.backoff": [0.1, 5],
    "handlers.shouter.on_failure.retry_on": ["crashed", "timeout"],
    "handlers.shouter.options": {"root": "docs"},
    "handlers.shouter.effects": "world",
    "handlers.writer.agent.accepts": Question,
    "handlers.writer.agent.replies": [Question],
    "handlers.writer.agent.model": "default",
    "handlers.writer.agent.prompt": "Be brief.",
    "handlers.writer.agent.peers_as": "tools",
    "handlers.writer.agent.tools": [search],
    "handlers.writer.agent.max_turns": 20,
    "handlers.writer.agent.max_output_tokens": 1024,
    "handlers.writer.agent.min_output_tokens": 64,
    "handlers.writer.agent.temperature": 0,
    "handlers.writer.agent.seed": 7,
    "handlers.writer.agent.reasoning_effort": None,
    "handlers.writer.agent.tool_calls": {"default": 10},
    "handlers.writer.agent.tool_output.max_bytes": 16384,
    "handlers.writer.agent.tool_output.per_tool": {},
    "handlers.writer.agent.compaction.at": 0.6,
    "handlers.writer.agent.compaction.hard_limit": 0.9,
    "handlers.writer.agent.compaction.keep_turns": 2,
    "handlers.writer.agent.compaction.model": "default",
    "handlers.writer.agent.compaction.prompt": None,
    "handlers.writer.agent.prune.protect_turns": 3,
    "handlers.writer.agent.prune.min_tokens": 4096,
    "handlers.writer.agent.notices.deliver": True,
    "handlers.writer.agent.notices.figures": True,
    "handlers.writer.agent.notices.warning": None,
    "handlers.writer.agent.notices.exhausted": None,
    "handlers.writer.agent.notices.grace": None,
    "handlers.writer.peers": ["shouter"],
    "handlers.boss.human.accepts": "organism.primitives:BudgetRequest",
    "handlers.boss.human.replies": "organism.primitives:BudgetDecision",
    "hooks": {"before_model_call": [isinstance]},
    "loops": {"repeats": 4, "within": 12},
    "dead_letters": None,
    "scheduling": "breadth-first",
    "max_handlers": 1000,
    "watchdog": 1,
    "queue": 10000,
    "on_full": "wait",
    "thread_queue": 10000,
    "journal": "sqlite:organism.db",
    "durability": "full",
    "session_log": None,
    "telemetry": False,
    "record": "answers.jsonl",
    "start": [{"to": "shouter", "payload": {"Question": {"text": "What is an organism?"}}}],
}  # fmt: skip


def base() -> dict[str, Any]:
    """What a document needs, so that any key can be put into it."""
    return {
        "organism": "demo",
        "models": {name: {"backends": [{"provider": "simulated", "model": "sim-1"}]} for name in ("default", "small")},
        "mcp": {"files": {"command": ["server"]}, "search": {"url": "http://localhost"}},
        "handlers": {
            "shouter": {"code": look, "budget": {}},
            "writer": {"description": "Writes.", "agent": {"accepts": Question, "replies": Question}},
            "boss": {"description": "Decides.", "human": {"accepts": BudgetRequest, "replies": BudgetDecision}},
        },
    }


@pytest.mark.parametrize("path", sorted(DOCUMENTED))
def test_a_documented_key_is_read(path: str) -> None:
    config.build(base(), set={path: DOCUMENTED[path]})


LEAST: dict[str, Any] = {
    **{f"budget.{unit}": 0 for unit in ("tokens", "cost_usd", "model_calls", "messages", "seconds", "depth")},
    "budget.warn_at": [],
    "budget.runway": 0,
    "budget.grace": {"model_calls": 0, "share": 0, "tokens": 0},
    "models.default.retries": 0,
    "models.default.backoff": [0, 0],
    "models.small.backoff": [2, 2],
    "models.default.max_output_tokens": 1,
    "models.default.backends.0.priority": 0,
    "models.default.backends.0.requests_per_minute": 1,
    "models.default.backends.0.tokens_per_minute": 1,
    "models.default.backends.0.max_concurrent": 1,
    "models.default.backends.0.overhead": 0,
    "models.default.backends.0.context_window": 256,
    "models.default.backends.0.price": {"input": 0, "output": 0},
    "handlers.shouter.concurrency": 1,
    "handlers.shouter.on_failure.attempts": 1,
    "handlers.shouter.on_failure.within": 0.001,
    "handlers.shouter.on_failure.backoff": [1, 1],
    "handlers.writer.agent.max_turns": 1,
    "handlers.writer.agent.max_output_tokens": 1,
    "handlers.writer.agent.min_output_tokens": 1,
    "handlers.writer.agent.temperature": 0,
    "handlers.writer.agent.seed": -1,
    "handlers.writer.agent.tool_calls": {"default": 0},
    "handlers.writer.agent.tool_output.max_bytes": 1,
    "handlers.writer.agent.compaction.keep_turns": 1,
    "handlers.writer.agent.prune.protect_turns": 1,
    "handlers.writer.agent.prune.min_tokens": 0,
    "loops": {"repeats": 2, "within": 2},
    "max_handlers": 1,
    "queue": 1,
    "thread_queue": 1,
}  # fmt: skip


def test_the_least_that_a_figure_may_be_is_taken() -> None:
    config.build(base(), set=LEAST)


def test_no_key_is_read_that_is_not_documented() -> None:
    documented = {_neutral(path) for path in DOCUMENTED}
    inner = {path for known in documented for path in _prefixes(known)}
    shared = {"peers", "timeout", "concurrency", "budget", "per", "on_failure", "options", "effects"}
    limits = {path.removeprefix("budget.") for path in documented if path.startswith("budget.")}
    for path in _keys(TOP, ""):
        head, _, rest = path.rpartition(".")
        if head in {"defaults", "handlers.*"}:
            assert rest in shared | {"code", "agent", "human", "description"}, path
        elif head == "hooks":
            assert rest in POINTS, path
        elif path.startswith(("defaults.on_failure.", "defaults.agent.")):
            assert f"handlers.*{path.removeprefix('defaults')}" in inner, path
        elif head.split(".")[-1] in {"budget", "ceiling", "conversation"} or head == "accounts.*":
            assert rest in limits | {"window", "on_cap"}, path
        elif not head.endswith(("warn_at", "grace", "price", "start", "grants_up_to", "loops", "downgrade")):
            assert path in inner, path


def _neutral(path: str) -> str:
    parts = path.split(".")
    if parts[0] in {"handlers", "mcp", "models"} and len(parts) > 1:
        parts[1] = "*"
    return ".".join(part for part in parts if part != "0")


def _prefixes(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))]


def _keys(shape: Shape, path: str) -> list[str]:
    match shape:
        case Record(keys=keys):
            found: list[str] = []
            for name, below in keys.items():
                inner = f"{path}.{name}" if path else name
                found += [inner, *_keys(below, inner)]
            return found
        case MapOf(item=item):
            return _keys(item, f"{path}.*")
        case ListOf(item=item):
            return _keys(item, path)
        case OrNull(shape=inner_shape):
            return _keys(inner_shape, path)
        case _:
            return []
