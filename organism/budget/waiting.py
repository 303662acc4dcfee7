"""The line of calls that wait for budget (R14): oldest first, nobody passed over for ever, nobody waiting in vain.

A waiting call takes nothing. It stands on the node it lacks; whenever something held on that node goes back, those who
stand there are tried, oldest first. One that was passed over :data:`PATIENCE` times bars younger ones on that node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import define

from organism.budget.claims import NOTHING, Claim, Vector
from organism.budget.tree import Lack, Node, lack, output_of, take

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PATIENCE: Final = 16


@define(eq=False)
class Waiter:
    """A call that waits. ``number`` is its age; ``owner`` and ``note`` belong to whoever put it in the line."""

    number: int
    claim: Claim
    path: tuple[Node, ...]
    grace: bool
    owner: Any
    note: Any
    node: Node
    """The node it lacked when it was last tried, and on which it stands."""
    arrivals: int
    """How many calls had been granted on arrival at that node when it came to stand there."""
    passed: int = 0


@define(frozen=True)
class Granted:
    """The claim fits and is held: ``output`` tokens may come back."""

    need: Vector
    output: int
    clamped: bool


@define(frozen=True)
class MustWait:
    """The claim fits once what is held has settled."""

    lack: Lack


@define(frozen=True)
class TooMuch:
    """The claim does not fit, and will not."""

    lack: Lack


class Line:
    """All waiting calls of one organism. ``stuck`` says what an owner holds itself while it waits (its open streams)."""

    def __init__(self, stuck: Callable[[Any], Vector] = lambda _owner: NOTHING) -> None:
        self._stuck = stuck
        self._next = 0
        self._waiting: dict[int, Waiter] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Waiter]:
        return iter(self._waiting.values())

    def arrive(self, claim: Claim, path: tuple[Node, ...], owner: Any, *, grace: bool) -> Granted | MustWait | TooMuch:
        """The verdict on a new call; where it fits it is held. Older calls that bar it are respected."""
        verdict = decide(claim, path, grace=grace, stuck=self._stuck(owner))
        if isinstance(verdict, Granted):
            barred = next((node for node in path if node.bar is not None), None)
            if barred is not None:
                return MustWait(Lack(barred, 0, verdict.need[0], for_good=False))
            take(path, verdict.need)
            for node in path:
                if node.waiters:
                    node.granted += 1
        return verdict

    def join(self, claim: Claim, path: tuple[Node, ...], stood: Lack, *, grace: bool, owner: Any, note: Any) -> Waiter:
        """Puts a call at the end of the line."""
        waiter = Waiter(self._next, claim, path, grace, owner, note, stood.node, stood.node.granted)
        self._next += 1
        self._waiting[waiter.number] = waiter
        _stand(waiter, stood.node)
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Takes a call out of the line."""
        if self._waiting.pop(waiter.number, None) is not None:
            _step_off(waiter)

    def freed(self, path: Iterable[Node]) -> list[tuple[Waiter, Granted | TooMuch]]:
        """Tries those who stand on the path, oldest first, after something held there went back or a limit changed."""
        numbers = sorted({number for node in path if node.waiters for number in node.waiters})
        done: list[tuple[Waiter, Granted | TooMuch]] = []
        failed: list[Waiter] = []
        for number in numbers:
            waiter = self._waiting[number]
            if any(node.bar is not None and node.bar < number for node in waiter.path):
                continue
            stuck = self._stuck(waiter.owner)
            verdict = decide(waiter.claim, waiter.path, grace=waiter.grace, stuck=stuck)
            if isinstance(verdict, MustWait):
                if verdict.lack.node is not waiter.node:
                    _step_off(waiter)
                    _stand(waiter, verdict.lack.node)
                failed.append(waiter)
                continue
            self.leave(waiter)
            done.append((waiter, verdict))
            if isinstance(verdict, Granted):
                take(waiter.path, verdict.need)
                _pass_over(failed, waiter)
        for waiter in failed:
            _bar_if_impatient(waiter)
        return done


def decide(
    claim: Claim, path: tuple[Node, ...], *, grace: bool = False, stuck: Vector = NOTHING
) -> Granted | MustWait | TooMuch:
    """Whether a claim fits on the path now, later, or never. Changes nothing."""
    output = output_of(path, claim, grace=grace)
    need = claim.need(output)
    missing = lack(path, need, grace=grace, stuck=stuck)
    if missing is None:
        return Granted(need, output, clamped=output < claim.wish)
    return TooMuch(missing) if missing.for_good else MustWait(missing)


def _stand(waiter: Waiter, node: Node) -> None:
    if node.waiters is None:
        node.waiters = {}
    node.waiters[waiter.number] = waiter
    waiter.node = node
    waiter.arrivals = node.granted


def _step_off(waiter: Waiter) -> None:
    node = waiter.node
    waiter.passed += node.granted - waiter.arrivals
    if node.waiters is not None:
        node.waiters.pop(waiter.number, None)
    if node.bar == waiter.number:
        node.bar = None


def _pass_over(failed: list[Waiter], younger: Waiter) -> None:
    for older in failed:
        if older.node in younger.path:
            older.passed += 1
            _bar_if_impatient(older)


def _bar_if_impatient(waiter: Waiter) -> None:
    node = waiter.node
    if waiter.passed + node.granted - waiter.arrivals >= PATIENCE and (node.bar is None or node.bar > waiter.number):
        node.bar = waiter.number
