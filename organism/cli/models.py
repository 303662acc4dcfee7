"""``organism models``: what each alias would use, and why a backend could not be made."""

from __future__ import annotations

import json as jsons
import os
from contextlib import redirect_stdout
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Final

from attrs import asdict, evolve, frozen
from cyclopts import Parameter

from organism.cli.arguments import DEFAULT_FILE, Debug, File, Given, Sets, pairs
from organism.cli.check import loaded
from organism.cli.exit_codes import WRONG
from organism.cli.tables import plain_amount
from organism.cli.text import one_line
from organism.durations import duration
from organism.models.factories import check_backends
from organism.models.prices import FREE, check_prices, rates, window_of
from organism.models.tokens.usage import Measured
from organism.names import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from organism.settings import BackendSettings, ModelSettings, Settings

_PER_MILLION: Final = Decimal(10) ** -6
"""From 10^-12 USD a token to USD a million of them."""


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
    """One backend of an alias. ``price`` and ``context_window`` (tokens) are ``None`` where nobody knows them, ``timeout`` is in
    seconds; ``problems`` are the lines that ``organism check`` says of it.
    """

    provider: str
    model: str
    base_url: str | None
    priority: int
    price: Priced | None
    context_window: int | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    max_concurrent: int
    timeout: float
    key: Key
    problems: tuple[str, ...]


@frozen(kw_only=True)
class AliasRow:
    """One alias. Its backends are in the order of their priority, ``agents`` are those that use it."""

    alias: str
    strategy: str
    retries: int
    backoff: tuple[float, float]
    max_output_tokens: int
    downgrade: dict[str, str] | None
    agents: tuple[str, ...]
    backends: tuple[BackendRow, ...]


def models(
    file: File = DEFAULT_FILE,
    /,
    *,
    set: Sets = (),  # noqa: A002 - the name of the option
    json: Annotated[bool, Parameter(help="JSON lines: one object per alias.")] = False,
    debug: Debug = False,  # noqa: ARG001 - main reads it
    streams: Given,
) -> int:
    """Shows what each alias would use: backends in order, prices, context windows, limits, where keys come from. Calls nothing.

    Exits with 2 if the file is wrong, or if a backend could not be made; the reasons are printed below that backend.
    """
    settings = loaded(file, pairs("--set", set), streams)
    with redirect_stdout(streams.err):
        rows = aliases(settings, environ=os.environ, at=datetime.now(UTC))
    if json:
        for row in rows:
            streams.result(jsons.dumps(asdict(row), default=_figure))
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
        alone = {model.name: evolve(model, backends=(backend,))}
        problems = check_backends(alone, environ=environ) + check_prices(alone, cost_limited=must_be_priced, at=at)
        return BackendRow(
            provider=backend.provider,
            model=backend.model,
            base_url=backend.base_url,
            priority=backend.priority,
            price=_priced(backend, at),
            context_window=window_of(backend, at),
            requests_per_minute=backend.requests_per_minute,
            tokens_per_minute=backend.tokens_per_minute,
            max_concurrent=backend.max_concurrent,
            timeout=backend.timeout,
            key=_key(backend, environ),
            problems=tuple(problems),
        )

    down = model.downgrade
    users = [each for each in settings.handlers.values() if each.agent is not None and each.agent.model == model.name]
    return AliasRow(
        alias=model.name,
        strategy=model.strategy,
        retries=model.retries,
        backoff=model.backoff,
        max_output_tokens=model.max_output_tokens,
        downgrade=None if down is None else {"at": down.at, "to": down.to},
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
    way = {
        "failover": "the first that works",
        "round-robin": "in turns, among those with the same priority",
        "least-loaded": "the least busy of those with the same priority",
    }[row.strategy]
    yield f"{row.alias}: {row.strategy}, {way}" if len(row.backends) > 1 else f"{row.alias}: one backend"
    first, longest = row.backoff
    yield f"  retries  {row.retries} after a failed attempt, waiting {first:g} s to {longest:g} s"
    yield f"  answers  up to {counted(row.max_output_tokens, 'token')} by default"
    if row.downgrade is not None:
        yield f"  budget   from level '{row.downgrade['at']}' on, model '{row.downgrade['to']}'"
    yield f"  agents   {', '.join(row.agents) or 'none'}"
    for number, backend in enumerate(row.backends, start=1):
        yield from _backend(number, backend)


def _backend(number: int, row: BackendRow) -> Iterator[str]:
    where = f" at {row.base_url}" if row.base_url else ""
    yield f"  {number}. {one_line(f'{row.provider}/{row.model}{where}, priority {row.priority}')}"
    window = "unknown" if row.context_window is None else f"{row.context_window:,} tokens"
    rates_ = {"request": row.requests_per_minute, "token": row.tokens_per_minute}
    limits = [f"{counted(limit, what)} per minute" for what, limit in rates_.items() if limit is not None]
    limits += [f"{counted(row.max_concurrent, 'call')} at once", f"{duration(row.timeout)} per attempt"]
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


def _figure(amount: Decimal) -> str:
    """USD as ``--json`` writes them: exact, and no exponent."""
    return f"{amount:f}"


def _source(key: Key) -> str:
    there = "set" if key.set else "not set"
    if key.file is not None:
        return one_line(f"file {key.file}, {'there' if key.set else 'not there, or empty'}")
    return "none" if key.variable is None else f"{key.variable}, {there}"
