"""``organism graph``: who may address whom, as Mermaid that is read back here."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from tests.cli.conftest import Desk

EVERYTHING = """
    organism: demo
    budget: {tokens: 1000, grants_by: end}
    handlers:
      shouter: {code: work:shout, budget: {tokens: 100}}
      joiner: {code: work:join, budget: {cost_usd: 0.5}, per: thread}
      style:
        agent: {accepts: [work:Job, work:Pair], replies: work:Done, model: small}
        description: Has it done.
        peers: [shouter, joiner, style, organism]
      end:
        human: {accepts: organism.primitives:BudgetRequest, replies: organism.primitives:BudgetDecision}
        description: Decides.
    models:
      small: {backends: [{provider: simulated, model: sim-1}]}
    start:
      - {to: style, payload: {Job: {text: ada}}}
"""
LABEL = r'"(?P<label>[\w .,:#;/-]*(?:<br/>[\w .,:#;/-]*)*)"'
NODE = re.compile(
    rf"(?P<id>\w+)(?P<opens>\(\(|\(\[|\[/|\[\[|\[|\{{\{{){LABEL}(?P<closes>\)\)|\]\)|\\\]|\]\]|\]|\}}\}})"
)
EDGE = re.compile(rf"(?P<origin>\w+) (?P<arrow>-->|-\.->)(?:\|{LABEL}\|)? (?P<to>\w+)")
FRAME = re.compile(rf"subgraph (?P<id>\w+)\[{LABEL}\]")
CLOSES = {"((": "))", "([": "])", "[/": "\\]", "[[": "]]", "[": "]", "{{": "}}"}
WORDS = {"end", "graph", "subgraph", "style", "class", "click", "default", "flowchart", "linkStyle", "o", "x"}
"""What means something to Mermaid where the id of a node stands."""


@define
class Drawn:
    """What a flowchart says: its nodes by id with shape, label and the frames they stand in, and its edges by id."""

    title: str = ""
    nodes: dict[str, tuple[str, str, tuple[str, ...]]] = field(factory=dict)
    edges: list[tuple[str, str, str, str]] = field(factory=list)

    def named(self) -> dict[str, str]:
        return {id_: label.partition("<br/>")[0] for id_, (_, label, _) in self.nodes.items()}


def read(text: str) -> Drawn:
    """Reads a flowchart line by line; every line must be one that Mermaid knows, with its brackets in pairs."""
    fence, title, fenced, head, *lines = text.splitlines()
    assert (fence, fenced, head) == ("---", "---", "flowchart LR")
    drawn, frames = Drawn(title.removeprefix("title: ")), list[str]()
    for line in lines:
        assert line == line.rstrip()
        word = line.strip()
        if word == "end":
            frames.pop()
        elif found := FRAME.fullmatch(word):
            assert found["id"] not in WORDS
            frames.append(found["label"])
        elif found := NODE.fullmatch(word):
            assert CLOSES[found["opens"]] == found["closes"]
            assert found["id"] not in WORDS | drawn.nodes.keys()
            drawn.nodes[found["id"]] = (found["opens"], found["label"], tuple(frames))
        else:
            found = EDGE.fullmatch(word)
            assert found, line
            drawn.edges.append((found["origin"], found["arrow"], found["label"] or "", found["to"]))
    assert not frames
    assert {end for origin, _, _, to in drawn.edges for end in (origin, to)} <= drawn.nodes.keys()
    return drawn


def test_everything_of_an_organism_is_drawn(desk: Desk) -> None:
    desk.write("organism.yaml", EVERYTHING)
    ran = desk.organism("graph")
    assert ran.code == 0, ran.err
    drawn = read(ran.out)
    names = drawn.named()
    assert drawn.title == "demo"
    thread = "a thread<br/>limits: tokens 1,000, messages 300, depth 50"
    assert {(label, shape, frames) for shape, label, frames in drawn.nodes.values()} == {
        ("start", "((", ()),
        ("shouter<br/>code", "[", (thread, "a sub-thread for each call<br/>limits: tokens 100")),
        ("joiner<br/>code", "[", (thread, "a sub-thread for all calls from a thread<br/>limits: cost_usd 0.5")),
        ("style<br/>agent, model small", "([", (thread,)),
        ("end<br/>person", "[/", (thread,)),
        ("organism", "{{", ()),
    }
    assert [(names[origin], arrow, says, names[to]) for origin, arrow, says, to in drawn.edges] == [
        ("start", "-->", "Job", "style"),
        ("style", "-->", "Job", "shouter"),
        ("style", "-->", "Pair", "joiner"),
        ("style", "-->", "Job or Pair", "style"),
        ("style", "-->", "", "organism"),
        ("organism", "-.->", "BudgetRequest", "end"),
    ]


def test_tools_and_whoever_gets_dead_letters_are_drawn(desk: Desk) -> None:
    desk.write(
        "more.py",
        '''
        from organism import Context
        from organism.primitives import DeadLetter


        async def look(words: str) -> str:
            """Looks something up."""
            return words


        async def bury(letter: DeadLetter, ctx: Context) -> None:
            """Buries them."""
        ''',
    )
    desk.write(
        "organism.yaml",
        """
        organism: demo
        dead_letters: gravedigger
        handlers:
          writer:
            agent: {accepts: work:Job, replies: work:Done, tools: [more:look]}
            description: Writes.
          gravedigger: {code: more:bury}
        """,
    )
    ran = desk.organism("graph")
    assert ran.code == 0, ran.err
    drawn = read(ran.out)
    names = drawn.named()
    assert ("[[", "writer.look<br/>tool") in {(shape, label) for shape, label, _ in drawn.nodes.values()}
    assert [(names[origin], arrow, says, names[to]) for origin, arrow, says, to in drawn.edges] == [
        ("organism", "-.->", "DeadLetter", "gravedigger"),
        ("writer", "-->", "", "writer.look"),
    ]


def test_an_arrow_names_what_an_agent_may_send_there(desk: Desk) -> None:
    desk.write(
        "organism.yaml",
        """
        organism: demo
        budget: {tokens: 1000, grants_by: boss}
        handlers:
          writer:
            agent: {accepts: work:Job, replies: work:Done}
            description: Writes.
            peers: [boss]
          boss:
            human:
              accepts: [work:Job, organism.primitives:BudgetRequest]
              replies: [work:Done, organism.primitives:BudgetDecision]
            description: Decides.
        """,
    )
    found = json.loads(desk.organism("graph", "--json").out)
    assert found["edges"] == [
        {"origin": "writer", "to": "boss", "says": ["Job"]},
        {"origin": "organism", "to": "boss", "says": ["BudgetRequest"]},
    ]


def test_an_organism_without_handlers_is_a_title(desk: Desk) -> None:
    desk.write("organism.yaml", "organism: empty\n")
    ran = desk.organism("graph")
    assert (ran.code, ran.out) == (0, "---\ntitle: empty\n---\nflowchart LR\n")


def test_names_that_mermaid_would_act_on_are_labels_alone(desk: Desk) -> None:
    desk.write("organism.yaml", "organism: odd\nhandlers:\n  a--b-: {code: work:shout, peers: [a--b-]}\n")
    ran = desk.organism("graph")
    assert ran.code == 0, ran.err
    drawn = read(ran.out)
    assert list(drawn.named().values()) == ["a--b-"]
    assert drawn.edges == [("h1", "-->", "Job", "h1")]


def test_a_graph_needs_no_key_and_no_price(desk: Desk) -> None:
    models = "{default: {backends: [{provider: openai, model: nobody-knows}]}}"
    desk.write("organism.yaml", f"organism: demo\nbudget: {{cost_usd: 1}}\nmodels: {models}\n")
    assert desk.organism("check").code == 2
    assert desk.organism("graph").code == 0


def test_what_is_set_is_drawn(desk: Desk) -> None:
    assert "limits: tokens 77, messages 300" in desk.organism("graph", "--set", "budget.tokens=77").out


def test_programs_get_the_same_as_json(desk: Desk) -> None:
    desk.write("organism.yaml", EVERYTHING)
    found = json.loads(desk.organism("graph", "--json").out)
    assert found["organism"] == "demo"
    assert [(node["name"], node["kind"]) for node in found["nodes"]] == [
        ("shouter", "code"),
        ("joiner", "code"),
        ("style", "agent"),
        ("end", "person"),
        ("organism", "organism"),
    ]
    assert {"origin": "style", "to": "joiner", "says": ["Pair"]} in found["edges"]
    assert found["start"] == [{"origin": "", "to": "style", "says": ["Job"]}]


def test_mistakes_are_said_with_their_place(desk: Desk) -> None:
    desk.write("organism.yaml", "organism: demo\nhandlers:\n  boss: {code: work:boss, peers: [shoter]}\n")
    ran = desk.organism("graph")
    assert (ran.code, ran.out) == (2, "")
    assert "organism.yaml:3:35 handlers.boss.peers[0]: 'shoter' is not a handler" in ran.err
