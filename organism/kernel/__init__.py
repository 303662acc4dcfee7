"""The pure core: facts in, commands out. No I/O, no clock, no dice, no await.

Read :mod:`kernel` first (what can happen), then ``answers`` (what a handler may answer), ``calls`` (hold and settle),
``state`` (the changes), ``warnings`` and ``notices`` (who is told what), ``outcome`` (how a thread ends), and ``fold`` (the same
changes from the record).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.late import late

if TYPE_CHECKING:
    from organism.kernel.kernel import Kernel

__all__ = ["Kernel"]

__getattr__ = late(__name__, {"Kernel": "organism.kernel.kernel"})
# The context of handlers, which every module of theirs imports, needs some of these rules, and not the whole.
