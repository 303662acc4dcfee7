"""Names that users write: what they may look like, and the nearest one when they are wrong."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

ORGANISM: Final = "organism"
"""The sender of the organism's own primitives; no handler may be called so."""

CONVERSATION: Final = "conversation:"
"""How the ids of chains begin that hold a conversation; no thread may be called so."""

ACCOUNT: Final = "account:"
"""How the name of an account's node begins; it is followed by ``kind:name``."""

_HANDLER: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_ORGANISM: Final = re.compile(r"[a-z][a-z0-9-]*")


def is_handler_name(name: str) -> bool:
    """Whether ``name`` may name a handler: ``[a-z][a-z0-9_-]{0,63}``, and not the organism's own name for itself."""
    return _HANDLER.fullmatch(name) is not None and name != ORGANISM


def is_organism_name(name: str) -> bool:
    """Whether ``name`` may name an organism: ``[a-z][a-z0-9-]*``."""
    return _ORGANISM.fullmatch(name) is not None


def suggestion(wrong: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the nearest of the known names, or nothing."""
    near = difflib.get_close_matches(wrong, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""
