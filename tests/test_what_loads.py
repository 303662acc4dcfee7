"""What a module of handlers loads: the names that it is written with, and nothing of what runs them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from organism import Context

HANDLERS = """
from organism import Context, Forward, Refused, Reply, Send, payload

@payload
class Text:
    text: str

async def shout(message: Text, ctx: Context) -> Reply[Text]:
    return Reply(Text(message.text.upper()))

import sys
print(*sorted({".".join(name.split(".")[:2]) for name in sys.modules if name.startswith("organism.")}))
"""


def test_a_module_of_handlers_loads_nothing_of_what_runs_them() -> None:
    ran = subprocess.run([sys.executable, "-c", HANDLERS], capture_output=True, text=True, check=True)  # noqa: S603 - our own interpreter
    loaded = ran.stdout.split()
    assert "organism.context" in loaded
    assert not {f"organism.{room}" for room in ("budget", "kernel", "models", "pump", "record", "threads")} & {*loaded}


def test_a_schema_is_printed_without_what_runs_an_organism() -> None:
    prints = "import sys, organism.cli.schema; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", prints], capture_output=True, text=True, check=True)  # noqa: S603 - our own interpreter
    rooms = {".".join(name.split(".")[:2]) for name in ran.stdout.split()}
    assert "organism.payloads" in rooms
    assert not {f"organism.{room}" for room in ("kernel", "pump", "organism")} & rooms


def test_a_class_may_stand_in_for_a_context_that_has_all_of_it() -> None:
    class Half(Context):
        """Says who it is, and nothing else."""

        @property
        def name(self) -> str:
            return "half"

    make: type = Half
    with pytest.raises(TypeError, match=r"abstract methods? .*ask"):
        make()


def test_an_organism_without_mcp_servers_loads_nothing_of_their_library() -> None:
    runs = "import sys, organism; organism.Organism(handlers={}); print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", runs], capture_output=True, text=True, check=True)  # noqa: S603 - our own interpreter
    assert "organism.mcp.loading" in ran.stdout.split()
    assert not {"mcp", "pydantic", "jsonschema", "organism.mcp.servers"} & {*ran.stdout.split()}
