"""``organism init``: a new project that runs, from one of the templates that come with the package; beside its organism.yaml the schema of
that, for editors: a file, since no address of a schema could be reached from everywhere.
"""

from __future__ import annotations

import re
import shlex
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from unicodedata import normalize

from cyclopts import Parameter

from organism.cli.arguments import Debug, Given  # noqa: TC001 - the command line is read from the annotations
from organism.cli.text import one_line
from organism.config.schema import file_schema_text
from organism.errors import ConfigurationError, reason_of
from organism.files import is_there
from organism.names import is_organism_name, suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.resources.abc import Traversable


TEMPLATES: Final[Mapping[str, tuple[str, str]]] = {
    "minimal": ("an agent that answers from your notes, and a handler in Python", "guide"),
    "team": ("agents with budgets of their own, warnings, conversations and a person", "desk"),
}
"""The kinds of projects: what each is, and the handler that a chat talks to."""
SCHEMA: Final = Path("organism.schema.json")
"""The schema of organism.yaml, which the first line of that names for editors."""
_STORED: Final = ".txt"
"""Every file of a template has this at the end of its name: none is code or settings of the package itself."""
_HIDDEN: Final[Mapping[str, str]] = {"gitignore": ".gitignore"}
_NAME: Final = "{{ name }}"
_SHOWN: Final = 5


def init(
    folder: Annotated[Path, Parameter(name="DIR", help="The project's folder; made if it does not exist.")],
    /,
    *,
    template: Annotated[
        str,
        Parameter(
            metavar="NAME",
            show_default=True,
            help=f"{'; '.join(f'{name}: {about}' for name, (about, _) in TEMPLATES.items())}.",
        ),
    ] = "minimal",
    name: Annotated[
        str | None,
        Parameter(metavar="NAME", help="The organism's name; by default that of the folder."),
    ] = None,
    debug: Debug = False,  # noqa: ARG001 - main reads it
    streams: Given,
) -> int:
    """Makes a new project that runs right away, without a key: organism.yaml, handlers, a README, and a schema with which editors check and
    complete organism.yaml.

    The folder must be empty, or not exist yet.

    Example: organism init my-notes --template team
    """
    if template not in TEMPLATES:
        known = ", ".join(TEMPLATES)
        hint = suggestion(template, TEMPLATES)
        raise ConfigurationError([f"--template {one_line(template)}: is not known{hint}; there are: {known}"])
    named = _name(folder, name)
    _must_be_free(folder)
    files = [*contents(template), (SCHEMA, f"{file_schema_text()}\n")]
    written = [_write(folder, path, text.replace(_NAME, named)) for path, text in files]
    for path in written:
        streams.result(f"wrote {one_line(str(path))}")
    streams.note(_next_steps(folder, TEMPLATES[template][1]))
    return 0


def contents(template: str) -> Iterator[tuple[Path, str]]:
    """The files of a template, by their paths in a project, in the order of these; ``{{ name }}`` in them is the organism's."""
    root = files("organism.cli") / "templates" / template
    yield from sorted(_below(root, Path()))


def _below(folder: Traversable, at: Path) -> Iterator[tuple[Path, str]]:
    for each in folder.iterdir():
        if each.is_dir():
            yield from _below(each, at / each.name)
        elif each.name.endswith(_STORED):
            name = each.name.removesuffix(_STORED)
            yield at / _HIDDEN.get(name, name), each.read_text("utf-8")


def _name(folder: Path, name: str | None) -> str:
    """The organism's name. Raises ConfigurationError for one that no organism may have."""
    found = folder.resolve().name if name is None else name
    if is_organism_name(found):
        return found
    plain = normalize("NFKD", found).encode("ascii", "ignore").decode().lower()
    near = "-".join(re.findall("[a-z0-9]+", plain)).lstrip("-0123456789") or "my-organism"
    what = f"--name {one_line(found)}: is" if name is not None else f"{one_line(str(folder))}: '{one_line(found)}' is"
    rule = "small letters, digits and '-', a letter first"
    raise ConfigurationError([f"{what} not a valid organism name: {rule}; name it as in --name {near}"])


def _must_be_free(folder: Path) -> None:
    """Raises ConfigurationError where something is in the way."""
    shown = one_line(str(folder))
    try:
        there = sorted(each.name for each in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        if not is_there(folder):  # which it does not either where a file is above it
            return
        raise ConfigurationError([f"{shown}: is a file; name a folder that is empty or not there yet"]) from None
    except OSError as error:
        raise ConfigurationError([f"{shown}: cannot be read: {reason_of(error)}"]) from error
    if there:
        more = f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
        names = ", ".join(one_line(each) for each in there[:_SHOWN])
        raise ConfigurationError(
            [f"{shown}: is not empty: {names}{more}; name a folder that is empty or not there yet"]
        )


def _write(folder: Path, path: Path, text: str) -> Path:
    """Writes one file, which must not be there. Raises ConfigurationError where that fails."""
    file = folder / path
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:
        raise ConfigurationError([f"{one_line(str(file))}: cannot be written: {reason_of(error)}"]) from error
    return file


def _next_steps(folder: Path, to: str) -> str:
    there = "" if folder.samefile(".") else f"cd {shlex.quote(str(folder))} && "
    return one_line(f"try it: {there}organism run") + f"\n        organism chat --to {to}"
