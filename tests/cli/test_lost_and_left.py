"""Questions and dead letters that wait no more, that begin alike, or stand in a thread that was damaged."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio.testing

from organism import Organism
from tests.cli.conftest import TRIP

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.cli.conftest import Desk, Ran

WORK = '''
    @payload
    class Granted:
        why: str


    async def clerk(trip: Trip, ctx: Context) -> Reply[Granted]:
        """Asks about the way there and the way back, at once."""
        there, back = await ctx.ask_all([("boss", trip), ("boss", Trip(f"{trip.to} and back"))])
        return Reply(Granted(f"{there} {back}"))


    async def hasty(trip: Trip, ctx: Context) -> Reply[Granted]:
        """Waits for an answer, but not for long; then for a whistle that never comes."""
        try:
            return Reply(await ctx.ask("boss", trip, timeout=0.01, expect=Granted))
        except HandlerFailedError as error:
            if trip.to == "Nowhere":
                await ctx.ask("boss", Trip("Elsewhere"))
            return Reply(Granted(str(error)))


    async def careless(trip: Trip, ctx: Context) -> list[Send]:
        """Has the boss asked while somebody else fails, for good."""
        return [Send("boss", trip), Send("crasher", trip)]


    async def crash(trip: Trip, ctx: Context) -> None:
        """Fails."""
        await anyio.sleep(0.01)
        raise ValueError(trip.to)
'''
FILE = """
    organism: office
    journal: sqlite:organism.db
    handlers:
      clerk: {code: work:clerk, peers: [boss]}
      hasty: {code: work:hasty, peers: [boss]}
      careless: {code: work:careless, peers: [boss, crasher]}
      crasher: {code: work:crash, on_failure: {do: stop, attempts: 2, backoff: [0.01, 1]}}
      boss:
        description: Decides.
        human: {accepts: work:Trip, replies: work:Granted}
