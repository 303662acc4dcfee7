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
    """A model call's worst case is held. ``seq`` is its delivery, 0 for a thread without handlers.

    ``key`` names the call among those of its delivery (R21). ``prompt`` is what the model is asked, at the first attempt of a
    call: further ones ask the same, and ``call`` is the hold of the first. ``clamped``: the wish for output was lowered.
    ``nearest`` is what was left, before this, where a limit was nearest. ``why``: of a call on grace, what was refused before it.
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
    """What was held has become what was spent; a charge of nothing releases it. ``held_at`` is when it was held, since windows
    count it there. ``missed`` is why its backend gave no answer. ``digests`` are those of the tools, of the messages, and of all
    messages but the last that the backend's report was for: in another process, what is sent again is known by them.
    What is said of the ``attempt``, the call's ``tags``, and the ``labels`` and ``accounts`` of its thread is for those who
    meter (:mod:`organism.record.metering`).
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
    """A limit refused a call before any backend was touched; without an ``alias`` it was no call but an ask or a spawn.

    ``call`` is the hold of its first attempt, where it is a further one that was refused. ``nearest`` is what was left there,
    ``account`` (``kind:name``) whose limit it was where that is an account.
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
    """A model answered; the text is what a thread hands in as ``partial`` when nothing better comes.

    ``key`` names the call among those of its delivery (R21), ``kept`` is the rest of the answer: a delivery that is run again
    after a crash gets it without paying. ``call`` is the hold of its first attempt.
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
    """A call ended without an answer: no backend gave one (``failed``), or nobody waited for it any more (``cut``).

    ``usage`` is what its ``attempts`` did cost, as many as were made; ``call`` is the hold of the first, where there was one.
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
