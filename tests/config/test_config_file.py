"""organism.yaml: what is read, and every mistake with its place."""

from __future__ import annotations

import difflib
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from organism.settings import ROOT_LIMITS, UNITS, Grace, Limits, Price, Quota, Settings

if TYPE_CHECKING:
    from tests.config.conftest import Project

HEAD = "organism: demo\n"
UNCLEAR = "is not the same number to all readers of YAML"


def test_the_shortest_file(project: Project) -> None:
    settings = project.load(HEAD)
    assert settings == Settings(
        name="demo", models=settings.models, budget=settings.budget, folder=project.folder, notes=settings.notes
    )
    assert settings.budget.limits == ROOT_LIMITS
    assert [backend.provider for backend in settings.models["default"].backends] == ["simulated"]
    assert settings.notes == ("no models are configured: 'default' is simulated, and calls no provider",)


WHOLE = """
organism: research-desk
runtime: asyncio
defaults: {timeout: 12, options: {root: docs}, budget: {messages: 9}}
budget:
  tokens: 100000
  input_tokens: null
  cost_usd: 0.1000000000000000055511151231257827
  seconds: 600
  messages: null
  warn_at: {tokens: [5000, 0.5], messages: []}
  runway: 1.5
  grace: {share: 0.2}
  accounting: strict
  on_unpriced: ignore
  notify: [agent, caller]
conversation: {messages: 1000, cost_usd: 2, warn_at: [0.5], on_cap: rotate}
ceiling: {cost_usd: "20", window: day}
models:
  default:
    strategy: failover
    retries: 0
    backoff: [0, 1.5]
    max_output_tokens: 100
    backends:
      - {provider: simulated, model: sim-1, options: {seed: 7, verbosity: 0.5, words: [a, "no"]}}
      - provider: openai
        model: "4"
        base_url: http://localhost:11434/v1
        priority: 2
        max_concurrent: 1
        timeout: 7.5
        overhead: 0
        price: {input: 3, output: 15, cache_read: 0.30}
  local:
    backends: [{provider: openai, model: m, api_key_env: null}]
handlers:
  librarian:
    code: desk:look
    peers: [writer]
    concurrency: 2
    budget: {tokens: 5000, depth: 3}
    per: thread
    options: {depth: 2}
    effects: context
  writer:
    description: Writes.
    timeout: null
    peers: [librarian, writer]
    agent:
      accepts: desk:Question
      replies: [desk:Answer]
      model: local
      prompt: prompts/writer.md
      peers_as: tools
      max_turns: 3
      temperature: 0
      seed: -7
      reasoning_effort: low
      notices: {warning: "{{ used }} of {{ limit }}", grace: null}
scheduling: depth-first
max_handlers: 5
watchdog: 0.5
queue: 6
on_full: refuse
journal: sqlite:state/organism.db
durability: normal
"""


def test_every_key_reaches_the_settings(project: Project) -> None:
    project.write("prompts/writer.md", "Write.\n{{ name }}")
    settings = project.load(WHOLE)
    assert (settings.name, settings.runtime, settings.scheduling) == ("research-desk", "asyncio", "depth-first")
    assert (settings.max_handlers, settings.queue, settings.on_full) == (5, 6, "refuse")
    assert settings.watchdog == 0.5
    assert (settings.journal, settings.durability) == ("sqlite:state/organism.db", "normal")
    assert settings.folder == project.folder
    assert settings.notes == ()

    budget = settings.budget
    assert budget.limits == Limits(
        tokens=100000, cost_usd=Decimal("0.1000000000000000055511151231257827"), seconds=600.0, depth=50
    )
    assert budget.warn_at == {"tokens": (Decimal("0.5"), Decimal(5000)), "messages": ()}
    assert (budget.runway, budget.grace) == (Decimal("1.5"), Grace(share=Decimal("0.2")))
    assert (budget.accounting, budget.on_unpriced, budget.notify) == ("strict", "ignore", ("agent", "caller"))
    conversation = settings.conversation
    assert conversation.budget.limits == Limits(messages=1000, cost_usd=Decimal(2))
    assert (conversation.budget.warn_at or {})["messages"] == (Decimal("0.5"),)
    assert conversation.on_cap == "rotate"
    assert settings.ceiling == Quota(limits=Limits(cost_usd=Decimal(20)), window="day")

    default = settings.models["default"]
    assert (default.retries, default.backoff, default.max_output_tokens) == (0, (0.0, 1.5), 100)
    simulated, openai = default.backends
    assert simulated.options == {"seed": 7, "verbosity": 0.5, "words": ["a", "no"]}
    assert (openai.model, openai.base_url, openai.priority) == ("4", "http://localhost:11434/v1", 2)
    assert (openai.max_concurrent, openai.timeout, openai.overhead) == (1, 7.5, 0)
    assert openai.price == Price(input=Decimal(3), output=Decimal(15), cache_read=Decimal("0.30"))
    assert openai.place == f"{project.file}:26:9 models.default.backends[1]"
    assert [backend.api_key_env for backend in default.backends] == [None, "OPENAI_API_KEY"]
    assert settings.models["local"].backends[0].api_key_env is None

    librarian, writer = settings.handlers.values()
    assert (librarian.name, librarian.description, librarian.peers) == ("librarian", "Looks it up.", ("writer",))
    assert (librarian.timeout, librarian.concurrency, librarian.per) == (12.0, 2, "thread")
    assert librarian.budget is not None
    assert librarian.budget.limits == Limits(tokens=5000, depth=3, messages=9)
    assert (librarian.options, librarian.effects) == ({"root": "docs", "depth": 2}, "context")
    assert [one.__name__ for one in librarian.accepts] == ["Question"]
    assert librarian.code.__name__ == "look"
    assert librarian.agent is None

    assert (writer.code, writer.timeout, writer.peers) == (None, None, ("librarian", "writer"))
    agent = writer.agent
    assert agent is not None
    assert (agent.accepts, agent.model, agent.prompt) == (writer.accepts, "local", "Write.\n{{ name }}")
    assert [one.__name__ for one in agent.replies] == ["Answer"]
    assert (agent.max_turns, agent.temperature, agent.seed, agent.reasoning_effort) == (3, 0.0, -7, "low")
    assert (agent.notices.warning, agent.notices.grace) == ("{{ used }} of {{ limit }}", None)


