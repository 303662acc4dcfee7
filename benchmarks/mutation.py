"""Mutation test: is every rule of the budget and the kernel held by a test? And what the other rooms do?

    python benchmarks/mutation.py [MUTANTS] [SEED] [ROOM] [PATH]...

Breaks the code in so many places, one at a time and drawn by the seed, and runs the tests that pass there, the quickest first; what
survives is shown to the slow ones. A mutant that no test notices survives: its place is printed, and what was changed. One whose
tests do not end counts as killed, and is said to hang. ``ROOM`` is one of ``ROOMS``, ``rules`` where none is named; ``PATH`` names files
or folders of it instead of all. Which test passes where is found out once for a room, in some minutes, and kept in ``build/`` until
the code changes.

Prints ``RESULT {"mutants": ..., "equivalent": ..., "judged": ..., "killed": ..., "survived": ..., "rate": ...}``. A survivor is a test
that is missing, code that nobody needs, or a change that changes nothing. Those of the last kind that are known stand in
``equivalent-mutants.toml`` beside this, each with the reason; they are not shown to any test, and not counted in the rate. What
stands there of code that has changed since is printed as ``stale``.
"""

from __future__ import annotations

import ast
import gc
import hashlib
import inspect
import json
import math
import os
import random
import resource
import signal
import sys
import tempfile
import time
import tomllib
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from functools import cache, partial
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, Final

import anyio  # noqa: F401 - with those below: loaded once, and not again for every mutant
import coverage
import hypothesis
import lxml.etree  # noqa: F401
import pytest
import trio.testing  # noqa: F401
from attrs import define, frozen

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from importlib.machinery import ModuleSpec

ROOT: Final = Path(__file__).resolve().parent.parent


@frozen
class Room:
    """``mutated``: the files and folders that are broken; ``tests``: those that are quick enough and say something of them, but for
    the files named ``but``; ``last``: laws that take long, shown whole to what has survived all else.
    """

    mutated: Sequence[str]
    tests: Sequence[str]
    but: Sequence[str] = ()
    last: Sequence[str] = ()

    def files(self) -> list[str]:
        """The files with its tests."""
        paths = [path for test in self.tests for path in sorted(ROOT.glob(test))]
        every = [each for path in paths for each in (sorted(path.rglob("test_*.py")) if path.is_dir() else [path])]
        return [str(each.relative_to(ROOT)) for each in every if each.stem.removeprefix("test_") not in self.but]


