"""What commands say where something is seldom: bytes that are no text, times that no calendar has, handlers that take nothing."""

from __future__ import annotations

import errno
import json
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from attrs import evolve

from organism.cli.log import line_of
from organism.cli.tables import instant, size
from organism.journal.codec import decode, encode
from organism.record.facts import CallSettled, Ended
from tests.cli.journal_world import record, written

if TYPE_CHECKING:
    from tests.cli.conftest import Desk

SEND = '''

from organism import ModelError, Send  # noqa: E402
from organism.primitives import BudgetWarning  # noqa: E402


@payload
class Found:
    pages: dict[str, int | None] = {}


async def find(job: Job, ctx: Context) -> Reply[Found]:
    """Finds nothing."""
    return Reply(Found(pages={"first": None, "last": 9}))


async def heed(warning: BudgetWarning, ctx: Context) -> None:
    """Takes what only the organism says."""


async def repeat(job: Job, ctx: Context) -> None:
    """Asks for the same again and again."""
    for _ in range(3):
        await ctx.ask("shouter", Job(text="x"))


async def mislog(job: Job, ctx: Context) -> Reply[Done]:
    """Logs a number that is none, and a model that fails."""
    ctx.log.warning("%d apples", "many")
    try:
        await ctx.complete("x")
    except ModelError:
        ctx.log.exception("no model")
    return Reply(Done(text="done"))
'''


@pytest.fixture
def more(desk: Desk) -> Desk:
    """The desk with some more handlers."""
    work = desk.folder / "work.py"
    work.write_text(work.read_text("utf-8") + SEND, "utf-8")
    return desk


def handlers(desk: Desk, *lines: str, top: str = "") -> None:
    desk.write("organism.yaml", f"organism: demo\n{top}\nhandlers:\n" + "".join(f"  {line}\n" for line in lines))


# Bytes that are no text


def test_a_line_of_a_chat_that_is_no_text_is_not_sent_and_the_next_one_is(desk: Desk) -> None:
    (desk.folder / "lines").write_bytes(b"caf\xe9\nada\n")
    with (desk.folder / "lines").open("rb") as lines:
        ran = desk.process("chat", "--to", "shouter", "--quiet", stdin=lines)
    assert (ran.code, "ADA" in ran.out) == (1, True)
    assert "not sent: the line is not UTF-8: " in ran.err


def test_standard_input_that_is_no_text_is_not_sent(desk: Desk) -> None:
    (desk.folder / "given").write_bytes(b"caf\xe9")
    with (desk.folder / "given").open("rb") as given:
        ran = desk.process(
            "run", "--to", "shouter", "--send", "-", stdin=given, environ={"PYTHONIOENCODING": "utf-8:strict"}
        )
    assert (ran.code, ran.out) == (2, "")
    assert "--send -: standard input is not UTF-8: " in ran.err


# Handlers and payloads


def test_a_handler_that_hears_the_organism_alone_takes_nothing_from_outside(more: Desk) -> None:
    handlers(more, "heeder: {code: 'work:heed'}", "finder: {code: 'work:find'}")
    ran = more.organism("run", "--to", "heeder", "--send", "x")
    said = "'heeder' takes only messages from the organism itself, and none from outside"
    assert (ran.code, said in ran.err) == (2, True)
    # Of the others it is found who takes what is sent.
    ran = more.organism("run", "--send", '{"Job": {"text": "x"}}')
    assert (ran.code, ran.out.splitlines()[0]) == (0, "finder: Found"), ran.err


def test_what_a_reply_leaves_open_is_a_dash(more: Desk) -> None:
    handlers(more, "finder: {code: 'work:find'}")
    ran = more.organism("run", "--to", "finder", "--send", "x", "--quiet")
    assert (ran.code, ran.out) == (0, "finder: Found\n  pages:\n    first: -\n    last: 9\n"), ran.out


def test_the_schema_of_payloads_of_ones_own_needs_some(desk: Desk) -> None:
    desk.write(
        "bare.py",
        """
        from organism import Context
        from organism.primitives import BudgetWarning


        async def heed(warning: BudgetWarning, ctx: Context) -> None:
            \"\"\"Takes what only the organism says.\"\"\"
        """,
    )
    handlers(desk, "heeder: {code: 'bare:heed'}")
    ran = desk.organism("schema", "--xsd")
    said = "organism.yaml: no handler takes or sends a payload of its own; see --primitives\n"
    assert (ran.code, ran.out, ran.err) == (2, "", said)


def test_the_schema_of_events_is_that_of_the_export(desk: Desk) -> None:
    ran = desk.organism("schema", "--events")
    assert (ran.code, ran.err) == (0, "")
    assert "Accepted" in json.dumps(json.loads(ran.out))


def test_check_tells_what_comes_of_a_failure_that_is_not_tried_again(desk: Desk) -> None:
    handlers(
        desk,
        "one: {code: 'work:shout', on_failure: {do: stop}}",
        "two: {code: 'work:shout', on_failure: {do: escalate, attempts: 2, retry_on: []}}",
    )
    lines = [line for line in desk.organism("check").out.splitlines() if "on failure" in line]
    assert [line.partition("on failure ")[2] for line in lines] == ["its thread stops", "the organism stops"]


def test_a_loop_is_told_when_it_is_seen(more: Desk) -> None:
    handlers(
        more,
        "repeater: {code: 'work:repeat', peers: [shouter]}",
        "shouter: {code: 'work:shout'}",
        top="loops: {repeats: 3, within: 12}",
    )
    ran = more.organism("run", "--to", "repeater", "--send", "x")
    (line,) = [line for line in ran.err.splitlines() if line.startswith("loop warning: ")]
    assert line.startswith("loop warning: the same Job to shouter, 3 times [thread ")


