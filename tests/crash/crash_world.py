"""Kills a process again and again while it works, and compares what came of it with a run that nobody disturbed.

The parent's side: it keeps the fake model running, starts :mod:`driver` as a child, kills it at random instants, reads the
journal after each kill, and judges at the end. Nothing here knows how the journal is made.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import define, field, frozen

from organism.budget.claims import VECTOR
from tests.crash.record import Document, HoldName, Outcome, Record, charged, result_of, spent

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE: Final = Path(__file__).parent
PATIENCE: Final = 60.0
"""Seconds without a request or an end after which a run is said to hang."""

EARLY: Final = 0.15
"""Share of the kills that come while the journal is opened, or before the first request."""


@define
class Model:
    """The fake model in its own process, and the log that it writes."""

    url: str
    log: Path
    _read: int = 0
    _asked: dict[tuple[str, str], Counter[str]] = field(factory=dict)

    @classmethod
    @contextmanager
    def running(cls, folder: Path) -> Iterator[Model]:
        """The model, until the block is left."""
        log = folder / "requests.jsonl"
        log.touch()
        with subprocess.Popen(  # noqa: S603 - a program of our own
            [sys.executable, HERE / "fake_model.py", log], stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                assert process.stdout is not None
                yield cls(process.stdout.readline().strip(), log)
            finally:
                process.kill()

    def asked(self, *runs: str, name: str = "key") -> Counter[str]:
        """How often each question was asked in these runs; ``name`` says what it is named by: its ``key``, or ``whole``."""
        self._take_in()
        return sum((self._asked.get((run, name), Counter()) for run in runs), Counter[str]())

    def _take_in(self) -> None:
        """Reads what the log has got since it was last read."""
        with self.log.open("rb") as file:
            file.seek(self._read)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._read += len(whole) + len(newline)
        for entry in map(json.loads, whole.splitlines()):
            for name in ("key", "whole") if entry["event"] == "asked" else ():
                self._asked.setdefault((entry["run"], name), Counter())[entry[name]] += 1


@define
class World:
    """One folder, one journal, the runs on it, and the requests of each."""

    folder: Path
    model: Model
    journal: str
    name: str
    threads: int = 50
    runs: list[str] = field(factory=list)
    results: Path = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.results = self.folder / "results.jsonl"
        self.results.touch()

    @contextmanager
    def child(self, known: Sequence[str] = ()) -> Iterator[subprocess.Popen[str]]:
        """A run of the driver, about to open its journal. Killed where the block is left before its end."""
        self.runs.append(f"{self.name}-{len(self.runs)}")
        told = {
            "journal": self.journal,
            "model": self.model.url,
            "results": str(self.results),
            "threads": self.threads,
            "known": list(known),
        }
        environ = {**os.environ, "CRASH_RUN": self.runs[-1]}
        with (self.folder / f"{self.runs[-1]}.err").open("w") as err:
            process = subprocess.Popen(  # noqa: S603 - a program of our own
                [sys.executable, HERE / "driver.py", json.dumps(told)],
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
                env=environ,
            )
        with process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "loaded\n", self.said()
                yield process
            finally:
                process.kill()

    def said(self) -> str:
        """What the last run wrote to stderr."""
        return f"run {self.runs[-1]}:\n" + (self.folder / f"{self.runs[-1]}.err").read_text()[-4000:]

    def pushed(self) -> dict[str, Document]:
        """The results that the runs heard of; that none came twice is checked on the way."""
        results: dict[str, Document] = {}
        for line in self.results.read_text().splitlines():
            result = json.loads(line)
            assert result["thread"] not in results, f"{result['thread']} was answered twice"
            results[result["thread"]] = result
        return results

    def to_the_end(self, known: Sequence[str] = ()) -> None:
        """A run that nobody disturbs; nothing is left of it when it ends."""
        with self.child(known) as process:
            self.waited(process, requests=None)
            out, _ = process.communicate()
        assert process.returncode == 0, self.said()
        left = json.loads(out)
        assert not any(left[each] for each in ("threads", "queued", "running", "held", "waiting_for_budget")), left

    def waited(self, process: subprocess.Popen[str], *, requests: int | None) -> bool:
        """Waits until the run has asked for so much, or ended; gives whether it still runs."""
        seen, since = -1, time.monotonic()
        while process.poll() is None:
            asked = self.model.asked(self.runs[-1]).total()
            if requests is not None and asked >= requests:
                return True
            if asked != seen:
                seen, since = asked, time.monotonic()
            elif time.monotonic() - since > PATIENCE:
                process.send_signal(signal.SIGABRT)
                raise AssertionError(f"hangs after {asked} requests; {self.said()}")
            time.sleep(0.002)
        return False


@frozen
class Reference:
    """What a run that nobody disturbs comes to."""

    outcomes: Mapping[str, Outcome]
    usages: Mapping[str, Document]
    asked: Counter[str]

    @classmethod
    def of(cls, world: World) -> Reference:
        """Lets a world run to its end."""
        world.to_the_end()
        results = world.pushed()
        assert len(results) == world.threads
        return cls(
            {thread: Outcome.of(result) for thread, result in results.items()},
            {thread: result["usage"] for thread, result in results.items()},
            world.model.asked(*world.runs),
        )


@define
class Crashes:
    """A world that is killed at random instants, and what was found after each kill."""

    world: World
    reference: Reference
    dice: random.Random
    kills: int = 0
    known: Sequence[str] = ()
    answered: Counter[str] = field(factory=Counter)
    """The answers that the journal held when the last run was killed."""
    due: dict[str, Counter[str]] = field(factory=dict)
    """What each run may ask at most: what an undisturbed one asks, without what was answered before it."""
    lost: set[HoldName] = field(factory=set)
    """What was held when a run was killed."""

    def kill(self, requests: int) -> bool:
        """A run that is killed after so many requests, and up to 60 milliseconds; ``False`` where it ended before."""
        with self.world.child(self.known) as process:
            runs = self.world.waited(process, requests=requests)
            time.sleep(self.dice.uniform(0, 0.06) if runs else 0)
            process.kill()
        if process.returncode != -signal.SIGKILL:
            assert process.returncode == 0, self.world.said()
            return False
        self.kills += 1
        self._look()
        return True

    def _look(self) -> Record:
        """Reads the journal of a run that is over: it asked nothing whose answer had been kept, and only what it had written."""
        self.due[self.world.runs[-1]] = self.reference.asked - self.answered
        self.check_requests()
        record = Record.of(self.world.journal)
        unheld = self.world.model.asked(*self.world.runs, name="whole") - record.prompts()
        assert not unheld, f"the model saw what the journal does not say that it saw: {unheld}"
        self.known = list(record.documents)
        self.answered = record.answered()
        self.lost |= record.open_holds()
        return record

    def check_requests(self) -> None:
        """No run asked what had been answered before it, or what is never asked undisturbed."""
        # Of all runs, since the last words of one that was killed may be read only now.
        for run, due in self.due.items():
            asked = self.world.model.asked(run)
            strange = asked.keys() - self.reference.asked.keys()
            assert not strange, f"{run} asked what an undisturbed run never asks: {strange}"
            again = asked - due
            assert not again, f"{run} asked again though the answer was in the journal: {again}"

    def kill_until(self, kills: int) -> None:
        """Kills so often, if the work lasts, at instants spread over the whole of it; some of them before anything is asked."""
        while self.kills < kills:
            left = (self.reference.asked - self.answered).total()
            most = max(2, left * 2 // (kills - self.kills + 1))
            early = self.dice.random() < EARLY
            if not self.kill(0 if early else self.dice.randint(1, most)):
                return

    def finish(self) -> Record:
        """Lets the rest run to its end, and judges: answers, sums, and that nothing is left."""
        self.world.to_the_end(self.known)
        record = self._look()
        assert not record.open_holds()
        ends = record.ended()
        assert ends.keys() == self.reference.outcomes.keys()
        results = {thread: result_of(end) for thread, end in ends.items()}
        for thread, expected in self.reference.outcomes.items():
            assert Outcome.of(results[thread]) == expected, thread
        for thread, pushed in self.world.pushed().items():
            assert Outcome.of(pushed) == Outcome.of(results[thread]), thread
            assert spent(pushed["usage"]) == spent(results[thread]["usage"]), thread
        self._check_sums(record, results)
        return record

    def _check_sums(self, record: Record, results: Mapping[str, Document]) -> None:
        """What a thread spent is what it spends undisturbed, and what was under way in it at the kills."""
        in_flight: dict[str, Counter[str]] = {thread: Counter() for thread in results}
        needs = {(root, fact["hold"]): fact["need"] for root, fact in record.facts("CallHeld")}
        for root, fact in record.facts("CallSettled"):
            name, figures = (root, fact["hold"]), charged(fact["charge"])
            assert min(figures.values()) >= 0
            assert fact["charge"].get("estimated", False) == (name in self.lost), f"{name}: {fact}"
            if name in self.lost:
                assert figures == Counter(dict(zip(VECTOR, needs[name], strict=True))), (
                    f"{name} was not charged in full"
                )
                in_flight[root].update(figures)
        for thread, result in results.items():
            expected = spent(self.reference.usages[thread])
            expected.update(in_flight[thread])
            assert spent(result["usage"]) == expected, f"thread {thread} spent more, or less"
        total: Counter[str] = Counter()
        for result in results.values():
            total.update(spent(result["usage"]))
        assert record.spent == total, "the ledger says otherwise than the threads do"
        more = self.world.model.asked(*self.world.runs) - self.reference.asked
        assert more.total() <= len(self.lost), "more was asked again than was under way at the kills"
