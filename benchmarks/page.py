"""docs/performance.md, from the figures that were kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from benchmarks.growth_laws import LAWS, said, slope

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD: Final = """\
# Performance

Written by `make bench`; `make bench PEERS=DIR` measures the peers as well. Do not edit it: run it again. The figures as they were measured are in
[figures.json](performance/figures.json).

Everything is measured on the whole product, with every rule on: peers and types are checked, budgets counted, senders captured, failures caught,
ends of threads detected, statistics kept. Each figure is the median of as many runs as its part says, each in a process of its own; in brackets are the least and the most.
*us of CPU* is the time of our own process for one of them, all of its threads together. It moves less than a rate where other programs want the
machine, but a shared machine makes it longer, too.
"""

CLAIMS: Final = """\
## What is not claimed

- That these rates are those of your machine, or of a quiet one: see under what load each part was measured. Compare ratios of one run, not rates of two.
- That a fast pump makes agents fast. A model takes seconds; what is measured here is what is added to that.
- That the peers do less well what they are for. They were given small tasks that all of them can do, in the simplest way that their documentation shows;
  most keep no budgets, and some do far more than pass messages on.
- That the power cut was tried: `full` waits until the disk says that it has written, and a disk in a virtual machine may say so early.
- Rates of several machines, or of several processes: an organism is one process, and one loop.
- A mean without its tail: where only a median is shown, single cases may take far longer.
"""

BUSY: Final = (
    " **The machine was busy with other work**: rates by the clock are a fraction of a quiet one's, and ratios and the tail of latencies are rough."
    " Measure again before you rely on them."
)
TIMES: Final = {
    ("W1", "autogen-core"): 20, ("W1", "langgraph, no saver"): 40, ("W1", "raw trio channels"): 2, ("W1", "asyncio queue"): 1,
    ("W1", "pykka"): 1, ("W2F", "autogen-core"): 20, ("W2C", "autogen-core"): 20, ("W4", "autogen-core"): 20,
    ("W4", "raw trio channels"): 2, ("durable-serial", "langgraph + SqliteSaver"): 3,
    ("durable-many", "langgraph + SqliteSaver"): 100, ("turns", "openai-agents, fake model"): 5,
    ("turns", "pydantic-ai TestModel"): 10, ("gateway", "litellm Router, over HTTP"): 3,
}  # fmt: skip
"""How many times a peer's rate ours is meant to be."""
NAMES: Final = {
    "W1": ("two handlers, a small typed message to and fro: hops", 280_000),
    "W2F": ("one coordinator, 1,000 handlers, each answers: messages", 270_000),
    "W2C": ("1,000 conversations at once through three handlers, each opens and ends: messages", 200_000),
    "W4": ("a ring of 100 handlers, one token: hops", 260_000),
    "ask": ("a handler that asks another one: asks", 300_000),
    "scope": ("the same below a cancel scope of the handler's own: asks", 100_000),
    "xml": ("W1, and on every hop the message is written as XML, read and checked against its schema: hops", 60_000),
    "durable-serial": ("W1, each step on the disk before its effects (`full`, SQLite): hops", 2_200),
    "durable-many": ("W2C, the same way: messages", 65_000),
    "durable-steps": ("1,000 conversations with messages of 400 bytes to and fro, the same way: steps", None),
    "held": ("`complete` with its hold on the disk before, one thread: calls", 2_000),
    "helds": ("the same, 1,000 threads: calls", 30_000),
    "turns": ("turns of an agent on a model that answers at once", 6_000),
    "gateway": ("model calls over HTTP to a local server, 64 at a time", None),
    "waits": ("handlers that wait 10 ms in 1,000 threads: waits", None),
}
"""What the rates are of, and what they are meant to be about on two quiet cores."""
FLOORS: Final = {
    "bare-hop": (
        "W1", "a payload, an answer, a coroutine in a copy of the context variables, a message and a frame that are queued and taken",
        "The rest is what the rules ask: who may send what to whom, the budgets of two nodes, who is still open, deadlines, handlers that wait, the journal.",
    ),
    "bare-thread": (
        "W2C", "the same for a thread of three messages that opens and ends, with its id and a result that somebody waits for: a third of it",
        "The rest is that of W1, and a thread's budget, labels, accounts, the mailboxes of its handlers, its usage and its outcome.",
    ),
    "bare-ask": (
        "ask", "one coroutine is stepped until it asks, another one until it answers, and the first gets the answer",
        "The rest is that of two hops, and: whether the ask closes a circle or waits for itself, the place among running handlers that is given back and taken again, a timeout that stands still meanwhile, a handler that has a scope open.",
    ),
    "bare-xml": (
        "xml", "a document of two elements is written, parsed by lxml, checked against its schema and read",
        "The rest is a hop, and to keep from the parser whatever a stranger may have written: names, depths, references, lengths.",
    ),
    "bare-wait": (
        "waits", "trio tasks that sleep 10 ms, 1,000 at once",
        "Each wait is a hop as well, gives its handler's place to others and takes it again, and has its deadline watched.",
    ),
    "bare-scope": (
        "scope", "a cancel scope, and two tasks that give way to each other",
        "A handler with a scope open is tied to its task: trio must switch to the other handler's and back.",
    ),
    "bare-turn": (
        "turns", "a request is made and written as JSON, a model answers in this process, its tool call is read; held and settled on three nodes; one task waits for another",
        "The rest: the prompt is named by its digest, estimated, held and settled with prices; the answer is checked, validated and kept in a history; warnings, deadlines, retries and failover stand ready; two messages are hops.",
    ),
    "bare-sync": (
        "durable-serial", "4,000 bytes are written and synced by a thread that a task waits for",
        "Less than this is not to be had where a step is on the disk before its effects leave, and the loop is not blocked meanwhile.",
    ),
    "bare-commit": (
        "durable-serial", "one row and one commit in SQLite, by a thread that a task waits for",
        "So most of a durable step is SQLite, the disk, and the way to the thread and back.",
    ),
    "bare-calls": (
        "helds", "1,000 tasks, each of which twice puts a row of 600 bytes into a group that a thread writes and syncs, and waits for that",
        "The rest is the call itself, as in a turn: estimated, held, asked, settled; and the facts of it, each as JSON in its chain of hashes.",
    ),
    "bare-rows": (
        "durable-many", "one row of 600 bytes in a group of 500, in SQLite",
        "A message of this work is five thirds of a row. The rest is the hop, and to write each fact down as JSON, without secrets, in its chain of hashes.",
    ),
    "bare-durable-many": (
        "durable-many", "the facts of such a message as they are kept, written as JSON, hashed, and put into SQLite in groups of 650; no pump, no kernel",
        "This is what such a record takes without any rule, in Python. The rest is a hop, a thread that opens and ends, its facts, and the check that each goes on from what its chain holds.",
    ),
    "bare-durable-steps": (
        "durable-steps", "the same for the fact of such a step",
        "The rest is a hop, its fact, the check that it goes on from what its chain holds, and the way to the thread that writes and back.",
    ),
}  # fmt: skip
"""What of ours a bare prototype stands beside, what it does, and what the difference is."""