def test_what_is_not_said_has_its_default(project: Project) -> None:
    settings = project.load("""
        organism: demo
        models: {default: {backends: [{provider: openai, model: m}]}}
        handlers:
          code: {code: desk:look, budget: {}}
          agent: {agent: {accepts: desk:Question, replies: desk:Answer}, description: Answers.}
    """)
    code, agent = settings.handlers.values()
    assert (code.timeout, agent.timeout) == (30.0, None)
    assert code.budget is not None
    assert code.budget.limits == Limits()
    assert agent.budget is None
    assert agent.agent is not None
    assert (agent.agent.min_output_tokens, agent.agent.max_output_tokens, agent.agent.prompt) == (64, None, None)


SEVEN = """
organism: demo
budget:
  tokens: -5
  cost_usd: a lot
modls: {}
handlers:
  librarian:
    code: desk:luok
  writer:
    description: Writes.
    peers: [shouter, shoter]
    timeout: 08
    agent:
      accepts: desk:Question
      replies: desk:Answer
      tools: [desk:mute]
  shouter:
    code: desk:look
"""


def test_seven_mistakes_at_once(project: Project) -> None:
    assert project.mistakes(SEVEN) == [
        "organism.yaml:3:11 budget.tokens: -5 is negative; 0 allows nothing, null sets no limit",
        "organism.yaml:4:13 budget.cost_usd: 'a lot' is not a decimal number; 0 allows nothing, null sets no limit",
        "organism.yaml:5:1 modls: unknown key; did you mean 'models'?",
        "organism.yaml:8:11 handlers.librarian.code: module 'desk' has no 'luok'; did you mean 'look'?",
        "organism.yaml:11:22 handlers.writer.peers[1]: 'shoter' is not a handler; did you mean 'shouter'?",
        f"organism.yaml:12:14 handlers.writer.timeout: '08' {UNCLEAR}: write a number in plain digits",
        (
            "organism.yaml:16:15 handlers.writer.agent.tools[0]: 'mute' has no docstring: a model reads there when to call it,"
            " and what for"
        ),
    ]


