"""The simulated model as a provider: bodies, events, refusals and headers, as a caller without any SDK sees them."""

from __future__ import annotations

import json
import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx2
import pytest

from tests.server.provider_world import served

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

CHAT: Final = "/v1/chat/completions"
MESSAGES: Final = "/v1/messages"
HELLO: Final[dict[str, Any]] = {
    "model": "sim-1",
    "max_tokens": 50,
    "messages": [{"role": "user", "content": "What is a frame? A call."}],
}
SCHEMA: Final = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
FUNCTION: Final = {"name": "look_up", "description": "Looks something up.", "parameters": SCHEMA}
CALLED: Final = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
USED: Final = {"type": "tool_use", "id": "c1", "name": "look_up", "input": {}}
RESULT: Final = {"type": "tool_result", "tool_use_id": "c1", "content": "A frame is a call."}


pytestmark = pytest.mark.sockets


@asynccontextmanager
async def calling(**more: Any) -> AsyncGenerator[httpx2.AsyncClient]:
    async with served(**more) as model, httpx2.AsyncClient(base_url=model.url) as client:
        yield client


def said(*messages: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return HELLO | ({"messages": list(messages)} if messages else {}) | more


def events(text: str) -> list[Any]:
    """The documents of a stream."""
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


async def test_chat_completions_whole_and_streamed() -> None:
    async with calling() as client:
        whole = (await client.post(CHAT, json=HELLO)).json()
        answer = await client.post(CHAT, json=said(stream=True, stream_options={"include_usage": True}))
        assert answer.text.endswith("data: [DONE]\n\n")
        *chunks, last = events(answer.text)
        silent = events((await client.post(CHAT, json=said(stream=True))).text)
    (choice,) = whole["choices"]
    assert (choice["message"]["role"], choice["finish_reason"]) == ("assistant", "stop")
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == choice["message"]["content"] != ""
    assert (last["choices"], last["usage"]) == ([], whole["usage"])
    assert whole["usage"]["total_tokens"] == whole["usage"]["prompt_tokens"] + whole["usage"]["completion_tokens"]
    assert all("usage" not in chunk for chunk in silent)


async def test_messages_whole_and_streamed() -> None:
    async with calling() as client:
        whole = (await client.post(MESSAGES, json=HELLO)).json()
        streamed = await client.post(MESSAGES, json=said(stream=True))
    assert (whole["type"], whole["stop_reason"]) == ("message", "end_turn")
    found = events(streamed.text)
    assert [line[7:] for line in streamed.text.splitlines() if line.startswith("event: ")] == [
        each["type"] for each in found
    ]
    assert (found[0]["type"], found[-2]["type"], found[-1]["type"]) == (
        "message_start",
        "message_delta",
        "message_stop",
    )
    assert {each["index"] for each in found if "index" in each} == {0}
    text = "".join(each["delta"]["text"] for each in found if each["type"] == "content_block_delta")
    assert text == whole["content"][0]["text"]
    assert found[0]["message"]["usage"]["input_tokens"] == whole["usage"]["input_tokens"]
    assert found[-2]["usage"]["output_tokens"] == whole["usage"]["output_tokens"]


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "look_up"}}])
async def test_tools_of_chat_completions(choice: object) -> None:
    tools = [{"type": "function", "function": FUNCTION}]
    async with calling() as client:
        whole = (await client.post(CHAT, json=said(tools=tools, tool_choice=choice))).json()["choices"][0]
        streamed = events((await client.post(CHAT, json=said(tools=tools, tool_choice=choice, stream=True))).text)
        after = said(
            *HELLO["messages"],
            whole["message"],
            {"role": "tool", "tool_call_id": whole["message"]["tool_calls"][0]["id"], "content": "x"},
        )
        assert (await client.post(CHAT, json=after)).status_code == 200
    (call,) = whole["message"]["tool_calls"]
    assert whole["finish_reason"] == streamed[-1]["choices"][0]["finish_reason"] == "tool_calls"
    deltas = [part for each in streamed for part in each["choices"][0]["delta"].get("tool_calls", ())]
    assert deltas[0]["id"] == call["id"]
    assert "".join(part["function"]["arguments"] for part in deltas) == call["function"]["arguments"]
    assert isinstance(json.loads(call["function"]["arguments"])["text"], str)


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "look_up"}])
async def test_tools_of_messages(choice: object) -> None:
    tools = [{"name": "look_up", "description": "Looks something up.", "input_schema": SCHEMA}]
    async with calling() as client:
        whole = (await client.post(MESSAGES, json=said(tools=tools, tool_choice=choice))).json()
        streamed = events((await client.post(MESSAGES, json=said(tools=tools, tool_choice=choice, stream=True))).text)
        result = {
            "type": "tool_result",
            "tool_use_id": whole["content"][-1]["id"],
            "content": [{"type": "text", "text": "x"}],
        }
        turns = [
            *HELLO["messages"],
            {"role": "assistant", "content": whole["content"]},
            {"role": "user", "content": [result]},
        ]
        assert (await client.post(MESSAGES, json=said(*turns))).status_code == 200
    assert whole["stop_reason"] == "tool_use"
    written = "".join(
        each["delta"].get("partial_json", "") for each in streamed if each["type"] == "content_block_delta"
    )
    assert json.loads(written) == whole["content"][-1]["input"]


