"""Which file a backend answers from whose provider is ``recorded``, and what its options may say of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import evolve

from organism.config.paths import located
from organism.config.places import shown
from organism.config.shapes import one_of
from organism.names import suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from organism.config.sections import Section
    from organism.settings import BackendSettings, ModelSettings

OPTIONS: Final = ("file", "on_missing")
MISSING: Final = ("error", "fallthrough")


def check_options(section: Section) -> None:
    """Notes what is wrong with the options of such a backend. Those of the provider that was recorded may stay."""
    options: Mapping[str, object] = section.values.get("options", {})
    file = options.get("file", "a file")
    if not isinstance(file, str) or not file or "\0" in file:
        section.wrong("options", f"file must be the path of a recording, and is {shown(file)}")
    how = options.get("on_missing", MISSING[0])
    if how not in MISSING:
        section.wrong("options", f"on_missing is {shown(how)}; use {one_of(MISSING)}")
    for name in options:
        if name not in OPTIONS and (near := suggestion(str(name), OPTIONS)):
            section.wrong("options", f"{shown(name)} is no option of a recording{near}")


def with_recordings(
    models: Mapping[str, ModelSettings], record: Path | None, folder: Path | None
) -> Mapping[str, ModelSettings]:
    """The aliases, with the file of each recorded backend: its own, else the one that ``record`` names. Rates are those of the
    provider that was recorded, and nobody asks it.
    """

    def of(backend: BackendSettings) -> BackendSettings:
        if backend.provider != "recorded" or backend.factory is not None:
            return backend
        file = backend.options.get("file")
        path = record if file is None else located(str(file), folder)
        return evolve(backend, recording=path, requests_per_minute=None, tokens_per_minute=None)

    return {name: evolve(model, backends=tuple(map(of, model.backends))) for name, model in models.items()}
