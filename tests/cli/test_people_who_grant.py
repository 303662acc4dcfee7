"""People who decide on more budget are told who asks for it, in which thread, and what that has used: in each place where they are asked."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

import anyio
import pytest

from organism import Organism
from organism.results import Requester
from tests.cli.test_terminal import Terminal

if TYPE_CHECKING:
    from tests.cli.conftest import Desk

READING = '''
    from organism import Context, Reply, payload


    @payload
    class Book:
        pages: int


    @payload
    class Read:
        text: str


    async def desk(book: Book, ctx: Context) -> Reply[Read]:
        """Has a book read."""
        await ctx.complete("What is a book?", max_output_tokens=10)
        return Reply(await ctx.ask("reader", book, expect=Read))


    async def reader(book: Book, ctx: Context) -> Reply[Read]:
        """Reads a book for which its budget will not do."""
        await ctx.complete("What is on page 1?", max_output_tokens=10)
        more = await ctx.request_budget("UNIT", 300, "many pages are left")
        return Reply(Read(text="more" if more else "no more"))
'''
FILE = """
    organism: reading-room
    journal: sqlite:organism.db
    budget: {tokens: 5000, grants_by: boss}
    handlers:
      desk: {code: reading:desk, peers: [reader]}
      reader: {code: reading:reader, budget: {LIMIT}}
      boss:
        description: Decides.
        human: {accepts: organism.primitives:BudgetRequest, replies: organism.primitives:BudgetDecision}
    start:
      - {to: desk, payload: {Book: {pages: 9}}}
"""


@pytest.fixture
def room(desk: Desk) -> Desk:
    return written(desk, "tokens", "tokens: 400")


def written(desk: Desk, unit: str, limit: str) -> Desk:
    desk.write("reading.py", READING.replace("UNIT", unit))
    desk.write("organism.yaml", FILE.replace("LIMIT", limit))
    return desk


def asked_in_python(desk: Desk) -> Requester | None:
    """What ``organism.inbox()`` says of the question that was left."""

    async def main() -> Requester | None:
        async with Organism.load(desk.folder / "organism.yaml") as organism:
            await organism.resume()
            (question,) = organism.inbox()
            return question.requester

    return anyio.run(main)


def test_who_asks_and_what_was_used_is_told_wherever_the_question_is(room: Desk) -> None:
    ran = room.organism("run")
    (question,) = room.organism("inbox", "--json").objects
    thread, id_ = question["thread"], question["id"]
    used = question["requester"]["used"]
    assert f"boss is asked by organism for reader [question {id_}]" in ran.err
    assert question["requester"] == {
        "handler": "reader", "thread": f"{thread}.2", "unit": "tokens", "used": used, "limit": "400",
    }  # fmt: skip
    (of_thread,) = room.organism("threads", "--json").objects
    assert 0 < int(used) < of_thread["usage"]["tokens"]
    assert " organism for reader " in room.organism("inbox").out
    head, who, name, *_ = room.organism("inbox", id_).out.splitlines()
    assert head == f"organism for reader asks boss [question {id_}]"
    assert who == f"reader has used {used} of 400 tokens [thread {thread}.2]"
    assert name == "BudgetRequest"
    assert asked_in_python(room) == Requester(
        handler="reader", thread=f"{thread}.2", unit="tokens", used=Decimal(used), limit=Decimal(400)
    )


@pytest.mark.parametrize(
    ("unit", "limit", "told"),
    [
        ("seconds", "seconds: 60", r"reader has used 0(\.\d+)? of 60 seconds \[thread \w+\.\d+\]"),
        ("cost_usd", "cost_usd: 0.5", r"reader has used 0(\.\d+)? of 0\.5 cost_usd \[thread \w+\.\d+\]"),
        ("tokens", "messages: 40", r"reader has used \d+ of 5,000 tokens \[thread \w+\]"),
    ],
)
def test_the_limit_is_that_of_the_thread_that_would_get_more(desk: Desk, unit: str, limit: str, told: str) -> None:
    written(desk, unit, limit)
    desk.organism("run")
    (question,) = desk.organism("inbox", "--json").objects
    whole = desk.organism("inbox", question["id"]).out
    assert re.search(told, whole), whole
    asked = asked_in_python(desk)
    assert asked is not None
    assert {key: question["requester"][key] for key in ("handler", "thread", "unit", "limit")} == {
        "handler": asked.handler, "thread": asked.thread, "unit": asked.unit, "limit": str(asked.limit),
    }  # fmt: skip


SHOWN = '  as in {"BudgetDecision": {"granted": true, "unit": "tokens", "amount": "300", "reason": "..."}}'


def test_who_decides_is_shown_an_answer_that_grants_what_is_asked_for(room: Desk) -> None:
    room.organism("run")
    (question,) = room.organism("inbox", "--json").objects
    *_, shown = room.organism("inbox", question["id"]).out.splitlines()
    assert shown == SHOWN
    wrong = room.organism("answer", question["id"], "--send", "yes")
    assert (wrong.code, wrong.err.splitlines()[-1]) == (2, SHOWN)
    room.organism("answer", question["id"], "--send", shown.removeprefix("  as in "))
    ran = room.organism("resume", "--json")
    assert ran.objects[0]["replies"][0]["payload"] == {"Read": {"text": "more"}}


def test_a_unit_that_is_any_text_is_not_shown_again_in_an_answer(desk: Desk) -> None:
    written(desk, "tokens", "tokens: 400")
    request = '{"BudgetRequest": {"unit": "\u009b31m", "amount": 5, "reason": "from outside"}}'
    desk.organism("run", "--to", "boss", "--send", request)
    (question,) = desk.organism("inbox", "--json").objects
    wrong = desk.organism("answer", question["id"], "--send", "yes")
    assert wrong.err.splitlines()[-1] == SHOWN.replace("tokens", "...").replace("300", "0")


def test_whoever_sits_at_the_terminal_reads_it_too(room: Desk) -> None:
    terminal = Terminal(room, "run")
    terminal.until(lambda shown: re.search(r"boss> ", shown))
    terminal.type(b'{"BudgetDecision": {"granted": true, "unit": "tokens", "amount": 300, "reason": "go on"}}\n')
    assert terminal.finish() == 0
    assert re.search(r"organism for reader asks boss", terminal.shown)
    assert re.search(r"reader has used \d+ of 400 tokens \[thread ", terminal.shown)
    assert SHOWN in terminal.shown.replace("\r\n", "\n")


def test_other_questions_have_nobody_who_asks_for_more(desk: Desk) -> None:
    written(desk, "tokens", "tokens: 400")
    request = '{"BudgetRequest": {"unit": "tokens", "amount": 5, "reason": "from outside"}}'
    desk.organism("run", "--to", "boss", "--send", request)
    (question,) = desk.organism("inbox", "--json").objects
    assert (question["from"], question["requester"]) == (None, None)
