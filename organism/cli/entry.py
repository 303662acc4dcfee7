"""The first of the command line that runs: from here on Ctrl-C is no crash, also while Python still loads the rest."""

from __future__ import annotations

import sys

from organism.cli.exit_codes import INTERRUPTED

try:
    from organism.cli.main import main
except KeyboardInterrupt:
    sys.exit(INTERRUPTED)

__all__ = ["main"]
