"""The schema of organism.yaml: it takes whatever the file's reader takes, refuses what can be refused without loading anything, and says what
each key means in the words of the reference.
"""

from __future__ import annotations

import re
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator  # type: ignore[import-untyped]

from organism.config.document import TOP
from organism.config.meanings import MEANINGS
from organism.config.places import Mistakes
from organism.config.references import Reference
from organism.config.schema import drawing
from organism.config.sections import ListOf, MapOf, Record
from organism.config.shapes import Amount, Choice, Located, OrNull, Reading, Shape, Single, Truth
from organism.config.yamltext import Source, read_text
from organism.errors import ConfigurationError
from organism.names import is_handler_name
from tests.config.conftest import DESK, Project
from tests.config.editor import SCHEMA, seen, underlined

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs/reference/configuration.md"
FENCE: Final = re.compile(r"^```yaml (\S*organism[\w-]*\.yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK: Final = re.compile(r" \(\[[^\]]*\]\([^)]*\)\)|\[([^\]]*)\]\([^)]*\)")
"""A link, or one that stands in brackets for more to read: that one says nothing itself."""


def good_files() -> Iterator[tuple[str, str]]:
    """The files of the repository, by where they stand."""
    for path in (ROOT / "organism.yaml", ROOT / "tests/crash/world/organism.yaml"):
        yield str(path.relative_to(ROOT)), path.read_text("utf-8")
    for template in (files("organism.cli") / "templates").iterdir():
        yield template.name, (template / "organism.yaml.txt").read_text("utf-8").replace("{{ name }}", "made")
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for number, (_, body) in enumerate(FENCE.findall(page.read_text("utf-8"))):
            yield f"{page.name}-{number}", body


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in good_files()])
def test_editors_find_nothing_wrong_with_the_files_of_the_repository(text: str) -> None:
    assert underlined(text) == []


def test_editors_that_know_no_later_draft_than_the_seventh_judge_alike() -> None:
    older = Draft7Validator(SCHEMA)
    files = [*(text for _, text in good_files()), *(text for text, _, _ in WRONG)]
    assert [older.is_valid(seen(text)) for text in files] == [not underlined(text) for text in files]


def test_many_pages_have_a_file() -> None:
    assert len(list(good_files())) > 20


