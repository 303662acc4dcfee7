"""What is wrong with a request, before it is said in the words of either protocol; and how requests are read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from organism.models.contract import Message

_MISSING: Final = object()


class Refusal(Exception):  # noqa: N818 - it is one, and no failure of the server
    """A request that is not answered: with a ``status`` of 400 or more, a ``code`` that says why, and ``param``, what of it is meant."""

    def __init__(
        self,
        status: int,
        text: str,
        *,
        code: str = "",
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status = status
        self.text = text
        self.code = code
        self.param = param
        self.headers = dict(headers or {})
        super().__init__(text)


def wrong(param: str, text: str) -> Refusal:
    """A request that says what none may say at this place."""
    return Refusal(400, f"{param}: {text}", param=param)


def document_of(body: bytes) -> Mapping[str, Any]:
    """The JSON object of a body. Raises Refusal."""
    try:
        read: object = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, "the body of the request is not JSON", code="invalid_json") from None
    if not isinstance(read, dict):
        raise Refusal(400, "the body of the request is not a JSON object", code="invalid_json")
    return cast("Mapping[str, Any]", read)


class Fields:
    """The fields of an object in a request, each with its type. ``place`` is where the object stands, empty for the body."""

    def __init__(self, value: object, place: str = "") -> None:
        if not isinstance(value, Mapping):
            raise wrong(place, "must be an object")
        self.all = cast("Mapping[str, Any]", value)
        self.place = place

    def at(self, name: str) -> str:
        """The place of a field."""
        return f"{self.place}.{name}" if self.place else name

    def text(self, name: str, default: object = _MISSING, *, among: Collection[str] = ()) -> str:
        """A text; one of a few, where they are said. Raises Refusal, as every reading does."""
        value = self._given(name, default)
        if not isinstance(value, str):
            raise wrong(self.at(name), "must be a string")
        if among and value not in among and value != default:
            raise wrong(self.at(name), f"'{value[:80]}' is not one of {', '.join(sorted(among))}")
        return value

    def whole(self, name: str, default: object = _MISSING, *, least: int | None = None) -> int:
        """A whole number."""
        value = self._given(name, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise wrong(self.at(name), "must be an integer")
        if least is not None and value < least:
            raise wrong(self.at(name), f"must be at least {least}")
        return value

    def number(self, name: str, most: float) -> float | None:
        """A number from 0 to the most, or ``None`` where there is none."""
        value: object = self.all.get(name)
        if value is None:
            return None
        if (
            not isinstance(value, int | float)
            or isinstance(value, bool)
            or (isinstance(value, float) and math.isnan(value))
        ):
            raise wrong(self.at(name), "must be a number")
        if not 0 <= value <= most:
            raise wrong(self.at(name), f"must be from 0 to {most:g}")
        return float(value)

    def items(self, name: str) -> list[Fields]:
        """The objects of a list; empty where there is none."""
        value: object = self.all.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise wrong(self.at(name), "must be an array")
        return [Fields(each, f"{self.at(name)}[{number}]") for number, each in enumerate(cast("list[object]", value))]

    def inner(self, name: str) -> Fields:
        """An object."""
        return Fields(self._given(name, _MISSING), self.at(name))

    def _given(self, name: str, default: object) -> object:
        value: object = self.all.get(name)
        if value is not None:
            return value
        if default is _MISSING:
            raise wrong(self.at(name), "is missing")
        return default


def check_results(messages: Sequence[Message]) -> None:
    """Every call of a tool has its one result, right behind it. Raises Refusal, as the providers refuse such a request."""
    waiting: dict[str, int] = {}
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            call = str(message["tool_call_id"])
            if waiting.pop(call, None) is None:
                raise wrong(f"messages[{index}]", f"is a result of '{call[:80]}', which no call before it asked for")
            continue
        _check_none(waiting)
        calls = cast("Sequence[Mapping[str, Any]]", message.get("tool_calls") or ())
        waiting = {str(call["id"]): index for call in calls}
        if len(waiting) < len(calls):
            raise wrong(f"messages[{index}].tool_calls", "two of them have the same id")
    _check_none(waiting)


def _check_none(waiting: Mapping[str, int]) -> None:
    if waiting:
        index = next(iter(waiting.values()))
        raise wrong(f"messages[{index}]", f"its calls have no result behind it: {', '.join(waiting)[:200]}")
