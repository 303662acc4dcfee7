"""What the files around the code promise: reasons, pins, a wheel with nothing else in it, no trace of a machine."""

from __future__ import annotations

import ast
import itertools
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any, Final

import pytest

from tests.test_architecture import LIBRARIES, STANDARD

ROOT: Final = Path(__file__).parent.parent
TEXT: Final = (ROOT / "pyproject.toml").read_text("utf-8")
PYPROJECT: Final[dict[str, Any]] = tomllib.loads(TEXT)
LINT: Final[dict[str, Any]] = PYPROJECT["tool"]["ruff"]["lint"]
IGNORED: Final[list[str]] = [*LINT["ignore"], *itertools.chain(*LINT["per-file-ignores"].values())]
ITSELF: Final = "organism["
"""An extra may gather other extras of the project; what they ask for is looked at where they stand."""

REQUIREMENT: Final = re.compile(r"(?P<name>[\w.-]+)(?:\[[\w,-]+\])?(?P<rest>.*)")
PIN: Final = re.compile(
    r"^(?P<name>[\w.-]+)==(?P<version>\S+)(?P<marker> ; [^\\]+)? \\\n(?P<hashes>(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)",
    re.MULTILINE,
)
TRACES: Final = re.compile(
    r"(?<![\w.~-])/(?:work|root|home|Users|opt)/"
    r"|pypi\.org|pythonhosted\.org|registry\.npmjs\.org|registry\.yarnpkg\.com|--(?:extra-)?index-url[ =]|--find-links[ =]"
    r"|pip install (?:-\S+ )*[\"']?organism\b"
)
"""Paths of somebody's machine, hosts of package registries (where packages come from is the user's choice), and the bare name of the
project as something to install: in registries it is somebody else's package.
"""


def test_no_text_of_the_package_names_a_file_that_a_wheel_does_not_carry() -> None:
    """Docstrings may: who reads the sources has the documents, too."""
    found: list[str] = []
    for path in (ROOT / "organism").rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        docs = {id(each.value) for each in ast.walk(tree) if isinstance(each, ast.Expr)}
        found += [
            f"{path.relative_to(ROOT)}:{each.lineno} {each.value}"
            for each in ast.walk(tree)
            if isinstance(each, ast.Constant) and isinstance(each.value, str) and id(each) not in docs
            if re.search(r"\b(docs|tests|benchmarks|changelog\.d)/", each.value)
        ]
    assert found == []


def requirements(*groups: str) -> list[str]:
    """What pyproject asks for: the dependencies, those of all extras, and those of the named groups."""
    project = PYPROJECT["project"]
    extras = [asked for extra in project["optional-dependencies"].values() for asked in extra]
    named = [asked for group in groups for asked in PYPROJECT["dependency-groups"][group]]
    return [asked for asked in [*project["dependencies"], *extras, *named] if not asked.startswith(ITSELF)]


def name_of(requirement: str) -> str:
    found = REQUIREMENT.match(requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found["name"]).lower()


def pins(lock: str) -> dict[str, str]:
    """Name and version of everything in a lock file, by its own pattern: whatever else stands there is an error."""
    body = "".join(line for line in (ROOT / lock).read_text("utf-8").splitlines(keepends=True) if line[0] != "#")
    assert PIN.sub("", body) == "", f"{lock} holds something else than pins with hashes"
    return {found["name"]: found["version"] for found in PIN.finditer(body)}


def has_a_reason(entry: str) -> bool:
    """Whether every line of pyproject.toml that lists the entry ends in a comment of more than a word."""
    lines = [line for line in TEXT.splitlines() if f'"{entry}"' in line]
    return bool(lines) and all(len(line.partition("#")[2].split()) > 1 for line in lines)


