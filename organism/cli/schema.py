"""``organism schema``: what others may rely on, as JSON Schema."""

from __future__ import annotations

from json import dumps
from typing import Annotated

from cyclopts import Parameter

from organism.cli.arguments import Debug, Given  # noqa: TC001 - the command line is read from the annotations
from organism.errors import ConfigurationError
from organism.journal import codec


def schema(
    *,
    events: Annotated[bool, Parameter(help="The lines of a session log and of a journal of JSON lines.")] = False,
    xsd: Annotated[bool, Parameter(show=False)] = False,
    json: Annotated[bool, Parameter(show=False)] = False,
    debug: Debug = False,  # noqa: ARG001 - main reads it
    streams: Given,
) -> int:
    """Prints a schema: with --events, the JSON Schema of the lines that a session log holds."""
    later = [option for option, wanted in {"--xsd": xsd, "--json": json}.items() if wanted]
    if later:
        raise ConfigurationError([f"organism schema: {later[0]} is not available yet; there is --events"])
    if not events:
        raise ConfigurationError(["organism schema: say of what: --events"])
    streams.result(dumps(codec.schema(), indent=2))
    return 0
