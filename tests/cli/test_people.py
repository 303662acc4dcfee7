"""Questions for people: at a terminal, in the inbox, answered from elsewhere, with an owner of the journal and without."""

from __future__ import annotations

import json
import re
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.conftest import TRIP
from tests.cli.test_terminal import Terminal

if TYPE_CHECKING:
    from tests.cli.conftest import Desk, Ran

LEAVE = '''
    @payload
    class Granted:
        """The boss's word."""

        why: str


    @payload
    class Denied:
        reason: str
        days: int


    @payload
    class Told:
        text: str


    async def clerk(trip: Trip, ctx: Context) -> Reply[Told]:
        """Asks the boss."""
        ctx.state["trips"] = ctx.state.get("trips", 0) + 1
        try:
            said = await ctx.ask("boss", trip)
        except HandlerFailedError as error:
            return Reply(Told(text=f"failed: {error}"))
        return Reply(Told(text=f"{trip.to}: {said}"))


    async def runner(trip: Trip, ctx: Context) -> Reply[Told]:
        """Runs until there is a file that says so."""
        ctx.log.warning("runs")
        while not await anyio.Path("go").exists():
            await anyio.sleep(0.01)
        return Reply(Told(text="ran"))
'''
FILE = """
    organism: office
    journal: sqlite:organism.db
    handlers:
      clerk: {code: leave:clerk, peers: [boss]}
      runner: {code: leave:runner, timeout: null}
      boss:
        description: Decides.
        human: {accepts: leave:Trip, replies: [leave:Granted, leave:Denied]}
    start:
      - {to: clerk, payload: {Trip: {to: Rome}}}
"""


@pytest.fixture
def office(desk: Desk) -> Desk:
    desk.write("leave.py", TRIP + LEAVE)
    desk.write("organism.yaml", FILE)
    return desk


def waiting(desk: Desk) -> list[dict[str, Any]]:
    ran = desk.organism("inbox", "--json")
    assert ran.code == 0, ran.err
    return ran.objects


def left(desk: Desk, *arguments: str) -> str:
    """The id of the question that a run has left."""
    ran = desk.organism("run", *arguments)
    assert ran.code == 4, ran.err
    (question,) = waiting(desk)
    return str(question["id"])


def test_a_run_without_a_terminal_leaves_the_question_and_says_how_to_answer(office: Desk) -> None:
    ran = office.organism("run")
    assert ran.code == 4
    (question,) = waiting(office)
    lines = ran.err.splitlines()
    assert [line for line in lines if not line.startswith("note: ")] == [
        f"boss is asked by clerk [question {question['id']}]",
        "'organism inbox' shows the questions, 'organism answer ID --send X' answers one",
        "1 thread is paused; once that is answered, go on with it: organism resume",
    ]
    assert question["payload"] == {"Trip": {"to": "Rome"}}
    assert question["xml"] == '<Trip xmlns="urn:organism:payloads"><to>Rome</to></Trip>'
    assert (question["handler"], question["from"], question["answers"]) == ("boss", "clerk", ["Granted", "Denied"])


def test_the_inbox_is_a_table_for_people(office: Desk) -> None:
    id_ = left(office)
    ran = office.organism("inbox")
    head, _, row = ran.out.splitlines()
    assert head.split("  ")[0] == "question"
    cells = re.split(r" {2,}", row)
    assert [cells[0], *cells[2:]] == [id_, "boss", "clerk", "Trip: Rome", "Granted or Denied"]
    (thread,) = office.organism("threads", "--json").objects
    assert thread["outcome"] == "paused"
    office.organism("cancel", thread["thread"])
    assert office.organism("inbox") == type(ran)(0, "", "no question waits for an answer\n")


