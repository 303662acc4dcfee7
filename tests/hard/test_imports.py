"""What is loaded before it is needed: programs that declare handlers, and commands that run nothing, start fast."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOOPS = {"trio", "asyncio"}
SDKS = {"openai", "anthropic", "genai_prices", "httpx2", "urllib.request"}
COMMAND = """
import json, sys
from organism.cli.main import main
sys.argv = ["organism", *json.loads(sys.argv[1])]
try:
    main()
except SystemExit as left:
    assert not left.code, left.code
print()
print(json.dumps(sorted(sys.modules)))
"""


RUNNING = {
    "organism.organism",
    "organism.kernel.kernel",
    "organism.journal.opening",
    "organism.journal.codec",
    "organism.models.routing.router",
    "organism.models.recordings.playback",
    "organism.models.simulation.backend",
    "organism.pump.pump",
}
"""What is needed where something runs."""


def loaded(*command: str, folder: Path = ROOT) -> set[str]:
    """The modules that a fresh interpreter has loaded after this; the last line that it prints names them."""
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", *command], cwd=folder, capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("names", ["payload, Send, Reply", "OrganismError"])
def test_modules_that_declare_payloads_load_neither_an_event_loop_nor_xml_nor_what_commands_need(names: str) -> None:
    modules = loaded(f"import json, sys\nfrom organism import {names}\nprint(json.dumps(sorted(sys.modules)))")
    late = {*LOOPS, *SDKS, "anyio", "lxml", "rich", "cyclopts", "jinja2", "yaml", "sqlite3", "organism.kernel"}
    assert not modules & late


def test_help_loads_neither_an_event_loop_nor_the_configuration_nor_journals() -> None:
    modules = loaded(COMMAND, json.dumps(["--help"]))
    late = {*LOOPS, *SDKS, *RUNNING, "anyio", "lxml", "jinja2", "yaml", "sqlite3", "organism.config"}
    assert not modules & late


def test_checking_a_file_loads_no_event_loop_no_sdk_and_no_xml() -> None:
    modules = loaded(COMMAND, json.dumps(["check"]))
    assert "organism.config" in modules
    assert not modules & {*LOOPS, *SDKS, *RUNNING, "lxml", "rich", "sqlite3", "cyclopts.help"}


def test_checking_a_file_loads_the_engine_of_templates_with_the_first_prompt(tmp_path: Path) -> None:
    loaded(COMMAND, json.dumps(["init", "new"]), folder=tmp_path)
    project = tmp_path / "new"
    without = loaded(COMMAND, json.dumps(["check"]), folder=project)
    prompt = "handlers.guide.agent.prompt=You are {{ name }}."
    assert "jinja2" in loaded(COMMAND, json.dumps(["check", "--set", prompt]), folder=project)
    assert "organism.config" in without
    assert not without & {*LOOPS, *SDKS, *RUNNING, "lxml", "rich", "sqlite3", "jinja2"}


STARTED = """
import json, sys
import anyio
from organism import Organism
backends = json.loads(sys.argv[1])
async def main():
    async with Organism(name="test", models={"default": {"backends": [backends]}}):
        print(json.dumps(sorted(sys.modules)))
anyio.run(main, backend="trio")
"""


@pytest.mark.parametrize(
    ("backend", "needed"),
    [
        ({"provider": "openai", "model": "gpt-4o", "base_url": "http://127.0.0.1:9/v1"}, {"genai_prices", "httpx2"}),
        ({"provider": "simulated", "model": "sim-1"}, set[str]()),
    ],
)
def test_what_a_provider_needs_is_loaded_when_the_organism_starts(backend: dict[str, str], needed: set[str]) -> None:
    """And not in the middle of the first call, whose handler the watchdog would name for it."""
    assert loaded(STARTED, json.dumps(backend)) & {"genai_prices", "httpx2"} == needed