BARE: Final = {
    "W1": "hop", "W2C": "thread", "ask": "ask", "xml": "xml", "waits": "wait", "scope": "scope", "turns": "turn", "durable-serial": "commit",
    "durable-many": "durable-many", "durable-steps": "durable-steps", "helds": "calls",
}  # fmt: skip
"""The prototype that does the least of each."""
SHARES: Final = {
    "rules": "kernel, budgets, threads", "pump": "pump", "models": "router and models", "agents": "agents", "payloads": "payloads",
    "journal": "journal", "loop": "trio, anyio", "libraries": "other libraries", "benchmark": "the benchmark's own",
}  # fmt: skip
"""What `where.py` tells apart."""


def page(kept: dict[str, Any]) -> str:
    """The whole page; what was not measured is not there."""
    parts = [HEAD]
    parts += [_peers(kept["peers"])] if "peers" in kept else []
    parts += [_own(kept["own"]), _floors(kept["own"])] if "own" in kept else []
    parts += [_where(kept["where"])] if "where" in kept else []
    parts += [_compiled(kept["compiled"])] if kept.get("compiled", {}).get("rows") else []
    parts += [_growth(kept["growth"])] if "growth" in kept else []
    return "\n".join([*parts, CLAIMS])


def _circumstances(part: dict[str, Any]) -> str:
    machine = "; ".join(
        f"{name} {value}" if name[0].islower() and name != "date" else value for name, value in part["machine"].items()
    )
    before, after = part["load"]
    runs = f"Medians of {part['runs']} runs" if part["runs"] > 1 else "One run of each"
    short = " Runs were short (`--quick`)." if part.get("short") else ""
    return (
        f"{machine}. {runs}.{short} Processes that wanted to run, of any program, in the minute before it began: {before}, and before it"
        f" ended: {after}.{BUSY if max(before, after) > 4 else ''}{part.get('note', '')}\n"
    )


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]) + "\n"


