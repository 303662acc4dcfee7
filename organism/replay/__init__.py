"""Replays and forks: a thread's record run again, and a part of it gone on with another way (R24).

Reading order:

* ``replaying`` - the way in: a replay of one thread, and what differed
* ``script`` - what the record says of each delivery
* ``stage`` - folds the record, and answers the handlers that run on it as they were answered then
* ``player``, ``course``, ``context`` - one delivery that is run again; what its handler sees, with ``histories`` of threads that it has spawned
* ``refusals`` - what a limit refused, as its handler heard of it
* ``verdict`` - whether it came to what the record says
* ``forking`` - a thread's first facts in a chain of their own
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.late import late

if TYPE_CHECKING:
    from organism.replay.replaying import replay

__all__ = ["replay"]

__getattr__ = late(__name__, {"replay": "organism.replay.replaying"})
# Most who run an organism replay nothing, and what a replay runs on takes long to load: agents, a stage, trio's clock for tests.
