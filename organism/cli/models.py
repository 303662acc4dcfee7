"""``organism models``: what each alias would use, and why a backend could not be made."""

from __future__ import annotations

import json as jsons
import os
from contextlib import redirect_stdout
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Final

from attrs import asdict, frozen
from cyclopts import Parameter

from organism.cli.arguments import DEFAULT_FILE, AsFile, Given
from organism.cli.exit_codes import WRONG
from organism.cli.options import NOTHING_OVER, OfFile
from organism.cli.tables import named, plain_amount
from organism.cli.text import one_line
from organism.durations import duration
from organism.models.factories import check_backend
from organism.models.prices import FREE, check_price, rates, window_of
from organism.models.tokens.usage import Measured
from organism.names import counted
from organism.settings import BackendSettings, ModelSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from organism.settings import Settings

_PER_MILLION: Final = Decimal(10) ** -6
"""From 10^-12 USD a token to USD a million of them."""
_OF_BACKEND: Final = (
    "provider", "model", "base_url", "priority", "requests_per_minute", "tokens_per_minute", "max_concurrent", "timeout",
)  # fmt: skip
_OF_ALIAS: Final = ("strategy", "retries", "backoff", "max_output_tokens")


@frozen(kw_only=True)
class Priced:
    """USD per million tokens, those of a small prompt where prices depend on its size. ``source``: ``configured``, ``listed``,
    or ``free``.
    """

    input: Decimal
    output: Decimal
    cache_read: Decimal
    source: str


@frozen(kw_only=True)
class Key:
    """Where a backend's key comes from, and whether something is there; never the key itself."""

    variable: str | None
    file: str | None
    set: bool


