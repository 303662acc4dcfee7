"""The provider itself: options, streams, latency, limits, and the same answer in every process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

import anyio
import pytest

from organism.errors import ConfigurationError
from organism.models.contract import BackendError, Request, Response
from organism.models.simulation.options import check_options
from organism.models.simulation.tokens import count_tokens, request_tokens
from organism.settings import BackendSettings
from tests.models.made import made
from tests.models.simulated_world import STRING, arguments, ask, listed, record, tool, user

TEXT = "A tide is the rise and fall of the sea. The moon makes the tide. Boats wait for the tide.\n\nWhat is a tide?"
REPLY = tool("reply", record({"text": STRING}))


def _backend(**options: Any) -> Any:
    settings = BackendSettings(provider="simulated", model="sim-1", options=options, place="organism.yaml:7:9")
    return made(settings)


def _request(text: str = TEXT, **more: Any) -> Request:
    return Request(**{"model": "sim-1", "messages": [user(text)], "max_output_tokens": 400, **more})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sed": 1}, ["'sed' is not an option", "did you mean 'seed'?", "known: seed, verbosity, obedience, latency"]),
        ({"obedience": 1.5}, ["option 'obedience' must be from 0 to 1, not 1.5"]),
        ({"verbosity": 0}, ["option 'verbosity' must be from 0.1 to 10, not 0"]),
        ({"seed": "x"}, ["option 'seed' must be a whole number, not 'x'"]),
        ({"latency": True}, ["option 'latency' must be a number, not True"]),
        ({"token_latency": float("nan")}, ["option 'token_latency' must be from 0 to 60, not nan"]),
        ({"latency": 10**5000}, ["option 'latency' must be from 0 to 3600, not a value of type int"]),
        ({"context_window": 10}, ["option 'context_window' must be from 256"]),
    ],
)
def test_wrong_options_are_named_with_their_way_out(options: dict[str, Any], says: list[str]) -> None:
    (problem,) = check_options(options)
    assert all(part in problem for part in says)
    with pytest.raises(ConfigurationError, match=r"organism\.yaml:7:9: .*option"):
        _backend(**options)


def test_all_mistakes_are_told_at_once_and_good_options_have_none() -> None:
    assert len(check_options({"sed": 1, "obedience": 2, "verbosity": "much"})) == 3
    good = {"seed": 3, "verbosity": 2, "obedience": 0.5, "latency": 1, "token_latency": 0.1, "context_window": 8000}
    assert check_options(good) == []


async def test_an_answer_says_what_it_used() -> None:
    response = await _backend().complete(_request())
    assert response.text.startswith("A tide is the rise and fall of the sea.")
    assert response.usage.output_tokens == count_tokens(response.text)
    assert response.usage.input_tokens > count_tokens(TEXT)
    assert response.model == "sim-1"


async def test_latency_passes_on_the_clock_of_the_loop() -> None:
    backend = _backend(latency=2, token_latency=0.5)
    begun = anyio.current_time()
    response = await backend.complete(_request())
    assert anyio.current_time() - begun == pytest.approx(2 + 0.5 * response.usage.output_tokens, abs=0.01)


async def test_a_slow_answer_can_be_cancelled() -> None:
    with anyio.move_on_after(1) as scope:
        await _backend(latency=60).complete(_request())
    assert scope.cancelled_caught


async def test_a_stream_gives_the_same_in_pieces() -> None:
    backend = _backend(latency=1, token_latency=0.25)
    whole = await backend.complete(_request())
    begun = anyio.current_time()
    said: list[str] = []
    async with backend.stream(_request()) as stream:
        async for piece in stream:
            said.append(piece.text)
            assert stream.response is None
            assert stream.usage.output_tokens == count_tokens("".join(said))
    assert stream.response == whole
    assert stream.usage == whole.usage
    assert "".join(said) == whole.text
    assert len(said) > 5
    assert anyio.current_time() - begun == pytest.approx(1 + 0.25 * whole.usage.output_tokens, abs=0.01)


async def test_a_stream_that_is_left_early_says_what_came() -> None:
    async with _backend().stream(_request()) as stream:
        async for piece in stream:
            assert piece.text
            break
    assert stream.response is None
    assert stream.usage.input_tokens > 0
    assert stream.usage.output_tokens == 1


async def test_a_streamed_call_comes_in_pieces_that_are_no_text() -> None:
    async with _backend().stream(_request(tools=[REPLY])) as stream:
        pieces = [piece async for piece in stream]
    (call,) = stream.response.tool_calls
    assert call.name == "reply"
    assert {(piece.kind, piece.tool, piece.call) for piece in pieces} == {("other", "reply", 0)}
    assert "".join(piece.text for piece in pieces) == call.arguments


@pytest.mark.parametrize(
    ("more", "kind", "says"),
    [
        ({"max_output_tokens": 0}, "rejected", "max_output_tokens must be at least 1, not 0"),
        ({"tool_choice": "fly", "tools": [REPLY]}, "rejected", r"'fly' names no tool \(offered: reply\)"),
        ({"tool_choice": "required"}, "rejected", "without any tools"),
        ({"extra": {"obedience": 7}}, "rejected", "from 0 to 1"),
        ({"messages": [user("word " * 400)]}, "context", "the context window 300"),
    ],
)
async def test_nonsense_is_refused_as_a_server_would(more: dict[str, Any], kind: str, says: str) -> None:
    with pytest.raises(BackendError, match=says) as caught:
        await _backend(context_window=300).complete(_request(**more))
    assert caught.value.kind == kind
    assert not caught.value.retryable


async def test_the_window_limits_the_answer_too() -> None:
    request = _request(" ".join(f"The tide of day {n} is {n} feet high." for n in range(25)) + " What is the tide?")
    backend = _backend(context_window=request_tokens(request) + 5)
    response = await backend.complete(request)
    assert response.finish_reason == "length"
    assert response.usage.input_tokens + response.usage.output_tokens <= backend._options.context_window


async def test_a_call_may_name_options_of_its_own() -> None:
    long = await _backend().complete(_request())
    short = await _backend().complete(_request(extra={"verbosity": 0.1, "service_tier": "flex"}))
    assert len(short.text) < len(long.text)


def test_a_seed_of_the_request_goes_over_that_of_the_options() -> None:
    schema = record({"colour": {"enum": [f"colour {n}" for n in range(50)]}})

    def chosen(seed: int, own: int | None) -> str:
        response = ask(
            user("Paint."),
            tools=[tool("paint", schema)],
            tool_choice="paint",
            seed=own,
            options=_backend(seed=seed)._options,
        )
        return str(arguments(response)["colour"])

    assert chosen(1, None) == chosen(2, 1)
    assert len({chosen(seed, None) for seed in range(12)}) > 4


def test_temperature_lets_the_seed_choose_between_like_sentences() -> None:
    text = " ".join(f"Tide number {word} is high." for word in ("seven", "eight", "nine", "ten", "eleven", "twelve"))

    def said(seed: int, temperature: float) -> str:
        return ask(user(f"{text} What is the tide?"), seed=seed, temperature=temperature).text

    assert len({said(seed, 0) for seed in range(8)}) == 1
    assert len({said(seed, 1) for seed in range(8)}) > 1


def test_the_same_request_gives_the_same_answer_in_every_process() -> None:
    program = (
        "import sys; sys.path.insert(0, '.');from tests.models.test_simulated_backend import several; print(several())"
    )
    said = set()
    for seed in ("0", "1", "77"):
        done = subprocess.run(  # noqa: S603 - its own program
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        said.add(done.stdout.strip())
    assert said == {repr(several())}


def several() -> list[Response]:
    """Answers of every kind, some of them drawn."""
    schema = record({"pick": {"enum": ["a", "b", "c", "d"]}, "tags": listed(STRING, minItems=1), "text": STRING})
    found = '{"items": [{"path": "b.md", "text": "The moon makes the tide."}, {"path": "a.md", "text": "A tide is a rise."}]}'
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"query": "tide"}'}}
    past = [
        user(TEXT),
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": found},
    ]
    find, read = tool("find", record({"query": STRING})), tool("read", record({"path": STRING}))
    return [
        ask(user(TEXT), seed=5),
        ask(user(TEXT), tools=[tool("reply", schema)], seed=6),
        ask(user(TEXT), returns=schema, seed=7),
        ask(*past, tools=[find, read, REPLY], seed=8),
        ask(*past, user("Budget notice: warning, 75 % used"), tools=[find, read, REPLY], seed=9),
    ]


def test_a_long_prompt_is_read_quickly() -> None:
    paragraph = "The sea rises and falls with the moon, and every harbour keeps its own table of the tides. " * 3
    long = "\n\n".join(f"{paragraph} Page {n} tells of ship {n}." for n in range(340))
    assert len(long) > 90_000
    begun = time.process_time()
    response = ask(user(f"{long}\n\nWhat does page 77 tell of?"), tools=[REPLY])
    assert (
        time.process_time() - begun < 1.0
    )  # an order of magnitude above what it takes: the bound is that it is linear
    assert "Page 77 tells of ship 77." in arguments(response)["text"]


@pytest.mark.parametrize(
    "hostile", ["<a>" * 30_000, "[" * 90_000, '{"a":' * 20_000, "<!--" * 25_000, "a." * 45_000, '"' * 90_000]
)
def test_hostile_texts_are_read_in_bounded_time(hostile: str) -> None:
    begun = time.process_time()
    assert ask(user(hostile), tools=[REPLY]).tool_calls
    assert time.process_time() - begun < 3.0
