"""What a journal's payloads are read as: the classes that handlers of an organism may have sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.functions import FunctionCall, FunctionResult
from organism.loader import payloads_beside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from organism.settings import Settings


def payload_classes(settings: Settings) -> Iterator[type]:
    """The payload classes that an organism's handlers take, send and keep, as far as they can be known; the first of a name."""
    found: dict[str, type] = {}
    for handler in settings.everyone.values():
        sent = payloads_beside(handler.code) if handler.replies is None else handler.replies
        for cls in (*handler.accepts, *sent):
            found.setdefault(cls.__name__, cls)
    for cls in (FunctionCall, FunctionResult):  # agents may have had tools before
        found.setdefault(cls.__name__, cls)
    yield from found.values()
