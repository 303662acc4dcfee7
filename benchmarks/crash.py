"""Kills a process that works on 50 threads, 200 times at random instants, and judges what came of it.

    python benchmarks/crash.py [KILLS] [SEED]

Every world of 50 threads is killed about 20 times until its work is done, on a SQLite journal and on JSON lines in turns.
It fails where an answer differs from an undisturbed run, a sum is not that of one and what was under way at the kills, or a
request was repeated whose answer was in the journal; the folder with its journal, requests and errors stays then.

Prints ``RESULT {"kills": ..., "lost": ..., ...}``: ``lost`` calls were under way at a kill, and charged in full.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.given import given
from tests.crash.crash_world import Crashes, Model, Reference, World  # its folder was put on the path

PER_WORLD = 20
JOURNALS = ("sqlite:{}/organism.db", "jsonl:{}/journal")


def crash(folder: Path, kills: int, seed: int) -> dict[str, float]:
    """Worlds until there were so many kills; the figures of all of them."""
    dice = random.Random(seed)
    sums = {"kills": 0, "worlds": 0, "runs": 0, "requests": 0, "lost": 0}
    with Model.running(folder) as model:
        reference = Reference.of(World(folder / "undisturbed", model, "memory:", "undisturbed"))
        while sums["kills"] < kills:
            name = f"w{sums['worlds']}"
            journal = JOURNALS[sums["worlds"] % len(JOURNALS)].format(folder / name)
            world = World(folder / name, model, journal, name)
            crashes = Crashes(world, reference, dice)
            crashes.kill_until(min(PER_WORLD, kills - sums["kills"]))
            crashes.finish()
            sums["kills"] += crashes.kills
            sums["worlds"] += 1
            sums["runs"] += len(world.runs)
            sums["requests"] += model.asked(*world.runs).total()
            sums["lost"] += len(crashes.lost)
            print(
                f"{name} {journal.partition(':')[0]}: {crashes.kills} kills, {len(crashes.lost)} calls lost", flush=True
            )
            shutil.rmtree(world.folder)
    return {**sums, "undisturbed": reference.asked.total()}


def main() -> None:
    kills, seed = given(__doc__, 200, 1)
    folder = Path(tempfile.mkdtemp(prefix="crash-"))
    start = time.perf_counter()
    print(f"in {folder}, seed {seed}", flush=True)
    figures = crash(folder, kills, seed)
    shutil.rmtree(folder)
    print("RESULT " + json.dumps({**figures, "s": round(time.perf_counter() - start, 1)}), flush=True)


if __name__ == "__main__":
    main()