NUMBERS = [
    ("tokens", "1_000", "'1_000' is not the same number to all readers of YAML: write a whole number in plain digits"),
    ("tokens", "010", "'010' is not the same number to all readers of YAML: write a whole number in plain digits"),
    ("tokens", "0x10", "'0x10' is not the same number to all readers of YAML: write a whole number in plain digits"),
    ("seconds", "1:30", "'1:30' is not the same number to all readers of YAML: write a number in plain digits"),
    ("tokens", "100k", "'100k' is not a whole number: write plain digits alone"),
    ("tokens", "unlimited", "'unlimited' is not a whole number; 0 allows nothing, null sets no limit"),
    ("tokens", "9" * 101, f"'{'9' * 80}…' is more than 10^100"),
    ("seconds", "10m", "'10m' is not a number: write plain digits alone"),
    ("cost_usd", "$5", "'$5' is not a decimal number: write plain digits alone"),
    ("tokens", "1.0", "'1.0' is not a whole number: write 1"),
    ("tokens", "1e6", "'1e6' is not a whole number: write 1000000"),
    ("tokens", "1.5e-1", "'1.5e-1' is not a whole number"),
    ("tokens", "1e999999", "'1e999999' is not a whole number"),
    ("tokens", "true", "'true' is not a whole number; 0 allows nothing, null sets no limit"),
    ("tokens", "'5'", "'5' is a text and not a whole number; remove the quotes"),
    ("tokens", "[5]", "must be a whole number and not a list"),
    ("tokens", "1" + "0" * 5000, f"'1{'0' * 79}…' is more than 10^100"),
    ("seconds", ".inf", "'.inf' is not finite; 0 allows nothing, null sets no limit"),
    ("seconds", "1e999", "'1e999' is not finite"),
    ("cost_usd", ".nan", "'.nan' is not finite; 0 allows nothing, null sets no limit"),
    ("cost_usd", "'NaN'", "'NaN' is not a decimal number; 0 allows nothing, null sets no limit"),
    ("cost_usd", "1e-1000000", "'1e-1000000' has too many decimals"),
    ("cost_usd", "1e16", "'1e16' is more than 10^15"),
    (
        "cost_usd",
        "1e99999999999999999999",
        "'1e99999999999999999999' is not a decimal number that can be computed with",
    ),
    ("runway", "null", "has no value: give a decimal number, or leave the key out"),
    ("warn_at", "[0]", "0 is not above 0"),
    ("warn_at", "{depth: [5]}", "depth never warns: leave it out"),
    ("grace", "{share: 1}", "1 is not below 1"),
    ("grace", "", "has no value: write {}, or leave the key out"),
    ("notify", "[agent, agnt]", "'agnt' is not 'agent' or 'caller'; did you mean 'agent'?"),
]


@pytest.mark.parametrize(("key", "written", "problem"), NUMBERS)
def test_a_value_that_is_wrong(project: Project, key: str, written: str, problem: str) -> None:
    (mistake,) = project.mistakes(f"{HEAD}budget:\n  {key}: {written}\n")
    assert mistake.startswith("organism.yaml:3:")
    assert mistake.partition(" ")[2].partition(": ")[2] == problem
    assert mistake.partition(" ")[2].startswith(f"budget.{key}")


@pytest.mark.parametrize("written", ["0", "+5", "1" + "0" * 30, "1e2", "0.5", "'0.50'", "5.", ".5"])
def test_money_is_read_from_its_text(project: Project, written: str) -> None:
    if len(written) > 20:
        written = written[:15]
    limits = project.load(f"{HEAD}budget: {{cost_usd: {written}}}\n").budget.limits
    assert limits.cost_usd == Decimal(written.strip("'"))


def test_a_large_limit_is_no_mistake(project: Project) -> None:
    assert project.load(f"{HEAD}budget: {{tokens: {10**30}}}\n").budget.limits.tokens == 10**30


def test_levels_as_a_list_are_for_every_unit_that_warns(project: Project) -> None:
    warn_at = project.load(f"{HEAD}budget: {{warn_at: [0.9, 0.5]}}\n").budget.warn_at
    assert warn_at == dict.fromkeys((unit for unit in UNITS if unit != "depth"), (Decimal("0.5"), Decimal("0.9")))
    assert project.load(f"{HEAD}budget: {{warn_at: []}}\n").budget.warn_at == dict.fromkeys(warn_at, ())


