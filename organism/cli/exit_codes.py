"""The exit codes of the commands."""

from __future__ import annotations

from typing import Final

COMPLETED: Final = 0
FAILED: Final = 1
"""A thread failed, or what was compared differs."""
WRONG: Final = 2
"""The file or the command line is wrong."""
EXHAUSTED: Final = 3
PAUSED: Final = 4
DAMAGED: Final = 5
"""A journal is damaged, cannot be used, or another process holds it."""
INTERRUPTED: Final = 130
