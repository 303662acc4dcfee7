"""What stands over the file: the environment, ``--set``, and keyword arguments in place of a file."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from organism import Organism, config
from organism.errors import ConfigurationError
from organism.payloads import payload
from organism.settings import DEFAULT_LEVELS, BudgetSettings, Grace, Limits, Policy

if TYPE_CHECKING:
    from collections.abc import Callable

    from organism import Context
    from organism.settings import Settings
    from tests.config.conftest import Project

FILE = """
organism: demo
budget: {tokens: 1, messages: 2, warn_at: [0.5]}
handlers:
  book-keeper: {code: desk:look, peers: [two]}
  two: {code: desk:look, description: two, options: {Root: docs, deep: {er: 1}}}
"""


@payload
class Note:
    """A note."""

    text: str


@payload
class Other:
    """Another one."""

    text: str


async def note(note: Note, ctx: Context) -> None:
    """Notes it."""


def test_the_strongest_layer_wins(project: Project) -> None:
    settings = project.load(
        FILE, environ={"ORGANISM_BUDGET__TOKENS": "10", "ORGANISM_BUDGET__SECONDS": "3"}, set={"budget.tokens": "100"}
    )
    assert settings.budget.limits == Limits(tokens=100, messages=2, seconds=3.0, depth=50)


def test_what_the_environment_says(project: Project) -> None:
    settings = project.load(
        FILE,
        environ={
            "HOME": "/nowhere",
            "ORGANISM_ORGANISM": "no",
            "ORGANISM_BUDGET__COST_USD": "0.1000000000000000055",
            "ORGANISM_BUDGET__MESSAGES": "null",
            "ORGANISM_HANDLERS__BOOK_KEEPER__PEERS__0": "book-keeper",
            "ORGANISM_HANDLERS__BOOK_KEEPER__PEERS__1": "two",
            "ORGANISM_HANDLERS__TWO__OPTIONS__ROOT": "08",
            "ORGANISM_HANDLERS__TWO__OPTIONS__DEEP": "{er: 2, on_top: [3]}",
            "ORGANISM_CEILING": "{tokens: 7}",
            "ORGANISM_CEILING__MESSAGES": "8",
        },
    )
    assert settings.name == "no"
    assert settings.budget.limits == Limits(tokens=1, depth=50, cost_usd=Decimal("0.1000000000000000055"))
    assert settings.handlers["book-keeper"].peers == ("book-keeper", "two")
    assert settings.handlers["two"].options == {"Root": "08", "deep": {"er": 2, "on_top": [3]}}
    assert settings.ceiling.limits == Limits(tokens=7, messages=8)


def test_what_set_says(project: Project) -> None:
    settings = project.load(
        FILE,
        set={
            "budget": {"tokens": 5, "cost_usd": 0.1},
            "budget.warn_at": "[0.25, 1000]",
            "budget.grace": {},
            "handlers.two.description": "[draft] no: not yet",
            "handlers.two.budget": "{tokens: 3}",
            "handlers.two.budget.messages": 4,
            "handlers.book-keeper.peers[0]": "book-keeper",
            "models.default.backends.0.provider": "openai",
            "models.default.backends.0.model": "4",
            "max_handlers": 7,
        },
    )
    budget = settings.budget
    assert budget.limits == Limits(tokens=5, messages=2, cost_usd=Decimal("0.1"), depth=50)
    assert budget.warn_at is not None
    assert budget.warn_at["tokens"] == (Decimal("0.25"), Decimal(1000))
    assert budget.grace == Grace()
    two = settings.handlers["two"]
    assert two.description == "[draft] no: not yet"
    assert two.budget == BudgetSettings(limits=Limits(tokens=3, messages=4))
    assert settings.handlers["book-keeper"].peers == ("book-keeper",)
    (backend,) = settings.models["default"].backends
    assert (backend.provider, backend.model, backend.api_key_env) == ("openai", "4", "OPENAI_API_KEY")
    assert settings.max_handlers == 7
    assert settings.notes == ()


def test_defaults_are_below_what_is_set_for_a_handler(project: Project) -> None:
    settings = project.load(FILE, set={"defaults": "{timeout: 3, budget: {tokens: 1}}", "handlers.two": "{timeout: 4}"})
    assert [handler.timeout for handler in settings.handlers.values()] == [3.0, 4.0]
    assert settings.handlers["two"].budget == BudgetSettings(limits=Limits(tokens=1))


def test_options_may_be_set_as_lists_and_mappings(project: Project) -> None:
    settings = project.load(
        FILE, set={"handlers.two.options": "{roots: [a, 2]}", "handlers.two.options.more": "[{x: 1}]"}
    )
    options = settings.handlers["two"].options
    assert (options["roots"], options["more"]) == (["a", 2], [{"x": 1}])


WRONG = [
    ({"budget.tokens": "some"}, {}, ["--set budget.tokens: 'some' is not a whole number; 0 allows nothing, null sets no limit"]),
    ({"budget": {"tokens": True}}, {}, ["--set budget budget.tokens: True is not a whole number; 0 allows nothing, null sets no limit"]),
    ({"budget": "{tokens: no}"}, {}, ["--set budget budget.tokens: 'no' is not a whole number; 0 allows nothing, null sets no limit"]),
    ({"budget": "{tokens: "}, {}, ["--set budget: a value is expected here"]),
    ({"budget.warn_at": "[0.5"}, {}, ["--set budget.warn_at: expected ',' or ']', for the bracket that opens: close it, and quote a text that holds one, ', ' or ': '"]),
    ({"budgt.tokens": 5}, {}, ["--set budgt.tokens budgt: unknown key; did you mean 'budget'?"]),
    ({"record": "."}, {}, ["--set record: '.' is a folder, not a file"]),
    ({"": 5, "a..b": 5, "budget.": 5, "x[1": 5}, {}, [
        f"--set {name}: is not a path of keys; write it as in 'budget.tokens' or 'handlers.writer.peers.0'"
        for name in ("", "a..b", "budget.", "x[1")
    ]),
    ({"organism.x": 5}, {}, ["--set organism.x: 'organism' holds no keys, so 'x' cannot be set in it"]),
    ({"handlers.two.peers.1": "two"}, {}, [
        "--set handlers.two.peers.1: '1' is not an item of the list: it has no items, and 0 adds one"
    ]),
    ({"handlers.book-keeper.peers.3": "two"}, {}, [
        "--set handlers.book-keeper.peers.3: '3' is not an item of the list: it has 1 item, counted from 0, and 1 adds one"
    ]),
    ({"models.default.backends[5].model": "m"}, {}, [
        "--set models.default.backends[5].model: '5' is not an item of the list: it has 1 item, counted from 0, and 1 adds one"
    ]),
    ({}, {"ORGANISM_MODELS__DEFAULT__BACKENDS__5__MODEL": "m"}, [
        "ORGANISM_MODELS__DEFAULT__BACKENDS__5__MODEL models.default.backends: '5' is not an item of the list: it has 1 item, counted from 0, and 1 adds one"
    ]),
    ({}, {"ORGANISM_ORGANISM__X": "5"}, [
        "ORGANISM_ORGANISM__X organism: 'organism' holds no keys, so 'x' cannot be set in it"
    ]),
    ({}, {"ORGANISM_BUDGET__TOKENZ": "5"}, ["ORGANISM_BUDGET__TOKENZ budget.tokenz: unknown key; did you mean 'tokens'?"]),
    ({}, {"ORGANISM_": "5", "ORGANISM_BUDGET__": "5"}, [
        f"{name}: is not the name of a key; write it as in ORGANISM_BUDGET__TOKENS" for name in ("ORGANISM_", "ORGANISM_BUDGET__")
    ]),
    ({}, {"ORGANISM_MAX_HANDLERS": ""}, ["ORGANISM_MAX_HANDLERS max_handlers: '' is not a whole number"]),
    ({}, {"ORGANISM_RUNTIME": "\udcff"}, ["ORGANISM_RUNTIME runtime: '\\udcff' is not 'trio' or 'asyncio'"]),
    ({}, {"ORGANISM_HANDLERS__TWO__DESCRIPTION": "\udcff"}, [
        "ORGANISM_HANDLERS__TWO__DESCRIPTION handlers.two.description: '\\udcff' holds half a character (a lone surrogate)"
    ]),
    ({"queue": "0"}, {"ORGANISM_QUEUE": "-1", "ORGANISM_ON_FULL": "fail"}, [
        "ORGANISM_ON_FULL on_full: 'fail' is not 'wait' or 'refuse'", "--set queue: 0 is too little: 1 is the least",
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("sets", "environ", "mistakes"), WRONG)
def test_a_mistake_names_the_layer_it_was_made_in(
    project: Project, sets: dict[str, object], environ: dict[str, str], mistakes: list[str]
) -> None:
    assert project.mistakes(FILE, set=sets, environ=environ) == mistakes


def test_a_mistake_of_the_file_that_a_layer_repairs_is_none(project: Project) -> None:
    assert project.load("organism: NO\n", set={"organism": "yes"}).name == "yes"


def test_without_a_file() -> None:
    settings = config.build(
        {
            "organism": "demo",
            "handlers": {
                "note": note,
                "scribe": {"code": note, "description": "Writes.", "peers": ["note"], "options": {"to": object}},
                "agent": {"description": "Thinks.", "agent": {"accepts": Note, "replies": [Note, Other]}},
            },
            "budget": {"tokens": 5000, "cost_usd": 0.1, "warn_at": [Decimal("0.5")]},
            "models": {"default": {"backends": [{"provider": "simulated", "model": "sim-1"}]}},
            "journal": "memory:",
        },
        set={"handlers.note.timeout": 5, "handlers.scribe.timeout": "6"},
    )
    assert settings.name == "demo"
    assert settings.folder is None
    first, scribe, agent = settings.handlers.values()
    assert (first.code, first.accepts, first.description, first.timeout) == (note, (Note,), "Notes it.", 5.0)
    assert (scribe.description, scribe.peers, scribe.timeout) == ("Writes.", ("note",), 6.0)
    assert scribe.options == {"to": object}
    assert agent.agent is not None
    assert (agent.agent.accepts, agent.agent.replies) == ((Note,), (Note, Other))
    assert settings.budget.limits == Limits(tokens=5000, cost_usd=Decimal("0.1"), messages=300, depth=50)
    assert settings.notes == ()


def test_a_program_may_declare_thousands_of_handlers_and_each_wrong_peer_of_theirs_is_told() -> None:
    swarm: dict[str, Any] = {f"h{number}": {"code": note, "peers": ["h0"]} for number in range(3_000)}
    assert len(config.build({"organism": "demo", "handlers": swarm}).handlers) == 3_000
    swarm["h7"]["peers"] = ["h0", "h3000"]
    assert _mistakes({"organism": "demo", "handlers": swarm}) == [
        "Organism(handlers=...) handlers.h7.peers[1]: 'h3000' is not a handler; add it to 'handlers'"
    ]


def test_a_provider_may_be_given_as_what_makes_it() -> None:
    def script(settings: object) -> None: ...

    settings = config.build(
        {"organism": "demo", "models": {"default": {"backends": [{"provider": script, "model": "m"}]}}}
    )
    (backend,) = settings.models["default"].backends
    assert backend.factory is script
    assert backend.place == "Organism(models=...) models.default.backends[0]"


def _mistakes(document: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        config.build(document)
    return list(caught.value.mistakes)


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_may_be_given_as_a_text_or_as_a_path(kind: Callable[[Path], Any], tmp_path: Path) -> None:
    (tmp_path / "prompt.md").write_text("Be brief.")
    agent = {"accepts": Note, "replies": Note, "prompt": kind(Path("prompt.md"))}
    handlers = {"writer": {"description": "Writes.", "agent": agent}}
    over = {"record": kind(Path("models.jsonl"))}
    settings = Organism(handlers=handlers, folder=kind(tmp_path), session_log=kind(tmp_path / "log"), set=over).settings
    assert (settings.folder, settings.session_log) == (tmp_path, tmp_path / "log")
    assert settings.record == tmp_path / "models.jsonl"
    with pytest.raises(ConfigurationError, match="is not a journal; use 'memory:', 'sqlite:PATH'"):
        Organism(journal=kind(tmp_path / "x.db"))


def test_keyword_arguments_are_named_in_mistakes() -> None:
    deep: list[Any] = []
    deep.append(deep)
    assert _mistakes({"organism": "Demo", "budget": {"tokens": -1, 5: 6}, "handlers": {"a": 5}, "models": None}) == [
        "Organism(budget=...): the key 5 of budget is not a text",
        "Organism(budget=...) budget.tokens: -1 is negative; 0 allows nothing, null sets no limit",
        "Organism(handlers=...) handlers.a: must be a mapping of keys and not 5",
        "Organism(models=...): has no value: write {}, or leave the key out",
        "Organism(name=...): 'Demo' is not a valid organism name: small letters, digits and '-', a letter first",
    ]
    assert _mistakes({}) == ["Organism(...): 'organism' is missing"]
    depth, shape = _mistakes({"organism": "demo", "budget": deep})
    assert shape == "Organism(budget=...): must be a mapping of keys and not a list"
    assert depth.startswith("Organism(budget=...) budget[0][0]")
    assert depth.endswith("holds more than 1000000 values, or deeper than 50")


def test_two_payloads_of_one_name_are_a_mistake(project: Project) -> None:
    project.write("other.py", project.folder.joinpath("desk.py").read_text())
    (mistake,) = project.mistakes("""
        organism: demo
        handlers:
          a: {code: desk:look}
          b: {code: other:look}
    """)
    assert mistake == (
        "organism.yaml:4:6 handlers.b: payload 'Question' is other.Question here, and desk.Question in handler 'a':"
        " rename one of them"
    )


def test_what_a_person_replies_is_told_from_other_payloads_of_its_name(project: Project) -> None:
    project.write("other.py", project.folder.joinpath("desk.py").read_text())
    (mistake,) = project.mistakes("""
        organism: demo
        handlers:
          a: {description: x, agent: {accepts: desk:Question, replies: desk:Answer}}
          b: {description: x, human: {accepts: desk:Question, replies: other:Answer}}
    """)
    assert mistake == (
        "organism.yaml:4:6 handlers.b: payload 'Answer' is other.Answer here, and desk.Answer in handler 'a':"
        " rename one of them"
    )


def test_a_payload_whose_fields_cannot_be_read_is_a_mistake(project: Project) -> None:
    project.write("late.py", "from organism import payload\n@payload\nclass Late:\n    text: 'Nowhere'\n")
    (mistake,) = project.mistakes("""
        organism: demo
        handlers:
          a: {description: x, agent: {accepts: late:Late, replies: desk:Answer}}
    """)
    assert mistake.startswith("organism.yaml:3:6 handlers.a: ")
    assert "Nowhere" in mistake


def test_the_budget_of_one_message() -> None:
    assert config.budget({"tokens": 5, "warn_at": {"tokens": [0.5]}}) == BudgetSettings(
        limits=Limits(tokens=5), warn_at={"tokens": (Decimal("0.5"),)}
    )
    assert config.budget({}) == BudgetSettings()
    with pytest.raises(ConfigurationError) as caught:
        config.budget({"tokens": 1.5, "messges": 3, "warn_at": [0.5, 0], "grants_up_to": {"depth": 3}})
    assert caught.value.mistakes == (
        "budget.tokens: 1.5 is not a whole number",
        "budget.messges: unknown key; did you mean 'messages'?",
        "budget.warn_at[1]: 0 is not above 0",
        "budget.grants_up_to.depth: depth is never granted: leave it out",
    )


def test_whole_numbers_may_be_decimals_in_a_program_as_grants_are() -> None:
    assert config.budget({"tokens": Decimal("5.0"), "grants_up_to": {"tokens": Decimal(2)}}) == config.budget(
        {"tokens": 5, "grants_up_to": {"tokens": 2}}
    )
    for odd in ("5.5", "NaN", "sNaN", "Infinity", "1e1000000"):
        with pytest.raises(ConfigurationError, match="is not a whole number"):
            config.budget({"tokens": Decimal(odd)})
    # More digits than decimals are computed with.
    assert config.budget({"tokens": Decimal("1e50")}).limits.tokens == 10**50
    with pytest.raises(ConfigurationError, match=r"tokens: 2000\.0 is not a whole number: write 2000$"):
        config.budget({"tokens": 2000.0})


def test_levels_of_units_that_are_not_named_are_those_above() -> None:
    above = config.budget({"warn_at": {"tokens": [0.1], "messages": [0.2]}}).policy(Policy())
    below = config.budget({"warn_at": {"messages": []}}).policy(above)
    assert (below.warn_at["tokens"], below.warn_at["messages"]) == ((Decimal("0.1"),), ())
    assert below.warn_at["seconds"] == DEFAULT_LEVELS


def test_settings_do_not_change_with_what_they_were_made_from() -> None:
    options = {"list": [1]}
    document: dict[str, Any] = {"organism": "demo", "handlers": {"a": {"code": note, "options": options}}}
    settings: Settings = config.build(document)
    options["list"].append(2)
    document["handlers"].clear()
    assert settings.handlers["a"].options == {"list": [1]}
    with pytest.raises(TypeError):
        settings.handlers["a"].options["more"] = 1  # type: ignore[index]