@pytest.mark.parametrize(
    "requirement", [*requirements("build", "dev", "bench"), *PYPROJECT["build-system"]["requires"]]
)
def test_a_dependency_has_a_floor_and_a_reason(requirement: str) -> None:
    found = REQUIREMENT.match(requirement)
    assert found
    assert re.fullmatch(r">=\d+(\.\d+)*", found["rest"]), "a floor, and no ceiling: that would be guessed"
    assert has_a_reason(requirement)


EXTRAS: Final = {
    "mcp": ["mcp"],
    "models.anthropic": ["anthropic"],
    "models.openai": ["openai"],
    "models.transport": ["anthropic", "openai"],
    "server": ["simulate"],
    "telemetry": ["otel"],
}
"""What is to be installed where a room is loaded, beside what always is."""
FOR_TYPES: Final = {"httpcore2", "typing_extensions"}
"""Imported for type checkers alone."""


@pytest.mark.parametrize("library", sorted(set(LIBRARIES) - STANDARD - FOR_TYPES))
def test_what_is_imported_is_asked_for(library: str) -> None:
    """And not only brought along by something else, which may do without it in its next version."""
    project = PYPROJECT["project"]
    always = {name_of(each) for each in project["dependencies"]}
    brings = {re.sub(r"[-_.]+", "-", each).lower() for each in packages_distributions()[library]}
    for room in LIBRARIES[library]:
        for extra in EXTRAS.get(room, [None]):
            asked = always | {name_of(each) for each in project["optional-dependencies"].get(extra, ())}
            assert brings & asked, (
                f"'{library}' of room '{room}' is not asked for{f' by extra {extra}' if extra else ''}"
            )


def test_every_group_is_looked_at() -> None:
    assert set(PYPROJECT["dependency-groups"]) == {"build", "dev", "bench"}


def test_the_extra_all_gathers_the_others() -> None:
    extras = dict(PYPROJECT["project"]["optional-dependencies"])
    assert extras.pop("all") == [f"organism[{','.join(sorted(extras))}]"]


@pytest.mark.parametrize("rule", IGNORED)
def test_a_rule_is_ignored_for_a_reason(rule: str) -> None:
    assert has_a_reason(rule)


def test_the_checks_are_as_strict_as_they_come() -> None:
    tools = PYPROJECT["tool"]
    assert LINT["select"] == ["ALL"]
    assert tools["mypy"]["strict"] is True
    assert tools["pyright"]["typeCheckingMode"] == "strict"
    assert tools["pytest"]["ini_options"]["filterwarnings"][0] == "error"


@pytest.mark.parametrize(
    ("lock", "groups"),
    [
        ("requirements.lock", ["build"]),
        ("requirements-dev.lock", ["build", "dev"]),
        ("requirements-bench.lock", ["build", "dev", "bench"]),
    ],
)
def test_a_lock_pins_every_dependency(lock: str, groups: list[str]) -> None:
    pinned = pins(lock)
    asked = {name_of(requirement): requirement for requirement in requirements(*groups)}
    assert not asked.keys() - pinned.keys(), "run `make lock`"
    for name, requirement in asked.items():
        floor = requirement.rpartition(">=")[2]
        assert figures(pinned[name]) >= figures(floor), f"{name}: run `make lock`"


