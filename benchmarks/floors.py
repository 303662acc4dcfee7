"""Bare prototypes: what the interpreter, trio and the disk take for the least that a piece of work consists of, without any rule.

    python benchmarks/floors.py CASE [N]

hop      a payload and an answer are made, a coroutine is begun in a copy of the context variables and ends, a message and a frame are made, queued
         and taken: what no pump in Python can leave out
thread   the same for a thread of three messages that opens and ends, 1,000 at once, each with its id and a result that somebody waits for
ask      the coroutine of a handler is stepped until it asks, that of another one until it answers, and the first gets the answer
xml      a document of two elements is written, parsed by lxml, checked against its schema and read
wait     bare trio tasks that sleep 10 ms, 1,000 at once
scope    a cancel scope is entered and left, and two trio tasks give way to each other: what an ask below a scope consists of
sync     4,000 bytes are written and synced (`fdatasync`) by a thread that a trio task waits for: the least that a durable step consists of
commit   the same with one row and one commit in SQLite (WAL, `synchronous = FULL`)
call     the same twice, one after the other: what a call alone consists of whose hold is on the disk before it, and whose answer is before anybody
         acts on it
rows     rows of 600 bytes go into a table of SQLite with an index, 500 in one transaction: what the disk's part of many facts consists of
calls    1,000 trio tasks, each of which twice puts a row of 600 bytes into a group that a thread writes and syncs, and waits for that: what a
         call whose hold and whose answer are on the disk before anything follows consists of
turn     one turn of an agent: a request with a system prompt is made and written as JSON, a model in this process answers with a tool call, whose
         arguments are read; the call is held and settled on three nodes, and whoever asked waits for another task. Nothing else
nodes    hold, settle and look for crossed levels on the lists of four nodes, in one function

Prints ``RESULT {"rate": ..., "cpu_us": ...}``. Ours beside them: docs/performance.md.
"""

from __future__ import annotations

import contextvars
import gc
import json
import os
import secrets
import sqlite3
import sys
import time
import types
from collections import deque
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import trio
from lxml import etree

sys.path.append(str(Path(__file__).resolve().parent.parent))

from organism.pump.garbage import OBJECTS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Sequence


def say(**figures: float) -> None:
    print("RESULT " + json.dumps({name: round(value, 4) for name, value in figures.items()}), flush=True)


async def measured(count: int, work: Callable[[], Awaitable[object]]) -> None:
    """Says the rate and the time of this process for so many."""
    cpu, wall = time.process_time(), time.perf_counter()
    await work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    say(rate=count / wall, cpu_us=cpu / count * 1e6)


class Ping:
    __slots__ = ("n", "text")

    def __init__(self, text: str, n: int) -> None:
        self.text = text
        self.n = n


class Send:
    __slots__ = ("payload", "to")

    def __init__(self, to: str, payload: Ping) -> None:
        self.to = to
        self.payload = payload


class Frame:
    __slots__ = ("handler", "open", "parent")

    def __init__(self, handler: str, parent: Frame | None) -> None:
        self.handler = handler
        self.parent = parent
        self.open = 1


class Message:
    __slots__ = ("frame", "payload", "sender", "seq", "to")

    def __init__(self, seq: int, to: str, sender: str, payload: Ping, frame: Frame) -> None:
        self.seq = seq
        self.to = to
        self.sender = sender
        self.payload = payload
        self.frame = frame


class Seen:
    __slots__ = ("message",)

    def __init__(self, message: Message) -> None:
        self.message = message


async def hop(count: int) -> None:
    async def handler(message: Ping, ctx: Seen) -> Send:
        return Send("pong" if ctx.message.to == "ping" else "ping", Ping(message.text, message.n + 1))

    async def all_of_them() -> None:
        ready = deque([Message(0, "ping", "", Ping("hi", 0), Frame("ping", None))])
        handlers, variables = {"ping": handler, "pong": handler}, contextvars.copy_context()
        for number in range(count):
            message = ready.popleft()
            coro: Any = handlers[message.to](message.payload, Seen(message))
            try:
                variables.copy().run(coro.send, None)
            except StopIteration as finished:
                sent: Send = finished.value
                message.frame.open -= 1
                ready.append(Message(number, sent.to, message.to, sent.payload, Frame(sent.to, message.frame)))
                message.frame.parent = None

    await measured(count, all_of_them)


