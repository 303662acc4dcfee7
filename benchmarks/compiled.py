"""The kernel, the budget rules and what steps handlers compiled to C by mypyc, beside the same sources as they are.

    compiled.py [RUNS]       W1, W2F, W2C, W4, asks, waits, durable steps, turns, holds: both in turn, and how many times as fast; medians of RUNS (5)
    compiled.py test         the tests of the kernel, the budgets and the hard cases, on what was compiled
    compiled.py build DIR    the wheel alone

Needs a C compiler, and what `make bench` installs. pyproject.toml says what is compiled; docs/how-to/compile.md tells of it.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.figures import figures_of

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCES: Final = ("organism", "pyproject.toml", "README.md", "LICENSE")
SWITCH: Final = "HATCH_BUILD_HOOK_ENABLE_MYPYC"
CASES: Final[dict[str, tuple[list[str], str]]] = {
    "W1": (["pump.py", "W1"], "cpu_us"),
    "W2F": (["pump.py", "W2F"], "cpu_us"),
    "W2C": (["pump.py", "W2C"], "cpu_us"),
    "W4": (["pump.py", "W4"], "cpu_us"),
    "ask": (["single.py", "ask"], "cpu_us"),
    "waits": (["single.py", "waits"], "cpu_us"),
    "durable-serial": (["durable.py", "durable-serial"], "cpu_us"),
    "durable-many": (["durable.py", "durable-many"], "cpu_us"),
    "turns": (["single.py", "turns"], "cpu_us"),
    "hold and settle": (["single.py", "nodes"], "rules_us"),
    "the same in the kernel": (["single.py", "nodes"], "kernel_us"),
}
"""What is run, and which of its figures is compared: us of CPU."""
RUNS: Final = 5
TESTED: Final = ("tests/kernel", "tests/budget", "tests/hard")


def build(folder: Path) -> Path:
    """A wheel with the compiled modules in ``folder``; built from a copy, since the build writes beside the sources. Raises RuntimeError."""
    with TemporaryDirectory() as made:
        copy = Path(made)
        for name in SOURCES:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy / name)
        words = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(copy)]
        done = subprocess.run(
            [sys.executable, "-m", "pip", *words],
            env=os.environ | {SWITCH: "true"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        raise RuntimeError(
            f"it could not be compiled; is there a C compiler?\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        )
    return next(folder.glob("*.whl"))


def installed(folder: Path) -> Path:
    """Where the compiled package is, alone."""
    wheel, place = build(folder), folder / "compiled"
    words = ["install", "--quiet", "--no-deps", "--target", str(place), str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    return place


def with_package(place: Path) -> dict[str, str]:
    """The environment of a process that finds the package there."""
    return os.environ | {"PYTHONPATH": str(place)}


def compare(place: Path, runs: int) -> Iterator[dict[str, Any]]:
    """The median of each case by both, run in turn."""
    for name, (words, figure) in CASES.items():
        took: dict[Path, list[float]] = {ROOT: [], place: []}
        for _ in range(runs):
            for each, so_far in took.items():
                found = figures_of(words, with_package(each))
                so_far.extend([] if found is None else [found[figure]])
        if not all(took.values()):
            continue  # and it was said why
        plain, compiled = (statistics.median(each) for each in took.values())
        print(
            f"{name:24} {plain:8.2f} us   compiled {compiled:8.2f} us   {plain / compiled:.2f} times as fast",
            flush=True,
        )
        yield {"work": name, "us": plain, "compiled_us": compiled}


def tested() -> int:
    """The exit code of pytest."""
    with TemporaryDirectory() as made:
        place = installed(Path(made))
        # -P: what stands beside the tests is not what is tested
        words = ["-P", "-m", "pytest", "-q", "-n", "auto", *TESTED]
        return subprocess.run([sys.executable, *words], cwd=ROOT, env=with_package(place), check=False).returncode


def main() -> None:
    try:
        match sys.argv[1:]:
            case ["build", folder]:
                print(build(Path(folder)))
            case ["test"]:
                sys.exit(tested())
            case [] | [_] if all(each.isdigit() and int(each) for each in sys.argv[1:]):
                with TemporaryDirectory() as made:
                    list(compare(installed(Path(made)), int(sys.argv[1]) if len(sys.argv) == 2 else RUNS))
            case _:
                raise SystemExit(__doc__)
    except RuntimeError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
