"""``organism dead``: what failed for good is listed, and sent again, with a process that works on the journal or without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from organism.journal import Lock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Desk

SHOP = '''
from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from organism import Reply, payload

if TYPE_CHECKING:
    from organism import Context


@payload
class Order:
    item: str


@payload
class Booked:
    text: str


async def book(order: Order, ctx: Context) -> Reply[Booked]:
    """Books an order once the shop is open."""
    if not await anyio.Path("open").exists():
        raise ConnectionError("the stock does not answer\\x1b[31m")
    return Reply(Booked(f"{order.item} for {ctx.labels.get('arm')}"))


async def wait(order: Order, ctx: Context) -> None:
    """Waits."""
    ctx.log.warning("waiting")
    while not await anyio.Path("go").exists():
        await anyio.sleep(0.01)
'''

FILE = """
organism: shop
journal: sqlite:organism.db
handlers:
  book: {code: "shop:book", on_failure: {attempts: 2, backoff: [0.01, 1]}}
  wait: {code: "shop:wait", timeout: null}
"""


class Shop:
    """A folder with an organism whose handler fails until there is a file that says that it is open."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        desk.write("shop.py", SHOP)
        desk.write("organism.yaml", FILE)

    def fails(self, item: str = "lamp") -> str:
        """The id of the dead letter of a run that has failed."""
        assert self.desk.organism("run", "--to", "book", "--send", item, "--label", "arm=a").code == 1
        return str(self.letters[-1]["id"])

    def opens(self) -> None:
        (self.desk.folder / "open").touch()

    @property
    def letters(self) -> list[dict[str, Any]]:
        return self.desk.organism("dead", "--json").objects


@pytest.fixture
def shop(desk: Desk) -> Iterator[Shop]:
    made = Shop(desk)
    yield made
    (desk.folder / "go").touch()


def test_a_message_that_failed_for_good_is_listed_with_its_attempts(shop: Shop) -> None:
    id_ = shop.fails()
    (letter,) = shop.letters
    thread = id_.removesuffix("/1")
    assert (letter["thread"], letter["handler"], letter["from"], letter["labels"]) == (
        thread,
        "book",
        None,
        {"arm": "a"},
    )
    assert letter["payload"] == {"Order": {"item": "lamp"}}
    assert (letter["code"], letter["retried"], letter["conversation"]) == ("crashed", None, None)
    assert [each["code"] for each in letter["attempts"]] == ["crashed"] * 2
    assert letter["attempts"][0]["at"] < letter["attempts"][1]["at"] == letter["died_at"]
    ran = shop.desk.organism("dead")
    assert (ran.code, ran.err) == (0, "")
    row = ran.out.splitlines()[-1]
    assert row.startswith(id_)
    assert "Order: lamp" in row
    assert "ConnectionError: the stock does not answer" in row
    assert "\x1b" not in ran.out


def test_where_nothing_failed_it_says_so(shop: Shop) -> None:
    shop.opens()
    assert shop.desk.organism("run", "--to", "book", "--send", "lamp").code == 0
    ran = shop.desk.organism("dead")
    assert (ran.code, ran.out, ran.err) == (0, "", "no message has failed for good\n")


def test_without_a_process_it_is_written_down_for_the_next_one(shop: Shop) -> None:
    id_ = shop.fails()
    shop.opens()
    ran = shop.desk.organism("dead", "--retry", id_[:6])
    again = f"retry-{id_.replace('/', '-')}"
    assert (ran.code, ran.out) == (
        0,
        f"dead letter {id_} is sent again, in thread {again}; 'organism resume' lets it go on\n",
    )
    ran = shop.desk.organism("dead")
    assert (ran.out, ran.err) == ("", "every message that failed was sent again; --all lists them\n")
    assert shop.desk.organism("dead", "--all", "--json").object["retried"] == again
    ran = shop.desk.organism("dead", "--retry", id_)
    assert (ran.code, ran.out) == (0, f"dead letter {id_} was sent again before, in thread {again}: nothing was sent\n")
    ran = shop.desk.organism("resume", "--quiet")
    assert (ran.code, ran.out) == (0, "book: Booked\n  text: lamp for a\n"), ran.err


