"""What other processes ask of the one that works on a journal: pause, resume, cancel, add budget, answer for a person, prune (R24).

The owner listens on a socket beside its journal; a request is a line of JSON, and so is what it says to it. Where nobody works on the
journal, the same changes are written behind its threads, and whoever goes on with them finds them made.

Reading order: ``orders`` (what is asked), ``lines`` (how it travels), ``changes`` and ``quotas`` (what is done), ``server`` (who listens).
"""

from __future__ import annotations

from organism.works.control.changes import done_before, too_late, written_down
from organism.works.control.lines import tell
from organism.works.control.orders import Order
from organism.works.control.quotas import given_more_in
from organism.works.control.server import Control

__all__ = ["Control", "Order", "done_before", "given_more_in", "tell", "too_late", "written_down"]
