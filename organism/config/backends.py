"""The keys of ``models``: aliases and their backends."""

from __future__ import annotations

import re
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol, get_args
from urllib.parse import parse_qsl, urlsplit

from attrs import evolve, frozen

from organism.config.failures import WAITS
from organism.config.named import invalid_name
from organism.config.paths import FilePath
from organism.config.places import shown, where
from organism.config.recordings import check_options as check_recorded
from organism.config.recordings import with_recording
from organism.config.references import Reference, loaded
from organism.config.scalars import Wrong
from organism.config.sections import Anything, ListOf, Record, Section
from organism.config.shapes import (
    BROKEN,
    Choice,
    Exact,
    Name,
    Number,
    OrNull,
    Reading,
    Schema,
    Text,
    Truth,
    Whole,
    one_of,
)
from organism.names import ORGANISM, is_handler_name, sounds_secret, suggestion
from organism.settings import (
    PROVIDERS,
    BackendSettings,
    BudgetSettings,
    ConversationSettings,
    Downgrade,
    Level,
    ModelSettings,
    Price,
    Quota,
    Strategy,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from organism.config.tree import Scalar


class Checks(Protocol):
    """What would keep backends from being used, told by who makes them: one line for each problem, without its place. ``wrong`` are the
    keys that the settings do not have as they were meant: nothing is said that would follow from those.
    """

    @property
    def late(self) -> bool:
        """Whether a backend that cannot be made is a mistake only beside others: who starts the organism looks again."""
        ...

    def making(self, settings: BackendSettings, wrong: Collection[str]) -> Iterable[str]:
        """Why a backend cannot be made."""
        ...

    def price(self, settings: BackendSettings, wrong: Collection[str]) -> Iterable[str]:
        """Why a backend cannot be used where money is limited."""
        ...


VARIABLE: Final = "[A-Za-z_][A-Za-z0-9_]*"
_SECRETS: Final = ("apikey", "accesstoken", "authorization", "password", "secret", "secretkey")
NO_SECRETS: Final = (
    "a key does not belong here: name the environment variable that holds it (api_key_env) or a file (api_key_file)"
)

_NO_RATE: Final = "write null where there is no limit"
SIMULATED: Final[Mapping[str, object]] = {"default": {"backends": [{"provider": "simulated", "model": "sim-1"}]}}
"""The models of an organism that names none."""


@frozen
class _Maker:
    """A provider: its name, and what makes it where it is not built in."""

    name: str
    factory: Any = None


@frozen
class _Provider(Reference):
    """A built-in one by its name, ``package.module:factory``, or the factory itself in Python."""

    wanted: str = "a provider"

    def _schema(self) -> Schema:
        return {"anyOf": [{"enum": [*PROVIDERS]}, super()._schema()]}

    def _said(self, text: str, scalar: Scalar, reading: Reading, /) -> Any:
        if text in PROVIDERS:
            return _Maker(text)
        if ":" not in text:
            use = f"; use {one_of((*PROVIDERS, 'package.module:factory'))}"
            return Wrong(f"{shown(text)} is not a provider{suggestion(text, PROVIDERS) or use}")
        found: object = loaded(text, scalar, reading)
        if found is BROKEN:
            return BROKEN
        wrong = Wrong(f"{shown(text)} makes no provider: it must be a function or a BackendFactory")
        return _Maker(text, found) if self.may_be(found) else wrong

    def may_be(self, given: object) -> bool:
        """Whether it makes providers."""
        return callable(given) or callable(getattr(given, "make", None))

    def made(self, found: Any) -> Any:
        """The factory, under its own name."""
        return _Maker(str(getattr(found, "__qualname__", type(found).__qualname__)), found)


def url_problem(text: str, example: str = "http://localhost:11434/v1") -> str | None:
    """What is wrong with the address of a server, as in the ``example``; keys that stand in it are not shown."""
    try:
        parts = urlsplit(text)
        fine = parts.scheme in {"http", "https"} and bool(parts.hostname)
        named = any(sounds_secret(name) for name, _ in parse_qsl(parts.query, keep_blank_values=True))
        secret = named or "@" in parts.netloc or ("@" in text and not fine)
    except ValueError:
        fine, secret = False, "@" in text
    if secret:
        return NO_SECRETS  # what stands before an @ is not shown, and neither is a query
    return None if fine else f"{shown(text)} is not the address of a server, as in '{example}'"


def variable_problem(text: str) -> str | None:
    """What is wrong with the name of an environment variable."""
    if re.fullmatch(VARIABLE, text):
        return None
    return "is not the name of an environment variable (and not shown, in case it is the key itself)"


Variable: Final = partial(Text, "the name of an environment variable", check=variable_problem, form=f"^{VARIABLE}$")
NO_KEYS: Final[Mapping[str, str]] = dict.fromkeys(
    ("api_key", "apikey", "api-key", "key", "token", "secret", "password"), NO_SECRETS
)
"""Under which names somebody may write a key itself."""


def _secret_problem(name: str) -> str | None:
    letters = re.sub(r"[^a-z]", "", name.lower())
    return NO_SECRETS if letters.endswith(_SECRETS) else None


def _backend(section: Section) -> Section:
    """A backend, as a section, after it was noted what does not go together in it."""
    values, wrong = dict(section.values), section.wrong_keys
    if values.get("api_key_env") is not None and values.get("api_key_file") is not None:
        section.wrong("api_key_file", "is there beside 'api_key_env': keep one of them")
        wrong |= {"api_key_env"}
    maker: _Maker | None = values.get("provider")
    if maker == _Maker("recorded"):
        right = check_recorded(section)
        values["options"] = right or {}
        wrong |= {"options"} if right is None else set[str]()
    return evolve(section, values=values, wrong_keys=wrong)


def _backend_of(section: Section) -> BackendSettings:
    """The settings of a backend whose provider is known; what else was wrong is left out."""
    said: dict[str, Any] = {"model": "", **section.values}
    maker: _Maker = said.pop("provider")
    if said.get("api_key_file") is None:
        own = getattr(maker.factory, "key_env", None)
        said.setdefault("api_key_env", PROVIDERS[maker.name] if maker.factory is None else own)
    if "options" in said:
        said["options"] = MappingProxyType(said["options"])
    place = where(section.table.place, section.table.path)
    return BackendSettings(provider=maker.name, factory=maker.factory, place=place, **said)


def models_of(sections: Mapping[str, Section]) -> Mapping[str, ModelSettings]:
    """The settings of the aliases, in the order of the file. Only for sections without a mistake."""
    models: dict[str, ModelSettings] = {}
    for name, section in sections.items():
        said = dict(section.values)
        if said.get("downgrade") is not None:
            said["downgrade"] = Downgrade(**said["downgrade"].values)
        said["backends"] = tuple(map(_backend_of, said["backends"]))
        models[name] = ModelSettings(name=name, **said)
    return MappingProxyType(models)


def check_backends(top: Section, checks: Checks, folder: Path | None) -> None:
    """Notes what would keep each backend from being used, as far as it could be read."""
    models: Mapping[str, Section] = top.values.get("models", {})
    sections: list[Section] = [each for model in models.values() for each in model.values.get("backends", ())]
    backends: list[tuple[Section, BackendSettings, frozenset[str]]] = []
    for section in sections:
        if "provider" in section.values:
            settings = with_recording(_backend_of(section), top.values.get("record"), folder)
            lost = settings.recording is None and "record" in top.wrong_keys
            backends.append((section, settings, section.wrong_keys | frozenset(["options"] if lost else [])))
    unpriced: list[tuple[Section, str]] = []
    if _must_be_priced(top):
        unpriced = [(section, line) for section, said, wrong in backends for line in checks.price(said, wrong)]
    if unpriced or len(top.reading.mistakes) or not checks.late:
        for section, settings, wrong in backends:
            for problem in checks.making(settings, wrong):
                section.reading.wrong(section.table, problem)
    for section, problem in unpriced:
        section.reading.wrong(section.table, problem)


def _must_be_priced(top: Section) -> bool:
    """Whether anything that could be read limits money, and models without a price are refused then."""
    budget: BudgetSettings | None = top.values.get("budget", None if "budget" in top.wrong_keys else BudgetSettings())
    if budget is None or budget.on_unpriced == "ignore":
        return False
    conversation: ConversationSettings = top.values.get("conversation", ConversationSettings())
    handlers: Mapping[str, Section] = top.values.get("handlers", {})
    quotas: Mapping[str, Quota] = top.values.get("accounts", {})
    ceiling: Quota = top.values.get("ceiling", Quota())
    inner = (each.values.get("budget") for each in handlers.values())
    limited = (budget, conversation.budget, ceiling, *quotas.values(), *inner)
    return any(each is not None and each.limits.cost_usd is not None for each in limited)


def check_downgrades(sections: Mapping[str, Section]) -> None:
    """Notes downgrades that lead back to where they came from."""
    leads = {name: section.values["downgrade"] for name, section in sections.items() if section.values.get("downgrade")}
    to: dict[str, str] = {name: down.values["to"] for name, down in leads.items() if "to" in down.values}
    for name, target in to.items():
        down: Section = leads[name]
        if target == name:
            down.wrong("to", f"{shown(target)} is the alias itself: name a cheaper one, or leave 'downgrade' out")
        elif name in (circle := _circle(name, to)):
            down.wrong("to", f"goes in a circle ({' -> '.join((*circle, name))}): a call would never arrive")


def _circle(name: str, to: Mapping[str, str]) -> list[str]:
    """The aliases that lead from one back to it; empty where none do."""
    way = [name]
    while (onward := to.get(way[-1])) is not None and onward not in way:
        way.append(onward)
    return way if onward == name else []


def alias_problem(name: str) -> str | None:
    """What is wrong with the name of an alias."""
    return None if is_handler_name(name) or name == ORGANISM else invalid_name(name, "model name")


_PRICE: Final = Record(
    {
        "input": Exact(),
        "output": Exact(),
        "cache_read": Exact(nullable=True),
        "cache_write": Exact(nullable=True),
        "reasoning": Exact(nullable=True),
    },
    named=("price",),
    required=("input", "output"),
    make=lambda section: Price(**section.values),
)
_BACKEND: Final = Record(
    {
        "provider": _Provider(),
        "model": Text(),
        "base_url": Text(check=url_problem, nullable=True),
        "api_key_env": Variable(nullable=True),
        "api_key_file": FilePath(nullable=True),
        "priority": Whole(),
        "requests_per_minute": Whole(least=1, nullable=True, hint=_NO_RATE),
        "tokens_per_minute": Whole(least=1, nullable=True, hint=_NO_RATE),
        "max_concurrent": Whole(least=1),
        "timeout": Number(above=0),
        "overhead": Whole(),
        "context_window": Whole(least=256, nullable=True, hint="it counts tokens of prompt and answer"),
        "prompt_cache": Truth(),
        "price": OrNull(_PRICE),
        "options": Anything(_secret_problem),
    },
    named=("backends",),
    required=("provider", "model"),
    make=_backend,
    refused=NO_KEYS,
    meant=("api_key_env", "api_key_file"),
    tolerant=True,
)
_DOWNGRADE: Final = Record(
    {"at": Choice(get_args(Level)), "to": Name(of="model")},
    named=("downgrade",),
    required=("at", "to"),
    tolerant=True,
)
MODEL: Final = Record(
    {
        "strategy": Choice(get_args(Strategy)),
        "retries": Whole(),
        "backoff": WAITS,
        "max_output_tokens": Whole(least=1),
        "downgrade": OrNull(_DOWNGRADE),
        "backends": ListOf(_BACKEND, filled=True),
    },
    named=("models",),
    required=("backends",),
    tolerant=True,
)
"""One alias, as a section; :func:`models_of` makes the settings when there is no mistake anywhere."""
