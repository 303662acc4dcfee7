"""The first of the command line that runs: from here on no signal is a crash, also while Python still loads the rest."""

from __future__ import annotations

from organism.cli import signals

signals.answer(signals.end_at_once)

from organism.cli.main import main  # noqa: E402 - now it is heard what comes while this is loaded

__all__ = ["main"]
