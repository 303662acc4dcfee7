"""Values that hardly anybody writes: numbers beyond all numbers, paths that are none, names that are too long."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from organism import Organism, config, payload
from organism.config.ignored import ignored
from organism.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.config.conftest import Project


@payload
class Note:
    text: str


async def keep(note: Note, ctx: object) -> None:
    """Keeps it."""


def mistakes(**keys: Any) -> list[str]:
    """What is wrong with an organism that is built in Python, without where it was called."""
    with pytest.raises(ConfigurationError) as caught:
        config.build({"organism": "demo", **keys})
    return [re.sub(r"^Organism\(\w+=\.\.\.\)[: ]+", "", line) for line in caught.value.mistakes]


BACKEND = {"provider": "openai", "model": "m", "api_key_env": None, "price": {"input": 1, "output": 2}}


def test_an_address_that_cannot_be_parted_is_none() -> None:
    for address, shown in (("http://[::1", True), ("https://user:secret@[::1", False)):
        (line,) = mistakes(models={"default": {"backends": [BACKEND | {"base_url": address}]}})
        assert line.startswith("models.default.backends[0].base_url: ")
        assert ("[::1" in line, "secret" in line) == (shown, False)


@pytest.mark.parametrize("name", ["x" * 1000, "new\nline"])
def test_an_account_has_a_short_name_that_can_be_printed(name: str) -> None:
    (line,) = mistakes(accounts={f"tenant:{name}": {"tokens": 5}})
    assert "an account's name has " in line
    assert line.isprintable()


@pytest.mark.parametrize(
    ("timeout", "said"),
    [
        ([1], "must be a number and not a list"),
        (object(), "a value of type object is not a number"),
        (10**400, "a number of hundreds of digits is not finite"),
        (Decimal("sNaN"), "sNaN is not finite"),
        (float("nan"), "nan is not a number below 10^100"),
        ("many", "'many' is a text and not a number"),
        (True, "True is not a number"),
    ],
)
def test_a_time_that_is_no_number_is_refused(timeout: Any, said: str) -> None:
    assert mistakes(defaults={"timeout": timeout}) == [f"defaults.timeout: {said}"]


@pytest.mark.parametrize("amount", [Decimal("Infinity"), Decimal("NaN"), "1e9999999999999999999", float("inf")])
def test_money_that_cannot_be_counted_is_refused(amount: Any) -> None:
    (line,) = mistakes(budget={"cost_usd": amount})
    assert line.startswith("budget.cost_usd: ")


def test_a_word_that_is_none_is_refused() -> None:
    assert mistakes(scheduling=5) == ["5 is not 'breadth-first' or 'depth-first'"]


def test_any_value_of_options_is_read_and_infinity_refused(project: Project) -> None:
    file = """
        organism: demo
        handlers:
          looker: {code: 'desk:look', options: {a: null, b: true, c: 5, d: 0.5, e: x, f: [1, {g: ~}], h: %s}}
    """
    found = project.load(file % "2026-01-02").handlers["looker"].options
    single = {key: value for key, value in found.items() if key != "f"}
    assert single == {"a": None, "b": True, "c": 5, "d": 0.5, "e": "x", "h": "2026-01-02"}
    assert (found["f"][0], dict(found["f"][1])) == (1, {"g": None})
    (line,) = project.mistakes(file % ".inf")
    assert line.endswith("handlers.looker.options.h: '.inf' is not finite")


def test_yaml_that_breaks_its_reader_is_told_with_its_place(project: Project) -> None:
    for text in ('organism: "\\U99999999"\n', "%YAML 1." + "9" * 5000 + "\n---\norganism: demo\n"):
        (line,) = project.mistakes(text)
        assert line.startswith("organism.yaml:")
        assert "is not YAML: " in line
        assert len(line) < 1000


def test_what_is_merged_is_a_mapping(project: Project) -> None:
    (line,) = project.mistakes("organism: demo\nbudget: {<<: 5, tokens: 5}\n")
    assert line == "organism.yaml:2:14 budget: '<<' takes a mapping, as in '<<: *name'"


def test_a_file_may_not_nest_beyond_all_measure(project: Project) -> None:
    deep = "".join(f"  a{n}: &a{n} [*a{n - 1}]\n" if n else "  a0: &a0 [x]\n" for n in range(200))
    lines = project.mistakes(f"organism: demo\nhandlers:\n{deep}")
    assert any("is nested more than" in line for line in lines), lines[:3]


def test_a_prompt_that_is_too_long_or_cannot_be_opened_is_named(project: Project) -> None:
    agent = """
        organism: demo
        handlers:
          writer: {description: x, agent: {accepts: 'desk:Question', replies: 'desk:Answer', prompt: %s}}
    """
    project.write("long.md", b"x" * (2**20 + 5))
    (project.folder / "folder.md").mkdir()
    for name in ("long.md", "folder.md", "missing.md"):
        (line,) = project.mistakes(agent % name)
        assert "handlers.writer.agent.prompt: " in line
        assert name in line


def test_a_seed_that_a_protocol_has_no_place_for_is_said() -> None:
    settings = config.build(
        {
            "organism": "demo",
            "models": {"default": {"backends": [BACKEND | {"provider": "anthropic", "model": "claude-x"}]}},
            "handlers": {
                "writer": {
                    "description": "Writes.",
                    "agent": {"accepts": Note, "replies": Note, "seed": 7},
                }
            },
        }
    )
    (line,) = ignored(settings.handlers, settings.models)
    assert line.startswith("handler 'writer': its seed is not sent to anthropic/claude-x")


@pytest.mark.parametrize(
    ("conversation", "said"),
    [
        ({"tokens": 6000, "on_cap": "rotate"}, True),
        ({"messages": 6, "on_cap": "rotate"}, False),
        ({"tokens": 6000, "on_cap": "end"}, False),
    ],
)
def test_conversations_that_are_to_rotate_at_no_limit_are_said(conversation: dict[str, Any], said: bool) -> None:
    settings = config.build({"organism": "demo", "conversation": conversation, "handlers": {}})
    assert any("needs a limit of 'messages', and there is none" in note for note in settings.notes) == said


async def test_a_budget_in_python_names_a_handler_that_decides() -> None:
    async with Organism(name="demo", handlers={"keeper": keep}) as organism:
        with pytest.raises(ConfigurationError, match=r"budget\.grants_by: "):
            await organism.send("keeper", Note("x"), budget={"tokens": 5, "grants_by": "nobody"})
        thread = await organism.send("keeper", Note("x"), budget={"tokens": 5, "grants_by": None})
        assert (await thread.result()).outcome == "completed"


def test_what_shows_settings_shows_no_option() -> None:
    settings = config.build(
        {"organism": "demo", "models": {"default": {"backends": [BACKEND | {"options": {"user": "secret-7"}}]}}}
    )
    shown = repr(settings)
    assert ("'user': ..." in shown, "secret-7" in shown) == (True, False)


def test_a_session_log_is_not_kept_in_the_folder_of_the_journal(tmp_path: Path) -> None:
    (tmp_path / "other").symlink_to(tmp_path / "log", target_is_directory=True)
    for log in ("log", "sub/../log", "other"):
        (line,) = mistakes(journal=f"jsonl:{tmp_path}/log", session_log=f"{tmp_path}/{log}")
        assert line.startswith("is the folder of the journal 'jsonl:")
        assert line.endswith(": name another one for either")
    for journal in ("memory:", f"sqlite:{tmp_path}/log", f"jsonl:{tmp_path}/log/journal"):
        assert config.build({"organism": "demo", "journal": journal, "session_log": f"{tmp_path}/log"}).session_log
