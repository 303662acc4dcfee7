"""Every way out of a call, over HTTP against a server that does what none should: what is charged, and to whom (R18)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest
from attrs import frozen

from organism import Context, ModelError, Reply
from organism.record.facts import CallHeld, CallSettled
from tests.hard.budget_world import Done, Task, code, outcome
from tests.models.hostile import (
    BACKEND,
    DONE,
    END,
    TIMEOUT,
    Way,
    answer,
    echo,
    estimate,
    estimate_of,
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

if TYPE_CHECKING:
    from collections.abc import Mapping


PROMPT: Final = "Say something of some length, please."
INPUT: Final = estimate_of(PROMPT)
"""The estimate of the prompt."""


pytestmark = pytest.mark.real_clocks


def guessed(text: str = "") -> tuple[int, int, bool]:
    """The estimate of the input and of the output that came."""
    return INPUT, estimate(text), True


NOTHING: Final = (0, 0, False)
TOLD: Final = (9, 2, False)
HUGE: Final = 10**9


@frozen
class Case:
    """A way out: what the server does, what is charged, and what the caller gets (a text, or part of an error)."""

    way: Way
    charged: tuple[int, int, bool]
    said: str
    text: str | None = None
    stalls: bool = False


def report(said: object, charged: tuple[int, int, bool]) -> Case:
    return Case(says(whole(answer(usage=said))), charged, "", text="Hello")


def failing(status: int, said: str, body: object = None, **headers: object) -> Case:
    return Case(says(whole({} if body is None else body, status, **headers)), NOTHING, said)


LATE: Final = {"error": {"message": "too late", "code": 503}}

WHOLE: Final[Mapping[str, Case]] = {
    "bills, then cuts the connection": Case(says(cut=True), guessed(), "broke"),
    "sends a head, then cuts": Case(says(head(content_length=99), cut=True), guessed(), "broke"),
    "cuts in the body": Case(says(whole(answer())[:-20], cut=True), guessed(), "broke"),
    "bills and stalls": Case(says(hang=True), guessed(), "no answer within", stalls=True),
    "sends a head and stalls": Case(says(head(content_length=99), hang=True), guessed(), "no answer", stalls=True),
    "sends its head slowly": Case(says(*[bytes([byte]) for byte in whole(answer())], pause=0.0002), TOLD, "", text="Hello"),
    "sends its head too slowly": Case(says(*[b"H"] * 99, pause=0.02), guessed(), "no answer within", stalls=True),
    "answers twice at once": Case(says(whole(answer()) * 2), TOLD, "", text="Hello"),
    "answers twice in one body": Case(says(whole(whole(answer())[-60:] * 2)), guessed(), "no JSON"),
    "closes before it has read": Case(unread, guessed(), "broke"),
    "says nothing of usage": Case(says(whole({k: v for k, v in answer().items() if k != "usage"})), guessed("Hello"), "", text="Hello"),
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
    "sends garbage": Case(says(whole(b"\x00\xff garbage")), guessed(), "no JSON"),
    "sends half of a document": Case(says(whole(b'{"choices": [')), guessed(), "no JSON"),
    "sends brackets without end": Case(says(whole(b"[" * 100_000)), guessed(), "no JSON"),
    "sends a number of 5000 digits": Case(says(whole(b'{"usage": ' + b"9" * 5000 + b"}")), guessed(), "no JSON"),
    "sends half a character": Case(says(whole(answer("half \ud83d"))), TOLD, "", text="half \ufffd"),
    "sends no HTTP": Case(says(b"SSH-2.0-OpenSSH\r\n\r\n", cut=True), guessed(), "broke"),
    "sends an empty body": Case(says(whole(b"")), guessed(), "no "),
    "sends no content": Case(says(head(204)), guessed(), "no "),
    "sends a shorter body than it says": Case(says(whole(answer(), content_length=9999), cut=True), guessed(), "broke"),
    "sends a longer body than it says": Case(says(whole(answer(), content_length=20)), guessed(), "no JSON"),
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
    "sends garbage": Case(says(HALF + b"9\r\ndata: {\n\n\r\n" + END), guessed("Hel"), "no JSON"),
    "sends a chunk that is none": Case(says(HALF + b"zz\r\n", hang=True), guessed("Hel"), "broke"),
    "sends an empty body": Case(says(whole(b"")), guessed(), "ended before its answer"),
    "is no stream": Case(says(whole(answer())), guessed(), "ended before its answer"),
    "closes before it has read": Case(unread, guessed(), "broke"),
}  # fmt: skip


async def whole_call(ctx: Context) -> str:
    return (await ctx.complete(PROMPT)).text


async def streamed_call(ctx: Context) -> str:
    async with ctx.stream(PROMPT) as stream:
        async for _ in stream:
            pass
    return stream.completion.text


def figures(organism: Any) -> list[tuple[int, int, bool]]:
    """What was charged to the organism, the handler, the model and the backend."""
    of = organism.usage
    (backend,) = [name for name in of("backend") if name]
    assert backend.startswith(f"{BACKEND}@127.0.0.1:")
    sums = [of(), of("handler")["worker"], of("model")["default"], of("backend")[backend]]
    assert {usage.cost_usd * 10**6 for usage in sums} == {sums[0].input_tokens + 2 * sums[0].output_tokens}
    return [(usage.input_tokens, usage.output_tokens, usage.estimated) for usage in sums]


async def check(case: Case, call: Any) -> None:
    heard: list[str] = []

    async def worker(task: Task, ctx: Context) -> Reply[Done]:
        try:
            text = await call(ctx)
        except ModelError as error:
            heard.append(str(error))
            text = "nothing"
        assert ctx.budget.tokens.held == 0
        assert organism.statistics().held == 0
        return Reply(Done(ascii(text)))

    # Only one that is to stall is short of time: this machine may be busy.
    backend = {"timeout": TIMEOUT if case.stalls else 30}
    async with facing([case.way, echo], backend=backend, handlers={"worker": code(worker)}) as (organism, _):
        with anyio.fail_after(20):
            result = await outcome(organism)
        assert (result.outcome, result.usage.model_calls) == ("completed", 1), result.error
        told = (result.usage.input_tokens, result.usage.output_tokens, result.usage.estimated)
        assert [told, *figures(organism)] == [case.charged] * 5
        assert len(organism.watch.of(CallHeld)) == len(organism.watch.of(CallSettled)) == 1
        if case.text is None:
            assert result.reply == Done("'nothing'")
            (line,) = heard
            assert case.said in line
            assert line.startswith("model 'default' failed: ")
            assert f"default via {BACKEND}@127.0.0.1:" in line
        else:
            assert (result.reply, heard) == (Done(ascii(case.text)), [])
        # Whatever it was, the next call gets its own answer.
        async with organism.thread() as thread:
            assert (await thread.complete("And you?", max_output_tokens=5)).text == "And you?"


@pytest.mark.parametrize("case", WHOLE.values(), ids=WHOLE)
async def test_every_way_out_is_charged(case: Case) -> None:
    await check(case, whole_call)


@pytest.mark.parametrize("case", STREAMS.values(), ids=STREAMS)
async def test_every_way_out_of_a_stream_is_charged(case: Case) -> None:
    await check(case, streamed_call)
