"""``organism check``: every mistake with its place, and what the organism would be. Nothing is started."""

from __future__ import annotations

import os
from contextlib import redirect_stdout
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from organism import config
from organism.cli.arguments import DEFAULT_FILE, Debug, File, Given, Sets, pairs
from organism.cli.exit_codes import WRONG
from organism.cli.tables import amounts_text, limits_text
from organism.cli.text import one_line
from organism.durations import duration
from organism.errors import ConfigurationError
from organism.models.readiness import BackendChecks
from organism.names import called_as, counted
from organism.settings import Limits, OnFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from organism.agentsettings import Notices
    from organism.cli.streams import Streams
    from organism.config.backends import Checks
    from organism.settings import BackendSettings, HandlerSettings, ModelSettings, Settings


def check(file: File = DEFAULT_FILE, /, *, set: Sets = (), debug: Debug = False, streams: Given) -> int:  # noqa: A002, ARG001 - names of options; main reads --debug
    """Reports every mistake in the file, with its place, and starts nothing.

    Values from --set and from ORGANISM_ variables are checked too. Exits with 0 if there is no mistake, else with 2.

    Example: organism check --set models.default.backends.0.model=gpt-4.1-mini
    """
    try:
        settings = checked(file, pairs("--set", set), streams)
    except ConfigurationError as error:
        for mistake in error.mistakes:
            streams.result(one_line(mistake))
        return WRONG
    streams.result("\n".join(_summary(file, settings)))
    return 0


def loaded(
    file: Path,
    over: Mapping[str, str],
    streams: Streams,
    *,
    written: Callable[[str], str] = "--set {}".format,
    checks: Checks | None = None,
) -> Settings:
    """The settings of a file with ``--set`` and the environment over it; without ``checks`` its models may lack keys, libraries and
    prices. ``written`` is how a key of what is over it stands on the command line.

    What the user's modules print while they are imported goes to standard error. Raises ConfigurationError with every
    mistake.
    """
    with redirect_stdout(streams.err):
        return config.load(file, set=over, environ=dict(os.environ), written=written, checks=checks)


def checked(
    file: Path, over: Mapping[str, str], streams: Streams, *, written: Callable[[str], str] = "--set {}".format
) -> Settings:
    """As :func:`loaded`, the models checked as well. Raises ConfigurationError with every mistake."""
    checks = BackendChecks(dict(os.environ), datetime.now(UTC))
    return loaded(file, over, streams, written=written, checks=checks)


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
    width = max(map(len, [*handlers, *models]), default=0)
    for name, handler in handlers.items():
        yield f"handler {name:<{width}}  {_handler(handler)}"
    for name, model in models.items():
        yield f"model   {name:<{width}}  {_model(model)}"
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
        if handler.agent.tools:
            about.append(f"tools {', '.join(called_as(tool.handler.name) for tool in handler.agent.tools)}")
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
        yield "told nothing of budgets"
    elif notices.figures != "true":
        yield "told of budgets without figures" if notices.figures == "none" else "told of budgets with placebo figures"


def _on_failure(policy: OnFailure) -> str:
    """What comes of a message that a handler fails at."""
    then = {"reply": "its caller hears it", "stop": "its thread stops", "escalate": "the organism stops"}[policy.do]
    if policy.attempts == 1 or not policy.retry_on:
        return then
    return f"({', '.join(policy.retry_on)}): {policy.attempts} attempts within {duration(policy.within)}, then {then}"


def _dead_letters(settings: Settings) -> str:
    """What comes of all messages that fail for good."""
    told = "" if settings.dead_letters is None else f", and '{settings.dead_letters}' is told"
    return f"failures: the caller hears of one at once, unless a handler says otherwise; 'organism dead' lists what failed{told}"


def _model(model: ModelSettings) -> str:
    between = ", else " if model.strategy == "failover" else ", or "
    backends = between.join(_backend(backend) for backend in model.backends)
    down = model.downgrade
    by = "" if model.strategy == "failover" or len(model.backends) == 1 else f" ({model.strategy})"
    return backends + by + ("" if down is None else f"; from {down.at} on {down.to}")


def _backend(backend: BackendSettings) -> str:
    where = f" at {backend.base_url}" if backend.base_url else ""
    return one_line(f"{backend.provider}/{backend.model}{where}")


def _beyond_a_thread(settings: Settings) -> Iterator[str]:
    """Who may raise the limits of threads, and those that threads share."""
    if settings.budget.grants_by:
        most = settings.budget.grants_up_to
        bound = "" if most is None else f", up to {amounts_text(most) or 'nothing'}"
        yield f"more budget: '{settings.budget.grants_by}' decides{bound}"
    if settings.conversation.budget.limits != Limits():
        yield f"budget of a conversation: {_limits(settings.conversation.budget.limits)}"
    for name, quota in settings.accounts.items():
        yield f"budget of account {one_line(name)}, {_WINDOWS[quota.window]}: {_limits(quota.limits)}"
    if settings.ceiling.limits != Limits():
        yield f"ceiling of the organism, {_WINDOWS[settings.ceiling.window]}: {_limits(settings.ceiling.limits)}"


def _limits(limits: Limits) -> str:
    return "no limits" if limits == Limits() else limits_text(limits)


_WINDOWS: Final = {
    "run": "in a run", "hour": "in an hour", "day": "in a day", "month": "in a month", "total": "in all",
}  # fmt: skip
