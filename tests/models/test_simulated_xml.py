"""The simulated model where a prompt asks for XML: it says the same as with tools."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from attrs import evolve

from organism import payload
from organism.agent.asking import GO_ON
from organism.agent.elements import Element
from organism.agent.xml_reading import found_in, repaired
from organism.models.contract import Request
from organism.models.simulation.options import Options
from organism.models.simulation.writing import answer
from organism.models.simulation.xml_speech import example_at, spoken
from organism.payloads import Vocabulary, encode_json, encode_xml, json_schema


@payload
class Cat:
    lives: int = 9


@payload
class Dog:
    name: str


@payload
class Everything:
    """All there is."""

    query: Annotated[str, "What to look for -- in words."]
    level: Literal["low", "high"]
    count: int
    share: float
    sure: bool
    cost: Decimal
    pet: Cat | Dog
    home: Dog
    tags: list[str]
    pets: list[Dog]
    scores: dict[str, float | None]
    perhaps: int | None = None
    most: int = 3


EVERYTHING = Everything(
    "a < b & c",
    "high",
    3,
    0.5,
    True,
    Decimal("1.5"),
    Dog("Rex"),
    Dog("Fido"),
    ["x", "y"],
    [Dog("Bo")],
    {"a": 1.0, "b<": None},
)


def read(text: str, cls: type) -> Any:
    (found,) = found_in(text, lambda name: name == cls.__name__)
    return Vocabulary([cls]).decode_xml(repaired(found))


def prompt(*elements: Element, **said: Any) -> Request:
    system = "You are it. Ask first.\n\nYou write XML.\n\n" + "\n\n".join(each.shown() for each in elements)
    messages = [
        {"role": "system", "content": system},
        {"role": "user", "content": "Message:\n<Dog><name>Where is the library?</name></Dog>"},
    ]
    return Request(model="sim", messages=messages, max_output_tokens=1000, **said)


def test_an_example_is_read_as_the_schema_that_tools_would_have() -> None:
    shown = Element(Everything, "peer").shown().partition("\n")[2]
    found = example_at(shown, 0)
    assert found is not None
    example, end = found
    assert end == len(shown)
    schema: Any = example.schema()
    tools = json_schema(Everything)
    assert list(schema["properties"]) == list(tools["properties"])
    assert schema["required"] == tools["required"]
    for name in ("query", "level", "count", "share", "sure", "tags"):
        mine, theirs = schema["properties"][name], tools["properties"][name]
        assert (mine["type"], mine.get("enum"), mine.get("items")) == (
            theirs["type"],
            theirs.get("enum"),
            theirs.get("items"),
        )
    assert schema["properties"]["query"]["description"] == "What to look for - - in words."
    assert schema["properties"]["home"]["properties"] == {"name": {"type": "string"}}
    assert [list(each["properties"]) for each in schema["properties"]["pet"]["anyOf"]] == [["Cat"], ["Dog"]]
    assert schema["properties"]["scores"]["additionalProperties"]["type"] == "number"


def test_a_value_is_written_so_that_it_is_read_again() -> None:
    found = example_at(Element(Everything, "peer").shown().partition("\n")[2], 0)
    assert found is not None
    value: Any = encode_json(EVERYTHING)["Everything"]
    assert read(found[0].written({**value, "cost": 1.5}), Everything) == EVERYTHING


def test_what_was_written_is_understood_again() -> None:
    found = example_at(Element(Everything, "peer").shown().partition("\n")[2], 0)
    assert found is not None
    tree: Any = {"query": "x", "count": "3", "share": "0.5", "sure": "true", "tags": "", "most": "4", "odd": "1"}
    assert found[0].typed(tree) == {"query": "x", "count": 3, "share": 0.5, "sure": True, "tags": [], "most": 4}


@pytest.mark.parametrize("cls", [Everything, Cat, Dog])
def test_it_writes_what_is_asked_for(cls: type) -> None:
    response = answer(prompt(Element(cls, None)), Options())
    assert response.tool_calls == ()
    assert response.finish_reason == "stop"
    assert isinstance(read(response.text, cls), cls)


def test_answers_to_what_it_wrote_are_results_and_no_new_task() -> None:
    request = prompt(Element(Dog, "shelf", "Looks up."), Element(Cat, None))
    said = {
        "role": "assistant",
        "content": 'So.\n<Dog to="shelf"><name>a</name></Dog><Dog to="shelf"><name>b</name></Dog>',
    }
    told = {
        "role": "user",
        "content": "Message from shelf:\n<Cat/>\n\nMessage from organism:\n<InvalidPayload><error>x</error></InvalidPayload>",
    }
    reminder = {"role": "user", "content": "Write your reply now, as <Cat>: nothing else is carried out any more."}
    heard = spoken(evolve(request, messages=[*request.messages, said, told, reminder]))
    assert heard is not None
    system, _, made, *results = heard[0].messages
    assert system["content"] == "You are it. Ask first."
    assert [call["function"]["name"] for call in made["tool_calls"]] == ["shelf", "shelf"]
    assert [(each["role"], each["content"][:8]) for each in results] == [("tool", "<Cat/>"), ("tool", "<Invalid")]


def test_the_next_message_is_no_answer_to_a_reply() -> None:
    request = prompt(Element(Dog, "shelf"), Element(Cat, None))
    replied = {"role": "assistant", "content": "<Cat><lives>1</lives></Cat>"}
    following = {"role": "user", "content": f"Message from boss:\n{encode_xml(Dog('And then?')).decode()}"}
    heard = spoken(evolve(request, messages=[*request.messages, replied, following]))
    assert heard is not None
    assert heard[0].messages[-1] == following


def test_what_follows_a_turn_that_was_not_answered_is_a_message_of_its_own() -> None:
    request = prompt(Element(Dog, "shelf"), Element(Cat, None))
    asked = {"role": "assistant", "content": '<Dog to="shelf"><name>a</name></Dog>'}
    following = {"role": "user", "content": "Message:\n<Dog><name>b</name></Dog>"}
    heard = spoken(evolve(request, messages=[*request.messages, asked, following]))
    assert heard is not None
    assert heard[0].messages[-1] == following


def test_whom_it_cannot_address_any_more_it_does_not_address() -> None:
    request = prompt(Element(Dog, "shelf"), Element(Dog, "desk"), Element(Cat, None))
    end = {"role": "user", "content": "You cannot address shelf any more."}
    heard = spoken(evolve(request, messages=[*request.messages, end]))
    assert heard is not None
    assert [tool.name for tool in heard[0].tools] == ["desk", "reply"]


def test_a_prompt_that_asks_for_no_xml_is_left_alone() -> None:
    assert (
        spoken(Request(model="sim", messages=[{"role": "user", "content": "To be: or not?"}], max_output_tokens=9))
        is None
    )


@pytest.mark.parametrize("room", [3, 8, 20])
@pytest.mark.parametrize("elements", [(), (Element(Dog, None),)], ids=["text", "xml"])
def test_the_pieces_of_a_cut_answer_are_the_answer(room: int, elements: tuple[Element, ...]) -> None:
    request = evolve(prompt(*elements), max_output_tokens=room)
    messages, pieces = list(request.messages), [""]
    for _ in range(40):
        response = answer(evolve(request, messages=messages), Options())
        pieces.append(response.text)
        if response.finish_reason != "length":
            break
        messages += [{"role": "assistant", "content": response.text}, {"role": "user", "content": GO_ON}]
    whole = "".join(pieces)
    assert response.finish_reason == "stop"
    if elements:
        assert isinstance(read(whole, Dog), Dog)
    else:
        assert whole == answer(evolve(request, max_output_tokens=1000), Options()).text