def test_a_handler_that_logs_wrongly_or_of_a_model_goes_on(more: Desk) -> None:
    nowhere = (
        "{provider: openai, model: m, base_url: 'http://127.0.0.1:9', api_key_env: null, price: {input: 0, output: 0}}"
    )
    handlers(
        more, "mislogger: {code: 'work:mislog'}", top=f"models: {{default: {{retries: 0, backends: [{nowhere}]}}}}"
    )
    ran = more.process("run", "--to", "mislogger", "--send", "x", "--quiet")
    assert (ran.code, ran.out.splitlines()[0]) == (0, "mislogger: Done"), ran.err
    assert "TypeError" in ran.err, ran.err
    assert "Message: '%d apples'" in ran.err  # logging's own report, which names the line that is wrong
    (line,) = [line for line in ran.err.splitlines() if "no model" in line]
    assert "no connection to http://127.0.0.1:9" in line
    assert "work.py" not in line  # it is no fault of the code that called


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_a_port_that_is_not_for_everybody_is_one_line(desk: Desk, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    async def refused(**_: Any) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(anyio, "create_tcp_listener", refused)
    ran = desk.organism("simulate", "--port", "80")
    known = "--port 80: you may not listen on it; name one from 1024 on, or 0 for one that is free\n"
    other = "--host 127.0.0.1: cannot be listened on: no; name an address of this host\n"
    assert (ran.code, ran.out, ran.err) == (2, "", known if number == errno.EACCES else other)


# Journals


@pytest.fixture
def kept(desk: Desk) -> Desk:
    desk.write("organism.yaml", "organism: demo\njournal: sqlite:organism.db\n")
    return desk


def test_a_time_that_no_calendar_has_is_told_as_it_is() -> None:
    assert [instant(at) for at in (0, 1e300)] == ["1970-01-01 00:00:00", "1e+300 s"]
    assert line_of({"n": 3, "at": 1e300, "lost": 2}) == "     3  1e+300 s  2 facts are missing here"
    assert line_of({"n": 3, "at": 1e300, "lost": 1}) == "     3  1e+300 s  1 fact is missing here"


def test_any_number_of_bytes_has_a_size() -> None:
    assert [size(count) for count in (0, 999, 1000, 10**18)] == ["0 B", "999 B", "1.0 kB", "1000000.0 TB"]


def test_what_an_open_thread_has_used_so_far_is_told(kept: Desk) -> None:
    whole = [fact for root, fact in record().facts if root == "apple"]
    begun = [("apple", fact) for fact in whole if not isinstance(fact, Ended)]
    written(kept.folder, "sqlite:organism.db", begun)
    (row,) = kept.organism("threads", "--json").objects
    usage, whole_usage = row["usage"], record().results["apple"]["usage"]
    assert row["outcome"] == "unfinished"
    same = ("input_tokens", "output_tokens", "tokens", "cost_usd", "model_calls", "messages")
    assert {unit: usage[unit] for unit in same} == {unit: whole_usage[unit] for unit in same}
    ran = kept.organism("show", "apple")
    assert (ran.code, "unfinished" in ran.out or "has not ended" in ran.out) == (0, True), ran.out


def test_an_estimate_is_marked_and_said_what_it_is(kept: Desk) -> None:
    facts = [
        (root, evolve(fact, charge=evolve(fact.charge, estimated=True)) if isinstance(fact, CallSettled) else fact)
        for root, fact in record().facts
    ]
    written(kept.folder, "sqlite:organism.db", facts)
    ran = kept.organism("usage")
    assert "~100" in ran.out
    assert ran.out.endswith(
        "~ is partly an estimate: a provider did not report its usage, or the process ended before it did\n"
    )


def test_a_part_of_a_thread_is_not_forked(kept: Desk) -> None:
    written(kept.folder, "sqlite:organism.db")
    (part,) = {fact.thread for root, fact in record().facts if root == "apple" and fact.thread != root}
    ran = kept.organism("fork", part)
    said = f"fork: thread '{part}' is a part of 'apple': only threads of their own can be forked"
    assert (ran.code, ran.err.splitlines()[-1]) == (2, said)
    ran = kept.organism("show", part)
    assert (ran.code, ran.out.startswith(f"thread {part}")) == (0, True)


def test_a_long_list_of_what_is_removed_is_cut(kept: Desk) -> None:
    whole = json.dumps([encode(fact, root) for root, fact in record().facts if root == "apricot"])
    many = [
        (name, decode(document))
        for name in (f"thread-{number}" for number in range(22))
        for document in json.loads(whole.replace('"apricot"', f'"{name}"'))
    ]
    written(kept.folder, "sqlite:organism.db", many)
    ran = kept.organism("prune", "--before", "2100-01-01", "--dry-run")
    assert ran.code == 0, ran.err
    assert "and 2 more" in ran.out.splitlines()


UNTOLD = """
    organism: demo
    journal: sqlite:organism.db
    handlers:
      writer:
        description: Writes.
        agent: {accepts: work:Job, replies: work:Done, notices: {deliver: false}}
"""


def test_a_warning_that_nobody_hears_names_who_goes_on_in_a_copy(desk: Desk) -> None:
    desk.write("organism.yaml", UNTOLD)
    ran = desk.organism("run", "--json", "--send", '{"Job": {"text": "one"}}')
    assert ran.err.count("budget warning") == 0
    again = desk.organism(
        "fork", ran.object["thread"], "--at", "1", "--set", "budget.tokens=5000", "--set", "budget.warn_at=[1]"
    )
    assert "budget warning: writer: tokens " in again.err
