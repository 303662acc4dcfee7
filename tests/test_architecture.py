"""The rooms of the package: who may import whom, which library lives where, and where clocks and dice are read.

Every module is parsed, never imported. A check yields breaches; a breach is excused by name in EXCUSED, with its reason.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROOT: Final = Path(__file__).parent.parent
FRONT: Final = "organism"
"""The package itself: its ``__init__`` may name everything, and no room imports it."""

ROWS: Final = (
    ("errors", "names", "durations", "likeness", "late", "points", "generated", "signatures", "files"),
    ("quick",),
    ("payloads", "agentsettings", "mcpsettings"),
    ("primitives", "message", "settings", "usage"),
    ("budget",),
    ("threads",),
    ("record",),
    ("kernel", "results", "facts"),
    ("config", "hooks", "loader", "functions", "journal", "models"),
    ("pump", "context"),
    ("agent", "replay", "telemetry"),
    ("mcp",),
    ("works",),
    ("organism",),
    ("testing", "server", "lab"),
    ("cli",),
    ("__main__",),
)
"""A room imports from the rows above its own only."""
BESIDE: Final[Mapping[tuple[str, str], str]] = {
    ("errors", "names"): "an error shows values as all messages do",
    ("hooks", "models"): "what hooks see of a call is what models are asked",
    ("config", "loader"): "what the file names as module:name is imported while the file is checked",
    ("config", "functions"): "what makes a function a tool is checked while the file is read",
    ("replay", "agent"): "agents are run again as they run, on what the record holds",
    ("models", "journal"): "what a journal never writes is not written to a recording either",
    ("context", "pump"): "a context acts for one delivery of the pump",
}
"""Rooms that may import one of their own row, each with its reason. A pair that is not needed any more fails the test."""
ROW_OF: Final = {room: number for number, row in enumerate(ROWS) for room in row}

SYNCHRONOUS: Final = {room for row in ROWS[: ROW_OF["kernel"] + 1] for room in row}
"""Up to the kernel everything is decided without waiting: no ``async def``, no ``await``."""
COMPOSITION: Final = {"organism", "cli"}
"""Where clock, environment and randomness are read, to be passed in everywhere else."""

RUNTIME: Final = (
    "journal",
    "models",
    "pump",
    "context",
    "agent",
    "mcp",
    "replay",
    "works",
    "organism",
    "testing",
    "server",
    "lab",
    "cli",
)
LIBRARIES: Final[Mapping[str, Sequence[str]]] = {
    "attrs": tuple(room for row in ROWS[1:] for room in row),
    "lxml": ("payloads",),
    "yaml": ("config", "cli.journals"),
    "openai": ("models.openai",),
    "anthropic": ("models.anthropic",),
    "httpx2": ("mcp", "models.openai", "models.anthropic", "models.transport"),
    "httpcore2": ("models.transport",),
    "genai_prices": ("models.prices",),
    "jinja2": ("agent", "config"),
    "h11": ("server",),
    "jsonschema": ("mcp",),
    "mcp": ("mcp",),
    "mcp_types": ("mcp",),
    "referencing": ("mcp",),
    "opentelemetry": ("telemetry",),
    "cyclopts": ("cli",),
    "rich": ("cli",),
    "anyio": RUNTIME,
    "trio": RUNTIME,
    "sniffio": ("pump.runtime",),
    "typing_extensions": (
        "context",
        "models.completion",
        "organism",
        "results",
    ),  # for type checkers, which bring it along
    # Of the standard library, what reaches outside or loads code by name has its rooms too.
    "asyncio": ("pump.runtime",),
    "importlib": ("late", "loader", "models", "cli.init"),
    "multiprocessing": (),
    "runpy": (),
    "socket": (),
    "sqlite3": ("journal",),
    "subprocess": (),
}
"""Which rooms (or packages and modules in them) may import a library. Others of the standard library are free, others from elsewhere are not."""

STANDARD: Final = sys.stdlib_module_names | {"annotationlib"}
"""The standard library, with what newer Pythons than this one may have of it."""

CLOCKS_AND_DICE: Final = {
    "datetime": ("date.today", "datetime.now", "datetime.today", "datetime.utcnow"),
    "os": ("environ", "environb", "getcwd", "getenv", "getenvb", "getrandom", "urandom"),
    "pathlib": ("Path.cwd", "Path.home"),
    "random": ("*",),
    "secrets": ("*",),
    "sys": ("argv", "stdin"),
    "time": ("*",),
    "uuid": ("getnode", "uuid1", "uuid4", "uuid6", "uuid7", "uuid8"),
}
"""What reads the clock, the environment or randomness; ``*`` is everything of the module but HARMLESS."""
HARMLESS: Final = {"random.Random", "time.struct_time"}

FUNCTION_LINES: Final = 60
MODULE_LINES: Final = 450

EXCUSED: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (
            f"organism.config.{name} imports 'organism.config.templates' in a function"
            for name in ("prompts", "wording")
        ),
        "Jinja2 loads with the first text that is written in it; a file without one is checked in half the time",
    ),
    **dict.fromkeys(
        (f"organism.mcp.loading imports 'organism.mcp.{name}' in a function" for name in ("recorded", "servers")),
        "the SDK takes longer to load than all of the organism, and is an extra",
    ),
    "organism.models.factories imports 'organism.models.simulation.backend' in a function": (
        "the rules that write in a model's place load when it is asked: checking its options takes none of them"
    ),
    "organism.models.recordings.sellers imports 'organism.models.recordings.playback' in a function": (
        "only who answers from a recording reads one"
    ),
    "organism.cli.simulate imports 'organism.cli.serving' in a function": (
        "its library is an extra, and who has not installed it is told so in a line"
    ),
    "organism.payloads.vocabulary imports 'organism.payloads.xml_decoder' in a function": (
        "lxml loads with the first XML document, and many organisms never see one"
    ),
    "organism.pump.runtime imports 'anyio._backends' in a function": (
        "its innermost cancel scope is looked up there, and only where the loop is asyncio's"
    ),
    "organism.pump.runtime imports 'ctypes' in a function": (
        "it is needed only where a handler does not end, and takes longer to load than the pump"
    ),
    "organism.models.prices imports 'genai_prices' in a function": (
        "its tables take a fifth of a second to load; most organisms name their prices or simulate"
    ),
}
"""Breaches that are meant, by name, each with its reason. One that is not needed any more fails the test."""


@frozen
class Breach:
    """One broken rule. ``name`` is what EXCUSED may hold; ``place`` is the file and line."""

    name: str
    place: str

    def __str__(self) -> str:
        return f"{self.place}: {self.name}"


@frozen
class Module:
    """A parsed module of the package, ``name`` dotted."""

    name: str
    source: str
    file: str = ""
    package: bool = False
    nodes: tuple[ast.AST, ...] = field(init=False, repr=False)
    importing: tuple[ast.AST, ...] = field(init=False, repr=False)
    """The nodes that may import something."""
    late: frozenset[int] = field(init=False, repr=False)
    """The ids of the nodes that stand in a function."""

    def __attrs_post_init__(self) -> None:
        # Once: many checks look at all of them.
        nodes: list[ast.AST] = []
        late: set[int] = set()
        ahead: list[tuple[ast.AST, bool]] = [(ast.parse(self.source, self.file or self.name), False)]
        while ahead:
            node, inside = ahead.pop()
            nodes.append(node)
            inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            if inside:
                late.add(id(node))
            ahead.extend((child, inside) for child in ast.iter_child_nodes(node))
        importing = tuple(node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom | ast.Call))
        object.__setattr__(self, "nodes", tuple(nodes))
        object.__setattr__(self, "importing", importing)
        object.__setattr__(self, "late", frozenset(late))

    @property
    def inside(self) -> str:
        """The name below the package: ``budget.tree``; empty for the front."""
        return self.name.removeprefix(FRONT).removeprefix(".")

    @property
    def room(self) -> str:
        """The room it belongs to; empty for the front."""
        return self.inside.partition(".")[0]

    def breach(self, node: ast.AST | None, what: str) -> Breach:
        """A breach of this module, at the line of a node."""
        return Breach(f"{self.name} {what}", f"{self.file or self.name}:{getattr(node, 'lineno', 1)}")


Check = Callable[[Sequence[Module]], Iterator[Breach]]


@frozen
class Import:
    """One import: dotted ``target``, the statement, and whether it stands in a function."""

    target: str
    node: ast.AST
    late: bool


def package_modules() -> list[Module]:
    """Every module of the package as it stands in the tree."""
    found: list[Module] = []
    for path in sorted((ROOT / FRONT).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if package else parts)
        found.append(Module(name, path.read_text("utf-8"), str(path.relative_to(ROOT)), package))
    return found


def imports(module: Module, known: Iterable[str]) -> Iterator[Import]:
    """Every import of a module: at its top, in functions, for type checkers, and by a constant name at run time."""
    submodules = {*known, *(f"{FRONT}.{room}" for room in ROW_OF)}
    for node in module.importing:
        targets: set[str] = set()
        match node:
            case ast.Import(names=names):
                targets = {alias.name for alias in names}
            case ast.ImportFrom(names=names):
                base = _base(module, node)
                full = {f"{base}.{alias.name}" for alias in names}
                targets = {name if name in submodules else base for name in full}
            case ast.Call(args=[ast.Constant(value=str(name)), *_]) if _dotted(node.func).endswith(
                ("import_module", "__import__")
            ):
                targets = {name}
            case _:
                pass
        for target in sorted(targets):
            yield Import(target, node, id(node) in module.late)


def _base(module: Module, node: ast.ImportFrom) -> str:
    """What ``from X import`` names, dots at the front resolved."""
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    above = parts[: len(parts) - node.level + module.package]
    return ".".join([*above, *([node.module] if node.module else [])])


def _dotted(node: ast.expr) -> str:
    """``a.b.c`` of an expression; empty where it is no plain name."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            before = _dotted(value)
            return f"{before}.{attr}" if before else ""
        case _:
            return ""