def test_a_question_can_be_read_whole(office: Desk) -> None:
    where = "a town so far away that no table has the room for all that would have to be said of it, nor of the way"
    id_ = left(office, "--send", json.dumps({"Trip": {"to": where}}))
    assert "nor of the way" not in office.organism("inbox").out
    ran = office.organism("inbox", id_[:4])
    head, name, *fields, last = ran.out.splitlines()
    assert (head, name, last) == (f"clerk asks boss [question {id_}]", "Trip", "answers with: Granted or Denied")
    assert " ".join(" ".join(fields).split()) == f"to: {where}"
    ran = office.organism("inbox", id_, "--json")
    assert [each["payload"] for each in ran.objects] == [{"Trip": {"to": where}}]
    ran = office.organism("inbox", "no-such-question")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "there is no question 'no-such-question'; 'organism inbox' lists all\n"


def test_json_ends_with_the_thread_paused(office: Desk) -> None:
    ran = office.organism("run", "--json")
    assert ran.code == 4
    assert (ran.object["outcome"], ran.object["replies"]) == ("paused", [])


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ('{"Granted": {"why": "sun"}}', "Rome: Granted(why='sun')"),
        ("<Denied><reason>rain</reason><days>3</days></Denied>", "Rome: Denied(reason='rain', days=3)"),
        ('{"Denied": {"reason": "no", "days": 1}}', "Rome: Denied(reason='no', days=1)"),
    ],
)
def test_what_was_answered_while_nobody_ran_is_gone_on_with(office: Desk, said: str, told: str) -> None:
    id_ = left(office)
    ran = office.organism("answer", id_, "--send", said)
    assert (ran.code, ran.out) == (0, f"question {id_} is answered; 'organism resume' lets it go on\n")
    assert waiting(office) == []
    (thread,) = office.organism("threads", "--json").objects
    assert thread["outcome"] == "unfinished"
    ran = office.organism("resume", "--json")
    assert (ran.code, ran.object["replies"][0]["payload"]) == (0, {"Told": {"text": told}})


@pytest.mark.parametrize(
    ("arguments", "outcome"),
    [(("--send", '{"Granted": {"why": "sun"}}'), "completed"), (("--refuse", "rain"), "failed")],
)
def test_what_was_sent_to_a_person_ends_with_the_answer(office: Desk, arguments: tuple[str, ...], outcome: str) -> None:
    id_ = left(office, "--to", "boss", "--send", "Rome")
    thread, _, _ = id_.partition("/")
    ran = office.organism("answer", id_, *arguments)
    what = "refused" if outcome == "failed" else "answered"
    told = f"question {id_} is {what}; thread {thread} has ended ({outcome}); 'organism show {thread}' shows how\n"
    assert (ran.code, ran.out) == (0, told)
    assert f"ended {outcome}" in office.organism("show", thread).out
    assert "nothing to resume" in office.organism("resume").err


def test_a_run_that_goes_on_with_what_was_left_needs_nothing_to_send(office: Desk) -> None:
    office.write("organism.yaml", FILE.partition("start:")[0])
    assert office.organism("run").code == 2
    office.organism("answer", left(office, "--to", "clerk", "--send", "Rome"), "--send", '{"Granted": {"why": "sun"}}')
    ran = office.organism("run", "--resume", "--json")
    assert (ran.code, ran.object["outcome"]) == (0, "completed")
    ran = office.organism("run", "--resume", "--json")
    assert (ran.code, ran.out) == (0, "")
    assert "nothing to resume" in ran.err


def test_an_answer_comes_from_a_file_or_standard_input(office: Desk) -> None:
    office.write("yes.json", '{"Granted": {"why": "in a file"}}')
    assert office.organism("answer", left(office), "--send", "@yes.json").code == 0
    assert "in a file" in office.organism("resume").out
    assert office.organism("answer", left(office), "--send", "-", stdin='{"Granted": {"why": "typed"}}\n').code == 0
    assert "typed" in office.organism("resume").out


def test_a_refusal_is_heard_by_whoever_asked(office: Desk) -> None:
    id_ = left(office)
    assert office.organism("answer", id_[:20], "--refuse", "ask my deputy").out.startswith(f"question {id_} is refused")
    ran = office.organism("resume", "--json")
    assert ran.object["replies"][0]["payload"] == {"Told": {"text": "failed: refused: ask my deputy"}}


