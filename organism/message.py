"""What a handler answers with: a reply to its caller, a message to a peer, a handoff."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from attrs import frozen

from organism.quick import quick

P_co = TypeVar("P_co", covariant=True)


@quick
@frozen
class Reply(Generic[P_co]):
    """Answers the caller: ``return Reply(Answer("42"))``.

    ``ask`` returns the payload, a sender gets it as a message, and the reply to a message from outside is a reply of the thread.
    """

    payload: P_co


@quick
@frozen
class Send(Generic[P_co]):
    """Sends ``payload`` to the peer ``to``: ``return Send("editor", draft)``. The peer's reply comes back as a message."""

    to: str
    payload: P_co


@quick
@frozen
class Forward(Generic[P_co]):
    """Hands the work over to the peer ``to``: ``return Forward("expert", question)``. The peer's reply goes to this handler's caller."""

    to: str
    payload: P_co


Outgoing = Reply[Any] | Send[Any] | Forward[Any]
"""What a handler may return, besides ``None`` and an iterable of several of these."""