def _beside(measured: list[dict[str, Any]], ours: str) -> str:
    rows = []
    for row in measured:
        aim = TIMES.get((row["work"], row["peer"]))
        judged = "" if aim is None else f"{aim}: {'reached' if row['ratio'] >= aim else '**missed**'}"
        rows.append([row["work"], row["peer"], _count(row["own"]), _count(row["rate"]), f"{row['ratio']:.1f}", judged])
    return _table(["work", "peer", ours, "peer's", "ratio", "aim"], rows)


def _peers(part: dict[str, Any]) -> str:
    used = ", ".join(f"{name} {version}" for name, version in part["versions"].items())
    return "\n".join([
        "## Beside others\n",
        ("Ours and each peer in turn, on the same task in the same minutes, a second; the ratio is what can be compared. *Aim* is how many times its"
        " rate was aimed at.\n"),
        _circumstances(part),
        _beside(part["rows"], "organism"),
        f"W1 to W4 and the others are what they are in the table below. Peers: {used}.\n",
    ])  # fmt: skip


def _own(part: dict[str, Any]) -> str:
    found = part["rows"]
    rates = [
        [
            what,
            f"{_count(row['rate'])} ({_count(row['range'][0])} to {_count(row['range'][1])})",
            f"{_cpu(row):.1f}",
            _count(1e6 / _cpu(row)),
            "" if aim is None else _count(aim),
        ]
        for name, (what, aim) in NAMES.items()
        if (row := found.get(name)) is not None
    ]
    return "\n".join([
        "## Ours alone\n",
        "*By CPU* is how many there would be in a second of which the process had all: what comes closest to a quiet machine where others ran as well.\n",
        _circumstances(part),
        _table(["work", "a second", "us of CPU", "by CPU", "guide on quiet cores"], rates),
        _table(["figure", "measured", "aim"], list(_single(found))),
    ])  # fmt: skip


def _floors(part: dict[str, Any]) -> str:
    found = part["rows"]
    rows = [
        [work, what, f"{_cpu(found[name]):.1f}", _count(found[name]["rate"]), f"{_cpu(found[work]):.1f}", _count(found[work]["rate"]), why]
        for name, (work, what, why) in FLOORS.items()
        if name in found and work in found
    ]  # fmt: skip
    return "\n".join([
        "## What cannot be left out\n",
        ("Bare prototypes without any rule (`benchmarks/floors.py`, `benchmarks/durable.py --bare`), measured with what is above: what the interpreter, trio and the disk take for the least that"
        " such a piece of work consists of.\n"),
        _table(["work", "bare", "us of CPU", "a second", "ours, us of CPU", "a second", "what is between them"], rows),
    ])  # fmt: skip


def _where(part: dict[str, Any]) -> str:
    bare = part["bare"]
    rows = [
        [
            what,
            f"{shares['cpu_us']:.1f}",
            f"{bare[least]:.1f}" if (least := BARE.get(work)) in bare else "",
            *(f"{shares[name]:.0%}" for name in SHARES),
        ]
        for work, (what, _) in NAMES.items()
        if (shares := part["rows"].get(work)) is not None
    ]
    return "\n".join([
        "## Where it goes\n",
        ("Shares of the CPU time of a run, by which function runs at every few milliseconds of it (`benchmarks/where.py`); what Python imports is left out, and"
        " functions of the standard library count for whoever calls them. *Bare* is the prototype without any rule that does the least of the same, as above.\n"),
        _circumstances(part),
        _table(["work", "us of CPU", "bare", *SHARES.values()], rows),
    ])  # fmt: skip


def _compiled(part: dict[str, Any]) -> str:
    rows = [
        [row["work"], f"{row['us']:.1f}", f"{row['compiled_us']:.1f}", f"{row['us'] / row['compiled_us']:.2f}"]
        for row in part["rows"]
    ]
    return "\n".join([
        "## Compiled\n",
        ("The same sources, with the kernel, the budget rules and what steps handlers [compiled to C](how-to/compile.md) and all else as it is, in turn with them as they are:"
         " what the interpreter takes of it.\n"),
        _circumstances(part),
        _table(["work", "us of CPU", "compiled", "times as fast"], rows),
        *(["Beside others, as above:\n", _beside(part["beside"], "compiled")] if "beside" in part else []),
    ])  # fmt: skip


