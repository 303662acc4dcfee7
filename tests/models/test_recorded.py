"""A recording answers as the model did: the same texts, pieces, failures, usage and costs, and nothing that nobody recorded."""

from __future__ import annotations

import io
import json
import logging
import os
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from organism import ConfigurationError, Context, ModelError, Organism, Reply, config
from organism.cli.options import Over
from organism.cli.streams import Streams
from organism.models.contract import RawUsage, Request
from organism.models.recordings.recorder import Recording
from organism.models.recordings.takes import HEAD
from organism.settings import BackendSettings
from organism.testing import Says, Scenario, ScriptedModel, running
from tests.models.check_worlds import chat_way, messages_way
from tests.models.hostile import facing
from tests.models.recording_world import (
    PRICE,
    Done,
    Task,
    content,
    failing,
    figures,
    kept,
    lines,
    put,
    read,
    recording,
    replaying,
    scripted,
    vanish,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = "sk-" + "Ab1" * 12


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    return tmp_path / "answers.jsonl"


async def test_an_answer_is_given_again_with_its_usage_and_its_cost(tape: Path) -> None:
    usage = RawUsage(input_tokens=900, output_tokens=7, cache_read_tokens=500, reasoning_tokens=3)
    model = scripted(Says(text="fine", calls=(("look", {"at": "it"}),), usage=usage))
    async with recording(tape, model) as organism, organism.thread() as thread:
        first = await thread.complete("how are you?", temperature=0, seed=7)
    async with replaying(tape) as organism, organism.thread() as thread:
        again = await thread.complete("how are you?", temperature=0.0, seed=7)
    assert figures(again) == figures(first)
    assert again.cost_usd == Decimal("0.000914")
    assert again.usage.cache_read_tokens == 500
    assert len(model.requests) == 1


async def test_a_whole_organism_is_repeated_without_its_model(tape: Path, tmp_path: Path) -> None:
    def document(**models: Any) -> dict[str, Any]:
        agent = {"accepts": Task, "replies": Done}
        backend = {"provider": "simulated", "model": "sim-1", "price": PRICE, **models}
        return {
            "models": {"default": {"backends": [backend]}},
            "budget": {"tokens": 60_000, "cost_usd": "1"},
            "handlers": {
                "boss": {"agent": agent, "description": "Has things done.", "peers": ["writer", "critic"]},
                "writer": {"agent": agent, "description": "Writes texts.", "peers": ["critic"]},
                "critic": {"agent": agent, "description": "Judges texts."},
            },
        }

    async def run(**more: Any) -> Any:
        async with running(**more) as organism:
            handles = [await organism.send("boss", Task(f"Write of {what}.")) for what in ("bees", "trees", "seas")]
            return [await handle.result() for handle in handles]

    first = await run(**document(), record=str(tape))
    again = await run(**document(provider="recorded", options={"file": str(tape)}))
    assert [result.outcome for result in first] == ["completed"] * 3
    assert [result.reply for result in again] == [result.reply for result in first]
    for once, twice in zip(first, again, strict=True):
        assert twice.usage.model_calls == once.usage.model_calls > 3
        assert (twice.usage.input_tokens, twice.usage.output_tokens) == (
            once.usage.input_tokens,
            once.usage.output_tokens,
        )
        assert twice.usage.cost_usd == once.usage.cost_usd > 0


async def test_a_stream_streams_again(tape: Path) -> None:
    async with recording(tape, scripted(Says(text="one two three"))) as organism, organism.thread() as thread:
        async with thread.stream("count") as stream:
            pieces = await read(stream)
        first = stream.completion
    async with replaying(tape) as organism, organism.thread() as thread:
        async with thread.stream("count") as stream:
            assert await read(stream) == pieces == ["one ", "two ", "three"]
        assert figures(stream.completion) == figures(first)
        whole = await thread.complete("count")
    assert (whole.text, whole.usage) == (first.text, first.usage)


async def test_an_answer_that_came_whole_may_be_streamed(tape: Path) -> None:
    async with recording(tape, scripted(Says(text="one two"))) as organism, organism.thread() as thread:
        first = await thread.complete("count")
    async with replaying(tape) as organism, organism.thread() as thread:
        async with thread.stream("count") as stream:
            assert await read(stream) == ["one two"]
        assert figures(stream.completion) == figures(first)


async def test_who_listens_only_to_the_repetition_hears_what_an_agent_replies(tape: Path) -> None:
    """Its reply is the arguments of a call, and nobody asked for a stream when it was recorded."""
    handlers = {"teller": {"agent": {"accepts": Task, "replies": Done}, "description": "Tells."}}
    model = scripted(Says(calls=(("reply", {"text": "It is done."}),)))
    async with recording(tape, model, handlers=handlers) as organism:
        first = await (await organism.send("teller", Task("Tell."))).result()
    heard: list[str] = []
    async with replaying(tape, handlers=handlers) as organism:
        organism.overhear(lambda delta: heard.append(delta.text))
        again = await (await organism.send("teller", Task("Tell."))).result()
    assert again.reply == first.reply == Done("It is done.")
    assert "".join(heard) == "It is done."


async def test_a_stream_that_was_left_goes_as_far_as_it_was_read(tape: Path) -> None:
    async def leave(organism: Any) -> Any:
        async with organism.thread() as thread:
            async with thread.stream("count") as stream:
                async for _ in stream:
                    break
            return stream.completion

    async with recording(tape, scripted(Says(text="one two three"))) as organism:
        first = await leave(organism)
    async with replaying(tape) as organism:
        again = await leave(organism)
        assert (again.text, again.finish_reason, again.usage) == ("one ", "left", first.usage)
        async with organism.thread() as thread, thread.stream("count") as stream:
            with pytest.raises(ModelError, match="left here"):
                await read(stream)
        async with organism.thread() as thread:
            with pytest.raises(ModelError, match="a stream of this request whose reader left"):
                await thread.complete("count")


async def test_what_was_reported_of_a_stream_by_then_is_known_by_then(tape: Path) -> None:
    async def leave(**models: Any) -> Any:
        backend = {"provider": "simulated", "model": "sim-1", "price": PRICE, **models}
        async with running(models={"default": {"backends": [backend]}}, record=str(tape)) as organism:
            async with organism.thread() as thread:
                async with thread.stream("What is an organism?") as stream:
                    await anext(aiter(stream))
                return stream.completion.usage

    first = await leave()
    assert not first.estimated
    assert await leave(provider="recorded", options={"file": str(tape)}) == first


async def test_failures_are_repeated_with_their_retries(tape: Path) -> None:
    model = scripted(failing("rate_limited", retry_after=0.5), failing("broken", "gibberish"), Says(text="fine"))
    async with recording(tape, model) as organism, organism.thread() as thread:
        first = await thread.complete("hello")
    async with replaying(tape) as organism, organism.thread() as thread:
        again = await thread.complete("hello")
    assert first.attempts == 3
    assert first.usage.estimated
    assert figures(again) == figures(first)


async def test_an_attempt_that_took_too_long_fails_again_and_at_once(tape: Path) -> None:
    def half_of_it(request: Request) -> Says:
        if len(model.requests) > 1:
            return Says(text="fine")
        request.came("half of what it was to be")
        return Says(text="late", seconds=100)

    model = ScriptedModel(half_of_it)
    async with recording(tape, model, backend={"timeout": 5}) as organism, organism.thread() as thread:
        first = await thread.complete("hello")
    assert first.usage.output_tokens > 10
    began = anyio.current_time()
    async with replaying(tape) as organism, organism.thread() as thread:
        again = await thread.complete("hello")
    assert anyio.current_time() - began < 1
    assert figures(again) == figures(first)
    assert [line.get("error", {}).get("kind") for line in lines(tape)] == ["timeout", None]


async def test_nothing_waits_for_the_rate_of_a_provider_that_is_not_asked(tape: Path) -> None:
    rate = {"requests_per_minute": 1, "tokens_per_minute": 100}
    times: list[float] = []
    for running_on in (recording(tape, scripted(Says(text="fine")), backend=rate), replaying(tape, backend=rate)):
        async with running_on as organism, organism.thread() as thread:
            began = anyio.current_time()
            for text in ("one", "two"):
                await thread.complete(text)
            times.append(anyio.current_time() - began)
    assert times[0] > 30
    assert times[1] < 1


async def test_a_stream_that_broke_breaks_again_behind_the_same_piece(tape: Path) -> None:
    async def listen(organism: Any) -> tuple[list[str], Any, str]:
        heard: list[str] = []
        async with organism.thread() as thread, thread.stream("count") as stream:
            with pytest.raises(ModelError) as caught:
                async for piece in stream:
                    heard.append(piece)  # noqa: PERF401 - what came before it broke
        return heard, stream.completion.usage, caught.value.causes[0].partition(": attempt")[2]

    broken = Says(text="one two", error=failing("cut", "it broke", received="one two").error)
    async with recording(tape, scripted(broken)) as organism:
        first = await listen(organism)
    async with replaying(tape) as organism:
        assert await listen(organism) == first
    assert first[0] == ["one ", "two"]


async def test_the_same_question_is_answered_in_order_and_then_by_the_last_answer(tape: Path) -> None:
    model = scripted(Says(text="one"), Says(text="two"), failing("rejected"))
    async with recording(tape, model) as organism, organism.thread() as thread:
        for _ in range(2):
            await thread.complete("next?")
        with pytest.raises(ModelError):
            await thread.complete("next?")
    async with replaying(tape) as organism, organism.thread() as thread:
        assert [(await thread.complete("next?")).text for _ in range(2)] == ["one", "two"]
        with pytest.raises(ModelError):
            await thread.complete("next?")
        assert (await thread.complete("next?")).text == "two"


async def test_answers_come_in_the_order_of_the_questions_whoever_was_faster(tape: Path) -> None:
    async with recording(tape, scripted(Says(text="slow", seconds=9), Says(text="fast"))) as organism:
        async with organism.thread() as thread, anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(thread.complete, "next?")
                await anyio.sleep(1)
    async with replaying(tape) as organism, organism.thread() as thread:
        assert [(await thread.complete("next?")).text for _ in range(2)] == ["slow", "fast"]


async def test_two_runs_in_one_file_are_played_one_after_the_other(tape: Path) -> None:
    for text in ("monday", "tuesday"):
        async with recording(tape, scripted(Says(text=text))) as organism, organism.thread() as thread:
            await thread.complete("which day?")
    async with replaying(tape) as organism, organism.thread() as thread:
        assert [(await thread.complete("which day?")).text for _ in range(2)] == ["monday", "tuesday"]


async def test_backends_of_one_model_share_what_is_left_of_the_file(tape: Path) -> None:
    bad, good = scripted(failing("server")), scripted(Says(text="fine"))
    backends = [{"provider": each.backend, "model": "m-1", "price": PRICE} for each in (bad, good)]
    again = [{"provider": "recorded", "model": "m-1", "options": {"file": str(tape)}}] * 2
    found: list[Any] = []
    for models, record in ((backends, str(tape)), (again, None)):
        alias = {"default": {"backoff": [0, 0], "backends": models}}
        async with running(models=alias, record=record) as organism, organism.thread() as thread:
            found.append(await thread.complete("hello"))
    assert found[0].attempts == 2
    assert figures(found[1]) == figures(found[0])


async def test_what_was_not_recorded_is_refused_in_one_line_that_says_what_differs(tape: Path) -> None:
    model = scripted(Says(text="fine"))
    async with recording(tape, model) as organism, organism.thread() as thread:
        await thread.complete("What is a fork, and what is it for?", temperature=0)
        await thread.complete([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}])
    behind = [{"provider": model.backend, "price": PRICE}]
    async with replaying(tape, behind=behind) as organism, organism.thread() as thread:
        with pytest.raises(ModelError) as caught:
            await thread.complete("What is a fork, and what was it for?", temperature=0.5)
    (cause,) = caught.value.causes
    assert cause.startswith("default via recorded/m-1 (")
    assert str(tape) in cause
    assert "the nearest of 2 differs in messages[0].content: " in cause
    assert "'… fork, and what was it for?' here, '… fork, and what is it for?' there" in cause
    assert "temperature: 0.5 here, 0.0 there" in cause
    assert len(model.requests) == 2  # nobody else was asked


