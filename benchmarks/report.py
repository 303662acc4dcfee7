"""Runs the benchmarks, each figure in processes of its own, and writes docs/performance.md with its plots.

    python benchmarks/report.py [--quick] [--runs N] [--peers DIR] [PART...]

peers    our rates beside those of others, in turn; needs ``--peers``, a folder with ``setup`` and ``compare`` whose ``setup`` has run
own      rates, latency, memory and starting up: medians of N runs (5)
compiled the same with the kernel, the budget rules and what steps handlers compiled to C, beside them as they are and, with ``--peers``,
         beside others: medians of N runs
where    which part of the product has the processor in some of them, beside bare prototypes: one run of each
growth   what each of them comes to as something grows: medians of N runs, too
page     nothing is measured: the page is written anew from the last figures

Without a part all are run (``peers`` where a folder is given). A figure that fails is left out, and said; a part of which all fail stays
as it was. Figures are kept in docs/performance/figures.json, with the machine and its load, so that parts can be run one by one.
``--quick`` makes each run short, one of each unless ``--runs`` says more, and grows nothing beyond 1,000.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sqlite3
import statistics
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import distributions, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from attrs import define

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import compiled, floors, plots
from benchmarks.figures import figures_of
from benchmarks.growth import CASES
from benchmarks.page import FLOORS as BARE_OF
from benchmarks.page import page

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE: Final = Path(__file__).resolve().parent
DOCS: Final = HERE.parent / "docs"
KEPT: Final = DOCS / "performance" / "figures.json"
PARTS: Final = ("peers", "own", "where", "compiled", "growth", "page")
WORKLOADS: Final = {
    "W1": ["pump.py", "W1"],
    "W2F": ["pump.py", "W2F"],
    "W2C": ["pump.py", "W2C"],
    "W4": ["pump.py", "W4"],
    "durable-serial": ["durable.py", "durable-serial"],
    "durable-many": ["durable.py", "durable-many"],
    "turns": ["single.py", "turns"],
    "gateway": ["gateway.py", "http"],
}
"""What the peers are measured with, and what of ours does the same."""
STEPS: Final = {"durable-steps": ["durable.py", "durable-steps"]}
SINGLES: Final = (
    "ask", "scope", "xml", "held", "helds", "waits", "latency", "memory", "nodes", "import", "check",
)  # fmt: skip
FLOORS: Final = {
    **{f"bare-{name}": ["floors.py", name] for name in floors.CASES},
    **{f"bare-{name}": ["durable.py", "--bare", name] for name in ("durable-many", "durable-steps")},
}
"""The bare prototypes, each with what runs it."""
LOOKED_AT: Final = {
    "W1": (300_000, 20_000), "W2C": (40, 4), "ask": (80_000, 5000), "scope": (40_000, 5000), "xml": (100_000, 10_000),
    "durable-serial": (4000, 500), "durable-many": (30, 3), "durable-steps": (30, 5), "held": (3000, 200), "helds": (10, 2), "turns": (8000, 300), "waits": (20, 5),
}  # fmt: skip
"""How much of each is done where it is looked at what has the processor; and where it is to be quick."""
OTHERS: Final = (
    "trio", "uvloop", "autogen-core", "pykka", "thespian", "xoscar", "langgraph", "langgraph-checkpoint-sqlite",
    "openai-agents", "pydantic-ai-slim", "openai", "litellm", "httpx",
)  # fmt: skip
SHORT: Final = {
    "W1": 20_000, "W2F": 5, "W2C": 4, "W4": 20_000, "durable-serial": 500, "durable-many": 3, "durable-steps": 20, "turns": 100, "ask": 5000,
    "scope": 5000, "xml": 10_000, "held": 200, "helds": 2, "waits": 5, "latency": 3000, "memory": 1000, "nodes": 300, "bare-wait": 20,
    "bare-durable-many": 3, "bare-durable-steps": 20,
}  # fmt: skip
"""How much of each is done where it is to be quick; the others take no number."""
COMPARED: Final = re.compile(
    r"(?P<work>\S+) +own +(?P<own>[\d,]+) \((?P<own_range>[\d,.]+)\) +(?P<peer>.+?) +(?P<rate>[\d,]+) \((?P<range>[\d,.]+)\)"
    r" +ratio +(?P<ratio>[\d.]+)"
)
QUICK: Final = 1000
"""Sizes above it are left out where it is to be quick."""


@define
class Options:
    """How much is measured."""

    runs: int = 5
    quick: bool = False
    peers: Path | None = None


def machine() -> dict[str, str]:
    """What it runs on; nothing that names the machine itself."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE) if info.exists() else []
    used = ", ".join(f"{name} {version(name)}" for name in ("trio", "anyio", "attrs", "lxml"))
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "CPU": f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "with": f"{used}, SQLite {sqlite3.sqlite_version}",
        "organism": version("organism"),
    }