def rooms(modules: Sequence[Module]) -> Iterator[Breach]:
    """Every module belongs to a room, and imports only from rows above it, or from its own room."""
    known = [module.name for module in modules]
    for module in modules:
        if module.name == FRONT:
            continue
        if module.room not in ROW_OF:
            yield module.breach(None, f"is in no room: '{module.room}' stands in no row of ROWS")
            continue
        for found in imports(module, known):
            if found.target.partition(".")[0] != FRONT:
                continue
            room = found.target.removeprefix(FRONT).removeprefix(".").partition(".")[0]
            if not room:
                yield module.breach(found.node, "imports the package's front; name the module that is meant")
            elif room not in ROW_OF:
                yield module.breach(found.node, f"imports {found.target}, which is in no room")
            elif room != module.room and ROW_OF[room] >= ROW_OF[module.room] and (module.room, room) not in BESIDE:
                where = "beside" if ROW_OF[room] == ROW_OF[module.room] else "below"
                yield module.breach(found.node, f"imports the room '{room}' {where} its own")


def libraries(modules: Sequence[Module]) -> Iterator[Breach]:
    """A library is imported only in its rooms; one that no table names, nowhere."""
    for module in modules:
        for found in imports(module, ()):
            library = found.target.partition(".")[0]
            if FRONT in {library, module.name}:
                continue
            allowed = LIBRARIES.get("attrs" if library == "attr" else library)
            if allowed is None and library not in STANDARD:
                yield module.breach(found.node, f"imports '{library}', which LIBRARIES does not name")
            elif allowed is not None and not any(f"{module.inside}.".startswith(f"{room}.") for room in allowed):
                yield module.breach(
                    found.node, f"imports '{library}', which belongs to {', '.join(allowed) or 'no room'}"
                )