async def test_falling_through_asks_the_next_backend_and_is_no_attempt(tape: Path) -> None:
    model = scripted(Says(text="kept"), Says(text="live", usage=(10, 2)))
    async with recording(tape, model) as organism, organism.thread() as thread:
        await thread.complete("hello")
    how: dict[str, Any] = {
        "backend": {"options": {"on_missing": "fallthrough"}},
        "behind": [{"provider": model.backend, "price": PRICE}],
    }
    async with replaying(tape, **how) as organism, organism.thread() as thread:
        assert (await thread.complete("hello")).text == "kept"
        done = await thread.complete("good bye")
        assert (done.text, done.usage.tokens, done.usage.model_calls) == ("live", 12, 1)
        async with thread.stream("and again") as stream:
            assert await read(stream) == ["live"]
    alone = {"default": {"retries": 0, "backends": [{"provider": "recorded", "model": "m-1", "options": {
        "file": str(tape), "on_missing": "fallthrough"}}, {"provider": model.backend, "model": "m-1", "price": PRICE}]}}  # fmt: skip
    async with running(models=alone) as organism, organism.thread() as thread:
        assert (await thread.complete("good bye")).text == "live"


async def test_nobody_is_said_to_be_asked_who_is_not_there(tape: Path) -> None:
    async with recording(tape, scripted(Says(text="kept"))) as organism, organism.thread() as thread:
        await thread.complete("hello")
    async with (
        replaying(tape, backend={"options": {"on_missing": "fallthrough"}}) as organism,
        organism.thread() as thread,
    ):
        with pytest.raises(ModelError) as caught:
            await thread.complete("good bye")
    (cause,) = caught.value.causes
    assert cause.endswith("has no answer to this request; a backend behind it is asked, where there is one")