_RULES: Final = Room(
    ("organism/budget", "organism/kernel", "organism/threads/frames.py", "organism/threads/dependence.py"),
    (
        "tests/budget",
        *(f"tests/kernel/test_{name}.py" for name in (
            "found_by_the_machine", "images", "kernel_laws", "organisms_time", "policies_below", "told_later", "waits_for_others",
            "snapshots", "unheard", "what_facts_say",
        )),
        *(f"tests/hard/test_{name}.py" for name in (
            "accounts", "bare_threads", "budget_cases", "budget_cost", "budget_handles", "budget_laws", "budget_messages",
            "budget_nodes", "budget_notices", "budget_streams", "budget_time", "calls", "dead_letters", "downgrades", "estimates_hold",
            "forecasts", "frames", "grace", "grants", "loops", "people", "pump_cancel", "pump_ends", "pump_places",
            "raised_between_turns", "retries", "trust", "waiting", "warnings",
        )),
        "tests/durable/test_conversations.py", "tests/durable/test_hard_crashes.py", "tests/durable/test_people.py",
        "tests/durable/test_accounts.py", "tests/durable/test_retries.py", "tests/durable/test_any_conversation.py",
    ),
    last=(
        "tests/kernel", "tests/hard/test_pressure.py", "tests/durable/test_any_question.py", "tests/durable/test_any_cut.py",
        "tests/durable/test_changed_between.py", "tests/durable/test_grants_last.py", "tests/replay/test_forks.py",
    ),
)  # fmt: skip
ROOMS: Final[Mapping[str, Room]] = {
    "rules": _RULES,
    "payloads": Room(("organism/payloads",), ("tests/payloads",)),
    "config": Room(("organism/config",), ("tests/config", "tests/cli/test_check.py", "tests/hard/test_hooks.py")),
    "journal": Room(("organism/journal",), ("tests/journal", "tests/control/test_pruning.py")),
    "replay": Room(("organism/replay",), ("tests/replay",)),
    "server": Room(("organism/server",), ("tests/server",)),
    "routing": Room(
        ("organism/models/routing",),
        (
            "tests/models/test_calls.py", "tests/models/test_router*.py", "tests/models/test_unconnected.py",
            "tests/models/test_*ways_out.py", "tests/models/test_check_backend.py", "tests/hard/test_bills.py",
            "tests/hard/test_budget_streams.py", "tests/hard/test_calls.py", "tests/hard/test_closed_meanwhile.py",
            "tests/hard/test_estimates_hold.py", "tests/hard/test_metering.py", "tests/hard/test_missed_attempts.py",
            "tests/hard/test_money_said.py", "tests/hard/test_rates*.py", "tests/hard/test_streams_cut_by_money.py",
            "tests/hard/test_ways_out*.py",
        ),
    ),
    "telemetry": Room(("organism/telemetry",), ("tests/telemetry",)),
    "mcp": Room(("organism/mcp",), ("tests/mcp", "tests/cli/test_check_mcp.py")),
    "lab": Room(("organism/lab", "organism/models/routing/shared.py"), ("tests/lab", "tests/cli/test_study.py")),
    "agent": Room(
        ("organism/agent",),
        (
            "tests/agent", "tests/hard/test_compaction*.py", "tests/hard/test_grace.py", "tests/hard/test_warnings.py",
            "tests/durable/test_killed_in_compaction.py", "tests/cli/test_streaming.py",
        ),
    ),
    "cli": Room(
        ("organism/cli",), ("tests/cli",), but=("chat_cut", "interrupted_early", "killed_in_upkeep", "process", "shutdown")
    ),
    "pump": Room(
        ("organism/pump", "organism/works", "organism/threads", "organism/record", "organism/context"),
        ("tests/hard", "tests/durable", "tests/control"),
        but=(
            "any_clock", "any_cut", "any_kill", "any_question", "any_reader", "budget_laws", "chaos", "grant_laws", "growth", "marathons",
            "over_http_leaks", "over_http_real", "pressure", "pump_load", "soak",
        ),
    ),
}  # fmt: skip
EQUIVALENT: Final = Path(__file__).with_name("equivalent-mutants.toml")
START: Final = 20.0
"""Seconds that it takes to begin, at most."""
PROCESSES: Final = 2
MOST: Final = 8.0
"""Seconds of tests, as they took with unbroken code, that one mutant is shown at first."""
LONGEST: Final = 200.0
"""Seconds of them that it is shown after that, at most."""
SLOW: Final = 20.0
"""How many times as long the tests of a mutant may take before it counts as one that hangs."""
BUSY: Final = 3.0
"""How many times as long they may keep a processor busy before the same is said: nobody else on the machine matters for that."""
MEMORY: Final = 6 * 2**30
"""Bytes that they may take: a loop without end may fill the machine before its time is up."""

_LOADED: Final = "ignore::pytest.PytestAssertRewriteWarning"
"""Plugins are loaded before pytest sees them."""


# Where code can be broken


@frozen
class Site:
    """A place and a way to break it; ``apply`` does it to the tree that it was found in."""

    node: ast.AST
    label: str
    apply: Callable[[], None]


