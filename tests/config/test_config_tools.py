"""What organism.yaml says of tools: every mistake in a signature has its place, its value and the way out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from organism.agentsettings import ToolCalls, ToolOutput

if TYPE_CHECKING:
    from tests.config.conftest import Project

TOOLS = '''
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from organism import payload

if TYPE_CHECKING:
    from organism import Context
    from decimal import Decimal


@payload
class Question:
    text: str


async def look(question: Question, ctx: Context) -> None:
    """Looks."""


async def search(query: Annotated[str, "What for."], ctx: Context, *, most: int = 3) -> str:
    """Looks things up."""
    return query


async def plain(query: str) -> str:
    return query


def sync(query: str) -> str:
    """Looks things up."""
    return query


async def untyped(query) -> str:
    """Looks things up."""


async def many(*query: str) -> str:
    """Looks things up."""


async def more(**query: str) -> str:
    """Looks things up."""


async def by_place(query: str, /) -> str:
    """Looks things up."""


async def sets(query: set[str]) -> str:
    """Looks things up."""


async def hidden(price: Decimal) -> str:
    """Looks things up."""


async def twice(one: Context, other: "Context") -> str:
    """Looks things up."""


async def optional(most: int = None) -> str:
    """Looks things up."""


async def yields(query: str):
    """Looks things up."""
    yield query


async def reply(text: str) -> str:
    """Looks things up."""


async def reply_Question(text: str) -> str:
    """Looks things up."""


async def shouter(text: str) -> str:
    """Looks things up."""


async def shouter_Question(text: str) -> str:
    """Looks things up."""


async def organism_BudgetQuery(text: str) -> str:
    """Looks things up."""


async def größe(text: str) -> str:
    """Looks things up."""


async def a_name_that_goes_on_and_on_and_on_and_on_until_no_provider_takes_it_any_more() -> str:
    """Looks things up."""
'''

FILE = """
organism: demo
handlers:
  writer:
    description: Writes.
    peers: [shouter]
    agent:
      accepts: toolbox:Question
      replies: toolbox:Question
      {agent}
  shouter:
    code: toolbox:look
