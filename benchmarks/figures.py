"""The figures that one of our benchmarks prints, run in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE: Final = Path(__file__).resolve().parent
LONGEST: Final = 300
"""Seconds after which a benchmark is given up."""


def figures_of(words: list[str], environment: Mapping[str, str] | None = None) -> dict[str, float] | None:
    """What it prints last; ``None``, and why on the screen, where it prints none."""
    try:
        done = subprocess.run(
            [sys.executable, str(HERE / words[0]), *words[1:]],
            capture_output=True, text=True, check=False, timeout=LONGEST, env=environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        print(f"{' '.join(words)}: given up after {LONGEST} s", flush=True)
        return None
    found = [json.loads(line[7:]) for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not found:
        print(f"{' '.join(words)}: no figure\n{done.stderr[-500:]}", flush=True)
        return None
    return {name: value for name, value in found[-1].items() if isinstance(value, int | float)}


__all__ = ["figures_of"]
