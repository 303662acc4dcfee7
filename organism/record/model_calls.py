"""The facts of model calls: what is held for each attempt and what it did cost, and how a call ended. See :mod:`organism.record.facts`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from organism.budget.claims import Charge, Six
from organism.quick import quick
from organism.record.fact import Fact
from organism.record.images import Kept, Missed, Nearest, Prompted
from organism.usage import Usage


@quick
@frozen(kw_only=True)
class CallHeld(Fact):
    """The most that an attempt at a model call may cost is held. ``seq`` is its delivery, 0 for a thread without handlers.

    ``key`` identifies the call among those of its delivery. ``prompt`` is what the model is asked, at the first attempt of a
    call; further attempts ask the same, and their ``call`` is the hold of the first. ``clamped``: the wish for output was lowered.
    ``nearest`` is what was left of the nearest limit before this. ``why``: for a call on grace, the refusal before it.
    ``attempt`` numbers the holds of a call, also those that were given back before an attempt was made.
    """

    hold: int
    seq: int
    need: Six
    output: int
    alias: str
    backend: str
    attempt: int
    grace: bool
    streamed: bool
    key: str = ""
    prompt: Prompted | None = None
    tags: tuple[str, ...] = ()
    call: int | None = None
    clamped: bool | None = None
    nearest: Nearest | None = None
    why: Any = None


@quick
@frozen(kw_only=True)
class CallSettled(Fact):
    """A hold was settled: what the attempt cost is charged; a charge of nothing releases the hold. ``held_at`` is when it was held:
    windows count the charge at that time. ``missed`` is why its backend gave no answer. ``digests`` are those of the prompt that
    the backend's report was for (its tools, its messages, and all messages but the last): by them another process recognises a
    prompt that is sent again. ``attempt``, the call's ``tags``, and the ``labels`` and ``accounts`` of its thread are for metering.
    """

    hold: int
    seq: int
    handler: str
    alias: str
    backend: str
    held_at: float
    charge: Charge
    attempt: int | None = None
    missed: Missed | None = None
    digests: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    labels: Mapping[str, str] | None = None
    accounts: tuple[str, ...] = ()


@quick
@frozen(kw_only=True)
class CallRefused(Fact):
    """A limit refused a call before any backend was touched; without an ``alias``, it refused an ask or a spawn.

    If a further attempt was refused, ``call`` is the hold of the first attempt. ``nearest`` is what was left there; ``account``
    (``kind:name``) is the account whose limit it was, if it was one's.
    """

    seq: int
    handler: str
    unit: str
    scope: str
    need: Any
    account: str | None = None
    alias: str | None = None
    backend: str | None = None
    attempt: int | None = None
    call: int | None = None
    nearest: Nearest | None = None
    tags: tuple[str, ...] = ()
    labels: Mapping[str, str] | None = None
    accounts: tuple[str, ...] = ()


@quick
@frozen(kw_only=True)
class CallCompleted(Fact):
    """A model answered. ``text`` is what a thread hands in as ``partial`` when nothing better comes.

    ``key`` identifies the call among those of its delivery, ``kept`` is the rest of the answer: a delivery that is run again
    after a crash gets both without paying. ``call`` is the hold of its first attempt.
    """

    seq: int
    handler: str
    text: str
    key: str = ""
    kept: Kept | None = None
    alias: str | None = None
    call: int | None = None
    tags: tuple[str, ...] = ()
    labels: Mapping[str, str] | None = None
    accounts: tuple[str, ...] = ()


@quick
@frozen(kw_only=True)
class CallFailed(Fact):
    """A call ended without an answer: no backend gave one (``outcome`` is ``failed``), nobody waited for it any more (``cut``), or a limit
    refused a further attempt (``refused``).

    ``attempts`` is how many were made, ``usage`` what they cost; ``call`` is the hold of the first, if there was one. ``unpriced``: the price
    of some of that is not known.
    """

    seq: int
    handler: str
    alias: str
    outcome: str
    text: str
    attempts: int
    usage: Usage
    key: str = ""
    call: int | None = None
    unpriced: bool | None = None
    tags: tuple[str, ...] = ()
    labels: Mapping[str, str] | None = None
    accounts: tuple[str, ...] = ()
