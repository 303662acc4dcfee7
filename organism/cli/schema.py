"""``organism schema``: what editors and readers may rely on, as XML Schema and JSON Schema."""

from __future__ import annotations

from json import dumps
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from organism.cli.arguments import DEFAULT_FILE, AsFile, Given
from organism.cli.options import NOTHING_OVER, OfFile
from organism.cli.text import listed
from organism.config.schema import file_schema_text
from organism.errors import ConfigurationError
from organism.journal import codec
from organism.payloads import NAMESPACE, describe, json_schema_of_all, xsd_of_all
from organism.payloads.primitives import ALL
from organism.works.vocabulary import payload_classes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from organism.settings import Settings


def schema(
    file: AsFile = DEFAULT_FILE,
    *,
    xsd: Annotated[bool, Parameter(help="The XSD of all payloads, for XML documents.")] = False,
    json: Annotated[bool, Parameter(help="The JSON Schema of all payloads, for JSON documents.")] = False,
    primitives: Annotated[
        bool, Parameter(help="With --xsd or --json: of the organism's own payloads instead, such as BudgetWarning.")
    ] = False,
    events: Annotated[
        bool, Parameter(help="The JSON Schema of the lines of a session log or a jsonl: journal.")
    ] = False,
    config: Annotated[bool, Parameter(help="The JSON Schema of organism.yaml itself, for editors.")] = False,
    over: OfFile = NOTHING_OVER,
    streams: Given,
) -> int:
    """Prints a schema for editors and readers: with --xsd or --json that of the payloads that the organism's handlers take and send,
    with --events that of the lines in which facts are kept, with --config that of organism.yaml. The last two read no file.

    Editors check and complete an organism.yaml with its schema beside it, if it begins with the line
    '# yaml-language-server: $schema=organism.schema.json'.

    Example: organism schema --config > organism.schema.json
    """
    wanted = [
        name for name, one in (("--xsd", xsd), ("--json", json), ("--events", events), ("--config", config)) if one
    ]
    if len(wanted) != 1:
        said = "name one" if not wanted else f"{listed(wanted)} cannot go together: name one"
        raise ConfigurationError([f"organism schema: {said}: --xsd, --json, --events or --config"])
    if primitives and not (xsd or json):
        raise ConfigurationError(["organism schema: --primitives goes with --xsd or --json"])
    if events or config:
        streams.result(dumps(codec.schema(), indent=2) if events else file_schema_text())
        return 0
    classes = ALL if primitives else _own(over.settings(file, streams), str(file))
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **json_schema_of_all(classes)}
    streams.result(xsd_of_all(classes).rstrip("\n") if xsd else dumps(document, indent=2, ensure_ascii=False))
    return 0


def _own(settings: Settings, file: str) -> Sequence[type]:
    """The payloads that are the user's own, in the order in which handlers name them."""
    every = [cls for cls in payload_classes(settings) if describe(cls).namespace == NAMESPACE]
    own = [cls for cls in every if not cls.__module__.startswith("organism.")]
    if not own:
        raise ConfigurationError([f"{file}: no handler takes or sends a payload of its own; see --primitives"])
    return own
