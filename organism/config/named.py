"""Names of handlers and models: looked at once all are known, wherever they stand; and what a handler that is named must be able to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.config.places import shown
from organism.config.shapes import one_of
from organism.errors import ConfigurationError
from organism.loader import replies_of
from organism.names import ORGANISM, suggestion
from organism.payloads.primitives import BudgetDecision, BudgetRequest, DeadLetter

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from organism.config.drafts import Draft
    from organism.config.shapes import Classes, Reading
    from organism.names import Guesses
    from organism.settings import BudgetSettings, HandlerSettings


def check_names(
    reading: Reading, drafts: Mapping[str, Draft], handlers: Collection[str] | None, aliases: Collection[str] | None
) -> None:
    """Notes every name that none has, and of a handler that cannot do what it is named for. ``handlers`` and ``aliases`` are all names
    that there are, also of what is wrong otherwise; ``None`` where they could not be read, and nothing is said of them.
    """
    guesses = reading.mistakes.guesses
    for (_, name), (shape, node) in reading.named.items():
        known, problem = (handlers, no_handler) if shape.of == "handler" else (aliases, no_model)
        if known is None or (shape.organism and name == ORGANISM):
            continue
        if name not in known:
            reading.wrong(node, problem(name, known, guesses))
        elif shape.unable is not None and name in drafts:
            why_not = shape.unable(name, drafts[name].accepts, drafts[name].replies)
            if why_not is not None:
                reading.wrong(node, why_not)


def invalid_name(name: str, what: str) -> str:
    """What is wrong with a name that is not as those of handlers are; ``what`` would be called so."""
    return f"{shown(name)} is not a valid {what}: small letters, digits, '_' and '-', a letter first, 64 at most"


def no_handler(name: str, handlers: Collection[str], guesses: Guesses | None = None) -> str:
    """What is wrong with a name that is none of these handlers'."""
    if name == ORGANISM:
        return f"{shown(name)} is the organism itself, and no handler: name one of 'handlers'"
    hint = suggestion(name, handlers, guesses) or "; add it to 'handlers'"
    return f"{shown(name)} is not a handler{hint}"


def no_model(name: str, aliases: Collection[str], guesses: Guesses | None = None) -> str:
    """What is wrong with a name that is none of these aliases."""
    there = f"; use {one_of(sorted(aliases))}" if aliases else ""
    return f"{shown(name)} is not a model{suggestion(name, aliases, guesses) or there}"


def hears_of_none(name: str, takes: Classes, _: Classes) -> str | None:
    """Why a handler cannot be told of dead letters."""
    if takes is None or DeadLetter in takes:
        return None
    return f"{shown(name)} takes {_names(takes)}, and no DeadLetter: name a handler that takes organism.primitives:DeadLetter"


def decides_nothing(name: str, takes: Classes, replies: Classes) -> str | None:
    """Why a handler cannot decide on requests for more budget."""
    if takes is not None and BudgetRequest not in takes:
        return f"{shown(name)} takes {_names(takes)}, and no BudgetRequest: name a handler that decides on one"
    if replies is not None and BudgetDecision not in replies:
        said = _names(replies) or "nothing"
        return f"{shown(name)} replies {said}, and no BudgetDecision: name a handler that decides on a BudgetRequest"
    return None


def _names(classes: Collection[type]) -> str:
    return ", ".join(cls.__name__ for cls in classes)


def with_decider(budget: BudgetSettings, handlers: Mapping[str, HandlerSettings]) -> BudgetSettings:
    """A budget that was given in Python; raises ConfigurationError where the handler cannot decide that it names."""
    name = budget.grants_by
    if not name:
        return budget
    handler = handlers.get(name)
    if handler is None:
        problem: str | None = no_handler(name, handlers)
    else:
        replies = replies_of(handler.code) if handler.replies is None else handler.replies
        problem = decides_nothing(name, handler.accepts, replies)
    if problem is not None:
        raise ConfigurationError([f"budget.grants_by: {problem}"])
    return budget