_COMPARED: Final[Mapping[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_COUNTED: Final[Mapping[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult, ast.Div: ast.Mult, ast.Mod: ast.Add,
}  # fmt: skip
_NAMED: Final = {"min": "max", "max": "min", "any": "all", "all": "any"}
_NOT_CODE: Final = frozenset({"annotation", "returns", "decorator_list", "bases", "keywords_of_class", "type_comment"})


def sites(tree: ast.AST) -> list[Site]:
    """All of a module, always in the same order."""
    return list(_sites(tree))


def _sites(node: ast.AST) -> Iterator[Site]:
    yield from _of(node)
    for name, value in ast.iter_fields(node):
        if name in _NOT_CODE or _is_said(node, name):
            continue
        parts: list[Any] = value if isinstance(value, list) else [value]
        for number, part in enumerate(parts):
            if not isinstance(part, ast.AST) or _is_no_code(part):
                continue
            if isinstance(part, ast.stmt) and isinstance(value, list):
                yield from _without(value, number, part)
            yield from _sites(part)


def _is_said(node: ast.AST, name: str) -> bool:
    """What an error says is no rule."""
    return isinstance(node, (ast.Raise, ast.Assert, ast.JoinedStr, ast.FormattedValue)) or (
        isinstance(node, ast.ClassDef) and name == "keywords"
    )


def _is_no_code(node: ast.AST) -> bool:
    match node:
        case (
            ast.If(test=ast.Name(id="TYPE_CHECKING")) | ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant())
            | ast.Assign(targets=[ast.Name(id="__all__")])
        ):  # fmt: skip
            return True
        case ast.FunctionDef(body=[*_, ast.Expr(value=ast.Constant(value=value))]) if value is ...:
            return True  # what a protocol asks for
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="_log")) | ast.Name(id="assert_never"))):
            return True
        case ast.keyword(arg="init" | "repr" | "eq") | ast.Raise(exc=ast.Call(func=ast.Name(id="AssertionError"))):
            return True  # how a class is made, and what is sure anyway
        case _:
            return False


def _without(body: list[Any], number: int, statement: ast.stmt) -> Iterator[Site]:
    """A statement is left out. What binds a name is not: to miss it would be an error of its own."""
    match statement:
        case ast.Expr() | ast.Raise() | ast.AugAssign() | ast.Delete(targets=[ast.Attribute() | ast.Subscript(), *_]):
            pass
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            pass
        case ast.Break() | ast.Continue():
            pass
        case _:
            return

    def apply() -> None:
        body[number] = ast.copy_location(ast.Pass(), statement)

    yield Site(statement, "left out", apply)


def _set(node: ast.AST, name: str, value: object) -> Callable[[], None]:
    return lambda: setattr(node, name, value)


def _of(node: ast.AST) -> Iterator[Site]:  # noqa: C901 - a case for each way
    match node:
        case ast.Compare(ops=ops):
            for number, op in enumerate(ops):
                changed = [*ops[:number], _COMPARED[type(op)](), *ops[number + 1 :]]
                yield Site(node, type(changed[number]).__name__, _set(node, "ops", changed))
        case ast.BoolOp(op=op):
            other = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield Site(node, type(other).__name__, _set(node, "op", other))
        case ast.UnaryOp(op=ast.Not()):
            yield Site(node, "without not", _unsaid(node))
        case ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in _COUNTED:
            counted = _COUNTED[type(op)]()
            yield Site(node, type(counted).__name__, _set(node, "op", counted))
        case ast.Constant(value=bool(value)):
            yield Site(node, str(not value), _set(node, "value", not value))
        case ast.Constant(value=int(number) | float(number)):
            yield Site(node, f"{number + 1}", _set(node, "value", number + 1))
        case ast.Return(value=ast.Constant(value=None | False)):
            return  # whoever asks whether something is so asks for its truth
        case ast.Return(value=ast.expr() as value):
            yield Site(node, "return None", _set(node, "value", ast.copy_location(ast.Constant(None), value)))
        case ast.Call(func=ast.Name(id=name) as function) if name in _NAMED:
            yield Site(node, _NAMED[name], _set(function, "id", _NAMED[name]))
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            yield Site(test, "turned round", _set(node, "test", _not(test)))
        case _:
            return


def _not(test: ast.expr) -> ast.expr:
    return ast.copy_location(ast.UnaryOp(ast.Not(), test), test)


def _unsaid(node: ast.UnaryOp) -> Callable[[], None]:
    """``not x`` becomes the truth of x: x, negated twice."""
    return lambda: setattr(node, "operand", _not(node.operand))