BUDGET = (
    "'tokens', 'input_tokens', 'output_tokens', 'cost_usd', 'model_calls', 'messages', 'seconds', 'depth', "
    "'warn_at', 'runway', 'grace', 'accounting', 'on_unpriced', 'notify', 'grants_by' or 'grants_up_to'"
)
"""The keys of a budget."""
TRAPS = [
    ("", ["organism.yaml:1:1: is empty: write at least the organism's name, as in 'organism: my-organism'"]),
    ("# nothing\n", ["organism.yaml:1:1: is empty: write at least the organism's name, as in 'organism: my-organism'"]),
    ("{}", ["organism.yaml:1:1: 'organism' is missing"]),
    ("- a\n", ["organism.yaml:1:1: must be a mapping of keys, as in 'organism: my-organism', and not a list"]),
    ("organism: no\n", ["organism.yaml:1:11 organism: 'no' is true or false to some readers of YAML and a text to others: quote it"]),
    ("organism: 'no'\nruntime: on\n", ["organism.yaml:2:10 runtime: 'on' is not 'trio' or 'asyncio'"]),
    ("organism: 12\n", ["organism.yaml:1:11 organism: '12' is a number in YAML: quote it to make it a text"]),
    ("organism: '12'\n", ["organism.yaml:1:11 organism: '12' is not a valid organism name: small letters, digits and '-', a letter first"]),
    ("organism:\n", ["organism.yaml:1:10 organism: has no value: give a name, or leave the key out"]),
    ("organism: ' '\n", ["organism.yaml:1:11 organism: is an empty text: give a name, or leave the key out"]),
    ("name: demo\n", [
        "organism.yaml:1:1 name: the name of the organism has the key 'organism'",
        "organism.yaml:1:1: 'organism' is missing",
    ]),
    (HEAD + "agents: {writer: {}}\n", [
        "organism.yaml:2:1 agents: agents are handlers: write each below 'handlers', as in `handlers: {writer: {description: ..., agent: {...}}}`",
    ]),
    (HEAD + "no: 1\n", [
        "organism.yaml:2:1: the key 'no' is true or false to some readers of YAML and a text to others: quote it",
        "organism.yaml:2:1 no: unknown key",
    ]),
    (HEAD + "queue: 5\nbudget: {}\nqueue: 6\n", ["organism.yaml:4:1 queue: the key 'queue' is there twice; first at 2:1: keep one of them"]),
    (HEAD + "? [a]\n: b\n", ["organism.yaml:2:3: a key must be a text and not a list or a mapping"]),
    (HEAD + "timeout: 5\n", [
        "organism.yaml:2:1 timeout: unknown key here; it belongs in 'defaults', 'handlers.NAME' or 'mcp.NAME'"
    ]),
    (HEAD + "ceiling: {warn_at: []}\n", ["organism.yaml:2:11 ceiling.warn_at: unknown key here; it belongs in 'budget', 'conversation' or 'handlers.NAME.budget'"]),
    (HEAD + "budget: !!map {}\n", ["organism.yaml:2:9: tags ('!...') are not read: leave it out"]),
    (HEAD + "\tqueue: 5\n", ["organism.yaml:2:1: a tab cannot stand here: indent with spaces"]),
    (HEAD + "---\nqueue: 5\n", ["organism.yaml:2:1: a second document begins here; there can be one only"]),
    (HEAD + "budget: {<<: {tokens: 1}, '<<': 1, <<: {tokens: 2}}\n", [
        f"organism.yaml:2:27 budget.<<: unknown key; the keys are {BUDGET}",
        "organism.yaml:2:36 budget.<<: the key '<<' is there twice; first at 2:10: keep one of them",
    ]),
    (HEAD + "queue: &a 5\nthread_queue: &a 6\n", ["organism.yaml:3:15: the anchor '&a' is there twice, first at 2:8: name one of them otherwise"]),
    (HEAD + "queue: *five\n", ["organism.yaml:2:8: no '&five' is above this '*five': quote a text that begins with '*'"]),
    (HEAD + "start: *Now* and here\n", [
        "organism.yaml:2:12: '&name' names a value, and '*name' stands for it: quote a text that begins with '&' or '*'"
    ]),
    (HEAD + "journal: memory:\n", [
        "organism.yaml:2:16: a ':' is not expected here: quote a text that holds ': ' or ends in ':', and indent keys like their neighbours"
    ]),
    (HEAD + "queue:5\nruntime: trio\n", [
        "organism.yaml:2:1: 'queue:5' is no key with a value: write 'key: value', with a blank behind the ':', or indent what goes on"
    ]),
    (HEAD + "journal: 'memory:\nqueue: 5\n", ["organism.yaml:2:10: the quote that opens here is not closed"]),
    (HEAD + "budget: {tokens: 5\nqueue: 5\n", [
        "organism.yaml:3:6: expected ',' or '}', for the bracket that opens at 2:9: close it, and quote a text that holds one, ', ' or ': '"
    ]),
    (HEAD + "budget:\n    tokens: 5\n  messages: 5\n", [
        "organism.yaml:4:3: does not go on with what begins at 1:1: indent it alike, and quote a text as a whole"
    ]),
    (HEAD + "journal: @here\n", ["organism.yaml:2:10: a text cannot begin with @: quote it"]),
    (HEAD + "journal: | memory\n", ["organism.yaml:2:12: a text begins on the line below its '|' or '>': quote one that begins with these"]),
    (HEAD + "journal: ? b\n", ["organism.yaml:2:10: a '?' cannot stand here: quote a text that begins with it"]),
    (HEAD + "start: - a\n", ["organism.yaml:2:8: a list cannot begin here: begin it on the next line, or write it as [...]"]),
    (HEAD + "start: [a, , b]\n", ["organism.yaml:2:12: a value is expected here"]),
    (HEAD + 'journal: "sqlite:C:\\db"\n', [
        "organism.yaml:2:21: a '\\' begins an escape in double quotes: write '\\\\' for itself, or use single quotes"
    ]),
    (HEAD + 'journal: "\\UFFFFFFFF"\n', [
        "organism.yaml:2:13: is not YAML: an escape or a version is too large"
    ]),
    (HEAD + "journal: !e!x b\n", ["organism.yaml:2:10: tags ('!...') are not read: quote a text that begins with '!'"]),
    ("%YAML 9.9\n---\n" + HEAD, ["organism.yaml:1:1: is not read: leave out what begins with '%'"]),
    (HEAD + "...\nqueue: 5\n", ["organism.yaml:3:1: another document begins here: leave out what begins with '...' or '%' above"]),
    (HEAD + "handlers: {a: {code: desk:look, peers: ['']}}\n", [
        "organism.yaml:2:41 handlers.a.peers[0]: is an empty text: give the name of a handler, or leave it out"
    ]),
    (HEAD + "journal: memory\n", ["organism.yaml:2:10 journal: 'memory' is not a journal; did you mean 'memory:'?; use 'memory:', 'sqlite:PATH' or 'jsonl:DIR'"]),
    (HEAD + "queue: &a [*a]\n", ["organism.yaml:2:8: an alias stands for something that holds it"]),
    (HEAD + "budget: " + "[" * 5000 + "\n", ["organism.yaml:2:58: is nested more than 50 deep"]),
    (HEAD + 'journal: "\\ud800"\n', ["organism.yaml:2:10 journal: '\\ud800' holds half a character (a lone surrogate)"]),
    (HEAD + "journal: \0\n", ["organism.yaml:2:10: character U+0000 is not allowed in YAML"]),
    (b"organism: d\xe9mo\n", ["organism.yaml:1:12: byte 0xe9 is not UTF-8: save the file as UTF-8"]),
    ("organism: demo\n".encode("utf-16"), ["organism.yaml:1:1: byte 0xff is not UTF-8: save the file as UTF-8"]),
    (b"#" * 1_100_000, ["organism.yaml: is longer than 1048576 bytes; a program may declare more than a file: Organism(handlers={...})"]),
    (HEAD + "loops: false\n", ["organism.yaml:2:8 loops: 'false' is not a value for it: write null for none"]),
    (HEAD + "record: nowhere/answers.jsonl\n", ["organism.yaml:2:9 record: there is no folder 'nowhere': make it, or name another file"]),
    (HEAD + "budget: {grants_by: organism}\n", ["organism.yaml:2:21 budget.grants_by: 'organism' is the organism itself, and no handler: name one of 'handlers'"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "mistakes"), TRAPS)
def test_what_yaml_does_not_say_clearly(project: Project, text: str | bytes, mistakes: list[str]) -> None:
    assert project.mistakes(text) == mistakes


def test_a_byte_order_mark_is_no_mistake(project: Project) -> None:
    assert project.load(b"\xef\xbb\xbf" + HEAD.encode()).name == "demo"


def test_aliases_are_read_and_bombs_are_not(project: Project) -> None:
    settings = project.load("""
        organism: demo
        budget: &few {tokens: 5, messages: 6}
        ceiling: *few
        handlers:
          one: &one {code: desk:look, budget: {<<: *few, messages: 7}}
          two: {<<: [*one], timeout: 3}
    """)
    assert settings.ceiling.limits == Limits(tokens=5, messages=6)
    one, two = settings.handlers.values()
    assert one.budget is not None
    assert one.budget.limits == Limits(tokens=5, messages=7)
    assert (two.timeout, two.budget) == (3.0, one.budget)

    levels = "".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 10)}]\n" for i in range(1, 12))
    (mistake,) = project.mistakes(f"{HEAD}x0: &x0 [1, 1]\n{levels}")
    assert mistake.endswith(
        "holds more than 100000 values, aliases as what they stand for; a program may declare more than a file: Organism(handlers={...})"
    )


