"""What a handler may ask of a model, and what it hears where that is no request: the argument and its value."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from organism.models.completion import asked_for
from organism.models.contract import ToolSpec
from organism.payloads import payload

if TYPE_CHECKING:
    from organism.models.completion import Call

NO_TEMPERATURE = "temperature is a number from 0 on, not "
LOOK = ToolSpec(name="look", description="Looks.", parameters={})


@payload
class Search:
    """Looks for words."""

    words: str


def _asked(messages: Any = "Say something.", **more: Any) -> Call:
    usual: dict[str, Any] = dict.fromkeys(
        ("max_output_tokens", "min_output_tokens", "temperature", "seed", "returns", "extra")
    )
    return asked_for(messages, **{"model": "default", "tools": (), **usual, **more})


def test_a_question_is_a_message_of_the_user() -> None:
    assert _asked("Why?").messages == ({"role": "user", "content": "Why?"},)
    assert _asked().min_output_tokens == 64


def test_every_argument_reaches_the_call() -> None:
    call = _asked(
        (message for message in [{"role": "system", "content": "x"}]),
        model="small",
        max_output_tokens=9,
        min_output_tokens=3,
        temperature=0,
        seed=-7,
        tools=[Search, LOOK],
        returns=Search,
        extra={"service_tier": "flex"},
    )
    assert (call.model, call.max_output_tokens, call.min_output_tokens) == ("small", 9, 3)
    assert (call.temperature, call.seed, call.extra) == (0, -7, {"service_tier": "flex"})
    assert [tool.name for tool in call.tools] == ["Search", "look"]
    assert call.returns is not None


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"temperature": "hot"}, TypeError, NO_TEMPERATURE + "'hot'"),
    ({"temperature": True}, TypeError, NO_TEMPERATURE + "True"),
    ({"temperature": Decimal("0.5")}, TypeError, NO_TEMPERATURE + "Decimal('0.5')"),
    ({"temperature": -1}, ValueError, NO_TEMPERATURE + "-1"),
    ({"temperature": math.nan}, ValueError, NO_TEMPERATURE + "nan"),
    ({"temperature": math.inf}, ValueError, NO_TEMPERATURE + "inf"),
    ({"seed": "x"}, TypeError, "seed is a whole number, not 'x'"),
    ({"seed": 1.0}, TypeError, "seed is a whole number, not 1.0"),
    ({"seed": False}, TypeError, "seed is a whole number, not False"),
    ({"max_output_tokens": "9"}, TypeError, "max_output_tokens is a whole number from 1 on, not '9'"),
    ({"max_output_tokens": 0}, ValueError, "max_output_tokens is a whole number from 1 on, not 0"),
    ({"min_output_tokens": True}, TypeError, "min_output_tokens is a whole number from 1 on, not True"),
    ({"min_output_tokens": -1}, ValueError, "min_output_tokens is a whole number from 1 on, not -1"),
    ({"model": None}, TypeError, "model is the name of an alias, not None"),
    ({"tools": Search}, TypeError, f"tools is a list of payload classes and ToolSpecs, not {Search!r}"[:140]),
    ({"tools": "search"}, TypeError, "tools is a list of payload classes and ToolSpecs, not 'search'"),
    ({"tools": ["search"]}, TypeError, "a tool is a payload class or a ToolSpec, not 'search'"),
    ({"returns": dict}, TypeError, "returns is a payload class, not <class 'dict'>"),
    ({"returns": "Search"}, TypeError, "returns is a payload class, not 'Search'"),
    ({"extra": "flex"}, TypeError, "extra is a mapping, not 'flex'"),
    ({"extra": {"a": object()}}, TypeError, "extra cannot be sent to a model: object is not JSON"),
    ({"messages": None}, TypeError, "messages is a question or a list of messages, not None"),
    ({"messages": b"Why?"}, TypeError, "messages is a question or a list of messages, not b'Why?'"),
    ({"messages": {"role": "user"}}, TypeError, "messages is a question or a list of messages, not {'role': 'user'}"),
    ({"messages": []}, ValueError, "messages is an empty list: a call needs at least one message"),
    ({"messages": ["Why?"]}, ValueError, "messages[0] has no role of "),
    ({"messages": [{"role": ["user"]}]}, ValueError, "messages[0] has no role of "),
    ({"messages": [{"role": "user"}, {"role": "boss"}]}, ValueError, "messages[1] has no role of "),
]


@pytest.mark.parametrize(("arguments", "kind", "said"), WRONG)
def test_what_is_no_request_names_the_argument_and_its_value(
    arguments: dict[str, Any], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind) as caught:
        _asked(**arguments)
    assert str(caught.value).startswith(said)