async def test_falling_through_is_recorded_where_both_are_said(tape: Path) -> None:
    model = scripted(Says(text="new"))
    behind = [{"provider": model.backend, "price": PRICE}]
    async with recording(tape, scripted(Says(text="old"))) as organism, organism.thread() as thread:
        await thread.complete("one")
    for _ in range(2):
        fall = {"options": {"on_missing": "fallthrough"}}
        async with (
            replaying(tape, backend=fall, behind=behind, record=str(tape)) as organism,
            organism.thread() as thread,
        ):
            assert [(await thread.complete(text)).text for text in ("one", "two")] == ["old", "new"]
    assert len(model.requests) == 1


async def test_a_shorter_wish_is_answered_by_what_fits_into_it(tape: Path) -> None:
    long = Says(text="a long answer", usage=(10, 40), finish_reason="length")
    async with (
        recording(tape, scripted(Says(text="short", usage=(10, 5)), long)) as organism,
        organism.thread() as thread,
    ):
        await thread.complete("say", max_output_tokens=50)
        await thread.complete("tell", max_output_tokens=40)
    async with replaying(tape) as organism, organism.thread() as thread:
        assert (await thread.complete("say", max_output_tokens=5)).text == "short"
        for text, most in (("say", 4), ("tell", 50)):
            with pytest.raises(ModelError, match="differs in max_output_tokens"):
                await thread.complete(text, max_output_tokens=most)