def test_a_file_that_cannot_be_read(project: Project) -> None:
    project.file = project.folder / "nowhere.yaml"
    assert project.mistakes(HEAD) == ["nowhere.yaml: there is no such file; 'organism init DIR' makes a project"]
    project.file = project.folder
    (mistake,) = project.wrong(HEAD).mistakes
    assert mistake == f"{project.folder}: is a folder: name the file in it, as in {project.folder}/organism.yaml"


def test_a_key_in_the_file_is_refused_and_never_shown(project: Project) -> None:
    mistakes = project.mistakes("""
        organism: demo
        models:
          default:
            backends:
              - {provider: openai, model: m, api_key: sk-secret}
              - {provider: openai, model: m, api_key_env: sk-secret}
              - {provider: openai, model: m, options: {headers: {Authorization: sk-secret}}}
              - {provider: openai, model: m, base_url: "ftp://sk-secret@example.org"}
              - {provider: openai, model: m, base_url: "https://me:sk-secret@example.org/v1"}
              - {provider: openai, model: m, api_key_env: KEY, api_key_file: desk.py}
              - {provider: openai, model: m, api_key_file: key.txt}
    """)
    assert [mistake.partition(" ")[2].partition(":")[0] for mistake in mistakes] == [
        "models.default.backends[0].api_key",
        "models.default.backends[1].api_key_env",
        "models.default.backends[2].options.headers.Authorization",
        "models.default.backends[3].base_url",
        "models.default.backends[4].base_url",
        "models.default.backends[5].api_key_file",
        "models.default.backends[6].api_key_file",
    ]
    assert "secret" not in "".join(mistakes)
    assert "api_key_env" in mistakes[0]


