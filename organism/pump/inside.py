"""Whether somebody is a handler of an organism, and what handlers may not do with their own organism."""

from __future__ import annotations

from contextvars import Context, ContextVar, copy_context
from typing import Final

from organism.errors import OrganismError

_inside: Final[ContextVar[object]] = ContextVar("organism_inside", default=None)
"""The organism whose handler runs."""

_WAY_OUT: Final = {
    "ask": "it would keep its place while it waits, and what it asks would be outside of its budget: use `await ctx.ask(...)`",
    "call models without its context in": "it would keep its place while a call waits, and the call is outside of its budget: use "
    "`await ctx.complete(...)`",
    "close": "closing waits for the handler; cancel threads, or close from outside",
    "drain": "draining waits for the handler; drain it from outside",
    "wait for events of": "it would keep its place while it waits: read what there is by `await organism.history(thread)`, or the events of a "
    "thread of its own, which `await ctx.spawn(...)` gives it",
    "wait for room in": "it would keep its place while it waits, which others may need to make room: use `await ctx.spawn(...)`, answer with "
    "`Send(...)`, or try again later",
    "wait for a turn in": "it would keep its place while it waits, and may be what that turn waits for: send it from outside",
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


def check_waits_outside(variables: Context, verb: str = "wait for a thread of") -> None:
    """Raises OrganismError in a handler of the organism with these :func:`variables_of` it, which may not ``verb`` it."""
    organism = variables.get(_inside)
    if organism is not None:
        check_outside(organism, verb)
