"""What to do next: which tools to call, about what, and when to answer.

Tools are told apart by what they want; their names are never looked at, but for ``reply``. Those that can be asked at once come first; then those that want one of the things that were found, several of them in
one turn; then those that want all of it; then the answer. How far this goes is a matter of style.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from attrs import field, frozen

from organism.models.contract import ToolSpec
from organism.models.simulation.documents import Record
from organism.models.simulation.fields import Field, is_negative, reference_of, role_of
from organism.models.simulation.schemas import Schema, Schemas, branches, hint, kinds, properties, required
from organism.models.simulation.situation import ASKS_ORGANISM, is_reply
from organism.models.simulation.words import name_words, terms
from organism.names import ORGANISM, counted, tool_for
from organism.payloads.primitives import BudgetRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from organism.models.contract import Request
    from organism.models.simulation.documents import Json
    from organism.models.simulation.drafting import Drafts
    from organism.models.simulation.situation import Call, Situation

Want = Literal["start", "item", "all"]
"""``start``: can be asked at once; ``item``: wants something that was found; ``all``: wants everything that was found."""
_WANTED: Final = frozenset({"array", "integer", "string"})
_GIVEN_UP: Final = 2
"""After so many failures a tool is left alone."""
_MORE: Final = tool_for(ORGANISM, BudgetRequest.__name__)
"""The tool that asks for more budget."""
_UNWANTED: Final = 5
"""After so many refused answers one is given in plain text."""


@frozen
class Tool:
    """A tool, read. ``fields``: what its arguments carry, those of nested objects in their place, with their rules."""

    spec: ToolSpec
    fields: tuple[tuple[Field, Schema], ...]
    vocabulary: frozenset[str] = field(factory=frozenset[str])

    @classmethod
    def of(cls, spec: ToolSpec) -> Tool:
        """Reads a tool."""
        schemas = Schemas(spec.parameters)
        said = frozenset(terms(f"{' '.join(name_words(spec.name))} {spec.description}"))
        return cls(spec, tuple(_flat(schemas, schemas.root, 0)), said)

    @property
    def name(self) -> str:
        """Its name."""
        return self.spec.name

    @property
    def needs(self) -> list[tuple[Field, bool]]:
        """The required fields that want a text or a reference, each with whether only its very name will do: a number."""
        return [
            (found, not {"string", "array"} & set(kinds(rules)))
            for found, rules in self.fields
            if found.required and found.role in {"text", "reference"}
        ]

    def want(self, situation: Situation) -> Want:
        """What must be at hand before the tool is worth calling."""
        wants: Want = "start"
        for found, rules in self.fields:
            named = kinds(rules)
            plural = "array" in named
            known = found.key in situation.given or found.key in situation.trees
            if known or not found.required or not _WANTED & set(named) or "const" in rules or "enum" in rules:
                continue
            if plural and (found.role in {"text", "reference"} or _holds_objects(rules)):
                return "all"
            if not plural and found.role in {"text", "reference"}:
                wants = "item"
        return wants


def _holds_objects(rules: Schema) -> bool:
    items = rules.get("items")
    return isinstance(items, dict) and ("$ref" in items or bool(properties(items)) or bool(branches(items)[0]))


def _flat(schemas: Schemas, schema: Json, depth: int) -> Iterator[tuple[Field, Schema]]:
    rules = schemas.resolve(schema)
    _, options = branches(rules)
    if options and not properties(rules):
        inner = next((o for o in options if properties(schemas.resolve(o))), None)
        rules = schemas.resolve(inner) if inner is not None else rules
    must = required(rules)
    for name, own in properties(rules).items():
        rule = schemas.resolve(own)
        if properties(rule) and name in must and depth < 3:
            yield from _flat(schemas, rule, depth + 1)
        else:
            yield Field.of(name, hint(rule), required=name in must), rule


@frozen
class Intent:
    """A tool to call, about a record or about the task; ``again``: in other words than before."""

    tool: ToolSpec
    item: Record | None = None
    again: bool = False
    value: dict[str, Any] | None = None
    """The arguments themselves, where they are not to be found in what is at hand."""


@frozen(kw_only=True)
class Step:
    """What comes next: calls of tools, or else an answer by ``reply``, or else (``None``) one in text."""

    calls: tuple[Intent, ...] = ()
    reply: ToolSpec | None = None


class Planner:
    """Plans the next step of one request."""

    def __init__(self, request: Request, drafts: Drafts) -> None:
        self._choice = request.tool_choice
        self._drafts = drafts
        self._situation = drafts.situation
        self._style = drafts.style
        self._replies = [tool for tool in request.tools if is_reply(tool.name)]
        about = frozenset(terms(f"{self._situation.about} {self._situation.system}"))
        others = [Tool.of(tool) for tool in request.tools if not is_reply(tool.name)]
        self._every = sorted(others, key=lambda tool: -len(tool.vocabulary & about))
        # Of the organism it wants more budget alone: what is left it knows by notices, and it has no forecast.
        self._tools = [tool for tool in self._every if not tool.name.startswith(ASKS_ORGANISM)]
        self._more = next((tool.spec for tool in self._every if tool.name == _MORE), None)

    def step(self) -> Step:
        """The next step under the request's ``tool_choice``."""
        if self._choice == "none":
            return Step()
        if self._choice not in {"auto", "required"}:
            return self._named(self._choice)
        asks = self._asks_for_more()
        if asks is not None:
            return Step(calls=(asks,))
        calls = self._next(self._tools) if self._may_go_on() else []
        if calls:
            return Step(calls=tuple(calls))
        required = self._choice == "required"
        if self._replies and (required or self._refusals() <= _UNWANTED):
            return Step(reply=self._best_reply())
        return self._must(self._tools) if required and self._tools else Step()

    def _named(self, name: str) -> Step:
        """The step where the caller names the tool to call."""
        reply = next((tool for tool in self._replies if tool.name == name), None)
        return Step(reply=reply) if reply is not None else self._must([t for t in self._every if t.name == name])

    def _must(self, tools: Sequence[Tool]) -> Step:
        """A call of one of these tools, whatever was planned: new ones where there are any, else the first in other words."""
        calls = self._next(tools)
        if not calls:
            item = next(iter(self._items(tools[0])), None)
            calls = self._fresh(tools[0], item) or [Intent(tools[0].spec, item, again=True)]
        return Step(calls=tuple(calls))

    def _asks_for_more(self) -> Intent | None:
        """A request for more budget, once for a task: where a notice that it heeds leaves less than it would need otherwise."""
        short, calm = self._situation.shortage, self._drafts.calm
        asked = any(call.name == _MORE for call in self._situation.calls)
        if self._more is None or short is None or asked or calm == self._style:
            return None
        self._style = calm
        wanted = 1 + calm.rounds - self._situation.rounds if self._may_go_on() and self._next(self._tools) else 1
        self._style = self._drafts.style
        lacks = short.lacking(wanted, made=self._situation.rounds)
        if not lacks:
            return None
        said = f"It would take {counted(wanted, 'more call')} to finish this, and what is left is not enough for them."
        amount = float(lacks) if lacks % 1 else int(lacks)
        return Intent(self._more, value={"unit": short.unit, "amount": amount, "reason": said})

    def _may_go_on(self) -> bool:
        """Whether more calls are worth their cost: not in a hurry, not after enough turns, not once an answer was tried."""
        tried = any(is_reply(call.name) for call in self._situation.calls) or self._situation.complaints
        return not self._style.hurried and not tried and self._situation.rounds < self._style.rounds

    def _refusals(self) -> int:
        """How often an answer was not accepted."""
        failed = sum(is_reply(call.name) and call.failed for call in self._situation.calls)
        return max(failed, self._situation.complaints)

    # Which tools come next.

    def _next(self, tools: Sequence[Tool]) -> list[Intent]:
        """New calls of the first kind of tools that has any left."""
        usable = [tool for tool in tools if not self._given_up(tool)]
        wants = {tool.name: tool.want(self._situation) for tool in usable}
        found = self._start([tool for tool in usable if wants[tool.name] == "start"])
        if found:
            return found
        gathering = [tool for tool in usable if wants[tool.name] == "all" and self._has_something(tool)]
        if any(self._used(tool) for tool in gathering):
            return []
        for tool in usable:
            if wants[tool.name] == "item":
                found.extend(self._fan(tool))
        return found or [intent for tool in gathering[:1] for intent in self._fresh(tool, None)]

    def _start(self, tools: Sequence[Tool]) -> list[Intent]:
        """First calls, and corrected ones; where nothing at all came back, further tools and other words."""
        heard = bool(self._situation.records or self._situation.passages)
        unused = [tool for tool in tools if not self._used(tool)]
        begun = len(unused) < len(tools)
        if not (begun and heard) and unused:
            return [intent for tool in unused[: self._style.breadth] for intent in self._fresh(tool, None)]
        found = [intent for tool in tools if self._may_correct(tool) for intent in self._fresh(tool, None)]
        if found or heard:
            return found
        once = [tool for tool in tools if self._used(tool) == 1]
        return [intent for tool in once for intent in self._fresh(tool, None, again=True)][: self._style.breadth]

    def _fan(self, tool: Tool) -> list[Intent]:
        """Calls of one tool for the best of what was found, none that was made before."""
        used = self._used(tool)
        left = self._style.breadth - used
        if used and left < max(2, self._style.breadth // 2):
            return []  # a turn costs more than one more item is worth
        items = self._items(tool)
        found: dict[str, Intent] = {}
        for item in items:
            if len(found) >= left:
                break
            for intent in self._fresh(tool, item):
                found.setdefault(self._key(intent), intent)
        return list(found.values())

    def _has_something(self, tool: Tool) -> bool:
        """Whether there is anything to hand to a tool that wants all that was found, or nobody else to find it."""
        known = self._situation.records or self._situation.material
        return bool(known) or all(other.want(self._situation) == "all" for other in self._tools if other is not tool)

    def _key(self, intent: Intent) -> str:
        return self._drafts.key(intent.tool, intent.item, again=intent.again)

    def _fresh(self, tool: Tool, item: Record | None, *, again: bool = False) -> list[Intent]:
        """A call that was not made before; none where it was."""
        intent = Intent(tool.spec, item, again)
        return [] if self._key(intent) in self._situation.asked else [intent]

    def _calls_of(self, tool: Tool) -> list[Call]:
        return [call for call in self._situation.calls if call.name == tool.name]

    def _used(self, tool: Tool) -> int:
        return len(self._calls_of(tool))

    def _given_up(self, tool: Tool) -> bool:
        failed = [call for call in self._calls_of(tool) if call.failed]
        return len(failed) >= _GIVEN_UP or any(call.exhausted for call in failed)

    def _may_correct(self, tool: Tool) -> bool:
        """Whether the only call of a tool had arguments that were not accepted, so that other ones may be."""
        own = self._calls_of(tool)
        return len(own) == 1 and own[0].rejected

    # What they are called about.

    def _items(self, tool: Tool) -> list[Record | None]:
        """Records that have what a tool wants, best first; the task itself where only a text is wanted and none has one."""
        needs = [(need, exactly) for need, exactly in tool.needs if need.key not in self._situation.given]
        fitting: dict[str, tuple[float, Record]] = {}
        for record in (*self._situation.records, *self._situation.given_records):
            called = reference_of(record.fields)
            texts = [v for k, v in record.fields.items() if isinstance(v, str) and v.strip() and role_of(k) == "text"]
            ready = {"reference": bool(called), "text": bool(texts)}
            if not all(need.key in record.fields or (not exactly and ready[need.role]) for need, exactly in needs):
                continue
            weight = max([self._drafts.weights.get(called, 0.0) if called else 0.0, *map(self._drafts.heaviest, texts)])
            exact = sum(need.key in record.fields for need, _ in needs)
            key = called or " ".join(texts)
            score = weight + exact + record.listed
            if key not in fitting or fitting[key][0] < score:
                fitting[key] = (score, record)
        ranked = sorted(fitting.values(), key=lambda entry: -entry[0])
        if not ranked and not any(need.role == "reference" for need, _ in needs):
            return [None]
        return [record for _, record in ranked]

    # How to answer.

    def _best_reply(self) -> ToolSpec:
        """The reply that what is at hand fills best; one that speaks of failure only where nothing was found. After a
        refused answer the next best.
        """
        found = bool(self._situation.material) or not self._situation.question

        def weight(tool: ToolSpec) -> tuple[bool, int]:
            fails = is_negative(tool.name, tool.description.partition(".")[0])
            return fails == found, -self._drafts.arguments(tool, self._drafts.ladder[0]).grounded

        ranked = sorted(self._replies, key=weight) if len(self._replies) > 1 else self._replies
        return ranked[(self._refusals() // 2) % len(ranked)]
