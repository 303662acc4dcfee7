"""Code that a configuration names: how it is found, and how it is said that it is not."""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any, Optional

import pytest
from attrs import frozen

from organism.errors import ConfigurationError
from organism.loader import accepts_of, description_of, load_object
from organism.payloads import payload
from organism.primitives import BudgetWarning

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from organism import Context
    from tests.config.conftest import Project


@payload
class Question:
    text: str


@payload
class Answer:
    text: str


def _problem(reference: str, folder: Path | None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_object(reference, folder)
    (problem,) = caught.value.mistakes
    return problem if folder is None else problem.replace(str(folder), "FOLDER")


def test_an_object_beside_the_file(project: Project) -> None:
    project.write("tools/deep/search.py", "class Index:\n    limit = 7\n")
    assert load_object("tools.deep.search:Index.limit", project.folder) == 7
    assert sys.path[0] == str(project.folder.resolve())


def test_an_object_of_python(project: Project) -> None:
    assert load_object("json:dumps", project.folder) is json.dumps
    assert load_object("json:dumps", None) is json.dumps


def test_the_folder_is_on_the_path_once(project: Project) -> None:
    for _ in range(3):
        load_object("desk:look", project.folder)
    assert sys.path.count(str(project.folder.resolve())) == 1


def test_a_module_is_executed_once(project: Project) -> None:
    assert load_object("desk:look", project.folder) is load_object("desk:look", project.folder)


FAILING = [
    ({}, "desk", "'desk' is not a reference to code: write it as in 'package.module:name'"),
    ({}, "desk:", "'desk:' is not a reference to code: write it as in 'package.module:name'"),
    ({}, "../desk:look", "'../desk:look' is not a reference to code: write it as in 'package.module:name'"),
    ({}, "dosk:look", "there is no module 'dosk' in FOLDER; did you mean 'desk'?"),
    ({}, "desk.sub:look", "there is no module 'desk.sub': 'desk' is not a package"),
    ({"pack/__init__.py": "", "pack/hello.py": ""}, "pack.helo:x", "there is no module 'pack.helo' in FOLDER/pack; did you mean 'hello'?"),
    ({}, "desk:luok", "module 'desk' has no 'luok'; did you mean 'look'?"),
    ({}, "desk:look.more", "module 'desk' has no 'look.more'"),
    ({"bad.py": "x = 1\nimport absent_library\n"}, "bad:x", "cannot import 'bad': FOLDER/bad.py:2: ModuleNotFoundError: No module named 'absent_library'"),
    ({"bad.py": "import worse\n", "worse.py": "\n\ndef f():\n    return 1 / 0\n\nf()\n"}, "bad:x", "cannot import 'bad': FOLDER/worse.py:2: ZeroDivisionError: division by zero"),
    ({"bad.py": "x = 1\ndef f(:\n"}, "bad:x", "cannot import 'bad': FOLDER/bad.py:2: SyntaxError: invalid syntax"),
    ({"bad.py": "import sys\nsys.exit('bye')\n"}, "bad:x", "cannot import 'bad': FOLDER/bad.py:2: SystemExit: bye"),
    ({"bad.py": "raise ValueError('one\\ntwo')\n"}, "bad:x", "cannot import 'bad': FOLDER/bad.py:1: ValueError: one"),
    ({"bad.py": "def __getattr__(name):\n    raise OSError(name)\n"}, "bad:x", "cannot import 'bad': FOLDER/bad.py:2: OSError: x"),
]  # fmt: skip


@pytest.mark.parametrize(("files", "reference", "problem"), FAILING)
def test_what_cannot_be_loaded(project: Project, files: dict[str, str], reference: str, problem: str) -> None:
    for name, text in files.items():
        project.write(name, text)
    assert _problem(reference, project.folder) == problem


def test_a_module_that_failed_is_tried_again(project: Project) -> None:
    path = project.write("flaky.py", "1 / 0\n")
    assert "ZeroDivisionError" in _problem("flaky:x", project.folder)
    path.write_text("x = 5  # repaired\n")
    assert load_object("flaky:x", project.folder) == 5


@pytest.mark.parametrize("name", ["desk.py", "desk/__init__.py"])
def test_a_module_of_that_name_from_elsewhere(project: Project, name: str) -> None:
    load_object("desk:look", project.folder)
    other = project.write(f"other/{name}", "look = None\n").parent
    folder = other if name == "desk.py" else other.parent
    mine = folder / name
    assert _problem("desk:look", folder) == (
        f"module 'desk' is {mine} here, but was loaded from {project.folder / 'desk.py'} before: rename one of them"
    ).replace(str(folder), "FOLDER")


def test_two_folders_with_open_packages(project: Project) -> None:
    project.write("handlers/one.py", "x = 1\n")
    project.write("other/handlers/one.py", "x = 2\n")
    project.write("other/handlers/two.py", "x = 3\n")
    other = project.folder / "other"
    assert load_object("handlers.one:x", project.folder) == 1
    assert load_object("handlers.two:x", other) == 3
    assert "handlers.one' is FOLDER/handlers/one.py here, but was loaded from" in _problem("handlers.one:x", other)


def test_a_reference_into_organism_means_the_one_that_runs(project: Project) -> None:
    project.write("organism/__init__.py", "primitives = None\n")
    assert load_object("organism.primitives:BudgetWarning", project.folder) is BudgetWarning


def test_a_name_of_the_standard_library_is_taken(project: Project) -> None:
    project.write("json.py", "dumps = None\n")
    assert _problem("json:dumps", project.folder).startswith(
        "module 'json' is FOLDER/json.py here, but was loaded from "
    )


async def _one(question: Question, ctx: Context) -> None:
    """Takes one."""


async def _two(message: Question | Answer, ctx: object) -> None: ...
async def _old(message: Optional[Question], ctx: object) -> None: ...  # noqa: UP045
async def _text(message: Annotated[Question, "doc"], ctx: object) -> None: ...
async def _inner(message: "Question | Answer", ctx: object) -> None: ...  # noqa: UP037
async def _default(message: Question, ctx: object, extra: int = 0) -> None: ...
async def _bare(message, ctx: object) -> None: ...  # type: ignore[no-untyped-def]
async def _anything(message: Any, ctx: object) -> None: ...
async def _number(message: int, ctx: object) -> None: ...
async def _unknown(message: Nowhere, ctx: object) -> None: ...  # type: ignore[name-defined]  # noqa: F821
async def _lonely(message: Question) -> None: ...
async def _three(message: Question, ctx: object, more: object) -> None: ...
async def _keyword(message: Question, ctx: object, *, more: object) -> None: ...
async def _rest(*messages: Question) -> None: ...
async def _yields(message: Question, ctx: object) -> AsyncIterator[int]:
    yield 1


def _plain(message: Question, ctx: object) -> None:
    """Is plain."""


def _wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def inner(*args: Any) -> Any:
        return await function(*args)

    return inner


class Greeter:
    """Greets."""

    async def __call__(self, message: Question, ctx: Context) -> None: ...

    async def answer(self, message: Answer, ctx: Context) -> None:
        """Answers."""


@frozen
class Bare:
    async def __call__(self, message: Question, ctx: Context) -> None:
        """Is bare."""


@dataclasses.dataclass
class Data:
    depth: int = 1

    async def __call__(self, message: Question, ctx: Context) -> None:
        """Is data."""


GOOD: list[tuple[Callable[..., Any], tuple[type, ...], str]] = [
    (_one, (Question,), "Takes one."),
    (_two, (Question, Answer), ""),
    (_text, (Question,), ""),
    (_inner, (Question, Answer), ""),
    (_default, (Question,), ""),
    (_plain, (Question,), "Is plain."),
    (_wrapped(_one), (Question,), "Takes one."),
    (functools.partial(_three, more=1), (Question,), ""),
    (Greeter(), (Question,), "Greets."),
    (Greeter().answer, (Answer,), "Answers."),
    (Bare(), (Question,), "Is bare."),
    (Data(), (Question,), "Is data."),
]


@pytest.mark.parametrize(("handler", "accepts", "description"), GOOD)
def test_what_a_handler_takes(handler: Callable[..., Any], accepts: tuple[type, ...], description: str) -> None:
    assert accepts_of(handler) == accepts
    assert description_of(handler) == description


AT_TOP = "payload classes must be known at the top of the module, and not to type checkers alone"
SHAPE = "a handler is 'async def h(message: P, ctx: Context)', or a plain 'def', which runs in a worker thread"
BAD = [
    (_yields, f"'_yields' yields: return the answers instead, as a list where there are several; {SHAPE}"),
    (_lonely, f"'_lonely' cannot be called with a message and a context; {SHAPE}"),
    (_three, f"'_three' cannot be called with a message and a context; {SHAPE}"),
    (_keyword, f"'_keyword' cannot be called with a message and a context; {SHAPE}"),
    (_rest, f"'_rest' does not name its message: '*messages' takes anything; {SHAPE}"),
    (_bare, "'_bare' does not say what it takes: annotate 'message' with a payload class"),
    (_anything, "'_anything' takes 'Any', which is not a payload class: put @payload on it, or annotate another one"),
    (_number, "'_number' takes 'int', which is not a payload class: put @payload on it, or annotate another one"),
    (_old, "'_old' takes 'NoneType', which is not a payload class: put @payload on it, or annotate another one"),
    (Greeter, f"'Greeter' is a class: name an object of it, or a function; {SHAPE}"),
    (5, f"'int' cannot be called; {SHAPE}"),
    (
        _unknown,
        f"'_unknown': the annotation of 'message' cannot be resolved (NameError: name 'Nowhere' is not defined); {AT_TOP}",
    ),
]


@pytest.mark.parametrize(("handler", "problem"), BAD)
def test_what_is_no_handler(handler: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        accepts_of(handler)
    assert caught.value.mistakes == (problem,)
