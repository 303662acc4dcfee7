"""Lines of a recording that hold something else than a take, and what is said of the take that is nearest to a request."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from organism import ConfigurationError, Organism
from organism.models.contract import BackendError, Failure, Piece, RawUsage, Response
from organism.models.recordings.mismatch import told_of
from organism.models.recordings.takes import HEAD, Outcome, Step, document_of, read, text_of, written
from tests.models.recording_world import put

if TYPE_CHECKING:
    from pathlib import Path

TAKE: dict[str, Any] = {
    "key": "k", "asked": 1, "max_output_tokens": 5, "request": {"model": "m"}, "answer": {"text": "x", "finish_reason": "stop"},
}  # fmt: skip
DAMAGED: dict[str, Any] = {
    "neither answer nor error": {key: value for key, value in TAKE.items() if key != "answer"},
    "not an object": [TAKE],
    "an error that is none": TAKE | {"answer": None, "error": {"kind": "odd", "text": "x"}},
    "a piece that is none": TAKE | {"pieces": ["x", {"text": "y", "kind": "odd"}]},
    "pieces that are none": TAKE | {"pieces": [5]},
    "a piece of something else": TAKE | {"pieces": [{"texts": "y"}]},
    "an answer that is none": TAKE | {"answer": "x"},
    "no key": {key: value for key, value in TAKE.items() if key != "key"},
}


@pytest.mark.parametrize("document", DAMAGED.values(), ids=DAMAGED)
async def test_what_is_no_take_is_damage_and_named_with_its_line(document: Any, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    good = json.dumps(TAKE).encode() + b"\n"
    put(path, HEAD + good + json.dumps(document).encode() + b"\n" + good)
    file = {"provider": "recorded", "model": "m", "options": {"file": str(path)}}
    with pytest.raises(ConfigurationError) as caught:
        async with Organism(name="demo", models={"default": {"backends": [file]}}):
            raise AssertionError("it started")
    (line,) = caught.value.mistakes
    assert f"{path} line 3 is damaged (" in line
    assert line.isprintable()


USAGES = st.none() | st.builds(RawUsage, input_tokens=st.integers(0, 9), output_tokens=st.integers(0, 9))
STEPS = st.lists(
    st.builds(Step, piece=st.builds(Piece, text=st.text(max_size=5)), usage=USAGES), max_size=3
).map(tuple)  # fmt: skip
ANSWERS = st.builds(
    lambda text, usage: Response(text=text, message={"role": "assistant", "content": text}, usage=usage, model="m"),
    st.text(max_size=9),
    USAGES,
)
ERRORS = st.builds(
    lambda kind, text, after, usage: BackendError(kind, text, retry_after=after, usage=usage),
    st.sampled_from(get_args(Failure)),
    st.text(max_size=9),
    st.none() | st.floats(0, 99),
    USAGES,
)


@given(ANSWERS, st.none() | STEPS)
def test_an_answer_is_read_as_it_was_written(response: Response, steps: tuple[Step, ...] | None) -> None:
    outcome = Outcome(response=response, error=None, steps=steps, usage=None)
    document = json.loads(text_of({**TAKE, "answer": None, **written(outcome)}, "the answer"))
    assert read(document, line=2).outcome == outcome


@given(ERRORS)
def test_a_failure_is_read_as_it_was_written(error: BackendError) -> None:
    outcome = Outcome(response=None, error=error, steps=None, usage=None)
    found = read(json.loads(text_of({**TAKE, "answer": None, **written(outcome)}, "the answer")), line=2).outcome.error
    assert found is not None
    assert (found.kind, str(found), found.retry_after, found.usage) == (
        error.kind, str(error), error.retry_after, error.usage,
    )  # fmt: skip


# What is nearest

REQUEST: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "What is a frame?"}, {"role": "assistant", "content": "A call."}],
    "temperature": 0.5,
    "tools": [{"name": "look_up", "parameters": {"type": "object"}}],
}


def told(request: dict[str, Any], *others: dict[str, Any], most: int = 5) -> str:
    lines = [json.dumps({"max_output_tokens": 5, "request": each}).encode() for each in others]
    return told_of(json.dumps(request), most, [b"{", b"[]", b'{"request": 5}', *lines])


def places(value: Any, path: str = "") -> list[tuple[Any, Any, str]]:
    """Every place in a document: what holds it, by what, and how it is called."""
    if isinstance(value, dict):
        held = [(key, f"{path}.{key}" if path else key) for key in value]
    else:
        held = [(key, f"{path}[{key}]") for key in range(len(value) if isinstance(value, list) else 0)]
    return [place for key, name in held for place in ((value, key, name), *places(value[key], name))]


@given(st.data(), st.sampled_from([None, 7, "else", [], {"a": 1}]))
def test_where_a_request_differs_is_named(data: st.DataObject, other: Any) -> None:
    changed = copy.deepcopy(REQUEST)
    holder, key, name = data.draw(st.sampled_from(places(changed)))
    holder[key] = other
    said = told(changed, REQUEST)
    assert said.startswith("has no answer to this request; the nearest of 1 differs in ")
    assert name in said or isinstance(other, (list, dict))


def test_the_nearest_is_of_the_same_model_and_goes_together_for_longest() -> None:
    first, whole = copy.deepcopy(REQUEST), copy.deepcopy(REQUEST)
    first["messages"][0]["content"] = "What is a thread?"
    whole["messages"].append({"role": "user", "content": "Why?"})
    elsewhere = REQUEST | {"model": "n"}
    said = told(REQUEST, elsewhere, first, whole)
    assert said == (
        "has no answer to this request; the nearest of 3 differs in "
        'messages[2]: nothing here, {"role": "user", "content": "Why?"} there'
    )


def test_a_request_that_is_there_was_left_and_none_is_empty() -> None:
    assert told(REQUEST) == "has no answer to this request: it is empty"
    assert told(REQUEST, REQUEST) == "has a stream of this request whose reader left, and no whole answer"
    assert "max_output_tokens: 9 here, 5 there" in told(REQUEST, REQUEST, most=9)


def test_long_texts_are_shown_from_where_they_differ() -> None:
    long = "x" * 500
    one = REQUEST | {"messages": [{"role": "user", "content": f"{long} apples {long}"}]}
    two = REQUEST | {"messages": [{"role": "user", "content": f"{long} pears {long}"}]}
    said = told(one, two)
    assert "apples" in said
    assert "pears" in said
    assert len(said) < 600
    assert "…" in said
    with pytest.raises(ValueError, match="not an object"):
        document_of(b"[]")