async def test_an_answer_to_the_very_limit_goes_first(tape: Path) -> None:
    model = scripted(Says(text="of 50", usage=(10, 5)), Says(text="of 20", usage=(10, 5)))
    async with recording(tape, model) as organism, organism.thread() as thread:
        for most in (50, 20):
            await thread.complete("say", max_output_tokens=most)
    async with replaying(tape) as organism, organism.thread() as thread:
        assert [(await thread.complete("say", max_output_tokens=most)).text for most in (20, 30)] == ["of 20", "of 50"]


async def test_neither_keys_nor_headers_nor_the_provider_decide_what_fits(tape: Path) -> None:
    async with recording(tape, scripted(Says(text="fine"))) as organism, organism.thread() as thread:
        await thread.complete("hello", extra={"extra_headers": {"X-Key": "hidden"}, "top_p": 0.5})
    async with replaying(tape) as organism, organism.thread() as thread:
        assert (await thread.complete("hello", extra={"top_p": 0.5})).text == "fine"
        with pytest.raises(ModelError, match=r"extra.top_p: 0.6 here, 0.5 there"):
            await thread.complete("hello", extra={"top_p": 0.6})
    assert b"hidden" not in content(tape)


async def test_no_secret_is_written_and_the_answers_are_found_all_the_same(tape: Path) -> None:
    async def talk(organism: Any) -> list[str]:
        async with organism.thread() as thread:
            first = await thread.complete(f"my key is {KEY}")
            history = [
                {"role": "user", "content": f"my key is {KEY}"},
                first.message,
                {"role": "user", "content": "ok?"},
            ]
            return [first.text, (await thread.complete(history)).text]

    model = scripted(Says(text=f"I heard {KEY}"), Says(text="ok"))
    async with recording(tape, model) as organism:
        await talk(organism)
    assert KEY.encode() not in content(tape)
    async with replaying(tape) as organism:
        assert await talk(organism) == ["I heard [secret]", "ok"]


