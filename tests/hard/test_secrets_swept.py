"""Secrets planted wherever one may put them, everything made to fail that can, and then everything searched."""

from __future__ import annotations

import io
import json
import logging
import re
import threading
import traceback
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import pytest

import organism as package
from organism import Context, HandlerFailedError, Organism, Reply
from organism.hooks import Abort, CallEvent, MessageEvent, Pause
from organism.hooks import Go as GoOn
from organism.journal.secrets import Marked
from organism.models.contract import BackendError, BackendFactory, Request, Response
from organism.testing import Says, ScriptedModel, running
from organism.works.redaction import Redaction
from tests.hard.pump_world import Go, Said, code

if TYPE_CHECKING:
    from collections.abc import Generator

ENV: Final = "zq9-env-Key/With+Odd=Parts-0123456789"
FILED: Final = "zq9-file-key-ABCDEF-0123456789"
TOKEN: Final = "zq9-header-token-0123456789"  # noqa: S105 - planted
BEARER: Final = "zq9-bearer-0123456789-abcdef"
PLAIN: Final = "zq9-header-of-another-name-77"
QUERY: Final = "zq9-query-signature-0123456789"
OWN: Final = "zq9-key-of-a-provider-of-ones-own-42"
LOOKS: Final = "sk-proj-zq9" + "aB3dE5fG7h" * 3
MARKED: Final = 'zq9 "marked" & <kept> by a hook'
CALL: Final = "zq9-key-of-one-call-0123456789"
ALL: Final = (ENV, FILED, TOKEN, BEARER, PLAIN, QUERY, OWN, LOOKS, MARKED, CALL)
TRACE: Final = "zq9"
"""Stands in each of them, and nowhere else: whatever way one of them is written, this is found."""


TROUBLES: Final = ("nothing", "400", "401", "429", "500", "garbage", "stream", "broken")
TASKS: Final = (
    *(f"{provider}-{kind}" for provider in ("openai", "anthropic", "own") for kind in TROUBLES),
    "well", "call's key", "crash", "group", "refused answer", "abort", "pause", "odd hook",
)  # fmt: skip


pytestmark = pytest.mark.real_clocks


class Gossip(BaseHTTPRequestHandler):
    """A server that tells all that it was sent: in refusals, in what is no JSON, and in streams that break."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        heard = f"you sent {dict(self.headers)} to {self.path}"
        for status in (400, 401, 429, 500):
            if f"answer {status}" in body:
                return self.answer(status, json.dumps({"error": {"message": heard, "type": "x", "code": heard}}))
        if "answer garbage" in body:
            return self.answer(200, f"{{ {heard}")
        if '"stream":true' in body.replace(" ", ""):
            return self.answer(200, f"data: {json.dumps({'error': {'message': heard}})}\n\n", "text/event-stream")
        usage = {"prompt_tokens": 5, "completion_tokens": 2, "input_tokens": 5, "output_tokens": 2}
        choice = {"message": {"role": "assistant", "content": "well"}, "finish_reason": "stop"}
        content = [{"type": "text", "text": "well"}]
        said = {"choices": [choice], "content": content, "stop_reason": "end_turn", "usage": usage, "model": "m"}
        return self.answer(200, json.dumps(said))

    def answer(self, status: int, text: str, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("set-cookie", f"you={self.headers.get('x-auth-token')}")
        self.send_header("content-length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as it is named there
        """Says nothing by itself."""


@contextmanager
def gossiping() -> Generator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gossip)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Talkative:
    """A provider of one's own that quotes its key in whatever it raises."""

    def __init__(self, key: str | None) -> None:
        self.key = key

    async def complete(self, request: Request) -> Response:
        cause = ValueError(f"the key {self.key} of {self!r}")
        if "broken" in str(request.messages):
            raise cause
        raise BackendError("rejected", f"refused: {cause}") from cause

    def stream(self, request: Request) -> Any:  # noqa: ARG002 - it gets no further
        raise RuntimeError(f"no streams for {self.key}")

    async def aclose(self) -> None:
        raise RuntimeError(f"cannot close {self.key}")

    def __repr__(self) -> str:
        return f"Talkative({self.key})"


def models(base_url: str, key_file: Path) -> dict[str, Any]:
    beside = {
        "extra_headers": {"X-Auth-Token": TOKEN, "Proxy-Auth": f"Bearer {BEARER}", "X-Custom": PLAIN},
        "extra_query": {"sig": QUERY},
    }
    common = {"model": "m", "price": {"input": 1, "output": 1}}
    over_http = common | {"base_url": base_url, "options": beside}
    talkative = BackendFactory(make=lambda _, key: Talkative(key))
    of = {
        "openai": over_http | {"provider": "openai", "api_key_env": "PLANTED"},
        "anthropic": over_http | {"provider": "anthropic", "api_key_file": str(key_file)},
        "own": common | {"provider": talkative, "api_key_env": "PLANTED_TOO"},
    }
    # An alias for each kind of trouble: a backend that has failed often is left alone for a while.
    aliases = {
        f"{provider}-{kind}": {"retries": 0, "backends": [backend]}
        for provider, backend in of.items()
        for kind in TROUBLES
    }
    heard = ScriptedModel(lambda _: Says(text=f"I heard {MARKED}"))
    return aliases | {"default": heard.models()["default"]}