def test_where_its_conversation_has_used_its_messages_up_it_says_how_to_give_it_more(shop: Shop) -> None:
    shop.desk.write("organism.yaml", f"{FILE}conversation: {{messages: 1}}\n")
    shop.desk.organism("chat", "--to", "book", "--conversation", "c", "--quiet", stdin="lamp\n")
    (letter,) = shop.letters
    shop.opens()
    ran = shop.desk.organism("dead", "--retry", letter["id"])
    why = "messages of the conversation: 1 used, 0 held, limit 1, needed 1"
    way_out = "'organism add-budget c messages=N' gives it more"
    assert (ran.code, ran.err) == (2, f"dead letter {letter['id']} cannot be sent again: {why}; {way_out}\n")
    assert shop.desk.organism("add-budget", "c", "messages=1").code == 0
    assert shop.desk.organism("dead", "--retry", letter["id"]).code == 0
    ran = shop.desk.organism("resume", "--quiet")
    assert (ran.code, ran.out) == (0, "book: Booked\n  text: lamp for None\n"), ran.err


def test_a_process_that_works_on_the_journal_delivers_it_at_once(shop: Shop) -> None:
    id_ = shop.fails()
    shop.opens()
    with shop.desk.start("run", "--to", "wait", "--send", "x", "--json") as process:
        assert process.stderr is not None
        while "waiting" not in (line := process.stderr.readline()):
            assert process.poll() is None or line, "it has ended"
        ran = shop.desk.organism("dead", "--retry", id_)
        again = f"retry-{id_.replace('/', '-')}"
        assert (ran.code, ran.out) == (0, f"dead letter {id_} is sent again, in thread {again}\n"), ran.err
        ran = shop.desk.organism("dead", "--retry", id_)
        assert ran.code == 0
        assert ran.out == f"dead letter {id_} was sent again before, in thread {again}: nothing was sent\n"
        while True:
            rows = {row["thread"]: row["outcome"] for row in shop.desk.organism("threads", "--json").objects}
            if rows.get(again) == "completed":
                break
        (shop.desk.folder / "go").touch()
        process.communicate(timeout=60)


def test_what_is_no_dead_letter_or_more_than_one_is_refused(shop: Shop) -> None:
    first = shop.fails()
    ran = shop.desk.organism("dead", "--retry", "zzz")
    assert (ran.code, ran.err) == (2, "there is no dead letter 'zzz'; 'organism dead' lists all\n")
    shop.opens()
    shop.desk.write("organism.yaml", FILE.replace("  book:", "  books:"))
    ran = shop.desk.organism("dead", "--retry", first)
    assert (ran.code, ran.err) == (
        2,
        f"dead letter {first} cannot be sent again: 'book' is not a handler; did you mean 'books'?\n",
    )


def test_one_that_began_a_turn_is_taken_in_as_the_next(shop: Shop) -> None:
    lines = shop.desk.organism("chat", "--to", "book", "--conversation", "c", "--quiet", stdin="lamp\n")
    (letter,) = shop.letters
    assert letter["conversation"] == "c", lines.err
    shop.opens()
    ran = shop.desk.organism("dead", "--retry", letter["id"])
    assert ran.code == 0, ran.err
    ran = shop.desk.organism("resume", "--json")
    assert (ran.object["conversation"], ran.object["outcome"]) == ("c", "completed")


def test_a_turn_goes_on_in_the_conversation_that_continues_its_own(shop: Shop) -> None:
    shop.desk.write("organism.yaml", f"{FILE}conversation: {{messages: 2, on_cap: rotate}}\n")
    shop.desk.organism("chat", "--to", "book", "--conversation", "c", "--quiet", stdin="lamp\nrug\nvase\n")
    letters = shop.letters
    assert [each["conversation"] for each in letters] == ["c", "c", "c~2"]
    shop.opens()
    for number, letter in enumerate(letters):
        ran = shop.desk.organism("dead", "--retry", letter["id"])
        assert ran.code == 0, ran.err
        ran = shop.desk.organism("resume", "--json")
        assert (ran.object["conversation"], ran.object["outcome"]) == (f"c~{2 + (number + 1) // 2}", "completed")
    assert shop.desk.organism("verify").code == 0