def test_a_key_file_is_relative_to_the_file(project: Project) -> None:
    project.write("key", "sk-secret")
    settings = project.load(f"{HEAD}models: {{a: {{backends: [{{provider: openai, model: m, api_key_file: key}}]}}}}\n")
    (backend,) = settings.models["a"].backends
    assert (backend.api_key_file, backend.api_key_env) == (project.folder / "key", None)


def test_wordings(project: Project) -> None:
    project.write("broken.md", "one\n{{ two")
    project.write("latin.txt", b"caf\xe9")
    project.write("plain", "From a file.")
    agent = "{accepts: desk:Question, replies: desk:Answer, prompt: PROMPT}"
    head = f"{HEAD}handlers:\n  writer:\n    description: Writes.\n    agent: {agent}\n"
    read = {
        "plain": "From a file.",
        "'Be brief.'": "Be brief.",
        '"Two lines.\\nThe second ends in x.md"': "Two lines.\nThe second ends in x.md",
        f"'{'long ' * 2000}'": "long " * 2000,
    }
    for prompt, text in read.items():
        agent_read = project.load(head.replace("PROMPT", prompt)).handlers["writer"].agent
        assert agent_read is not None
        assert agent_read.prompt == text
    place = "organism.yaml:5:67 handlers.writer.agent.prompt: "
    wrong = {
        "broken.md": "broken.md:2: unexpected end of template, expected 'end of print statement'",
        "'{% if %}'": "line 1: Expected an expression, got 'end of statement block'",
        "'{{ name | uper }}'": "line 1: there is no filter 'uper'; did you mean 'upper'?",
        "'{% if name is strng %}{% endif %}'": "line 1: there is no test 'strng'; did you mean 'string'?",
        "\"\\n{% include 'broken.md' %}\"": "line 2: it cannot take in another file: write it in one",
        "latin.txt": "'latin.txt' is not UTF-8 at byte 3",
        "missing.j2": "'missing.j2' is not a file that is there; a line that ends in '.md', '.txt' or '.j2' is a path",
        f"'{{{{ {'(' * 3000} }}}}'": "line 1: nested too deep for Jinja2",
    }
    for prompt, problem in wrong.items():
        assert project.mistakes(head.replace("PROMPT", prompt)) == [place + problem]


