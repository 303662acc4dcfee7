"""Mutation test: is every rule of the budget and the kernel held by a test?

    python benchmarks/mutation.py [MUTANTS] [SEED] [PATH]...

Breaks the code in so many places, one at a time and drawn by the seed, and runs the tests that pass there, the quickest first; what
survives is shown to the slow ones. A mutant that no test notices survives: its place is printed, and what was changed. One whose
tests do not end counts as killed, and is said to hang. ``PATH`` names files or folders of ``organism/`` instead of the usual ones.
Which test passes where is found out once, in some minutes, and kept in ``build/`` until the code changes.

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
import os
import random
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
MUTATED: Final = ("organism/budget", "organism/kernel", "organism/threads/frames.py", "organism/threads/dependence.py")
TESTS: Final = (
    "tests/budget",
    *(f"tests/kernel/test_{name}.py" for name in (
        "found_by_the_machine", "images", "kernel_laws", "organisms_time", "policies_below", "told_later", "waits_for_others",
        "snapshots", "unheard", "what_facts_say",
    )),
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
EQUIVALENT: Final = Path(__file__).with_name("equivalent-mutants.toml")
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
        case ast.FunctionDef(body=[*_, ast.Expr(value=ast.Constant(value=value))]) if value is ...:
            return True  # what a protocol asks for
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
    """``tests``: their seconds, by id; ``lines``: the tests that pass a line, by file and line; ``files``: the digests of the files
    that this was found out from, those of tests and those that are broken.
    """

    tests: Mapping[str, float]
    lines: Mapping[str, Mapping[str, Sequence[str]]]
    files: Mapping[str, str]

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


def _known() -> Map:
    """What is known of files that are as they were. Where the code has changed, its lines are others: then it is nothing."""
    if not MAP.exists():
        return Map({}, {}, {})
    found = Map(**json.loads(MAP.read_text()))
    files_now = {file: _digest(file) for file in found.files}
    if any(file.startswith("organism/") and files_now[file] != digest for file, digest in found.files.items()):
        return Map({}, {}, {})
    same = {file: digest for file, digest in found.files.items() if files_now[file] == digest}
    tests = {test: seconds for test, seconds in found.tests.items() if test.partition("::")[0] in same}
    lines = {
        file: {line: [test for test in passed if test in tests] for line, passed in here.items()}
        for file, here in found.lines.items()
    }
    return Map(tests, lines, same)


def _digest(file: str) -> str:
    return hashlib.sha256((ROOT / file).read_bytes()).hexdigest() if (ROOT / file).exists() else ""


def _missing(known: Map) -> list[str]:
    """The files with tests that nothing is known of."""
    every = [each for path in TESTS for each in (sorted((ROOT / path).rglob("test_*.py")) or [ROOT / path])]
    return [name for name in (str(each.relative_to(ROOT)) for each in every) if name not in known.files]


def _mapped(known: Map, tests: Sequence[str]) -> int:
    """Runs these files of tests, and writes the map with them added to what is known; what pytest ends with."""
    measured = coverage.Coverage(
        data_file=None,
        config_file=False,
        include=[str(ROOT / each) + ("" if each.endswith(".py") else "/*") for each in MUTATED],
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
            passed[str(line)] = [*passed.get(str(line), ()), *(test for test in here if test)]
    MAP.parent.mkdir(exist_ok=True)
    digests = {file: _digest(file) for file in (*tests, *files(MUTATED))}
    MAP.write_text(
        json.dumps({"tests": {**known.tests, **mapper.seconds}, "lines": lines, "files": {**known.files, **digests}})
    )
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


def _load() -> None:
    """Loads the sound code and its tests, once for all mutants."""
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        pytest.main(["--collect-only", "-q", "-W", _LOADED, *TESTS, *LAST])
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


def tried(mutant: Mutant, tests: Sequence[str]) -> int:
    """Shows a mutant to its tests, in this process: 0 if none has noticed."""
    if mutant.path and not _breaks(mutant):
        for name in [each for each in sys.modules if each.split(".")[0] in {"organism", "tests"}]:
            del sys.modules[name]
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
                print(f"untested {each.said}", flush=True)
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

    _load()
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
    _judge_alike()
    known = _known()
    if new := _missing(known):
        print(f"finding out which test passes where: {len(new)} files", flush=True)
        said = Path(tempfile.gettempdir()) / "organism-mutation.txt"
        _, status = os.waitpid(forked(partial(_mapped, known, new), said), 0)
        if status:
            raise SystemExit(f"the tests did not pass:\n{said.read_text()[-2000:]}")
    tests = _known()
    places = [
        (path, number) for path in files(given[2:] or MUTATED)
        for number in range(len(sites(ast.parse((ROOT / path).read_text()))))
    ]  # fmt: skip
    drawn = [mutant(*place) for place in random.Random(seed).sample(places, min(count, len(places)))]
    began = time.monotonic()
    told = [each for each in drawn if each.why is None]
    survived = judged(told, tests)
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
