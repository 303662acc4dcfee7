"""Instructions for each message of a benchmark of the pump: a figure that does not depend on how quiet the machine is.

    python benchmarks/instructions.py [W1|W2F|W2C|W4 ...] [--limit N]

Runs benchmarks/pump.py twice with different numbers of messages, counts the instructions of both runs with `perf stat` where the
processor lets it, else with `valgrind --tool=callgrind`, and divides the difference: starting up is left out. With ``--limit`` it
fails where a message of one of them costs more than N instructions.

Prints a line ``RESULT {"work": ..., "instructions": ...}`` for each.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SIZES = {"W1": (1000, 4000, 1), "W2F": (1, 3, 2000), "W2C": (1, 2, 3000), "W4": (1000, 4000, 1)}
"""How much each is given in its two runs, and how many messages one of that is."""
ENVIRONMENT = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": ""}
"""What would make two runs differ is fixed."""


def counters() -> list[tuple[list[str], str]]:
    """The commands that count here, each with the pattern of its figure."""
    return [
        (["perf", "stat", "-x,", "-e", "instructions:u", "--"], r"^(\d+),[^,]*,instructions"),
        (["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"], r"Collected : (\d+)"),
    ]


def counted(command: list[str], pattern: str, work: list[str]) -> int | None:
    """The instructions of a command; ``None`` where it cannot be counted so."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(
        [*command, sys.executable, *work], capture_output=True, text=True, check=False, env=os.environ | ENVIRONMENT
    )
    found = re.search(pattern, done.stderr, re.MULTILINE)
    if done.returncode and found is not None:
        raise SystemExit(done.stderr)
    return None if found is None else int(found[1])


def counter() -> tuple[list[str], str]:
    """What counts instructions here."""
    for command, pattern in counters():
        if counted(command, pattern, ["-c", "pass"]) is not None:
            return command, pattern
    raise SystemExit("neither `perf stat -e instructions:u` nor `valgrind --tool=callgrind` counts here; install one")


def per_message(name: str, command: list[str], pattern: str) -> int:
    """The instructions that one message more costs."""
    few, many, messages = SIZES[name]
    subprocess.run([sys.executable, str(HERE / "pump.py"), name, str(few)], capture_output=True, check=True)  # compiles
    runs = [counted(command, pattern, [str(HERE / "pump.py"), name, str(size)]) for size in (few, many)]
    if None in runs:
        raise SystemExit(f"{' '.join(command)} did not count {name}")
    first, second = (int(each or 0) for each in runs)
    return (second - first) // ((many - few) * messages)


def main() -> None:
    words = sys.argv[1:]
    limit = None
    if "--limit" in words:
        at = words.index("--limit")
        if not words[at + 1 :] or not words[at + 1].isdigit():
            raise SystemExit(__doc__)
        limit = int(words[at + 1])
        del words[at : at + 2]
    names = words or ["W1"]
    if any(each not in SIZES for each in names):
        raise SystemExit(__doc__)
    command, pattern = counter()
    too_many = False
    for name in names:
        figure = per_message(name, command, pattern)
        print("RESULT " + json.dumps({"work": name, "instructions": figure, "by": command[0]}), flush=True)
        too_many = too_many or (limit is not None and figure > limit)
    if too_many:
        raise SystemExit(f"more than {limit} instructions for a message")


if __name__ == "__main__":
    main()
