"""From a backend's settings to its provider: the built-in ones by name, the user's own by what the loader found.

The environment comes in as a mapping: keys are looked up here, and handed to nothing but the provider itself.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Final, cast

from organism.errors import ConfigurationError
from organism.models import recorded, simulated
from organism.models.contract import Backend, BackendFactory
from organism.models.discreet import Discreet
from organism.models.hiding import Hiding, secrets_beside
from organism.models.recorded import RecordedBackend, Tape
from organism.models.recording import Recording
from organism.names import suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from pathlib import Path

    from organism.journal.secrets import Marked
    from organism.settings import BackendSettings, ModelSettings, Settings


class Providers:
    """Makes the backends of one organism, each recorded where it keeps a recording; those that answer from one file share it.

    Raises ConfigurationError where the file of the recording cannot be written. ``clock`` (aware) dates what is recorded; what is
    ``marked`` is not.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        environ: Mapping[str, str],
        clock: Callable[[], datetime],
        marked: Marked | None = None,
    ) -> None:
        self._environ = environ
        self._marked = marked
        self._tapes: dict[Path, Tape] = {}
        self._recording = None if settings.record is None else Recording(settings.record, clock=clock, marked=marked)

    def __call__(self, settings: BackendSettings) -> Backend:
        """The provider of these settings. Raises ConfigurationError like :func:`make_backend`."""
        if is_recorded(settings):
            # Its answers stand in a file already.
            return make_backend(settings, environ=self._environ, tapes=self._tapes, marked=self._marked)
        backend = self._discreet(make_backend(settings, environ=self._environ), settings)
        return backend if self._recording is None else self._recording.of(backend, settings)

    def _discreet(self, backend: Backend, settings: BackendSettings) -> Backend:
        """A backend whose failures quote none of its secrets. The built-in ones see to that themselves."""
        if settings.factory is None:
            return backend
        key = _key(settings, _factory(settings, settings.place), self._environ, settings.place)
        hiding = Hiding(key, settings.options)
        return Discreet(backend, hiding) if hiding else backend


def make_backend(
    settings: BackendSettings,
    *,
    environ: Mapping[str, str],
    tapes: dict[Path, Tape] | None = None,
    marked: Marked | None = None,
) -> Backend:
    """The provider of these settings, with its key. ``tapes`` are the recordings that are open, by their path; requests are looked
    up there without what is ``marked``.

    Raises ConfigurationError, in one placed line, where the provider is unknown or cannot be made, its library is not
    installed, its options are wrong, or it needs a key and has none.
    """
    place = settings.place or f"{settings.provider}/{settings.model}"
    factory = _factory(settings, place)
    if problems := factory.check(settings):
        raise ConfigurationError([f"{place}: {problem}" for problem in problems])
    if is_recorded(settings):
        return _recorded(settings, place, {} if tapes is None else tapes, marked)
    key = _key(settings, factory, environ, place)
    hiding = Hiding(key, settings.options)
    try:
        return factory.make(settings, key)
    except ConfigurationError:
        raise
    except Exception as error:
        said = hiding.clean(str(error))
        line = f"provider '{settings.provider}' cannot be made: {type(error).__name__}: {said}"
        raise ConfigurationError([f"{place}: {line}"]) from error


def check_backends(models: Mapping[str, ModelSettings], *, environ: Mapping[str, str]) -> list[str]:
    """One placed line for each mistake that would keep a backend from being made; nothing is started."""
    mistakes: list[str] = []
    for alias, model in models.items():
        for index, settings in enumerate(model.backends):
            place = settings.place or f"models.{alias}.backends[{index}]"
            try:
                factory = _factory(settings, place)
                mistakes += [f"{place}: {problem}" for problem in factory.check(settings)]
                _key(settings, factory, environ, place)
            except ConfigurationError as error:
                mistakes += error.mistakes
    return mistakes


_SIMULATED: Final = BackendFactory(
    make=lambda settings, _: simulated.make(settings), check=lambda settings: simulated.check_options(settings.options)
)
_RECORDED: Final = BackendFactory(
    make=lambda settings, _: _recorded(settings, settings.place, {}), check=recorded.check
)
_EXTRAS: Final[Mapping[str, str]] = {"openai": "organism.models.openai", "anthropic": "organism.models.anthropic"}
"""Providers whose SDK is an extra of the same name, and half a second to load: only who names one needs it."""


