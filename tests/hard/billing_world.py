"""A provider behind the official SDKs that keeps its own bill, and a ledger of what the record says, which knows nothing of the organism's."""

from __future__ import annotations

import json
import math
import random
from collections import Counter, defaultdict
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx2
from attrs import define, field

from organism.budget.claims import MESSAGES, VECTOR
from organism.budget.windows import window_of
from organism.names import node_of_limits
from organism.record import facts
from organism.testing import Watched

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    import pytest

    from organism.budget.node import Node
    from organism.record.facts import Fact

PRICE: Final[Mapping[str, Any]] = {"input": "3", "output": "15", "cache_read": "0.3", "cache_write": "3.75"}
ILLS: Final = ("429", "500", "400", "refuse", "hang", "cut", "garbage", "nothing", "wrong", "half")
"""What may go wrong with a call; the last three are answers whose usage is missing or worth nothing."""
CALLS: Final = range(MESSAGES)
"""The units that model calls spend."""


@define
class Bill:
    """What one request came to: (input, output, cache reads, cache writes), if its answer says so. That was ``told`` once it was sent, and has
    ``arrived`` for sure where the answer was read to its end; ``free``: it was refused. A stream may say at its beginning what its
    input came to (``begins``, ``begun`` once it was sent), and break before it says more.
    """

    server: str
    usage: tuple[int, int, int, int] | None = None
    begins: tuple[int, int, int] | None = None
    begun: bool = False
    told: bool = False
    arrived: bool = False
    free: bool = False