A_CLASS = "give a payload class, as in 'module:Class'; 'organism:Text' takes any text"
HANDLERS = [
    ("a: {description: x}", ["3:6 handlers.a: needs 'code: module:function', 'agent: {...}' or 'human: {...}'"]),
    ("a: {code: desk:look, agent: {accepts: desk:Question, replies: desk:Answer}}", [
        "3:31 handlers.a.agent: is there beside 'code': a handler is one of them"
    ]),
    ("a: {human: {}}", [
        "3:6 handlers.a: 'description' is missing: agents read it",
        f"3:14 handlers.a.human: 'accepts' is missing: {A_CLASS}",
        f"3:14 handlers.a.human: 'replies' is missing: {A_CLASS}",
    ]),
    ("a: {description: x, human: {accepts: desk:look, replies: [organism.primitives:HandlerFailed]}}", [
        "3:40 handlers.a.human.accepts: 'look' is not a payload class: put @payload on it, or name another one",
        "3:61 handlers.a.human.replies[0]: 'HandlerFailed' is sent by the organism alone: name another one",
    ]),
    ("a: {description: x, peers: [a], concurrency: 2, human: {accepts: desk:Question, replies: desk:Answer}}", [
        "3:30 handlers.a.peers: a person is asked and answers, and addresses nobody: leave it out",
        "3:48 handlers.a.concurrency: a person is asked everything at once, and answers in any order: leave it out",
    ]),
    ("a: {description: x, options: {b: 1}, effects: world, human: {accepts: desk:Question, replies: desk:Answer}}", [
        "3:32 handlers.a.options: nothing reads it: no code runs for a person",
        "3:49 handlers.a.effects: nothing reads it: no code runs for a person",
    ]),
    ("a: {code: desk:look, human: {accepts: desk:Question, replies: desk:Answer}}", [
        "3:31 handlers.a.human: is there beside 'code': a handler is one of them"
    ]),
    ("a: {code: desk:mute}", ["3:6 handlers.a: 'description' is missing: agents read it; or give the function a docstring"]),
    ("a: {agent: {accepts: desk:Question, replies: []}}", [
        "3:6 handlers.a: 'description' is missing: agents read it",
        "3:48 handlers.a.agent.replies: is an empty list: name one item at least",
    ]),
    ("a: {code: desk.look}", ["3:13 handlers.a.code: 'desk.look' is not a reference to code: write it as in 'package.module:name'"]),
    ("a: {code: desc:look}", ["3:13 handlers.a.code: there is no module 'desc' in FOLDER; did you mean 'desk'?"]),
    ("a: {description: x, agent: {accepts: desk:look, replies: desk:Answer}}", [
        "3:40 handlers.a.agent.accepts: 'look' is not a payload class: put @payload on it, or name another one"
    ]),
    ("a: {description: x, agent: {accepts: desk:Answer, replies: organism.primitives:BudgetGranted}}", [
        "3:62 handlers.a.agent.replies: 'BudgetGranted' is sent by the organism alone: name another one"
    ]),
    ("a: {description: x, agent: {accepts: [desk:Answer, desk:Answer], replies: desk:Answer}}", [
        "3:54 handlers.a.agent.accepts[1]: is in the list twice"
    ]),
    ("a: {description: x, agent: {accepts: desk:Answer, replies: [desk:Answer, desk:Answer]}}", [
        "3:76 handlers.a.agent.replies[1]: is in the list twice"
    ]),
    ("a: {description: x, agent: {accepts: desk:Answer, replies: desk:Answer, model: defautl}}", [
        "3:82 handlers.a.agent.model: 'defautl' is not a model; did you mean 'default'?"
    ]),
    ("a: {description: x, agent: {accepts: desk:Answer, replies: desk:Answer, max_output_tokens: 9, min_output_tokens: 10}}", [
        "3:116 handlers.a.agent.min_output_tokens: 10 is more than the 9 output tokens wished for"
    ]),
    ("a: {code: desk:look, peers: [a, b, b]}", [
        "3:35 handlers.a.peers[1]: 'b' is not a handler; add it to 'handlers'",
        "3:38 handlers.a.peers[2]: is in the list twice",
    ]),
    ("a: {code: desk:look, per: call}", ["3:29 handlers.a.per: says how calls share a budget, and 'budget' is missing beside it"]),
    ("a: {code: desk:look, timeout: 0}", ["3:33 handlers.a.timeout: 0 is not above 0"]),
    ("a: {code: desk:look, model: default}", [
        ("3:24 handlers.a.model: unknown key here; it belongs in 'handlers.NAME.agent', 'models.NAME.backends[0]' or "
        "'handlers.NAME.agent.compaction'")
    ]),
    ("a: {code: desk:look, options: {x: no}}", [
        "3:37 handlers.a.options.x: 'no' is true or false to some readers of YAML and a text to others: quote it"
    ]),
    ("A: {code: desk:look}", ["3:3 handlers.A: 'A' is not a valid handler name: small letters, digits, '_' and '-', a letter first, 64 at most"]),
    ("organism: {code: desk:look}", ["3:3 handlers.organism: 'organism' is the organism's own name for itself: choose another one"]),
    ("reply: {code: desk:look}", ["3:3 handlers.reply: 'reply' is the tool with which agents answer: choose another one"]),
    ("a: desk:look", ["3:6 handlers.a: must be a mapping of keys and not 'desk:look'"]),
]  # fmt: skip


@pytest.mark.parametrize(("handler", "mistakes"), HANDLERS)
def test_a_handler_that_is_wrong(project: Project, handler: str, mistakes: list[str]) -> None:
    found = project.mistakes(f"{HEAD}handlers:\n  {handler}\n")
    assert found == [f"organism.yaml:{mistake.replace('FOLDER', str(project.folder))}" for mistake in mistakes]


def test_a_broken_handler_hides_no_other_mistake(project: Project) -> None:
    assert project.mistakes("""
        organism: demo
        handlers:
          a: {code: nowhere:x, peers: [c]}
          b: {code: desk:look, peers: [a, d]}
        start: [{to: a, payload: {Nothing: {}}}, {to: c, payload: x}, {payload: x}]
        models: []
    """) == [
        f"organism.yaml:3:13 handlers.a.code: there is no module 'nowhere' in {project.folder}",
        "organism.yaml:3:32 handlers.a.peers[0]: 'c' is not a handler; add it to 'handlers'",
        "organism.yaml:4:35 handlers.b.peers[1]: 'd' is not a handler; add it to 'handlers'",
        "organism.yaml:5:47 start[1].to: 'c' is not a handler; add it to 'handlers'",
        "organism.yaml:5:63 start[2]: 'to' is missing",
        "organism.yaml:6:9 models: must be a mapping of keys and not a list",
    ]


