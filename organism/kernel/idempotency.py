"""Idempotency keys: the same for all attempts at one piece of work, so that a service does not act twice (R9)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from organism.threads.frames import Message


def key_of(message: Message) -> str:
    """The idempotency key of a message: its id, unless it was sent by a delivery that may be tried again."""
    return message.idempotency or message.id


def is_keyed(sender: Message) -> bool:
    """Whether what a delivery sends needs keys of its own: its handler, or one above it, may be tried again. Otherwise ids will do."""
    return sender.route.tries_again or (sender.past is not None and bool(sender.past.idempotency))


def key_of_sent(sender: Message, what: str) -> str:
    """The key of what a delivery sends as ``what``: the same in another attempt at it."""
    said = f"{key_of(sender)}\n{what}"
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:32]
