"""Mutation test: is every rule of the budget and the kernel held by a test?

    python benchmarks/mutation.py [MUTANTS] [SEED] [PATH]...

Breaks the code in so many places, one at a time and drawn by the seed, and runs the tests that pass there, the quickest first; what
survives is shown to the slow ones. A mutant that no test notices survives: its place is printed, and what was changed. One whose
tests do not end counts as killed, and is said to hang. ``PATH`` names files or folders of ``organism/`` instead of the usual ones.
Which test passes where is found out once, in some minutes, and kept in ``build/``; delete it when tests have changed.

Prints ``RESULT {"mutants": ..., "killed": ..., "rate": ...}``. A survivor is a test that is missing, code that nobody needs, or a
change that changes nothing.
"""

from __future__ import annotations

import ast
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType
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
MUTATED: Final = ("organism/budget", "organism/kernel", "organism/frames.py", "organism/dependence.py")
TESTS: Final = (
    "tests/budget", "tests/kernel/test_found_by_the_machine.py", "tests/kernel/test_kernel_laws.py",
    *(f"tests/hard/test_{name}.py" for name in (
        "accounts", "bare_threads", "budget_cases", "budget_cost", "budget_handles", "budget_laws", "budget_messages", "budget_nodes",
        "budget_notices", "budget_streams", "budget_time", "calls", "dead_letters", "downgrades", "estimates_hold", "forecasts", "frames",
        "grace", "grants", "loops", "people", "pump_cancel", "pump_ends", "pump_places", "raised_between_turns", "retries", "trust",
        "waiting", "warnings",
    )),
    "tests/durable/test_conversations.py", "tests/durable/test_hard_crashes.py", "tests/durable/test_people.py",
    "tests/durable/test_accounts.py", "tests/durable/test_retries.py", "tests/durable/test_any_conversation.py",
)  # fmt: skip
"""Those that are quick enough, and say something of the rules."""
MAP: Final = ROOT / "build" / "mutation.json"
LAST: Final = (
    "tests/kernel", "tests/hard/test_pressure.py", "tests/durable/test_any_question.py", "tests/durable/test_any_cut.py",
    "tests/durable/test_changed_between.py", "tests/durable/test_grants_last.py", "tests/replay/test_forks.py",
)  # fmt: skip
"""Laws that take long: shown whole to what has survived all else."""
PATIENCE: Final = 600.0
"""Seconds that these may take for one mutant."""
PROCESSES: Final = 2
MOST: Final = 30.0
"""Seconds of tests, as they took with unbroken code, that one mutant is shown at most."""
SLOW: Final = 20.0
"""How many times as long the tests of a mutant may take before it counts as one that hangs."""

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
        case ast.If(test=ast.Name(id="TYPE_CHECKING")) | ast.Import() | ast.ImportFrom():
            return True
        case ast.Assign(targets=[ast.Name(id="__all__")]) | ast.Expr(value=ast.Constant()):
            return True
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="_log")) | ast.Name(id="assert_never"))):
            return True
        case _:
            return False


def _without(body: list[Any], number: int, statement: ast.stmt) -> Iterator[Site]:
    """A statement is left out. What binds a name is not: to miss it would be an error of its own."""
    match statement:
        case ast.Expr() | ast.Raise() | ast.AugAssign() | ast.Delete():
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
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
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


def mutant(path: str, number: int) -> Mutant:
    """The module with its so many-th site broken."""
    tree = ast.parse((ROOT / path).read_text(), path)
    site = sites(tree)[number]
    line: int = getattr(site.node, "lineno", 0)
    before = ast.unparse(site.node).split("\n")[0]
    site.apply()
    code = compile(ast.fix_missing_locations(tree), str(ROOT / path), "exec")
    return Mutant(path, line, f"{path}:{line}: {before:.90} -> {site.label}", code)


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


class _Chosen:
    """Runs these tests and no other, in this order; all where none is named."""

    def __init__(self, tests: Sequence[str]) -> None:
        self._place = {test: number for number, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if not self._place:
            items[:] = [item for item in items if "[asyncio" not in item.nodeid]
            return
        items[:] = sorted(
            (item for item in items if item.nodeid in self._place), key=lambda item: self._place[item.nodeid]
        )


class _Mapper:
    """Takes down which lines each test passes, and how long it takes. The loop that a test runs on is no matter of the kernel's."""

    def __init__(self, measured: coverage.Coverage) -> None:
        self._measured = measured
        self.seconds: dict[str, float] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if "[asyncio" not in item.nodeid]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self._measured.switch_context(item.nodeid)
        began = time.perf_counter()
        given = yield
        self.seconds[item.nodeid] = time.perf_counter() - began
        return given


def _pytest(tests: Sequence[str], plugin: object) -> int:
    """Runs tests in this process, as everywhere, but for what would write files or look for a shorter example."""
    hypothesis.settings.register_profile(
        "mutation",
        database=None,
        deadline=None,
        derandomize=True,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    )
    hypothesis.settings.load_profile("mutation")
    return int(pytest.main(["-x", "-q", "--no-header", "--tb=line", "-W", _LOADED, *tests], plugins=[plugin]))