GOOD: Final = """
organism: demo
handlers:
  look: {code: desk:look}
  think: {description: Thinks., agent: {accepts: desk:Question, replies: desk:Answer}}
"""
WRONG: Final = (
    ("organism: Demo", "$.organism: ", "organism.yaml:1:11 organism: 'Demo' is not a valid organism name"),
    ("organism: [a]", "$.organism: ", "must be a name and not a list"),
    ("handlers: {}", "$: 'organism' is a required property", "'organism' is missing"),
    ("organism: a\nbugdet: {}", "$: Additional properties", "bugdet: unknown key; did you mean 'budget'?"),
    ("organism: a\nruntime: curio", "$.runtime: ", "'curio' is not 'trio' or 'asyncio'"),
    ("organism: a\nqueue: 0", "$.queue: ", "0 is too little"),
    ("organism: a\nqueue: '5'", "$.queue: ", "'5' is a text and not a whole number"),
    ("organism: a\nwatchdog: 0", "$.watchdog: ", "0 is not above 0"),
    ("organism: a\nwatchdog: 1 s", "$.watchdog: ", "'1 s' is not a number"),
    ("organism: a\njournal: 'sqlite:'", "$.journal: ", "names no path"),
    ("organism: a\njournal: postgres:x", "$.journal: ", "is not a journal"),
    ("organism: a\nbudget: {tokens: 1.5}", "$.budget.tokens: ", "1.5' is not a whole number"),
    ("organism: a\nbudget: {tokens: -1}", "$.budget.tokens: ", "-1 is negative"),
    ("organism: a\nbudget: {cost_usd: 5 USD}", "$.budget.cost_usd: ", "'5 USD' is not a decimal number"),
    ("organism: a\nbudget: {cost_usd: '1,50'}", "$.budget.cost_usd: ", "'1,50' is"),
    ("organism: a\nbudget: {seconds: 5 min}", "$.budget.seconds: ", "'5 min' is not a number"),
    ("organism: a\nbudget: {warn_at: 0.5}", "$.budget.warn_at: ", "must be a list"),
    ("organism: a\nbudget: {warn_at: {depth: [5]}}", "$.budget.warn_at: ", "depth never warns"),
    ("organism: a\nbudget: {notify: [agent, agent]}", "$.budget.notify: ", "is in the list twice"),
    ("organism: a\nbudget: {grace: {share: 1}}", "$.budget.grace.share: ", "1 is not below 1"),
    ("organism: a\nbudget: {window: day}", "$.budget: Additional", "unknown key here; it belongs in"),
    ("organism: a\nceiling: {window: week}", "$.ceiling.window: ", "'week' is not"),
    ("organism: a\naccounts: {tenant: {seconds: 5}}", "$.accounts.tenant: Add", "accounts have no limit of it"),
    ("organism: a\naccounts: {'Tenant:x': {}}", "$.accounts: ", "is not a valid kind of account"),
    ("organism: a\nconversation: {on_cap: stop}", "$.conversation.on_cap: ", "'stop' is not"),
    ("organism: a\nmodels: {default: {}}", "$.models.default: 'backends' is a", "'backends' is missing"),
    ("organism: a\nmodels: {default: {backends: []}}", "$.models.default.backends: ", "is an empty list"),
    (
        "organism: a\nmodels: {default: {backends: [{provider: opneai, model: m}]}}",
        "$.models.default.backends[0].provider: ",
        "'opneai' is not a provider; did you mean 'openai'?",
    ),
    (
        "organism: a\nmodels: {default: {backends: [{provider: openai, model: m, api_key: sk-x}]}}",
        "$.models.default.backends[0]: Additional",
        "a key does not belong here",
    ),
    (
        "organism: a\nmodels: {default: {backoff: [1], backends: [{provider: simulated, model: m}]}}",
        "$.models.default.backoff: ",
        "needs two numbers",
    ),
    ("organism: a\nhandlers: {Look: {code: desk:look}}", "$.handlers: ", "is not a valid handler name"),
    ("organism: a\nhandlers: {reply: {code: desk:look}}", "$.handlers: ", "is the tool with which agents answer"),
    ("organism: a\nhandlers: {look: {}}", "$.handlers.look: ", "needs 'code: module:function'"),
    ("organism: a\nhandlers: {look: {code: desk.look}}", "$.handlers.look.code: ", "is not a reference to code"),
    (
        "organism: a\nhandlers: {a: {code: desk:look, human: {accepts: desk:Question, replies: desk:Answer}}}",
        "$.handlers.a: ",
        "a handler is one of them",
    ),
    (
        "organism: a\nhandlers: {a: {description: A., agent: {accepts: desk:Question}}}",
        "$.handlers.a.agent: 'replies' is a",
        "'replies' is missing",
    ),
    ("organism: a\nhandlers: {a: {code: desk:look, peers: b}}", "$.handlers.a.peers: ", "must be a list"),
    ("organism: a\nhandlers: {a: {code: desk:look, timeout: 0}}", "$.handlers.a.timeout: ", "0 is not above 0"),
    ("organism: a\nhandlers:\n", "$.handlers: ", "has no value"),
    ("organism: a\nhooks: {on_mesage: desk:look}", "$.hooks: Add", "did you mean 'on_message'?"),
    ("organism: a\nstart: [{to: look}]", "$.start[0]: 'payload' is a", "'payload' is missing"),
    ("organism: a\nloops: {repeats: 1}", "$.loops: ", "1 is too little"),
    ("- a", "$: ", "must be a mapping of keys"),
)


@pytest.mark.parametrize(("text", "editor", "check"), WRONG, ids=[text for text, _, _ in WRONG])
def test_what_is_wrong_by_itself_is_told_by_the_editor_as_by_check(
    project: Project, text: str, editor: str, check: str
) -> None:
    assert any(line.startswith(editor) for line in underlined(text)), underlined(text)
    assert any(check in line for line in project.mistakes(text)), project.mistakes(text)