def test_a_wrong_default_is_one_mistake(project: Project) -> None:
    handlers = "handlers:\n  a: {code: desk:look}\n  b: {code: desk:look, timeout: 5}\n"
    assert project.mistakes(f"{HEAD}defaults: {{timeout: soon, effects: word, prers: []}}\n{handlers}") == [
        "organism.yaml:2:21 defaults.timeout: 'soon' is not a number",
        "organism.yaml:2:36 defaults.effects: 'word' is not 'world' or 'context'; did you mean 'world'?",
        "organism.yaml:2:42 defaults.prers: unknown key; did you mean 'peers'?",
    ]


def test_the_least_output_is_at_most_the_wish(project: Project) -> None:
    settings = project.load("""
        organism: demo
        models: {default: {max_output_tokens: 32, backends: [{provider: simulated, model: m}]}}
        handlers:
          a: {description: x, agent: {accepts: desk:Answer, replies: desk:Answer}}
          b: {description: x, agent: {accepts: desk:Answer, replies: desk:Answer, max_output_tokens: 50}}
    """)
    agents = [handler.agent for handler in settings.handlers.values()]
    assert [agent.min_output_tokens for agent in agents if agent] == [32, 50]


@pytest.mark.parametrize(
    ("model", "mistake"),
    [
        ("{}", "3:12 models.default: 'backends' is missing"),
        ("{backends: []}", "3:23 models.default.backends: is an empty list: name one item at least"),
        ("{backends: [{model: m}]}", "3:24 models.default.backends[0]: 'provider' is missing"),
        ("{backends: [{provider: desk:look, model: m}], backoff: [1]}", "3:67 models.default.backoff: needs two numbers, the first and the longest wait in seconds, and has 1"),
        ("{backends: [{provider: desk:look, model: m}], backoff: [-1, 0]}", "3:68 models.default.backoff[0]: -1 is negative"),
        ("{backends: [{provider: desk:look, model: m}], backoff: [2, 1]}", "3:67 models.default.backoff: the first wait (2) is longer than the longest (1)"),
        ("{backends: [{provider: opnai, model: m}]}", "3:35 models.default.backends[0].provider: 'opnai' is not a provider; did you mean 'openai'?"),
        ("{backends: [{provider: human, model: m}]}", "3:35 models.default.backends[0].provider: 'human' is not a provider; use 'simulated', 'openai', 'anthropic', 'recorded' or 'package.module:factory'"),
        ("{backends: [{provider: desk:nothing, model: m}]}", "3:35 models.default.backends[0].provider: module 'desk' has no 'nothing'"),
        ("{backends: [{provider: desk:__name__, model: m}]}", "3:35 models.default.backends[0].provider: 'desk:__name__' makes no provider: it must be a function or a BackendFactory"),
    ],
)  # fmt: skip
def test_a_model_that_is_wrong(project: Project, model: str, mistake: str) -> None:
    assert project.mistakes(f"{HEAD}models:\n  default: {model}\n") == [f"organism.yaml:{mistake}"]


def test_a_provider_of_ones_own_is_loaded(project: Project) -> None:
    project.write("own.py", "class Factory:\n    key_env = 'OWN_KEY'\n    def make(self): ...\nfactory = Factory()\n")
    settings = project.load(f"{HEAD}models: {{default: {{backends: [{{provider: 'own:factory', model: m}}]}}}}\n")
    (backend,) = settings.models["default"].backends
    assert (backend.provider, backend.api_key_env) == ("own:factory", "OWN_KEY")
    assert type(backend.factory).__name__ == "Factory"


@pytest.mark.parametrize("seconds", ["99999999999999999999999", "86401", "1e99"])
def test_a_watchdog_waits_no_longer_than_a_thread_can(project: Project, seconds: str) -> None:
    assert project.mistakes(f"{HEAD}watchdog: {seconds}\n") == [
        f"organism.yaml:2:11 watchdog: {seconds} is too much: 86400 is the most; null means never"
    ]


def test_what_many_wrong_names_are_meant_to_be_is_looked_for_in_bounded_work(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[int] = []
    close = difflib.get_close_matches

    def counted(word: str, names: list[str], **options: float) -> list[str]:
        compared.append(len(names))
        return close(word, names, n=int(options["n"]), cutoff=options["cutoff"])

    monkeypatch.setattr(difflib, "get_close_matches", counted)
    keys = "".join(f"budget_{number}: 1\n" for number in range(1000))
    found = project.mistakes(f"{HEAD}{keys}handlers: {{a: {{code: desk:x, peers: [b]}}}}\n")
    assert found[0] == "organism.yaml:2:1 budget_0: unknown key; did you mean 'budget'?"
    assert "organism.yaml:1001:1 budget_999: unknown key" in found
    assert sum(compared) <= 21_000