class Provider:
    """Servers of both protocols, named after theirs, in the place of all sockets. ``ill`` is the share of calls that fail somehow."""

    def __init__(self, patch: pytest.MonkeyPatch, seed: int, *, ill: float) -> None:
        self.bills: list[Bill] = []
        self.most = 0
        """The most requests that were under way at once."""
        self._under_way = 0
        self._dice = random.Random(seed)
        self._instants = random.Random(seed)
        self._ill = ill

        async def handle(_: object, request: httpx2.Request) -> httpx2.Response:
            return await self._handle(request)

        patch.setattr(httpx2.AsyncHTTPTransport, "handle_async_request", handle)
        for sdk in (
            "openai",
            "anthropic",
        ):  # they ask the system for its name in a thread, and the virtual clock would not wait
            patch.setattr(f"{sdk}._base_client.asyncify", _inline)

    def backend(self, protocol: str, number: int, **keys: Any) -> dict[str, Any]:
        """A backend of the configuration."""
        server = f"http://{protocol}-{number}.test" + ("/v1" if protocol == "openai" else "")
        return {"provider": protocol, "model": "m", "base_url": server, "api_key_env": None, "price": PRICE, **keys}

    async def _handle(self, request: httpx2.Request) -> httpx2.Response:
        bill = Bill(request.url.host)
        self.bills.append(bill)
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        try:
            return await self._answer(json.loads(await request.aread()), request, bill)
        finally:
            self._under_way -= 1

    async def _answer(self, asked: dict[str, Any], request: httpx2.Request, bill: Bill) -> httpx2.Response:
        dice = self._dice
        ill = dice.choice(ILLS) if dice.random() < self._ill else ""
        seconds = dice.choice((0, 0, 0.1, 1, 7, 10**6 if ill == "hang" else 1))
        most = asked["max_tokens"]
        # Some prompts are dearer than anybody would have thought.
        given = len(json.dumps(asked["messages"])) // 4 * dice.choice((1, 1, 1, 5)) + 1
        read = dice.choice((0, given // 2))
        usage = (given, dice.choice((1, most // 2 + 1, most)), read, dice.choice((0, (given - read) // 3)))
        if ill == "refuse":
            bill.free = True
            raise httpx2.ConnectError("no")
        await request.extensions["trace"]("http11.send_request_headers.started", {})  # as each connection does
        # No two answers come in one instant: what the first one's end cancels, the other would have brought, or not, as the loop has it.
        await anyio.sleep(seconds + self._instants.random() / 100)
        if ill.isdigit():
            bill.free = True
            wait = {"retry-after": str(dice.choice((0, 3)))} if ill == "429" else {}
            return httpx2.Response(int(ill), headers=wait, json={"error": {"message": "no"}}, request=request)
        anthropic, streamed = bill.server.startswith("anthropic"), bool(asked.get("stream"))
        said = None if ill == "nothing" else _reported(usage, anthropic=anthropic)
        if said is not None and ill in {"wrong", "half"}:
            name = "output_tokens" if anthropic else "completion_tokens"
            said = {**said, name: "7"} if ill == "wrong" else {key: each for key, each in said.items() if key != name}
        bill.usage = None if ill in {"nothing", "wrong", "half", "cut", "garbage"} else usage
        bill.begins = (usage[0], *usage[2:])
        called = _called(dice, [str(_spec(tool)["name"]) for tool in asked.get("tools", ())])
        chunks = (_FORMS[anthropic, streamed])(called, said)
        if ill in {"cut", "garbage"}:
            chunks = [*chunks[:-1], chunks[-1][: len(chunks[-1]) // 2]][: dice.randint(1, len(chunks))]
        body = _Body(bill, chunks, breaks=ill == "cut", seconds=dice.choice((0, 0, 0.5)))
        kind = "text/event-stream" if streamed else "application/json"
        return httpx2.Response(200, headers={"content-type": kind}, stream=body, request=request)


class _Body(httpx2.AsyncByteStream):
    """An answer in pieces; one that is closed says no more."""

    def __init__(self, bill: Bill, chunks: Sequence[bytes], *, breaks: bool, seconds: float) -> None:
        self._bill, self._chunks, self._breaks, self._seconds = bill, chunks, breaks, seconds
        self._closed = False
        telling = [number for number, chunk in enumerate(chunks, 1) if b'"usage"' in chunk] or [len(chunks)]
        self._begun, self._told = telling[0], telling[-1]
        """The first piece that tells of usage, and the last one: what comes behind it changes nothing."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for number, chunk in enumerate(self._chunks, 1):
            await anyio.sleep(self._seconds)
            if self._closed:
                raise httpx2.ReadError("closed")
            self._bill.begun, self._bill.told = number >= self._begun, number >= self._told
            yield chunk
        if self._breaks:
            raise httpx2.ReadError("broken")
        self._bill.arrived = True

    async def aclose(self) -> None:
        self._closed = True


def _inline(function: Callable[..., Any]) -> Callable[..., Any]:
    async def called(*args: Any) -> Any:
        return function(*args)

    return called


def _spec(tool: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = tool.get("function", tool)
    return found


def _called(dice: random.Random, names: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """What an agent's model wants done: it replies, or asks peers."""
    replies = [name for name in names if name.startswith("reply")]
    if not names or (len(replies) < len(names) and dice.random() < 0.5):
        return [(dice.choice(names), {"text": "please"}) for _ in range(2)] if names else []
    return [(replies[0], {"text": "done"})]


def _reported(usage: tuple[int, int, int, int], *, anthropic: bool) -> dict[str, Any]:
    given, said, read, written = usage
    if anthropic:
        fresh = given - read - written
        return {
            "input_tokens": fresh,
            "cache_read_input_tokens": read,
            "cache_creation_input_tokens": written,
            "output_tokens": said,
        }
    details = {"cached_tokens": read, "cache_write_tokens": written}
    return {"prompt_tokens": given, "completion_tokens": said, "prompt_tokens_details": details}


Called = list[tuple[str, dict[str, str]]]


def _chat(called: Called, usage: dict[str, Any] | None) -> list[bytes]:
    calls = [
        {"id": f"c{number}", "type": "function", "function": {"name": name, "arguments": json.dumps(said)}}
        for number, (name, said) in enumerate(called)
    ]
    message = {"role": "assistant", "content": "Hello you"} | ({"tool_calls": calls} if calls else {})
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
    return [json.dumps({"choices": [choice]} | ({} if usage is None else {"usage": usage})).encode()]


def _chat_events(called: Called, usage: dict[str, Any] | None) -> list[bytes]:
    message = json.loads(_chat(called, None)[0])["choices"][0]["message"]
    calls = [{"index": number} | call for number, call in enumerate(message.pop("tool_calls", ()))]
    deltas = [{"content": "Hello "}, {"content": "you"}, *({"tool_calls": [call]} for call in calls)]
    events: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if usage is not None:
        events.append({"choices": [], "usage": usage})
    return [*(f"data: {json.dumps(event)}\n\n".encode() for event in events), b"data: [DONE]\n\n"]


def _message(called: Called, usage: dict[str, Any] | None) -> list[bytes]:
    calls = [{"type": "tool_use", "id": f"t{n}", "name": name, "input": said} for n, (name, said) in enumerate(called)]
    content = [{"type": "text", "text": "Hello you"}, *calls]
    reason = "tool_use" if calls else "end_turn"
    document = {"type": "message", "role": "assistant", "model": "m", "content": content, "stop_reason": reason}
    return [json.dumps(document | ({} if usage is None else {"usage": usage})).encode()]


def _message_events(called: Called, usage: dict[str, Any] | None) -> list[bytes]:
    start: dict[str, Any] = {"type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None}
    # The first event knows the input, the last one the output.
    known = {} if usage is None else {"usage": {**usage, "output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start | known}]
    texts = [{"type": "text_delta", "text": text} for text in ("Hello ", "you")]
    blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = [({"type": "text", "text": ""}, texts)]
    for number, (name, said) in enumerate(called):
        block: dict[str, Any] = {"type": "tool_use", "id": f"t{number}", "name": name, "input": {}}
        blocks.append((block, [{"type": "input_json_delta", "partial_json": json.dumps(said)}]))
    for index, (shape, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": shape})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    last = {} if usage is None or "output_tokens" not in usage else {"usage": {"output_tokens": usage["output_tokens"]}}
    stop = {"stop_reason": "tool_use" if called else "end_turn"}
    events += [{"type": "message_delta", "delta": stop} | last, {"type": "message_stop"}]
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]


_FORMS: Final[Mapping[tuple[bool, bool], Callable[[Called, dict[str, Any] | None], list[bytes]]]] = {
    (False, False): _chat,
    (False, True): _chat_events,
    (True, False): _message,
    (True, True): _message_events,
}
"""By (anthropic, streamed)."""


@define
class Row:
    """What one budget has spent and holds in one window, with what is below it, and by itself."""

    used: list[int] = field(factory=lambda: [0] * 6)
    held: list[int] = field(factory=lambda: [0] * 6)
    own: list[int] = field(factory=lambda: [0] * 6)


Key = tuple[str, float]
"""A budget by its name, and when its window began."""


class Books:
    """A ledger by the facts alone; of the organism's budgets it only takes the limits. ``broken`` says which law did not hold, and where."""

    def __init__(self, organism: Watched) -> None:
        self._state = organism.kernel.state
        self._above: dict[str, tuple[str, ...]] = {}
        self._nodes: dict[str, Node] = {}
        self._holds: dict[tuple[str, int], tuple[facts.CallHeld, list[Key]]] = {}
        self._fired: Counter[tuple[Any, ...]] = Counter()
        self.rows: dict[Key, Row] = defaultdict(Row)
        self.settled: list[tuple[facts.CallSettled, facts.CallHeld]] = []
        self.broken: list[str] = []

    def see(self, root: str, fact: Fact) -> None:
        """Takes in what has happened, as it is recorded."""
        for step in fact.steps:
            self._step(step, fact.at)
        match fact:
            case facts.CallHeld():
                self._hold(root, fact)
            case facts.CallSettled():
                self._settle(root, fact)
            case facts.Granted(node=name) | facts.LimitsSet(thread=name):
                self._raised(name, fact.at)
            case facts.QuotaRaised(thread=chain):
                name = node_of_limits(chain)
                self._nodes[name] = self._state.pools[name]
                self._raised(name, fact.at)
            case _:
                pass

    def _step(self, step: facts.Step, at: float) -> None:
        match step:
            case facts.ConversationOpened(conversation=name, accounts=accounts):
                self._above[f"conversation:{name}"] = (*(f"account:{each}" for each in accounts), "")
            case facts.ThreadOpened(thread=thread, owner=owner, conversation=conversation, accounts=accounts):
                before = (
                    owner[0] if owner is not None else None if conversation is None else f"conversation:{conversation}"
                )
                own = (*(f"account:{each}" for each in accounts), "")
                self._above[thread] = own if before is None else (before, *self._above[before])
                self._nodes |= zip((thread, *self._above[thread]), self._state.threads[thread].node.path, strict=True)
            case facts.Posted(thread=thread, charged=True):
                for number, key in enumerate(self._path(thread, at)):
                    self.rows[key].used[MESSAGES] += 1
                    self.rows[key].own[MESSAGES] += not number
            case facts.WarningRaised():
                mark = (*self._key(step.node, at), step.unit, step.threshold, step.level)
                self._fired[mark] += 1
                if self._fired[mark] > 1:
                    self.broken.append(f"told twice: {mark}")
            case _:
                pass

    def _key(self, name: str, at: float) -> Key:
        window = self._nodes[name].window
        return name, 0.0 if window is None else window_of(window.kind, at).begins

    def _path(self, thread: str, at: float) -> list[Key]:
        return [self._key(name, at) for name in (thread, *self._above[thread])]

    def _hold(self, root: str, fact: facts.CallHeld) -> None:
        keys = self._path(fact.thread, fact.at)
        self._holds[root, fact.hold] = fact, keys
        for number, key in enumerate(keys):
            row, caps = self.rows[key], self._nodes[key[0]].caps
            lasting = number == 1 and key[0].startswith("conversation:")
            cap = caps.limit if fact.grace and (number == 0 or lasting) else caps.working
            for unit in CALLS:
                row.held[unit] += fact.need[unit]
                if fact.need[unit] and row.used[unit] + row.held[unit] > cap[unit]:
                    self.broken.append(f"{VECTOR[unit]} of {key}: {row}, and not more than {cap[unit]}, by {fact}")

    def _settle(self, root: str, fact: facts.CallSettled) -> None:
        held, keys = self._holds.pop((root, fact.hold))
        self.settled.append((fact, held))
        for number, key in enumerate(keys):
            row = self.rows[key]
            for unit in CALLS:
                row.held[unit] -= held.need[unit]
                row.used[unit] += fact.charge.amounts[unit]
                row.own[unit] += 0 if number else fact.charge.amounts[unit]
            self._tell(key, row, fact)

    def _tell(self, key: Key, row: Row, fact: facts.CallSettled) -> None:
        """Each level that is reached has been told by now, of budgets that still count."""
        if key[0] in self._state.threads or (
            not key[0].startswith("conversation:") and key == self._key(key[0], fact.at)
        ):
            for unit in CALLS:
                for mark in self._nodes[key[0]].caps.marks[unit]:
                    told = self._fired[(*key, VECTOR[unit], mark.threshold, mark.level)]
                    if row.used[unit] >= mark.at and not told:
                        self.broken.append(f"not told: {mark} of {VECTOR[unit]} of {key}: {row}")

    def _raised(self, name: str, at: float) -> None:
        """Levels above what is used are armed again; names of levels may be others."""
        node, key = self._nodes[name], self._key(name, at)
        for told in [told for told in self._fired if told[:2] == key]:
            del self._fired[told]
        for unit, marks in enumerate(node.caps.marks):
            for mark in marks:
                if mark.threshold in node.fired[unit]:
                    self._fired[(*key, VECTOR[unit], mark.threshold, mark.level)] = 1

    def check(self, provider: Provider) -> None:
        """At the end: every hold was settled, once, and each server's bill is what was charged for its calls."""
        assert self.broken == []
        assert not self._holds
        assert not any(any(row.held) for row in self.rows.values())
        for server in {bill.server for bill in provider.bills}:
            bills = [bill for bill in provider.bills if bill.server == server]
            charges = [(fact.charge, held) for fact, held in self.settled if fact.backend.endswith(f"@{server}")]
            told = Counter(bill.usage for bill in bills if bill.told and bill.usage is not None)
            arrived = Counter(bill.usage for bill in bills if bill.arrived and bill.usage is not None)
            reported = [charge for charge, _ in charges if not charge.estimated and charge.input_tokens]
            said = Counter(
                (each.input_tokens, each.output_tokens, each.cache_read_tokens, each.cache_write_tokens)
                for each in reported
            )
            begun = Counter(
                bill.begins for bill in bills if bill.begins and bill.begun and not (bill.told and bill.usage)
            )
            broken = Counter((given, read, written) for given, _, read, written in (said - told).elements())
            assert arrived <= said
            assert broken <= begun, broken - begun
            assert sum(each.cost for each in reported) == sum(map(cost, said.elements()))
            guessed = [(charge, held) for charge, held in charges if charge.estimated]
            assert len(reported) + len(guessed) == sum(not bill.free for bill in bills)
            assert all(charge.output_tokens <= held.output for charge, held in guessed)

    @property
    def total(self) -> list[int]:
        """What all of it comes to, as a vector."""
        return [sum(amounts) for amounts in zip(*(row.own for row in self.rows.values()), strict=True)]


def cost(usage: tuple[int, int, int, int]) -> int:
    """What the provider takes for this, in 10^-12 USD."""
    given, said, read, written = usage
    price = {name: Fraction(each) * 10**6 for name, each in PRICE.items()}
    fresh = given - read - written
    found = fresh * price["input"] + read * price["cache_read"] + written * price["cache_write"]
    return math.ceil(found + said * price["output"])


class Audited(Watched):
    """An organism whose facts go into a ledger of ours as they are recorded."""

    books: Books

    async def start(self) -> None:
        self.books = Books(self)
        await super().start()

    def _seen(self, root: str, fact: Fact) -> None:
        self.books.see(root, fact)
        super()._seen(root, fact)