VALUES: Final = (
    *("", "null", "~", "true", "FALSE", "yes", "on", "off", "'true'", "none", "placebo", "text", "a text of words", "' '", "''"),
    *("0", "1", "2", "5", "-1", "+5", "-0", "1000", "10000", "10001", "86401", "100000000000000000000", "'5'", "010", "1_000", "0x10", "1:30"),
    *("0.5", ".5", "1.", "1e3", "-0.5", "1.0", "'0.5'", "'1e3'", ".inf", ".nan", "5 s", "5 min", "$5", "16kB"),
    *("[]", "[1]", "[0.5, 0.9]", "[0.9, '0.5']", "[5, 1]", "[1, 1]", "[text]", "[text, text]", "[null]", "[[]]", "[agent]", "[true]"),
    *("{}", "{a: 1}", "{tokens: 5}", "{tokens: [0.5]}", "{depth: [1]}", "{share: 0.5}", "{default: 3}", "{default: null}", "{tokens: null}"),
    *("trio", "asyncio", "wait", "full", "normal", "day", "run", "reply", "organism", "look", "x-y_1", "agent", "[caller]", "[crashed]", "[refused]"),
    *("memory:", "memory:x", "sqlite:a.db", "jsonl:a", "sqlite:", "'sqlite: '", "http://localhost:1/v1", "HTTPS://host", "KEY_2", "2KEY"),
    *("desk:look", "desk:Question", "desk:mute", "[desk:Question]", "[desk:Question, desk:Answer]", "desk.look", "no:thing", "desk.py"),
    *("simulated", "openai", "failover", "{at: final, to: small}", "{input: 1, output: '2.5'}", "{input: 1}", "{Question: {text: x}}"),
    *("{backends: [{provider: simulated, model: m}]}", "[{provider: simulated, model: m}]", "{code: desk:look}", "{on_message: desk:look}"),
    *("{accepts: desk:Question, replies: [desk:Answer]}", "[{to: look, payload: {}}]", "{to: look, payload: text}", "{repeats: 2}"),
)  # fmt: skip
"""YAML that may stand, or not, behind any key."""


def shapes(shape: Shape, path: str = "") -> Iterator[tuple[str, Shape]]:
    """Each shape that there is, by its keys."""
    yield path, shape
    match shape:
        case Record(keys=keys):
            for key, below in keys.items():
                yield from shapes(below, f"{path}.{key}")
        case MapOf(item=item) | ListOf(item=item) | OrNull(shape=item) | Located(shape=item):
            yield from shapes(item, f"{path}.*")
        case _:
            pass


SHAPES: Final = dict({id(shape): (path, shape) for path, shape in shapes(TOP)}.values())
"""Each once, also where several sections share it."""


def taken(shape: Shape, text: str, folder: Path) -> bool:
    """Whether a shape has nothing against a value by itself; what is named is looked at later, when all names are known."""
    mistakes = Mistakes()
    node = read_text(text, Source("file"), mistakes, ("handlers",))
    assert node is not None
    reading = Reading(mistakes, folder)
    shape.read(node, reading)
    return not len(mistakes) and all(is_handler_name(name) or name == "organism" for _, name in reading.named)


def judge(shape: Shape) -> Any:
    drawn = drawing()
    return Draft202012Validator({**shape.schema(drawn), "$defs": drawn.sections})


LATER: Final = (".backoff", ".payload", ".handlers.*")
"""What the reader looks at when it has read all that stands beside."""


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Shape, str, bool, bool]]:
    """Each value behind each key: whether the reader takes it, and whether an editor does."""
    project = Project(tmp_path_factory.mktemp("judged"))
    values = [(text, seen(text)) for text in VALUES]
    kept = [(path, shape, judge(shape)) for path, shape in SHAPES.items()]
    found = [
        (path, shape, text, not path.endswith(LATER) and taken(shape, text, project.folder), judge.is_valid(value))
        for path, shape, judge in kept
        for text, value in values
    ]
    project.forget()
    return found


def test_an_editor_takes_what_the_reader_takes_behind_every_key(
    judged: list[tuple[str, Shape, str, bool, bool]],
) -> None:
    assert len(SHAPES) > 100
    assert sum(reader for _, _, _, reader, _ in judged) > 1000
    assert [f"{path}: {text}" for path, _, text, reader, editor in judged if reader and not editor] == []


UNSEEN: Final = {"-1", "-0.5", "'0.5'", "'1e3'", "010", "'5'", ".nan", ".inf", "1.0", "1.", "1e3"}
"""What editors cannot tell from what may stand there: the bounds of quoted money, how a number was written."""


def test_an_editor_refuses_every_number_word_and_truth_that_the_reader_refuses(
    judged: list[tuple[str, Shape, str, bool, bool]],
) -> None:
    plain = [one for one in judged if isinstance(one[1], Amount | Truth | Choice) and one[2] not in UNSEEN]
    assert sum(editor for _, _, _, _, editor in plain) > 100
    assert [f"{path}: {text}" for path, _, text, reader, editor in plain if editor and not reader] == []


def test_every_shape_of_a_single_value_says_what_it_takes() -> None:
    single = [shape for shape in SHAPES.values() if isinstance(shape, Single)]
    assert all(judge(shape).is_valid(None) == shape.nullable for shape in single)
    assert not any(judge(shape).is_valid("no reference") for shape in single if isinstance(shape, Reference))


