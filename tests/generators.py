"""Asynchronous generators that somebody left half-way."""

from __future__ import annotations

import gc
from types import AsyncGeneratorType


def left_half_way() -> list[str]:
    """The names of those of libraries that have begun and not ended, and are still there."""
    found: list[str] = []
    for each in gc.get_objects():
        # By its type: some objects load half a library when one asks them what they are.
        if type(each) is AsyncGeneratorType and "site-packages" in each.ag_code.co_filename:
            frame = each.ag_frame
            if frame is not None and frame.f_lasti > 0:
                found.append(each.__qualname__)
    return found