def load() -> float:
    """How many processes wanted to run in the last minute, on average: what was running besides is in it."""
    return round(os.getloadavg()[0], 1)


def medians(words: list[str], runs: int) -> dict[str, Any] | None:
    """The median of each figure, and of rates the range."""
    return in_turn({"": words}, runs).get("")


def in_turn(works: Mapping[str, list[str]], runs: int) -> dict[str, dict[str, Any]]:
    """The same of several works, one run of each after the other: a shared machine is slow for some minutes, and what is compared is to be
    measured in the same ones.
    """
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in works}
    for _ in range(runs):
        for name, words in works.items():
            figures = figures_of(words)
            if figures is not None:
                found[name].append(figures)
    medians_of = {name: _medians(figures) for name, figures in found.items() if figures}
    for name, figures in medians_of.items():
        print(f"{' '.join(works[name]):34} {json.dumps(figures)}", flush=True)
    return medians_of


def _medians(found: list[dict[str, Any]]) -> dict[str, Any]:
    figures: dict[str, Any] = {name: statistics.median(each[name] for each in found) for name in found[0]}
    if "rate" in figures:
        figures["range"] = [min(each["rate"] for each in found), max(each["rate"] for each in found)]
    return figures


def peers(options: Options) -> dict[str, Any]:
    """Our rates beside those of others."""
    assert options.peers is not None
    return {"rows": beside(options.peers, WORKLOADS, options.runs, os.environ), "versions": versions()}


