"""The pure core: facts in, commands out. No I/O, no clock, no dice, no await.

Reading order:

* ``kernel`` - what can happen, one method for each: it checks, changes the state, and writes the fact
* ``state`` - the changes themselves; ``inbox``, ``pools``, ``rings``, ``sums``: parts of it; ``book``, ``steps``, ``marks``: writing facts down
* ``answers`` and ``sendable`` - what a handler may answer with; ``carrying``: carrying it out; ``hop``: both in one go, for plain answers
* ``opening``, ``conversations`` - threads, and the turns of conversations; ``crowding``, ``loops``, ``sameness``: rules for what is sent
* ``asks``, ``people``, ``retries`` - what deliveries wait for; ``later``, ``dead``: attempts, and messages that failed for good
* ``calls`` - model calls: hold, settle, refuse; ``holds``, ``charges``, ``windows``, ``streams``, ``knots``, ``contention``, ``prompts``: their parts
* ``limits`` and ``grants`` - limits that change while a thread runs; ``times``: running time
* ``warnings`` and ``notices`` - who is told what; ``failures``: where failures go
* ``ends`` and ``outcome`` - how threads end, and what is said of that
* ``fold``, ``index``, ``recall``, ``recovery`` - the same changes from the record; ``imaging``, ``restoring``: a shortcut through it
* ``snapshot`` - the state as a plain value, to compare what is live with what the record folds to
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.late import late

if TYPE_CHECKING:
    from organism.kernel.kernel import Kernel

__all__ = ["Kernel"]

__getattr__ = late(__name__, {"Kernel": "organism.kernel.kernel"})
# The context of handlers, which every module of theirs imports, needs some of these rules, and not the whole.
