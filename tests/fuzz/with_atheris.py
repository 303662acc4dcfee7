"""Fuzzes one target with atheris, which follows what the code does: ``python -m tests.fuzz.with_atheris TARGET [SECONDS]``.

It ends with 0 when the time is over. What it finds is written to a file, whose name it says: give that as a third argument to run it
again. A run that takes more than 20 seconds, or a process of more than 2 GB, is a find.
"""

from __future__ import annotations

import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any, Final

_DEFAULT: Final = 600
_HANGS_AFTER: Final = 20
_MEGABYTES: Final = 2048
_LONGEST: Final = 20_000


def main(arguments: list[str]) -> None:
    """Fuzzes until the time is over, or something is found."""
    try:
        atheris: Any = import_module("atheris")
    except ImportError as error:
        sys.exit(f"atheris is not here ({error}): `make fuzz` installs it, on Linux with Python 3.11 to 3.13")
    with atheris.instrument_imports(include=["organism"]):
        seeds: Any = import_module("tests.fuzz.seeds")
        targets: Any = import_module("tests.fuzz.targets")
    if not arguments or arguments[0] not in targets.TARGETS:
        sys.exit(f"name a target: {', '.join(targets.TARGETS)}")
    name, seconds, *again = arguments if len(arguments) > 1 else (arguments[0], str(_DEFAULT))
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(seeds.seeds(name)):
            (Path(folder) / f"seed{number}").write_bytes(data)
        words = Path(folder) / "words.dict"
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in seeds.WORDS if len(word) < 100), "ascii")
        corpus = again or [folder]
        given = [
            f"-max_total_time={seconds}", f"-timeout={_HANGS_AFTER}", f"-rss_limit_mb={_MEGABYTES}", f"-max_len={_LONGEST}",
            f"-dict={words}", "-print_final_stats=1", f"-artifact_prefix={tempfile.gettempdir()}/organism-{name}-", *corpus,
        ]  # fmt: skip
        atheris.Setup([sys.argv[0], *given], targets.TARGETS[name])
        atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    main(sys.argv[1:])