async def test_prices_are_those_of_who_was_recorded(tape: Path) -> None:
    def said(at: str, provider: str) -> str:
        request = {"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": "hello"}]}
        line = {"asked": 1, "at": at, "provider": provider, "max_output_tokens": 50, "request": request}
        usage = {"input_tokens": 1_000_000, "output_tokens": 0}
        return json.dumps(line | {"key": "x", "answer": {"text": "hi", "finish_reason": "stop", "usage": usage}})

    put(tape, HEAD + said("2026-01-01T00:00:00+00:00", "openai").encode() + b"\n")
    backend = {"provider": "recorded", "model": "gpt-4.1-mini", "options": {"file": str(tape)}}
    organism = Organism(models={"default": {"backends": [backend]}}, budget={"cost_usd": "5"})
    seller = organism.settings.models["default"].backends[0].seller
    assert seller is not None
    assert (seller.provider, seller.at.year) == ("openai", 2026)


async def test_a_listed_price_is_found_again(tape: Path) -> None:
    named = {"provider": "simulated", "model": "gpt-4.1-mini"}
    async with (
        running(models={"default": {"backends": [named]}}, record=str(tape)) as organism,
        organism.thread() as thread,
    ):
        free = await thread.complete("hello")
    put(tape, content(tape).replace(b'"provider":"simulated"', b'"provider":"openai"'))
    again = {"provider": "recorded", "model": "gpt-4.1-mini", "options": {"file": str(tape)}}
    async with (
        running(models={"default": {"backends": [again]}}) as organism,
        organism.thread(budget={"cost_usd": 1}) as thread,
    ):
        paid = await thread.complete("hello")
    assert free.cost_usd == 0
    assert paid.usage.input_tokens == free.usage.input_tokens
    assert paid.cost_usd > 0


@pytest.mark.parametrize(
    "anyio_backend", [("trio", {}), ("asyncio", {})], ids=["trio", "asyncio"]
)  # sockets take real time
@pytest.mark.parametrize(("provider", "way"), [("openai", chat_way), ("anthropic", messages_way)])
async def test_real_protocols_are_recorded_and_repeated(provider: str, way: Any, tape: Path) -> None:
    async def talk(organism: Any) -> list[Any]:
        async with organism.thread() as thread:
            said = [await thread.complete("What is a fork?", max_output_tokens=50)]
            async with thread.stream("What is a spoon?", max_output_tokens=50) as stream:
                said.append(await read(stream))
            return [figures(said[0]), said[1], figures(stream.completion)]

    settings = {"provider": provider, "price": {"input": 1, "output": 2}, "api_key_env": None}
    async with facing([way(Scenario.ANSWERS)], backend=settings, record=str(tape)) as (organism, _):
        first = await talk(organism)
    replayed = {"provider": "recorded", "model": "m", "options": {"file": str(tape)}, "overhead": 0}
    async with running(models={"default": {"backends": [replayed]}}) as organism:
        assert await talk(organism) == first
    assert len(first[1]) > 1
    assert "".join(first[1]) == "This is about What is a spoon?"
    assert first[0][6] > 0


# The file, and how it is named


def _yaml(folder: Path, text: str) -> Path:
    path = folder / "organism.yaml"
    path.write_text(text, "utf-8")
    return path


YAML = """organism: demo
record: kept/answers.jsonl
models:
  default:
    backends:
      - {provider: simulated, model: sim-1, price: {input: 1, output: 2}, api_key_env: MY_KEY, options: {seed: 3}}
"""


