"""What several commands take on their command line, what it means, and what is wrong with it, in a line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar, get_args

from attrs import fields
from cyclopts import (
    CoercionError,
    CycloptsError,
    Group,
    MissingArgumentError,
    Parameter,
    RepeatArgumentError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from organism.cli.streams import Streams
from organism.cli.text import one_line
from organism.errors import ConfigurationError
from organism.names import ambiguous, begun, suggestion
from organism.settings import UNITS, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cyclopts import Token

T = TypeVar("T")
DEFAULT_FILE: Final = Path("organism.yaml")

File = Annotated[Path, Parameter(name="--file", metavar="FILE", help="The organism's file; organism.yaml by default.")]
AsFile = Annotated[File, Parameter(group=Group.create_default_arguments())]
"""The same where it may also stand by itself."""
OfJournal = Annotated[
    str | None,
    Parameter(
        name="--journal",
        metavar="URL",
        help="The journal, as in sqlite:organism.db; by default the one that ORGANISM_JOURNAL or the file names.",
    ),
]
Sets = Annotated[
    tuple[str, ...],
    Parameter(
        name="--set",
        allow_leading_hyphen=True,
        metavar="KEY=VALUE",
        help="Override a key of the file, as in budget.tokens=500; may be repeated.",
    ),
]
Labels = Annotated[
    tuple[str, ...],
    Parameter(allow_leading_hyphen=True, metavar="KEY=VALUE", help="A label of the threads; may be repeated."),
]
Debug = Annotated[bool, Parameter(name="--debug", help="Show tracebacks.")]
Given = Annotated[Streams, Parameter(parse=False)]
"""What ``main`` passes to a command; it is no argument of the command line."""


def _whole(_type: object, tokens: Sequence[Token]) -> int:
    """A whole number as it was typed. Raises ValueError for any other: rounded, it would be another one than was meant."""
    return int(tokens[0].value)


_BESIDE: Final = {"name", "folder", "notes"}
"""What settings have beside the keys of a file."""
_PLAIN: Final = (str, int, float, type(None))
_AGE: Final = re.compile(r"([0-9]{1,6})([dh])")
WHOLE: Final = Parameter(metavar="N", converter=_whole)


def pairs(option: str, texts: Iterable[str], *, form: str = "KEY=VALUE") -> dict[str, str]:
    """``KEY=VALUE`` texts as a mapping, the last of one key wins. Raises ConfigurationError for every text that is none; ``form`` is
    what it is called there.
    """
    found: dict[str, str] = {}
    wrong: list[str] = []
    for text in texts:
        key, equals, value = text.partition("=")
        if equals and key:
            found[key] = value
        else:
            wrong.append(f"{option} {one_line(text)}: is not {form}")
    if wrong:
        raise ConfigurationError(wrong)
    return found


def meant_by(text: str, known: Mapping[str, T], what: str) -> T | None:
    """The one of this id, or the only one whose id begins so; ``None`` where there is none. Raises ConfigurationError for several; ``what``
    are those that have these ids.
    """
    found = begun(text, known)
    if len(found) > 1:
        raise ConfigurationError([ambiguous(text, found, what)])
    return known[found[0]] if found else None


def moment(option: str, text: str, *, now: datetime) -> float:
    """An instant in seconds since 1970: a date, with a time or without (UTC), or so many days (``30d``) or hours (``12h``) before ``now``.

    Raises ConfigurationError for what is neither.
    """
    age = _AGE.fullmatch(text)
    try:
        if age is not None:
            found = now - timedelta(**{"days" if age[2] == "d" else "hours": int(age[1])})
        else:
            found = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        ways = "write it as in 2026-11-01 or 2026-11-01T12:00, or an age as in 30d or 12h"
        raise ConfigurationError([f"{option} {one_line(text)}: is not a date; {ways}"]) from None
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()


_KINDS: Final[dict[object, str]] = {
    int: "not a whole number",
    float: "not a number",
    bool: "too much: it takes no value",
}


def usage_error(error: CycloptsError) -> str:
    """What is wrong with what was typed behind a command."""
    command = " ".join(["organism", *(error.command_chain or ())])
    place, problem = _place_and_problem(error)
    return f"{command}{f' {place}' if place else ''}: {problem}; see '{command} --help'"


def _place_and_problem(error: CycloptsError) -> tuple[str, str]:
    match error:
        case UnknownOptionError(token=token, argument_collection=known):
            option = (token.keyword or token.value).partition("=")[0]
            names = [name for argument in known if argument.parse for name in argument.names]
            hint = (_by_set(option) if "--set" in names else "") or _near(option, names)
            return one_line(option), f"there is no such option{hint}"
        case UnusedCliTokensError(unused_tokens=tokens):
            return one_line(" ".join(tokens or ())), "is more than it takes"
        case MissingArgumentError(argument=argument, keyword=keyword) if argument is not None:
            name = keyword or argument.name
            return name, "needs a value behind it" if name.startswith("-") else "is missing"
        case RepeatArgumentError(token=token):
            return one_line(token.keyword or token.value), "is there more than once"
        case CoercionError(token=token, target_type=wanted) if token is not None:
            kind = next((each for each in (wanted, *get_args(wanted)) if each in _KINDS), None)
            problem = "is nothing that stands here" if kind is None else f"is {_KINDS[kind]}"
            return f"{token.keyword or ''} {one_line(token.value)}".strip(), problem
        case _:
            error.verbose = False
            return "", one_line(str(error)).rstrip(".")


def _by_set(option: str) -> str:
    """What to type instead of an option that is a key of the file, or a limit of its budget; nothing for any other."""
    name = option.lstrip("-").replace("-", "_")
    if name in UNITS:
        return f"; set that limit with '--set budget.{name}=VALUE'"
    found = next((each for each in fields(Settings) if each.name == name and name not in _BESIDE), None)
    if found is None:
        return ""
    key = name if isinstance(found.default, _PLAIN) else f"{name}.KEY"
    return f"; set that key of the file with '--set {key}=VALUE'"


def _near(option: str, names: Iterable[str]) -> str:
    near = suggestion(option.lstrip("-"), [name.removeprefix("--") for name in names if name.startswith("--")])
    return near.replace("'", "'--", 1)
