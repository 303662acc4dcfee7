"""The router's view of budgets: it holds before an attempt and settles after it, and knows nothing of threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from organism.budget.claims import Charge, Claim, Crossing
    from organism.errors import BudgetExhaustedError
    from organism.kernel.places import Places
    from organism.models.tokens.prompt import Prompt
    from organism.record.images import Missed
    from organism.settings import Level


@frozen(kw_only=True)
class Held:
    """A granted hold. ``output_tokens`` is how much output may come back; ``clamped`` that the wish was lowered."""

    id: int
    output_tokens: int
    clamped: bool = False


class Ledger(Protocol):
    """The budget of one call, from its first hold to its last settlement."""

    @property
    def strict(self) -> bool:
        """Whether the input must be held as its bound in bytes rather than as an estimate."""
        ...

    @property
    def needs_price(self) -> bool:
        """Whether a model without a price must be refused: the path has a cost limit and ``on_unpriced`` is ``refuse``."""
        ...

    @property
    def level(self) -> Level | None:
        """The highest level that was reached on the path, of what model calls spend; ``None`` where none was."""
        ...

    @property
    def seconds_left(self) -> float | None:
        """The seconds that the budget leaves the call; ``None`` without a limit."""
        ...

    def out_of_time(self) -> BudgetExhaustedError:
        """The refusal of a call whose seconds are over."""
        ...

    def queued(self, at: Places, refuse: Callable[[], object]) -> AbstractContextManager[object]:
        """A block in which the call waits for a place, at a backend or its circuit. ``refuse`` is called, at its beginning or later, where
        the call would wait for ever, since those who have the places wait for it.
        """
        ...

    def keeping(self, at: Places) -> AbstractContextManager[object]:
        """A block in which the call, a stream, is open, and keeps its place at a backend."""
        ...

    async def hold(self, claim: Claim, *, alias: str, backend: str, attempt: int, at: tuple[Places, ...]) -> Held:
        """Holds the claim, waiting where R14 says so, with these places (``at``): the backend's, and that of its circuit where it is the
        probe. Raises BudgetExhaustedError; then nothing is held.
        """
        ...

    def settle(
        self,
        held: Held,
        charge: Charge,
        missed: Missed | None = None,
        reported: Prompt | None = None,
        *,
        made: bool = True,
    ) -> tuple[Crossing, ...]:
        """Replaces the hold by what was spent (nothing: releases it); never fails, also after the thread's end. ``missed`` is why the
        attempt failed, where its backend said so; ``reported`` is the prompt, where the input that is charged is its report for it. Not ``made``: its
        backend was not asked after all.
        """
        ...
