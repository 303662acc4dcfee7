"""The factory that makes the backends of a provider, and what would keep it from doing so: found without loading what answers.

The environment comes in as a mapping: keys are looked up here, and handed to nothing but the provider itself.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Final, cast

from organism.errors import ConfigurationError
from organism.models.contract import Backend, BackendFactory
from organism.models.redaction import secrets_beside
from organism.models.simulation.options import Options, check_options
from organism.names import not_installed, suggestion
from organism.settings import PROVIDERS
from organism.signatures import signature_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from organism.settings import BackendSettings, ModelSettings


def _simulated(settings: BackendSettings, _: str | None) -> Backend:
    from organism.models.simulation.backend import SimulatedModel

    return SimulatedModel(Options(**settings.options))


_SIMULATION: Final = "organism.models.simulation.backend"
_SIMULATED: Final = BackendFactory(make=_simulated, check=lambda settings: check_options(settings.options))
_MODULES: Final[Mapping[str, str]] = {
    "openai": "organism.models.openai.backend",
    "anthropic": "organism.models.anthropic.backend",
    "recorded": "organism.models.recordings.playback",
}
"""The ``PROVIDER`` of each is loaded by who names it. SDKs take half a second, and are extras of the same name."""
_OF_KEYS: Final = frozenset({"model", "base_url", "api_key_env", "api_key_file"})
"""What it depends on whether a key is there, and what is said of it."""


def check_backend(
    settings: BackendSettings, wrong: Collection[str] = (), *, environ: Mapping[str, str]
) -> Iterator[str]:
    """One line without its place for each mistake that would keep a backend from being made; nothing is started. ``wrong`` are the fields
    that are not as they were meant: nothing is said that would follow from those.
    """
    try:
        factory = factory_of(settings)
        if "options" not in wrong:
            yield from _checked(factory, settings)
        if _OF_KEYS.isdisjoint(wrong):
            key_of(settings, factory, environ)
    except ConfigurationError as error:
        yield from error.mistakes


def _checked(factory: BackendFactory, settings: BackendSettings) -> Sequence[str]:
    """What a provider says of the options. The user's own may fail at it, and other mistakes are to be told all the same."""
    try:
        return factory.check(settings)
    except Exception as error:
        if settings.factory is None:
            raise
        return [f"provider '{settings.provider}' fails to check its options: {type(error).__name__}: {error}"]


def factory_of(settings: BackendSettings) -> BackendFactory:
    """What makes the backends of these settings: the user's own, or a built-in one by its name.

    Raises ConfigurationError, in one line without a place, for a provider that there is not, or whose library is not installed.
    """
    own: object = settings.factory
    if isinstance(own, BackendFactory):
        _check_call(settings, own.make, settings, None)
        return own
    if callable(own):
        if settings.api_key_env or settings.api_key_file:
            line = "is a function of the settings and gets no key; make it an organism BackendFactory, or name no key"
            raise ConfigurationError([f"provider '{settings.provider}' {line}"])
        made = cast("Callable[[BackendSettings], Backend]", own)
        _check_call(settings, made, settings)
        return BackendFactory(make=lambda settings, _: made(settings))
    if settings.built_in == "simulated":
        return _SIMULATED
    module = _MODULES.get(settings.provider)
    if module is None:
        near, names = suggestion(settings.provider, PROVIDERS), ", ".join((*PROVIDERS, "package.module:factory"))
        raise ConfigurationError([f"'{settings.provider}' is not a provider{near}; there are: {names}"])
    try:
        provider: BackendFactory = import_module(module).PROVIDER
    except ModuleNotFoundError as error:
        missing = not_installed(error.name, settings.provider)
        raise ConfigurationError([f"provider '{settings.provider}' {missing}"]) from error
    return provider


def _check_call(settings: BackendSettings, make: Callable[..., Backend], *given: object) -> None:
    """Raises ConfigurationError where the user's own cannot be called with what it is given: it would be found when it is first needed."""
    try:
        signature_of(make).bind(*given)
    except ValueError:  # it has none that could be known
        pass
    except TypeError as error:
        way_out = "an organism BackendFactory(make=...) gets both the settings and a key, a function alone the settings"
        line = f"cannot be called with {'the settings and a key' if len(given) > 1 else 'the settings'}: {error}; {way_out}"
        raise ConfigurationError([f"provider '{settings.provider}' {line}"]) from error


def is_checked_quickly(settings: BackendSettings) -> bool:
    """Whether nothing is loaded, and no recording read, to check these."""
    module = _MODULES.get(settings.built_in or "")
    return module is None or (settings.built_in != "recorded" and hasattr(sys.modules.get(module), "PROVIDER"))


def is_made_quickly(settings: BackendSettings) -> bool:
    """Whether nothing is loaded or read to make these, as far as it is known: what the user's own do is for them to say."""
    # What is still being loaded has the name of the module, and not yet what it is loaded for.
    loaded = hasattr(sys.modules.get(_SIMULATION), "SimulatedModel")
    return settings.built_in is None or (settings.built_in == "simulated" and loaded)


def known_secrets(models: Mapping[str, ModelSettings], *, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The keys that backends are given, and what is sent beside their requests under names that say what it is. What cannot be read
    is none; :func:`check_backend` says why.
    """
    found: list[str] = []
    for settings in (each for model in models.values() for each in model.backends):
        found += secrets_beside(settings.options)
        with suppress(ConfigurationError):
            found.append(key_of(settings, factory_of(settings), environ) or "")
    return tuple(dict.fromkeys(found))


def key_of(settings: BackendSettings, factory: BackendFactory, environ: Mapping[str, str]) -> str | None:
    """The key, or ``None`` where none is there and none is needed: a recording needs none, whatever was recorded.

    Raises ConfigurationError, in one line without a place, for one that cannot be read, is none, or is missing and needed.
    """
    if settings.built_in == "recorded":
        return None
    key = read_key(settings.api_key_env, settings.api_key_file, environ)
    if not key:
        _may_do_without(settings, factory, settings.api_key_env or "")
        return None
    return key


def read_key(variable: str | None, file: Path | None, environ: Mapping[str, str]) -> str:
    """The key in a file, else in a variable; empty where none is there. Raises ConfigurationError, in one line without a place, for one
    that cannot be read, or is none.
    """
    if file is not None:
        source = str(file)
        try:
            key = file.read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            raise ConfigurationError([f"the key cannot be read from {source}: {type(error).__name__}"]) from None
        if not key:
            raise ConfigurationError([f"{source} is empty; put the key in it, or name another `api_key_file`"])
    else:
        source = variable or ""
        key = environ.get(source, "").strip() if source else ""
    if key and (not (key.isascii() and key.isprintable()) or " " in key):
        raise ConfigurationError([f"what {source} holds is not a key: it has blanks, or characters outside ASCII"])
    return key


def _may_do_without(settings: BackendSettings, factory: BackendFactory, variable: str) -> None:
    """Raises where a key is needed, or was asked for by name. Servers behind a ``base_url`` may want none."""
    asked_for = bool(variable) and variable != factory.key_env
    if not asked_for and (settings.base_url is not None or not factory.needs_key):
        return
    backend = f"'{settings.model}' of provider '{settings.provider}'"
    missing = f"{variable} is not set" if variable else "no key is named"
    way_out = "set it, or name another variable with `api_key_env` or a file with `api_key_file`"
    raise ConfigurationError([f"no key for {backend}: {missing}; {way_out}"])
