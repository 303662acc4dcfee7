"""What a file says and a provider of its alias ignores: no mistake, since the alias may have others, but worth a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from organism.settings import HandlerSettings, ModelSettings

_WITHOUT_SEED: Final = frozenset({"anthropic"})
"""Providers whose protocol has no seed."""


def ignored(handlers: Mapping[str, HandlerSettings], models: Mapping[str, ModelSettings]) -> Iterator[str]:
    """One line for each agent with a seed and each backend of its alias that is not sent it."""
    for name, handler in handlers.items():
        agent = handler.agent
        if agent is None or agent.seed is None or agent.model not in models:
            continue
        for backend in models[agent.model].backends:
            if backend.provider in _WITHOUT_SEED:
                yield (
                    f"handler '{name}': its seed is not sent to {backend.provider}/{backend.model}, whose protocol has none; "
                    "its answers will differ from run to run"
                )