async def worker(message: Go, ctx: Context) -> Any:
    """Does what it is told, and is careless with all that it knows."""
    what = message.text
    _, _, kind = what.partition("-")
    model = what if kind in TROUBLES else "default"
    ctx.log.warning("I use %s and %s", ENV, LOOKS)
    ctx.log.debug("for %r", {"key": ENV, "more": MARKED})
    ctx.state["note"] = {"key": ENV, "marked": [MARKED], "looks": LOOKS}
    match kind or what:
        case "crash":
            cause = ValueError(f"with {ENV}")
            cause.add_note(f"and {quote(ENV)}")
            raise RuntimeError(f"a crash with {LOOKS} and {MARKED}") from cause
        case "group":
            raise ExceptionGroup("several", [ValueError(f"with {ENV}"), OSError(MARKED)])
        case "refused answer":
            return [f"{ENV}"]
        case "stream":
            async with ctx.stream("go on", model=model, max_output_tokens=50) as stream:
                return Reply(Said("".join([piece async for piece in stream])))
        case _:
            beside = {"extra_headers": {"X-Call-Key": CALL}} if what == "call's key" else None
            said = f"please answer {what}; keep {MARKED}"
            completion = await ctx.complete(said, model=model, max_output_tokens=50, extra=beside)
            return Reply(Said(f"{completion.text}: {ENV}"))


def mark(event: CallEvent, ctx: Context) -> GoOn:
    return GoOn(secrets=MARKED)


def guard(event: MessageEvent, ctx: Context) -> Any:
    if "abort" in event.payload.text:
        return Abort(f"it holds {MARKED}", secrets=MARKED)
    if "pause" in event.payload.text:
        return Pause(f"it holds {MARKED}", secrets=MARKED)
    if "odd hook" in event.payload.text:
        raise ValueError(f"with {ENV}")
    return GoOn(secrets=MARKED)


class Everything(logging.Handler):
    """What is logged, as one who formats tracebacks himself writes it, and as the record tells of itself."""

    def __init__(self) -> None:
        super().__init__(level=1)
        self.text = io.StringIO()
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1
        error = record.exc_info[1] if record.exc_info else None
        trace = "" if error is None else "".join(traceback.format_exception(error))
        # Lines of a traceback quote the source, which is this file: what stands in it is no secret of the organism's.
        said = "\n".join(line for line in trace.splitlines() if not line.startswith("    "))
        self.text.write(f"{record.name} {record.getMessage()} {record.args!r} {record.exc_text} {error!r}\n{said}\n")


@contextmanager
def all_logged() -> Generator[Everything]:
    root = logging.getLogger()
    names = ("", "organism", "openai", "anthropic", "httpx2", "httpcore2")
    levels = {name: logging.getLogger(name).level for name in names}
    handler = Everything()
    root.addHandler(handler)
    for name in names:
        logging.getLogger(name).setLevel(1)
    try:
        yield handler
    finally:
        root.removeHandler(handler)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@pytest.mark.parametrize("journal", ["sqlite:{}/journal.db", "jsonl:{}/lines"])