class Conversation:
    """A thread and what it comes to."""

    __slots__ = ("id", "result", "waits")

    def __init__(self) -> None:
        self.id = secrets.token_hex(8)
        self.result: Ping | None = None
        self.waits: trio.Event | None = None


async def thread(rounds: int) -> None:
    onward = {"greeter": "worker", "worker": "collector"}

    async def handler(message: Ping, ctx: Seen) -> Send | None:
        to = onward.get(ctx.message.to)
        return None if to is None else Send(to, Ping(message.text, message.n + 1))

    async def all_of_them() -> None:
        variables, known, ready = (
            contextvars.copy_context(),
            dict[str, Conversation](),
            deque[tuple[Conversation, Message]](),
        )
        for _ in range(rounds):
            opened = [Conversation() for _ in range(1000)]
            for each in opened:
                known[each.id] = each
                ready.append((each, Message(0, "greeter", "", Ping("hi", 0), Frame("greeter", None))))
            while ready:
                of, message = ready.popleft()
                coro: Any = handler(message.payload, Seen(message))
                try:
                    variables.copy().run(coro.send, None)
                except StopIteration as finished:
                    sent: Send | None = finished.value
                    if sent is None:
                        message.frame.open -= 1
                        of.result = message.payload
                        del known[of.id]
                    else:
                        ready.append((of, Message(message.seq + 1, sent.to, message.to, sent.payload, message.frame)))
            for each in opened:
                if each.result is None:
                    each.waits = trio.Event()
                    await each.waits.wait()

    await measured(3000 * rounds, all_of_them)


@types.coroutine
def asked(of: str, payload: Ping) -> Generator[Send, Ping, Ping]:
    """What another one answers."""
    answer = yield Send(of, payload)
    return answer


async def ask(count: int) -> None:
    async def asker(message: Ping, ctx: Seen) -> Ping:
        for _ in range(count):
            message = await asked("echo", message)
        return message

    async def echo(message: Ping, ctx: Seen) -> Ping:
        return message

    async def all_of_them() -> None:
        variables = contextvars.copy_context()
        first = Message(0, "asker", "", Ping("hi", 0), Frame("asker", None))
        asking: Any = asker(first.payload, Seen(first))
        within, answer = variables.copy(), None
        ready = deque[Message]()
        for number in range(count):
            wish: Send = within.run(asking.send, answer)
            ready.append(Message(number, wish.to, "asker", wish.payload, Frame(wish.to, first.frame)))
            message = ready.popleft()
            coro: Any = echo(message.payload, Seen(message))
            try:
                variables.copy().run(coro.send, None)
            except StopIteration as finished:
                answer = finished.value
                message.frame.open -= 1
        asking.close()

    await measured(count, all_of_them)


SCHEMA: Final = """<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:bare" elementFormDefault="qualified">
<xs:element name="Ping"><xs:complexType><xs:sequence>
<xs:element name="text" type="xs:string"/><xs:element name="n" type="xs:integer"/>
</xs:sequence></xs:complexType></xs:element></xs:schema>"""


async def xml(count: int) -> None:
    schema, message = etree.XMLSchema(etree.fromstring(SCHEMA)), Ping("hi", 0)

    async def all_of_them() -> None:
        read = message
        for _ in range(count):
            text = escape(read.text, quote=False)
            root = etree.fromstring(f'<Ping xmlns="urn:bare"><text>{text}</text><n>{read.n + 1}</n></Ping>'.encode())
            assert schema.validate(root)
            one, other = root
            read = Ping(one.text or "", int(other.text or ""))

    await measured(count, all_of_them)


async def wait(rounds: int) -> None:
    async def waiter() -> None:
        for _ in range(rounds):
            await trio.sleep(0.01)

    async def all_of_them() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(1000):
                nursery.start_soon(waiter)

    await measured(1000 * rounds, all_of_them)


async def scope(count: int) -> None:
    there, back = trio.open_memory_channel[int](0), trio.open_memory_channel[int](0)

    async def other() -> None:
        async for number in there[1]:
            await back[0].send(number)

    async def all_of_them() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            for number in range(count):
                with trio.CancelScope():
                    await there[0].send(number)
                    await back[1].receive()
            there[0].close()

    await measured(count, all_of_them)