def test_a_second_answer_is_none(office: Desk) -> None:
    id_ = left(office)
    assert office.organism("answer", id_, "--send", '{"Granted": {"why": "1"}}').code == 0
    ran = office.organism("answer", id_, "--send", '{"Granted": {"why": "2"}}')
    assert (ran.code, ran.err) == (2, f"question '{id_}' was answered: Granted: 1\n")
    assert "Granted(why='1')" in office.organism("resume").out
    ran = office.organism("answer", id_, "--send", '{"Granted": {"why": "3"}}')
    assert (ran.code, ran.err) == (2, f"question '{id_}' was answered: Granted: 1\n")


@pytest.mark.parametrize("how", [("--send", '{"Granted": {"why": "1"}}'), ("--refuse", "not today")])
def test_the_same_answer_again_changes_nothing_and_is_no_mistake(office: Desk, how: tuple[str, str]) -> None:
    id_ = left(office)
    assert office.organism("answer", id_, *how).code == 0
    for _ in range(2):
        before = office.organism("export").out
        ran = office.organism("answer", id_, *how)
        assert (ran.code, ran.out) == (0, f"question {id_} was answered so before: nothing was changed\n"), ran.err
        assert office.organism("export").out == before
        office.organism("resume", "--quiet")
    for other in (("--refuse", "never"), ("--send", '{"Granted": {"why": "2"}}')):
        ran = office.organism("answer", id_, *other)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith(
            f"question '{id_}' was {'answered: ' if how[0] == '--send' else 'refused: not today'}"
        )
    ran = office.organism("answer", f"{id_}0", *how)
    assert (ran.code, ran.err) == (2, f"there is no question '{id_}0'; 'organism inbox' lists all\n")


def test_what_is_no_answer_says_what_is_and_changes_nothing(office: Desk) -> None:
    id_ = left(office)
    for said in ('{"Grant": {}}', '{"Trip": {"to": "Paris"}}', '{"Denied": {"reason": "no"}}'):
        ran = office.organism("answer", id_, "--send", said)
        assert ran.code == 2
        assert f"question {id_}: " in ran.err
        assert "'boss' answers with:\n  Granted: The boss's word.\n" in ran.err
        assert '  - days (int)\n  as in {"Denied": {"reason": "...", "days": 0}}\n' in ran.err
    for arguments, told in (
        ((), ": give the answer with --send, or say with --refuse why there is none"),
        (("--refuse", " "), " --refuse: is empty; say why there is no answer"),
        (
            ("--send", "x", "--refuse", "y"),
            ": give the answer with --send, or say with --refuse why there is none, not both",
        ),
    ):
        ran = office.organism("answer", id_, *arguments)
        assert (ran.code, ran.err) == (2, f"organism answer{told}\n")
    assert [each["id"] for each in waiting(office)] == [id_]


def test_without_a_journal_nobody_can_answer_later(office: Desk) -> None:
    ran = office.organism("run", "--journal", "memory:")
    assert ran.code == 4
    assert "nobody can answer it any more: the journal is 'memory:', which ends with this process\n" in ran.err


def test_how_to_answer_is_said_for_the_file_and_the_journal_that_were_named(office: Desk) -> None:
    office.write("other.yaml", FILE)
    elsewhere = "--file other.yaml --journal sqlite:o.db"
    ran = office.organism("run", "other.yaml", "--journal", "sqlite:o.db")
    how = f"'organism inbox {elsewhere}' shows the questions, 'organism answer ID --send X {elsewhere}' answers one"
    assert how in ran.err.splitlines()
    talk = ("--to", "clerk", "--conversation", "c", *elsewhere.split())
    ran = office.organism("chat", *talk, stdin="Oslo\n")
    back = f"organism chat {' '.join(talk)}"
    assert f"answer with 'organism answer ID --send X {elsewhere}', then continue: {back}" in ran.err.splitlines()


