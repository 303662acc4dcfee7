"""Whether something stands at a path."""

from __future__ import annotations

from errno import ELOOP, ENOENT, ENOTDIR
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def is_there(path: Path) -> bool:
    """Whether something is at ``path``; no for what no path can be. Raises OSError where the system does not tell: since Python 3.14,
    ``path.exists()`` then says no.
    """
    try:
        path.stat()
    except ValueError:  # with a zero byte
        return False
    except OSError as error:
        if error.errno in {ENOENT, ENOTDIR, ELOOP}:
            return False
        raise
    return True
