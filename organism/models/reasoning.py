"""What an assistant message keeps of a model's reasoning: signatures and thoughts that its server wants back, and others refuse. Pure."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from organism.models.formats import mapping

if TYPE_CHECKING:
    from organism.models.contract import Message
    from organism.settings import BackendSettings

THINKING: Final = "thinking_blocks"
"""The blocks of reasoning that Messages servers want back."""
KEPT: Final = "kept_for_server"
"""What an assistant message that calls tools keeps for the ``server`` that has said it (:func:`keeps_for`). What was ``said`` is JSON in a
text: nothing looks into it.
"""
OPENAI_SERVER: Final = "https://api.openai.com/v1"
"""The server of an ``openai`` backend that names none."""
THINKERS: Final = "thinking"
"""The name under which those stand who want blocks of reasoning back."""
_SAYING_NOTHING: Final = frozenset({"role", "name", THINKING, KEPT})


def keeper_of(settings: BackendSettings) -> str | None:
    """The name of those for whom messages keep what this backend gets to see of such things; ``None``: it gets to see all."""
    if settings.built_in == "openai":
        return keeps_for(settings)
    return THINKERS if settings.built_in == "anthropic" else None


def keeps_for(settings: BackendSettings) -> str:
    """What a server is called in messages that keep something for it; empty where it wants nothing back.

    It is a digest: messages are written down, and addresses may hold what nobody is to see.
    """
    if not settings.options.get("send_thoughts_back", True):
        return ""
    return sha256((settings.base_url or OPENAI_SERVER).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def kept_in(message: Message) -> frozenset[str]:
    """For whom a message keeps something that others do not get to see."""
    return frozenset(_keepers(message).values())


def _keepers(message: Message) -> dict[str, str]:
    """For whom each of the parts is that others do not get to see."""
    thinkers = {THINKING: THINKERS} if THINKING in message else {}
    return {**thinkers, KEPT: str(mapping(message[KEPT]).get("server"))} if KEPT in message else thinkers


def heard_by(message: Message, whom: str) -> Message:
    """The message less what it keeps for others."""
    others = {part for part, keeper in _keepers(message).items() if keeper != whom}
    return {name: part for name, part in message.items() if name not in others} if others else message


def says_nothing(message: Message) -> bool:
    """Whether it is the answer of a model that neither said nor called anything; many servers refuse a prompt that has one."""
    if message.get("role") != "assistant" or message.get("content") or message.get("tool_calls"):
        return False
    return not any(part for name, part in message.items() if name not in _SAYING_NOTHING)
