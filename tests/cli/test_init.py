"""``organism init``: new projects, each run as its README says, with modules loaded anew by each command: all have some of one name."""

from __future__ import annotations

import importlib.resources
import json
import re
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from organism.cli.init import TEMPLATES
from tests.config.editor import seen
from tests.imports import anew

if TYPE_CHECKING:
    from tests.cli.conftest import Desk, Ran


class Made:
    """A project that was made below the desk, and the command line in its folder."""

    def __init__(self, desk: Desk, template: str) -> None:
        self.desk, self.folder = desk, desk.folder / f"new-{template}"
        self.said = desk.organism("init", "--template", template, str(self.folder.relative_to(desk.folder)))

    def organism(self, *arguments: str, stdin: str = "") -> Ran:
        with anew("handlers"), chdir(self.folder):
            return self.desk.organism(*arguments, stdin=stdin)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_new_project_is_without_mistakes_and_runs(desk: Desk, template: str) -> None:
    made = Made(desk, template)
    assert made.said.code == 0, made.said.err
    checked = made.organism("check")
    assert checked.code == 0, checked.out
    assert checked.out.startswith(f"organism.yaml: no mistakes\norganism 'new-{template}': ")
    ran = made.organism("run")
    assert ran.code == 0, ran.err
    assert re.match(rf"{TEMPLATES[template][1]}: Answer\n  text:", ran.out)
    assert "completed" in ran.out
    assert (made.folder / "organism.db").exists() == (template == "team")


def test_the_agent_of_the_minimal_project_answers_from_the_notes(desk: Desk) -> None:
    made = Made(desk, "minimal")
    ran = made.organism("run", "--quiet", "--to", "guide", "--send", "What are payloads?")
    assert ran.code == 0, ran.err
    assert ran.out.startswith("guide: Answer\n  text: Payloads are what messages carry.")
    (made.folder / "notes.md").write_text("We open at nine on Mondays.\n", "utf-8")
    ran = made.organism("run", "--quiet", "--to", "guide", "--send", "When do we open on Mondays?")
    assert "We open at nine on Mondays." in ran.out, ran.err


def test_the_team_warns_its_readers_and_hands_in_what_it_has(desk: Desk) -> None:
    made = Made(desk, "team")
    ran = made.organism("run", "--journal", "memory:")
    assert ran.code == 0, ran.err
    assert "outgrown its hive" in " ".join(ran.out.split())
    assert "budget warning: reader: tokens warning, " in ran.err
    assert [row.split()[0] for row in ran.out.splitlines()[-4:]] == ["desk", "reader", "reader", "reader"]
    ran = made.organism("run", "--set", "budget.tokens=2500", "--journal", "memory:")
    assert (ran.code, "exhausted: desk answered on what was kept back: tokens" in ran.err) == (3, True)
    assert "queen cells" in " ".join(ran.out.split())


@pytest.mark.parametrize("told", ["deliver=false", "figures=none"])
@pytest.mark.parametrize("template", TEMPLATES)
def test_a_new_project_can_be_studied_with_agents_that_are_told_less(desk: Desk, template: str, told: str) -> None:
    ran = Made(desk, template).organism("run", "--quiet", "--set", f"defaults.agent.notices.{told}")
    assert ran.code == 0, ran.err
    assert re.match(rf"{TEMPLATES[template][1]}: Answer\n  text:", ran.out)


