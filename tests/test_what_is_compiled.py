"""What pyproject.toml lets mypyc compile is what decides and what steps, without what awaits: its coroutines do not stand what event loops throw."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
AWAITS: Final = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)


def compiled() -> list[Path]:
    """The modules that the build compiles where it is asked to."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    hook = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["mypyc"]
    found = {path: path for pattern in hook["include"] for path in ROOT.glob(pattern.removeprefix("/"))}
    for pattern in hook["exclude"]:
        left_out = [path for path in found if path.match(pattern.removeprefix("/"))]
        assert left_out, f"{pattern} leaves nothing out"
        for path in left_out:
            del found[path]
    return sorted(found)


def test_every_pattern_names_modules_that_are_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["mypyc"]["include"]
    assert [each for each in included if not list(ROOT.glob(each.removeprefix("/")))] == []
    assert ROOT / "organism/pump/stepper.py" in compiled()


def test_nothing_that_is_compiled_awaits() -> None:
    waiting = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in compiled()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, AWAITS)
    ]
    assert waiting == []


def test_fields_of_attrs_classes_say_their_types_alone() -> None:
    """mypyc looks the names of types up where Python's own stand for nothing, and takes `field(...)` for the value: neither module could be
    imported. ``Any`` says what ``object`` does.
    """
    fields = [
        f"{path.relative_to(ROOT)}:{each.lineno}"
        for path in compiled()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef) and any("define" in name or "frozen" in name for name in decorators(node))
        for each in node.body
        if isinstance(each, ast.AnnAssign)
        and (
            ast.unparse(each.annotation) == "object"
            or (
                isinstance(each.value, ast.Call) and ast.unparse(each.value.func) in {"field", "Factory", "attrs.field"}
            )
        )
    ]
    assert fields == []


def decorators(node: ast.ClassDef) -> list[str]:
    """What a class is decorated with, as it is written."""
    return [ast.unparse(each) for each in node.decorator_list]