def cycles(modules: Sequence[Module]) -> Iterator[Breach]:
    """No module imports itself by way of others, neither late nor for type checkers."""
    known = {module.name: module for module in modules}
    graph = {module.name: {found.target for found in imports(module, known)} & known.keys() for module in modules}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        ring: list[str] = error.args[1]
        yield known[ring[0]].breach(None, f"imports itself: {' <- '.join(ring)}")


def clocks_and_dice(modules: Sequence[Module]) -> Iterator[Breach]:
    """Only the composition root reads the clock, the environment and randomness."""
    for module in modules:
        if module.room in COMPOSITION:
            continue
        names = _imported_names(module)
        for node in module.nodes:
            if isinstance(node, ast.Call) and not (node.args or node.keywords):
                if _full(node.func, names) == "random.Random":
                    yield module.breach(node, "makes a random.Random without a seed")
            elif isinstance(node, ast.Name | ast.Attribute):
                read = _full(node, names)
                library, _, what = read.partition(".")
                watched = CLOCKS_AND_DICE.get(library, ())
                if what in watched or (watched == ("*",) and what and read not in HARMLESS and "." not in what):
                    yield module.breach(node, f"reads {read}; take it as an argument")


def _imported_names(module: Module) -> dict[str, str]:
    """What each imported name stands for, in full: ``{"dt": "datetime.datetime"}``."""
    names: dict[str, str] = {}
    for node in module.nodes:
        match node:
            case ast.Import(names=aliases):
                for alias in aliases:
                    top = alias.name.partition(".")[0]
                    names[alias.asname or top] = alias.name if alias.asname else top
            case ast.ImportFrom(names=aliases, level=0):
                for alias in aliases:
                    names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
            case _:
                pass
    return names