async def test_one_word_in_the_file_turns_a_recorded_run_into_its_replay(tmp_path: Path) -> None:
    path = _yaml(tmp_path, YAML)
    (tmp_path / "kept").mkdir()
    provider = {"models.default.backends.0.provider": "recorded"}
    found: list[Any] = []
    for over in ({"models.default.backends.0.api_key_env": None}, provider):
        async with Organism.load(path, set=over) as organism, organism.thread() as thread:
            found.append(await thread.complete("What is an organism?"))
    assert figures(found[1]) == figures(found[0])
    assert len(lines(tmp_path / "kept" / "answers.jsonl")) == 1  # what is replayed is not recorded again


def _mistakes(act: Callable[[], Any]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        act()
    return "\n".join(caught.value.mistakes)


def _backend(**options: Any) -> dict[str, Any]:
    return {
        "organism": "demo",
        "models": {"default": {"backends": [{"provider": "recorded", "model": "m", "options": options}]}},
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"file": 3}, "options: file must be the path of a recording, and is 3"),
        ({"file": "a", "on_missing": "eror"}, "options: on_missing is 'eror'; use 'error' or 'fallthrough'"),
        (
            {"file": "a", "on_mising": "error"},
            "options: 'on_mising' is not an option of a recording; did you mean 'on_missing'?",
        ),
    ],
)
def test_wrong_options_are_mistakes_of_the_file(options: dict[str, Any], said: str) -> None:
    assert said in _mistakes(lambda: config.build(_backend(**options)))


