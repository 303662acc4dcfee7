"""docs/performance.md, from the figures that were kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from benchmarks.growth_laws import LAWS, said, slope

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD: Final = """\
# Performance

How fast an organism is, alone and beside other frameworks, and how its costs grow. The numbers are about what the organism adds; a model call takes
far longer. `make bench` writes this page (do not edit it), `make bench PEERS=DIR` measures other frameworks as well, and
[figures.json](performance/figures.json) has the raw figures.

The whole product is measured, with every rule on: peers and types are checked, budgets counted, failures caught, ends of threads detected. Each
figure is the median of several runs, each in a process of its own; the least and the most are in brackets. *us of CPU* is the CPU time of our process
for one unit of work, all its worker threads together. It varies less than a rate when other programs use the machine.
"""

CLAIMS: Final = """\
## What is not claimed

- That your machine will show these rates: each part names the load under which it was measured. Compare ratios within one run, not rates of two runs.
- That a fast pump makes agents fast. A model takes seconds; these are the costs beside that.
- That the peers are worse at what they are made for. They were given small tasks that all of them can do, in the simplest way that their documentation
  shows; most keep no budgets, and some do far more than pass messages on.
- That power cuts were tried: `full` waits until the disk reports a write as done, and a disk in a virtual machine may do so early.
- Rates for several machines or processes: an organism is one process with one event loop.
- That no single case is far slower, where only a median is shown.
"""

BUSY: Final = (
    " **The machine was busy with other work**: rates are a fraction of those of a quiet machine, and ratios and latencies are rough."
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
    "W1": ("two handlers send a small typed message to and fro: hops", 280_000),
    "W2F": ("one coordinator, 1,000 handlers, each answers: messages", 270_000),
    "W2C": ("1,000 threads, each with three handlers, are opened and ended: messages", 200_000),
    "W4": ("a ring of 100 handlers, one token: hops", 260_000),
    "ask": ("a handler that asks another one: asks", 300_000),
    "scope": ("the same inside a cancel scope of the handler: asks", 100_000),
    "xml": ("as W1, and on every hop the message is written as XML, read and checked against its schema: hops", 60_000),
    "durable-serial": ("as W1, each step on disk before its effects (`full`, SQLite): hops", 2_200),
    "durable-many": ("as W2C, on disk in the same way: messages", 65_000),
    "durable-steps": ("1,000 threads with messages of 400 bytes to and fro, on disk in the same way: steps", None),
    "held": ("`complete`, with its hold on disk first, in one thread: calls", 2_000),
    "helds": ("the same in 1,000 threads: calls", 30_000),
    "turns": ("turns of an agent, with a model that answers immediately", 6_000),
    "gateway": ("model calls over HTTP to a local server, 64 at a time", None),
    "waits": ("handlers that wait 10 ms in 1,000 threads: waits", None),
}
"""What the rates are of, and what they are meant to be about on two quiet cores."""
FLOORS: Final = {
    "bare-hop": (
        "W1", "a payload, an answer, a coroutine in a copied context, a message and a frame that are queued and taken",
        "The rules: who may send what to whom, the budgets of two nodes, open frames, deadlines, waiting handlers, the journal.",
    ),
    "bare-thread": (
        "W2C", "a third of the same for a thread of three messages that is opened and ended, with an id and a result that somebody waits for",
        "As for W1; and a thread's budget, labels, accounts, the mailboxes of its handlers, its usage and its outcome.",
    ),
    "bare-ask": (
        "ask", "one coroutine is stepped until it asks, another one until it answers, and the first gets the answer",
        "Two hops; the check for cycles; the place among running handlers, given back and taken again; a timeout that stands still meanwhile; handlers with an open scope.",
    ),
    "bare-xml": (
        "xml", "a document of two elements is written, parsed by lxml, checked against its schema and read",
        "A hop, and protection of the parser from hostile texts: names, depths, references, lengths.",
    ),
    "bare-wait": (
        "waits", "trio tasks that sleep 10 ms, 1,000 concurrently",
        "Each wait is also a hop, gives the handler's place back and takes it again, and has a deadline.",
    ),
    "bare-scope": (
        "scope", "a cancel scope, and two tasks that switch to and fro",
        "A handler with an open scope is tied to its task: trio must switch to the other handler's and back.",
    ),
    "bare-turn": (
        "turns", "a request is made and written as JSON, a model answers in this process, its tool call is read; held and settled on three nodes; one task waits for another",
        "The prompt is hashed, estimated, held and settled with prices; the answer is validated and kept in a history; warnings, deadlines, retries and failover are checked; two messages are hops.",
    ),
    "bare-sync": (
        "durable-serial", "4,000 bytes are written and synced by a thread that a task waits for",
        "Nothing that writes a step to disk before its effects, without blocking the event loop, can be faster than this.",
    ),
    "bare-commit": (
        "durable-serial", "one row and one commit in SQLite, by a thread that a task waits for",
        "Most of a durable step is SQLite, the disk, and the way to the worker thread and back.",
    ),
    "bare-call": (
        "held", "two commits of one row in SQLite, one after the other, by a thread that a task waits for",
        "The hold is on the disk before the model is asked, and the answer before the handler acts on it: no call of such a handler can do with less. The rest is the call itself, and the way of its facts into their chain.",
    ),
    "bare-calls": (
        "helds", "1,000 tasks, each of which twice puts a row of 600 bytes into a group that a thread writes and syncs, and waits for that",
        "The call itself, as in a turn: estimated, held, asked, settled; and its facts, each as JSON in a chain of hashes.",
    ),
    "bare-rows": (
        "durable-many", "one row of 600 bytes in a group of 500, in SQLite",
        "A message here is five thirds of a row. The rest is the hop, and writing each fact as JSON, without secrets, in its chain of hashes.",
    ),
    "bare-durable-many": (
        "durable-many", "the facts of such a message as they are kept, written as JSON, hashed, and put into SQLite in groups of 650; no pump, no kernel",
        "A hop, a thread that is opened and ended, its facts, and the check that each continues its chain.",
    ),
    "bare-durable-steps": (
        "durable-steps", "the same for the fact of such a step",
        "A hop, its fact, the check that it continues its chain, and the way to the thread that writes and back.",
    ),
}  # fmt: skip
"""What of ours a bare prototype stands beside, what it does, and what the difference is."""


BARE: Final = {
    "W1": "hop", "W2C": "thread", "ask": "ask", "xml": "xml", "waits": "wait", "scope": "scope", "turns": "turn", "durable-serial": "commit",
    "durable-many": "durable-many", "durable-steps": "durable-steps", "held": "call", "helds": "calls",
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
    parts += [_own(kept["own"])] if "own" in kept else []
    parts += [_peers(kept["peers"])] if "peers" in kept else []
    parts += [_floors(kept["own"])] if "own" in kept else []
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
        f"{machine}. {runs}.{short} Load average of the minute before it began: {before}, and before it"
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
        ("Ours and each peer took turns at the same task; rates are per second. Compare the ratios. *Aim* is the ratio that we want."
         " Each runs as it comes: while an organism is open Python [looks for garbage](how-to/call-from-python.md#in-a-service) seldom, in the others as often as ever.\n"),
        _circumstances(part),
        _beside(part["rows"], "organism"),
        f"Peers: {used}.\n",
    ])  # fmt: skip


def _own(part: dict[str, Any]) -> str:
    found = part["rows"]
    rates = [
        [
            f"**{name}**: {what}",
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
        "*By CPU* is the rate if the process had the CPU to itself. *Guide* is the rate that we want on two quiet cores.\n",
        _circumstances(part),
        _table(["work", "a second", "us of CPU", "by CPU", "guide"], rates),
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
        ("How close is this to the least that Python, trio and the disk take for such work? Bare prototypes without any rule"
        " (`benchmarks/floors.py`, `benchmarks/durable.py --bare`), measured in the same run, with garbage looked for as seldom as while an organism runs:\n"),
        _table(["work", "bare", "us of CPU", "a second", "ours, us of CPU", "a second", "what makes the difference"], rows),
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
        ("Shares of the CPU time of a run, from samples every few milliseconds (`benchmarks/where.py`). Imports are left out, and functions of the"
        " standard library count for their callers. *Bare* is the prototype of the section above.\n"),
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
        ("What is gained when the kernel, the budget rules and what steps handlers are [compiled to C](how-to/compile.md):\n"),
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
        ("CPU time for one unit of work, and memory in total, at the smallest size and at the largest. *Flat*, *linear* and so on are computed from the"
        " two largest sizes. Both axes of each plot are logarithmic: linear growth is a line that rises by one decade in one decade.\n"),
        _circumstances(part),
        _table(["what grows", "CPU", "grows", "memory", "grows", "why"], rows),
        *([f"Time to open an organism on a journal of ended threads: {'; '.join(opening)}.\n"] if opening else []),
        *drawn,
    ])  # fmt: skip


def _size(count: float) -> str:
    return f"{count / 2**20:.1f} MB" if count >= 2**20 else f"{count / 1024:.1f} KB"


def _count(number: float) -> str:
    return f"{number:,.0f}"