@frozen
class Mutant:
    """One broken module. ``said``: its place, what stood there, and what was done to it."""

    path: str
    line: int
    said: str
    code: CodeType
    why: str | None = None
    """Why it changes nothing, where that is known."""


def mutant(path: str, number: int) -> Mutant:
    """The module with its so many-th site broken."""
    text = (ROOT / path).read_text()
    tree = ast.parse(text, path)
    site = sites(tree)[number]
    line: int = getattr(site.node, "lineno", 0)
    column: int = getattr(site.node, "col_offset", 0)
    before = ast.unparse(site.node).split("\n")[0]
    why = _equivalent(path, text.splitlines()[line - 1], column, before, site.label)
    site.apply()
    code = compile(ast.fix_missing_locations(tree), str(ROOT / path), "exec")
    return Mutant(path, line, f"{path}:{line}: {before:.90} -> {site.label}", code, why)


@cache
def _known_equivalents() -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = tomllib.loads(EQUIVALENT.read_text())["mutant"]
    return found


def _equivalent(path: str, line: str, column: int, was: str, made: str) -> str | None:
    """Why a mutant changes nothing: as the list has it."""
    here = column - (len(line) - len(line.lstrip()))
    for each in _known_equivalents():
        same = (each["path"], each["line"], each["was"], each["made"]) == (path, line.strip(), was, made)
        if same and here in each.get("columns", (here,)):
            why: str = each["why"]
            return why
    return None


def stale() -> list[str]:
    """What the list has of code that is not there any more."""
    there: set[tuple[str, str, str, str]] = set()
    for path in {str(each["path"]) for each in _known_equivalents()}:
        if (ROOT / path).exists():
            text = (ROOT / path).read_text()
            lines = text.splitlines()
            for site in sites(ast.parse(text, path)):
                line = lines[getattr(site.node, "lineno", 1) - 1].strip()
                there.add((path, line, ast.unparse(site.node).split("\n")[0], site.label))
    listed = [tuple(str(each[key]) for key in ("path", "line", "was", "made")) for each in _known_equivalents()]
    return ["{}: {}: {} -> {}".format(*each) for each in listed if each not in there]


# The tests, each run in a process of its own


class _Loader(SourceFileLoader):
    """Loads a module from code that stands in no file."""

    code: CodeType

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - as the importing has it
        return self.code