async def _start(document: dict[str, Any]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        async with Organism(**{key: value for key, value in document.items() if key != "organism"}):
            raise AssertionError("it started")
    return "\n".join(caught.value.mistakes)


async def test_a_file_that_is_not_there_or_no_recording_keeps_the_organism_from_starting(tmp_path: Path) -> None:
    assert "has no file; say `options: {file: PATH}`, or `record: PATH` at the top" in await _start(_backend())
    assert "there is no recording" in await _start(_backend(file=str(tmp_path / "none.jsonl")))
    (tmp_path / "notes.txt").write_text("my notes\n", "utf-8")
    assert "is not a recording; name a file that `record:` has written" in await _start(
        _backend(file=str(tmp_path / "notes.txt"))
    )
    assert "cannot be read" in await _start(_backend(file=str(tmp_path)))


def test_check_says_the_same_with_its_place(tmp_path: Path, streams: Any) -> None:
    path = _yaml(tmp_path, YAML)
    (tmp_path / "kept").mkdir(exist_ok=True)
    said = _mistakes(lambda: Over(set=("models.default.backends.0.provider=recorded",)).checked(path, streams))
    assert said.startswith(f"{path}:6:9 models.default.backends[0]: there is no recording ")
    assert said.endswith("run once with `record: answers.jsonl` on a model that answers")


@pytest.fixture
def streams() -> Any:
    return Streams(io.StringIO(), io.StringIO(), io.StringIO())


async def test_a_torn_last_line_is_no_damage_and_is_cut_by_the_next_run(tape: Path) -> None:
    async with recording(tape, scripted(Says(text="one"))) as organism, organism.thread() as thread:
        await thread.complete("first")
    whole = content(tape)
    put(tape, whole + whole.splitlines(keepends=True)[-1][:40])
    async with replaying(tape) as organism, organism.thread() as thread:
        assert (await thread.complete("first")).text == "one"
    async with recording(tape, scripted(Says(text="two"))) as organism, organism.thread() as thread:
        await thread.complete("second")
    async with replaying(tape) as organism, organism.thread() as thread:
        assert [(await thread.complete(text)).text for text in ("first", "second")] == ["one", "two"]


@pytest.mark.parametrize("begun", [b"", HEAD[:5], HEAD])
async def test_a_run_that_was_killed_as_it_began_harms_no_other(tape: Path, begun: bytes) -> None:
    put(tape, begun)
    async with recording(tape, scripted(Says(text="one"))) as organism, organism.thread() as thread:
        await thread.complete("first")
    async with replaying(tape) as organism, organism.thread() as thread:
        assert (await thread.complete("first")).text == "one"


async def test_damage_before_the_end_is_told_with_its_line(tape: Path) -> None:
    async with recording(tape, scripted(Says(text="one"))) as organism, organism.thread() as thread:
        await thread.complete("first")
        await thread.complete("second")
    torn = content(tape).splitlines(keepends=True)
    put(tape, torn[0] + torn[1][:30] + b"\n" + torn[2])
    said = await _start(_backend(file=str(tape)))
    assert f"{tape} line 2 is damaged (JSONDecodeError" in said
    assert said.endswith("delete it, or record again")


@pytest.mark.parametrize(
    "line",
    [b'{"key": 5, "answer": {"text": "x", "finish_reason": "stop", "tool_calls": [{"\\ufeff\\n\\u001b[2J": 1}]}',
     b'{"error": {"kind": "broken", "text": "x", "retry_after": "\\u2028' + b"x" * 5_000 + b'"}',
     b'{"asked": 1e999, "answer": {"text": "x", "finish_reason": "stop"}', b"[" * 100_000, b"9" * 5_000, b"\xff"],
    ids=range(6),
)  # fmt: skip
async def test_damage_is_told_in_one_line_that_can_be_printed(tape: Path, line: bytes) -> None:
    beside = b', "key": "k", "request": {"model": "m"}, "max_output_tokens": 5, "asked": 1}'
    put(tape, HEAD + (line + beside.replace(b', "asked": 1', b"" if b"asked" in line else b', "asked": 1')) + b"\n")
    said = await _start(_backend(file=str(tape)))
    assert f"{tape} line 2 is damaged (" in said
    assert said.isprintable()
    assert len(said) < 1_000


async def test_a_file_that_cannot_be_written_is_told_before_anything_is_paid(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("my notes\n", "utf-8")
    organism = Organism(record=str(tmp_path / "notes.txt"))
    with pytest.raises(ConfigurationError, match="exists and is not a recording; name another file"):
        await organism.start()
    assert (tmp_path / "notes.txt").read_text("utf-8") == "my notes\n"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigurationError, match="is not a regular file; name another file"):
        await Organism(record=str(tmp_path / "pipe")).start()
    for path, said in ((tmp_path, "is a folder, not a file"), (tmp_path / "none" / "a.jsonl", "there is no folder ")):
        assert said in _mistakes(partial(config.build, {"organism": "demo", "record": str(path)}))


async def test_a_disk_that_fails_costs_no_call_and_is_said_once(tape: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with recording(tape, scripted(Says(text="fine"))) as organism, organism.thread() as thread:
        await thread.complete("kept")
        await kept(tape, 1)
        vanish(tape)
        with caplog.at_level(logging.ERROR, "organism.models"):
            assert [(await thread.complete("lost")).text for _ in range(3)] == ["fine"] * 3
    (said,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert said.startswith(f"record: {tape} lacks calls from now on: IsADirectoryError")


async def test_a_disk_that_does_not_keep_up_costs_no_call(tape: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = BackendSettings(provider="scripted", model="m-1")
    keeper = Recording(tape, clock=lambda: datetime(2026, 11, 1, tzinfo=UTC), room=0)
    backend = keeper.of(scripted(Says(text="fine")).backend(settings), settings)
    with caplog.at_level(logging.ERROR, "organism.models"):
        request = Request(model="m-1", messages=[{"role": "user", "content": "hello"}], max_output_tokens=5)
        assert [(await backend.complete(request)).text for _ in range(3)] == ["fine"] * 3
    await backend.aclose()
    (said,) = [record.getMessage() for record in caplog.records]
    assert said == f"record: {tape} lacks calls from now on: OSError: the disk does not keep up"


async def test_a_handler_is_answered_from_the_recording_too(tape: Path) -> None:
    async def greet(task: Task, ctx: Context) -> Reply[Done]:
        """Greets."""
        return Reply(Done((await ctx.complete(task.text)).text))

    handlers = {"greet": {"code": greet}}
    async with recording(tape, scripted(Says(text="hi there")), handlers=handlers) as organism:
        first = await organism.ask("greet", Task("hello"), expect=Done)
    async with replaying(tape, handlers=handlers) as organism:
        assert await organism.ask("greet", Task("hello"), expect=Done) == first == Done("hi there")
