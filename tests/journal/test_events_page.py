"""The page about events: every kind of line has a real example there, and what the page says of lines holds for them."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from organism.cli.main import execute
from organism.cli.streams import Streams
from organism.journal.chain import canonical, content_of, is_sealed, line_of
from organism.journal.codec import FACTS, STEPS, decode, encode, schema

PAGE: Final = (Path(__file__).parents[2] / "docs" / "reference" / "events.md").read_text("utf-8")
EXAMPLES: Final = dict(re.findall(r"^### (\w+)$(?:(?!^#).)*?^```json\n([^\n]+)\n```$", PAGE, re.MULTILINE | re.DOTALL))
PROSE: Final = dict(re.findall(r"^##+ (\w+)$\n(.*?)(?=^##|^```|\Z)", PAGE, re.MULTILINE | re.DOTALL))


def schema_of(name: str) -> Draft202012Validator:
    """The schema of one of the definitions."""
    return Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": schema()["$defs"]})


def test_every_kind_has_its_example() -> None:
    titles = re.findall(r"^### (\w+)$", PAGE, re.MULTILINE)
    assert titles == [*(cls.__name__ for cls in FACTS), "lost", *(cls.__name__ for cls in STEPS)]
    assert set(EXAMPLES) == set(titles)


@pytest.mark.parametrize("name", [*(cls.__name__ for cls in FACTS), "lost"])
def test_the_example_of_a_fact_is_a_line(name: str) -> None:
    line: dict[str, Any] = json.loads(EXAMPLES[name])
    assert line.get("fact", "lost") == name
    assert line_of(line).decode() == EXAMPLES[name]
    assert is_sealed(EXAMPLES[name].encode(), line)
    Draft202012Validator(schema()).validate(line)
    if name != "lost":
        content = content_of(line)
        assert json.loads(canonical(encode(decode(content), line["root"]))) == content


@pytest.mark.parametrize("name", [cls.__name__ for cls in STEPS])
def test_the_example_of_a_step_is_one(name: str) -> None:
    step: dict[str, Any] = json.loads(EXAMPLES[name])
    assert step["step"] == name
    schema_of(name).validate(step)


@pytest.mark.parametrize("name", [cls.__name__ for cls in (*FACTS, *STEPS)])
def test_every_field_is_on_the_page(name: str) -> None:
    told = set(re.findall(r"`(\w+)`", PROSE["Lines"] + PROSE[name]))
    assert schema()["$defs"][name]["properties"].keys() <= told | json.loads(EXAMPLES[name]).keys()


def test_the_table_of_keys_is_whole() -> None:
    keys = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    definition = schema()["$defs"]["Dropped"]
    assert keys == definition["properties"].keys() - {"seq"}
    assert keys - {"steps"} == set(definition["required"]) - {"seq"}


def test_the_payload_on_the_page_is_one() -> None:
    (text,) = re.findall(r"^```json\n(\{\"\$xml.*)\n```$", PAGE, re.MULTILINE)
    schema_of("payload").validate(json.loads(text))


def test_the_command_prints_the_schema() -> None:
    out, err = io.StringIO(), io.StringIO()
    assert execute(["schema", "--events"], Streams(out=out, err=err, input=io.StringIO())) == 0
    assert json.loads(out.getvalue()) == json.loads(json.dumps(schema()))
    assert err.getvalue() == ""
