"""All mistakes of a file are told at once: what can be checked does not wait for what is wrong elsewhere, and nothing is told that only
follows from another mistake.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest

from organism import Organism, config
from organism.errors import ConfigurationError
from organism.models.readiness import BackendChecks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.config.conftest import Project

NOON: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
DECIDER: Final = """
    from organism.payloads import payload
    from organism.primitives import BudgetDecision, BudgetRequest
    from organism import Reply

    @payload
    class Answer:
        text: str

    async def decide(request: BudgetRequest, ctx) -> Reply[BudgetDecision]:
        pass

    def bare(question, ctx):
        pass

    def search(query: str) -> str:
        '''Searches.'''

    def two(query, *more):
        pass
"""
PROVIDERS: Final = """
    from organism.models.contract import BackendFactory

    def fails(settings):
        raise LookupError("no such option")

    def said(settings):
        return [f"option {name}" for name in settings.options]

    strict = BackendFactory(make=print, check=fails)
    chatty = BackendFactory(make=print, key_env="USUAL_KEY", needs_key=True, check=said)
"""


def told(project: Project, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    """The mistakes of a file whose backends are checked too, each as ``line path: its first words``."""
    project.write("people.py", DECIDER)
    project.write("mine.py", PROVIDERS)
    project.write("bad.py", "import nothing_there\n")
    project.write("worse.py", "import bad\n")
    path = project.write("organism.yaml", f"organism: demo\n{text}")
    with pytest.raises(ConfigurationError) as caught:
        config.load(path, checks=BackendChecks(environ or {}, NOON))
    found = [each.removeprefix(f"{path}:").replace(f"{project.folder}/", "") for each in caught.value.mistakes]
    places = [tuple(map(int, each.partition(" ")[0].split(":"))) for each in found]
    assert places == sorted(places)
    return [f"{each.partition(':')[0]} {each.partition(' ')[2]}" for each in found]


def begin(found: Sequence[str], wanted: Sequence[str]) -> None:
    """Asserts that there are as many mistakes as wanted, each with the words it is to begin with."""
    assert [line[: len(start)] for line, start in zip(found, wanted, strict=False)] == list(wanted)
    assert len(found) == len(wanted), found[len(wanted) :]


HANDLER: Final = "handlers: {a: {code: 'desk:look'}}\n"
AGENT: Final = "handlers:\n  a:\n    description: A.\n    agent:\n      replies: desk:Answer\n"
IN_ONE_ROUND: Final[Mapping[str, tuple[str, Sequence[str]]]] = {
    "options, keys and prices beside a misspelt key": (
        (
            "budget: {cost_usd: 1, tokns: 5}\n"
            "models:\n  default:\n    backends:\n"
            "      - {provider: 'mine:chatty', model: m, options: {x: 1}, timeout: -1}\n"
            "      - {provider: simulated, model: m, options: {sede: 1}}\n"
        ),
        [
            "2 budget.tokns: unknown key",
            "6 models.default.backends[0]: option x",
            "6 models.default.backends[0]: no key for 'm'",
            "6 models.default.backends[0]: no price is known",
            "6 models.default.backends[0].timeout: -1",
            "7 models.default.backends[1]: 'sede' is not an option",
        ],
    ),
    "a provider whose check fails": (
        "queue: 0\nmodels: {default: {backends: [{provider: 'mine:strict', model: m, api_key_env: null}]}}\n",
        [
            "2 queue: 0 is too little",
            "3 models.default.backends[0]: provider 'mine:strict' fails to check its options: LookupError: no such option",
        ],
    ),
    "who decides, beside other mistakes of budgets and of handlers": (
        (
            "budget: {tokens: -5, grants_by: a}\nconversation: {depth: 3, grants_by: nobody}\n"
            "ceiling: {window: dayy}\ndead_letters: a\n"
            "handlers: {a: {code: 'desk:look', timeout: -1, budget: {tokns: 1, grants_by: a}}}\n"
            "start: [{to: a, payload: {Question: {text: a, copies: many}}}]\n"
        ),
        [
            "2 budget.tokens: -5 is negative",
            "2 budget.grants_by: 'a' takes Question",
            "3 conversation.depth: depth is of one turn",
            "3 conversation.grants_by: 'nobody' is not a handler",
            "4 ceiling.window: 'dayy'",
            "5 dead_letters: 'a' takes Question",
            "6 handlers.a.timeout: -1",
            "6 handlers.a.budget.tokns: unknown key",
            "6 handlers.a.budget.grants_by: 'a' takes Question",
            "7 start[0].payload.Question.copies: expected int",
        ],
    ),
    "names of payloads and of tools, beside other mistakes": (
        (
            "handlers:\n"
            "  search: {code: 'desk:look', timeout: -1}\n"
            "  a:\n    description: A.\n    peers: [search]\n    agent:\n"
            "      {accepts: 'desk:Question', replies: 'people:Answer', max_turns: 0, tools: ['people:search'], tool_calls: {serch: 1}}\n"
            "  b: {description: B., timeout: 0, agent: {accepts: 'desk:Question', replies: 'desk:Answer'}}\n"
        ),
        [
            "3 handlers.search.timeout: -1",
            "8 handlers.a.agent.max_turns: 0",
            "8 handlers.a.agent.tools[0]: 'search' is the name of a peer",
            "8 handlers.a.agent.tool_calls.serch: 'serch' is not a tool",
            "9 handlers.b: payload 'Answer' is desk.Answer here",
            "9 handlers.b.timeout: 0",
        ],
    ),
    "all that a function lacks": (
        AGENT + "      accepts: desk:Question\n      tools: ['people:two']\n  b: {code: 'people:bare'}\n",
        [
            "8 handlers.a.agent.tools[0]: 'two' has no docstring",
            "8 handlers.a.agent.tools[0]: 'two' does not say what 'query' is",
            "8 handlers.a.agent.tools[0]: 'two' takes '*more'",
            "9 handlers.b: 'description' is missing",
            "9 handlers.b.code: 'bare' does not say what it takes",
        ],
    ),
    "all that a prompt and the notices name": (
        AGENT + "      accepts: desk:Question\n"
        "      prompt: '{{ nme | filt }} {{ desc }} {{ budget.tokns }} {{ budget.mesages }}'\n"
        "      notices: {deliver: maybe, figures: none, warning: '{{ used }} {{ foo }}'}\n",
        [
            "8 handlers.a.agent.prompt: line 1: there is no filter 'filt'",
            "8 handlers.a.agent.prompt: line 1: nothing is called 'desc'",
            "8 handlers.a.agent.prompt: line 1: nothing is called 'nme'",
            "8 handlers.a.agent.prompt: line 1: 'budget' has no 'tokns'",
            "8 handlers.a.agent.prompt: line 1: 'budget' has no 'mesages'",
            "8 handlers.a.agent.prompt: line 1: 'budget' has the limits, and 'notices.figures' is none",
            "9 handlers.a.agent.notices.deliver: 'maybe'",
            "9 handlers.a.agent.notices.warning: line 1: nothing is called 'foo'",
            "9 handlers.a.agent.notices.warning: line 1: 'used' is a figure",
        ],
    ),
    "pairs of keys, one of them beside a third that is wrong": (
        (
            "loops: {repeats: x, within: 99999999}\n"
            "handlers: {a: {code: 'desk:look', on_failure: {do: rply, backoff: [5, 1]}}}\n"
            "models: {default: {retries: x, backoff: [9, 1], backends: [{provider: simulated, model: m}]}}\n"
        ),
        [
            "2 loops.repeats: 'x'",
            "2 loops.within: 99999999 is too much",
            "3 handlers.a.on_failure.do: 'rply'",
            "3 handlers.a.on_failure.backoff: the first wait",
            "4 models.default.retries: 'x'",
            "4 models.default.backoff: the first wait",
        ],
    ),
    "a recording, beside a wrong option of it": (
        "models: {default: {backends: [{provider: recorded, model: m, options: {file: gone, on_missing: x}}]}}\n",
        [
            "2 models.default.backends[0]: there is no recording gone",
            "2 models.default.backends[0].options: on_missing is 'x'",
        ],
    ),
}


@pytest.mark.parametrize("name", IN_ONE_ROUND)
def test_what_is_independent_is_told_in_the_same_round(project: Project, name: str) -> None:
    text, wanted = IN_ONE_ROUND[name]
    begin(told(project, text), wanted)


ONE_CAUSE: Final[Mapping[str, tuple[str, Sequence[str]]]] = {
    "a module that cannot be imported": (
        (
            "handlers:\n  a: {code: 'bad:one'}\n  b: {code: 'worse:two'}\n"
            "  c: {description: C., agent: {accepts: 'bad:Question', replies: 'desk:Answer'}}\n"
            "hooks: {before_model_call: 'bad:hook'}\n"
            "models: {default: {backends: [{provider: 'bad:made', model: m}]}}\n"
        ),
        ["3 handlers.a.code: cannot import 'bad': bad.py:1: ModuleNotFoundError"],
    ),
    "a payload that is not there": (
        AGENT + "      accepts: [desk:Question, desk:Nope]\n      prompt: 'You take {{ accepts[1].name }}.'\n"
        "start: [{to: a, payload: {Nope: {}}}]\ndead_letters: a\n",
        ["7 handlers.a.agent.accepts[1]: module 'desk' has no 'Nope'"],
    ),
    "a tool or a peer that is not there": (
        AGENT + "      accepts: desk:Question\n      tools: ['people:serch']\n      tool_calls: {search: 1}\n"
        "  b:\n    description: B.\n    peers: [cc]\n"
        "    agent: {accepts: 'desk:Question', replies: 'desk:Answer', tool_calls: {c: 1}}\n"
        "  c: {code: 'desk:look'}\n",
        [
            "8 handlers.a.agent.tools[0]: module 'people' has no 'serch'",
            "12 handlers.b.peers[0]: 'cc' is not a handler",
        ],
    ),
    "misspelt keys at the top": (
        "handlrs: {}\nmodls: {}\nbudget: {grants_by: a}\ndead_letters: a\nstart: [{to: a, payload: a}]\n",
        ["2 handlrs: unknown key", "3 modls: unknown key"],
    ),
    "misspelt keys of handlers": (
        (
            "handlers:\n"
            "  a: {descripton: A., pears: [b], agent: {acepts: 'desk:Question', replies: 'desk:Answer', tool_calls: {b: 1}}}\n"
            "  b: {cod: 'desk:look'}\n"
            "  c: {code: 'desk:look', per: thread, budgte: {}}\n"
            "  d:\n    description: D.\n"
            "    agent: {accepts: 'desk:Question', replies: 'desk:Answer', compaction: {modle: m, prompt: Sum up.}}\n"
        ),
        [
            "3 handlers.a.descripton: unknown key",
            "3 handlers.a.pears: unknown key",
            "3 handlers.a.agent.acepts: unknown key",
            "4 handlers.b.cod: unknown key",
            "5 handlers.c.budgte: unknown key",
            "8 handlers.d.agent.compaction.modle: unknown key",
        ],
    ),
    "what a backend was meant to have": (
        (
            "budget: {cost_usd: 1}\nmodels:\n  default:\n    backends:\n"
            "      - {provider: 'mine:chatty', model: m, api_key_evn: K, price: {input: 3}}\n"
            "      - {provider: 'mine:chatty', model: m, api_key: k, pirce: {input: 3, output: 3}}\n"
            "      - {provider: 'mine:chatty', model: m, base_url: nowhere, options: 5}\n"
            "      - {provider: 'mine:chatty', modle: m}\n"
        ),
        [
            "6 models.default.backends[0].api_key_evn: unknown key",
            "6 models.default.backends[0].price: 'output' is missing",
            "7 models.default.backends[1].api_key: a key does not belong here",
            "7 models.default.backends[1].pirce: unknown key",
            "8 models.default.backends[2].base_url: 'nowhere'",
            "8 models.default.backends[2].options: must be a mapping",
            "9 models.default.backends[3].modle: unknown key",
        ],
    ),
    "whether a price is needed": (
        (
            "budget: {cost_usd: 1, on_unpricd: ignore}\n"
            "models: {default: {backends: [{provider: 'mine:chatty', model: m, base_url: 'http://here'}]}}\n"
        ),
        ["2 budget.on_unpricd: unknown key"],
    ),
    "what limits money": (
        (
            "budget: {cost_usd: none}\n"
            "models: {default: {backends: [{provider: 'mine:chatty', model: m, base_url: 'http://here'}]}}\n"
        ),
        ["2 budget.cost_usd: 'none' is not a decimal number"],
    ),
    "the other share of a window": (
        AGENT + "      accepts: desk:Question\n      compaction: {at: most, hard_limit: 0.5}\n",
        ["8 handlers.a.agent.compaction.at: 'most'"],
    ),
    "where recordings are": (
        "record: gone/file\nmodels: {default: {backends: [{provider: recorded, model: m}]}}\n",
        ["2 record: there is no folder"],
    ),
    "a section that is none": (
        (
            "budget: 5\nceiling: {cost_usd: 1}\nhandlers: {a: 5, b: {code: 'desk:look', peers: [a]}}\n"
            "start: [{to: a, payload: a}]\n"
            "models: {default: {backends: [{provider: 'mine:chatty', model: m, base_url: 'http://here'}]}}\n"
        ),
        ["2 budget: must be a mapping", "4 handlers.a: must be a mapping"],
    ),
}


@pytest.mark.parametrize("name", ONE_CAUSE)
def test_one_cause_is_told_once(project: Project, name: str) -> None:
    text, wanted = ONE_CAUSE[name]
    begin(told(project, text), wanted)


def test_a_module_that_fails_is_imported_once(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.write("loud.py", "print('here')\nraise OSError('no disk')\n")
    found = told(project, "handlers: {a: {code: 'loud:a'}, b: {code: 'loud:b'}}\n")
    begin(found, ["2 handlers.a.code: cannot import 'loud': loud.py:2: OSError: no disk"])
    assert capsys.readouterr().out == "here\n"


def test_what_is_set_is_looked_at_beside_a_file_that_cannot_be_read(project: Project) -> None:
    found = project.mistakes("organism: [\n", set={"..": 1}, environ={"ORGANISM___": "1"})
    begin([each.partition(":")[0] for each in found], ["organism.yaml", "ORGANISM___", "--set .."])


UNUSABLE: Final[dict[str, Any]] = {
    "budget": {"cost_usd": 1},
    "models": {"default": {"backends": [{"provider": "openai", "model": "nobody-knows", "options": {"n": 2}}]}},
}


def test_a_program_hears_at_once_what_its_start_would_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigurationError) as caught:
        Organism(**UNUSABLE, queue=0)
    place = "Organism(models=...) models.default.backends[0]: "
    begin(
        caught.value.mistakes,
        [
            f"{place}options.n: the router says this itself",
            f"{place}no key for 'nobody-knows'",
            f"{place}no price is known",
            "Organism(queue=...): 0 is too little",
        ],
    )


def test_a_program_may_find_its_key_after_it_was_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    Organism(models=UNUSABLE["models"])


def test_what_a_program_sets_is_told_as_it_wrote_it(project: Project) -> None:
    path = project.write("organism.yaml", "organism: demo\n")
    said = {"budget.tokens": "some", "handlers.it's": 5, "..": 1}
    wanted = [
        'set={"handlers.it\'s": ...}: "it\'s" is not a valid handler name',
        'set={"handlers.it\'s": ...}: must be a mapping of keys and not 5',
        "set={'..': ...}: is not a path of keys; write it as in 'budget.tokens' or 'handlers.writer.peers.0'",
        "set={'budget.tokens': ...}: 'some' is not a whole number",
    ]
    for load in (Organism, partial(Organism.load, path)):
        with pytest.raises(ConfigurationError) as caught:
            load(set=said)
        begin(caught.value.mistakes, wanted)
