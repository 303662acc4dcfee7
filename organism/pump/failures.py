"""The failure that a caller hears of for an exception that left a handler (R2, R3, R17)."""

from __future__ import annotations

from typing import Final, cast, get_args

from organism.errors import BudgetExhaustedError, HandlerFailedError, ModelError, Refused
from organism.likeness import without_secrets
from organism.names import class_name, excerpt
from organism.payloads.primitives import FailureCode
from organism.settings import UNITS
from organism.threads.outcomes import Failure

_LONGEST: Final = 10_000
"""Characters of an exception's text that callers are told."""
_NAME: Final = 200


def failure_of(error: BaseException) -> Failure:
    """The failure for an exception. One that itself raises when it is read gets a fixed text."""
    try:
        return _failure_of(error)
    except Exception:  # noqa: BLE001 - it is the handler's, and whatever it says of itself is its own code
        return Failure("crashed", f"{class_name(error)}, which cannot be shown", retry=True)


def _failure_of(error: BaseException) -> Failure:  # noqa: PLR0911 - a case for each kind
    error = _leading(error)
    match error:
        case Refused():
            return Failure("refused", _said(error))
        case BudgetExhaustedError():
            return Failure(
                "exhausted",
                _said(error),
                unit=_unit(error.unit),
                scope=_text(error.scope),
                account=_text(error.account),
            )
        case HandlerFailedError():
            code = next((each for each in get_args(FailureCode) if each == error.code), None)
            if code is None:  # the handler made it up: what callers may hear is a closed list
                return Failure("crashed", _speakable(f"{error.code}: {error.text}"), bool(error.retry))
            return Failure(
                code,
                _speakable(error.text),
                bool(error.retry),
                _unit(error.unit),
                _text(error.scope),
                _text(error.account),
            )
        case ModelError():  # it says all there is, and is no fault of the handler's code
            return Failure("crashed", _said(error), retry=True)
        case SystemExit() | GeneratorExit():
            said = f"{class_name(error)}: {_said(error)}".removesuffix(": ")
            return Failure("crashed", f"{said} left the handler; only this delivery ends", retry=True)
        case _:
            said = _said(error)
            return Failure("crashed", f"{class_name(error)}: {said}" if said else class_name(error), retry=True)


def _said(error: BaseException) -> str:
    """An exception's text; empty where reading it raises."""
    try:
        return _speakable(str(error))
    except Exception:  # noqa: BLE001 - it is the handler's; its kind is told, and the log has the rest
        return ""


def _speakable(text: object) -> str:
    """A text as a payload can hold it: lone surrogates are escaped, a long text is cut, and secrets are removed, since exceptions quote what
    they are about.
    """
    said = str.__str__(str(text))
    if len(said) > _LONGEST:
        said = f"{excerpt(said, _LONGEST)} ({len(said):,} characters)"
    return without_secrets(said.encode("utf-8", "backslashreplace").decode("utf-8"))


def _unit(given: object) -> str | None:
    """The unit that an exception names, where there is such a unit: handlers may write anything there."""
    return next((each for each in UNITS if each == given), None) if type(given) is str else None


def _text(given: object) -> str | None:
    return given[:_NAME] if type(given) is str else None


def _leading(error: BaseException) -> BaseException:
    """Of a group of exceptions, the one that says most: the first that is not a plain crash."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    leaves = [_leading(each) for each in group.exceptions]
    told = (each for each in leaves if isinstance(each, (Refused, BudgetExhaustedError, HandlerFailedError)))
    return next(told, leaves[0])
