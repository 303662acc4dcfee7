"""Values of any type in JSON, and payloads with their XML beside them.

JSON values stand for themselves. What JSON has no form for is an object with a key that begins with ``$``: ``$xml`` beside a
payload's name, ``$decimal``, ``$float`` (not finite), ``$tuple``, ``$failure``, and ``$object`` for a dict with such keys.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, cast, get_args

from attrs import asdict, frozen

from organism.errors import InvalidPayloadError, PayloadError
from organism.names import told
from organism.payloads import encode_json, encode_xml, is_payload
from organism.payloads.faults import MISSING
from organism.payloads.primitives import FailureCode
from organism.threads.outcomes import Failure

if TYPE_CHECKING:
    from organism.payloads import Vocabulary

MARK: Final = "$"
"""Begins the keys that say what an object stands for."""
_XML: Final = f"{MARK}xml"


class Misread(ValueError):  # noqa: N818 - a verdict that is turned into a JournalError with its place
    """A JSON value does not say what is expected there; ``path`` is where, as ``.steps[0].seq``."""

    def __init__(self, problem: str, *, path: str = "") -> None:
        self.problem = problem
        self.path = path
        super().__init__(f"{path.removeprefix('.')}: {problem}" if path else problem)


_CODES: Final = get_args(FailureCode)
_MOST_DIGITS: Final = 10_000
_BEGIN: Final = datetime(1, 1, 2, tzinfo=UTC).timestamp()
_END: Final = datetime(9999, 12, 30, tzinfo=UTC).timestamp()


def is_instant(value: float | Decimal) -> bool:
    """Whether seconds since 1970 are an instant that a calendar has, in every time zone."""
    return _BEGIN <= value <= _END


def amount_of(text: str) -> Decimal | None:
    """The amount that a text says; nothing where it says none, or one that nobody could count with."""
    try:
        found = Decimal(text)
    except InvalidOperation:
        return None
    return found if found.is_finite() and abs(found.adjusted()) <= _MOST_DIGITS else None


def failure_of(said: Mapping[str, Any]) -> Failure:
    """The failure with these fields. Raises TypeError where they are others, or do not say what they should."""
    found = Failure(**said)
    beside = [said[name] for name in ("unit", "scope", "account") if said.get(name) is not None]
    if (
        found.code not in _CODES
        or type(said.get("retry", False)) is not bool
        or not all(isinstance(each, str) for each in (said["text"], *beside))
    ):
        raise TypeError(f"no failure is {told(said)}")
    return found


@frozen
class PlainPayload:
    """A payload for readers that do not have its class: its name, the JSON object of its fields, and its XML."""

    name: str
    fields: Mapping[str, Any]
    xml: str


def xml_and_json(value: Any) -> dict[str, Any]:
    """``{"Greeting": {"name": "Ada"}, "$xml": "<Greeting ..."}``; raises PayloadError for what is no payload."""
    if isinstance(value, PlainPayload):
        return {value.name: value.fields, _XML: value.xml}
    return {**encode_json(value), _XML: encode_xml(value).decode()}


def payload_of(value: Any, words: Vocabulary | None) -> Any:
    """The payload of such an object; a PlainPayload without a vocabulary. Raises Misread."""
    given = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    names = [name for name in given if name != _XML]
    if len(names) != 1 or not isinstance(given.get(_XML), str) or not isinstance(given[names[0]], dict):
        raise Misread(f"is not a payload, as {{'Name': {{...}}, '{_XML}': '<Name ...'}}: {told(cast('object', value))}")
    (name,) = names
    if words is None:
        return PlainPayload(name, given[name], given[_XML])
    try:
        return words.decode_json({name: given[name]})
    except PayloadError as error:
        added = ", or give the fields that are new in them a default" if _lacks(error) else ""
        said = f"{error}; resume it with the payload classes that it was written with{added} (reading needs none)"
        raise Misread(said) from None


def _lacks(error: PayloadError) -> bool:
    """Whether a field is missing that its class wants, as where it was added since."""
    return isinstance(error, InvalidPayloadError) and any(
        each.problem.startswith(MISSING) for each in (error, *error.parts)
    )


def closed(value: Any) -> Any:  # noqa: PLR0911 - a case for each type
    """The JSON value of any value that may be kept; raises TypeError for any other."""
    inner: Any = value  # what a match makes of a container has no types inside
    match value:
        case None | bool() | str() | int():
            return value
        case float():
            return value if math.isfinite(value) else {f"{MARK}float": repr(value)}
        case Decimal():
            return {f"{MARK}decimal": str(value)}
        case Failure():
            return {f"{MARK}failure": asdict(value)}
        case list():
            return [closed(each) for each in inner]
        case tuple():
            return {f"{MARK}tuple": [closed(each) for each in inner]}
        case dict():
            return _closed_dict(inner)
        case _:
            if is_payload(value) or isinstance(value, PlainPayload):
                return xml_and_json(value)
            raise TypeError(
                f"{type(value).__name__} is neither a JSON value nor a payload: {told(cast('object', value))}"
            )


def _closed_dict(value: dict[Any, Any]) -> dict[str, Any]:
    wrong = next((key for key in value if not isinstance(key, str)), None)
    if wrong is not None:
        raise TypeError(f"a dict has the key {told(wrong)}, which is not a text")
    made = {key: closed(each) for key, each in value.items()}
    return {f"{MARK}object": made} if any(key.startswith(MARK) for key in made) else made


def opened(value: Any, words: Vocabulary | None) -> Any:
    """The value that :func:`closed` wrote; raises Misread."""
    given: Any = value  # what isinstance makes of a container has no types inside
    if isinstance(value, list):
        return [opened(each, words) for each in given]
    if not isinstance(value, dict):
        return value
    marks = [key for key in given if key.startswith(MARK)]
    if not marks:
        return {key: opened(each, words) for key, each in given.items()}
    if _XML in given:
        return payload_of(given, words)
    if len(given) != 1:
        raise Misread(f"has the key '{marks[0]}' beside others")
    return _marked(marks[0], given[marks[0]], words)


def _marked(mark: str, value: Any, words: Vocabulary | None) -> Any:
    inner: Any = value
    try:
        match mark.removeprefix(MARK), value:
            case "float", "inf" | "-inf" | "nan":
                return float(value)
            case "decimal", str():
                return Decimal(value)
            case "failure", dict():
                return failure_of(inner)
            case "tuple", list():
                return tuple(opened(each, words) for each in inner)
            case "object", dict():
                return {key: opened(each, words) for key, each in inner.items()}
            case _:
                pass
    except (TypeError, InvalidOperation):
        pass  # told below
    raise Misread(f"'{mark}' does not say what it should: {told(cast('object', value))}")
