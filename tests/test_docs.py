"""The documentation is run: every file it shows is written, every command typed, and what came is compared with the page.

A block whose fence names a file (``python hello.py``) is that file. A ``console`` block holds commands after ``$`` and what they
print; ``console repository`` runs in the repository, whose own texts are read there: its figures may move, its words may not.
"""

from __future__ import annotations

import ast
import io
import os
import pkgutil
import re
import runpy
import shlex
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import yaml
from attrs import frozen

import organism
from organism import (
    facts,
    record,
    testing,
)
from organism.cli.main import COMMANDS, execute
from organism.cli.streams import Streams
from organism.config import backends, budgets, compaction, document, handlers
from organism.testing import Watched
from tests.hard.time_of_day import let_it_be_noon

if TYPE_CHECKING:
    from collections.abc import Iterator

    from organism.config.sections import Record

ROOT: Final = Path(__file__).parent.parent
PAGES: Final = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
FENCE: Final = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK: Final = re.compile(r"\[[^\]]*\]\((?!https?://)(?P<target>[^)#\s]+)(?:#[^)\s]*)?\)")
TELEMETRY: Final = {
    name
    for module in (ROOT / "organism" / "telemetry").glob("*.py")
    for name in re.findall(r'"organism\.([\w.]+)"', module.read_text("utf-8"))
}
"""What OpenTelemetry is told, without ``organism`` before it."""
ANCHOR: Final = re.compile(r"\[[^\]]*\]\((?!https?://)(?P<target>[^)#\s]*)#(?P<heading>[^)\s]+)\)")
SOURCE: Final = re.compile(r"\[`(?P<name>[\w.]+)`\]\((?P<target>[^)#\s]+\.py)\)")
RUN: Final = {"console", "python", "yaml"}
"""Languages of blocks that must be run: no page shows code that nobody has tried."""


@frozen
class Block:
    """A fenced block. ``name`` is the second word of its fence: a file, or where a console stands."""

    language: str
    name: str
    body: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found = [(match["info"].partition(" "), match["body"]) for match in FENCE.finditer(page.read_text("utf-8"))]
    return [Block(language, name.strip(), body) for (language, _, name), body in found]


class Desk:
    """A terminal in a folder: it types what a page says, and keeps the exit code of the last command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.code = 0

    def typed(self, command: str) -> str:
        """What one command prints, standard error included, as a terminal shows it."""
        fed, bar, piped = command.partition(" | ")
        said = f"{' '.join(shlex.split(fed)[1:])}\n" if bar and fed.startswith("echo ") else ""
        program, *arguments = shlex.split(piped if said else command)
        printed = io.StringIO()
        if program == "echo" and arguments == ["$?"]:
            return f"{self.code}\n"
        with fresh_modules(self.folder), redirect_stdout(printed), redirect_stderr(printed):
            if program == "organism":
                self.code = execute(arguments, Streams(printed, printed, io.StringIO(said)))
            elif program == "python":
                runpy.run_path(arguments[0], run_name="__main__")
            elif program == "pytest":
                printed.write(self._tested(arguments))
            elif program == "make":
                assert arguments == ["run"]  # which is `organism run`: tests/test_repository.py looks at the Makefile
                self.code = execute(["run"], Streams(printed, printed, io.StringIO()))
            else:
                pytest.fail(f"nobody has said how to run '{program}'")
        return printed.getvalue()

    def _tested(self, arguments: list[str]) -> str:
        """What a run of pytest prints, in a process of its own: this one knows nothing of plugins that it has."""
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        path = os.pathsep.join([str(ROOT), *sys.path])
        run = subprocess.run(  # noqa: S603
            command, cwd=self.folder, env=kept | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
        )
        self.code = run.returncode
        return run.stdout


class fresh_modules:  # noqa: N801 - used as a context manager
    """Forgets every module of a folder afterwards: the next command is a new process to the reader."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path: list[str] = []
        self._modules: set[str] = set()

    def __enter__(self) -> None:
        self._path = list(sys.path)
        self._modules = set(sys.modules)
        sys.path.insert(0, str(self._folder))

    def __exit__(self, *_: object) -> None:
        sys.path[:] = self._path
        for name in set(sys.modules) - self._modules:
            file = getattr(sys.modules[name], "__file__", None)
            ours = (
                name.partition(".")[0] == "organism"
            )  # the checkout has the package as well, whose classes others know
            if file is not None and not ours and Path(file).is_relative_to(self._folder):
                del sys.modules[name]
        sys.path_importer_cache.pop(str(self._folder), None)


