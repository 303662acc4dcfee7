"""What a file says and nothing comes of: no mistake, since another layer or backend may make something of it, but worth a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from organism.settings import ConversationSettings, HandlerSettings, ModelSettings, Quota

_MEMORY: Final = "memory:"
_SHOWN: Final = 3
"""Names that a line has."""
_WITHOUT_SEED: Final = frozenset({"anthropic"})
"""Providers whose protocol has no seed."""


def never_at_cap(conversation: ConversationSettings | None) -> Iterator[str]:
    """A line where conversations are to go on in fresh ones at a limit that they do not have."""
    if conversation is not None and conversation.on_cap == "rotate" and conversation.budget.limits.messages is None:
        yield (
            "conversation: 'on_cap: rotate' needs a limit of 'messages', and there is none: at any other limit the turns of a conversation"
            " are refused; limit 'messages', or leave 'on_cap' out"
        )


def forgotten(top: Mapping[str, Any]) -> Iterator[str]:
    """A line where limits count for longer than a process may live, and the journal keeps nothing for the next one."""
    if top.get("journal", _MEMORY) != _MEMORY:
        return
    quotas: dict[str, Quota] = {"ceiling": top["ceiling"]} if "ceiling" in top else {}
    quotas |= {f"accounts.{name}": quota for name, quota in top.get("accounts", {}).items()}
    lasting = [name for name, quota in quotas.items() if quota.window != "run"]
    if lasting:
        more = f" and {len(lasting) - _SHOWN} more" if len(lasting) > _SHOWN else ""
        yield (
            f"{', '.join(lasting[:_SHOWN])}{more}: what was spent is forgotten when the process ends, since journal '{_MEMORY}' keeps nothing; "
            "name one that lasts, as in 'journal: sqlite:organism.db'"
        )


def ignored(handlers: Mapping[str, HandlerSettings], models: Mapping[str, ModelSettings]) -> Iterator[str]:
    """One line for each agent with a seed and each backend of its alias that is not sent it."""
    for name, handler in handlers.items():
        agent = handler.agent
        if agent is None or agent.seed is None or agent.model not in models:
            continue
        for backend in models[agent.model].backends:
            if backend.built_in in _WITHOUT_SEED:
                yield (
                    f"handler '{name}': its seed is not sent to {backend.provider}/{backend.model}, whose protocol has none; "
                    "its answers will differ from run to run"
                )