def figures(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, for comparing with a floor."""
    found = re.match(r"\d+(\.\d+)*", version)
    assert found, version
    return tuple(map(int, found[0].split(".")))


def test_the_locks_agree() -> None:
    assert pins("requirements.lock").items() <= pins("requirements-dev.lock").items()


def test_the_wheel_holds_the_package_and_nothing_else(tmp_path: Path) -> None:
    build = "import sys, hatchling.build as b; print(b.build_wheel(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, check=True, capture_output=True)  # noqa: S603
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    info = f"organism-{PYPROJECT['project']['version']}.dist-info"
    assert {name.split("/")[0] for name in names} == {"organism", info}
    assert {"organism/__init__.py", "organism/py.typed", f"{info}/licenses/LICENSE"} <= names
    templates = (path for path in (ROOT / "organism/cli/templates").rglob("*") if path.is_file())
    assert {path.relative_to(ROOT).as_posix() for path in templates} == {
        name for name in names if "/templates/" in name
    }
    assert {name for name in names if name.endswith(".py")} == {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "organism").rglob("*.py")
    }


def test_no_file_tells_of_a_machine() -> None:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("only a git checkout knows which files belong to the project")
    listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True)  # noqa: S603
    told: list[str] = []
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = ROOT / name
        if path.is_file():
            text = path.read_bytes().decode("utf-8", "replace")
            told += [f"{name}: {found[0]}" for found in TRACES.finditer(text)]
    assert told == []


@pytest.mark.parametrize(
    ("text", "trace"),
    [
        ("cd /{}/main", "work"),
        ("'/{}/.cache'", "root"),
        ("file:///{}/wheels", "opt"),
        ("https://{}/simple", "pypi" + ".org"),
        ("--index-{} x", "url"),
        ('pip install -q "{}[openai]"', "organism"),
    ],
)
def test_a_trace_is_seen(text: str, trace: str) -> None:
    assert TRACES.search(text.format(trace))
    assert not TRACES.search("see docs/work/notes.md, ./root/x, ~/home/y and https://example.org/work-in-progress")
    assert not TRACES.search("pip install ../organism, pip install 'PATH[openai]'")


Make = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Runs make with a virtual environment that looks whole, and gives back what it said."""
    program = shutil.which("make")
    if program is None:
        pytest.skip("there is no make")
    for name in ("pyvenv.cfg", ".run", ".test"):
        (tmp_path / name).touch()

    def made(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        command = [program, *arguments, f"VENV={tmp_path}"]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)  # noqa: S603

    return made


def test_nothing_is_installed_while_nothing_changes(make: Make) -> None:
    said = make("--dry-run", "run", "ARGS=--json").stdout.splitlines()
    assert [line.partition("/bin/")[2] for line in said] == ["organism run --json"]


@pytest.mark.parametrize(("target", "lock"), [("run", "requirements.lock"), ("check", "requirements-dev.lock")])
def test_a_newer_lock_is_installed(make: Make, tmp_path: Path, target: str, lock: str) -> None:
    for stamp in (tmp_path / ".run", tmp_path / ".test"):
        os.utime(stamp, (0, 0))
    said = make("--dry-run", target).stdout
    assert f"--require-hashes --requirement {lock}" in said
    assert "--no-deps --no-build-isolation --editable ." in said


def test_make_test_runs_every_check_in_order(make: Make) -> None:
    said = make("--dry-run", "test").stdout
    shown = re.findall(r"/bin/(ruff check|ruff format --check|mypy|pyright|pytest)\b", said)
    assert shown == ["ruff check", "ruff format --check", "mypy", "pyright", "pytest"]


@pytest.mark.parametrize("python", ["python-that-is-not-there", "false"])
def test_a_python_that_does_not_do_is_told_in_one_line(make: Make, tmp_path: Path, python: str) -> None:
    for made in tmp_path.iterdir():
        made.unlink()
    done = make("run", f"PYTHON={python}")
    assert done.returncode == 2
    told = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(told) == 1
    assert told[0].startswith(f"organism needs Python 3.11 or newer; '{python}' is ")
    assert told[0].endswith("choose one: make run PYTHON=python3.12")


def test_a_change_must_pass_make_test() -> None:
    script = ROOT / ".ci" / "run"
    text = script.read_text("utf-8")
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in text
    assert re.search(r"^make test\b", text, re.MULTILINE)
    assert script.stat().st_mode & 0o111


def test_a_fragment_is_named_by_number_and_noun() -> None:
    folder = ROOT / "changelog.d"
    names = sorted(path.name for path in folder.iterdir())
    assert names[-1] == "README.md"
    assert len(names) > 1
    assert all(re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", name) for name in names[:-1])