def test_a_question_of_a_turn_in_line_is_not_asked_yet(office: Desk) -> None:
    with office.start("chat", "--to", "clerk", "--conversation", "c", stdin=-1) as chat:
        out, err = chat.communicate("Oslo\nRiga\n", timeout=60)
    assert (chat.returncode, out) == (4, "")
    assert "boss is asked by clerk [question " in err
    assert "then continue: organism chat --to clerk --conversation c\n" in err
    assert err.endswith("not sent: line 2, 'Riga'\n")
    (question,) = waiting(office)
    assert question["payload"] == {"Trip": {"to": "Oslo"}}
    assert office.organism("answer", question["id"], "--send", '{"Granted": {"why": "cold"}}').code == 0
    ran = office.organism("chat", "--to", "clerk", "--conversation", "c", stdin="Bern\n")
    assert (ran.code, "boss is asked by clerk [question " in ran.err) == (4, True)
    (question,) = waiting(office)
    assert question["payload"] == {"Trip": {"to": "Bern"}}
    assert ran.out == "Oslo: Granted(why='cold')\n"  # of the turn that was answered meanwhile
    (first, second) = office.organism("threads", "--json").objects
    assert first["replies"][0]["payload"] == {"Told": {"text": "Oslo: Granted(why='cold')"}}
    assert second["outcome"] == "paused"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("Oslo\n", None),
        ("Oslo\n\n \n", None),
        ("Oslo", None),
        ("\nOslo\n\n\x1b[1m" + 99 * "x", "line 4, '\\x1b[1m" + 53 * "x" + "…'"),
        ("Oslo\nRiga\n\nBern\n", "line 2, 'Riga', and the lines after it"),
    ],
)
def test_a_chat_that_ends_says_what_it_has_not_sent(office: Desk, lines: str, said: str | None) -> None:
    ran = office.organism("chat", "--to", "clerk", "--quiet", stdin=lines)
    assert (ran.code, ran.out) == (4, "")
    assert unsent(ran.err) == ([] if said is None else [said])


def test_a_chat_that_is_fed_by_a_pipe_says_the_same(office: Desk) -> None:
    arguments, lines = ("chat", "--to", "clerk", "--quiet"), "Oslo\nRiga\n\nBern"
    with office.start(*arguments, stdin=-1) as chat:
        out, err = chat.communicate(lines, timeout=60)
    assert (chat.returncode, out) == (4, "")
    assert unsent(err) == ["line 2, 'Riga', and the lines after it"]
    ran = office.organism(*arguments, stdin=lines)
    assert ran.err.splitlines()[2:] == err.splitlines()[2:]


def unsent(err: str) -> list[str]:
    return [line.removeprefix("not sent: ") for line in err.splitlines() if line.startswith("not sent: ")]


def test_a_chat_at_its_cap_asks_what_its_last_turn_asks_before_it_goes_on_elsewhere(office: Desk) -> None:
    office.write("organism.yaml", FILE + "    conversation: {messages: 2, on_cap: rotate}\n")
    talk = ("chat", "--to", "clerk", "--conversation", "c", "--quiet")
    assert office.organism(*talk, stdin="Oslo\n").code == 4
    with office.start(*talk, stdin=-1) as chat:
        out, err = chat.communicate("Bern\n", timeout=120)
    (question,) = waiting(office)
    assert (chat.returncode, out) == (4, "")
    assert f"boss is asked by clerk [question {question['id']}]" in err
    office.organism("answer", question["id"], "--send", '{"Granted": {"why": "cold"}}')
    ran = office.organism(*talk, stdin="Bern\n")
    assert (ran.code, ran.out) == (4, "Oslo: Granted(why='cold')\n")
    (question,) = waiting(office)
    assert question["payload"] == {"Trip": {"to": "Bern"}}


def alive(desk: Desk, *arguments: str) -> Any:
    """A run that goes on after it has asked."""
    starts = ["--set", "start.1.to=runner", "--set", 'start.1.payload={"Trip": {"to": "x"}}']
    process = desk.start("run", *starts, *arguments)
    assert process.stderr is not None
    while "runs" not in (line := process.stderr.readline()):
        assert process.poll() is None or line, "it has ended"
    return process


def until_asked(desk: Desk) -> str:
    while not (found := waiting(desk)):
        pass
    return str(found[0]["id"])


