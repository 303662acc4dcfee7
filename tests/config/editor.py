"""What an editor makes of an organism.yaml: values as YAML 1.2 has them, judged by the schema of the file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from organism.config.schema import file_schema
from organism.config.yamlloader import Loader

if TYPE_CHECKING:
    import yaml


class Core(Loader):
    """The core schema of YAML 1.2, as language servers read: pyyaml's own is that of 1.1, where ``on`` is true and ``1e3`` a text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - pyyaml's own


for tag, pattern, first in (
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("merge", r"<<", "<"),
):
    Core.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"({pattern})$"), [*first, ""])


def _whole(_: Core, node: yaml.ScalarNode) -> int:
    return int(node.value)  # also what begins with 0, which pyyaml takes for octal


def _fraction(_: Core, node: yaml.ScalarNode) -> float:
    return float(node.value)


Core.add_constructor("tag:yaml.org,2002:int", _whole)
Core.add_constructor("tag:yaml.org,2002:float", _fraction)

SCHEMA: Final = file_schema()
JUDGE: Final = Draft202012Validator(SCHEMA)


def seen(text: str) -> Any:
    """The value of a YAML text."""
    return Core(text).get_single_data()


def underlined(text: str) -> list[str]:
    """What an editor finds wrong with a file, by its place in it."""
    return sorted(f"{error.json_path}: {error.message}" for error in JUDGE.iter_errors(seen(text)))