class _Finder:
    """Finds the broken module in place of the sound one."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant
        self._name = mutant.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def find_spec(self, name: str, path: Sequence[str] | None, target: object = None) -> ModuleSpec | None:  # noqa: ARG002 - the same
        if name != self._name:
            return None
        spec = PathFinder.find_spec(name, path)
        assert spec is not None
        assert spec.origin is not None
        loader = _Loader(name, spec.origin)
        loader.code = self._mutant.code
        spec.loader = loader
        return spec


def _is_twin(item: pytest.Item) -> bool:
    """Whether a test is there on trio, too: the loop that it runs on is no matter of what is broken."""
    given: Mapping[str, object] = (
        item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    )
    return given.get("anyio_backend") == "asyncio" and item.get_closest_marker("by_turns") is None


class _Chosen:
    """Runs these tests and no other, in this order; all where none is named."""

    def __init__(self, tests: Sequence[str]) -> None:
        self._place = {test: number for number, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if not self._place:
            items[:] = [item for item in items if not _is_twin(item)]
            return
        items[:] = sorted(
            (item for item in items if item.nodeid in self._place), key=lambda item: self._place[item.nodeid]
        )


class _Mapper:
    """Takes down which lines each test passes, and how long it takes."""

    def __init__(self, measured: coverage.Coverage) -> None:
        self._measured = measured
        self.seconds: dict[str, float] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if not _is_twin(item)]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self._measured.switch_context(item.nodeid)
        began = time.perf_counter()
        given = yield
        self.seconds[item.nodeid] = time.perf_counter() - began
        return given


def _judge_alike() -> None:
    """All mutants are shown the same examples: none is drawn by chance, kept for the next one or made shorter. Said before any test is
    loaded, since each takes its settings then.
    """
    hypothesis.settings.register_profile(
        "mutation",
        database=None,
        deadline=None,
        derandomize=True,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
    hypothesis.settings.load_profile("mutation")


def _pytest(tests: Sequence[str], plugin: object) -> int:
    """Runs tests in this process, as everywhere, but for what would write files or look for a shorter example."""
    return int(pytest.main(["-x", "-q", "--no-header", "--tb=line", "-W", _LOADED, *tests], plugins=[plugin]))


@frozen
class Map:
    """``tests``: their seconds, by id; ``lines``: the tests that pass a line, by file and line, ``""`` where it is passed before any
    test; ``files``: the digests of the files that this was found out from, those of tests and those that are broken.
    """

    tests: Mapping[str, float]
    lines: Mapping[str, Mapping[str, Sequence[str]]]
    files: Mapping[str, str]

    def of(self, mutant: Mutant, most: float) -> list[str]:
        """The tests that pass there, the quickest first, which take so many seconds at most. What is done on import has those of the
        whole module.
        """
        lines = self.lines.get(mutant.path, {})
        found = set(lines.get(str(mutant.line), ())) - {""}
        if not found:
            found = {test for tests in lines.values() for test in tests if test}
        chosen, seconds = list[str](), 0.0
        for test in sorted(found, key=lambda each: self.tests[each]):
            seconds += self.tests[test]
            if chosen and seconds > most:
                break
            chosen.append(test)
        return chosen

    def early(self, mutant: Mutant) -> bool:
        """Whether something is done there before any test: what it has made is loaded by then."""
        return "" in self.lines.get(mutant.path, {}).get(str(mutant.line), ())

    def seconds(self, tests: Sequence[str]) -> float:
        """How long these take."""
        return sum(self.tests[test] for test in tests)


def _map(room: str) -> Path:
    return ROOT / "build" / f"mutation-{room}.json"


def _known(room: str) -> Map:
    """What is known of files that are as they were. Where the code has changed, its lines are others: then it is nothing."""
    if not _map(room).exists():
        return Map({}, {}, {})
    found = json.loads(_map(room).read_text())
    files_now = {file: _digest(file) for file in found["files"]}
    if any(file.startswith("organism/") and files_now[file] != digest for file, digest in found["files"].items()):
        return Map({}, {}, {})
    same = {file: digest for file, digest in found["files"].items() if files_now[file] == digest}
    names = ["", *found["tests"]]
    tests = {test: seconds for test, seconds in found["tests"].items() if test.partition("::")[0] in same}
    lines = {
        file: {
            line: [names[test] for test in passed if not test or names[test] in tests] for line, passed in here.items()
        }
        for file, here in found["lines"].items()
    }
    return Map(tests, lines, same)


def _kept(room: str, found: Map) -> None:
    """Each test by its number, since there are thousands in thousands of lines."""
    number = {test: number for number, test in enumerate(("", *found.tests))}
    lines = {
        file: {line: [number[test] for test in passed] for line, passed in here.items()} for file, here in found.lines.items()
    }  # fmt: skip
    _map(room).parent.mkdir(exist_ok=True)
    _map(room).write_text(json.dumps({"tests": found.tests, "lines": lines, "files": found.files}))


def _digest(file: str) -> str:
    return hashlib.sha256((ROOT / file).read_bytes()).hexdigest() if (ROOT / file).exists() else ""


def _mapped(room: str, known: Map, tests: Sequence[str]) -> int:
    """Runs these files of tests, and writes the map with them added to what is known; what pytest ends with."""
    broken = ROOMS[room].mutated
    measured = coverage.Coverage(
        data_file=None,
        config_file=False,
        include=[str(ROOT / each) + ("" if each.endswith(".py") else "/*") for each in broken],
    )
    mapper = _Mapper(measured)
    measured.start()
    failed = _pytest(tests, mapper)
    measured.stop()
    if failed:
        return failed
    data = measured.get_data()
    lines = {file: dict(passed) for file, passed in known.lines.items()}
    for file in data.measured_files():
        passed = lines.setdefault(str(Path(file).relative_to(ROOT)), {})
        for line, here in data.contexts_by_lineno(file).items():
            passed[str(line)] = list(dict.fromkeys([*passed.get(str(line), ()), *here]))
    digests = {file: _digest(file) for file in (*tests, *files(broken))}
    _kept(room, Map({**known.tests, **mapper.seconds}, lines, {**known.files, **digests}))
    return 0


# What becomes of the mutants


@define
class Trial:
    """A mutant under test, until ``end``."""

    mutant: Mutant
    end: float


def forked(work: Callable[[], int], said: Path | str = os.devnull, *, busy: float = math.inf) -> int:
    """Does it in another process, for so many seconds of a processor at most; its id. What it says goes to a file."""
    sys.stdout.flush()
    id_ = os.fork()
    if id_:
        return id_
    status = 70
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        if busy < math.inf:
            resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(busy), math.ceil(busy)))
        out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        status = work()
    except BaseException:  # noqa: BLE001 - it is told, and nothing of the first process goes on here
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _load(tests: Sequence[str]) -> None:
    """Loads the sound code and its tests, once for all mutants."""
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        pytest.main(["--collect-only", "-q", "-W", _LOADED, *tests])
    gc.collect()
    gc.freeze()


def _codes(code: CodeType) -> Iterator[CodeType]:
    """The code of every function and class body in a module, the outer ones first."""
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield each
            yield from _codes(each)


def _breaks(mutant: Mutant) -> bool:
    """Puts the broken code into the functions that are loaded. False where it is no function's: it runs on import."""
    file = str(ROOT / mutant.path)
    broken = {(each.co_qualname, each.co_firstlineno): each for each in _codes(mutant.code)}
    outer = compile(Path(file).read_text(), file, "exec")
    sound = set(_codes(outer))
    if _body(outer) != _body(mutant.code):
        return False
    changed = False
    gc.unfreeze()
    for each in gc.get_objects():
        if isinstance(each, FunctionType) and each.__code__.co_filename == file:
            now = broken.get((each.__code__.co_qualname, each.__code__.co_firstlineno))
            if now is not None and now not in sound:
                each.__code__ = now
                changed = True
    return changed


