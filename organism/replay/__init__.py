"""Replays and forks: a thread's record run again, and a part of it gone on with another way (R24)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.late import late

if TYPE_CHECKING:
    from organism.replay.replaying import replay

__all__ = ["replay"]

__getattr__ = late(__name__, {"replay": "organism.replay.replaying"})
# Most who run an organism replay nothing, and what a replay runs on takes long to load: agents, a stage, trio's clock for tests.
