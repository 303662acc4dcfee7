"""By what services know a message again that must not do a thing twice (R9)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from organism.threads.frames import Message


def key_of(message: Message) -> str:
    """What is the same for all attempts at the same work: a message's id, unless it comes of what may be tried again."""
    return message.idempotency or message.id


def is_keyed(sender: Message) -> bool:
    """Whether what a delivery sends is to be known again: its handler may be tried again, or one above it. Else the ids do."""
    return sender.route.tries_again or (sender.past is not None and bool(sender.past.idempotency))


def key_of_sent(sender: Message, what: str) -> str:
    """What is the same for all messages that this delivery, or another attempt at it, sends as ``what``."""
    said = f"{key_of(sender)}\n{what}"
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:32]


__all__ = ["is_keyed", "key_of", "key_of_sent"]