def _body(code: CodeType) -> tuple[object, ...]:
    """What a module does on import, class bodies included, without what its functions do."""
    inner = [each for each in code.co_consts if isinstance(each, CodeType)]
    classes = [_body(each) for each in inner if not each.co_flags & inspect.CO_OPTIMIZED]
    rest = [each for each in code.co_consts if not isinstance(each, CodeType)]
    return (code.co_code, rest, code.co_names, classes)


def tried(mutant: Mutant, tests: Sequence[str], *, early: bool = False) -> int:
    """Shows a mutant to its tests, in this process: 0 if none has noticed. ``early``: what is loaded has passed there."""
    if mutant.path and (early or not _breaks(mutant)):
        for name in [each for each in sys.modules if each.split(".")[0] in {"organism", "tests"}]:
            del sys.modules[name]
        sys.meta_path.insert(0, _Finder(mutant))
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        named = [test for test in tests if "::" in test]
        return _pytest(list(dict.fromkeys(test.split("::")[0] for test in tests)), _Chosen(named))


def shown(mutants: Sequence[Mutant], trial: Callable[[Mutant], tuple[Callable[[], int], float] | None]) -> list[Mutant]:
    """Those that survive. ``trial`` gives what is done in another process (0: nobody has noticed), and how many seconds that takes with
    unbroken code; ``None`` where no test can notice.
    """
    survived: list[Mutant] = []
    trials: dict[int, Trial] = {}
    waiting = list(reversed(mutants))
    while waiting or trials:
        while waiting and len(trials) < PROCESSES:
            each = waiting.pop()
            found = trial(each)
            if found is None:
                survived.append(each)
                print(f"no test  {each.said}", flush=True)
            else:
                id_ = forked(found[0], busy=START + BUSY * found[1])
                trials[id_] = Trial(each, time.monotonic() + START + SLOW * found[1])
        for id_ in list(trials):
            done, status = os.waitpid(id_, os.WNOHANG)
            hangs = not done and time.monotonic() > trials[id_].end
            if hangs:
                os.killpg(id_, signal.SIGKILL)
                done, status = os.waitpid(id_, 0)
            if done:
                mutant = trials.pop(id_).mutant
                if status == 0:
                    survived.append(mutant)
                hangs = hangs or (os.WIFSIGNALED(status) and os.WTERMSIG(status) in {signal.SIGKILL, signal.SIGXCPU})
                print(f"{'hangs   ' if hangs else 'killed  ' if status else 'survived'} {mutant.said}", flush=True)
        time.sleep(0.02)
    return survived


