"""The pure core: events in, facts and commands out. No I/O, no clock, no randomness, no await: instants are arguments.

Laws: every method checks first, then changes the state and writes one fact (R20). Folding those facts makes the same changes again, and
comes to the same state: the suite checks that after every test.

A message from outside to ``a``, which asks ``b``::

    the pump calls                   the kernel changes the state                      and writes the fact
    ``accept(..., to="a")``          opens a thread and frame 1, queues message 1      ``Accepted`` (``ThreadOpened``, ``Posted``)
    ``asks.ask(..., to="b")``        opens frame 2 below it, queues message 2          ``Asked`` (``Posted``)
    ``answered(message 2, Reply)``   gives the ask its answer; frame 2 closes          ``Answered`` (``Resolved``)
    ``answered(message 1, Reply)``   the reply leaves; frame 1 closes: the thread ends ``Answered`` (``Left``), ``Ended``

Reading order:

* ``kernel`` - what can happen, one method for each: it checks, changes the state, and writes the fact
* ``state`` - the changes themselves. Its parts: ``inbox`` (questions to people), ``pools`` (budgets that threads share), ``rings`` (recent
  messages, for loop detection), ``sums`` (totals)
* ``book``, ``steps``, ``marks`` - writing facts down
* ``answers``, ``sendable`` - checking what a handler answers with; ``carrying``: carrying it out; ``hop``: both at once, for plain answers
* ``opening``, ``conversations`` - opening threads, and the turns of conversations
* ``back_pressure``, ``loops``, ``idempotency`` - rules for what is sent
* ``asks``, ``people`` - what deliveries wait for; ``branches``: what goes with an ask that nobody waits for any more
* ``failures``, ``retries``, ``dead_letters`` - where a failure goes, further attempts, and messages that failed for good
* ``calls`` - model calls: hold, settle, refuse. Their parts: ``holds``, ``charges``, ``windows``, ``prompts``
* ``knots``, ``contention``, ``streams``, ``places`` - deadlocks between calls that wait for each other's streams
* ``limits``, ``grants`` - limits that change while a thread runs; ``times``: running time
* ``warnings``, ``notices`` - who is told of a budget, and what
* ``ends``, ``outcome`` - how threads end, and their final record
* ``recovery``, ``fold``, ``index``, ``recall`` - taking up what an earlier process left, from its facts; ``reading``: the same for
  whoever only reads a journal
* ``imaging``, ``restoring`` - snapshots: a thread as one frozen value, so that folding need not begin at its first fact
* ``comparable`` - the state as a plain value, for tests that compare the live state with the folded one
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.late import late

if TYPE_CHECKING:
    from organism.kernel.kernel import Kernel

__all__ = ["Kernel"]

__getattr__ = late(__name__, {"Kernel": "organism.kernel.kernel"})
# Loaded late: every module with handlers imports the context, which needs some of these rules and not the whole kernel.