def test_a_living_owner_is_told_the_answer_and_goes_on_at_once(office: Desk) -> None:
    with alive(office, "--json") as process:
        id_ = until_asked(office)
        ran = office.organism("answer", id_, "--send", '{"Denied": {"reason": "no"}}')
        assert (ran.code, "'boss' answers with:\n" in ran.err) == (2, True)
        ran = office.organism("answer", id_, "--send", '{"Granted": {"why": "sun"}}')
        assert (ran.code, ran.out) == (0, f"question {id_} is answered\n")
        assert process.stdout is not None
        assert "Rome: Granted(why='sun')" in process.stdout.readline()
        again = office.organism("answer", id_, "--send", '{"Granted": {"why": "late"}}')
        assert again.code == 2
        office.write("go", "")
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_of_two_answers_at_once_one_is_taken(office: Desk) -> None:
    id_ = left(office)

    def both() -> list[Ran]:
        said = [f'{{"Granted": {{"why": "{n}"}}}}' for n in range(2)]
        processes = [office.start("answer", id_, "--send", each) for each in said]
        ended = [(process.communicate(timeout=60), process) for process in processes]
        return [type(office.organism("inbox"))(process.returncode, out, err) for (out, err), process in ended]

    first, second = sorted(both(), key=lambda ran: ran.code)
    assert (first.code, second.code) == (0, 2), second.err
    ran = office.organism("resume", "--json")
    assert (ran.code, len(ran.objects)) == (0, 1)
    assert ran.object["replies"][0]["payload"]["Told"]["text"].startswith("Rome: Granted(why='")


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_a_question_outlives_its_process_and_so_does_the_answer(office: Desk) -> None:
    with alive(office) as process:
        id_ = until_asked(office)
        process.send_signal(signal.SIGKILL)
    assert [each["id"] for each in waiting(office)] == [id_]
    assert office.organism("answer", id_, "--send", '{"Granted": {"why": "sun"}}').code == 0
    assert waiting(office) == []
    office.write("go", "")
    ran = office.organism("resume", "--json")
    assert ran.code == 0
    texts = sorted(each["replies"][0]["payload"]["Told"]["text"] for each in ran.objects)
    assert texts == ["Rome: Granted(why='sun')", "ran"]


def test_a_question_that_was_taken_up_again_waits_again(office: Desk) -> None:
    id_ = left(office)
    ran = office.organism("resume")
    assert (ran.code, f"boss is asked by clerk [question {id_}]" in ran.err) == (4, True)
    (question,) = waiting(office)
    assert question["id"] == id_


def test_a_replay_has_the_answer_that_was_given(office: Desk) -> None:
    id_ = left(office)
    office.organism("answer", id_, "--send", '{"Granted": {"why": "sun"}}')
    office.organism("resume")
    ran = office.organism("replay", id_.partition("/")[0])
    assert (ran.code, ran.out) == (0, "the same: 1 delivery and 0 model calls compared\n"), ran.out


def test_a_fork_asks_again_what_was_not_answered_where_it_begins(office: Desk) -> None:
    id_ = left(office)
    office.organism("answer", id_, "--send", '{"Granted": {"why": "sun"}}')
    office.organism("resume")
    ran = office.organism("fork", id_.partition("/")[0], "--at", "2", "--json")
    assert (ran.code, ran.object["outcome"]) == (4, "paused"), ran.err
    (question,) = waiting(office)
    assert question["id"] != id_
    assert office.organism("answer", question["id"], "--send", '{"Granted": {"why": "rain"}}').code == 0
    assert "Granted(why='rain')" in office.organism("resume").out


def test_what_went_on_is_told(office: Desk) -> None:
    id_ = left(office)
    thread = id_.partition("/")[0]
    assert "waits only for people: its clock stands still" in office.organism("show", thread).out
    office.organism("answer", id_, "--send", '{"Granted": {"why": "sun"}}')
    office.organism("resume")
    told = office.organism("show", thread).out
    assert "why=sun" in told or "Granted: sun" in told


# At a terminal