async def sync(count: int) -> None:
    with TemporaryDirectory() as folder:
        file = os.open(Path(folder) / "file", os.O_RDWR | os.O_CREAT)

        def write() -> None:
            os.pwrite(file, b"x" * 4000, 0)
            os.fdatasync(file)

        async def all_of_them() -> None:
            for _ in range(count):
                await trio.to_thread.run_sync(write)

        await measured(count, all_of_them)
        os.close(file)


def table(folder: str) -> Callable[[int, int], None]:
    """A new table; what puts the rows from one number to another in, in one transaction."""
    body, digest = os.urandom(600), os.urandom(32)
    base = sqlite3.connect(Path(folder) / "rows.db", isolation_level=None, check_same_thread=False)
    base.execute("PRAGMA journal_mode = WAL")
    base.execute("PRAGMA synchronous = FULL")
    base.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, chain INTEGER, n INTEGER, hash BLOB, body BLOB)")
    base.execute("CREATE UNIQUE INDEX rows_of ON rows (chain, n)")

    def put(start: int, end: int) -> None:
        made = [(number % 1000, number // 1000, digest, body) for number in range(start, end)]
        base.execute("BEGIN IMMEDIATE")
        base.executemany("INSERT INTO rows (chain, n, hash, body) VALUES (?, ?, ?, ?)", made)
        base.execute("COMMIT")

    return put


async def commit(count: int) -> None:
    with TemporaryDirectory() as folder:
        put = table(folder)

        async def all_of_them() -> None:
            for number in range(count):
                await trio.to_thread.run_sync(put, number, number + 1)

        await measured(count, all_of_them)


async def call_alone(count: int) -> None:
    with TemporaryDirectory() as folder:
        put = table(folder)

        async def all_of_them() -> None:
            for number in range(count):
                await trio.to_thread.run_sync(put, 2 * number, 2 * number + 1)
                await trio.to_thread.run_sync(put, 2 * number + 1, 2 * number + 2)

        await measured(count, all_of_them)


async def rows(count: int) -> None:
    with TemporaryDirectory() as folder:
        put = table(folder)

        async def all_of_them() -> None:
            for start in range(0, count, 500):
                put(start, start + 500)

        await measured(count, all_of_them)


class Group:
    """Rows that are written together while others gather, and those who wait for them."""

    def __init__(self, put: Callable[[int, int], None]) -> None:
        self.put = put
        self.waiting = list[trio.Event]()
        self.written = 0
        self.more = trio.Event()

    async def add(self) -> None:
        """Puts a row in, and waits until it is written."""
        done = trio.Event()
        self.waiting.append(done)
        self.more.set()
        await done.wait()

    async def write(self) -> None:
        """Writes, as long as it is not cancelled."""
        while True:
            await self.more.wait()
            some, self.waiting, self.more = self.waiting, [], trio.Event()
            await trio.to_thread.run_sync(self.put, self.written, self.written + len(some))
            self.written += len(some)
            for each in some:
                each.set()


async def calls(rounds: int) -> None:
    with TemporaryDirectory() as folder:
        group = Group(table(folder))

        async def caller(nursery: trio.Nursery) -> None:
            for _ in range(2 * rounds):
                await group.add()
            left.pop()
            if not left:
                nursery.cancel_scope.cancel()

        left = list(range(1000))

        async def all_of_them() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(group.write)
                for _ in range(1000):
                    nursery.start_soon(caller, nursery)

        await measured(1000 * rounds, all_of_them)


class Node:
    __slots__ = ("calm", "held", "limited", "used", "working")

    def __init__(self, limited: tuple[int, ...]) -> None:
        self.used, self.held = [0] * 6, [0] * 6
        self.limited, self.working, self.calm = limited, (10**18,) * 6, (10**17,) * 6


def call(path: Sequence[Node], need: Sequence[int], charge: Sequence[int]) -> bool:
    """Holds and settles where it fits; whether a level is near then."""
    for node in path:
        used, held, working = node.used, node.held, node.working
        for unit in node.limited:
            if used[unit] + held[unit] + need[unit] > working[unit]:
                return False
    tokens, given, output, cost, calls, _ = need
    for node in path:
        held = node.held
        held[0] += tokens
        held[1] += given
        held[2] += output
        held[3] += cost
        held[4] += calls
    was_tokens, was_given, was_output, was_cost, was_calls, _ = charge
    for node in path:
        held, used = node.held, node.used
        held[0] -= tokens
        held[1] -= given
        held[2] -= output
        held[3] -= cost
        held[4] -= calls
        used[0] += was_tokens
        used[1] += was_given
        used[2] += was_output
        used[3] += was_cost
        used[4] += was_calls
    for node in path:
        used, held, calm = node.used, node.held, node.calm
        for unit in node.limited:
            if calm[unit] - used[unit] - held[unit] <= 2 * charge[unit]:
                return True
    return False


async def nodes(count: int) -> None:
    path = tuple(Node(limited) for limited in ((0, 3, 5), (0, 3, 5), (0, 3), (0, 3)))

    async def all_of_them() -> None:
        for _ in range(count):
            call(path, (120, 100, 20, 25, 1, 0), (100, 90, 10, 5, 1, 0))

    await measured(count, all_of_them)


SYSTEM: Final = "You are the handler 'desk' of an organism. Answer with the tool 'reply'. " * 4
TOOL: Final[dict[str, Any]] = {
    "type": "function",
    "function": {
        "name": "reply",
        "description": "Answers.",
        "parameters": {
            "type": "object",
            "properties": {"text": {"type": "string"}, "n": {"type": "integer"}},
            "required": ["text", "n"],
        },
    },
}


async def complete(request: dict[str, Any]) -> dict[str, Any]:
    """A model that answers at once."""
    given = sum(len(each["content"]) for each in request["messages"]) // 4 + 1
    made = {
        "id": "call_0",
        "type": "function",
        "function": {"name": "reply", "arguments": '{"text": "Very well.", "n": 1}'},
    }
    message = {"role": "assistant", "content": "", "tool_calls": [made]}
    return {"message": message, "usage": {"prompt_tokens": given, "completion_tokens": 9}}


async def turn(count: int) -> None:
    path = tuple(Node(limited) for limited in ((0, 3, 5), (0, 3), (0, 3)))
    there, came = trio.open_memory_channel[tuple[Ping, trio.Event, list[Ping]]](1)

    async def agent() -> None:
        async for asked, done, replies in came:
            said = {"role": "user", "content": json.dumps({"Ping": {"text": asked.text, "n": asked.n}})}
            request = {"model": "m", "messages": [{"role": "system", "content": SYSTEM}, said], "tools": [TOOL]}
            size = len(json.dumps(request, sort_keys=True, separators=(",", ":")))
            answer = await complete(request)
            used = answer["usage"]
            call(
                path,
                (size, size, 100, size, 1, 0),
                (used["prompt_tokens"], used["prompt_tokens"], used["completion_tokens"], 5, 1, 0),
            )
            for made in answer["message"]["tool_calls"]:
                replies.append(Ping(**json.loads(made["function"]["arguments"])))
            done.set()

    async def all_of_them() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(agent)
            for number in range(count):
                done, replies = trio.Event(), list[Ping]()
                await there.send((Ping("hi", number), done, replies))
                await done.wait()
                assert replies[0].n == 1
            there.close()

    await measured(count, all_of_them)


CASES: Final[dict[str, tuple[Callable[[int], Awaitable[None]], int]]] = {
    "hop": (hop, 300_000),
    "thread": (thread, 50),
    "ask": (ask, 300_000),
    "xml": (xml, 50_000),
    "wait": (wait, 50),
    "scope": (scope, 20_000),
    "sync": (sync, 2000),
    "commit": (commit, 2000),
    "call": (call_alone, 1000),
    "rows": (rows, 50_000),
    "nodes": (nodes, 50_000),
    "calls": (calls, 20),
    "turn": (turn, 10_000),
}


def main() -> None:
    if len(sys.argv) not in {2, 3} or sys.argv[1] not in CASES:
        raise SystemExit(__doc__)
    work, usual = CASES[sys.argv[1]]
    gc.set_threshold(OBJECTS)  # as while an organism runs
    trio.run(work, int(sys.argv[2]) if len(sys.argv) == 3 else usual)


if __name__ == "__main__":
    main()