def _factory(settings: BackendSettings, place: str) -> BackendFactory:
    own: object = settings.factory
    if isinstance(own, BackendFactory):
        return own
    if callable(own):
        if settings.api_key_env or settings.api_key_file:
            line = "is a function of the settings and gets no key; make it an organism BackendFactory, or name no key"
            raise ConfigurationError([f"{place}: provider '{settings.provider}' {line}"])
        made = cast("Callable[[BackendSettings], Backend]", own)
        return BackendFactory(make=lambda settings, _: made(settings))
    if settings.provider == "simulated":
        return _SIMULATED
    if settings.provider == "recorded":
        return _RECORDED
    module = _EXTRAS.get(settings.provider)
    if module is None:
        known = ("simulated", *_EXTRAS, "recorded")
        near, names = suggestion(settings.provider, known), ", ".join((*known, "package.module:factory"))
        raise ConfigurationError([f"{place}: '{settings.provider}' is no provider{near}; there are: {names}"])
    try:
        provider: BackendFactory = import_module(module).PROVIDER
    except ModuleNotFoundError as error:
        line = f"needs '{error.name}', which is not installed; pip install organism[{settings.provider}]"
        raise ConfigurationError([f"{place}: provider '{settings.provider}' {line}"]) from error
    return provider


def is_recorded(settings: BackendSettings) -> bool:
    """Whether these are answered from a recording."""
    return settings.provider == "recorded" and settings.factory is None


def known_secrets(models: Mapping[str, ModelSettings], *, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The keys that backends are given, and what is sent beside their requests under names that say what it is. What cannot be read
    is none; :func:`check_backends` says why.
    """
    found: list[str] = []
    for settings in (each for model in models.values() for each in model.backends):
        found += secrets_beside(settings.options)
        place = settings.place
        with suppress(ConfigurationError):
            found.append(_key(settings, _factory(settings, place), environ, place) or "")
    return tuple(dict.fromkeys(found))


def _recorded(settings: BackendSettings, place: str, tapes: dict[Path, Tape], marked: Marked | None = None) -> Backend:
    path = settings.recording
    assert path is not None  # noqa: S101 - it was checked
    if path not in tapes:
        try:
            tapes[path] = Tape.of(path)
        except ConfigurationError as error:
            raise ConfigurationError([f"{place}: {mistake}" for mistake in error.mistakes]) from None
    return RecordedBackend(tapes[path], settings, marked=marked)


def _key(settings: BackendSettings, factory: BackendFactory, environ: Mapping[str, str], place: str) -> str | None:
    """The key, or ``None`` where none is there and none is needed: a recording needs none, whatever was recorded."""
    if is_recorded(settings):
        return None
    if settings.api_key_file is not None:
        source = str(settings.api_key_file)
        try:
            key = settings.api_key_file.read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                [f"{place}: the key cannot be read from {source}: {type(error).__name__}"]
            ) from None
        if not key:
            raise ConfigurationError([f"{place}: {source} is empty; put the key in it, or name another `api_key_file`"])
    else:
        source = settings.api_key_env or ""
        key = environ.get(source, "").strip() if source else ""
    if not key:
        _may_do_without(settings, factory, source, place)
        return None
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigurationError([f"{place}: what {source} holds is no key: it has characters that no key has"])
    return key


def _may_do_without(settings: BackendSettings, factory: BackendFactory, variable: str, place: str) -> None:
    """Raises where a key is needed, or was asked for by name. Servers behind a ``base_url`` may want none."""
    asked_for = bool(variable) and variable != factory.key_env
    if not asked_for and (settings.base_url is not None or not factory.needs_key):
        return
    backend = f"'{settings.model}' of provider '{settings.provider}'"
    missing = f"{variable} is not set" if variable else "no key is named"
    way_out = "set it, or name another variable with `api_key_env` or a file with `api_key_file`"
    raise ConfigurationError([f"{place}: no key for {backend}: {missing}; {way_out}"])
