"""The backends of one organism, from their settings: made in threads where that takes long, recorded, and given other keys."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from attrs import define

from organism.errors import ConfigurationError
from organism.models.background import BackgroundWork
from organism.models.contract import Backend, TakesKeys
from organism.models.factories import factory_of, is_made_quickly, key_of
from organism.models.observed import DiscreetBackend
from organism.models.recordings.playback import recorded_from
from organism.models.recordings.recorder import Recording
from organism.models.redaction import Hiding

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from datetime import datetime
    from pathlib import Path

    from organism.journal.secrets import Marked
    from organism.models.recordings.playback import Tape
    from organism.settings import BackendSettings, Settings

log: Final = logging.getLogger("organism.models")


@define
class _Keyed:
    """A backend as its factory made it, and the key that it has."""

    backend: Backend
    key: str | None
    hiding: Hiding


class Providers:
    """Makes the backends of one organism, each recorded where it keeps a recording; those that answer from one file share it. What is wrong
    with their settings was told before (:func:`~organism.models.readiness.made_ready`).

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
        self._begun: dict[int, BackgroundWork[Backend]] = {}
        """Those that are made in threads, and not yet used."""
        self._keyed: dict[int, _Keyed] = {}
        self._recording = None if settings.record is None else Recording(settings.record, clock=clock, marked=marked)

    def __call__(self, settings: BackendSettings) -> Backend:
        """The provider of these settings. Raises ConfigurationError, in one placed line, where it cannot be made."""
        begun = self._begun.pop(id(settings), None)
        backend = self._made(settings) if begun is None else begun.result()
        if settings.built_in == "recorded":
            return backend  # its answers stand in a file already
        hiding = self._keyed[id(settings)].hiding
        if settings.built_in is None and hiding:  # ours see to that themselves
            backend = DiscreetBackend(backend, hiding)
        return backend if self._recording is None else self._recording.of(backend, settings)

    def begin(self, settings: BackendSettings) -> BackgroundWork[Backend] | None:
        """What makes the provider of these settings in a thread, as long as that lasts; then it can be had.

        Those that are no work are made where they are used; so are the user's own, which may need to be made on the event loop.
        """
        begun = self._begun.get(id(settings))
        if begun is None:
            if is_made_quickly(settings) or settings.recording in self._tapes:
                return None
            begun = self._begun[id(settings)] = BackgroundWork(partial(self._made, settings))
        return None if begun.over else begun

    def _made(self, settings: BackendSettings) -> Backend:
        with _placed(settings.place or settings.name):
            factory = factory_of(settings)
            key = key_of(settings, factory, self._environ)
            hiding = Hiding(key, settings.options)
            try:
                if settings.built_in == "recorded":
                    backend: Backend = recorded_from(settings, self._tapes, self._marked)
                else:
                    backend = factory.make(settings, key)
            except ConfigurationError:
                raise
            except Exception as error:
                said = hiding.clean(str(error))
                line = f"provider '{settings.provider}' cannot be made: {type(error).__name__}: {said}"
                raise ConfigurationError([line]) from error
        self._keyed[id(settings)] = _Keyed(backend, key, hiding)
        return backend

    def renew(self, settings: BackendSettings) -> bool:
        """Has the backend of these settings use the key that its file holds by now; whether that is another one than it had.

        The file is read here, so this is for when a key was refused. A backend that takes no other key goes on with its own, and the
        log says so.
        """
        keyed = self._keyed.get(id(settings))
        if keyed is None or settings.api_key_file is None:
            return False
        try:
            key = key_of(settings, factory_of(settings), self._environ)
        except ConfigurationError:  # it is being written, or gone: the refusal names the file
            return False
        if key is None or key == keyed.key:
            return False
        if not isinstance(keyed.backend, TakesKeys):
            line = "%s: %s holds another key now, but provider '%s' has no `use_key`; start the organism again"
            log.warning(line, settings.place, settings.api_key_file, settings.provider)
            return False
        keyed.hiding.add(key)
        if self._marked is not None:
            self._marked.know([key])
        keyed.key = key
        try:
            keyed.backend.use_key(key)
        except Exception:
            # It is somebody's own; the call that was refused fails for that, and not for this.
            log.exception("%s: provider '%s' fails to take another key", settings.place, settings.provider)
            return False
        return True


@contextmanager
def _placed(place: str) -> Generator[None]:
    """Raises ConfigurationErrors again, with the place before each mistake."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError([f"{place}: {mistake}" for mistake in error.mistakes]) from error.__cause__