def judged(mutants: Sequence[Mutant], room: Room, tests: Map) -> list[Mutant]:
    """Those that survive everything."""

    def of(most: float, but: float = 0.0) -> Callable[[Mutant], tuple[Callable[[], int], float] | None]:
        """Those that pass there and take so many seconds, but for those that were shown to it before."""

        def trial(mutant: Mutant) -> tuple[Callable[[], int], float] | None:
            chosen = tests.of(mutant, most)[len(tests.of(mutant, but)) if but else 0 :]
            early = tests.early(mutant)
            return (partial(tried, mutant, chosen, early=early), tests.seconds(chosen)) if chosen else None

        return trial

    _load([*room.files(), *room.last])
    if room.last:
        sound = Mutant("", 0, "the code as it is", compile("", "", "exec"))
        if not shown([sound], lambda mutant: (partial(tried, mutant, room.last), LONGEST)):
            raise SystemExit("the slow tests do not pass without any mutant")
    survived = shown(mutants, of(MOST))
    print(f"== {len(survived)} of {len(mutants)} survive the quick tests; the others follow ==", flush=True)
    survived = shown(survived, of(LONGEST, but=MOST))
    return shown(survived, lambda mutant: (partial(tried, mutant, room.last), LONGEST)) if room.last else survived


def files(paths: Sequence[str]) -> list[str]:
    """The modules in these folders and files."""
    found: list[str] = []
    for path in paths:
        place = ROOT / path
        found += [str(each.relative_to(ROOT)) for each in sorted(place.rglob("*.py"))] if place.is_dir() else [path]
    return found


def main() -> None:
    given = sys.argv[1:]
    count, seed = int(given[0]) if given else 100, int(given[1]) if len(given) > 1 else 1
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    _judge_alike()
    name = given[2] if len(given) > 2 else "rules"
    if name not in ROOMS:
        raise SystemExit(f"{name!r} is no room; there are: {', '.join(ROOMS)}")
    room = ROOMS[name]
    known = _known(name)
    if new := [file for file in room.files() if file not in known.files]:
        print(f"finding out which test passes where: {len(new)} files", flush=True)
        said = Path(tempfile.gettempdir()) / f"organism-mutation-{name}.txt"
        _, status = os.waitpid(forked(partial(_mapped, name, known, new), said), 0)
        if status:
            raise SystemExit(f"the tests did not pass:\n{said.read_text()[-2000:]}")
    tests = _known(name)
    places = [
        (path, number) for path in files(given[3:] or room.mutated)
        for number in range(len(sites(ast.parse((ROOT / path).read_text()))))
    ]  # fmt: skip
    drawn = [mutant(*place) for place in random.Random(seed).sample(places, min(count, len(places)))]
    began = time.monotonic()
    told = [each for each in drawn if each.why is None]
    survived = judged(told, room, tests)
    for each in drawn:
        if each.why is not None:
            print(f"equivalent {each.said}: {each.why}")
    for gone in stale():
        print(f"stale      {gone}")
    for each in survived:
        print(f"survived   {each.said}")
    killed = len(told) - len(survived)
    result = {
        "places": len(places), "mutants": len(drawn), "equivalent": len(drawn) - len(told), "judged": len(told), "killed": killed,
        "survived": len(survived), "rate": round(killed / max(1, len(told)), 3), "seconds": round(time.monotonic() - began),
    }  # fmt: skip
    print("RESULT", json.dumps(result))


if __name__ == "__main__":
    main()
