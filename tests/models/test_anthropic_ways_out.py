"""Every way out of a call in the Messages protocol, over HTTP and through an organism: what is charged (R18)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from organism.record.facts import CallSettled
from tests.models.anthropic_server import (
    BACKEND,
    HELLO,
    OVER,
    PING,
    answer,
    before_messages,
    echo,
    events,
    failure,
    more,
    started,
    stopped,
    streams,
    words,
)
from tests.models.hostile import END, head, says, unread, whole
from tests.models.ways_out import (
    INPUT,
    NOTHING,
    PROMPT,
    TOLD,
    Case,
    Protocol,
    check,
    failing,
    garbled,
    guessed,
    streamed_call,
    whole_call,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.sockets


TEXT: Final = json.dumps(answer()).encode()
MESSAGES: Final = Protocol(before_messages, BACKEND, echo)


def report(**said: Any) -> Case:
    return Case(says(whole(answer(usage=said))), guessed("Hello"), "", text="Hello")


WHOLE: Final[Mapping[str, Case]] = {
    "bills, then cuts the connection": Case(says(cut=True), guessed(), "broke"),
    "cuts in the body": Case(says(whole(answer())[:-20], cut=True), garbled(TEXT[:-20]), "broke"),
    "bills and stalls": Case(says(hang=True), guessed(), "no answer within", stalls=True),
    "stalls in the body": Case(says(whole(answer())[:-20], hang=True), garbled(TEXT[:-20]), "no answer within", stalls=True),
    "sends a head and stalls": Case(says(head(content_length=99), hang=True), guessed(), "no answer", stalls=True),
    "answers twice at once": Case(says(whole(answer()) * 2), TOLD, "", text="Hello"),
    "closes before it has read": Case(unread, guessed(), "broke"),
    "says nothing of usage": Case(says(whole(answer(usage=None))), guessed("Hello"), "", text="Hello"),
    "thinks, and says nothing of usage": Case(says(whole(answer({"type": "thinking", "thinking": "Hm, hm. "}, {"type": "text", "text": "Hello"}, usage=None))), guessed("Hm, hm. Hello"), "", text="Hello"),
    "reports an empty object": report(),
    "reports negative input": report(input_tokens=-9, output_tokens=2),
    "reports negative input beside a cache": report(input_tokens=-9, cache_read_input_tokens=90, output_tokens=2),
    "reports texts": report(input_tokens="9", output_tokens="2"),
    "reports one half": report(input_tokens=9),
    "reports a wrong detail": report(input_tokens=9, output_tokens=2, cache_creation_input_tokens="lots"),
    "reports more than was held": Case(says(whole(answer(usage={"input_tokens": 900, "output_tokens": 200}))), (900, 200, False), "", text="Hello"),
    "has too many calls": failing(429, "429: slow down", failure("rate_limit_error", "slow down"), retry_after=1),
    "is overloaded": failing(529, "529: Overloaded", failure("overloaded_error", "Overloaded")),
    "is overloaded, and reports usage": failing(529, "529", answer()),
    "refuses the request": failing(400, "400: what?", failure("invalid_request_error", "what?")),
    "finds the prompt too long": failing(400, "send less", failure("invalid_request_error", "prompt is too long: 9 tokens > 8 maximum")),
    "fails, and never says why": Case(says(whole({}, 500)[:-1], hang=True), NOTHING, "500: it said no more"),
    "fails in a body that is cut": Case(says(whole(failure("api_error"), 500)[:-5], cut=True), NOTHING, "500: what it said was cut off"),
    "says 200 to a failure": Case(says(whole(failure("overloaded_error"))), NOTHING, "529: no luck"),
    "sends garbage": Case(says(whole(b"\x00\xff garbage")), garbled(b"\x00\xff garbage"), "not JSON"),
    "sends half of a document": Case(says(whole(b'{"content": [')), garbled(b'{"content": ['), "not JSON"),
    "sends brackets without end": Case(says(whole(b"[" * 100_000)), garbled(b"[" * 100_000), "not JSON"),
    "sends a text": Case(says(whole(b"hello", content_type="text/plain")), guessed("hello"), "no content"),
    "sends an empty body": Case(says(whole(b"")), guessed(), "not JSON"),
    "sends no content": Case(says(head(204)), guessed(), "not JSON"),
    "sends no HTTP": Case(says(b"SSH-2.0-OpenSSH\r\n\r\n", cut=True), guessed(), "broke"),
    "answers with nothing in it": Case(says(whole(answer(content=None))), TOLD, "no content"),
    "sends the caller elsewhere": Case(says(head(307, location="/v1/elsewhere", content_length=0)), TOLD, "", text=PROMPT),
}  # fmt: skip

HALF: Final = (started(), PING, *words("Hel")[:2])
UNENDED: Final = events(*HELLO[:-1])
STREAMS: Final[Mapping[str, Case]] = {
    "dies half way": Case(streams(*HALF, cut=True), guessed("Hel"), "broke"),
    "dies after its last report": Case(says(UNENDED, cut=True), TOLD, "broke"),
    "ends without its last event": Case(says(UNENDED + END), TOLD, "", text="Hello"),
    "ends half way": Case(streams(*HALF), guessed("Hel"), "ended before its answer"),
    "stalls half way": Case(streams(*HALF, hang=True), guessed("Hel"), "no answer within", stalls=True),
    "stalls before its first text": Case(streams(started(), hang=True), guessed(), "no answer within", stalls=True),
    "cuts before its head": Case(says(cut=True), guessed(), "broke"),
    "is overloaded half way": Case(streams(*HALF, failure("overloaded_error", "Overloaded"), hang=True), guessed("Hel"), "529: Overloaded"),
    "is overloaded after its beginning": Case(streams(started(), failure("overloaded_error")), guessed(), "529: no luck"),
    "is overloaded at once": Case(streams(failure("overloaded_error")), NOTHING, "529: no luck"),
    "has too many calls": failing(429, "429"),
    "fails": failing(500, "500"),
    "reports never": Case(streams(HELLO[0], *words("Hello"), {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, OVER), guessed("Hello"), "", text="Hello"),
    "reports negative figures": Case(streams(HELLO[0], *words("Hello"), stopped(output_tokens=-2), OVER), guessed("Hello"), "", text="Hello"),
    "cuts after its end": Case(says(events(*HELLO), cut=True), TOLD, "", text="Hello"),
    "hangs after its end": Case(says(events(*HELLO), hang=True), TOLD, "", text="Hello"),
    "fails after its end": Case(streams(*HELLO, failure("api_error")), TOLD, "", text="Hello"),
    "answers twice": Case(says((events(*HELLO) + END) * 2), TOLD, "", text="Hello"),
    "goes on after its end": Case(streams(*HELLO, *HELLO), TOLD, "", text="Hello"),
    "sends garbage": Case(says(events(*HALF) + b"14\r\nevent: x\ndata: {no\n\n\r\n" + END), guessed("Hel"), "not JSON"),
    "sends a chunk that is none": Case(says(events(*HALF) + b"zz\r\n", hang=True), guessed("Hel"), "broke"),
    "sends what nobody knows": Case(says(events(*HELLO[:3]) + more({"type": "odd"}, *HELLO[3:]) + END), TOLD, "", text="Hello"),
    "answers whole": Case(says(whole(answer())), TOLD, "", text="Hello"),
    "answers whole, and says that it is a stream": Case(says(whole(b"\xef\xbb\xbf\r\n" + TEXT, content_type="text/event-stream")), TOLD, "", text="Hello"),
    "answers whole, and says nothing of usage": Case(says(whole(answer(usage=None))), guessed("Hello"), "", text="Hello"),
    "says 200 to a failure": Case(says(whole(failure("overloaded_error"))), NOTHING, "529: no luck"),
    "sends half of a document": Case(says(whole(TEXT[:-20])), garbled(TEXT[:-20]), "not JSON"),
    "sends a page": Case(says(whole(b"<html>Log in!</html>", content_type="text/html")), garbled(b"<html>Log in!</html>"), "Log in!"),
    "sends an empty body": Case(says(whole(b"")), guessed(), "ended before its answer"),
    "closes before it has read": Case(unread, guessed(), "broke"),
}  # fmt: skip


@pytest.mark.parametrize("case", WHOLE.values(), ids=WHOLE)
@pytest.mark.by_turns
async def test_every_way_out_is_charged(case: Case) -> None:
    await check(case, whole_call, MESSAGES)


@pytest.mark.parametrize("case", STREAMS.values(), ids=STREAMS)
@pytest.mark.by_turns
async def test_every_way_out_of_a_stream_is_charged(case: Case) -> None:
    await check(case, streamed_call, MESSAGES)


async def test_a_failure_before_the_answer_is_an_attempt_with_a_charge_of_its_own() -> None:
    ways = [says(whole(failure("overloaded_error"), 529)), says(whole({}, 429, retry_after_ms=5)), says(cut=True)]
    async with before_messages([*ways, says(whole(answer()))], retries=3) as (organism, _):
        async with organism.thread() as thread:
            done = await thread.complete(PROMPT)
        assert (done.text, done.attempts, done.usage.input_tokens) == ("Hello", 4, INPUT + 9)
        settled = organism.watch.of(CallSettled)
        assert [fact.charge.input_tokens for fact in settled] == [0, 0, INPUT, 9]