WHOLE: Final = """
organism: demo
defaults: {timeout: 5, agent: {temperature: 0}}
budget: {tokens: 100, cost_usd: 0.5, warn_at: [0.5], grace: {share: 0.1}, grants_up_to: {tokens: 5}}
conversation: {messages: 5, on_cap: rotate}
accounts: {tenant: {cost_usd: 1, window: day}}
ceiling: {tokens: 1000, window: run}
models:
  default:
    backoff: [0.5, 2]
    downgrade: null
    backends: [{provider: openai, model: m, base_url: "http://localhost:1/v1", price: {input: 1, output: 2}, options: {a: 1}}]
handlers:
  look: {code: desk:look, peers: [think], budget: {seconds: 5}, per: thread, on_failure: {attempts: 2, backoff: [1, 2]}}
  think:
    description: Thinks.
    agent:
      accepts: desk:Question
      replies: [desk:Answer]
      prompt: "{{ name }}"
      notices: {warning: a, figures: true}
      compaction: {at: 0.5}
      prune: null
      tool_calls: {default: 5}
  ann: {description: Ann., human: {accepts: desk:Question, replies: desk:Answer}}
hooks: {on_message: [desk:look]}
loops: {repeats: 2}
journal: "memory:"
start: [{to: look, payload: {Question: {text: x}}}]
"""
PLACES: Final = tuple(
    found.span(1) for found in re.finditer(r"(?<=: )(\[[^\]\n]*\]|\{[^{}\n]*\}|[^\[\]{},\n]+)(?=[,}\]\n])", WHOLE)
)
"""Where a value stands in it."""


def kind_of(value: str) -> str:
    """Lists, mappings, numbers and words: one of a kind may be right where another is."""
    return "0" if value[:1] and value[0] in "0123456789.+'" else value[0] if value[:1] in {"[", "{"} else "a"


CHANGES: Final = [
    ((start, end), value) for start, end in PLACES for value in VALUES if kind_of(value) == kind_of(WHOLE[start:end])
]


@pytest.fixture(scope="module")
def project_of_laws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("laws"))
    project.write("schema_desk.py", DESK)  # other tests have a module of the other name meanwhile
    yield project
    project.forget()


@given(changes=st.lists(st.sampled_from(CHANGES), min_size=1, max_size=3).map(dict))
def test_an_editor_takes_every_file_that_the_reader_takes(
    project_of_laws: Project, changes: dict[tuple[int, int], str]
) -> None:
    """Project.load itself looks at each file that has no mistake."""
    text = WHOLE
    for (start, end), value in sorted(changes.items(), reverse=True):
        text = text[:start] + value + text[end:]
    with suppress(ConfigurationError):
        project_of_laws.load(text.replace("desk:", "schema_desk:"))


def test_the_file_of_that_law_has_no_mistake_and_many_values(project_of_laws: Project) -> None:
    project_of_laws.load(WHOLE.replace("desk:", "schema_desk:"))
    assert len(PLACES) > 30


# What keys mean


def test_the_reference_and_the_schema_say_the_same_of_every_key() -> None:
    told: dict[str, dict[str, tuple[str, str]]] = {}
    for part in re.split(r"^## ", PAGE.read_text("utf-8"), flags=re.MULTILINE)[1:]:
        rows = re.findall(r"^\| `(\w+)` \| (.*?) ?\| (.*) \|$", part, re.MULTILINE)
        if rows:
            words = {key: (default, LINK.sub(lambda link: link[1] or "", means)) for key, default, means in rows}
            told[part.partition("\n")[0].lower()] = words
    assert len(told) > 10
    assert {section: MEANINGS.get(section) for section in told} == told


def test_no_meaning_is_told_of_a_key_that_there_is_not() -> None:
    records = [shape for shape in SHAPES.values() if isinstance(shape, Record)]
    keys = {(name, key) for shape in records for name in shape.named for key in shape.keys}
    assert {(section, key) for section, told in MEANINGS.items() for key in told} - keys == set()


def test_a_key_is_described_with_its_default_and_a_section_too() -> None:
    top = SCHEMA["properties"]
    assert top["queue"]["description"].endswith("have to. Default: 10000.")
    assert top["budget"] == {"description": "The limits of every root thread.", "$ref": "#/$defs/budget"}
    tokens = SCHEMA["$defs"]["accounts"]["properties"]["tokens"]
    assert tokens == {"description": "Input and output. Default: no limit.", "type": ["integer", "null"], "minimum": 0}