def _cpu(row: dict[str, Any]) -> float:
    return float(row.get("cpu_us", row.get("call_us", 1e6 / row["rate"])))


def _single(found: dict[str, Any]) -> Iterator[list[str]]:
    if "waits" in found and "bare-wait" in found:
        share = found["waits"]["rate"] / found["bare-wait"]["rate"]
        yield ["handlers that wait 10 ms, of what bare trio tasks do", f"{share:.0%}", "60 %"]
        yield ["the same by CPU", f"{found['bare-wait']['cpu_us'] / found['waits']['cpu_us']:.0%}", ""]
    if late := found.get("latency"):
        yield [
            f"a delivery at half of the highest rate ({_count(late['rate'])} a second): p99",
            f"{late['p99_ms']:.2f} ms",
            "1 ms",
        ]
        yield ["the same: median", f"{late['p50_ms']:.3f} ms", ""]
    if step := found.get("durable-steps"):
        yield ["a journaled step, of CPU", f"{step['cpu_us']:.0f} us", "40 us"]
        yield ["the same, on the disk", f"{step['disk'] / 1000:.2f} KB", "1.5 KB"]
    if kept := found.get("memory"):
        for name, what, aim in (
            ("queued", "a queued thread", "1.1 KB"),
            ("in_line", "the same, in line for one of the places of its handler (`concurrency`)", ""),
            ("suspended", "a thread that waits in `ask`, with the message that waits for the other handler", "3.2 KB"),
            ("handler", "a handler", "1.1 KB"),
        ):
            if name in kept:
                yield [what, f"{kept[name] / 1024:.2f} KB", aim]
    if nodes := found.get("nodes"):
        bare = found.get("bare-nodes")
        beside = "" if bare is None else f" (the bare loops in one function: {bare['cpu_us']:.1f} us)"
        yield [f"hold and settle on 4 nodes, by the rules alone{beside}", f"{nodes['rules_us']:.1f} us", "4 us"]
        yield ["the same in the kernel, with sums by name", f"{nodes['kernel_us']:.1f} us", ""]
    for name, what, aim in (
        ("import", "`import organism`, of CPU", "100 ms"),
        ("check", "`organism check` on a new project, of CPU", "300 ms"),
    ):
        if row := found.get(name):
            yield [what, f"{row['ms']:.0f} ms", aim]


def _growth(part: dict[str, Any]) -> str:
    rows, drawn = [], []
    for case, found in part["cases"].items():
        law, sizes = LAWS[case], [row["size"] for row in found]
        if len(found) < 2:
            continue
        cpu = [row["cpu_us"] for row in found]
        kept = [row["bytes"] for row in found]
        time, memory = said(slope(sizes, cpu)), said(slope(sizes, kept))
        rows.append([
            f"{law.grows}, {_count(sizes[0])} to {_count(sizes[-1])}",
            f"{law.one}: {cpu[0]:.1f} to {cpu[-1]:.1f} us", time, f"{_size(kept[0])} to {_size(kept[-1])}", memory, law.why,
        ])  # fmt: skip
        drawn.append(f"![{law.grows}: time and memory](performance/{case}.svg)\n")
    opened = part["cases"].get("journal", [])
    opening = [f"{_count(row['size'])} threads: {row['open_ms']:.0f} ms" for row in opened if "open_ms" in row]
    return "\n".join([
        "## How it grows\n",
        ("CPU of one of them, and what the size keeps in memory, at the smallest size and at the largest. *Flat*, *linear* and the rest are counted over the"
        " last step, between the two largest sizes. Both axes of each plot are logarithmic: a line that rises by one decade in one decade is linear.\n"),
        _circumstances(part),
        _table(["what grows", "CPU", "grows", "memory", "grows", "why"], rows),
        *([f"To open an organism on a journal with so many ended threads: {'; '.join(opening)}.\n"] if opening else []),
        *drawn,
    ])  # fmt: skip


def _size(count: float) -> str:
    return f"{count / 2**20:.1f} MB" if count >= 2**20 else f"{count / 1024:.1f} KB"


def _count(number: float) -> str:
    return f"{number:,.0f}"