def steadied(text: str, *, figures: bool) -> list[str]:
    """Lines without what differs from run to run: ids, seconds, instants, and blanks; without ``figures`` all numbers too."""
    text = re.sub(r"\b[0-9a-f]{16}\b", "<id>", text)
    text = re.sub(r"\d+\.\d\ds?$", "<seconds>", text, flags=re.MULTILINE)
    text = re.sub(r"^seconds {2,}.*$", "seconds  <seconds>", text, flags=re.MULTILINE)
    text = re.sub(r"\b\d{4}-\d\d-\d\d \d\d:\d\d UTC", "<instant>", text)
    if not figures:
        text = re.sub(r", [\d,]+ held", "", text)
        text = re.sub(r"\d[\d,.]*\d|\d", "<n>", text)
    text = re.sub(r"-{5,}", "-----", text)
    return [re.sub(r" {2,}", "  ", line).rstrip() for line in text.splitlines()]


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """The commands of a console and what each prints."""
    for part in re.split(r"^\$ ", block.body, flags=re.MULTILINE)[1:]:
        command, _, printed = part.partition("\n")
        yield command, printed


def executed(page: Path) -> bool:
    return any(block.language == "console" for block in blocks(page))


@pytest.mark.parametrize("page", [page for page in PAGES if executed(page)], ids=lambda page: page.name)
def test_a_page_does_what_it_says(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    let_it_be_noon(monkeypatch)
    # `python` is that of the environment, as where that was activated.
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    for name in [name for name in os.environ if name.startswith("ORGANISM_")]:
        monkeypatch.delenv(name)
    desk, checkout = Desk(tmp_path), Desk(ROOT)
    for block in blocks(page):
        if block.language == "console":
            at_root = block.name == "repository"
            monkeypatch.chdir(ROOT if at_root else tmp_path)
            for command, printed in commands(block):
                with pytest.MonkeyPatch.context() as patch:
                    if at_root:  # nothing is left in the repository
                        patch.setenv("ORGANISM_JOURNAL", f"sqlite:{tmp_path / 'checkout.db'}")
                    came = (checkout if at_root else desk).typed(command)
                assert steadied(came, figures=not at_root) == steadied(printed, figures=not at_root), command
        elif block.name:
            path = tmp_path / block.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.body, "utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_shows_code_that_is_not_run(page: Path) -> None:
    shown = [block for block in blocks(page) if block.language in RUN]
    assert all(block.name or block.language == "console" for block in shown)
    assert not shown or executed(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    targets = [match["target"] for match in LINK.finditer(page.read_text("utf-8"))]
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_headings(page: Path) -> None:
    found = [(match["target"] or page.name, match["heading"]) for match in ANCHOR.finditer(page.read_text("utf-8"))]
    assert [(target, heading) for target, heading in found if heading not in anchors(page.parent / target)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_into_the_source_name_what_is_defined_there(page: Path) -> None:
    found = [(match["name"], match["target"]) for match in SOURCE.finditer(page.read_text("utf-8"))]
    assert [(name, target) for name, target in found if name not in defined(page.parent / target)] == []


def defined(module: Path) -> set[str]:
    """The classes and functions that a module defines, and methods as ``Class.method``."""
    names: set[str] = set()
    for node in ast.parse(module.read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
            names |= {f"{node.name}.{each.name}" for each in node.body if hasattr(each, "name")}
    return names


def anchors(page: Path) -> set[str]:
    """What links may name of a page: its headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_rule_that_is_cited_is_told() -> None:
    told = set(re.findall(r"^\*\*(R\d+)\.\*\*", (ROOT / "docs/reference/rules.md").read_text("utf-8"), re.MULTILINE))
    sources = [path for folder in ("organism", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    cited = {rule for path in sources for rule in re.findall(r"\bR[1-9]\d?\b", path.read_text("utf-8"))}
    assert cited - told == set()


def test_the_readme_shows_a_running_organism_at_once() -> None:
    head = (ROOT / "README.md").read_text("utf-8").splitlines()[:40]
    assert "$ make run" in head
    assert any(line.startswith("desk: Answer") for line in head)
    assert "simulated" in "\n".join(head)


def test_two_handlers_need_ten_lines_of_python_and_twelve_of_yaml() -> None:
    shown = {block.language: block.body.splitlines() for block in blocks(ROOT / "README.md") if block.name}
    assert len([line for line in shown["python"] if line.strip()]) <= 10
    assert len([line for line in shown["yaml"] if line.strip()]) <= 12
    document = yaml.safe_load("\n".join(shown["yaml"]))
    assert sum("code" in handler for handler in document["handlers"].values()) == 2


def test_the_reference_names_what_there_is() -> None:
    python = (ROOT / "docs/reference/python.md").read_text("utf-8")
    exported, _, _ = python.partition("\n## ")
    assert set(re.findall(r"^\| `(\w+)` \|", exported, re.MULTILINE)) == set(organism.__all__)
    line = (ROOT / "docs/reference/command-line.md").read_text("utf-8")
    assert set(re.findall(r"^## `organism ([\w-]+)", line, re.MULTILINE)) == set(COMMANDS)


def test_the_reference_names_what_tests_are_given() -> None:
    python = (ROOT / "docs/reference/python.md").read_text("utf-8")
    assert set(testing.__all__) - set(re.findall(r"`(\w+)", python)) == set()


OTHERS: Final = {"db", "md", "schema", "yaml"}
"""What stands behind `organism.` in names of files."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_of_the_package_are_there(page: Path) -> None:
    """Modules and what is in them, and what an organism of a test has."""
    text = FENCE.sub("", page.read_text("utf-8"))
    named = {
        name for name in re.findall(r"`(?:await )?organism\.([\w.]*\w)", text) if name.partition(".")[0] not in OTHERS
    }
    there = {*dir(Watched), *Watched.__annotations__} | TELEMETRY
    assert sorted(name for name in named if not {name, name.partition(".")[0]} & there and not _imported(name)) == []


REFERENCE: Final = re.compile(r":(?:attr|class|data|func|meth|mod):`~?organism\.(?P<name>[\w.]+)`")


def test_references_in_the_source_lead_somewhere() -> None:
    sources = (ROOT / "organism").rglob("*.py")
    named = {match["name"] for path in sources for match in REFERENCE.finditer(path.read_text("utf-8"))}
    assert sorted(name for name in named if not _imported(name)) == []


def _imported(name: str) -> bool:
    try:
        pkgutil.resolve_name(f"organism.{name}")
    except (ImportError, AttributeError):
        return False
    return True


def test_every_fact_has_its_public_name() -> None:
    every = {
        name for name, each in vars(record.facts).items() if isinstance(each, type) and issubclass(each, facts.Fact)
    }
    assert set(facts.__all__) == every
    assert {each.__name__ for each in record.facts.FACTS} == every - {"Fact"}, "the schema lists what stands there"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_reference_has_every_option_of_a_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs/reference/command-line.md").read_text("utf-8")
    (section,) = re.findall(rf"^## `organism {command}(?: [^`]*)?`\n(.*?)(?=^## )", page, re.MULTILINE | re.DOTALL)
    said = {"--debug", *re.findall(r"--[\w-]+", section)}
    _, _, readers = page.partition("## Commands that read a journal\n")
    if f"## `organism {command}" in readers:
        said |= {"--file", "--journal"}
    if "those of `run`" in section:
        said |= set(re.findall(r"^\| `(--[\w-]+)", page.partition("## `organism resume")[0], re.MULTILINE))
    assert execute([command, "--help"], Streams(io.StringIO(), io.StringIO(), io.StringIO())) == 0
    _, _, options = capsys.readouterr().out.partition("\nOptions:\n")
    assert "--debug" in options
    there = {name for line in options.splitlines() for name in re.findall(r"--[\w-]+", line[:26])}
    assert there - said == set()


SECTIONS: Final = {
    "Top": document.TOP,
    "Budget": budgets.ROOT_BUDGET,
    "Models": backends.MODEL,
    "Backends": backends._BACKEND,
    "Handlers": handlers.HANDLER,
    "Agent": handlers._AGENT,
    "Compaction": compaction.COMPACTION.shape,
    "Prune": compaction.PRUNE.shape,
}


@pytest.mark.parametrize("section", SECTIONS)
def test_the_reference_has_every_key_of_the_file(section: str) -> None:
    page = (ROOT / "docs/reference/configuration.md").read_text("utf-8")
    table = page.partition(f"## {section}\n")[2].partition("\n## ")[0]
    record: Record = SECTIONS[section]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(record.keys)