def test_a_turn_that_goes_on_in_a_fresh_conversation_waits_until_the_last_of_its_own_has_ended(shop: Shop) -> None:
    shop.desk.write("organism.yaml", f"{FILE}conversation: {{messages: 3, on_cap: rotate}}\n")
    shop.desk.organism("chat", "--to", "book", "--conversation", "c", "--quiet", stdin="lamp\nrug\n")
    lamp, rug = shop.letters
    shop.opens()
    assert shop.desk.organism("dead", "--retry", lamp["id"]).code == 0
    ran = shop.desk.organism("dead", "--retry", rug["id"])
    why = f"conversation c has used its messages up, and goes on in a fresh one once {lamp_again(lamp)} has ended"
    said = f"dead letter {rug['id']} cannot be sent again yet: {why}: 'organism resume' first\n"
    assert (ran.code, ran.err) == (2, said)
    assert shop.desk.organism("resume", "--json").object["conversation"] == "c"
    assert shop.desk.organism("dead", "--retry", rug["id"]).code == 0
    assert shop.desk.organism("resume", "--json").object["conversation"] == "c~2"


def lamp_again(letter: dict[str, Any]) -> str:
    """The thread in which a letter is sent again."""
    return f"retry-{letter['id'].replace('/', '-')}"


def test_a_process_that_takes_no_orders_is_named(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("organism.cli.orders._ENDING", 0)
    id_ = shop.fails()
    lock = Lock(shop.desk.folder / "organism.db", {"pid": "1", "host": "elsewhere"})
    lock.take()
    try:
        ran = shop.desk.organism("dead", "--retry", id_)
    finally:
        lock.release()
    assert ran.code == 5
    assert "is held by process 1 on elsewhere, which takes no orders (" in ran.err


def test_an_organism_that_escalates_says_so_in_a_line_and_exits_with_1(shop: Shop) -> None:
    shop.desk.write("organism.yaml", FILE.replace("attempts: 2", "attempts: 2, do: escalate"))
    ran = shop.desk.organism("run", "--to", "book", "--send", "lamp", "--json")
    assert (ran.code, ran.object["outcome"]) == (1, "stopped")
    assert "critical: the organism stops: 'book' failed for good after 2 attempts: crashed: " in ran.err
    assert ran.err.splitlines()[-1] == "error: the organism has stopped, as 'on_failure' of a handler says"
    assert "--debug" not in ran.err
    assert (
        "Traceback (most recent call last)"
        in shop.desk.organism("run", "--to", "book", "--send", "lamp", "--debug").err
    )


def test_an_organism_that_escalates_says_what_it_leaves_in_the_journal(shop: Shop) -> None:
    """Its other threads have not ended: whoever has mended the cause goes on with them."""
    orders = "{to: wait, payload: {Order: {item: x}}}, {to: book, payload: {Order: {item: lamp}}}"
    shop.desk.write("organism.yaml", FILE.replace("attempts: 2", "attempts: 2, do: escalate") + f"start: [{orders}]\n")
    ran = shop.desk.organism("run")
    assert ran.code == 1
    assert ran.err.splitlines()[-2:] == [
        "1 thread is left in the journal; go on with it: organism resume",
        "error: the organism has stopped, as 'on_failure' of a handler says",
    ]


def test_check_says_what_comes_of_failures(shop: Shop) -> None:
    lines = shop.desk.organism("check").out.splitlines()
    said = {line.split("; on failure ")[0].split()[1]: line.partition("; on failure ")[2] for line in lines if line.startswith("handler")}  # fmt: skip
    assert said == {
        "book": "(crashed, timeout): 2 attempts within 60 s, then its caller hears it",
        "wait": "",
    }
    told = "the caller is told immediately, unless a handler has 'on_failure'; 'organism dead' lists what failed"
    assert f"failures: {told}" in lines


def test_show_tells_the_attempts(shop: Shop) -> None:
    id_ = shop.fails()
    out = " ".join(shop.desk.organism("show", id_.partition("/")[0]).out.split())
    assert "; attempt 2 in 0.0" in out
    assert "book fails for good, at attempt 2: crashed: ConnectionError" in out
