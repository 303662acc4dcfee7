"""``organism graph``: the topology as a Mermaid flowchart."""

from __future__ import annotations

import json as jsons
import re
from typing import TYPE_CHECKING, Annotated, Final

from attrs import asdict
from cyclopts import Parameter

from organism.cli.arguments import DEFAULT_FILE, Debug, File, Given, Sets, pairs
from organism.cli.check import loaded
from organism.cli.text import one_line
from organism.cli.topology import topology
from organism.names import ORGANISM

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from organism.cli.topology import Edge, Kind, Node, Topology

_SHAPES: Final[Mapping[Kind, tuple[str, str]]] = {
    "code": ("[", "]"),
    "agent": ("([", "])"),
    "person": ("[/", "\\]"),
    "tool": ("[[", "]]"),
    "organism": ("{{", "}}"),
}
"""What stands around the label of a node: a box, a stadium, a trapezium, a box with two sides, a hexagon."""
_UNSAFE: Final = re.compile(r"[^\w .,:/-]")
_START: Final = "start"


def graph(
    file: File = DEFAULT_FILE,
    /,
    *,
    set: Sets = (),  # noqa: A002 - the name of the option
    json: Annotated[bool, Parameter(help="The same as a JSON object, for programs.")] = False,
    debug: Debug = False,  # noqa: ARG001 - main reads it
    streams: Given,
) -> int:
    """Prints who may address whom as a Mermaid flowchart, which many pages and editors draw, and starts nothing.

    Code is a box, an agent a stadium, a person a trapezium, a tool a box with double sides; arrows lead to peers and name what
    these take. A handler with a budget of its own is drawn in a frame: calls to it run in a sub-thread.
    """
    found = topology(loaded(file, pairs("--set", set), streams))
    streams.result(jsons.dumps(asdict(found)) if json else "\n".join(mermaid(found)))
    return 0


def mermaid(found: Topology) -> Iterator[str]:
    """The lines of the flowchart. Its nodes are called by numbers: names of handlers may be words of Mermaid."""
    ids = {node.name: f"h{number}" for number, node in enumerate(found.nodes, start=1)}
    yield "---"
    yield f"title: {found.organism}"
    yield "---"
    yield "flowchart LR"
    if found.start:
        yield f'    {_START}(("{_START}"))'
    handlers = [node for node in found.nodes if node.kind != "organism"]
    if handlers:
        yield f'    subgraph thread["{_label("a thread", f"limits: {found.limits}")}"]'
        for node in handlers:
            yield from _placed(node, ids[node.name])
        yield "    end"
    yield from (f"    {_drawn(node, ids[node.name])}" for node in found.nodes if node not in handlers)
    for edge in found.start:
        yield f"    {_START} -->{_says(edge)} {ids[edge.to]}"
    for edge in found.edges:
        arrow = "-.->" if edge.origin == ORGANISM else "-->"
        yield f"    {ids[edge.origin]} {arrow}{_says(edge)} {ids[edge.to]}"


def _placed(node: Node, id_: str) -> Iterator[str]:
    """A node, in a frame of its own where calls to it run in a sub-thread."""
    if node.limits is None:
        yield f"        {_drawn(node, id_)}"
        return
    whose = "for each call" if node.per == "call" else "for all calls from a thread"
    yield f'        subgraph s{id_}["{_label(f"a sub-thread {whose}", f"limits: {node.limits}")}"]'
    yield f"            {_drawn(node, id_)}"
    yield "        end"


def _drawn(node: Node, id_: str) -> str:
    opens, closes = _SHAPES[node.kind]
    about = "" if node.kind == "organism" else f"agent, model {node.model}" if node.kind == "agent" else node.kind
    return f'{id_}{opens}"{_label(node.name, about)}"{closes}'


def _says(edge: Edge) -> str:
    return f'|"{_label(" or ".join(edge.says))}"|' if edge.says else ""


def _label(*lines: str) -> str:
    """Text of several lines between quotes: what Mermaid or a page would act on is written as its number."""
    return "<br/>".join(_UNSAFE.sub(lambda sign: f"#{ord(sign.group())};", one_line(line)) for line in lines if line)