async def test_an_answer_of_a_schema() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}
    async with calling() as client:
        answer = (await client.post(CHAT, json=said(response_format=wanted))).json()
    assert isinstance(json.loads(answer["choices"][0]["message"]["content"])["text"], str)


async def test_an_answer_that_does_not_fit_is_cut() -> None:
    long = {"role": "user", "content": "Tell of frames. " + "A frame is a call that has begun and is open. " * 9}
    async with calling() as client:
        chat = (await client.post(CHAT, json=said(long, max_tokens=3))).json()
        other = (await client.post(MESSAGES, json=said(long, max_tokens=3))).json()
    assert (chat["choices"][0]["finish_reason"], other["stop_reason"]) == ("length", "max_tokens")
    assert chat["usage"]["completion_tokens"] <= 3


async def test_a_request_may_say_how_the_model_behaves() -> None:
    """``options:`` of a backend reach the model as fields of the body."""
    long = {
        "role": "user",
        "content": "Tell of frames. " + "".join(f"Frame {n} is a call that was made. " for n in range(40)),
    }
    async with calling() as client:
        brief, talkative = [
            (await client.post(CHAT, json=said(long, max_tokens=900, verbosity=verbosity))).json()["usage"][
                "completion_tokens"
            ]
            for verbosity in (0.2, 5)
        ]
        wrong = await client.post(CHAT, json=said(verbosity=99))
    assert brief < talkative
    assert (wrong.status_code, "verbosity" in wrong.text) == (400, True)


BAD: Final[Mapping[str, tuple[str, Any, str]]] = {
    "no model": (CHAT, {"messages": HELLO["messages"]}, "model: is missing"),
    "no messages": (CHAT, {"model": "sim-1", "messages": []}, "messages: must have at least one message"),
    "a role": (CHAT, said({"role": "robot", "content": "x"}), "messages[0].role: 'robot' is not one of"),
    "no content": (CHAT, said({"role": "user"}), "messages[0].content: must be a string or an array of parts"),
    "a limit": (CHAT, said(max_tokens=0), "max_tokens: must be at least 1"),
    "a temperature": (CHAT, said(temperature="hot"), "temperature: must be a number"),
    "two answers": (CHAT, said(n=2), "n: must be 1"),
    "no result": (CHAT, said({"role": "assistant", "tool_calls": [CALLED]}), "messages[0]: its calls have no result"),
    "no call": (CHAT, said({"role": "tool", "tool_call_id": "c1", "content": "x"}), "messages[0]: is a result of 'c1'"),
    "a choice": (CHAT, said(tool_choice="required"), "tool_choice 'required' without any tools"),
    "no max_tokens": (MESSAGES, {"model": "sim-1", "messages": HELLO["messages"]}, "max_tokens: is missing"),
    "a block": (MESSAGES, said({"role": "user", "content": [{"type": "odd"}]}), "messages[0].content[0].type: 'odd'"),
    "a system turn": (MESSAGES, said({"role": "system", "content": "x"}), "messages[0].role: 'system' is not one of"),
    "a use": (MESSAGES, said({"role": "assistant", "content": [USED]}), "its calls have no result behind it: c1"),
    "a result": (MESSAGES, said({"role": "user", "content": [RESULT]}), "is a result of 'c1'"),
    "thinking": (MESSAGES, said(thinking={"type": "enabled", "budget_tokens": 2000}), "must be less than max_tokens"),
    "a list": (CHAT, [1], "is not a JSON object"),
}  # fmt: skip


