"""Modules of odd kinds beside the file: packages, open folders, what was made by hand, and what is no module at all."""

from __future__ import annotations

import importlib.machinery
import json
import sys
import types
from typing import TYPE_CHECKING

import pytest

from organism import loader
from organism.errors import ConfigurationError

if TYPE_CHECKING:
    from tests.config.conftest import Project


def problem(project: Project, reference: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        loader.load_object(reference, project.folder)
    (line,) = caught.value.mistakes
    return line


def test_an_object_of_a_package(project: Project) -> None:
    project.write("shop/__init__.py", "name = 'shop'\n")
    assert loader.load_object("shop:name", project.folder) == "shop"
    assert loader.load_object("shop:name", project.folder) == "shop"


def test_an_open_folder_that_is_called_as_a_module_of_python(project: Project) -> None:
    project.write("json/thing.py", "name = 'x'\n")
    said = problem(project, "json.thing:name")
    assert said == (
        f"module 'json' is {project.folder / 'json'} here, but was loaded from {json.__file__} before: rename one of them"
    )


def test_a_module_that_was_made_by_hand(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "handmade", types.ModuleType("handmade"))
    project.write("handmade.py", "name = 'x'\n")
    said = problem(project, "handmade:name")
    assert f"{project.folder / 'handmade.py'} here, but was loaded from Python itself before" in said


def test_an_extension_that_is_none_has_no_line_to_name(project: Project) -> None:
    project.write(f"broken{importlib.machinery.EXTENSION_SUFFIXES[0]}", b"no library")
    said = problem(project, "broken:name")
    assert said.startswith("cannot import 'broken': ImportError: ")