@frozen(kw_only=True)
class BackendRow:
    """One backend of an alias. ``price`` and ``context_window`` (tokens) are ``None`` where nobody knows them; ``problems`` are the
    lines that ``organism check`` says of it.
    """

    settings: BackendSettings
    price: Priced | None
    context_window: int | None
    key: Key
    problems: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints of it."""
        of_file = {name: getattr(self.settings, name) for name in _OF_BACKEND}
        return of_file | asdict(self, filter=lambda field, _: field.name != "settings")


@frozen(kw_only=True)
class AliasRow:
    """One alias. Its backends are in the order of their priority, ``agents`` are those that use it."""

    settings: ModelSettings
    agents: tuple[str, ...]
    backends: tuple[BackendRow, ...]

    def as_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        down = self.settings.downgrade
        return {
            "alias": self.settings.name,
            **{name: getattr(self.settings, name) for name in _OF_ALIAS},
            "downgrade": None if down is None else {"at": down.at, "to": down.to},
            "agents": self.agents,
            "backends": [each.as_json() for each in self.backends],
        }


def models(
    file: AsFile = DEFAULT_FILE,
    *,
    json: Annotated[bool, Parameter(help="JSON lines: one object per alias.")] = False,
    over: OfFile = NOTHING_OVER,
    streams: Given,
) -> int:
    """Shows what each alias would use: backends in order, prices, context windows, limits, where keys come from. Calls nothing.

    Exits with 2 if the file is wrong, or if a backend could not be made; the reasons are printed below that backend.
    """
    settings = over.settings(file, streams)
    with redirect_stdout(streams.err):
        rows = aliases(settings, environ=os.environ, at=datetime.now(UTC))
    if json:
        for row in rows:
            streams.result(jsons.dumps(row.as_json(), default="{:f}".format))  # of USD: exact, and no exponent
    else:
        streams.result("\n\n".join("\n".join(_told(row)) for row in rows))
        for note in settings.notes:
            streams.note(f"note: {note}")
    return WRONG if any(backend.problems for row in rows for backend in row.backends) else 0


def aliases(settings: Settings, *, environ: Mapping[str, str], at: datetime) -> tuple[AliasRow, ...]:
    """What each alias would use at ``at``, with keys from ``environ``; nothing is started."""
    priced = settings.limits_cost and settings.budget.on_unpriced != "ignore"
    return tuple(_alias(model, settings, environ, at, must_be_priced=priced) for model in settings.models.values())


def _alias(
    model: ModelSettings, settings: Settings, environ: Mapping[str, str], at: datetime, *, must_be_priced: bool
) -> AliasRow:
    def row(backend: BackendSettings) -> BackendRow:
        problems = [*check_backend(backend, environ=environ), *(check_price(backend, at=at) if must_be_priced else ())]
        return BackendRow(
            settings=backend,
            price=_priced(backend, at),
            context_window=window_of(backend, at),
            key=_key(backend, environ),
            problems=tuple(f"{backend.place}: {problem}" for problem in problems),
        )

    users = [each for each in settings.handlers.values() if each.agent is not None and each.agent.model == model.name]
    return AliasRow(
        settings=model,
        agents=tuple(each.name for each in users),
        backends=tuple(row(each) for each in sorted(model.backends, key=lambda each: each.priority)),
    )


def _priced(backend: BackendSettings, at: datetime) -> Priced | None:
    found = rates(backend, at)
    if found is None:
        return None
    source = "configured" if backend.price is not None else "free" if found is FREE else "listed"
    costs = (
        found.cost(Measured(input_tokens=1, output_tokens=0)),
        found.cost(Measured(input_tokens=0, output_tokens=1)),
        found.cost(Measured(input_tokens=1, output_tokens=0, cache_read_tokens=1)),
    )
    fresh, output, read = ((cost * _PER_MILLION).normalize() for cost in costs)
    return Priced(input=fresh, output=output, cache_read=read, source=source)


def _key(backend: BackendSettings, environ: Mapping[str, str]) -> Key:
    variable, file = backend.api_key_env, backend.api_key_file
    if file is not None:
        return Key(variable=None, file=str(file), set=file.is_file() and file.stat().st_size > 0)
    return Key(variable=variable, file=None, set=bool(variable and environ.get(variable, "").strip()))


def _told(row: AliasRow) -> Iterator[str]:
    model = row.settings
    way = {
        "failover": "the first that works",
        "round-robin": "in turns, among those with the same priority",
        "least-loaded": "the least busy of those with the same priority",
    }[model.strategy]
    yield f"{model.name}: {model.strategy}, {way}" if len(row.backends) > 1 else f"{model.name}: one backend"
    first, longest = model.backoff
    yield f"  retries  {model.retries} after a failed attempt, waiting {first:g} s to {longest:g} s"
    yield f"  answers  up to {counted(model.max_output_tokens, 'token')} by default"
    if model.downgrade is not None:
        yield f"  budget   from level '{model.downgrade.at}' on, model '{model.downgrade.to}'"
    yield f"  agents   {', '.join(row.agents) or 'none'}"
    for number, backend in enumerate(row.backends, start=1):
        yield from _backend(number, backend)


def _backend(number: int, row: BackendRow) -> Iterator[str]:
    backend = row.settings
    yield f"  {number}. {named(backend)}, priority {backend.priority}"
    window = "unknown" if row.context_window is None else f"{row.context_window:,} tokens"
    rates_ = {"request": backend.requests_per_minute, "token": backend.tokens_per_minute}
    limits = [f"{counted(limit, what)} per minute" for what, limit in rates_.items() if limit is not None]
    limits += [f"{counted(backend.max_concurrent, 'call')} at once", f"{duration(backend.timeout)} per attempt"]
    yield f"     price   {_price(row.price)}"
    yield f"     window  {window}"
    yield f"     limits  {', '.join(limits)}"
    yield f"     key     {_source(row.key)}"
    yield from (f"     problem {one_line(problem)}" for problem in row.problems)


def _price(price: Priced | None) -> str:
    if price is None:
        return "unknown"
    if price.source == "free":
        return "free"
    whence = "from the file" if price.source == "configured" else "looked up"
    amounts = (plain_amount(each) for each in (price.input, price.output, price.cache_read))
    figures = "{} input, {} output, {} input from a cache".format(*amounts)
    return f"{figures}; USD per million tokens, {whence}"


def _source(key: Key) -> str:
    there = "set" if key.set else "not set"
    if key.file is not None:
        return one_line(f"file {key.file}, {'there' if key.set else 'not there, or empty'}")
    return "none" if key.variable is None else f"{key.variable}, {there}"