@pytest.mark.parametrize(("path", "body", "text"), BAD.values(), ids=BAD)
@pytest.mark.by_turns
async def test_a_bad_request_is_told_what_is_wrong(path: str, body: Any, text: str) -> None:
    async with calling() as client:
        answer = await client.post(path, json=body)
        error = answer.json()["error"]
        assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
        assert text in error["message"]
        assert (await client.post(path, json=HELLO)).status_code == 200


async def test_what_is_not_there_and_what_is_not_taken() -> None:
    async with calling(models=["sim-1", "sim-2"]) as client:
        for path in (CHAT, MESSAGES):
            unknown = await client.post(path, json=said(model="gpt-9"))
            assert (unknown.status_code, unknown.json()["error"]["message"]) == (
                404,
                "there is no model 'gpt-9'; there are: sim-1, sim-2",
            )
        for method, path, status in (("POST", "/v1/embeddings", 404), ("GET", CHAT, 405), ("GET", "/v1/models/x", 404)):
            answer = await client.request(method, path)
            assert (answer.status_code, "message" in answer.json()["error"]) == (status, True)
        broken = await client.post(CHAT, content=b"{")
        assert (broken.status_code, broken.json()["error"]["code"]) == (400, "invalid_json")
        listed = (await client.get("/v1/models")).json()
        assert [each["id"] for each in listed["data"]] == ["sim-1", "sim-2"]
        assert (await client.get("/v1/models/sim-2")).json()["id"] == "sim-2"


async def test_a_key_is_asked_for() -> None:
    async with calling(key="k-1") as client:
        right: list[dict[str, str]] = [{"authorization": "Bearer k-1"}, {"x-api-key": "k-1"}]
        wrong: list[dict[str, str]] = [{}, {"authorization": "Bearer k-2"}, {"x-api-key": "k-2"}]
        for path in (CHAT, MESSAGES):
            assert [(await client.post(path, json=HELLO, headers=each)).status_code for each in right] == [200, 200]
            answers = [await client.post(path, json=HELLO, headers=each) for each in wrong]
            assert [each.status_code for each in answers] == [401, 401, 401]
            assert all("k-2" not in each.text for each in answers)
        assert answers[0].json()["error"]["type"] == "authentication_error"


async def test_limits_are_told_and_kept_to() -> None:
    async with calling(requests_per_minute=2, tokens_per_minute=100_000) as client:
        first = await client.post(CHAT, json=HELLO)
        second = await client.post(MESSAGES, json=HELLO)
        refused = [await client.post(path, json=HELLO) for path in (CHAT, MESSAGES)]
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert int(first.headers["x-ratelimit-remaining-tokens"]) < 100_000
    assert second.headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert second.headers["anthropic-ratelimit-requests-reset"].startswith("2027-01-15T")
    assert [each.status_code for each in refused] == [429, 429]
    assert all(1 <= int(each.headers["retry-after"]) <= 30 for each in refused)
    waits = [int(each.headers["retry-after-ms"]) for each in refused]
    assert [math.ceil(wait / 1000) for wait in waits] == [int(each.headers["retry-after"]) for each in refused]
    assert refused[1].json()["error"]["type"] == "rate_limit_error"


async def test_tokens_are_limited_too() -> None:
    async with calling(tokens_per_minute=10) as client:
        assert [(await client.post(CHAT, json=said(stream=stream))).status_code for stream in (True, False)] == [
            200,
            429,
        ]


async def test_a_stream_takes_as_many_tokens_of_a_limit_as_a_whole_answer() -> None:
    long = {"role": "user", "content": "Tell of frames. " + "A frame is a call that has begun and is open. " * 9}
    async with calling() as client:
        answered = (await client.post(CHAT, json=said(long))).json()["usage"]["completion_tokens"]
    left: list[int] = []
    for stream in (False, True):
        async with calling(tokens_per_minute=240) as client:
            await client.post(CHAT, json=said(long, stream=stream))
            left.append(int((await client.get("/v1/models")).headers["x-ratelimit-remaining-tokens"]))
    assert min(left) > 0
    assert abs(left[0] - left[1]) < answered / 2  # four tokens come back each second


