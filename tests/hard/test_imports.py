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


def loaded(*command: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after this; the last line that it prints names them."""
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", *command], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("names", ["payload, Send, Reply", "OrganismError"])
def test_modules_that_declare_payloads_load_neither_an_event_loop_nor_xml_nor_what_commands_need(names: str) -> None:
    modules = loaded(f"import json, sys\nfrom organism import {names}\nprint(json.dumps(sorted(sys.modules)))")
    late = {*LOOPS, *SDKS, "anyio", "lxml", "rich", "cyclopts", "jinja2", "yaml", "sqlite3", "organism.kernel"}
    assert not modules & late


def test_help_loads_neither_an_event_loop_nor_the_configuration_nor_journals() -> None:
    modules = loaded(COMMAND, json.dumps(["--help"]))
    late = {*LOOPS, *SDKS, "anyio", "lxml", "jinja2", "yaml", "sqlite3", "organism.config", "organism.organism"}
    assert not modules & late


def test_checking_a_file_loads_no_event_loop_no_sdk_and_no_xml() -> None:
    modules = loaded(COMMAND, json.dumps(["check"]))
    assert "organism.config" in modules
    assert not modules & {*LOOPS, *SDKS, "lxml", "rich", "organism.organism"}
