"""What a handler answers with: a reply to its caller, a message to a peer, a handoff."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from attrs import frozen

from organism.quick import quick

P = TypeVar("P")


@quick
@frozen
class Reply(Generic[P]):
    """Answers whoever called: an asker goes on with it, a sender gets it as a message; at the root it leaves the thread."""

    payload: P


@quick
@frozen
class Send(Generic[P]):
    """Sends ``payload`` to the peer ``to``; its reply comes back as a message."""

    to: str
    payload: P


@quick
@frozen
class Forward(Generic[P]):
    """Hands the conversation to the peer ``to``: its reply goes to my caller."""

    to: str
    payload: P


Outgoing = Reply[Any] | Send[Any] | Forward[Any]
"""What a handler may answer with, besides ``None`` and several of these."""
