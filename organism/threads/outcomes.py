"""What a thread comes to beside its replies: failures, warnings, why it ends, and what its handlers remember.

Values without a word of where they came from: frames and facts hold them.
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
    """Why a branch has no answer. ``code`` as in ``HandlerFailed``; ``unit`` and ``scope`` are set where it is ``exhausted``,
    ``account`` (``kind:name``) where the limit is that of an account.
    """

    code: FailureCode
    text: str
    retry: bool = False
    unit: str | None = None
    scope: str | None = None
    account: str | None = None


@define
class Warned:
    """A crossing as results show it. ``to`` is the handler that was told (the first), ``None`` while nobody was; ``node``
    is the thread whose budget it is, empty for the organism's.
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
    """What is repeated, of a loop: its class and its receiver."""


@define(weakref_slot=False)
class Troubles:
    """What went wrong in a thread, or is about to: failures that reached its root, and warnings."""

    failures: list[Failure] | None = None
    warnings: list[Warned] | None = None
    pending: dict[str, list[Warned]] | None = None
    """Warnings that an agent is yet to be told in its next prompt, by handler."""


@define(weakref_slot=False)
class Outlay:
    """What the calls of a thread have come to, beside the figures of its budget."""

    partial: tuple[str, str] | None = None
    """(handler, text) of the last completion, the root frame's handler preferred."""
    calls_like: tuple[int, ...] | None = None
    """What the last call was charged: how many like it are left is told in warnings."""
    granted: dict[str, Decimal] | None = None
    """What was granted so far by unit, of a root thread with all below it."""
    estimates: list[Estimate] | None = None
    refused: Failure | None = None
    """Why its last refused call was, for the call on grace that may follow at once: the fact of that has it, and a restart forgets it."""


@define(eq=False, weakref_slot=False)
class LastCall:
    """The last model call of a handler in a thread or conversation: its ``hold`` and ``prompt`` (or its name alone), by which the next one is told while facts
    are recorded, and the last ``report`` of a backend (:class:`organism.record.images.Report`). The ``first`` one was for the beginning that
    all of its prompts have, also one that is cut to fit at the very end.
    """

    hold: int = 0
    prompt: Any = None
    report: Any = None
    first: Any = None


@define(weakref_slot=False)
class Ending:
    """Why a thread does not go on until all is done."""

    exhausted: Failure | None = None
    """The refusal that its last delivery carries, or on whose grace it answered."""
    closing: bool = False
    """Messages or time ran out: nothing more is delivered but the last."""
    last_due: bool = False
    """Its handler has its last word yet."""
    graced: bool = False
    """Its one call on grace was made."""
    stopping: Failure | None = None
    """It was cancelled or stopped, for this."""


class Memory(dict[str, Any]):
    """What one handler remembers in one thread or conversation, by key (R7). ``changed`` counts the deliveries that have changed it;
    ``reading`` is what its handler has made of it: no part of it, and made again where there is none.
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
