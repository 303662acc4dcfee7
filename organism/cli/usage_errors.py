"""Usage errors of the command line, in a line: the place, what is wrong with it, and where to look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, get_args

from cyclopts import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from organism.cli.text import one_line
from organism.names import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterable

_KINDS: Final[dict[object, str]] = {int: "no whole number", float: "no number", bool: "no value of it: it takes none"}


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
            return one_line(option), f"there is no such option{_near(option, names)}"
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


def _near(option: str, names: Iterable[str]) -> str:
    near = suggestion(option.lstrip("-"), [name.removeprefix("--") for name in names if name.startswith("--")])
    return near.replace("'", "'--", 1)