def test_a_run_at_a_terminal_asks_whoever_sits_there(office: Desk) -> None:
    on = Terminal(office, "run", "--quiet")
    on.until(lambda shown: shown.endswith("boss> "))
    text = on.shown.replace("\r\n", "\n")
    assert re.search(
        r"clerk asks boss \[question \w+/2\]\nTrip\n  to: Rome\nthe answer:\n  Granted: The boss's word.\n", text
    )
    on.type(b"<Granted/>\n")
    on.until(lambda shown: shown.count("boss> ") == 2)
    assert "not taken: " in on.shown
    on.type(b"@gone\n")
    on.until(lambda shown: shown.count("boss> ") == 3)
    assert "not taken: @gone: there is no such file; a text that begins with '@' can be written as JSON\r\n" in on.shown
    on.type(b"sun\n")
    assert on.finish() == 0
    assert "Rome: Granted(why='sun')" in on.shown


def test_whoever_sits_there_may_refuse(office: Desk) -> None:
    on = Terminal(office, "run")
    on.until(lambda shown: shown.endswith("boss> "))
    on.type(b"/refuse not today\n")
    assert on.finish() == 0
    assert "failed: refused: not today" in on.shown


@pytest.mark.parametrize("keys", [b"\n", b"\x04"])
def test_what_is_left_waits_in_the_inbox(office: Desk, keys: bytes) -> None:
    on = Terminal(office, "run")
    on.until(lambda shown: shown.endswith("boss> "))
    on.type(keys)
    assert on.finish() == 4
    assert "1 thread is paused; once that is answered, go on with it: organism resume" in on.shown
    assert len(waiting(office)) == 1


def test_a_question_that_was_answered_elsewhere_is_asked_no_more(office: Desk) -> None:
    on = Terminal(office, "run", "--quiet")
    on.until(lambda shown: shown.endswith("boss> "))
    (question,) = waiting(office)
    assert office.organism("answer", question["id"], "--send", '{"Granted": {"why": "sun"}}').code == 0
    assert on.finish() == 0
    assert f"question {question['id']} no longer waits for an answer" in on.shown
    assert "Rome: Granted(why='sun')" in on.shown


def test_interrupting_while_somebody_is_asked_leaves_the_question(office: Desk) -> None:
    on = Terminal(office, "run")
    on.until(lambda shown: shown.endswith("boss> "))
    on.type(b"\x03")
    on.process.send_signal(signal.SIGINT)
    assert on.finish() in {130, -signal.SIGINT}
    assert len(waiting(office)) == 1


def test_what_is_said_of_an_interrupt_stands_below_the_prompt(office: Desk) -> None:
    on = Terminal(office, "run", "--grace", "0")
    on.until(lambda shown: shown.endswith("boss> "))
    on.process.send_signal(signal.SIGTERM)
    assert on.finish() == 143
    assert "boss> \r\ninterrupted: leaving running work" in on.shown


def test_a_chat_at_a_terminal_asks_in_between(office: Desk) -> None:
    on = Terminal(office, "chat", "--to", "clerk", "--quiet")
    on.until(lambda shown: shown.endswith("> "))
    on.type(b"Oslo\n")
    on.until(lambda shown: shown.endswith("boss> "))
    on.type(b'{"Granted": {"why": "snow"}}\n')
    on.until(lambda shown: "Oslo: Granted(why='snow')" in shown and shown.endswith("> "))
    on.type(b"\x04")
    assert on.finish() == 0


@pytest.mark.parametrize("command", ["run", "chat"])
def test_a_thread_is_under_one_account_of_a_kind(office: Desk, command: str) -> None:
    office.write("organism.yaml", FILE + "    accounts: {tenant: {tokens: 9}}\n")
    ran = office.organism(command, "--to", "clerk", "--account", "tenant=a", "--account", "tenant=b", stdin="")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "--account tenant: is named 2 times: a thread is under one of a kind\n"
    ran = office.organism(command, "--to", "clerk", "--account", "tenat=a", stdin="")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(
        "--account: 'tenat:a': no account of this name or kind is configured; did you mean 'tenant'?"
    )
