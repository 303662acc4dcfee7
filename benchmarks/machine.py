"""The budget machine of the tests for longer: whatever happens in whatever order, on all nodes of budgets.

    python benchmarks/machine.py [MINUTES] [STEPS]

Runs programs of so many steps until the time is over; fails with the shortest one that it finds to break a law.

Prints ``RESULT {"programs": ..., "restarts": ..., ...}``: how often the rules were put to the test, by what happened.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from benchmarks.given import given
from tests.kernel.test_budget_machine import CHECKS, BudgetMachine

AT_ONCE = 50


def run(seconds: float, steps: int) -> Counter[str]:
    """Programs until the time is over; what they came to."""
    seen: Counter[str] = Counter()

    class Counted(BudgetMachine):
        def teardown(self) -> None:
            super().teardown()
            if hasattr(self, "world"):
                seen.update(self.world.books.seen)
                seen.update(programs=1, restarts=self.world.restarts, facts=len(self.world.facts))

    end = time.monotonic() + seconds
    rules = settings(
        max_examples=AT_ONCE, stateful_step_count=steps, deadline=None, suppress_health_check=CHECKS, database=None
    )
    while time.monotonic() < end:
        run_state_machine_as_test(Counted, settings=rules)
        print(f"{seen['programs']} programs, {seen['facts']} facts", flush=True)
    return seen


def main() -> None:
    minutes, steps = given(__doc__, 0.5, 60.0)
    start = time.perf_counter()
    figures = run(60 * minutes, int(steps))
    print(
        "RESULT " + json.dumps({**dict(sorted(figures.items())), "s": round(time.perf_counter() - start, 1)}),
        flush=True,
    )


if __name__ == "__main__":
    main()
