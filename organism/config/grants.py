"""Who decides on requests for more: whether the handler that ``grants_by`` names can."""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.config.places import shown
from organism.config.shapes import no_handler
from organism.config.yamltext import table_in
from organism.errors import ConfigurationError
from organism.loader import replies_of
from organism.payloads.primitives import BudgetDecision, BudgetRequest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from organism.config.sections import Section
    from organism.settings import BudgetSettings, HandlerSettings


def decider_problem(name: str, handlers: Mapping[str, HandlerSettings]) -> str | None:
    """Why a handler cannot decide on requests for more; ``None`` where it can, as far as is known."""
    handler = handlers.get(name)
    if handler is None:
        return no_handler(name, handlers)
    if BudgetRequest not in handler.accepts:
        takes = ", ".join(each.__name__ for each in handler.accepts)
        return f"{shown(name)} takes {takes}, and no BudgetRequest: name a handler that decides on one"
    replies = replies_of(handler.code) if handler.replies is None else handler.replies
    if replies is not None and BudgetDecision not in replies:
        said = ", ".join(each.__name__ for each in replies) or "nothing"
        return f"{shown(name)} replies {said}, and no BudgetDecision: name a handler that decides on a BudgetRequest"
    return None


def with_decider(budget: BudgetSettings, handlers: Mapping[str, HandlerSettings]) -> BudgetSettings:
    """A budget that was given in Python; raises ConfigurationError where the handler cannot decide that it names."""
    problem = decider_problem(budget.grants_by, handlers) if budget.grants_by else None
    if problem is not None:
        raise ConfigurationError([f"budget.grants_by: {problem}"])
    return budget


def check_deciders(top: Section, handlers: Mapping[str, HandlerSettings], names: Collection[str] | None) -> None:
    """Notes every ``grants_by`` that names no handler, or one that cannot decide. ``names`` are those of all handlers, also of
    broken ones; ``None`` where they could not be read.
    """
    for section, key in _with_budgets(top):
        budget: BudgetSettings | None = getattr(section.values.get(key), "budget", section.values.get(key))
        name = None if budget is None else budget.grants_by
        broken = names is None or name in names
        if not name or (name not in handlers and broken):
            continue
        problem = decider_problem(name, handlers)
        if problem is not None:
            node = section.at(key)
            budget_table = table_in(node, section.reading.mistakes)
            inner = None if budget_table is None else budget_table.get("grants_by")
            section.reading.wrong(inner or node, problem)


def _with_budgets(top: Section) -> Iterator[tuple[Section, str]]:
    """The sections that have a budget, and under which key."""
    yield top, "budget"
    yield top, "conversation"
    sections: Mapping[str, Section] = top.values.get("handlers", {})
    for section in sections.values():
        yield section, "budget"
