"""Which file a backend answers from whose provider is ``recorded``, and what its options may say of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import evolve

from organism.config.paths import located
from organism.config.places import shown
from organism.config.shapes import one_of
from organism.names import nearest
from organism.settings import with_backends

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from organism.config.sections import Section
    from organism.settings import BackendSettings, ModelSettings

OPTIONS: Final = ("file", "on_missing")
MISSING: Final = ("error", "fallthrough")


def check_options(section: Section) -> Mapping[str, object] | None:
    """The options of such a backend that are right, after it was noted what is wrong; ``None`` where they do not tell the file. Those of
    the provider that was recorded may stay.
    """
    options: Mapping[str, object] = section.values.get("options", {})
    file = options.get("file", "a file")
    known = isinstance(file, str) and bool(file) and "\0" not in file
    if not known:
        section.wrong("options", f"file must be the path of a recording, and is {shown(file)}")
    wrong: set[str] = set()
    how = options.get("on_missing", MISSING[0])
    if how not in MISSING:
        section.wrong("options", f"on_missing is {shown(how)}; use {one_of(MISSING)}")
        wrong.add("on_missing")
    for name in options:
        if name not in OPTIONS and (near := nearest(str(name), OPTIONS)):
            section.wrong("options", f"{shown(name)} is not an option of a recording; did you mean {shown(near)}?")
            known = known and near != "file"
    return {name: value for name, value in options.items() if name not in wrong} if known else None


def with_recordings(
    models: Mapping[str, ModelSettings], record: Path | None, folder: Path | None
) -> Mapping[str, ModelSettings]:
    """The aliases, with the file of each recorded backend: its own, else the one that ``record`` names. Rates are those of the
    provider that was recorded, and nobody asks it.
    """
    return with_backends(models, lambda each: with_recording(each, record, folder))


def with_recording(backend: BackendSettings, record: Path | None, folder: Path | None) -> BackendSettings:
    """A backend with its file, where it is a recorded one; as :func:`with_recordings`."""
    if backend.built_in != "recorded":
        return backend
    file = backend.options.get("file")
    path = record if file is None else located(str(file), folder)
    return evolve(backend, recording=path, requests_per_minute=None, tokens_per_minute=None)
