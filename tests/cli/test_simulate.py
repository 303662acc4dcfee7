"""``organism simulate``, and ``organism run`` against it: as processes, and in this one."""

from __future__ import annotations

import re
import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from tests.imports import without_library

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Generator

    from tests.cli.conftest import Desk

SPENDER: Final = {
    "organism": "demo",
    "handlers": {"talker": {"code": "work:ask_once"}},
    "start": [{"to": "talker", "payload": {"Job": {"text": "frames"}}}],
}
ASK: Final = '''

async def ask_once(job: Job, ctx: Context) -> Reply[Done]:
    """Asks its model once."""
    return Reply(Done(text=(await ctx.complete(f"Say something about {job.text}. Frames are calls.")).text))
'''


@contextmanager
def simulating(desk: Desk, *arguments: str) -> Generator[tuple[subprocess.Popen[str], list[str]]]:
    """A server in a process of its own, and what it printed."""
    with desk.start("simulate", "--port", "0", *arguments) as process:
        assert process.stdout is not None
        said = [process.stdout.readline()]
        assert said[0], process.communicate()
        try:
            while "anthropic" not in said[-1]:
                said.append(process.stdout.readline())
            yield process, said
        finally:
            process.kill()


def with_models(desk: Desk, models: Any, **more: Any) -> None:
    work = desk.folder / "work.py"
    if "ask_once" not in (text := work.read_text("utf-8")):
        work.write_text(text + ASK, "utf-8")
    desk.write("organism.yaml", yaml.safe_dump(SPENDER | {"models": models} | more, sort_keys=False))


def backends(said: list[str]) -> dict[str, dict[str, Any]]:
    """The two backends that it says to write."""
    found = [yaml.safe_load(line.strip().lstrip("#- ")) for line in said if "{provider:" in line]
    return {each["provider"]: each for each in found}


def test_what_it_prints_can_be_pasted(desk: Desk) -> None:
    with simulating(desk) as (process, said):
        assert re.fullmatch(r"the simulated model answers at http://127\.0\.0\.1:\d+; Ctrl-C ends it\n", said[0])
        pasted = yaml.safe_load("".join(said[said.index("models:\n") :]))
        answers = []
        for backend in backends(said).values():
            with_models(desk, {"default": {"backends": [backend]}})
            ran = desk.organism("run", "--json")
            assert ran.code == 0, ran.err
            answers.append(ran.object["replies"][0]["payload"])
        with_models(desk, {"default": {"backends": [{"provider": "simulated", "model": "sim-1"}]}})
        assert [desk.organism("run", "--json").object["replies"][0]["payload"]] * 2 == answers
        assert pasted["models"]["default"]["backends"] == [backends(said)["openai"]]
        assert {backend["context_window"] for backend in backends(said).values()} == {128_000}
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "requests answered: 2; 0 given up by clients\n")


def test_a_port_that_is_taken_is_one_line(desk: Desk) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = desk.organism("simulate", "--port", str(port))
    said = f"--port {port}: something else listens on it at 127.0.0.1; name another one, or 0 for one that is free\n"
    assert (ran.code, ran.out, ran.err) == (2, "", said)


def test_an_address_of_another_host_is_one_line(desk: Desk) -> None:
    ran = desk.organism("simulate", "--host", "192.0.2.1", "--port", "0")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert ran.err.startswith("--host 192.0.2.1: cannot be listened on: ")
    assert ran.err.endswith("; name an address of this host\n")


def test_what_is_wrong_with_its_options_is_said_at_once(desk: Desk) -> None:
    ran = desk.organism("simulate", "--port", "70000", "--key", "a ", "--requests-per-minute", "0")
    assert ran.code == 2
    assert [line.split(":")[0] for line in ran.err.splitlines()] == ["--requests-per-minute 0", "--port 70000", "--key"]
    ran = desk.organism("simulate", "--option", "verbosty=1", "--option", "latency=soon")
    assert ran.code == 2
    assert "did you mean 'verbosity'?" in ran.err
    assert "option 'latency' must be a number, not 'soon'" in ran.err


def test_without_its_library_it_says_what_to_install(desk: Desk) -> None:
    with without_library("h11", "organism.server", "organism.cli.serving"):
        ran = desk.organism("simulate")
    needs = "organism simulate: needs 'h11', which is not installed; install organism with its extra 'simulate'\n"
    assert (ran.code, ran.err) == (2, needs)


PROTOCOLS: Final = ("openai", "anthropic")
PLACE: Final = r"organism\.yaml:\d+:\d+"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_wrong_key_an_unknown_model_and_a_host_that_is_not_there_are_a_line_each(
    desk: Desk, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMULATED_KEY", "sk-wrong-one")
    with simulating(desk, "--key", "sk-right") as (_, said):
        backend = backends(said)[protocol]
        with_models(desk, {"default": {"backends": [backend]}})
        key = desk.organism("run")
        monkeypatch.setenv("SIMULATED_KEY", "sk-right")
        with_models(desk, {"default": {"backends": [backend | {"model": "gpt-9"}]}})
        model = desk.organism("run")
    with_models(desk, {"default": {"retries": 0, "backends": [backend]}})
    host = desk.organism("run")
    assert [key.code, model.code, host.code] == [1, 1, 1]
    for ran, line in (
        (key, r"attempt 1: 401: the key was refused; check the key \(SIMULATED_KEY\)"),
        (model, r"attempt 1: 404: there is no model 'gpt-9'; there are: sim-1"),
        (host, r"attempt 1: no connection to http://127\.0\.0\.1:\d+\S*: .*"),
    ):
        (told,) = [each for each in ran.err.splitlines() if "attempt" in each or "error" in each]
        assert "sk-" not in ran.err + ran.out
        assert re.match(rf"failed: talker \(crashed\): .*'default'.*\({PLACE}.*\): {line}", told), told


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_model_without_a_price_is_a_line(desk: Desk, protocol: str) -> None:
    backend = {"provider": protocol, "model": "odd-9", "base_url": "http://127.0.0.1:9", "api_key_env": None}
    with_models(desk, {"default": {"backends": [backend]}}, budget={"cost_usd": 1})
    for command in ("check", "run"):
        ran = desk.organism(command)
        assert ran.code == 2
        (line,) = [each for each in (ran.err + ran.out).splitlines() if "odd-9" in each]
        assert re.match(rf"{PLACE} models\.default\.backends\[0\]: .*price", line), line


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_key_that_is_not_set_is_a_line(desk: Desk, protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(variable := f"{protocol.upper()}_API_KEY", raising=False)
    with_models(desk, {"default": {"backends": [{"provider": protocol, "model": "odd-9"}]}})
    ran = desk.organism("run")
    assert ran.code == 2
    assert re.match(
        rf"{PLACE} models\.default\.backends\[0\]: no key for 'odd-9'.*: {variable} is not set; ",
        ran.err.splitlines()[-1],
    )
