"""Where the time of a benchmark goes: which part of the product, or of what is below it, has the processor.

    python benchmarks/where.py SCRIPT CASE [N]

SCRIPT and CASE are those of another benchmark here, such as ``pump.py W1``, and N should be enough for some seconds. Every few milliseconds of
CPU it is looked at which function runs, in the thread of the loop and in that of the journal; functions of the standard library count for
whoever called them, and what is generated for a class counts where the class stands. What Python imports meanwhile is left out.

Prints ``RESULT {"NAME": SHARE, ..., "looks": ..., "cpu_us": ...}``: shares of the CPU time, which sum to 1, at how many instants was looked, and
what the benchmark itself says of the time for one of what it does.
"""

from __future__ import annotations

import io
import json
import re
import runpy
import signal
import sys
import threading
import time
from collections import defaultdict
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import FrameType

HERE: Final = Path(__file__).resolve().parent
EVERY: Final = 0.002
"""Seconds of CPU between two looks; a kernel may make them longer."""
RULES, PUMP, MODELS, AGENTS, PAYLOADS, JOURNAL = "rules", "pump", "models", "agents", "payloads", "journal"
LOOP, LIBRARIES, BENCHMARK = "loop", "libraries", "benchmark"
PARTS: Final = {
    RULES: ("kernel", "budget", "threads"),
    PUMP: ("pump", "works", "organism", "context", "message", "results", "usage", "quick", "hooks", "points"),
    MODELS: ("models",),
    AGENTS: ("agent", "functions"),
    PAYLOADS: ("payloads", "primitives"),
    JOURNAL: ("journal", "record", "likeness"),
}
"""The rooms of the product, by what they do here."""
NAMES: Final = (*PARTS, LOOP, LIBRARIES, BENCHMARK)
WAITING: Final = "get_events"
"""Where trio waits."""
_OF_ROOM: Final = {room: name for name, rooms in PARTS.items() for room in rooms}
_ROOM: Final = re.compile(r"/organism/(\w+)(?:/|\.py)")
_GENERATED: Final = re.compile(r"^<(?P<what>.*?)\borganism\.(?P<room>\w+)\.")
_LIBRARY: Final = re.compile(r"/site-packages/(\w+)")
_LOOPS: Final = frozenset({"trio", "anyio", "outcome", "sniffio"})


def name_of(file: str) -> str | None:
    """Whose a file is; ``None`` for the standard library, which is nobody's own."""
    if file.startswith("<"):
        return _of_generated(file)
    if (library := _LIBRARY.search(file)) is not None:
        return LOOP if library[1] in _LOOPS else None if library[1] in {"attr", "attrs"} else LIBRARIES
    if file.startswith(f"{HERE}/"):
        return None if file == __file__ else BENCHMARK
    room = _ROOM.search(file)
    return None if room is None else _OF_ROOM.get(room[1], PUMP)


def _of_generated(file: str) -> str | None:
    """Whose a function made of source is, by what its file is called instead."""
    if file.startswith("<JSON"):
        return JOURNAL
    made = _GENERATED.match(file)
    if made is not None:
        return _OF_ROOM.get(made["room"], PUMP)
    if file.startswith("<attrs generated methods"):
        return LOOP if any(f" {each}." in file for each in _LOOPS) else None
    return None if file.startswith(("<frozen", "<string")) else PAYLOADS


def owner(frame: FrameType | None) -> str | None:
    """Who runs there: the innermost that is somebody's own; ``None`` while something is imported, and where nobody is known."""
    found: str | None = None
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith("<frozen importlib"):
            return None
        found = found or name_of(file)
        frame = frame.f_back
    return found


class Looking:
    """Looks at what runs, and adds up the CPU time since the last look for whoever it is.

    A look at a loop that waits is due to what the other thread does: what the loop did before is nobody's, and shared out at the end.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.looks = 0
        self._in_loop: defaultdict[str, float] = defaultdict(float)
        self._nobodys = 0.0
        self._own, self._all = time.thread_time(), time.process_time()
        self._me = threading.get_ident()

    def look(self, _: int, frame: FrameType | None) -> None:
        """The handler of the signal, which runs in the thread of the loop."""
        own, every = time.thread_time(), time.process_time()
        loop, others = own - self._own, max(0.0, (every - self._all) - (own - self._own))
        self._own, self._all = own, every
        self.looks += 1
        if frame is not None and frame.f_code.co_name == WAITING:
            self._nobodys += loop
        elif (name := owner(frame)) is not None:
            self._in_loop[name] += loop
        if others:
            found = [owner(each) for thread, each in sys._current_frames().items() if thread != self._me]  # noqa: SLF001 - there is no other way to see them
            busy = [each for each in found if each is not None]
            # The thread of the journal is the only one that works besides.
            self.seconds[JOURNAL if JOURNAL in busy or not busy else busy[0]] += others

    def shares(self) -> dict[str, float]:
        """The share of each."""
        known = sum(self._in_loop.values()) or 1.0
        for name, seconds in self._in_loop.items():
            self.seconds[name] += seconds * (1 + self._nobodys / known)
        whole = sum(self.seconds.values()) or 1.0
        return {name: round(self.seconds[name] / whole, 4) for name in NAMES}


def main() -> None:
    if len(sys.argv) not in {3, 4}:
        raise SystemExit(__doc__)
    script, *words = sys.argv[1:]
    sys.argv = [script, *words]
    sys.path.insert(0, str(HERE))
    looking = Looking()
    signal.signal(signal.SIGPROF, looking.look)
    signal.setitimer(signal.ITIMER_PROF, EVERY, EVERY)
    said = io.StringIO()
    try:
        with redirect_stdout(said):
            runpy.run_path(str(HERE / script), run_name="__main__")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    told = json.loads(said.getvalue().rpartition("RESULT ")[2])
    print("RESULT " + json.dumps({**looking.shares(), "looks": looking.looks, "cpu_us": told["cpu_us"]}), flush=True)


if __name__ == "__main__":
    main()