def beside(
    folder: Path, works: Mapping[str, list[str]], runs: int, environment: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Our rates in this environment beside those of others, as `compare` of the folder prints them."""
    rows: list[dict[str, Any]] = []
    environment = {**environment, "RUNS": str(runs)}
    for work, words in works.items():
        command = [str(folder / "compare"), work, "--", sys.executable, str(HERE / words[0]), *words[1:]]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as running:
            for line in running.stdout or ():
                print(line, end="", flush=True)
                found = COMPARED.match(line)
                if found:
                    rates = {name: float(found[name].replace(",", "")) for name in ("own", "rate", "ratio")}
                    rows.append({"work": work, "peer": found["peer"].strip(), "range": found["range"], **rates})
    return rows


def versions() -> dict[str, str]:
    """Of the peers, where their environments stand."""
    given = os.environ.get("PEERS_DIR")
    base = Path(given) if given else Path.home() / ".cache" / "organism-peers"
    paths = [str(path) for path in base.glob("*/lib/python*/site-packages")]
    there = {each.name.lower(): each.version for each in distributions(path=paths)}
    return {name: there[name] for name in OTHERS if name in there}


def own(options: Options) -> dict[str, Any]:
    """Our figures by name."""
    work = WORKLOADS | STEPS | {name: ["single.py", name] for name in SINGLES}
    order, of = [*work], {name: beside for name, (beside, *_) in BARE_OF.items()}
    work |= FLOORS
    names = sorted(
        work, key=lambda name: order.index(of.get(name, name.removeprefix("bare-")))
    )  # bare behind what it is beside
    short = {name: [str(SHORT[name])] if options.quick and name in SHORT else [] for name in names}
    return {"rows": in_turn({name: [*work[name], *short[name]] for name in names}, options.runs)}


def where(options: Options) -> dict[str, Any]:
    """The shares of each part by what is done, and the bare prototypes."""
    words = {name: (WORKLOADS | STEPS).get(name, ["single.py", name]) for name in LOOKED_AT}
    found = {name: medians(["where.py", *words[name], str(much[options.quick])], 1) for name, much in LOOKED_AT.items()}
    bare = {name.removeprefix("bare-"): medians(given, options.runs) for name, given in FLOORS.items()}
    return {
        "rows": {name: shares for name, shares in found.items() if shares is not None},
        "bare": {name: figures["cpu_us"] for name, figures in bare.items() if figures is not None},
    }


def both(options: Options) -> dict[str, Any]:
    """What is compiled beside what is not, and beside others where they are given; nothing where it cannot be compiled here."""
    with TemporaryDirectory() as made:
        try:
            place = compiled.installed(Path(made))
        except RuntimeError as error:
            print(f"compiled: no figure\n{error}", flush=True)
            return {"rows": []}
        rows = list(compiled.compare(place, options.runs))
        if options.peers is None:
            return {"rows": rows}
        works = {name: words for name, words in WORKLOADS.items() if name in compiled.CASES}
        return {"rows": rows, "beside": beside(options.peers, works, options.runs, compiled.with_package(place))}


def growth(options: Options) -> dict[str, Any]:
    """A row for each size of each case."""
    found: dict[str, list[dict[str, Any]]] = {}
    for case, (_, sizes) in CASES.items():
        for size in sizes if not options.quick else [size for size in sizes if size <= QUICK]:
            timed = medians(["growth.py", case, str(size)], options.runs)
            kept = medians(["growth.py", "--memory", case, str(size)], 1)
            if timed is not None and kept is not None:
                found.setdefault(case, []).append({**timed, "bytes": kept["bytes"], "size": size})
    return {"cases": found}


def wanted(words: list[str]) -> tuple[Options, list[str]]:
    """What the command line asks for."""
    options, parts, words = Options(), list[str](), words[:]
    while words:
        match words.pop(0):
            case "--quick":
                options.quick, options.runs = True, options.runs if "--runs" in sys.argv else 1
            case "--runs" if words and words[0].isdigit() and int(words[0]):
                options.runs = int(words.pop(0))
            case "--peers" if words:
                options.peers = Path(words.pop(0)).resolve()
            case part if part in PARTS:
                parts.append(part)
            case _:
                raise SystemExit(__doc__)
    if options.peers is None and "peers" in parts:
        raise SystemExit("peers: say where they are, with --peers DIR (make bench PEERS=DIR)")
    if options.peers is not None and not (options.peers / "compare").is_file():
        raise SystemExit(f"--peers {options.peers}: no `compare` is there; give a folder with `setup` and `compare`")
    return options, parts or [part for part in PARTS if part != "peers" or options.peers is not None]


def main() -> None:
    options, parts = wanted(sys.argv[1:])
    kept: dict[str, Any] = json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else {}
    KEPT.parent.mkdir(exist_ok=True)
    for part, measure in {"peers": peers, "own": own, "where": where, "compiled": both, "growth": growth}.items():
        if part in parts:
            before = load()
            figures = measure(options)
            if not (figures.get("rows") or figures.get("cases")):
                print(f"{part}: nothing could be measured; what was measured before is kept", flush=True)
                continue
            kept[part] = {
                "machine": machine(),
                "load": [before, load()],
                "runs": options.runs,
                "short": options.quick,
                **figures,
            }
            KEPT.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    plots.draw(kept, KEPT.parent)
    (DOCS / "performance.md").write_text(page(kept), "utf-8")
    print("written: docs/performance.md")


if __name__ == "__main__":
    main()
