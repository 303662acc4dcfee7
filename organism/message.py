"""What a handler answers with: a reply to its caller, a message to a peer, a handoff."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from attrs import frozen

from organism.quick import quick

P = TypeVar("P")


@quick
@frozen
class Reply(Generic[P]):
    """Answers the caller: ``ask`` returns the payload, a sender gets it as a message, and the reply to a message from outside is a
    reply of the thread.
    """

    payload: P


@quick
@frozen
class Send(Generic[P]):
    """Sends ``payload`` to the peer ``to``, whose reply comes back as a message."""

    to: str
    payload: P


@quick
@frozen
class Forward(Generic[P]):
    """Hands the work over to the peer ``to``, whose reply goes to this handler's caller."""

    to: str
    payload: P


Outgoing = Reply[Any] | Send[Any] | Forward[Any]
"""What a handler may return, besides ``None`` and an iterable of several of these."""
