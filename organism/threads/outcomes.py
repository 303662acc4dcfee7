"""What a thread comes to beside its replies: failures, warnings, why it ends, and what its handlers remember.

Plain values, which refer to no thread or frame: threads, frames and facts hold them.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, final

from attrs import define, frozen

from organism.payloads.primitives import FailureCode
from organism.usage import Estimate

if TYPE_CHECKING:
    from collections.abc import Mapping


@final
@frozen
class Failure:
    """Why a branch has no answer. ``code`` is as in ``HandlerFailed``; ``unit`` and ``scope`` are set if it is ``exhausted``, and ``account``
    (``kind:name``) if the limit is an account's. ``undelivered``: the handler was not called, since it is gone, takes other payloads
    now, or fails too often.
    """

    code: FailureCode
    text: str
    retry: bool = False
    unit: str | None = None
    scope: str | None = None
    account: str | None = None
    undelivered: bool | None = None


@define
class Warned:
    """A warning as results show it: a level that was crossed, or a loop. ``to`` is the first handler that was told, ``None`` if none was
    yet; ``node`` is whose budget it is, as in ``WarningRaised``.
    """

    seq: int
    unit: str
    level: str
    threshold: Any
    used: Any
    limit: Any
    held: Any
    remaining: Any
    scope: str
    calls_left: int | None = None
    to: str | None = None
    node: str = ""
    about: str | None = None
    """Of a loop, what is repeated: the payload's class and its receiver."""


@define(weakref_slot=False)
class Troubles:
    """What went wrong in a thread, or is about to: failures that reached its root, the first of each code, and warnings."""

    failures: list[Failure] | None = None
    warnings: list[Warned] | None = None
    pending: dict[str, list[Warned]] | None = None
    """Warnings that an agent is yet to be told in its next prompt, by handler."""

    def fail(self, failure: Failure) -> None:
        """A failure reached the root. The first of each code is kept: a thread may fail a million times, and its outcome is that of the gravest."""
        self.failures = self.failures or []
        if all(each.code != failure.code for each in self.failures):
            self.failures.append(failure)


@define(weakref_slot=False)
class DeliveryWarnings:
    """The warnings of a delivery, by how far they have come to its handler."""

    told: tuple[Warned, ...] = ()
    """Code gets them as a message once the delivery is done."""
    telling: tuple[Warned, ...] = ()
    """They stand in a prompt that no model has answered yet, and go into the next one as well."""
    heard: tuple[Warned, ...] = ()
    """They stood in a prompt of this attempt that a model has answered."""

    def answered(self) -> None:
        """A model has answered the prompt."""
        self.heard, self.telling = (*self.heard, *self.telling), ()

    def begin_anew(self) -> None:
        """This attempt has failed: the next one has heard of none of them (R9)."""
        self.telling, self.heard = (*self.heard, *self.telling), ()


@define(weakref_slot=False)
class Outlay:
    """What the model calls of a thread have come to, beside the figures of its budget."""

    partial: tuple[str, str] | None = None
    """(handler, text) of the last completion, the root frame's handler preferred."""
    calls_like: tuple[int, ...] | None = None
    """The amounts that the last call was charged: warnings say how many more like it fit."""
    granted: dict[str, Decimal] | None = None
    """What was granted so far, by unit, to a root thread and all below it."""
    estimates: list[Estimate] | None = None
    refused: Failure | None = None
    """Why its last refused call was refused. The fact of a grace call that follows says so; a restart forgets it."""


@define(eq=False, weakref_slot=False)
class LastCall:
    """The last model call of a handler in a thread or conversation, kept while facts are recorded.

    ``hold`` is its number and ``prompt`` what was asked (or the name of that): of the next prompt only the difference is recorded.
    ``report`` is what a backend last reported for a prompt (:class:`organism.record.images.Report`), ``first`` the first such report: it is
    of the beginning that all prompts of the handler share, also one that is cut to fit at the very end.
    """

    hold: int = 0
    prompt: Any = None
    report: Any = None
    first: Any = None


@define(weakref_slot=False)
class Ending:
    """Why a thread ends before all of its work is done."""

    exhausted: Failure | None = None
    """The limit that ran out: its last delivery carries this refusal, or its grace call was made because of it."""
    closing: bool = False
    """Messages or time ran out: nothing more is delivered but the last message."""
    last_due: bool = False
    """That last message is still to be delivered to its handler."""
    graced: bool = False
    """Its one grace call was made."""
    stopping: Failure | None = None
    """Why it was cancelled or stopped."""


class Memory(dict[str, Any]):
    """What one handler remembers in one thread or conversation, by key (R7).

    ``changed`` counts the deliveries that have changed it. ``reading`` caches what its handler has parsed it to, with the count that this
    is of: it is no part of the state, and is made again where it is missing.
    """

    __slots__ = ("changed", "reading")

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.changed = 0
        self.reading: tuple[int, object] | None = None

    def change(self, changes: Mapping[str, tuple[Any] | None]) -> None:
        """Takes in what a delivery changed: ``(value,)``, or ``None`` for a key that went."""
        self.changed += 1
        for key, value in changes.items():
            if value is None:
                self.pop(key, None)
            else:
                self[key] = value[0]