@pytest.mark.parametrize("template", TEMPLATES)
def test_one_can_chat_with_a_new_project(desk: Desk, template: str) -> None:
    made = Made(desk, template)
    lines = "What is a budget, or honey?\nAnd what do agents or bees do?\n"
    ran = made.organism("chat", "--to", TEMPLATES[template][1], "--quiet", stdin=lines)
    assert ran.code == 0, ran.err
    assert ("budget" if template == "minimal" else "Honey") in ran.out


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_command_of_a_readme_is_one_that_there_is(
    desk: Desk, template: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Made(desk, template)
    named = re.findall(r"organism ([a-z-]+)", (made.folder / "README.md").read_text("utf-8"))
    desk.organism("--help")
    helped = capsys.readouterr().out
    assert named
    assert all(f"  {command} " in helped for command in named)
    files = set(re.findall(r"`([\w/]+\.(?:md|py|yaml))`", (made.folder / "README.md").read_text("utf-8")))
    assert files
    assert all((made.folder / name).is_file() for name in files)


@pytest.mark.parametrize("template", TEMPLATES)
def test_editors_find_the_schema_beside_the_file_without_a_network(desk: Desk, template: str) -> None:
    made = Made(desk, template)
    first, _, rest = (made.folder / "organism.yaml").read_text("utf-8").partition("\n")
    (name,) = re.findall(r"^# yaml-language-server: \$schema=(\S+)$", first)
    assert (made.folder / name).read_text("utf-8") == made.organism("schema", "--config").out
    judge = Draft202012Validator(json.loads((made.folder / name).read_text("utf-8")))
    assert judge.is_valid(seen(rest))
    assert not judge.is_valid(seen(rest.replace("accepts:", "acepts:", 1)))


def test_the_templates_are_in_the_package_whole() -> None:
    root = importlib.resources.files("organism.cli") / "templates"
    assert {each.name for each in root.iterdir()} == set(TEMPLATES)
    stored = {path.relative_to(str(root)).as_posix() for path in Path(str(root)).rglob("*") if path.is_file()}
    assert all(name.endswith(".txt") for name in stored), "what is not would be code of the package"
    assert {f"{template}/organism.yaml.txt" for template in TEMPLATES} <= stored


def test_what_was_written_is_said_and_how_to_go_on(desk: Desk) -> None:
    ran = desk.organism("init", "a b/desk-2")
    assert ran.code == 0
    assert "wrote a b/desk-2/.gitignore\n" in ran.out
    assert "wrote a b/desk-2/handlers/payloads.py\n" in ran.out
    assert ran.err == "try it: cd 'a b/desk-2' && organism run\n        organism chat --to guide\n"
    assert "{{ name }}" not in (desk.folder / "a b/desk-2/organism.yaml").read_text("utf-8")


def test_the_folder_may_be_there_where_it_is_empty(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    (desk.folder / "fresh").mkdir()
    monkeypatch.chdir(desk.folder / "fresh")
    ran = desk.organism("init", ".")
    assert (ran.code, ran.err) == (0, "try it: organism run\n        organism chat --to guide\n")
    assert "organism: fresh\n" in (desk.folder / "fresh/organism.yaml").read_text("utf-8")


def test_a_folder_that_is_not_empty_is_left_as_it_is(desk: Desk) -> None:
    for number in range(7):
        desk.write(f"used/{number}\x1b.txt", "mine")
    before = {path.name: path.read_bytes() for path in (desk.folder / "used").iterdir()}
    ran = desk.organism("init", "used")
    names = ", ".join(f"{number}\\x1b.txt" for number in range(5))
    said = f"used: is not empty: {names} and 2 more; name a folder that is empty or not there yet\n"
    assert (ran.code, ran.out, ran.err) == (2, "", said)
    assert {path.name: path.read_bytes() for path in (desk.folder / "used").iterdir()} == before


def test_a_file_is_no_folder(desk: Desk) -> None:
    ran = desk.organism("init", "work.py", "--name", "x")
    assert (ran.code, ran.err) == (2, "work.py: is a file; name a folder that is empty or not there yet\n")


def test_a_folder_below_a_file_cannot_be_made(desk: Desk) -> None:
    ran = desk.organism("init", "work.py/below")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "work.py/below/.gitignore: cannot be written: Not a directory\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("My_Desk",),
            "My_Desk: 'My_Desk' is not a valid organism name: small letters, digits and '-', a letter first; name it as in --name my-desk\n",
        ),
        (
            ("desk", "--name", "9x\x1b"),
            "--name 9x\\x1b: is not a valid organism name: small letters, digits and '-', a letter first; name it as in --name x\n",
        ),
        (
            ("desk", "--template", "teem"),
            "--template teem: is not known; did you mean 'team'?; there are: minimal, team\n",
        ),
    ],
)
def test_names_that_cannot_be_are_refused(desk: Desk, arguments: tuple[str, ...], said: str) -> None:
    ran = desk.organism("init", *arguments)
    assert (ran.code, ran.out, ran.err) == (2, "", said)
    assert not (desk.folder / arguments[0]).exists()


def test_a_name_may_be_given(desk: Desk) -> None:
    assert desk.organism("init", "My_Desk", "--name", "my-desk").code == 0
    assert "organism: my-desk\n" in (desk.folder / "My_Desk/organism.yaml").read_text("utf-8")