@frozen
class Map:
    """``tests``: their seconds, by id; ``lines``: the tests that pass a line, by file and line."""

    tests: Mapping[str, float]
    lines: Mapping[str, Mapping[str, Sequence[str]]]

    def of(self, mutant: Mutant) -> list[str]:
        """The tests that pass there, the quickest first. What is done on import has those of the whole module."""
        lines = self.lines.get(mutant.path, {})
        found = set(lines.get(str(mutant.line), ()))
        if not found:
            found = {test for tests in lines.values() for test in tests}
        chosen, seconds = list[str](), 0.0
        for test in sorted(found, key=lambda each: self.tests[each]):
            seconds += self.tests[test]
            if chosen and seconds > MOST:
                break
            chosen.append(test)
        return chosen

    def seconds(self, tests: Sequence[str]) -> float:
        """How long these take."""
        return sum(self.tests[test] for test in tests)


def _mapped() -> int:
    """Runs all tests, and writes the map; what pytest ends with."""
    measured = coverage.Coverage(
        data_file=None,
        config_file=False,
        include=[str(ROOT / each) + ("" if each.endswith(".py") else "/*") for each in MUTATED],
    )
    mapper = _Mapper(measured)
    measured.start()
    failed = _pytest(TESTS, mapper)
    measured.stop()
    if failed:
        return failed
    data = measured.get_data()
    lines = {
        str(Path(file).relative_to(ROOT)): {
            str(line): [test for test in tests if test] for line, tests in data.contexts_by_lineno(file).items()
        }
        for file in data.measured_files()
    }
    MAP.parent.mkdir(exist_ok=True)
    MAP.write_text(json.dumps({"tests": mapper.seconds, "lines": lines}))
    return 0


# What becomes of the mutants


@define
class Trial:
    """A mutant under test, until ``end``."""

    mutant: Mutant
    end: float


def forked(work: Callable[[], int], said: Path | str = os.devnull) -> int:
    """Does it in another process; its id. What it says goes to a file."""
    sys.stdout.flush()
    id_ = os.fork()
    if id_:
        return id_
    status = 70
    try:
        os.setsid()
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


def tried(mutant: Mutant, tests: Sequence[str]) -> int:
    """Shows a mutant to its tests, in this process: 0 if none has noticed."""
    sys.meta_path.insert(0, _Finder(mutant))
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        named = [test for test in tests if "::" in test]
        return _pytest(list(dict.fromkeys(test.split("::")[0] for test in tests)), _Chosen(named))


def shown(mutants: Sequence[Mutant], trial: Callable[[Mutant], tuple[Callable[[], int], float] | None]) -> list[Mutant]:
    """Those that survive. ``trial`` gives what is done in another process (0: nobody has noticed), and its time in seconds; ``None``
    where no test can notice.
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
            else:
                trials[forked(found[0])] = Trial(each, time.monotonic() + found[1])
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
                print(f"{'hangs   ' if hangs else 'killed  ' if status else 'survived'} {mutant.said}", flush=True)
        time.sleep(0.02)
    return survived


def judged(mutants: Sequence[Mutant], tests: Map) -> list[Mutant]:
    """Those that survive everything."""

    def quick(mutant: Mutant) -> tuple[Callable[[], int], float] | None:
        chosen = tests.of(mutant)
        return (partial(tried, mutant, chosen), 60 + SLOW * tests.seconds(chosen)) if chosen else None

    sound = Mutant("", 0, "the code as it is", compile("", "", "exec"))
    if not shown([sound], lambda mutant: (partial(tried, mutant, LAST), PATIENCE)):
        raise SystemExit("the slow tests do not pass without any mutant")
    survived = shown(mutants, quick)
    print(f"== {len(survived)} of {len(mutants)} survive the quick tests; the slow ones follow ==", flush=True)
    return shown(survived, lambda mutant: (partial(tried, mutant, LAST), PATIENCE))


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
    if not MAP.exists():
        print("finding out which test passes where", flush=True)
        said = Path(tempfile.gettempdir()) / "organism-mutation.txt"
        _, status = os.waitpid(forked(_mapped, said), 0)
        if status:
            raise SystemExit(f"the tests did not pass:\n{said.read_text()[-2000:]}")
    tests = Map(**json.loads(MAP.read_text()))
    places = [
        (path, number) for path in files(given[2:] or MUTATED)
        for number in range(len(sites(ast.parse((ROOT / path).read_text()))))
    ]  # fmt: skip
    drawn = random.Random(seed).sample(places, min(count, len(places)))
    began = time.monotonic()
    survived = judged([mutant(*place) for place in drawn], tests)
    killed = len(drawn) - len(survived)
    result = {
        "places": len(places), "mutants": len(drawn), "killed": killed, "survived": len(survived),
        "rate": round(killed / max(1, len(drawn)), 3), "seconds": round(time.monotonic() - began),
    }  # fmt: skip
    print("RESULT", json.dumps(result))


if __name__ == "__main__":
    main()