def _full(node: ast.expr, names: Mapping[str, str]) -> str:
    """The dotted name of an expression with what was imported spelled out; empty where nothing was."""
    head, dot, rest = _dotted(node).partition(".")
    return f"{names[head]}{dot}{rest}" if head in names else ""


def waiting(modules: Sequence[Module]) -> Iterator[Breach]:
    """Up to the kernel nothing waits."""
    for module in modules:
        if module.room not in SYNCHRONOUS:
            continue
        for node in module.nodes:
            if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
                yield module.breach(node, "waits; up to the kernel everything is synchronous")


def late_imports(modules: Sequence[Module]) -> Iterator[Breach]:
    """No import hides in a function."""
    for module in modules:
        for found in imports(module, ()):
            if found.late and module.name != FRONT:
                yield module.breach(found.node, f"imports '{found.target}' in a function")


def lengths(modules: Sequence[Module]) -> Iterator[Breach]:
    """A function can be read at a glance, a module in one sitting."""
    for module in modules:
        if module.source.count("\n") > MODULE_LINES:
            yield module.breach(None, f"has more than {MODULE_LINES} lines")
        for node in module.nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    yield module.breach(node, f"has more than {FUNCTION_LINES} lines in {node.name}()")


def provider_names(modules: Sequence[Module]) -> Iterator[Breach]:
    """Whether a provider is one of ours is asked of ``built_in``: what somebody has written may be called like one."""
    for module in modules:
        for node in module.nodes:
            sides = [node.left, *node.comparators] if isinstance(node, ast.Compare) else ()
            if any(isinstance(side, ast.Attribute) and side.attr == "provider" for side in sides):
                yield module.breach(node, "compares the name of a provider; ask its 'built_in'")


def reasons(modules: Sequence[Module]) -> Iterator[Breach]:
    """Why the system refused something is said in one way: not all of its errors have a ``strerror``."""
    for module in modules:
        for node in module.nodes:
            if isinstance(node, ast.Attribute) and node.attr == "strerror":
                yield module.breach(node, "takes 'strerror' of an error; ask organism.errors.reason_of")


def signatures(modules: Sequence[Module]) -> Iterator[Breach]:
    """What users have annotated may be known to type checkers alone, and since Python 3.14 whoever asks in the usual way fails then."""
    for module in modules:
        for node in module.nodes if module.name != "organism.signatures" else ():
            taken = isinstance(node, ast.ImportFrom) and node.module == "inspect" and node.names
            if (isinstance(node, ast.Attribute) and ast.unparse(node) == "inspect.signature") or (
                taken and any(each.name == "signature" for each in taken)
            ):
                yield module.breach(node, "takes inspect's 'signature'; ask organism.signatures.signature_of")
            if isinstance(node, ast.Attribute) and node.attr == "__annotations__":
                yield module.breach(node, "takes '__annotations__'; ask organism.signatures.signature_of")


def files(modules: Sequence[Module]) -> Iterator[Breach]:
    """Since Python 3.14 ``Path.exists`` says no where nobody may look, and whoever asks it takes a closed folder for one without a journal."""
    for module in modules:
        for node in module.nodes:
            if isinstance(node, ast.Attribute) and node.attr == "exists":
                yield module.breach(node, "takes 'exists' of a path; ask organism.files.is_there")


def reading_order(modules: Sequence[Module]) -> Iterator[Breach]:
    """The docstring of a package leads a reader through it: it names every module, and begins no line of its list with another name."""
    inside: dict[str, set[str]] = {module.name: set() for module in modules if module.package}
    for module in modules:
        above, _, name = module.name.rpartition(".")
        if above in inside and name != "__main__":
            inside[above].add(name)
    for module in modules:
        if not module.package:
            continue
        text = ast.get_docstring(ast.parse(module.source)) or ""
        named = set(re.findall(r"``(\w+)``", text))
        listed = {
            name
            for line in re.findall(r"^\* (``.*?) - ", text, re.MULTILINE)
            for name in re.findall(r"``(\w+)``", line)
        }
        for name in sorted(inside[module.name] - named):
            yield module.breach(None, f"does not say in its docstring what '{name}' is for")
        for name in sorted(listed - inside[module.name]):
            yield module.breach(None, f"lists '{name}' in its docstring, which is not there")


