"""Whether somebody is a handler of an organism, and what handlers may not do with their own organism."""

from __future__ import annotations

from contextvars import Context, ContextVar, copy_context
from typing import Final

from organism.errors import OrganismError

_inside: Final[ContextVar[object]] = ContextVar("organism_inside", default=None)
"""The organism whose handler runs."""

_WAY_OUT: Final = {
    "ask": "it would keep its place while it waits, and what it asks would be outside of its budget: use `await ctx.ask(...)`",
    "close": "closing waits for the handler; cancel threads, or close from outside",
    "wait for a thread of": "it would keep its place while it waits, and the thread is outside of its budget: use `await ctx.ask(...)`, or "
    "`await ctx.spawn(...)` for a thread that it may wait for",
}


def variables_of(organism: object) -> Context:
    """The context variables of an organism's handlers: those of here."""
    variables = copy_context()
    variables.run(_inside.set, organism)
    return variables


def check_outside(organism: object, verb: str) -> None:
    """Raises OrganismError in a handler of this organism, which may not ``verb`` it; also in the tasks and threads that the handler began."""
    if _inside.get() is organism:
        raise OrganismError(f"a handler cannot {verb} its own organism: {_WAY_OUT[verb]}")


def check_waits_outside(variables: Context) -> None:
    """Raises OrganismError in a handler of the organism with these :func:`variables_of` it, which may not wait for its threads."""
    organism = variables.get(_inside)
    if organism is not None:
        check_outside(organism, "wait for a thread of")
