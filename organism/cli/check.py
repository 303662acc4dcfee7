"""``organism check``: every mistake with its place, and what the organism would be. Nothing is started."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Annotated, Final

import anyio
from cyclopts import Parameter

from organism.cli.arguments import DEFAULT_FILE, AsFile, Given
from organism.cli.exit_codes import WRONG
from organism.cli.options import NOTHING_OVER, OfFile
from organism.cli.tables import amounts_text, limits_text, named
from organism.cli.text import one_line
from organism.durations import duration
from organism.errors import ConfigurationError
from organism.journal.secrets import Marked
from organism.likeness import without_secrets
from organism.mcp.keys import secrets_of
from organism.mcp.loading import is_wanted, servers_of
from organism.names import called_as, counted
from organism.settings import UNITS, Limits, OnFailure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from organism.agentsettings import Notices
    from organism.settings import HandlerSettings, ModelSettings, Settings


Probe = Annotated[
    bool, Parameter(negative="", help="Also start the MCP servers that agents use, list their tools, and end them.")
]


def check(file: AsFile = DEFAULT_FILE, *, over: OfFile = NOTHING_OVER, probe: Probe = False, streams: Given) -> int:
    """Reports every mistake in the file, with its place, and starts nothing (but MCP servers with --probe).

    Values from --set and from ORGANISM_ variables are checked too. Exits with 0 if there is no mistake, else with 2.

    Example: organism check --set models.default.backends.0.model=gpt-4.1-mini
    """
    try:
        settings = over.checked(file, streams)
        found = anyio.run(_probed, settings, backend=settings.runtime) if probe else ()
    except ConfigurationError as error:
        for mistake in error.mistakes:
            streams.result(one_line(mistake))
        return WRONG
    streams.result("\n".join([*_summary(file, settings), *map(one_line, found)]))
    return 0


async def _probed(settings: Settings) -> Sequence[str]:
    """A line for each MCP server that an agent uses. Raises ConfigurationError where one cannot be used as it is to be."""
    if not is_wanted(settings):
        return ["mcp: no agent uses tools of a server"]
    environ, marked = dict(os.environ), Marked()
    marked.know(secrets_of(settings, environ))
    servers = await servers_of(settings, environ=environ, left_out=marked.left_out)
    found = await servers.open()
    await servers.close()
    return found.lines


def _summary(file: Path, settings: Settings) -> Iterator[str]:
    handlers, models = settings.handlers, settings.models
    yield f"{one_line(str(file))}: no mistakes"
    yield (
        f"organism '{settings.name}': {counted(len(handlers), 'handler')}, {counted(len(models), 'model')}, "
        f"runtime {settings.runtime}, journal {settings.journal}"
    )
    yield f"budget of a thread: {_limits(settings.budget.limits)}"
    yield from _beyond_a_thread(settings)
    if settings.dead_letters is not None or any(each.on_failure != OnFailure() for each in handlers.values()):
        yield _dead_letters(settings)
    width = max(map(len, [*handlers, *models, *settings.mcp]), default=0)
    for name, handler in handlers.items():
        yield f"handler {name:<{width}}  {_handler(handler)}"
    for name, model in models.items():
        yield f"model   {name:<{width}}  {_model(model)}"
    for name, server in settings.mcp.items():
        yield f"mcp     {name:<{width}}  {one_line(without_secrets(server.url or shlex.join(server.command)))}"
    sent = [f"{type(message.payload).__name__} to {message.to}" for message in settings.start]
    yield "start: " + (", ".join(sent) or "nothing; 'organism run' needs --send")
    for note in settings.notes:
        yield f"note: {note}"


def _handler(handler: HandlerSettings) -> str:
    takes = " | ".join(cls.__name__ for cls in handler.accepts)
    about = [f"code, takes {takes}"]
    if handler.agent is not None:
        replies = " | ".join(cls.__name__ for cls in handler.agent.replies)
        about = [f"agent, takes {takes}, replies {replies}, model {handler.agent.model}"]
        tools = [*(called_as(tool.handler.name) for tool in handler.agent.tools), *map(str, handler.agent.mcp)]
        if tools:
            about.append(f"tools {', '.join(tools)}")
        about += _told(handler.agent.notices)
    if handler.human is not None:
        about = [f"a person, takes {takes}, replies {' | '.join(cls.__name__ for cls in handler.human.replies)}"]
    if handler.peers:
        about.append(f"peers {', '.join(handler.peers)}")
    if handler.budget is not None:
        about.append(f"own budget: {_limits(handler.budget.limits)}")
    if handler.on_failure != OnFailure():
        about.append(f"on failure {_on_failure(handler.on_failure)}")
    return "; ".join(about)


def _told(notices: Notices) -> Iterator[str]:
    """What an agent is told of its budget, where that is not all."""
    if not notices.deliver:
        yield "not told of its budget"
    elif notices.figures != "true":
        yield (
            "told of its budget without figures"
            if notices.figures == "none"
            else "told of its budget with placebo figures"
        )


def _on_failure(policy: OnFailure) -> str:
    """What comes of a message that a handler fails at."""
    then = {"reply": "its caller hears it", "stop": "its thread stops", "escalate": "the organism stops"}[policy.do]
    if policy.attempts == 1 or not policy.retry_on:
        return then
    return f"({', '.join(policy.retry_on)}): {policy.attempts} attempts within {duration(policy.within)}, then {then}"


def _dead_letters(settings: Settings) -> str:
    """What comes of all messages that fail for good."""
    told = "" if settings.dead_letters is None else f", and '{settings.dead_letters}' is told"
    return f"failures: the caller is told immediately, unless a handler has 'on_failure'; 'organism dead' lists what failed{told}"


def _model(model: ModelSettings) -> str:
    between = ", else " if model.strategy == "failover" else ", or "
    backends = between.join(named(backend) for backend in model.backends)
    down = model.downgrade
    by = "" if model.strategy == "failover" or len(model.backends) == 1 else f" ({model.strategy})"
    return backends + by + ("" if down is None else f"; from {down.at} on {down.to}")


def _beyond_a_thread(settings: Settings) -> Iterator[str]:
    """Who may raise the limits of threads, and those that threads share."""
    if settings.budget.grants_by:
        most = settings.budget.grants_up_to
        bound = "" if most is None else f", up to {amounts_text(most) or 'nothing'}"
        yield f"more budget: '{settings.budget.grants_by}' decides{bound}"
    if settings.conversation.budget.limits != Limits():
        yield f"budget of a conversation: {_limits(settings.conversation.budget.limits)}{_outside(settings)}"
    for name, quota in settings.accounts.items():
        yield f"budget of account {one_line(name)}, {_WINDOWS[quota.window]}: {_limits(quota.limits)}"
    if settings.ceiling.limits != Limits():
        yield f"ceiling of the organism, {_WINDOWS[settings.ceiling.window]}: {_limits(settings.ceiling.limits)}"


def _outside(settings: Settings) -> str:
    """What a conversation limits, and nothing does for messages that are sent in none: easily taken for a limit of everything."""
    own, *others = settings.conversation.budget.limits, settings.budget.limits, settings.ceiling.limits
    free = [
        unit for unit in UNITS if getattr(own, unit) is not None and all(getattr(each, unit) is None for each in others)
    ]
    return f"; a thread outside of conversations: no limit in {', '.join(free)}" if free else ""


def _limits(limits: Limits) -> str:
    return "no limits" if limits == Limits() else limits_text(limits)


_WINDOWS: Final = {
    "run": "in a run", "hour": "in an hour", "day": "in a day", "month": "in a month", "total": "in all",
}  # fmt: skip
