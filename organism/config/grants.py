"""Who decides on requests for more: whether the handler that ``grants_by`` names can."""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.config.places import shown
from organism.config.shapes import no_handler
from organism.errors import ConfigurationError
from organism.loader import replies_of
from organism.payloads.primitives import BudgetDecision, BudgetRequest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from organism.config.drafts import Draft
    from organism.config.shapes import Reading
    from organism.settings import BudgetSettings, HandlerSettings


def _problem(name: str, takes: Collection[type] | None, replies: Collection[type] | None) -> str | None:
    """Why a handler that takes and replies these cannot decide on requests for more; ``None`` where it can, as far as is known."""
    if takes is not None and BudgetRequest not in takes:
        said = ", ".join(each.__name__ for each in takes)
        return f"{shown(name)} takes {said}, and no BudgetRequest: name a handler that decides on one"
    if replies is not None and BudgetDecision not in replies:
        said = ", ".join(each.__name__ for each in replies) or "nothing"
        return f"{shown(name)} replies {said}, and no BudgetDecision: name a handler that decides on a BudgetRequest"
    return None


def with_decider(budget: BudgetSettings, handlers: Mapping[str, HandlerSettings]) -> BudgetSettings:
    """A budget that was given in Python; raises ConfigurationError where the handler cannot decide that it names."""
    name = budget.grants_by
    if not name:
        return budget
    handler = handlers.get(name)
    problem = (
        no_handler(name, handlers)
        if handler is None
        else _problem(name, handler.accepts, replies_of(handler.code) if handler.replies is None else handler.replies)
    )
    if problem is not None:
        raise ConfigurationError([f"budget.grants_by: {problem}"])
    return budget


def check_deciders(reading: Reading, handlers: Mapping[str, Draft], names: Collection[str] | None) -> None:
    """Notes every ``grants_by`` that names no handler, or one that cannot decide. ``names`` are those of all handlers, also of
    those that nothing is known of; ``None`` where they could not be read.
    """
    for found in reading.deciders:
        name: str | None = found.value
        if not name or names is None:
            continue
        handler = handlers.get(name)
        if handler is not None:
            problem = _problem(name, handler.accepts, handler.replies)
        else:
            problem = None if name in names else no_handler(name, names, reading.mistakes.guesses)
        if problem is not None:
            reading.wrong(found.node, problem)