CHECKS: Final[tuple[Check, ...]] = (
    rooms, libraries, cycles, clocks_and_dice, waiting, late_imports, lengths, provider_names, reasons, signatures, files,
    reading_order,
)  # fmt: skip


@pytest.fixture(scope="module")
def modules() -> list[Module]:
    found = package_modules()
    assert len(found) > 10, "the package was not found"
    return found


@pytest.fixture(scope="module")
def breaches_of(modules: list[Module]) -> Callable[[Check], Sequence[Breach]]:
    """What breaks a rule; each is checked once."""
    return functools.cache(lambda check: tuple(check(modules)))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_package_keeps_the_rules(check: Check, breaches_of: Callable[[Check], Sequence[Breach]]) -> None:
    breaches = [str(breach) for breach in breaches_of(check) if breach.name not in EXCUSED]
    if breaches:
        pytest.fail("\n".join(breaches), pytrace=False)


def test_every_excuse_is_needed(modules: list[Module], breaches_of: Callable[[Check], Sequence[Breach]]) -> None:
    broken = {breach.name for check in CHECKS for breach in breaches_of(check)}
    names = {module.name for module in modules}
    excused = {name for name in EXCUSED if name.split()[0] in names}
    assert excused <= broken, "take out what is not needed any more"


def test_every_pair_of_neighbours_is_needed(modules: list[Module]) -> None:
    known = [module.name for module in modules]
    pairs = {
        (m.room, found.target.split(".")[1]) for m in modules for found in imports(m, known) if "." in found.target
    }
    written = {pair for pair in BESIDE if pair[0] in {module.room for module in modules}}
    assert written <= pairs, "take out what is not needed any more"
    assert all(ROW_OF[one] == ROW_OF[other] for one, other in BESIDE), "a neighbour stands in the same row"


def test_handlers_import_only_what_is_public() -> None:
    for path in sorted((ROOT / "handlers").rglob("*.py")):
        module = Module("handlers", path.read_text("utf-8"), str(path.relative_to(ROOT)))
        mine = {found.target for found in imports(module, ()) if found.target.partition(".")[0] == FRONT}
        assert mine <= {FRONT, f"{FRONT}.primitives"}, path


SOUND: Final = """
from __future__ import annotations
import random
from datetime import datetime
from typing import TYPE_CHECKING
from attrs import frozen
from organism.budget.claims import Claim
from organism import settings
from . import claims
if TYPE_CHECKING:
    from organism.names import suggestion
def decide(now: datetime, time: float, dice: random.Random) -> float:
    return datetime.fromtimestamp(time).timestamp() + random.Random(7).random() + dice.random()
"""

