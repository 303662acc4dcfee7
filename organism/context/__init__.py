"""What a handler sees of its delivery: ``interface`` says it, ``delivery`` makes it true.

Whoever declares handlers loads the first alone: it takes nothing of the pump.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.late import late

if TYPE_CHECKING:
    from organism.context.delivery import DeliveryContext, payload_of, timed_out
    from organism.context.interface import Context

__all__ = ["Context", "DeliveryContext", "payload_of", "timed_out"]

__getattr__ = late(
    __name__,
    {
        "Context": "organism.context.interface",
        "DeliveryContext": "organism.context.delivery",
        "payload_of": "organism.context.delivery",
        "timed_out": "organism.context.delivery",
    },
)