@pytest.mark.by_turns
async def test_no_secret_is_written_logged_or_told(
    journal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PLANTED", ENV)
    monkeypatch.setenv("PLANTED_TOO", OWN)
    key_file = tmp_path / "key.txt"
    key_file.write_text(f"{FILED}\n")
    world = tmp_path / "world"
    world.mkdir()
    told: list[str] = []
    with gossiping() as base_url, all_logged() as logged:
        organism = Organism(
            name="test",
            journal=journal.format(world),
            session_log=str(world / "log"),
            record=str(world / "answers.jsonl"),
            handlers={"worker": code(worker)},
            models=models(base_url, key_file),
            hooks={"before_model_call": mark, "on_message": guard},
        )
        told.append(f"{organism.settings!r} {organism.settings.models!r}")
        async with organism:
            history = organism.keep_history()
            outcomes: set[str] = set()
            for task in TASKS:
                handle = await organism.send("worker", Go(task))
                result = await handle.result()
                outcomes.add(result.outcome)
                # Replies are what was asked for, and are handed over as they are; whatever else is told is searched.
                told.append(f"{task}: {result.error} {result.usage} {result.warnings} {result.labels}")
                told.append(str(list(history.documents(handle.id))))
                if result.outcome == "paused":
                    handle.cancel()
                else:
                    with pytest.raises(HandlerFailedError) if result.outcome == "failed" else no_failure() as failed:
                        await organism.ask("worker", Go(task))
                    told.append("" if failed is None else repr(failed.value))
            told.append(f"{organism.statistics()} {organism.usage('model')} {await organism.dead()!r}")
        assert outcomes == {"completed", "failed", "paused"}
    assert logged.count > 200
    written = b"".join(path.read_bytes() for path in world.rglob("*") if path.is_file()).decode("utf-8", "replace")
    assert "[secret]" in written  # it was there, and was left out
    assert "please answer" in written
    out, err = capfd.readouterr()
    searched = {"files": written, "logs": logged.text.getvalue(), "results": "\n".join(told), "streams": out + err}
    found = {place: around(text) for place, text in searched.items() if TRACE in text}

    assert found == {}


@contextmanager
def no_failure() -> Generator[None]:
    yield None


def around(text: str) -> list[str]:
    """Where secrets stand, for whoever has to find out why."""
    places: list[str] = []
    at = text.find(TRACE)
    while at >= 0 and len(places) < 5:
        places.append(text[max(0, at - 200) : at + 60])
        at = text.find(TRACE, at + 2000)
    return places


async def test_a_recording_made_without_marked_texts_answers_when_they_are_marked_again(tmp_path: Path) -> None:
    """What is marked is hidden before requests are compared: they are the same then."""

    async def asker(message: Go, ctx: Context) -> Reply[Said]:
        first = await ctx.complete(f"keep {message.text}")
        return Reply(Said((await ctx.complete(f"{first.text}, again {message.text}")).text))

    file = tmp_path / "answers.jsonl"
    hooks = {"before_model_call": mark}
    model = ScriptedModel(lambda request: Says(text=f"{len(str(request.messages[-1]['content']))} characters"))
    async with running(
        handlers={"asker": code(asker)}, models=model.models(), hooks=hooks, record=str(file)
    ) as organism:
        said = await organism.ask("asker", Go(MARKED))
    assert TRACE not in file.read_text()
    assert file.read_text().count("[secret]") == 2
    replayed = {
        "default": {"backends": [{"provider": "recorded", "model": "scripted", "options": {"file": str(file)}}]}
    }
    for model_name in {json.loads(line)["request"]["model"] for line in file.read_text().splitlines()[1:]}:
        replayed["default"]["backends"][0]["model"] = model_name
    async with running(handlers={"asker": code(asker)}, models=replayed, hooks=hooks) as organism:
        assert await organism.ask("asker", Go(MARKED)) == said


def test_keys_that_are_words_are_no_secrets_in_what_is_written() -> None:
    """Servers that want no key are given one all the same, such as their own names: these stand in much that is no secret."""
    marked = Marked()
    marked.know(["ollama", "not-needed", "unnecessarykey"])
    text = '{"model": "ollama/llama3", "note": "not-needed, an unnecessarykey"}'
    assert marked.hide(text) == text
    assert marked.left_out(text) == text
    marked.know([ENV])
    assert marked.left_out(f"{ENV} {quote(ENV, safe='')} {ENV!r}") == "[secret] [secret] '[secret]'"


def test_every_logger_of_the_organism_is_looked_after() -> None:
    """Filters do not pass on to the loggers below: a new one has to be named."""
    sources = "".join(path.read_text("utf-8") for path in Path(str(package.__file__)).parent.rglob("*.py"))
    ours = set(re.findall(r'getLogger\("(organism[a-z.]*)"\)', sources))
    assert "organism.models" in ours
    assert ours - {"organism.server"} <= set(Redaction(Marked(), ()).names)  # that one serves the simulated model alone


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_the_key_that_one_call_brings_is_in_no_log_of_the_sdk_whatever_it_looks_like(
    provider: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in no settings: its name tells that it is one."""
    key = f"plain words {TRACE}"

    async def caller(message: Go, ctx: Context) -> Reply[Said]:
        headers = {"Authorization": f"Basic {key}", "x-api-key": f'with "quotes" and {key}', "X-Title": "the title"}
        await ctx.complete(
            "please answer", model=f"{provider}-401", max_output_tokens=50, extra={"extra_headers": headers}
        )
        return Reply(Said())

    monkeypatch.setenv("PLANTED", ENV)
    monkeypatch.setenv("PLANTED_TOO", OWN)
    (tmp_path / "key.txt").write_text(FILED)
    with gossiping() as base_url, all_logged() as logged:
        async with running(
            handlers={"caller": code(caller)}, models=models(base_url, tmp_path / "key.txt")
        ) as organism:
            await (await organism.send("caller", Go("go"))).result()
    logs = logged.text.getvalue()
    assert f"{provider}._base_client" in logs
    assert around(logs) == []
    if provider == "anthropic":  # the other one tells of no headers, in this version
        assert "'Authorization': '[secret]'" in logs
        assert "'X-Title': 'the title'" in logs