"""


@pytest.fixture
def office(desk: Desk) -> Desk:
    desk.write("work.py", TRIP + WORK)
    desk.write("organism.yaml", FILE)
    return desk


def sent(desk: Desk, to: str, where: str, *more: str) -> Ran:
    return desk.organism("run", "--to", to, "--send", where, *more)


def listed(desk: Desk, command: str = "inbox") -> list[dict[str, Any]]:
    ran = desk.organism(command, "--json")
    assert ran.code == 0, ran.err
    return ran.objects


def damage(desk: Desk, root: str) -> None:
    """Changes the first entry of a thread."""
    with closing(sqlite3.connect(desk.folder / "organism.db")) as file, file:
        ((key,),) = file.execute("SELECT id FROM chains WHERE root = ?", [root.encode()]).fetchall()
        assert file.execute("UPDATE entries SET hash = zeroblob(32) WHERE chain = ? AND n = 1", [key]).rowcount == 1


def test_questions_that_begin_alike_are_told_apart(office: Desk) -> None:
    assert sent(office, "clerk", "Rome").code == 4
    first, second = [each["id"] for each in listed(office)]
    thread = first.partition("/")[0]
    ran = office.organism("answer", thread, "--send", "sun")
    said = f"'{thread}' is the beginning of 2 questions: {first}, {second}; write more of it\n"
    assert (ran.code, ran.err) == (2, said)
    (back,) = [each["id"] for each in listed(office) if each["payload"]["Trip"]["to"] == "Rome and back"]
    assert office.organism("answer", back, "--send", "rain").code == 0
    assert office.organism("answer", thread, "--send", "sun").code == 0
    assert "Granted(why='sun') Granted(why='rain')" in office.organism("resume").out


def test_a_run_whose_question_is_given_up_as_it_ends_has_paused_all_the_same(office: Desk) -> None:
    ran = sent(office, "hasty", "Nowhere")
    (left,) = listed(office)
    assert (ran.code, "1 thread is paused; once that is answered, go on with it: organism resume\n" in ran.err) == (
        4,
        True,
    )
    assert left["payload"]["Trip"]["to"] in {"Nowhere", "Elsewhere"}


def test_a_thread_that_is_stopped_for_a_failure_asks_nobody(office: Desk) -> None:
    ran = sent(office, "careless", "Rome")
    assert ran.code == 1, ran.err
    assert "stopped" in ran.err
    assert listed(office) == []


def test_an_amount_that_is_no_number_is_refused(office: Desk) -> None:
    assert sent(office, "clerk", "Rome", "--set", "budget.tokens=1000").code == 4
    thread = listed(office)[0]["thread"]
    ran = office.organism("add-budget", thread, "tokens=many")
    assert (ran.code, "tokens" in ran.err, "many" in ran.err) == (2, True, True)
    ran = office.organism("add-budget", thread, "tokens=1,500")
    assert (ran.code, ran.out) == (0, f"thread {thread}: tokens 1,000 -> 2,500\n")


def test_of_a_damaged_thread_the_inbox_says_only_that(office: Desk) -> None:
    assert [sent(office, "clerk", where).code for where in ("Rome", "Oslo")] == [4, 4]
    rome, oslo = dict.fromkeys(each["thread"] for each in listed(office))
    damage(office, rome)
    ran = office.organism("inbox", "--json")
    assert (ran.code, {each["thread"] for each in ran.objects}) == (5, {oslo})
    assert (ran.err.startswith("error: "), ran.err.count("\n"), "was changed" in ran.err) == (True, 1, True)
    damage(office, oslo)
    ran = office.organism("inbox")
    assert (ran.code, ran.out, ran.err.count("was changed"), "nobody" in ran.err) == (5, "", 2, False)


def test_of_a_damaged_thread_the_dead_letters_say_only_that(office: Desk) -> None:
    assert [sent(office, "crasher", where).code for where in ("Rome", "Oslo")] == [1, 1]
    rome, oslo = [each["thread"] for each in listed(office, "dead")]
    damage(office, rome)
    ran = office.organism("dead", "--json")
    assert (ran.code, [each["thread"] for each in ran.objects]) == (5, [oslo])
    assert (ran.err.startswith("error: "), ran.err.count("\n"), "was changed" in ran.err) == (True, 1, True)
    damage(office, oslo)
    ran = office.organism("dead")
    assert (ran.code, ran.out, ran.err.count("was changed"), "no message" in ran.err) == (5, "", 2, False)


def test_dead_letters_that_begin_alike_are_told_apart(office: Desk) -> None:
    file = FILE.replace("peers: [boss, crasher]", "peers: [crasher]").replace("do: stop, ", "")
    office.write("organism.yaml", file)
    office.write("work.py", TRIP + WORK.replace('[Send("boss", trip), ', '[Send("crasher", trip), '))
    assert sent(office, "careless", "Rome").code == 1
    first, second = [each["id"] for each in listed(office, "dead")]
    thread = first.partition("/")[0]
    ran = office.organism("dead", "--retry", thread)
    said = f"'{thread}' is the beginning of 2 dead letters: {first}, {second}; write more of it\n"
    assert (ran.code, ran.err) == (2, said)
    assert office.organism("dead", "--retry", second).code == 0


def test_a_damaged_thread_is_not_replayed(office: Desk) -> None:
    assert sent(office, "crasher", "Rome").code == 1
    (letter,) = listed(office, "dead")
    damage(office, letter["thread"])
    ran = office.organism("replay", letter["thread"])
    assert (ran.code, ran.out) == (5, "")
    assert ran.err.startswith(f"error: thread {letter['thread']}: ")


def run(desk: Desk, work: Callable[[Organism], Awaitable[None]]) -> None:
    """Does ``work`` with the organism of the folder, on a clock that jumps."""

    async def main() -> None:
        async with Organism.load(desk.folder / "organism.yaml") as organism:
            await work(organism)

    clock = trio.testing.MockClock(autojump_threshold=0.0)
    anyio.run(main, backend="trio", backend_options={"clock": clock})


def test_a_question_of_a_turn_is_asked_when_the_turn_begins(office: Desk) -> None:
    waiting: list[Any] = []

    async def two_turns(organism: Organism) -> None:
        trip = organism.settings.handlers["boss"].accepts[0]
        for where in ("Rome", "Oslo"):
            await organism.send("boss", trip(where), conversation="c")
            await anyio.sleep(60)
        (asked,) = organism.inbox()
        await organism.answer(asked.id, refuse="no")
        await anyio.sleep(60)
        waiting.extend(organism.inbox())

    run(office, two_turns)
    (live,), (read,) = waiting, listed(office)
    assert (read["id"], read["asked_at"]) == (live.id, live.asked_at)
    assert read["payload"] == {"Trip": {"to": "Oslo"}}


def test_a_question_that_nobody_waits_for_any_more_is_asked_no_more(office: Desk) -> None:
    async def in_vain(organism: Organism) -> None:
        trip = organism.settings.handlers["boss"].accepts[0]
        await organism.send("hasty", trip("Nowhere"), id="apple")
        await anyio.sleep(60)

    run(office, in_vain)
    (left,) = listed(office)
    assert left["payload"] == {"Trip": {"to": "Elsewhere"}}
    ran = office.organism("answer", "apple/2", "--send", "sun")
    assert (ran.code, ran.err) == (2, "question 'apple/2' was answered already, or nobody waits for it any more\n")