BROKEN: Final = [
    # (check, module, source, what is said of it)
    (rooms, "organism.helpers", "", "is in no room: 'helpers'"),
    (rooms, "organism.budget.tree", "import organism.kernel.kernel", "imports the room 'kernel' below"),
    (rooms, "organism.agent.loop", "from organism.replay.stage import Stage", "imports the room 'replay' beside"),
    (rooms, "organism.budget.tree", "def f():\n    from organism import pump", "imports the room 'pump' below"),
    (
        rooms,
        "organism.budget.tree",
        "if TYPE_CHECKING:\n    from ..agent.turns import T",
        "imports the room 'agent' below",
    ),
    (rooms, "organism.threads.frames", "from .. import cli", "imports the room 'cli' below"),
    (rooms, "organism.errors", "import_module('organism.durations.x')", "imports the room 'durations' beside"),
    (rooms, "organism.cli.main", "from organism import Organism", "imports the package's front"),
    (rooms, "organism.cli.main", "import organism.stray", "imports organism.stray, which is in no room"),
    (libraries, "organism.agent.turns", "from lxml import etree", "imports 'lxml', which belongs to payloads"),
    (
        libraries,
        "organism.models.routing.router",
        "import openai.types",
        "imports 'openai', which belongs to models.openai",
    ),
    (libraries, "organism.errors", "import attr", "imports 'attr', which belongs to"),
    (libraries, "organism.pump.loop", "import requests", "imports 'requests', which LIBRARIES does not name"),
    (libraries, "organism.pump.loop", "import asyncio.events", "imports 'asyncio', which belongs to pump.runtime"),
    (clocks_and_dice, "organism.kernel", "import time\nt = time.monotonic()", "reads time.monotonic"),
    (clocks_and_dice, "organism.kernel", "from time import time as t\ndef f(now=t): ...", "reads time.time"),
    (
        clocks_and_dice,
        "organism.kernel",
        "from datetime import datetime as d, UTC\nd.now(UTC)",
        "reads datetime.datetime.now",
    ),
    (clocks_and_dice, "organism.kernel", "import datetime\ndatetime.date.today()", "reads datetime.date.today"),
    (clocks_and_dice, "organism.kernel", "import random\nrandom.shuffle([])", "reads random.shuffle"),
    (clocks_and_dice, "organism.kernel", "from random import Random as R\nR()", "makes a random.Random without a seed"),
    (clocks_and_dice, "organism.config.env", "import os\nos.environ.get('A')", "reads os.environ"),
    (clocks_and_dice, "organism.config.env", "from os import getenv\ngetenv('A')", "reads os.getenv"),
    (clocks_and_dice, "organism.pump.ids", "import uuid\nuuid.uuid4()", "reads uuid.uuid4"),
    (clocks_and_dice, "organism.pump.ids", "import secrets\nsecrets.token_hex()", "reads secrets.token_hex"),
    (waiting, "organism.kernel.kernel", "async def f(): ...", "waits"),
    (
        late_imports,
        "organism.pump.loop",
        "class A:\n    def f(self):\n        import json",
        "imports 'json' in a function",
    ),
    (lengths, "organism.pump.loop", "def f():\n" + "    x = 1\n" * FUNCTION_LINES, "has more than 60 lines in f()"),
    (lengths, "organism.pump.loop", "x = 1\n" * (MODULE_LINES + 1), "has more than 450 lines"),
    (
        provider_names,
        "organism.models.prices",
        "free = each.provider == 'simulated'",
        "compares the name of a provider",
    ),
    (provider_names, "organism.models.prices", "free = each.provider in FREE", "compares the name of a provider"),
    (reasons, "organism.journal.disk", "why = error.strerror or error", "takes 'strerror' of an error"),
    (
        signatures,
        "organism.loader",
        "import inspect\ntakes = inspect.signature(handler)",
        "takes inspect's 'signature'",
    ),
    (signatures, "organism.loader", "from inspect import signature", "takes inspect's 'signature'"),
    (signatures, "organism.loader", "given = handler.__annotations__", "takes '__annotations__'"),
    (files, "organism.lab.folder", "known = path.exists()", "takes 'exists' of a path"),
]


@pytest.mark.parametrize(
    ("check", "name", "source", "said"), BROKEN, ids=lambda value: getattr(value, "__name__", None)
)
def test_a_breach_is_seen(check: Check, name: str, source: str, said: str) -> None:
    (breach,) = check([Module(name, source)])
    assert breach.name.startswith(f"{name} {said}")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_what_is_allowed_is_no_breach(check: Check) -> None:
    says = '"""``organism``: the root."""\n'
    front = Module(FRONT, f"{says}def __getattr__(name):\n    from organism.organism import Organism", package=True)
    root = Module("organism.organism", "import os, time\nfrom organism.pump import loop\nclock = time.time, os.environ")
    assert not list(check([Module("organism.budget.tree", SOUND), front, root]))


def test_a_ring_of_imports_is_seen_also_where_it_is_hidden() -> None:
    ring = [
        Module("organism.budget", "from organism.budget.tree import Tree", package=True),
        Module("organism.budget.tree", "if TYPE_CHECKING:\n    from .claims import Claim"),
        Module("organism.budget.claims", "def f():\n    from . import Tree"),
    ]
    (breach,) = cycles(ring)
    assert all(module.name in breach.name for module in ring)
    assert not list(cycles(ring[:2]))


def test_a_list_of_modules_is_the_list_of_modules() -> None:
    listed = '"""Rooms.\n\n* ``tree``, ``twig`` - what grows; ``leaf``: on it\n"""'
    package = Module("organism.budget", listed, package=True)
    there = [package, *(Module(f"organism.budget.{name}", "") for name in ("tree", "leaf", "root", "__main__"))]
    assert [breach.name.removeprefix("organism.budget ") for breach in reading_order(there)] == [
        "does not say in its docstring what 'root' is for",
        "lists 'twig' in its docstring, which is not there",
    ]


def test_a_breach_tells_its_place() -> None:
    (breach,) = rooms([Module("organism.names", "\n\nimport organism.cli", "organism/names.py")])
    assert str(breach) == "organism/names.py:3: organism.names imports the room 'cli' below its own"