"""
AT = "organism.yaml:9:"


def document(agent: str) -> str:
    return FILE.replace("{agent}", agent)


@pytest.fixture
def desk(project: Project) -> Project:
    project.write("toolbox.py", TOOLS)
    return project


def test_a_function_becomes_a_handler_of_its_agent_alone(desk: Project) -> None:
    settings = desk.load(document("tools: [toolbox:search]"))
    assert list(settings.handlers) == ["writer", "shouter"]
    writer = settings.handlers["writer"].agent
    assert writer is not None
    (tool,) = writer.tools
    assert (tool.handler.name, tool.handler.timeout, tool.handler.peers) == ("writer.search", 30, ("shouter",))
    assert list(settings.everyone) == ["writer", "shouter", "writer.search"]
    assert (writer.tool_calls, writer.tool_output) == (ToolCalls(), ToolOutput(max_bytes=16384))


def test_tools_may_run_as_long_as_the_defaults_say_of_code(desk: Project) -> None:
    settings = desk.load(document("tools: [toolbox:search]") + "defaults: {timeout: 5}\n")
    assert settings.everyone["writer.search"].timeout == 5


def test_limits_of_tools_are_read(desk: Project) -> None:
    said = "tools: [toolbox:search]\n      tool_calls: {default: 10, search: 3, shouter: null}\n"
    said += "      tool_output: {max_bytes: 100, per_tool: {search: 10}}"
    writer = desk.load(document(said)).handlers["writer"].agent
    assert writer is not None
    assert [writer.tool_calls.most(each) for each in ("search", "shouter", "other")] == [3, None, 10]
    assert [writer.tool_output.most(each) for each in ("search", "shouter")] == [10, 100]
    assert desk.load(document("tool_calls: null")).handlers["writer"].agent.tool_calls == ToolCalls()  # type: ignore[union-attr]


SHAPE = (
    "a tool is 'async def search(query: str, most: int = 3) -> str', or a plain 'def', which runs in a worker thread"
)
MISTAKES = [
    ("plain", "'plain' has no docstring: a model reads there when to call it, and what for"),
    ("untyped", "'untyped' does not say what 'query' is: annotate it with a type, or with Context"),
    ("many", "'many' takes '*query', which has no schema: name each parameter"),
    ("more", "'more' takes '**query', which has no schema: name each parameter"),
    ("by_place", "'by_place' takes 'query' by place, and models give names: remove the '/'"),
    ("sets", "'sets' cannot be a tool: sets.query: set[str] cannot be sent; use list[X]"),
    (
        "hidden",
        (
            "'hidden': the annotation of 'price' cannot be resolved (NameError: name 'Decimal' is not defined); "
            "its types must be known at the top of the module, and not to type checkers alone"
        ),
    ),
    ("twice", "'twice' takes the context twice, as 'one' and 'other'"),
    ("optional", "'optional' cannot be a tool: optional.most: the default does not fit: expected int, got None"),
    ("yields", f"'yields' yields: return the whole result instead, as a list where there are several; {SHAPE}"),
    ("reply", "'reply' is the name of the tool with which agents answer: rename the function"),
    ("reply_Question", "'reply_Question' is the name of the tool with which agents answer: rename the function"),
    ("shouter", "'shouter' is the name of a peer of 'writer': rename the function"),
    ("shouter_Question", "'shouter_Question' is the name of a tool for the peer 'shouter': rename the function"),
    (
        "organism_BudgetQuery",
        "'organism_BudgetQuery' is the name of a tool of the organism itself: rename the function",
    ),
    (
        "größe",
        (
            "'größe' is not a tool name that all providers take (letters of ASCII, digits, '_' and '-', 64 at most): "
            "rename the function"
        ),
    ),
    ("Question", f"tools are functions, and Question is a class; {SHAPE}"),
    ("__name__", f"tools are functions, and this is of type str; {SHAPE}"),
    ("serch", "module 'toolbox' has no 'serch'; did you mean 'search'?"),
]


@pytest.mark.parametrize(("name", "problem"), MISTAKES)
def test_a_function_that_can_be_no_tool_is_a_mistake_with_its_place(desk: Project, name: str, problem: str) -> None:
    said = f"tools: [toolbox:search, toolbox:{name}]"
    assert desk.mistakes(document(said)) == [f"{AT}31 handlers.writer.agent.tools[1]: {problem}"]


def test_a_name_that_no_provider_takes_is_a_mistake(desk: Project) -> None:
    name = "a_name_that_goes_on_and_on_and_on_and_on_until_no_provider_takes_it_any_more"
    (mistake,) = desk.mistakes(document(f"tools: [toolbox:{name}]"))
    assert mistake.startswith(f"{AT}15 handlers.writer.agent.tools[0]: '{name}' is not a tool name")


def test_two_functions_of_one_name_are_a_mistake(desk: Project) -> None:
    desk.write("others.py", TOOLS)
    same = desk.mistakes(document("tools: [toolbox:search, toolbox:search]"))
    assert same == [f"{AT}31 handlers.writer.agent.tools[1]: is in the list twice"]
    (other,) = desk.mistakes(document("tools: [toolbox:search, others:search]"))
    problem = "there is another function 'search' among the tools: rename one of them"
    assert other == f"{AT}31 handlers.writer.agent.tools[1]: {problem}"


LIMITS = [
    ("tool_calls: {serch: 1}", "tool_calls.serch: 'serch' is not a tool of 'writer'; did you mean 'search'?"),
    ("tool_calls: {reply: 1}", "tool_calls.reply: 'reply' is how it answers, and never counts: leave it out"),
    ("tool_calls: {zzz: 1}", "tool_calls.zzz: 'zzz' is not a tool of 'writer'; use 'search' or 'shouter'"),
    ("tool_calls: {search: -1}", "tool_calls.search: -1 is negative"),
    ("tool_calls: 5", "tool_calls: must be a mapping of keys and not '5'"),
    ("tool_output: {per_tool: {default: 1}}", "tool_output.per_tool.default: 'default' is not a tool of 'writer'"),
    ("tool_output: {max_bytes: 0}", "tool_output.max_bytes: 0 is too little: 1 is the least"),
    ("tool_output: {max: 5}", "tool_output.max: unknown key"),
]


@pytest.mark.parametrize(("said", "problem"), LIMITS)
def test_a_wrong_limit_is_a_mistake_with_its_place(desk: Project, said: str, problem: str) -> None:
    (mistake,) = desk.mistakes(document(f"tools: [toolbox:search]\n      {said}"))
    assert mistake.startswith("organism.yaml:10:")
    assert f"handlers.writer.agent.{problem}" in mistake