async def test_nothing_is_said_of_limits_where_there_are_none() -> None:
    async with calling() as client:
        for path in (CHAT, MESSAGES):
            assert not [name for name in (await client.post(path, json=HELLO)).headers if "ratelimit" in name]


async def test_the_cache_holds_prefixes_that_are_marked() -> None:
    text = {"type": "text", "text": "Frames are calls. " * 400, "cache_control": {"type": "ephemeral"}}
    more = {"type": "text", "text": "What is a frame?", "cache_control": {"type": "ephemeral"}}
    async with calling() as client:

        async def used(**body: Any) -> tuple[int, int, int]:
            usage = (await client.post(MESSAGES, json=said(**body))).json()["usage"]
            return usage["input_tokens"], usage["cache_creation_input_tokens"], usage["cache_read_input_tokens"]

        turns = [{"role": "user", "content": [more]}]
        first, again = await used(system=[text]), await used(system=[text])
        grown = await used(system=[text], messages=turns)
        plain = await used(system=[{"type": "text", "text": text["text"]}])
    assert first[1] > 1000 > first[2] == 0
    assert again == (first[0], 0, first[1])
    assert grown[2] == first[1]
    assert 0 < grown[1] < 50
    assert plain == (sum(first), 0, 0)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GARBAGE\r\n\r\n", b"400"),
        (b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n" + b"x" * 2**16, b""),
        (b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", b"404"),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 2**17 + b"\r\n\r\n", b"431"),
    ],
    ids=["garbage", "half a body", "closing", "a long head"],
)
async def test_what_is_no_request_ends_its_connection_alone(raw: bytes, status: bytes) -> None:
    async with served() as model:
        with anyio.fail_after(10):
            async with await anyio.connect_tcp(model.server.host, model.server.port) as stream:
                await stream.send(raw)
                if status:
                    assert status in (await stream.receive()).split(b"\r\n")[0]
        await model.deserted()
        async with httpx2.AsyncClient(base_url=model.url) as client:
            assert (await client.post(CHAT, json=HELLO)).status_code == 200


async def test_requests_that_come_together_are_answered_in_order() -> None:
    body = json.dumps(HELLO).encode()
    one = b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s"
    both = b"".join(one % (path.encode(), len(body), body) for path in (CHAT, MESSAGES))
    async with served() as model, await anyio.connect_tcp(model.server.host, model.server.port) as stream:
        await stream.send(both)
        came = b""
        with anyio.fail_after(5):
            while b"end_turn" not in came:
                came += await stream.receive()
    assert came.index(b"chatcmpl-00000001") < came.index(b"msg_00000002")


async def test_what_waits_is_closed_and_what_is_answered_may_end() -> None:
    async with served(options={"latency": 0.1}) as model, httpx2.AsyncClient(base_url=model.url) as client:
        answers: list[int] = []

        async def ask() -> None:
            answers.append((await client.post(CHAT, json=HELLO)).status_code)

        idle, used = [await anyio.connect_tcp(model.server.host, model.server.port) for _ in range(2)]
        async with idle, used, anyio.create_task_group() as tasks:
            await used.send(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
            came = b""
            while b"sim-1" not in came:
                came += await used.receive()
            tasks.start_soon(ask)
            with anyio.fail_after(5):
                await model.server.until(
                    lambda: sorted(each.busy for each in model.server.open) == [False, False, True]
                )
                await model.server.drain(5)
                for stream in (idle, used):
                    with pytest.raises(anyio.EndOfStream):
                        await stream.receive()
        assert (answers, model.server.open) == ([200], set())


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_whose_caller_hangs_up_is_given_up(stream: bool) -> None:
    async with served(options={"latency": 60}) as model, httpx2.AsyncClient(base_url=model.url) as client:
        with pytest.raises(httpx2.TimeoutException):
            await client.post(CHAT, json=said(stream=stream), timeout=0.2)
        await client.aclose()
        await model.deserted()
        assert (model.model.answered, model.model.cancelled) == (0, 1)
