"""Every way out of a call, over HTTP against a server that does what none should: what is charged, and to whom (R18)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pytest

from tests.models.hostile import (
    BACKEND,
    DONE,
    END,
    answer,
    echo,
    events,
    facing,
    head,
    more,
    says,
    unread,
    usage,
    whole,
    word,
)
from tests.models.ways_out import (
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


CHAT: Final = Protocol(facing, BACKEND, echo)
HUGE: Final = 10**9
TEXT: Final = json.dumps(answer()).encode()


def report(said: object, charged: tuple[int, int, bool]) -> Case:
    return Case(says(whole(answer(usage=said))), charged, "", text="Hello")


LATE: Final = {"error": {"message": "too late", "code": 503}}

WHOLE: Final[Mapping[str, Case]] = {
    "bills, then cuts the connection": Case(says(cut=True), guessed(), "broke"),
    "sends a head, then cuts": Case(says(head(content_length=99), cut=True), guessed(), "broke"),
    "cuts in the body": Case(says(whole(answer())[:-20], cut=True), garbled(TEXT[:-20]), "broke"),
    "bills and stalls": Case(says(hang=True), guessed(), "no answer within", stalls=True),
    "sends a head and stalls": Case(says(head(content_length=99), hang=True), guessed(), "no answer", stalls=True),
    "stalls in the body": Case(says(whole(answer())[:-20], hang=True), garbled(TEXT[:-20]), "no answer", stalls=True),
    "sends its head slowly": Case(says(*[bytes([byte]) for byte in whole(answer())]), TOLD, "", text="Hello"),
    "sends its head too slowly": Case(says(*[b"H"] * 9, pause=0.1), guessed(), "no answer within", stalls=True),
    "answers twice at once": Case(says(whole(answer()) * 2), TOLD, "", text="Hello"),
    "answers twice in one body": Case(says(whole(TEXT * 2)), garbled(TEXT * 2), "not JSON"),
    "closes before it has read": Case(unread, guessed(), "broke"),
    "says nothing of usage": Case(says(whole({k: v for k, v in answer().items() if k != "usage"})), guessed("Hello"), "", text="Hello"),
    "thinks aloud, and says nothing of usage": Case(says(whole({"choices": [{"message": {"content": "Hello", "reasoning_content": "Hm, hm. "}, "finish_reason": "stop"}]})), guessed("Hm, hm. Hello"), "", text="Hello"),
    "reports null": report(None, guessed("Hello")),
    "reports a text": report("many", guessed("Hello")),
    "reports a list": report([9, 2], guessed("Hello")),
    "reports an empty object": report({}, guessed("Hello")),
    "reports negative input": report({"prompt_tokens": -9, "completion_tokens": 2}, guessed("Hello")),
    "reports negative output": report({"prompt_tokens": 9, "completion_tokens": -2}, guessed("Hello")),
    "reports texts": report({"prompt_tokens": "9", "completion_tokens": "2"}, guessed("Hello")),
    "reports floats": report({"prompt_tokens": 9.0, "completion_tokens": 2.0}, guessed("Hello")),
    "reports no number": report({"prompt_tokens": float("nan"), "completion_tokens": 2}, guessed("Hello")),
    "reports infinity": report({"prompt_tokens": float("inf"), "completion_tokens": 2}, guessed("Hello")),
    "reports true": report({"prompt_tokens": True, "completion_tokens": 2}, guessed("Hello")),
    "reports more than any call uses": report({"prompt_tokens": HUGE + 1, "completion_tokens": 2}, guessed("Hello")),
    "reports the most that is believed": report({"prompt_tokens": HUGE, "completion_tokens": 2}, (HUGE, 2, False)),
    "reports one half": report({"prompt_tokens": 9}, guessed("Hello")),
    "reports the other half": report({"completion_tokens": 2}, guessed("Hello")),
    "reports a wrong detail": report({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": -1}}, guessed("Hello")),
    "reports far more than was held": report({"prompt_tokens": 900, "completion_tokens": 200}, (900, 200, False)),
    "reports nothing at all": report({"prompt_tokens": 0, "completion_tokens": 0}, (0, 0, False)),
    "has too many calls": failing(429, "429"),
    "has too many calls and says until when": failing(429, "429", retry_after=1),
    "refuses the request": failing(400, "400"),
    "refuses the key": failing(401, "the key was refused"),
    "knows no such model": failing(404, "404: no such model", {"error": {"message": "no such model"}}),
    "finds the prompt too long": failing(413, "413"),
    "fails": failing(500, "500"),
    "is overloaded, and reports usage": failing(503, "503", answer()),
    "fails in a body that is cut": Case(says(whole({"error": {"message": "oops"}}, 500)[:-5], cut=True), NOTHING, "500"),
    "refuses in a body that is cut": Case(says(whole({"error": {"message": "oops"}}, 429)[:-5], cut=True), NOTHING, "429"),
    "fails, and never says why": Case(says(whole({}, 500)[:-1], hang=True), NOTHING, "500: it said no more"),
    "says 200 to a failure": Case(says(whole(LATE)), NOTHING, "503: "),
    "sends garbage": Case(says(whole(b"\x00\xff garbage")), garbled(b"\x00\xff garbage"), "not JSON"),
    "sends half of a document": Case(says(whole(b'{"choices": [')), garbled(b'{"choices": ['), "not JSON"),
    "sends brackets without end": Case(says(whole(b"[" * 100_000)), garbled(b"[" * 100_000), "not JSON"),
    "sends a number of 5000 digits": Case(says(whole(b'{"usage": ' + b"9" * 5000 + b"}")), garbled(b"9" * 5000), "not JSON"),
    "sends half a character": Case(says(whole(answer("half \ud83d"))), TOLD, "", text="half \ufffd"),
    "sends no HTTP": Case(says(b"SSH-2.0-OpenSSH\r\n\r\n", cut=True), guessed(), "broke"),
    "sends an empty body": Case(says(whole(b"")), guessed(), "not "),
    "sends no content": Case(says(head(204)), guessed(), "not "),
    "sends a shorter body than it says": Case(says(whole(answer(), content_length=9999), cut=True), garbled(TEXT), "broke"),
    "sends a longer body than it says": Case(says(whole(answer(), content_length=20)), garbled(TEXT[:20]), "not JSON"),
    "sends a length that is none": Case(says(whole(answer(), content_length="many")), guessed(), "broke"),
    "sends what cannot be unpacked": Case(says(whole(answer(), content_encoding="gzip")), guessed(), "broke"),
    "answers with nothing in it": Case(says(whole(answer(choices=[]))), TOLD, "no choices"),
    "sends the caller elsewhere": Case(says(head(307, location="/v1/elsewhere", content_length=0)), TOLD, "", text=PROMPT),
}  # fmt: skip


HALF: Final = events(word("Hel"))
ALL: Final = events(word("Hel"), word("lo"), word("", "stop"))
STREAMS: Final[Mapping[str, Case]] = {
    "dies half way": Case(says(HALF, cut=True), guessed("Hel"), "broke"),
    "dies half way, with usage in the last chunk": Case(says(events(word("Hel", usage={"prompt_tokens": 9, "completion_tokens": 1})), cut=True), (9, 1, False), "broke"),
    "ends half way": Case(says(HALF + more(DONE) + END), guessed("Hel"), "ended before its answer"),
    "stalls half way": Case(says(HALF, hang=True), guessed("Hel"), "no answer within", stalls=True),
    "stalls half way, with usage": Case(says(events(word("Hel", usage={"prompt_tokens": 9, "completion_tokens": 1})), hang=True), (9, 1, False), "no answer within", stalls=True),
    "stalls before its first text": Case(says(events(), hang=True), guessed(), "no answer within", stalls=True),
    "cuts before its head": Case(says(cut=True), guessed(), "broke"),
    "fails half way": Case(says(HALF + more(LATE), hang=True), guessed("Hel"), "too late"),
    "fails at once": Case(says(events(LATE) + END), NOTHING, "too late"),
    "has too many calls": failing(429, "429"),
    "fails": failing(500, "500"),
    "is overloaded, and reports usage": failing(503, "503", answer()),
    "sends a character in halves": Case(says(events(word("\ud83d"), word("\ude00 \ud83d"), word("\ud83d", "stop")) + more(usage(), DONE) + END), TOLD, "", text="\U0001f600 \ufffd\ufffd"),
    "reports in a last chunk": Case(says(ALL + more(usage(), DONE) + END), TOLD, "", text="Hello"),
    "reports in a last chunk, and cuts": Case(says(ALL + more(usage()), cut=True), TOLD, "broke"),
    "reports after its end": Case(says(ALL + more(DONE, usage()) + END), TOLD, "", text="Hello"),
    "reports after its end, and later": Case(says(ALL + more(DONE), more(usage()) + END, pause=0.001), TOLD, "", text="Hello"),
    "reports garbage after its end": Case(says(ALL + more(usage(), DONE, usage(a=1)) + END), TOLD, "", text="Hello"),
    "cuts after its end": Case(says(ALL + more(usage(), DONE), cut=True), TOLD, "", text="Hello"),
    "hangs after its end": Case(says(ALL + more(usage(), DONE), hang=True), TOLD, "", text="Hello"),
    "reports never": Case(says(ALL + more(DONE) + END), guessed("Hello"), "", text="Hello"),
    "reports a text": Case(says(ALL + more({"choices": [], "usage": "many"}, DONE) + END), guessed("Hello"), "", text="Hello"),
    "reports negative figures": Case(says(ALL + more(usage(prompt_tokens=-1, completion_tokens=2), DONE) + END), guessed("Hello"), "", text="Hello"),
    "reports one half": Case(says(ALL + more(usage(prompt_tokens=9), DONE) + END), guessed("Hello"), "", text="Hello"),
    "answers twice": Case(says((ALL + more(usage(), DONE) + END) * 2), TOLD, "", text="Hello"),
    "ends twice": Case(says(ALL + more(usage(), DONE, DONE) + END), TOLD, "", text="Hello"),
    "sends garbage": Case(says(HALF + b"9\r\ndata: {\n\n\r\n" + END), guessed("Hel"), "not JSON"),
    "sends a chunk that is none": Case(says(HALF + b"zz\r\n", hang=True), guessed("Hel"), "broke"),
    "sends an empty body": Case(says(whole(b"")), guessed(), "ended before its answer"),
    "thinks aloud, and reports never": Case(says(events({"choices": [{"delta": {"reasoning_content": "Hm, hm. "}}]}) + more(word("Hello", "stop"), DONE) + END), guessed("Hm, hm. Hello"), "", text="Hello"),
    "answers whole": Case(says(whole(answer())), TOLD, "", text="Hello"),
    "answers whole, and says that it is a stream": Case(says(whole(b"\xef\xbb\xbf\r\n" + TEXT, content_type="text/event-stream")), TOLD, "", text="Hello"),
    "answers whole, byte by byte": Case(says(*[bytes([byte]) for byte in whole(answer())]), TOLD, "", text="Hello"),
    "answers whole, and says nothing of usage": Case(says(whole(answer(usage=None))), guessed("Hello"), "", text="Hello"),
    "answers whole, and more than was held": Case(says(whole(answer(usage={"prompt_tokens": 900, "completion_tokens": 200}))), (900, 200, False), "", text="Hello"),
    "answers whole, with nothing in it": Case(says(whole(answer(choices=[]))), TOLD, "no choices"),
    "says 200 to a failure": Case(says(whole(LATE)), NOTHING, "503: "),
    "says 200 to a failure without a status": Case(says(whole({"error": {"message": "out of memory"}})), guessed(), "out of memory"),
    "sends half of a document": Case(says(whole(TEXT[:-20])), garbled(TEXT[:-20]), "not JSON"),
    "sends a page": Case(says(whole(b"<html>Log in!</html>", content_type="text/html")), garbled(b"<html>Log in!</html>"), "Log in!"),
    "cuts in the body of an answer that is whole": Case(says(whole(answer())[:-20], cut=True), garbled(TEXT[:-20]), "broke"),
    "stalls in the body of an answer that is whole": Case(says(whole(answer())[:-20], hang=True), garbled(TEXT[:-20]), "no answer", stalls=True),
    "is no stream": Case(says(whole(b"hello", content_type="text/plain")), guessed(), "ended before its answer"),
    "closes before it has read": Case(unread, guessed(), "broke"),
}  # fmt: skip


@pytest.mark.parametrize("case", WHOLE.values(), ids=WHOLE)
@pytest.mark.by_turns
async def test_every_way_out_is_charged(case: Case) -> None:
    await check(case, whole_call, CHAT)


@pytest.mark.parametrize("case", STREAMS.values(), ids=STREAMS)
async def test_every_way_out_of_a_stream_is_charged(case: Case) -> None:
    await check(case, streamed_call, CHAT)
